package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cpcds2fhir/pipeline/streamrun"
)

// TestKafka is what the brokers and their topics can be like.
func TestKafka(t *testing.T) {
	b := newStreamBench(t, "--claims", "60", "--seed", "9")
	b.learnSecrets(t)
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *streamBench)
	}{
		{"passwords", testPasswords},
		{"commands", testKafkaCommands},
		{"large letters", testLargeLetters},
		{"transactions", testTransactions},
		{"compaction", testCompaction},
		{"more partitions", testMorePartitions},
		{"topics of tables", testTopicsOfTables},
		{"stopped process", testStoppedProcess},
		{"stopped at the start", testStoppedAtStart},
		{"budget", testBudget},
		{"another store", testAnotherStore},
		{"load after a stream", testLoadAfterStream},
	} {
		t.Run(tt.name, func(t *testing.T) {
			switch tt.name {
			case "passwords", "commands", "another store":
				skipNothingAtOnce(t)
			}
			t.Parallel()
			tt.run(t, b)
		})
	}
}

// testPasswords logs in with all mechanisms.
func testPasswords(t *testing.T, b *streamBench) {
	s := b.test(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "joe", "hunter-two"), kfake.Superuser("SCRAM-SHA-256", "joe", "hunter-two"),
		kfake.Superuser("SCRAM-SHA-512", "joe", "hunter-two"))
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte("hunter-two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := *b
	x.env = append(b.env, "STREAM_USER=joe")
	s.streamBench = &x
	for i, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		s.configure(fmt.Sprintf("sasl: {mechanism: %s, username: env:STREAM_USER, password: 'file:%s'}\n", mechanism, password))
		if i == 0 {
			s.run(t, "kafka", "publish", s.extract, "--config", s.yaml, "--topic", s.topic, "--quiet")
		}
		if out := s.run(t, "stream", "check", "--config", s.yaml); !strings.Contains(out, "3 partitions") {
			t.Errorf("%s: %s", mechanism, out)
		}
		if i < 2 {
			continue // it takes a while until a stream gives up
		}
		s.configure(fmt.Sprintf("sasl: {mechanism: %s, username: env:STREAM_USER, password: env:HOME}\n", mechanism))
		start := time.Now()
		_, errs, code := s.do(t, "stream", "--config", s.yaml)
		if code != exitEnvironment || strings.Contains(errs, s.streamBench.dir) || time.Since(start) > 15*time.Second {
			t.Errorf("%s with a wrong password: exit code %d after %s: %s", mechanism, code, time.Since(start), errs)
		}
	}
}

