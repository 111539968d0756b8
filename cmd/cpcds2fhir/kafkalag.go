package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline/kafkaio"
)

// lagRow is how far a group is behind in one partition.
type lagRow struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
}

func newLag() *cobra.Command {
	f := &kafkaFlags{}
	var output string
	c := &cobra.Command{
		Use:   "lag --config stream.yaml",
		Short: "Show how many messages a stream is behind, by partition",
		Long: `Lag compares the offsets that a group has committed with the ends of the partitions.
Markers of transactions and gaps of compaction count as messages.`,
		Example: `  cpcds2fhir kafka lag --config stream.yaml
  cpcds2fhir kafka lag --brokers 127.0.0.1:9092 --group cpcds2fhir --topics cpcds --output json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return lag(c.Context(), f, output, c.OutOrStdout()) },
	}
	f.register(c)
	c.Flags().StringVar(&f.group, "group", "", "consumer `GROUP`")
	c.Flags().StringSliceVar(&f.topics, "topics", nil, "`TOPICS` that it reads")
	choiceFlag(c, &output, "output", "format", "text", "json")
	return c
}

func lag(ctx context.Context, f *kafkaFlags, output string, out io.Writer) error {
	c, err := f.read()
	if err != nil {
		return err
	}
	if c.Group == "" || len(c.Topics) == 0 {
		return usagef("set --group and --topics, or --config with a stream.yaml")
	}
	client, err := c.client(kafkaio.Events{})
	if err != nil {
		return err
	}
	defer client.Close()
	committed, err := client.Committed(ctx, c.Group, c.topicNames()...)
	if err != nil {
		return err
	}
	var rows []lagRow
	for _, t := range c.topicNames() {
		bounds, err := client.Bounds(ctx, t)
		if err != nil {
			return err
		}
		for _, b := range bounds {
			r := lagRow{Topic: t, Partition: b.Partition, Committed: -1, End: b.LastStable}
			if at, ok := committed[kafkaio.TopicPartition{Topic: t, Partition: b.Partition}]; ok {
				r.Committed = at
			}
			r.Lag = max(0, r.End-max(r.Committed, b.Earliest))
			rows = append(rows, r)
		}
	}
	if output == "json" {
		return jsonLines(out, rows)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tPARTITION\tCOMMITTED\tEND\tLAG")
	for _, r := range rows {
		at := "-"
		if r.Committed >= 0 {
			at = fmt.Sprint(r.Committed)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%s\n", r.Topic, r.Partition, at, r.End, comma(r.Lag))
	}
	return w.Flush()
}
