package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/pipeline/kafkaio"
	"cpcds2fhir/schemas/cpcds"
)

// streamConfig is a stream.yaml. Only brokers, topics, group and to are required.
type streamConfig struct {
	Brokers []string      `yaml:"brokers"`
	Topics  []topicConfig `yaml:"topics"`
	Group   string        `yaml:"group"`
	To      string        `yaml:"to"`

	Layout   string   `yaml:"layout"`
	CARIN    string   `yaml:"carin"`
	Profiles string   `yaml:"profiles"`
	Mode     string   `yaml:"mode"`
	NoRepair []string `yaml:"no_repair"`
	IDKey    string   `yaml:"id_key"`
	State    string   `yaml:"state"`
	Memory   string   `yaml:"memory"`

	Batch struct {
		Size   string        `yaml:"size"`
		Linger time.Duration `yaml:"linger"`
	} `yaml:"batch"`
	Late       time.Duration `yaml:"late"`
	Window     time.Duration `yaml:"window"`
	MaxRejects string        `yaml:"max_rejects"`
	Recreated  string        `yaml:"recreated"`
	Gap        string        `yaml:"gap"`

	Server fhirclient.Config `yaml:"server"`
	Stage  struct {
		URL    string            `yaml:"url"`
		Listen string            `yaml:"listen"`
		Start  map[string]string `yaml:"start"`
	} `yaml:"stage"`

	DeadLetters struct {
		Topic       string `yaml:"topic"`
		Replication int    `yaml:"replication"`
	} `yaml:"dead_letters"`

	TLS struct {
		Enabled    bool   `yaml:"enabled"`
		CA         string `yaml:"ca"`
		Cert       string `yaml:"cert"`
		Key        string `yaml:"key"`
		ServerName string `yaml:"server_name"`
	} `yaml:"tls"`
	SASL struct {
		Mechanism string `yaml:"mechanism"`
		Username  secret `yaml:"username"`
		Password  secret `yaml:"password"`
	} `yaml:"sasl"`
	Registry struct {
		URL      string `yaml:"url"`
		Username secret `yaml:"username"`
		Password secret `yaml:"password"`
		Token    secret `yaml:"token"`
		CA       string `yaml:"ca"`
	} `yaml:"registry"`

	Sessions struct {
		Timeout   time.Duration `yaml:"timeout"`
		Rebalance time.Duration `yaml:"rebalance"`
		Drain     time.Duration `yaml:"drain"`
	} `yaml:"sessions"`

	Listen string `yaml:"listen"`
	Pprof  bool   `yaml:"pprof"`
	Log    string `yaml:"log"`
}

// topicConfig is one topic: its name alone, or with how its messages are written.
type topicConfig struct {
	Name   string `yaml:"name"`
	Table  string `yaml:"table"`
	Format string `yaml:"format"`
	Grain  string `yaml:"grain"`

	Lines string        `yaml:"lines"`
	Quiet time.Duration `yaml:"quiet"`
}

// UnmarshalYAML reads a topic.
func (t *topicConfig) UnmarshalYAML(read func(any) error) error {
	if err := read(&t.Name); err == nil {
		return nil
	}
	type plain topicConfig
	return read((*plain)(t))
}

// secret is where a secret is: env:NAME or file:PATH. It is read whenever it is needed, so that it
// can be changed while the stream runs.
type secret string