// testKafkaCommands is what the commands refuse, and what they say.
func testKafkaCommands(t *testing.T, b *streamBench) {
	s := b.test(t)
	brokers := []string{"--brokers", s.addr}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"kafka", "publish", s.extract, "--topic", "t"}, exitUsage, "--brokers"},
		{append([]string{"kafka", "publish", s.extract}, brokers...), exitUsage, "--topic"},
		{append([]string{"kafka", "publish", "--topic", "t"}, brokers...), exitUsage, "extract"},
		{append([]string{"kafka", "publish", filepath.Join(s.dir, "nothing"), "--topic", "t"}, brokers...), exitEnvironment, "nothing"},
		{append([]string{"kafka", "publish", s.extract, "--topic", "t", "--format", "avro"}, brokers...), exitUsage, "--registry"},
		{append([]string{"kafka", "publish", s.extract, "--topic", "t", "--format", "avro", "--grain", "line"}, brokers...), exitUsage, ""},
		{append([]string{"kafka", "publish", s.extract, "--topic", "t", "--key", "day"}, brokers...), exitUsage, "--key"},
		{append([]string{"kafka", "publish", s.extract, "--topic", "t", "--compression", "rar"}, brokers...), exitUsage, "--compression"},
		{append([]string{"kafka", "lag"}, brokers...), exitUsage, "--group"},
		{append([]string{"kafka", "lag", "--group", "g", "--topics", "nothing"}, brokers...), exitEnvironment, "nothing"},
		{append([]string{"kafka", "dlq", "list"}, brokers...), exitUsage, "--topic"},
		{append([]string{"kafka", "dlq", "list", "--topic", "nothing"}, brokers...), exitEnvironment, "nothing"},
		{append([]string{"kafka", "dlq", "show", "--topic", "nothing"}, brokers...), exitUsage, "position"},
		{[]string{"stream"}, exitUsage, "--config"},
		{[]string{"stream", "check"}, exitUsage, "--config"},
	} {
		if out, errs, code := s.do(t, tt.args...); code != tt.code || !strings.Contains(errs, tt.want) || out != "" {
			t.Errorf("%s: exit code %d, want %d; %s%s, want it to say %q", strings.Join(tt.args, " "), code, tt.code, out, errs, tt.want)
		}
	}
	for _, topic := range []string{"t", "nothing"} {
		if s.fake.TopicInfo(topic) != nil {
			t.Errorf("the topic %s was created", topic)
		}
	}
	s.create(s.topic, 2)
	if out := s.publish("--partitions", "5"); out != "" || len(s.fake.PartitionInfos(s.topic)) != 2 {
		t.Errorf("publish --quiet: %q, %d partitions", out, len(s.fake.PartitionInfos(s.topic)))
	}
	out := s.run(t, append([]string{"kafka", "lag", "--group", "g", "--topics", s.topic, "--output", "json"}, brokers...)...)
	sum := int64(0)
	for _, line := range lines([]byte(out)) {
		var r lagRow
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Committed != -1 {
			t.Errorf("lag of a group that has read nothing: %v %s", err, line)
		}
		sum += r.Lag
	}
	if n := len(s.records(s.topic)); sum != int64(n) {
		t.Errorf("the lag is %d, the topic has %d messages", sum, n)
	}
	if _, errs, code := s.do(t, "kafka", "publish", s.extract, "--brokers", s.addr, "--topic", "zero", "--partitions", "0"); code != exitUsage {
		t.Errorf("--partitions 0: exit code %d, %s", code, errs)
	}
}

// testLargeLetters has dead letters that are too large for their topic.
func testLargeLetters(t *testing.T, b *streamBench) {
	s := b.test(t)
	s.create(s.topic, 1)
	if err := s.fake.CreateTopic(s.topic+".dlq", 1, map[string]string{"max.message.bytes": "100000"}); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 300_000) // it cannot be compressed
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	large, small := of("claims", "large", "{"+string(noise)), of("claims", "small", "{")
	s.send(large, small)
	s.configure()
	d := s.stream()
	s.loaded(d)
	d.stop()
	letters := s.letters()
	l := letters[fmt.Sprintf("%s/0/%d", s.topic, large.Offset)]
	if len(letters) != 2 || l == nil {
		t.Fatalf("there are %d dead letters", len(letters))
	}
	if len(l.Value) != 0 || headerOf(l, deadSize) != "300001" || headerOf(l, deadRule) == "" || headerOf(l, deadKey) != "large" {
		t.Errorf("the large dead letter has %d bytes, headers %v", len(l.Value), l.Headers)
	}
	show := s.run(t, "kafka", "dlq", "show", string(l.Key), "--config", s.yaml, "--show-values")
	if !strings.Contains(show, "300,001 bytes, too large") {
		t.Errorf("show: %s", show)
	}
	out := s.run(t, "kafka", "dlq", "replay", "--config", s.yaml)
	if !strings.Contains(out, "1 message replayed") || !strings.Contains(out, "too large") {
		t.Errorf("replay: %s", out)
	}
	if letters := s.letters(); len(letters) != 2 || letters[string(l.Key)] == nil {
		t.Errorf("after the replay there are %d dead letters, want both: none is loaded yet", len(letters))
	}
}

