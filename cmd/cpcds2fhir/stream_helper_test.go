package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cpcds2fhir/pipeline/streamrun"
)

// The tests of streams run the program as processes of their own, against a Kafka in this process.
// Whatever they look up in it is asked through an independent client.

// streamBench is an extract, and what a batch load of it leaves in a store.
type streamBench struct {
	dir, extract string
	env          []string
	want         map[string][]byte // the export
	secrets      []string          // values of members that no log may have
}

// newStreamBench makes an extract and loads it.
func newStreamBench(t *testing.T, args ...string) *streamBench {
	t.Helper()
	dir := t.TempDir()
	b := &streamBench{dir: dir, extract: filepath.Join(dir, "extract"),
		env: append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))}
	b.run(t, append([]string{"synth", "--out", b.extract}, args...)...)
	b.run(t, "load", "--quiet", "--to", "store:"+filepath.Join(dir, "batch"), b.extract)
	b.want = b.exported(t, filepath.Join(dir, "batch"))
	return b
}

// do runs a command to its end.
func (b *streamBench) do(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return b.doWith(t, "", args...)
}

// doWith runs a command with a text as its standard input.
func (b *streamBench) doWith(t *testing.T, input string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "cpcds2fhir", args...)
	c.Env, c.Stdin = b.env, strings.NewReader(input)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s: %v %v\n%s", strings.Join(args, " "), err, ctx.Err(), &errs)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// run runs a command that must succeed, and returns what it prints.
func (b *streamBench) run(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := b.do(t, args...)
	if code != 0 {
		t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

// exported returns the files of the export of a store.
func (b *streamBench) exported(t *testing.T, store string) map[string][]byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "export")
	b.run(t, "store", "export", "--store", store, "ndjson:"+dir)
	tree, err := readTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name := range tree {
		if !strings.HasSuffix(name, ".ndjson") {
			delete(tree, name)
		}
	}
	if len(tree) == 0 {
		t.Fatal("the export has no files")
	}
	return tree
}

// streamTest is one test: a Kafka, a store and a stream.yaml.
type streamTest struct {
	*streamBench
	t     *testing.T
	fake  *kfake.Cluster
	franz *kgo.Client
	dir   string
	addr  string
	topic string
	group string
	store string
	yaml  string
}

// test starts a Kafka. The topic does not exist.
func (b *streamBench) test(t *testing.T, opts ...kfake.Opt) *streamTest {
	t.Helper()
	opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "100", "group.initial.rebalance.delay.ms": "0", "message.max.bytes": "20971520"})}, opts...)
	fake, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	s := &streamTest{streamBench: b, t: t, fake: fake, dir: t.TempDir(), addr: strings.Join(fake.ListenAddrs(), ","), topic: "cpcds", group: "daemons"}
	s.store, s.yaml = filepath.Join(s.dir, "store"), filepath.Join(s.dir, "stream.yaml")
	if s.franz, err = kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.ProducerBatchMaxBytes(16<<20), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.franz.Close)
	return s
}

// quick are settings with which a killed process loses its partitions soon.
const quick = "sessions: {timeout: 3s, rebalance: 3s, drain: 500ms}\n"

