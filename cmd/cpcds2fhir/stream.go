package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/kafkaio"
	"cpcds2fhir/pipeline/messages"
	"cpcds2fhir/pipeline/messages/registry"
	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

func newStream() *cobra.Command {
	var config string
	var show bool
	c := &cobra.Command{
		Use:   "stream --config stream.yaml",
		Short: "Load claims from Kafka topics as they come, until it is stopped",
		Long: `Stream reads records from Kafka topics and loads them like 'load' does, message by
message: a claim with its lines, a member, a coverage, a provider or an organization.
It runs until SIGTERM or Ctrl-C. Several processes of one group share the partitions;
on one machine they also share one store. With 'to: ndjson:DIR' one process appends to
files, a line for each new version of a resource.

What is durable in the target is committed, never more. A claim whose member or
coverage has not arrived waits in the target. What cannot become a resource goes to
the topic of dead letters with its reason: see 'cpcds2fhir kafka dlq'.

A stream.yaml needs four keys:
  brokers: [127.0.0.1:9092]
  topics: [cpcds]
  group: cpcds2fhir
  to: store:./fhir-store`,
		Example: `  cpcds2fhir stream --print-config > stream.yaml
  cpcds2fhir stream check --config stream.yaml
  cpcds2fhir stream --config stream.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if show {
				_, err := fmt.Fprint(c.OutOrStdout(), fullStreamConfig)
				return err
			}
			cfg, err := readStream(config)
			if err != nil {
				return err
			}
			err = runStream(c.Context(), cfg)
			if c.Context().Err() != nil && errors.Is(err, context.Canceled) {
				return nil // it was stopped before it had begun
			}
			return err
		},
	}
	c.Flags().StringVar(&config, "config", "", "read the configuration from `FILE`")
	c.Flags().BoolVar(&show, "print-config", false, "print a configuration with all settings and their defaults")
	c.AddCommand(newStreamCheck())
	return c
}

// streamSetup is a stream that is ready to run.
type streamSetup struct {
	*streamConfig
	target   target
	state    string
	layout   *layouts.Layout
	version  *carin.Version
	identity *fhir.Identity
	memory   int64
	client   *kafkaio.Client
	topics   map[string]streamrun.Topic
	log      *zap.Logger
	status   *streamStatus
}

// setUp checks a configuration and opens what it names, except the target.
func (c *streamConfig) setUp() (*streamSetup, error) {
	s := &streamSetup{streamConfig: c, log: newLog(c.Log), status: newStreamStatus()}
	var err error
	if s.target, err = parseTargetOf("to", c.To, allTargets); err != nil {
		return nil, err
	}
	s.state = c.streamState(s.target)
	if err := s.target.check(s.target.state(c.State)); err != nil {
		return nil, err
	}
	if s.version, err = carin.ParseVersion(c.CARIN); err != nil {
		return nil, usageError{err}
	}
	if s.version, err = s.version.WithProfiles(c.Profiles); err != nil {
		return nil, usagef("profiles %s: %w", c.Profiles, err)
	}
	if s.layout, err = openLayout(c.Layout); err != nil {
		return nil, err
	}
	if s.memory, err = parseSize("memory", c.Memory); err != nil {
		return nil, err
	}
	if s.memory < leastMemory {
		return nil, usagef("memory %q: at least 64MiB is needed", c.Memory)
	}
	if _, err = parseBudget(c.MaxRejects); err != nil {
		return nil, usagef("max_rejects %q: use a number or a percentage such as 5%%", c.MaxRejects)
	}
	if err := checkRepairs("no_repair", c.NoRepair, s.layout); err != nil {
		return nil, err
	}
	if s.identity, err = idKey(c.IDKey); err != nil {
		return nil, err
	}
	if s.topics, err = c.formats(); err != nil {
		return nil, err
	}
	s.client, err = c.client(kafkaio.Events{Retrying: func(what string, err error) {
		s.log.Warn("retrying", zap.String("what", what), zap.String("error", message(err)))
	}})
	return s, err
}

// formats says how the messages of each topic are written.
func (c *streamConfig) formats() (map[string]streamrun.Topic, error) {
	var schemas messages.Format
	topics := map[string]streamrun.Topic{}
	for _, t := range c.Topics {
		x := streamrun.Topic{Table: t.Table}
		if t.Grain == "line" {
			x.Lines = &streamrun.Lines{Count: t.Lines, Quiet: t.Quiet}
		}
		if t.Format == "registry" {
			if schemas == nil {
				r, err := c.registry()
				if err != nil {
					return nil, err
				}
				schemas = messages.Confluent(r)
			}
			x.Format = schemas
		}
		topics[t.Name] = x
	}
	return topics, nil
}

func (c *streamConfig) registry() (*registry.Client, error) {
	r := registry.Config{URL: c.Registry.URL}
	if c.Registry.CA != "" {
		pem, err := os.ReadFile(c.Registry.CA)
		if err != nil {
			return nil, environmentf("read registry.ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, usagef("registry.ca %s has no certificate in PEM", c.Registry.CA)
		}
		r.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if c.Registry.Username != "" {
		r.Basic = func() (string, error) {
			user, err := c.Registry.Username.read()
			if err != nil {
				return "", err
			}
			password, err := c.Registry.Password.read()
			return user + ":" + password, err
		}
	}
	if c.Registry.Token != "" {
		r.Bearer = c.Registry.Token.read
	}
	client, err := registry.New(r)
	if err != nil {
		return nil, usageError{err}
	}
	return client, nil
}

// engine makes the engine over an open target.
func (s *streamSetup) engine(t *streamTarget, dead streamrun.DeadLetters) (*streamrun.Engine, error) {
	repairs := pipeline.Repairs{Lenient: s.Mode == "lenient", Off: map[string]bool{}}
	for _, r := range s.NoRepair {
		repairs.Off[r] = true
	}
	size, err := parseSize("batch.size", s.Batch.Size)
	if err != nil {
		return nil, err
	}
	budget, err := parseBudget(s.MaxRejects)
	if err != nil {
		return nil, err
	}
	return streamrun.New(&streamrun.Config{
		Group: s.Group, Layout: s.layout, Version: s.version, Identity: s.identity, Repairs: repairs,
		Target: t, Voider: t.voider, DeadLetters: dead, Scratch: filepath.Join(s.state, "scratch"), Topics: s.topics,
		BatchBytes: int(size), InFlight: int(s.memory / 16), Linger: s.Batch.Linger, Late: s.Late, Window: s.Window, Drain: s.Sessions.Drain,
		Recreated: s.Recreated == "restart", Gap: s.Gap == "skip",
		OverBudget: func(seen, rejected int64) bool { return budget.Over(seen, rejected, false) },
		Events:     s.events(),
	})
}

func (s *streamSetup) events() streamrun.Events {
	lane := func(topic string, partition int) []zap.Field {
		return []zap.Field{zap.String("topic", topic), zap.Int("partition", partition)}
	}
	return streamrun.Events{
		Opened: func(topic string, partition int, from, committed int64) {
			s.status.opened(topic, partition, from)
			fields := append(lane(topic, partition), zap.Int64("from", from), zap.Int64("committed", committed))
			if committed >= 0 && committed != from {
				s.log.Warn("the target is at another offset than the group; the target counts", fields...)
				return
			}
			s.log.Info("reading", fields...)
		},
		Fetched: s.status.fetched,
		Loaded:  func(topic string, partition int, b streamrun.Batch) { s.status.loaded(topic, partition, &b) },
		Blocked: func(topic string, partition int, err error) {
			s.status.block(topic, partition, err)
			s.log.Warn("waiting", append(lane(topic, partition), zap.String("error", message(err)))...)
		},
		Again:     func(string, int) { s.status.again.Inc() },
		Committed: func(_ string, _ int, took time.Duration) { s.status.commit.Observe(took.Seconds()) },
		Ended: func(topic string, partition int, err error) {
			s.status.ended(topic, partition)
			if errors.Is(err, pipeline.ErrFenced) {
				s.log.Info("taken over by another process", lane(topic, partition)...)
				return
			}
			if err != nil {
				s.log.Error("stopped", append(lane(topic, partition), zap.String("error", message(err)))...)
				return
			}
			s.log.Info("given away", lane(topic, partition)...)
		},
		Waiting: func(n int64) { s.status.waiting.Set(float64(n)) },
	}
}

// runStream runs a stream until ctx ends.
func runStream(ctx context.Context, c *streamConfig) (err error) {
	s, err := c.setUp()
	if err != nil {
		return err
	}
	defer s.client.Close()
	limitHeap(s.memory, storeMemory(s.memory))
	cluster, err := s.client.Describe(ctx, c.topicNames()...)
	if err != nil {
		return err
	}
	if err := s.deadLetterTopic(ctx); err != nil {
		return err
	}
	stopHTTP, err := s.listen(ctx)
	if err != nil {
		return err
	}
	defer stopHTTP()
	t, err := s.target.stream(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	producer := s.client.Producer(kafkaio.ProducerConfig{Compression: kafkaio.Zstd, MaxBatchBytes: 1 << 20})
	defer func() { _ = producer.Close() }() // Write has waited for everything
	e, err := s.engine(t, &deadLetters{producer, c.deadTopic()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	s.status.watch(e.Stuck)
	if err := e.LoadConstants(ctx); err != nil {
		return err
	}
	if err := streamrun.Import(ctx, t, s.target.state(c.State), filepath.Join(s.state, "scratch")); err != nil {
		return err
	}
	return s.consume(ctx, e, t, cluster)
}

// deadLetterTopic creates the topic of dead letters if it does not exist.
func (s *streamSetup) deadLetterTopic(ctx context.Context) error {
	name := s.deadTopic()
	_, err := s.client.Describe(ctx, name)
	missing, ok := errors.AsType[*kafkaio.TopicError](err)
	if err == nil || !ok || !missing.Missing {
		return err
	}
	// Each dead letter has its own key, so compaction only removes what was replayed.
	err = s.client.CreateTopic(ctx, name, 1, s.DeadLetters.Replication, map[string]string{"cleanup.policy": "compact", "max.message.bytes": "20971520"})
	if exists, ok := errors.AsType[*kafkaio.TopicError](err); ok && exists.Exists {
		return nil // another process was first
	}
	if err != nil {
		return fmt.Errorf("the topic of dead letters %s does not exist and cannot be created: %w", name, err)
	}
	s.log.Info("created the topic of dead letters", zap.String("topic", name))
	return nil
}

// listen starts the HTTP server.
func (s *streamSetup) listen(ctx context.Context) (stop func(), err error) {
	if s.Listen == "" {
		return func() {}, nil
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return nil, usagef("listen %q: use host:port", s.Listen)
	}
	if s.Pprof && !isLoopback(host) {
		return nil, usagef("pprof: true needs a loopback address in listen, not %s", host)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return nil, environmentf("listen: %w", err)
	}
	s.log.Info("listening", zap.String("address", l.Addr().String()))
	go s.status.serve(l, s.Pprof)
	return func() { _ = l.Close() }, nil
}

// tellStreams lets streams into the same store refer to what a load has put there, if there are any.
func tellStreams(ctx context.Context, l pipeline.Loader, state string) error {
	t, ok := l.(pipeline.StreamTarget)
	if !ok {
		return nil
	}
	if known, err := streamrun.Known(ctx, t); err != nil || known == nil {
		return err
	}
	return streamrun.Import(ctx, t, state, filepath.Join(state, "streams", "scratch"))
}
