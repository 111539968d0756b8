package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

func newKafka() *cobra.Command {
	c := &cobra.Command{
		Use:   "kafka",
		Short: "Publish an extract to a topic, and look at what a stream reads",
		Long: `Publish writes the records of an extract to a topic, as a source would. Lag shows how far
a stream is behind. Dlq lists, shows and replays what it could not load.`,
	}
	c.AddCommand(newPublish(), newLag(), newDLQ())
	return c
}

// kafkaFlags say how to reach the brokers: by their addresses, or with everything that a stream.yaml
// says.
type kafkaFlags struct {
	config   string
	brokers  []string
	topics   []string
	group    string
	registry string
}

func (f *kafkaFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", "", "take brokers, TLS, SASL, registry, topics and group from this stream.yaml `FILE`")
	c.Flags().StringSliceVar(&f.brokers, "brokers", nil, "`HOST:PORT` of some brokers")
}

// read returns the configuration that the flags describe.
func (f *kafkaFlags) read() (*streamConfig, error) {
	c := defaultStream()
	if f.config != "" {
		var err error
		if c, err = readStream(f.config); err != nil {
			return nil, err
		}
	}
	if len(f.brokers) > 0 {
		c.Brokers = f.brokers
	}
	if len(c.Brokers) == 0 {
		return nil, usagef("set --brokers, or --config with a stream.yaml")
	}
	if len(f.topics) > 0 {
		c.Topics = nil
		for _, t := range f.topics {
			c.Topics = append(c.Topics, topicConfig{Name: t})
		}
	}
	if f.group != "" {
		c.Group = f.group
	}
	if f.registry != "" {
		c.Registry.URL = f.registry
	}
	return c, nil
}

// jsonLines prints each of a list as a line of JSON.
func jsonLines[T any](w io.Writer, list []T) error {
	e := json.NewEncoder(w)
	for _, x := range list {
		if err := e.Encode(x); err != nil {
			return err
		}
	}
	return nil
}
