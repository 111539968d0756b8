package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline/kafkaio"
	"cpcds2fhir/pipeline/streamrun"
)

func newStreamCheck() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:   "check --config stream.yaml",
		Short: "Check a configuration against the brokers and the target, and read a sample",
		Long: `Check connects to the brokers, looks at the topics and the target, and reads the first
messages of each partition through the layout. It changes nothing: it joins no group,
creates no topic and loads nothing.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readStream(config)
			if err != nil {
				return err
			}
			return checkStream(c.Context(), cfg, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&config, "config", "", "read the configuration from `FILE`")
	return c
}

// sampleMessages is how many messages of a partition a check reads.
const sampleMessages = 200

func checkStream(ctx context.Context, c *streamConfig, out io.Writer) error {
	s, err := c.setUp()
	if err != nil {
		return err
	}
	defer s.client.Close()
	cluster, err := s.client.Describe(ctx, c.topicNames()...)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "brokers   %d alive, cluster %s\n", cluster.Brokers, cluster.ID)
	_, err = s.client.Describe(ctx, c.deadTopic())
	missing, ok := errors.AsType[*kafkaio.TopicError](err)
	switch {
	case err == nil:
		fmt.Fprintf(out, "letters   topic %s exists\n", c.deadTopic())
	case ok && missing.Missing:
		fmt.Fprintf(out, "letters   topic %s does not exist; stream will create it\n", c.deadTopic())
	default:
		return err
	}
	fmt.Fprintf(out, "layout    %s\n", s.layout.Name)
	if _, err := os.Stat(s.target.dir); err == nil {
		fmt.Fprintf(out, "target    %s exists\n", s.target)
	} else {
		fmt.Fprintf(out, "target    %s does not exist; stream will create it\n", s.target)
	}
	scratch, err := os.MkdirTemp("", "cpcds2fhir-")
	if err != nil {
		return environmentf("make a folder for temporary files: %w", err)
	}
	defer os.RemoveAll(scratch)
	broken := 0
	for _, t := range cluster.Topics {
		bounds, err := s.client.Bounds(ctx, t.Name)
		if err != nil {
			return err
		}
		var messages int64
		sample := &streamrun.Sample{Layout: s.layout, Topic: s.topics[t.Name], Name: t.Name}
		for _, b := range bounds {
			messages += b.LastStable - b.Earliest
			if err := s.sample(ctx, t.Name, b, sample); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "topic     %s: %d partitions, %s messages; of %d read, %d fit the layout\n", t.Name, len(t.Partitions), comma(messages), sample.Read, sample.Fit)
		for _, fault := range sample.Faults() {
			broken++
			fmt.Fprintf(out, "          %s\n", fault)
		}
	}
	if broken > 0 {
		return errors.New("some messages of the sample cannot be read; they would become dead letters")
	}
	return nil
}

// sample reads the first messages of a partition.
func (s *streamSetup) sample(ctx context.Context, topic string, b kafkaio.Bounds, to *streamrun.Sample) error {
	p := &kafkaPartition{Assignment: &kafkaio.Assignment{TopicPartition: kafkaio.TopicPartition{Topic: topic, Partition: b.Partition}}, client: s.client, maxBytes: 1 << 20}
	feed := p.Open(b.Earliest)
	defer func() { _ = feed.Close() }()
	for n, at := 0, b.Earliest; at < b.LastStable && n < sampleMessages; {
		list, next, _, err := feed.Fetch(ctx)
		if err != nil {
			return err
		}
		for i := range list[:min(len(list), sampleMessages-n)] {
			if err := to.Add(ctx, &list[i]); err != nil {
				return err
			}
		}
		n, at = n+len(list), next
	}
	return nil
}