func (s secret) read() (string, error) {
	if name, ok := strings.CutPrefix(string(s), "env:"); ok {
		v := os.Getenv(name)
		if v == "" {
			return "", fmt.Errorf("the environment variable %s is empty", name)
		}
		return v, nil
	}
	path := strings.TrimPrefix(string(s), "file:")
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (s secret) check(key string) error {
	if s != "" && !strings.HasPrefix(string(s), "env:") && !strings.HasPrefix(string(s), "file:") {
		return usagef("%s must say where the secret is: env:NAME or file:PATH, never the secret itself", key)
	}
	return nil
}

// defaultStream is what a stream.yaml need not say.
func defaultStream() *streamConfig {
	c := &streamConfig{Layout: "cpcds", CARIN: "2.2.0", Profiles: "financial", Mode: "strict", Memory: "512MiB",
		Late: 24 * time.Hour, Window: time.Hour, Recreated: "stop", Gap: "stop", Listen: "127.0.0.1:0", Log: "console"}
	c.Batch.Size = "1MiB"
	c.Sessions.Timeout, c.Sessions.Rebalance, c.Sessions.Drain = 30*time.Second, 30*time.Second, 15*time.Second
	c.DeadLetters.Replication = -1
	return c
}

// readStream reads a stream.yaml.
func readStream(path string) (*streamConfig, error) {
	if path == "" {
		return nil, usagef("name the configuration with --config stream.yaml; 'cpcds2fhir stream --print-config' shows one with all settings")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, environmentf("read configuration: %w", err)
	}
	c := defaultStream()
	if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict()); err != nil {
		return nil, usagef("%s: %s", path, describeYAML(text, err))
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.Server.Check(); err != nil {
		return nil, usagef("%s", atSetting(path, text, "server", err))
	}
	return c, nil
}

// describeYAML says what is wrong with a file. The parser gives no position for a duration that it
// cannot read, and names Go's types.
func describeYAML(text []byte, err error) string {
	message := yaml.FormatError(err, false, false)
	if !strings.Contains(message, "duration") && !strings.Contains(message, "Go struct field") && !strings.Contains(message, "streamConfig") {
		return message
	}
	if _, value, ok := strings.Cut(message, `invalid duration "`); ok {
		value, _, _ = strings.Cut(value, `"`)
		for i, line := range strings.Split(string(text), "\n") {
			if value != "" && strings.Contains(line, value) {
				return fmt.Sprintf("line %d: %q is not a duration; use one such as 30s, 5m or 24h", i+1, value)
			}
		}
	}
	position, _, _ := strings.Cut(message, "]")
	return strings.TrimPrefix(position+"] ", "] ") + "a value has the wrong type: " + expected(message)
}

// expected says what a value should have been, from the Go type that a message of the parser names.
func expected(message string) string {
	at := strings.LastIndex(message, "of type ")
	if at < 0 {
		return "a duration needs a unit such as 30s or 24h"
	}
	name, _, _ := strings.Cut(message[at+len("of type "):], "\n")
	switch name = strings.TrimSpace(name); {
	case strings.HasPrefix(name, "int"), strings.HasPrefix(name, "uint"):
		return "it must be a whole number"
	case strings.HasPrefix(name, "float"):
		return "it must be a number"
	case name == "bool":
		return "it must be true or false"
	case name == "string":
		return "it must be a text"
	case strings.HasPrefix(name, "[]"):
		return "it must be a list"
	case strings.HasPrefix(name, "map["):
		return "it must have keys and values"
	case strings.HasSuffix(name, "Duration"):
		return "a duration needs a unit such as 30s or 24h"
	}
	return "it must have keys of its own"
}

func (c *streamConfig) check() error {
	for key, missing := range map[string]bool{"brokers": len(c.Brokers) == 0, "topics": len(c.Topics) == 0, "group": c.Group == "", "to": c.To == ""} {
		if missing {
			return usagef("%s is missing; brokers, topics, group and to are required", key)
		}
	}
	seen := map[string]bool{}
	for _, t := range c.Topics {
		if t.Name == "" || seen[t.Name] {
			return usagef("topics must have different names")
		}
		seen[t.Name] = true
		if _, ok := cpcds.ParseTable(t.Table); t.Table != "" && !ok {
			return usagef("table of topic %s is %q: use claims, members, coverages, providers or organizations", t.Name, t.Table)
		}
		switch t.Format {
		case "", "json":
		case "registry":
			if c.Registry.URL == "" {
				return usagef("topic %s has the format registry, which needs registry.url", t.Name)
			}
		default:
			return usagef("format of topic %s is %q: use json or registry", t.Name, t.Format)
		}
		switch {
		case t.Grain != "" && t.Grain != "claim" && t.Grain != "line":
			return usagef("grain of topic %s is %q: use claim or line", t.Name, t.Grain)
		case t.Grain != "line" && (t.Lines != "" || t.Quiet != 0):
			return usagef("topic %s has lines or quiet, which belong to grain: line", t.Name)
		case t.Quiet < 0:
			return usagef("quiet of topic %s must not be negative", t.Name)
		}
	}
	if seen[c.deadTopic()] {
		return usagef("dead_letters.topic must not be a topic that is read")
	}
	if strings.ContainsAny(c.Group, "/\x00") {
		return usagef("group must not have a slash")
	}
	for _, x := range []struct{ key, value, a, b string }{{"mode", c.Mode, "strict", "lenient"}, {"recreated", c.Recreated, "stop", "restart"},
		{"gap", c.Gap, "stop", "skip"}, {"log", c.Log, "json", "console"}} {
		if x.value != x.a && x.value != x.b {
			return usagef("%s is %q: use %s or %s", x.key, x.value, x.a, x.b)
		}
	}
	switch {
	case c.SASL.Mechanism == "" && (c.SASL.Username != "" || c.SASL.Password != ""):
		return usagef("sasl.mechanism is missing: plain, scram-sha-256 or scram-sha-512")
	case c.SASL.Mechanism != "" && (c.SASL.Username == "" || c.SASL.Password == ""):
		return usagef("sasl.mechanism %s needs sasl.username and sasl.password", c.SASL.Mechanism)
	case (c.TLS.Cert == "") != (c.TLS.Key == ""):
		return usagef("tls.cert and tls.key belong together: a client certificate needs its key file")
	case c.Batch.Linger < 0:
		return usagef("batch.linger must not be negative")
	case c.Registry.URL != "" && !strings.HasPrefix(c.Registry.URL, "http://") && !strings.HasPrefix(c.Registry.URL, "https://"):
		return usagef("registry.url %q must begin with http:// or https://", c.Registry.URL)
	}
	for key, path := range map[string]string{"tls.ca": c.TLS.CA, "tls.cert": c.TLS.Cert, "tls.key": c.TLS.Key, "registry.ca": c.Registry.CA} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return usagef("%s: %w", key, err)
		}
	}
	if s := c.Sessions; s.Drain+s.Drain/8 >= min(s.Timeout, s.Rebalance) {
		return usagef("sessions.drain must be shorter than sessions.timeout and sessions.rebalance, or a lane that drains loses its partition")
	}
	for key, d := range map[string]time.Duration{"late": c.Late, "window": c.Window, "sessions.timeout": c.Sessions.Timeout, "sessions.rebalance": c.Sessions.Rebalance, "sessions.drain": c.Sessions.Drain} {
		if d <= 0 {
			return usagef("%s must be more than 0", key)
		}
	}
	if err := c.checkServer(); err != nil {
		return err
	}
	return errors.Join(c.SASL.Username.check("sasl.username"), c.SASL.Password.check("sasl.password"), c.Registry.Username.check("registry.username"),
		c.Registry.Password.check("registry.password"), c.Registry.Token.check("registry.token"))
}