// configure writes stream.yaml: the four keys that it must have, and more.
func (s *streamTest) configure(more ...string) {
	s.t.Helper()
	text := fmt.Sprintf("brokers: [%s]\ngroup: %s\nto: store:%s\n", s.addr, s.group, s.store)
	all := strings.Join(more, "")
	if !strings.Contains("\n"+all, "\ntopics:") {
		text += fmt.Sprintf("topics: [%s]\n", s.topic)
	}
	if err := os.WriteFile(s.yaml, []byte(text+all), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// publish publishes the extract.
func (s *streamTest) publish(args ...string) string {
	s.t.Helper()
	return s.run(s.t, append([]string{"kafka", "publish", s.extract, "--brokers", s.addr, "--topic", s.topic, "--quiet"}, args...)...)
}

// daemon is a running stream.
type daemon struct {
	t    *testing.T
	c    *exec.Cmd
	out  *watched
	done chan struct{}
	url  string
}

// watched collects what a process writes.
type watched struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// stream starts a daemon.
func (s *streamTest) stream() *daemon {
	s.t.Helper()
	d := &daemon{t: s.t, c: exec.Command("cpcds2fhir", "stream", "--config", s.yaml), out: &watched{}, done: make(chan struct{})}
	d.c.Env, d.c.Dir = s.env, s.dir
	d.c.Stdout, d.c.Stderr = d.out, d.out
	if err := d.c.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = d.c.Wait() // its exit code is looked at
		close(d.done)
	}()
	s.t.Cleanup(func() {
		_ = d.c.Process.Kill() // it may be over
		<-d.done
		if s.t.Failed() {
			s.t.Logf("a stream said:\n%s", d.out)
		}
		s.silent("the log of a stream", d.out.String())
	})
	return d
}

// address waits for the HTTP server of the daemon.
func (d *daemon) address() string {
	d.t.Helper()
	if d.url == "" {
		d.says("listening")
		for line := range strings.Lines(d.out.String()) {
			if _, rest, ok := strings.Cut(line, `"address": "`); ok {
				d.url = "http://" + rest[:strings.Index(rest, `"`)]
				break
			}
		}
	}
	return d.url
}

// get asks the HTTP server of the daemon.
func (d *daemon) get(path string) (code int, body string) {
	d.t.Helper()
	r, err := http.Get(d.address() + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

// says waits until the daemon has said something.
func (d *daemon) says(text string) {
	d.t.Helper()
	eventually(d.t, "the stream says "+strconv.Quote(text), func() bool {
		return strings.Contains(d.out.String(), text) || d.ended()
	})
	if !strings.Contains(d.out.String(), text) {
		d.t.Fatalf("the stream ended and did not say %q:\n%s", text, d.out)
	}
}

func (d *daemon) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// exit waits until the daemon ends by itself.
func (d *daemon) exit() int {
	d.t.Helper()
	select {
	case <-d.done:
	case <-time.After(20 * time.Second):
		d.t.Fatalf("the stream goes on:\n%s", d.out)
	}
	return d.c.ProcessState.ExitCode()
}

// stop stops the daemon as an operator does; it must end with 0.
func (d *daemon) stop() {
	d.t.Helper()
	if err := d.c.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatalf("%v\n%s", err, d.out)
	}
	if code := d.exit(); code != 0 {
		d.t.Errorf("the stopped stream ended with %d:\n%s", code, d.out)
	}
}

// signal sends the process a signal by its name.
func (d *daemon) signal(name string) error {
	return d.c.Process.Signal(map[string]syscall.Signal{"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "TERM": syscall.SIGTERM}[name])
}

func (d *daemon) kill() {
	_ = d.c.Process.Kill() // it may be over
	<-d.done
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(25 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// ask sends a request to the Kafka.
func ask[R any](s *streamTest, r kmsg.Request) R {
	s.t.Helper()
	resp, err := s.franz.Request(s.t.Context(), r)
	if err != nil {
		s.t.Fatalf("%T: %v", r, err)
	}
	return resp.(R)
}

// committed returns what the group has committed, by topic and partition.
func (s *streamTest) committed() map[string]int64 {
	s.t.Helper()
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Group = s.group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = s.group
	r.Groups = append(r.Groups, g)
	list := map[string]int64{}
	resp := ask[*kmsg.OffsetFetchResponse](s, r)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			list[fmt.Sprintf("%s/%d", t.Topic, p.Partition)] = p.Offset
		}
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				list[fmt.Sprintf("%s/%d", t.Topic, p.Partition)] = p.Offset
			}
		}
	}
	return list
}

// loaded waits until everything in the topics is committed, and the daemons live.
func (s *streamTest) loaded(daemons ...*daemon) {
	s.t.Helper()
	s.loadedOf([]string{s.topic}, daemons...)
}

func (s *streamTest) loadedOf(topics []string, daemons ...*daemon) {
	s.t.Helper()
	var last string
	defer func() {
		if s.t.Failed() {
			s.t.Log(last)
		}
	}()
	eventually(s.t, "all is committed", func() bool {
		for _, d := range daemons {
			if d.ended() {
				s.t.Fatalf("a stream has ended:\n%s", d.out)
			}
		}
		committed := s.committed()
		for _, topic := range topics {
			for _, p := range s.fake.PartitionInfos(topic) {
				if at, ok := committed[fmt.Sprintf("%s/%d", topic, p.Partition)]; p.HighWatermark > 0 && (!ok || at != p.HighWatermark) {
					last = fmt.Sprintf("partition %d of %s: committed %d, ends at %d", p.Partition, topic, at, p.HighWatermark)
					return false
				}
			}
		}
		return true
	})
}

// same compares the export of the store with that of the batch load.
func (s *streamTest) same() {
	s.t.Helper()
	sameTree(s.t, s.exported(s.t, s.store), s.want)
	if s.t.Failed() {
		rules := map[string]int{}
		for _, l := range s.letters() {
			rules[headerOf(l, deadStage)+" "+headerOf(l, deadTable)+" "+headerOf(l, deadRule)]++
		}
		s.t.Logf("manifests %+v, dead letters %v", s.manifests(), rules)
	}
}

func sameTree(t *testing.T, got, want map[string][]byte) {
	t.Helper()
	for name, text := range want {
		if bytes.Equal(got[name], text) {
			continue
		}
		g, w := lines(got[name]), lines(text)
		t.Errorf("%s has %d lines, want %d", name, len(g), len(w))
		shown := 0
		for _, l := range w {
			if !slices.Contains(g, l) && shown < 2 {
				shown++
				t.Errorf("missing: %.300s", l)
			}
		}
		for _, l := range g {
			if !slices.Contains(w, l) && shown < 4 {
				shown++
				t.Errorf("not wanted: %.300s", l)
			}
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("%s is not wanted", name)
		}
	}
}

func lines(b []byte) []string { return strings.Split(strings.TrimSpace(string(b)), "\n") }

// manifests reads the manifests of the stream, which must balance, and sums up their messages.
func (s *streamTest) manifests() (m streamrun.MessageCount) {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.store+".state", "streams", s.group, "manifests", "*.json"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("there are no manifests: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			s.t.Fatal(err)
		}
		var x streamrun.Manifest
		if err := json.Unmarshal(b, &x); err != nil {
			s.t.Fatal(err)
		}
		if !x.Balanced {
			s.t.Errorf("%s does not balance:\n%s", filepath.Base(f), b)
		}
		var sum streamrun.MessageCount
		for i := range x.Lanes {
			sum.Add(&x.Lanes[i].Messages)
		}
		if sum != x.Messages {
			s.t.Errorf("%s: the lanes have %+v, in all %+v", filepath.Base(f), sum, x.Messages)
		}
		m.Add(&x.Messages)
		s.silent("a manifest", string(b))
	}
	return m
}

// silent checks that a text has no value of a member.
func (s *streamTest) silent(what, text string) {
	s.t.Helper()
	for _, v := range s.secrets {
		if strings.Contains(text, v) {
			s.t.Errorf("%s has the value %q of a member", what, v)
		}
	}
}

// records reads what is in a topic now.
func (s *streamTest) records(topic string) (list []*kgo.Record) {
	s.t.Helper()
	left, offsets := 0, map[int32]kgo.Offset{}
	for _, p := range s.fake.PartitionInfos(topic) {
		left += int(p.HighWatermark - p.LogStartOffset)
		offsets[p.Partition] = kgo.NewOffset().At(p.LogStartOffset)
	}
	if left == 0 {
		return nil
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(s.fake.ListenAddrs()...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	for len(list) < left {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			s.t.Fatalf("read %s: %v, with %d of %d", topic, err, len(list), left)
		}
		list = append(list, f.Records()...)
	}
	return list
}

// letters returns the dead letters: of each key the last one.
func (s *streamTest) letters() map[string]*kgo.Record {
	s.t.Helper()
	list := map[string]*kgo.Record{}
	for _, r := range s.records(s.topic + ".dlq") {
		if r.Value == nil {
			delete(list, string(r.Key))
		} else {
			list[string(r.Key)] = r
		}
	}
	return list
}

func headerOf(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// create makes a topic.
func (s *streamTest) create(topic string, partitions int) {
	s.t.Helper()
	if err := s.fake.CreateTopic(topic, int32(partitions), map[string]string{"max.message.bytes": "20971520"}); err != nil {
		s.t.Fatal(err)
	}
}

// send publishes a record.
func (s *streamTest) send(records ...*kgo.Record) {
	s.t.Helper()
	for _, r := range records {
		if r.Topic == "" {
			r.Topic = s.topic
		}
	}
	if err := s.franz.ProduceSync(s.t.Context(), records...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

// of makes a record of a table.
func of(table, key, value string) *kgo.Record {
	r := &kgo.Record{Key: []byte(key), Value: []byte(value)}
	if table != "" {
		r.Headers = []kgo.RecordHeader{{Key: streamrun.TableHeader, Value: []byte(table)}}
	}
	return r
}

// null makes a record without a value.
func null(table, key string) *kgo.Record {
	r := of(table, key, "")
	r.Value = nil
	return r
}

// messages returns the messages of the extract as publish writes them, in the order of their partitions.
func (s *streamTest) messages(args ...string) []*kgo.Record {
	s.t.Helper()
	topic := s.topic
	s.topic = "source-" + strconv.Itoa(len(args)) + s.topic
	s.publish(append([]string{"--partitions", "1"}, args...)...)
	list := s.records(s.topic)
	s.topic = topic
	for i, r := range list {
		list[i] = &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers}
	}
	return list
}

func codeOf(code int16) string {
	if err := kerr.ErrorForCode(code); err != nil {
		return err.Error()
	}
	return ""
}

// fakeRegistry is a schema registry with the paths that a stream and publish use.
type fakeRegistry struct {
	*httptest.Server
	mu      sync.Mutex
	schemas []json.RawMessage
	down    bool
	asked   int
}

func newFakeRegistry(t *testing.T) *fakeRegistry {
	r := &fakeRegistry{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /subjects/{subject}/versions", func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		at := slices.IndexFunc(r.schemas, func(x json.RawMessage) bool { return bytes.Equal(x, b) })
		if at < 0 {
			at = len(r.schemas)
			r.schemas = append(r.schemas, b)
		}
		fmt.Fprintf(w, `{"id":%d}`, at+1)
	})
	mux.HandleFunc("GET /schemas/ids/{id}", func(w http.ResponseWriter, q *http.Request) {
		id, _ := strconv.Atoi(q.PathValue("id"))
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked++
		if id < 1 || id > len(r.schemas) {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error_code":40403,"message":"Schema not found"}`)
			return
		}
		_, _ = w.Write(r.schemas[id-1])
	})
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		down := r.down
		r.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		mux.ServeHTTP(w, q)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *fakeRegistry) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}