// testTransactions has an aborted transaction and markers in the topic.
func testTransactions(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	s.create(s.topic, 1)
	c, err := kgo.NewClient(kgo.SeedBrokers(s.fake.ListenAddrs()...), kgo.TransactionalID("source"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	transaction := func(end kgo.TransactionEndTry, list ...*kgo.Record) {
		t.Helper()
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			r.Topic = s.topic
		}
		if err := c.ProduceSync(t.Context(), list...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := c.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	claims := claimsOf(good, "claims")
	transaction(kgo.TryAbort, null("claims", "x"), of("claims", "y", "{"))
	transaction(kgo.TryCommit, good[:50]...)
	s.configure()
	d := s.stream()
	var rest []*kgo.Record
	for _, r := range good[50:] {
		rest = append(rest, &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	transaction(kgo.TryCommit, rest...)
	transaction(kgo.TryAbort, null("claims", string(claims[0].Key)), of("claims", "z", "{"))
	s.loaded(d)
	d.stop()
	s.settled()
	if m := s.manifests(); m.Read != int64(len(good)) || len(s.letters()) > 0 {
		t.Errorf("the manifests have %+v, want %d messages; there are %d dead letters", m, len(good), len(s.letters()))
	}
}

// testCompaction has holes in the topic, one at its end.
func testCompaction(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	if err := s.fake.CreateTopic(s.topic, 1, map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0", "segment.ms": "1"}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var list []*kgo.Record
		for _, r := range good {
			list = append(list, &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers})
		}
		s.send(list...)
		time.Sleep(20 * time.Millisecond)
	}
	s.fake.Compact()
	s.configure()
	d := s.stream()
	s.loaded(d)
	d.stop()
	s.settled()
	if m := s.manifests(); m.Read < int64(len(good)) {
		t.Errorf("the manifests have %+v", m)
	}
}

// testMorePartitions adds partitions while the stream runs.
func testMorePartitions(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	s.create(s.topic, 1)
	s.send(good[:40]...)
	s.configure(quick)
	d := s.stream()
	s.loaded(d)
	r := kmsg.NewPtrCreatePartitionsRequest()
	r.TimeoutMillis = 5000
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = s.topic, 3
	r.Topics = append(r.Topics, topic)
	if code := ask[*kmsg.CreatePartitionsResponse](s, r).Topics[0].ErrorCode; code != 0 {
		t.Fatal(codeOf(code))
	}
	second := s.stream() // with a new generation the others look at once, not after half a minute
	second.says("joined the group")
	s.franz.ForceMetadataRefresh()
	eventually(t, "the client knows three partitions", func() bool {
		return s.franz.ProduceSync(t.Context(), &kgo.Record{Topic: s.topic, Partition: 2, Key: good[40].Key, Value: good[40].Value, Headers: good[40].Headers}).FirstErr() == nil
	})
	for i, m := range good[41:] {
		m.Partition = int32(i % 3)
	}
	s.send(good[41:]...)
	s.loaded(d, second)
	d.stop()
	second.stop()
	s.settled()
}

// testTopicsOfTables has a topic for each table, without headers.
func testTopicsOfTables(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	topics := map[string]string{"claims": "adjudicated", "members": "cpcds.members", "coverages": "cpcds-coverages", "providers": "providers", "organizations": "orgs"}
	var names []string
	for table, name := range topics {
		names = append(names, name)
		s.create(name, 1)
		var list []*kgo.Record
		for _, r := range claimsOf(good, table) {
			list = append(list, &kgo.Record{Topic: name, Key: r.Key, Value: r.Value})
		}
		s.send(list...)
	}
	s.configure("topics: [adjudicated, cpcds.members, cpcds-coverages, providers, {name: orgs, table: organizations}]\n")
	s.topic = "adjudicated" // whose topic of dead letters it is
	d := s.stream()
	s.loadedOf(names, d)
	d.stop()
	if n := len(s.letters()); n > 0 {
		t.Errorf("%d good messages are dead letters", n)
	}
	s.settled()
	if s.fake.TopicInfo("adjudicated.dlq") == nil {
		t.Error("there is no topic of dead letters of the first topic")
	}
}

// testStoppedProcess stops a process with SIGSTOP until another has its partitions, and lets it go on.
func testStoppedProcess(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	s.create(s.topic, 2)
	s.configure(quick)
	for i, m := range good {
		m.Partition = int32(i % 2)
	}
	a := s.stream()
	a.says("reading")
	c := s.stream()
	c.says("reading")
	s.send(good[:60]...)
	if err := a.signal("STOP"); err != nil {
		t.Fatal(err)
	}
	s.send(good[60:]...)
	// Its partitions go to the other; the store, if it has it open, stays its own as long as it lives.
	eventually(t, "the other process has both partitions", func() bool { return strings.Contains(c.out.String(), `"partitions": 2`) })
	time.Sleep(time.Second)
	if err := a.signal("CONT"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	if a.ended() {
		t.Errorf("the process that was stopped has ended:\n%s", a.out)
	}
	s.loaded(a, c)
	a.stop()
	c.stop()
	s.settled()
	if m := s.manifests(); m.Read != int64(len(good)) {
		t.Errorf("the manifests have %+v, want %d messages", m, len(good))
	}
}

// testStoppedAtStart stops a stream before it reads.
func testStoppedAtStart(t *testing.T, b *streamBench) {
	s := b.test(t)
	s.create(s.topic, 1)
	s.configure()
	for i := range 4 {
		d := s.stream()
		time.Sleep(time.Duration(60+30*i) * time.Millisecond)
		if err := d.signal("TERM"); err != nil {
			t.Fatal(err)
		}
		if code := d.exit(); code != 0 && strings.Contains(d.out.String(), "stopped") {
			t.Errorf("a stream that SIGTERM stops while it begins ends with %d", code)
		}
	}
}

// testBudget stops a stream with too many rejects.
func testBudget(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	s.create(s.topic, 1)
	s.send(good...)
	claims := claimsOf(good, "claims")
	var bad []*kgo.Record
	for i := range 30 {
		bad = append(bad, changed(t, claims[i], map[string]any{"claim_type": "spaceship", "claim_unique_identifier": fmt.Sprint("bad", i)}))
	}
	s.send(bad...)
	s.configure("max_rejects: 20\n")
	d := s.stream()
	if code := d.exit(); code != exitFailed || !strings.Contains(d.out.String(), "max_rejects") {
		t.Errorf("exit code %d:\n%s", code, d.out)
	}
	if n := len(s.letters()); n <= 20 {
		t.Errorf("there are %d dead letters", n)
	}
	for _, l := range s.letters() {
		if headerOf(l, streamrun.TableHeader) != "claims" || headerOf(l, deadRule) != "code-claim_type" {
			t.Errorf("a dead letter has the rule %s", headerOf(l, deadRule))
		}
	}
	s.manifests()
}

// testAnotherStore is a process of the group that loads into a store of its own, as on another machine: it
// gets no partitions.
func testAnotherStore(t *testing.T, b *streamBench) {
	s := b.test(t)
	s.publish()
	s.configure(quick)
	first := s.stream()
	s.loaded(first)
	own := s.store
	s.store = filepath.Join(s.dir, "other")
	s.configure(quick)
	second := s.stream()
	second.says(`"partitions": 0`)
	first.says("some processes of the group load into another store")
	s.send(claimsOf(s.messages(), "claims")[0])
	s.loaded(first, second)
	second.stop()
	first.stop()
	out := s.run(t, "store", "stats", "--store", s.store)
	if !regexp.MustCompile(`ExplanationOfBenefit +0 `).MatchString(out) {
		t.Errorf("the other store was loaded: %s", out)
	}
	s.store = own
	s.same()
}

// testLoadAfterStream loads the claims of an extract whose small tables only a stream has brought: some of
// them before the load, the others after it, which lets the rejected claims be replayed.
func testLoadAfterStream(t *testing.T, b *streamBench) {
	s := b.test(t)
	claims := filepath.Join(s.dir, "claims")
	if err := os.Mkdir(claims, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(s.extract, "claims*"))
	if err != nil || len(files) == 0 {
		t.Fatal("the extract has no claims", err)
	}
	for _, f := range files {
		if err := os.Symlink(f, filepath.Join(claims, filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	s.publish("--where", `table != "claims" && table != "coverages"`)
	s.configure()
	d := s.stream()
	s.loaded(d)
	d.stop()
	out, errs, code := s.do(t, "load", "--to", "store:"+s.store, claims)
	if code != exitFailed || !strings.Contains(out+errs, "unknown-coverage") || strings.Contains(out+errs, "unknown-member") {
		t.Errorf("load without coverages: exit code %d\n%s%s", code, out, errs)
	}
	s.publish("--where", `table == "coverages"`)
	d = s.stream()
	s.loaded(d)
	d.stop()
	s.run(t, "rejects", "replay", "--to", "store:"+s.store)
	s.same()
}