// checkServer refuses settings of a server for a target that is none.
func (c *streamConfig) checkServer() error {
	t, err := parseTargetOf("to", c.To, allTargets)
	if err != nil {
		return err
	}
	s, ok := t.(serverTarget)
	if ok {
		if err := s.permitted(&c.Server); err != nil {
			return err
		}
	}
	if !ok && !reflect.DeepEqual(c.Server, fhirclient.Config{}) {
		return usagef("server has settings, but to is %q, which is no server", c.To)
	}
	if !s.bulk && (c.Stage.URL != "" || c.Stage.Listen != "" || len(c.Stage.Start) > 0) {
		return usagef("stage is for to: import:URL; to is %q", c.To)
	}
	return nil
}

// deadTopic is the topic of dead letters.
func (c *streamConfig) deadTopic() string {
	if c.DeadLetters.Topic != "" || len(c.Topics) == 0 {
		return c.DeadLetters.Topic
	}
	return c.Topics[0].Name + ".dlq"
}

func (c *streamConfig) topicNames() (names []string) {
	for _, t := range c.Topics {
		names = append(names, t.Name)
	}
	return names
}

// client connects to the brokers.
func (c *streamConfig) client(events kafkaio.Events) (*kafkaio.Client, error) {
	k := kafkaio.Config{Brokers: c.Brokers, Events: events,
		TLS: kafkaio.TLS{Enabled: c.TLS.Enabled || c.TLS.CA != "" || c.TLS.Cert != "", CAFile: c.TLS.CA, CertFile: c.TLS.Cert, KeyFile: c.TLS.Key, ServerName: c.TLS.ServerName}}
	if c.SASL.Mechanism != "" {
		k.SASL = kafkaio.SASL{Mechanism: c.SASL.Mechanism, Username: c.SASL.Username.read, Password: c.SASL.Password.read}
	}
	client, err := kafkaio.New(k)
	if err != nil {
		return nil, usageError{err}
	}
	return client, nil
}

