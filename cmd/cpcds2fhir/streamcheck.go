package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/kafkaio"
	"cpcds2fhir/pipeline/streamrun"
)

func newStreamCheck() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:   "check --config stream.yaml",
		Short: "Check a configuration against the brokers and the target, and read a sample",
		Long: `Check connects to the brokers, looks at the topics and the target, and reads the first
messages of each partition through the layout. It also looks whether a stream could go on
from where the target is. It changes nothing: it joins no group, creates no topic and
loads nothing.`,
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
	if t, ok := s.target.(serverTarget); ok {
		server, err := s.serverWork(t).connect(ctx)
		if err != nil {
			return err
		}
		if t.bulk && server.Settings().Import == "" && s.Stage.Start["kind"] == "" {
			return usagef("to: %s: the server has no bulk import; use fhir:%s", t, t.url)
		}
		fmt.Fprintf(out, "server    %s\n", describeSoftware(server.probe))
		for _, n := range server.probe.Notes {
			fmt.Fprintf(out, "          %s\n", n)
		}
	}
	at, err := s.positions(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(out, "target    %s does not exist; stream will create it\n", s.target)
	case err != nil:
		return err
	default:
		fmt.Fprintf(out, "target    %s exists; group %s has loaded %s into it\n", s.target, c.Group, many(int64(len(at)), "partition"))
	}
	scratch, err := os.MkdirTemp("", "cpcds2fhir-")
	if err != nil {
		return environmentf("make a folder for temporary files: %w", err)
	}
	defer os.RemoveAll(scratch)
	broken, stopped := 0, 0
	for _, t := range cluster.Topics {
		bounds, err := s.client.Bounds(ctx, t.Name)
		if err != nil {
			return err
		}
		var messages, left int64
		sample := &streamrun.Sample{Layout: s.layout, Topic: s.topics[t.Name], Name: t.Name}
		for _, b := range bounds {
			messages += b.LastStable - b.Earliest
			from, err := streamrun.Start(at[fmt.Sprintf("%s/%d", t.Name, b.Partition)],
				streamrun.Bounds{First: b.Earliest, End: b.Latest, TopicID: topicID(t.ID)}, c.Recreated == "restart", c.Gap == "skip")
			if err != nil {
				stopped++
				fmt.Fprintf(out, "topic     %s, partition %d: %s\n", t.Name, b.Partition, err)
			}
			left += max(b.LastStable-from, 0)
			if err := s.sample(ctx, t.Name, b, sample); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "topic     %s: %d partitions, %s messages, %s not loaded yet; of %d read, %d fit the layout\n",
			t.Name, len(t.Partitions), comma(messages), comma(left), sample.Read, sample.Fit)
		for _, fault := range sample.Faults() {
			broken++
			fmt.Fprintf(out, "          %s\n", fault)
		}
	}
	if stopped > 0 {
		return errors.New("some partitions cannot be read on from where the target is")
	}
	if broken > 0 {
		return errors.New("some messages of the sample cannot be read; they would become dead letters")
	}
	return nil
}

// positions returns how far the group has loaded each partition into the target. It fails if the target
// was loaded with another id key.
func (s *streamSetup) positions(ctx context.Context) (map[string]pipeline.Position, error) {
	dir := s.target.storeOfStreams(s.target.state(s.State))
	h, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = h.Close() }()
	if err := storeloader.CheckKey(h, dir, s.identity.Fingerprint()); err != nil {
		return nil, err
	}
	return streamrun.Positions(ctx, storeloader.StreamRecords{Store: h}, s.Group)
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