// fullStreamConfig is a stream.yaml with all settings and their defaults.
const fullStreamConfig = `# Configuration of 'cpcds2fhir stream'. Only the first four keys are required; all others
# have their default here. Unknown keys are errors.

brokers: [127.0.0.1:9092]     # host:port of some brokers
topics: [cpcds]               # names, or for example
                              # - {name: claims, table: claims, format: registry}
                              # table: the table of all messages; otherwise the header cpcds-table names it,
                              #        or else the end of the topic's name, or else a message is a claim
                              # grain: claim, or line if each line of a claim is a message of its own; then
                              # lines: the column with the number of messages of the claim, or else
                              # quiet: how long no line was published when the claim is complete, 2s
                              # format: json, or registry for Avro, Protobuf and JSON with the id of a schema
group: cpcds2fhir             # consumer group; the target keeps a position for each group and partition
to: store:./fhir-store        # the target: store:DIR, ndjson:DIR[?compress=zstd|gzip], fhir:URL or import:URL

layout: cpcds                 # built-in name or file; it reads a message as it reads a row with these columns
carin: 2.2.0                  # release of the CARIN guide: 2.2.0 or 2.0.0
profiles: financial           # financial or basis
mode: strict                  # strict rejects what breaks an error rule; lenient first repairs what it can
no_repair: []                 # repairs that lenient mode leaves out
id_key: ""                    # FILE or env:NAME; empty: your own, as for 'load'
state: ""                     # folder of manifests; empty: the target's name with .state
memory: 512MiB

batch:
  size: 1MiB                  # load a batch when its resources have this size, or their share of the memory
  linger: 0s                  # or this long after its first message; 0s: as soon as the target is idle
late: 24h                     # how long a record waits for its member or coverage before it is a dead letter
window: 1h                    # accounts and manifests are kept for each window, and NDJSON files are completed
max_rejects: ""               # N or P%: stop if more records of a window are rejected
recreated: stop               # stop or restart if a topic was made anew under its name
gap: stop                     # stop or skip if messages are gone that were never loaded

server: {}                    # of fhir:URL and import:URL: the keys that 'cpcds2fhir server probe --print-config' prints
stage: {url: "", listen: ""}  # of import:URL: where the server finds the files, as --stage and --listen of 'load'; start: as --import-with

dead_letters:
  topic: ""                   # empty: the first topic with .dlq; it is created if it does not exist
  replication: -1             # of a topic that is created; -1: the brokers' default

tls: {enabled: false, ca: "", cert: "", key: "", server_name: ""}   # files; cert and key for mutual TLS
sasl: {mechanism: "", username: "", password: ""}                   # plain, scram-sha-256 or scram-sha-512; secrets as env:NAME or file:PATH
registry: {url: "", username: "", password: "", token: "", ca: ""}  # schema registry with Confluent's API

sessions:
  timeout: 30s                # without a heartbeat the partitions go to another process
  rebalance: 30s
  drain: 15s                  # how long a lane may take to load what it has when its partition moves

listen: 127.0.0.1:0           # /healthz, /readyz and /metrics; port 0: a free one, which is logged; empty: none
pprof: false                  # also /debug/pprof, only on a loopback address
log: console                  # json or console
`

// streamState is the folder of the state of a stream.
func (c *streamConfig) streamState(t target) string {
	return filepath.Join(t.state(c.State), "streams", c.Group)
}
