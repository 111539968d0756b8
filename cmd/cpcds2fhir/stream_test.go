package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cpcds2fhir/pipeline/streamrun"
)

// TestStream loads topics that 'kafka publish' has written, and compares with a batch load.
func TestStream(t *testing.T) {
	b := newStreamBench(t, "--claims", "250", "--seed", "5")
	b.learnSecrets(t)
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *streamBench)
	}{
		{"four keys", testFourKeys},
		{"forms", testForms},
		{"where", testPublishWhere},
		{"poison", testPoison},
		{"replay", testReplay},
		{"places", testPlaces},
		{"stop", testStopAtOnce},
		{"late", testLate},
		{"tombstones", testTombstones},
		{"shuffled", testShuffled},
		{"registry down", testRegistryDown},
		{"recreated", testRecreatedTopic},
		{"offsets", testOffsets},
		{"gap", testGap},
		{"check", testStreamCheck},
		{"refused", testStreamRefused},
		{"files", testStreamFiles},
		{"server", testStreamServer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			switch tt.name {
			case "where", "check", "refused":
				skipNothingAtOnce(t)
			}
			t.Parallel()
			tt.run(t, b)
		})
	}
}

// skipNothingAtOnce skips a test in short runs, which are for the race detector: what its processes do at the
// same time, other tests of streams do as well, and most of its time goes into starting them.
func skipNothingAtOnce(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("other tests do the same things at the same time")
	}
}

// learnSecrets finds values of members: names and ids.
func (b *streamBench) learnSecrets(t *testing.T) {
	t.Helper()
	var patients []string
	for name, text := range b.want {
		if strings.HasPrefix(name, "Patient") {
			patients = append(patients, lines(text)...)
		}
	}
	for _, line := range patients {
		var p struct {
			Identifier []struct{ Value string }
			Name       []struct{ Family string }
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		for _, i := range p.Identifier {
			if len(i.Value) > 5 {
				b.secrets = append(b.secrets, i.Value)
			}
		}
		for _, n := range p.Name {
			if len(n.Family) > 5 {
				b.secrets = append(b.secrets, n.Family)
			}
		}
	}
	if len(b.secrets) < 5 {
		t.Fatalf("the extract has few values to look for: %q", b.secrets)
	}
}

// testFourKeys is what a script outside the project does.
func testFourKeys(t *testing.T, b *streamBench) {
	s := b.test(t)
	account := s.run(t, "kafka", "publish", s.extract, "--brokers", s.addr, "--topic", s.topic, "--output", "json")
	var published struct {
		Messages int64
		Tables   map[string]int64
	}
	if err := json.Unmarshal([]byte(account), &published); err != nil {
		t.Fatal(err)
	}
	if n := int64(len(s.records(s.topic))); n != published.Messages || published.Tables["claims"] != 250 || len(published.Tables) != 5 {
		t.Errorf("the topic has %d messages, publish says %s", n, account)
	}
	s.configure()
	d := s.stream()
	s.loaded(d)
	code, metrics := d.get("/metrics")
	if code != 200 || !strings.Contains(metrics, "cpcds2fhir_stream_lag_messages") {
		t.Errorf("metrics: %d %.200s", code, metrics)
	}
	s.silent("the metrics", metrics)
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := d.get(path); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := d.get("/debug/pprof/"); code != 404 {
		t.Errorf("profiles are there without pprof: true: %d", code)
	}
	lag := s.run(t, "kafka", "lag", "--config", s.yaml, "--output", "json")
	for _, line := range lines([]byte(lag)) {
		var r lagRow
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Lag != 0 || r.Committed != r.End && r.Committed >= 0 {
			t.Errorf("lag: %v %s", err, line)
		}
	}
	d.stop()
	s.same()
	m := s.manifests()
	if m.Read != published.Messages || m.Records+m.Released != published.Messages {
		t.Errorf("the manifests have %+v, published were %d", m, published.Messages)
	}
	if dead := s.letters(); len(dead) > 0 {
		t.Errorf("there are %d dead letters", len(dead))
	}
	s.private()
	// Again: nothing is read twice, and nothing changes.
	d = s.stream()
	d.says("reading")
	d.stop()
	if again := s.manifests(); again != m {
		t.Errorf("the second stream has read: %+v, before %+v", again, m)
	}
	s.same()
}

// private checks that only the owner can read what the stream has written.
func (s *streamTest) private() {
	s.t.Helper()
	for _, root := range []string{s.store, s.store + ".state"} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			i, err := e.Info()
			if err == nil && i.Mode().Perm()&0o077 != 0 {
				rel, _ := filepath.Rel(s.dir, path)
				s.t.Errorf("others may read %s: %s", rel, i.Mode())
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			s.t.Error(err)
		}
	}
}

// arrived waits until nothing waits any longer that the daemon has let wait.
func (d *daemon) arrived() {
	d.t.Helper()
	eventually(d.t, "nothing waits", func() bool {
		_, metrics := d.get("/metrics")
		n := 0.0
		for line := range strings.Lines(metrics) {
			for outcome, sign := range map[string]float64{"waiting": 1, "released": -1, "released_dead_letters": -1, "expired": -1} {
				if value, ok := strings.CutPrefix(line, `cpcds2fhir_stream_messages_total{outcome="`+outcome+`"} `); ok {
					x, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
					if err != nil {
						d.t.Fatal(err)
					}
					n += sign * x
				}
			}
		}
		return n == 0
	})
}

// settled compares the export of the store with that of the batch load, after the next processes have
// found what was left: records that wait, although what they refer to has arrived.
func (s *streamTest) settled() {
	s.t.Helper()
	for range 4 {
		if diffTrees(s.exported(s.t, s.store), s.want) == "" {
			return
		}
		d := s.stream()
		d.says("reading")
		time.Sleep(300 * time.Millisecond)
		d.stop()
	}
	s.same()
}

// testForms publishes in all forms, with all keys and compressions.
func testForms(t *testing.T, b *streamBench) {
	for _, form := range []struct{ format, key, compression string }{
		{"avro", "family", "lz4"}, {"protobuf", "member", "snappy"}, {"json-schema", "claim", "gzip"}, {"json", "member", "none"}, {"json", "family", "zstd"},
	} {
		t.Run(form.format+" "+form.key, func(t *testing.T) {
			if form.format != "avro" && form.compression != "zstd" { // one with a registry and one without
				skipNothingAtOnce(t)
			}
			s := b.test(t)
			r := newFakeRegistry(t)
			args := []string{"--format", form.format, "--key", form.key, "--compression", form.compression}
			more := ""
			if form.format != "json" {
				args = append(args, "--registry", r.URL)
				more = fmt.Sprintf("topics: [{name: %s, format: registry}]\nregistry: {url: %q}\n", s.topic, r.URL)
			}
			s.publish(args...)
			s.configure(more)
			d := s.stream()
			s.loaded(d)
			d.arrived()
			d.stop()
			s.settled()
			if m := s.manifests(); m.Records+m.Released != m.Read || m.Read == 0 {
				t.Errorf("not all messages became records: %+v", m)
			}
			if form.key == "member" {
				s.together()
			}
			if r.asked > 10*5 {
				t.Errorf("the registry was asked %d times for %d schemas", r.asked, len(r.schemas))
			}
		})
	}
}

// together checks that the messages of a member are in one partition.
func (s *streamTest) together() {
	s.t.Helper()
	at := map[string]int32{}
	for _, r := range s.records(s.topic) {
		if table := headerOf(r, streamrun.TableHeader); table != "claims" && table != "members" && table != "coverages" {
			continue
		}
		if p, ok := at[string(r.Key)]; ok && p != r.Partition {
			s.t.Error("the messages of a key are in two partitions")
		}
		at[string(r.Key)] = r.Partition
		if table := headerOf(r, streamrun.TableHeader); table == "claims" && headerOf(r, streamrun.RecordHeader) == "" {
			s.t.Error("a message with another key has no header with that of its record")
		}
	}
}

// testPublishWhere publishes a part, slowly.
func testPublishWhere(t *testing.T, b *streamBench) {
	s := b.test(t)
	where := `table != "claims" || record.claim_type == "pharmacy" && size(lines) > 0`
	var published struct {
		Messages int64
		LeftOut  int64 `json:"left_out"`
		Tables   map[string]int64
		Seconds  float64
	}
	account := s.run(t, "kafka", "publish", s.extract, "--brokers", s.addr, "--topic", s.topic, "--where", where, "--rate", "200/s", "--output", "json")
	if err := json.Unmarshal([]byte(account), &published); err != nil {
		t.Fatal(err)
	}
	if published.Tables["claims"] == 0 || published.Tables["claims"]+published.LeftOut != 250 {
		t.Errorf("published %s", account)
	}
	if least := float64(published.Messages)/200 - 0.1; published.Seconds < least {
		t.Errorf("%d messages in %.2f s are more than 200 a second", published.Messages, published.Seconds)
	}
	for _, r := range s.records(s.topic) {
		if headerOf(r, streamrun.TableHeader) == "claims" && !bytes.Contains(r.Value, []byte(`"claim_type":"pharmacy"`)) {
			t.Error("a claim was published that --where leaves out")
		}
	}
	for _, wrong := range []string{`record.claim_type`, `recor.claim_type == "x"`, `table ==`} {
		if _, errs, code := s.do(t, "kafka", "publish", s.extract, "--brokers", s.addr, "--topic", s.topic, "--where", wrong); code != exitUsage || !strings.Contains(errs, "--where") {
			t.Errorf("--where %q: %d %s", wrong, code, errs)
		}
	}
	for _, wrong := range []string{"0", "-1/s", "fast", "10/min", "NaN", "Inf"} {
		if _, errs, code := s.do(t, "kafka", "publish", s.extract, "--brokers", s.addr, "--topic", s.topic, "--rate", wrong); code != exitUsage {
			t.Errorf("--rate %q: %d %s", wrong, code, errs)
		}
	}
	s.configure()
	d := s.stream()
	s.loaded(d)
	d.arrived()
	d.stop()
	got := map[string]bool{}
	claims := int64(0)
	for name, text := range s.exported(t, s.store) {
		for _, l := range lines(text) {
			got[l] = true
		}
		if strings.HasPrefix(name, "ExplanationOfBenefit") {
			claims += int64(len(lines(text)))
		}
	}
	if claims != published.Tables["claims"] {
		t.Errorf("the store has %d claims, published were %d", claims, published.Tables["claims"])
	}
	for _, text := range s.want {
		for _, l := range lines(text) {
			delete(got, l)
		}
	}
	for l := range got {
		t.Errorf("not what the batch load made: %.300s", l)
		break
	}
}

// changed returns a message with other fields; nil removes one.
func changed(t *testing.T, r *kgo.Record, fields map[string]any) *kgo.Record {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal(r.Value, &m); err != nil {
		t.Fatal(err)
	}
	for k, v := range fields {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	value, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{Key: r.Key, Value: value, Headers: slices.Clone(r.Headers)}
}

// claimsOf returns the messages of a table.
func claimsOf(list []*kgo.Record, table string) (found []*kgo.Record) {
	for _, r := range list {
		if headerOf(r, streamrun.TableHeader) == table {
			found = append(found, r)
		}
	}
	return found
}

// testPoison sends messages that cannot be loaded among good ones.
func testPoison(t *testing.T, b *streamBench) {
	s := b.test(t)
	r := newFakeRegistry(t)
	good := s.messages()
	claim := claimsOf(good, "claims")[0]
	s.create(s.topic, 1)
	s.create("reg", 1)
	twoKeys := changed(t, claim, map[string]any{"claim_unique_identifier": nil, "lines": []map[string]string{
		{"claim_unique_identifier": "p11", "line_number": "1"}, {"claim_unique_identifier": "p12", "line_number": "2"}}})
	poison := []struct {
		name, topic, stage, rule string
		record                   *kgo.Record
	}{
		{"truncated", "", "decode", "message-truncated", of("claims", "p1", `{"claim_unique_identifier":"p1","lines":[{"line_number":"1"`)},
		{"not an object", "", "decode", "message-not-an-object", of("claims", "p2", `["claim_unique_identifier"]`)},
		{"not JSON", "", "decode", "message-not-json", of("claims", "p3", `claim_unique_identifier=p3`)},
		{"object as a value", "", "rules", "unknown-member", changed(t, claim, map[string]any{"member_id": map[string]any{"id": "m"}, "claim_unique_identifier": "p4"})},
		{"text as an amount", "", "rules", "value-money", changed(t, claim, map[string]any{"claim_total_submitted_amount": "much", "claim_unique_identifier": "p5"})},
		{"duplicate field", "", "decode", "message-duplicate-field", of("claims", "p6", `{"claim_unique_identifier":"p6","claim_unique_identifier":"p6b"}`)},
		{"not UTF-8", "", "decode", "message-not-utf8", of("claims", "p7", "{\"claim_unique_identifier\":\"p7\xff\"}")},
		{"empty", "", "decode", "message-empty", of("claims", "p8", "")},
		{"10 MB", "", "decode", "message-text-too-long", changed(t, claim, map[string]any{"claim_unique_identifier": "p9", "claim_payer_name": strings.Repeat("x", 10<<20)})},
		{"unknown table", "", "route", "message-of-unknown-table", of("invoices", "p10", `{"claim_unique_identifier":"p10"}`)},
		{"two keys", "", "rules", "message-with-several", twoKeys},
		{"breaks a rule", "", "rules", "code-claim_type", changed(t, claim, map[string]any{"claim_type": "spaceship", "claim_unique_identifier": "p13"})},
		{"no key", "", "rules", "required-claim-key", changed(t, claim, map[string]any{"claim_unique_identifier": ""})},
		{"tombstone without key", "", "route", "tombstone-without-key", &kgo.Record{}},
		{"unknown schema", "reg", "decode", "schema-unknown", of("claims", "r1", "\x00\x00\x00\x03\xe7rest")},
		{"truncated frame", "reg", "decode", "frame-truncated", of("claims", "r2", "\x00\x00")},
		{"no frame", "reg", "decode", "frame-unknown", of("claims", "r3", `{"claim_unique_identifier":"r3"}`)},
	}
	var mixed []*kgo.Record
	for i, m := range good {
		mixed = append(mixed, &kgo.Record{Key: m.Key, Value: m.Value, Headers: m.Headers})
		if i%20 == 0 && i/20 < len(poison) {
			p := poison[i/20]
			p.record.Topic = p.topic
			p.record.Headers = append(p.record.Headers, kgo.RecordHeader{Key: "source", Value: []byte("adjudication \x00\xff")}, kgo.RecordHeader{Key: "empty"})
			mixed = append(mixed, p.record)
		}
	}
	if len(mixed) != len(good)+len(poison) {
		t.Fatal("not all poison was mixed in")
	}
	s.send(mixed...)
	s.configure(fmt.Sprintf("topics: [%s, {name: reg, format: registry}]\nregistry: {url: %q}\n", s.topic, r.URL))
	d := s.stream()
	s.loadedOf([]string{s.topic, "reg"}, d)
	d.arrived()
	if code, body := d.get("/readyz"); code != 200 {
		t.Errorf("readyz: %d %s", code, body)
	}
	_, metrics := d.get("/metrics")
	s.silent("the metrics", metrics)
	d.stop()
	s.settled()
	if m := s.manifests(); m.DeadLetters+m.ReleasedDead != int64(len(poison)) || m.Records+m.Released != int64(len(good)) {
		t.Errorf("the manifests have %+v, want %d dead letters and %d records", m, len(poison), len(good))
	}
	letters := s.letters()
	if len(letters) != len(poison) {
		t.Errorf("there are %d dead letters, want %d", len(letters), len(poison))
	}
	for _, p := range poison {
		position := fmt.Sprintf("%s/%d/%d", p.record.Topic, p.record.Partition, p.record.Offset)
		l := letters[position]
		if l == nil {
			t.Errorf("%s: there is no dead letter with the key %s", p.name, position)
			continue
		}
		if stage, rule := headerOf(l, deadStage), headerOf(l, deadRule); stage != p.stage || rule != p.rule {
			t.Errorf("%s: stage %q, rule %q, want %q, %q", p.name, stage, rule, p.stage, p.rule)
		}
		if !bytes.Equal(l.Value, p.record.Value) {
			t.Errorf("%s: the dead letter has %d bytes, the message %d", p.name, len(l.Value), len(p.record.Value))
		}
		if got := fmt.Sprintf("%s/%s/%s", headerOf(l, deadTopic), headerOf(l, deadPartition), headerOf(l, deadOffset)); got != position {
			t.Errorf("%s: the headers say it was at %s, it was at %s", p.name, got, position)
		}
		if headerOf(l, deadKey) != string(p.record.Key) {
			t.Errorf("%s: the key is %q", p.name, headerOf(l, deadKey))
		}
		var own []kgo.RecordHeader
		for _, h := range l.Headers {
			if !strings.HasPrefix(h.Key, deadPrefix) {
				own = append(own, h)
			} else if h.Key != deadKey {
				s.silent("the header "+h.Key, string(h.Value))
			}
		}
		if diff := cmp.Diff(own, p.record.Headers); diff != "" {
			t.Errorf("%s: the headers of the message changed: %s", p.name, diff)
		}
	}
	s.listLetters(len(poison), fmt.Sprintf("%s/%d/%d", poison[4].record.Topic, 0, poison[4].record.Offset))
}

// testPlaces has a field of the header in the lines, which is the same claim, before and after
// messages that have it where it belongs. What becomes of a message must not depend on the others.
func testPlaces(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	claims := claimsOf(good, "claims")
	moved := func(r *kgo.Record, key string) *kgo.Record {
		m := map[string]any{}
		if err := json.Unmarshal(r.Value, &m); err != nil {
			t.Fatal(err)
		}
		for _, line := range m["lines"].([]any) {
			line.(map[string]any)["member_id"] = m["member_id"]
			line.(map[string]any)["claim_unique_identifier"] = key
		}
		return changed(t, r, map[string]any{"member_id": nil, "claim_unique_identifier": nil, "lines": m["lines"]})
	}
	s.create(s.topic, 1)
	s.send(good[:len(good)-len(claims)]...)
	s.configure()
	d := s.stream()
	s.loaded(d)
	s.send(moved(claims[0], "before"))
	s.loaded(d)
	s.send(claims...)
	s.loaded(d)
	s.send(moved(claims[0], "after"))
	s.loaded(d)
	d.arrived()
	d.stop()
	rules := map[string]int{}
	for _, l := range s.letters() {
		rules[headerOf(l, deadStage)+" "+headerOf(l, deadRule)+" "+headerOf(l, deadKey)[:1]]++
	}
	if len(rules) > 0 {
		t.Errorf("dead letters: %v", rules)
	}
	for _, key := range []string{"before", "after"} {
		if out := s.run(t, "store", "search", "--store", s.store, "ExplanationOfBenefit?identifier="+key); !strings.Contains(out, key) {
			t.Errorf("the claim %s is not there", key)
		}
	}
}

// testStopAtOnce stops the stream when the lag is 0, as a script does, and compares.
func testStopAtOnce(t *testing.T, b *streamBench) {
	for range 3 {
		s := b.test(t)
		s.publish("--key", "member")
		s.configure()
		d := s.stream()
		s.loaded(d)
		d.stop()
		if diffTrees(s.exported(t, s.store), s.want) != "" {
			t.Error("the lag was 0, and the stopped stream leaves records waiting, or made before what they refer to, although all has arrived")
		}
	}
}

// testLate lets claims wait for a member that never comes.
func testLate(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	claims := claimsOf(good, "claims")
	s.create(s.topic, 1)
	s.send(good...)
	late := changed(t, claims[0], map[string]any{"claim_unique_identifier": "late", "member_id": "M-NEVER", "coverage_id": "C-NEVER", "other_coverage_id": nil})
	late.Key = []byte("late")
	s.send(late)
	s.configure("late: 1s\n")
	d := s.stream()
	s.loaded(d)
	if n := len(s.letters()); n > 0 {
		t.Errorf("%d dead letters at once", n)
	}
	time.Sleep(time.Until(time.Now().Add(1100 * time.Millisecond)))
	d.stop()
	d = s.stream() // it looks at once for what has waited too long
	position := fmt.Sprintf("%s/0/%d", late.Topic, late.Offset)
	eventually(t, "a dead letter", func() bool { return len(s.letters()) > 0 })
	l := s.letters()[position]
	if l == nil {
		t.Fatal("the dead letter has another key")
	}
	if stage, rule := headerOf(l, deadStage), headerOf(l, deadRule); stage != "late" || rule != "waited-too-long" {
		t.Errorf("stage %q, rule %q", stage, rule)
	}
	if !bytes.Equal(l.Value, late.Value) || headerOf(l, deadKey) != "late" || headerOf(l, streamrun.TableHeader) != "claims" {
		t.Error("the dead letter is not the message")
	}
	// The member comes after all, and the letter is replayed.
	members := claimsOf(good, "members")
	member := changed(t, members[0], map[string]any{"member_id": "M-NEVER"})
	member.Key = []byte("M-NEVER")
	coverage := changed(t, claimsOf(good, "coverages")[0], map[string]any{"member_id": "M-NEVER", "coverage_id": "C-NEVER"})
	coverage.Key = []byte("C-NEVER")
	s.send(member, coverage)
	s.loaded(d)
	s.run(t, "kafka", "dlq", "replay", "--config", s.yaml, "--where", `rule == "waited-too-long" && stage == "late"`)
	s.loaded(d)
	eventually(t, "the dead letter is gone", func() bool { return len(s.letters()) == 0 })
	d.stop()
	if out := s.run(t, "store", "search", "--store", s.store, "ExplanationOfBenefit?identifier=late"); !strings.Contains(out, `"late"`) {
		t.Error("the replayed claim is not there")
	}
	s.manifests()
}

// listLetters looks at dead letters with the commands.
func (s *streamTest) listLetters(n int, position string) {
	s.t.Helper()
	list := s.run(s.t, "kafka", "dlq", "list", "--config", s.yaml)
	if !strings.Contains(list, strconv.Itoa(n)) || !strings.Contains(list, "value-money") {
		s.t.Errorf("list: %s", list)
	}
	asJSON := s.run(s.t, "kafka", "dlq", "list", "--config", s.yaml, "--output", "json", "--where", `stage == "rules"`)
	for _, line := range lines([]byte(asJSON)) {
		var l letter
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Stage != "rules" || l.Rule == "" {
			s.t.Errorf("list --output json: %v %s", err, line)
		}
	}
	show := s.run(s.t, "kafka", "dlq", "show", position, "--config", s.yaml)
	if !strings.Contains(show, "value-money") || strings.Contains(show, "much") || !strings.Contains(show, "--show-values") {
		s.t.Errorf("show: %s", show)
	}
	s.silent("dlq list", list+asJSON)
	s.silent("dlq show", show)
	if show := s.run(s.t, "kafka", "dlq", "show", position, "--config", s.yaml, "--show-values"); !strings.Contains(show, "much") {
		s.t.Errorf("show --show-values: %s", show)
	}
	if _, errs, code := s.do(s.t, "kafka", "dlq", "show", "cpcds/0/99999", "--config", s.yaml); code == 0 || !strings.Contains(errs, "no dead letter") {
		s.t.Errorf("show of nothing: %d %s", code, errs)
	}
	if _, errs, code := s.do(s.t, "kafka", "dlq", "list", "--config", s.yaml, "--where", "stag == 1"); code != exitUsage {
		s.t.Errorf("list --where: %d %s", code, errs)
	}
	if dry := s.run(s.t, "kafka", "dlq", "replay", "--config", s.yaml, "--dry-run"); !strings.Contains(dry, strconv.Itoa(n)) || len(s.letters()) != n {
		s.t.Errorf("replay --dry-run: %s", dry)
	}
}

// testReplay replays dead letters.
func testReplay(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	s.create(s.topic, 1)
	s.create(s.topic+".dlq", 1)
	claims := claimsOf(good, "claims")
	var old []*kgo.Record
	for i, table := range []string{"claims", "members", "coverages", "providers", "organizations"} {
		r := claimsOf(good, table)[i]
		// The extract's message is the newer; what was a dead letter is older, or as old with other content.
		other := map[string][2]string{"claims": {"claim_source_version", "claim_payer_name"}, "members": {"member_last_updated_date", "city"},
			"coverages": {"coverage_last_updated_date", "plan_name"}, "providers": {"provider_last_updated_date", "provider_city"},
			"organizations": {"organization_last_updated_date", "organization_city"}}[table]
		change := map[string]any{other[0]: "2001-01-01", other[1]: "Overwritten"}
		if table == "claims" {
			change["claim_last_updated_date"] = "2001-01-01T00:00:00Z"
		}
		old = append(old, changed(t, r, change), changed(t, r, map[string]any{other[1]: "Overwritten"}))
	}
	s.send(good...)
	bad := changed(t, claims[5], map[string]any{"claim_type": "spaceship", "claim_unique_identifier": "never"})
	bad.Topic = ""
	s.send(bad)
	for i, r := range old {
		r.Topic = s.topic + ".dlq"
		key := fmt.Sprintf("%s/0/%d", s.topic, 100000+i)
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: deadTopic, Value: []byte(s.topic)}, kgo.RecordHeader{Key: deadPartition, Value: []byte("0")},
			kgo.RecordHeader{Key: deadOffset, Value: []byte(strconv.Itoa(100000 + i))}, kgo.RecordHeader{Key: deadKey, Value: r.Key},
			kgo.RecordHeader{Key: deadStage, Value: []byte("rules")}, kgo.RecordHeader{Key: deadRule, Value: []byte("x")})
		r.Key = []byte(key)
	}
	s.send(old...)
	s.configure()
	d := s.stream()
	s.loaded(d)
	d.arrived()
	if n := len(s.letters()); n != 1+len(old) {
		t.Fatalf("there are %d dead letters", n)
	}
	replay := &dlqFlags{}
	replay.config = s.yaml
	sizes := map[int]bool{}
	for i := range 50 {
		var out bytes.Buffer
		if err := replay.replay(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "11 messages", false: "1 message"}[i == 0]; !strings.Contains(out.String(), want+" replayed") {
			t.Fatalf("replay %d: %s", i+1, &out)
		}
		if i == 0 {
			s.loaded(d)
			eventually(t, "those that were loaded are no dead letters", func() bool { return len(s.letters()) <= 1 })
		}
		position := fmt.Sprintf("%s/0/%d", bad.Topic, bad.Offset)
		eventually(t, "the dead letter is there again", func() bool {
			l := s.letters()[position]
			return l != nil && headerOf(l, streamrun.ReplayHeader) == strconv.Itoa(i+1)
		})
		letters := s.letters()
		if len(letters) != 1 {
			t.Fatalf("after replay %d there are %d dead letters", i+1, len(letters))
		}
		l := letters[position]
		if !bytes.Equal(l.Value, bad.Value) || headerOf(l, deadKey) != string(bad.Key) || headerOf(l, deadRule) != "code-claim_type" {
			t.Fatalf("after replay %d the dead letter has changed", i+1)
		}
		if headerOf(l, streamrun.ReplayHeader) != strconv.Itoa(i+1) {
			t.Fatalf("after replay %d the count is %s", i+1, headerOf(l, streamrun.ReplayHeader))
		}
		sizes[len(l.Headers)] = true
	}
	if len(sizes) != 1 {
		t.Errorf("the number of headers grows: %v", sizes)
	}
	show := s.run(t, "kafka", "dlq", "show", fmt.Sprintf("%s/0/%d", bad.Topic, bad.Offset), "--config", s.yaml)
	if !strings.Contains(show, "50 times") {
		t.Errorf("show: %s", show)
	}
	d.stop()
	got := s.exported(t, s.store)
	for name := range got {
		if kind := strings.Split(name, "/")[0]; !bytes.Equal(got[name], s.want[name]) && (kind == "Patient" || kind == "Coverage") {
			t.Error("a replayed member or coverage has replaced one that is as new as itself")
		}
	}
	s.same() // nothing was overwritten
	s.manifests()
}

// testTombstones deletes records.
func testTombstones(t *testing.T, b *streamBench) {
	s := b.test(t)
	good := s.messages()
	s.create(s.topic, 1)
	claims, members := claimsOf(good, "claims"), claimsOf(good, "members")
	coverages, providers, organizations := claimsOf(good, "coverages"), claimsOf(good, "providers"), claimsOf(good, "organizations")
	s.send(good...)
	s.configure()
	d := s.stream()
	s.loaded(d)
	d.arrived()
	key := func(r *kgo.Record) string { return string(r.Key) }
	late := changed(t, claims[9], map[string]any{"claim_unique_identifier": "waits", "member_id": "M-LATE", "coverage_id": "C-LATE", "other_coverage_id": nil})
	late.Key = []byte("waits")
	fresh := changed(t, claims[len(claims)-1], map[string]any{"claim_unique_identifier": "fresh"})
	fresh.Key = []byte("fresh")
	stays := changed(t, late, map[string]any{"claim_unique_identifier": "stays"})
	stays.Key = []byte("stays")
	gone := []string{key(members[0]), key(members[1])} // members that are deleted; a claim of theirs would wait
	var kept *kgo.Record
	for _, c := range claims[10:] {
		if !slices.ContainsFunc(gone, func(id string) bool { return bytes.Contains(c.Value, []byte(`"member_id":"`+id+`"`)) }) {
			kept = c
		}
	}
	again := changed(t, kept, map[string]any{"claim_source_version": "2099-01-01", "claim_last_updated_date": "2099-01-01T00:00:00Z"})
	family := null("claims", "the family")
	family.Headers = append(family.Headers, kgo.RecordHeader{Key: streamrun.RecordHeader, Value: claims[3].Key})
	s.send(null("claims", key(claims[0])), null("", key(claims[1])), null("claims", key(claims[0])), // twice: the second has nothing to delete
		family, of("claims", key(claims[2]), ""), // empty does not delete
		null("members", key(members[0])), null("", key(members[1])),
		null("coverages", key(coverages[0])), null("", key(coverages[1])),
		null("providers", key(providers[0])), null("", key(providers[1])),
		null("organizations", key(organizations[0])), null("", key(organizations[1])),
		null("claims", "never was"), null("", "never was"),
		null("members", key(claims[4])), // a key of another table
		fresh, null("claims", "fresh"),  // both in one batch
		late, null("claims", "waits"), stays,
		null("claims", key(kept)), again)
	s.loaded(d)
	letters := s.letters()
	if len(letters) != 1 {
		t.Errorf("there are %d dead letters, want that of the empty value", len(letters))
	}
	for _, l := range letters {
		if headerOf(l, deadRule) != "message-empty" {
			t.Errorf("a dead letter has the rule %s", headerOf(l, deadRule))
		}
	}
	member := changed(t, members[2], map[string]any{"member_id": "M-LATE"})
	member.Key = []byte("M-LATE")
	of9 := slices.IndexFunc(coverages, func(c *kgo.Record) bool {
		return bytes.Contains(claims[9].Value, []byte(`"coverage_id":"`+key(c)+`"`))
	})
	coverage := changed(t, coverages[of9], map[string]any{"member_id": "M-LATE", "coverage_id": "C-LATE"})
	coverage.Key = []byte("C-LATE")
	s.send(member, coverage)
	s.loaded(d)
	time.Sleep(300 * time.Millisecond)
	d.stop()
	if m := s.manifests(); m.Deletions == 0 || m.DeadLetters != 1 || m.ReleasedDead != 0 || m.Waiting != m.Released {
		t.Errorf("the manifests have %+v", m)
		for _, l := range s.letters() {
			t.Log(headerOf(l, deadStage), headerOf(l, deadRule), headerOf(l, deadKey))
		}
	}
	for _, key := range []string{"fresh", "waits"} {
		if out := s.run(t, "store", "search", "--store", s.store, "ExplanationOfBenefit?identifier="+key); strings.Contains(out, "ExplanationOfBenefit") {
			t.Errorf("the claim %q is there although it was deleted in the same batch", key)
		}
	}
	for _, x := range []struct {
		query string
		want  int
	}{
		{"ExplanationOfBenefit?identifier=" + key(claims[0]), 0}, {"ExplanationOfBenefit?identifier=" + key(claims[1]), 0},
		{"ExplanationOfBenefit?identifier=" + key(claims[2]), 1}, {"ExplanationOfBenefit?identifier=" + key(claims[3]), 0},
		{"ExplanationOfBenefit?identifier=" + key(claims[4]), 1}, {"ExplanationOfBenefit?identifier=fresh", 0}, {"ExplanationOfBenefit?identifier=waits", 0}, {"ExplanationOfBenefit?identifier=stays", 1},
		{"ExplanationOfBenefit?identifier=" + key(kept), 1},
		{"Patient?identifier=" + key(members[0]), 0}, {"Patient?identifier=" + key(members[1]), 0}, {"Patient?identifier=" + key(members[2]), 1}, {"Patient?identifier=M-LATE", 1},
	} {
		out := s.run(t, "store", "search", "--store", s.store, x.query)
		if got := strings.Count(out, `"resourceType":"`+strings.Split(x.query, "?")[0]); got != x.want {
			t.Errorf("%s finds %d, want %d", x.query, got, x.want)
		}
	}
	export := s.exported(t, s.store)
	for _, x := range []struct {
		kind string
		less int
	}{{"Coverage", 2 - 1}, {"Practitioner", 2}, {"Organization", 2}, {"Patient", 2 - 1}, {"ExplanationOfBenefit", 3 - 1}} {
		count := func(tree map[string][]byte) (n int) {
			for name, text := range tree {
				if strings.HasPrefix(name, x.kind+"/") {
					n += len(lines(text))
				}
			}
			return n
		}
		if got, want := count(export), count(s.want)-x.less; got != want {
			t.Errorf("there are %d of %s, want %d", got, x.kind, want)
		}
	}
}

// testShuffled publishes members after claims, all in random order over three partitions, to two
// processes on one store of which one is killed again and again.
func testShuffled(t *testing.T, b *streamBench) {
	s := b.test(t)
	list := s.messages()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	s.create(s.topic, 3)
	s.configure(quick)
	a, c := s.stream(), s.stream()
	for i := 0; i < len(list); i += 50 {
		part := list[i:min(i+50, len(list))]
		for _, m := range part {
			m.Partition = int32(r.IntN(3))
		}
		s.send(part...)
		time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
		if i%150 == 0 {
			if r.IntN(2) == 0 {
				a, c = c, a
			}
			c.kill()
			c = s.stream()
		}
	}
	// A process that is killed between joining and getting its partitions stays a member of kfake's group
	// for ever, unlike of Kafka's, until another one joins.
	a.says("joined the group")
	c.says("joined the group")
	d := s.stream()
	d.says("joined the group") // before that it may end with another code: see "stopped at the start"
	s.loaded(a, c, d)
	d.stop()
	a.stop()
	s.loaded(c)
	c.stop()
	s.settled()
	if m := s.manifests(); m.Read != int64(len(list)) || m.Records+m.Released != m.Read || m.Waiting != m.Released {
		t.Errorf("the manifests have %+v, published were %d", m, len(list))
	}
	if dead := s.letters(); len(dead) > 0 {
		t.Errorf("there are %d dead letters", len(dead))
	}
	s.private()
}

// testRegistryDown stops the registry.
func testRegistryDown(t *testing.T, b *streamBench) {
	s := b.test(t)
	r := newFakeRegistry(t)
	s.publish("--format", "avro", "--registry", r.URL)
	s.configure(fmt.Sprintf("topics: [{name: %s, format: registry}]\nregistry: {url: %q}\n", s.topic, r.URL))
	r.setDown(true)
	d := s.stream()
	eventually(t, "not ready", func() bool {
		code, body := d.get("/readyz")
		return code == 503 && strings.Contains(body, "registry")
	})
	if code, body := d.get("/healthz"); code != 200 {
		t.Errorf("healthz: %d %s", code, body)
	}
	eventually(t, "three partitions are blocked", func() bool {
		_, body := d.get("/metrics")
		return strings.Contains(body, "cpcds2fhir_stream_blocked_partitions 3")
	})
	time.Sleep(500 * time.Millisecond)
	if n := len(s.letters()); n > 0 {
		t.Errorf("%d messages are dead letters because the registry is down", n)
	}
	r.setDown(false)
	s.loaded(d)
	eventually(t, "ready", func() bool { code, _ := d.get("/readyz"); return code == 200 })
	d.arrived()
	d.stop()
	s.settled()
	if n := len(s.letters()); n > 0 {
		t.Errorf("there are %d dead letters", n)
	}
}

// testRecreatedTopic deletes the topic and makes it anew.
func testRecreatedTopic(t *testing.T, b *streamBench) {
	s := b.test(t)
	s.publish("--where", `table != "claims"`)
	s.configure()
	d := s.stream()
	s.loaded(d)
	d.stop()
	if err := s.fake.DeleteTopic(s.topic); err != nil {
		t.Fatal(err)
	}
	s.publish() // it has more messages than the old one
	d = s.stream()
	if code := d.exit(); code == 0 || !strings.Contains(d.out.String(), "recreated: restart") {
		t.Errorf("over a topic that was made anew the stream ended with %d:\n%s", code, d.out)
	}
	s.configure("recreated: restart\n")
	d = s.stream()
	s.loaded(d)
	d.arrived()
	// And while it runs.
	if err := s.fake.DeleteTopic(s.topic); err != nil {
		t.Fatal(err)
	}
	s.publish("--where", `table == "members"`)
	eventually(t, "the new topic is loaded, or the stream ends", func() bool {
		at, n := s.committed(), 0
		for _, p := range s.fake.PartitionInfos(s.topic) {
			if at[fmt.Sprintf("%s/%d", s.topic, p.Partition)] == p.HighWatermark {
				n++
			}
		}
		return d.ended() || n == 3
	})
	if d.ended() {
		t.Error("a topic that is made anew while the stream runs ends it, even with recreated: restart")
	}
	d.stop()
	s.settled()
}

// testOffsets takes the group's offsets away, and sets them wrong: the target's count.
func testOffsets(t *testing.T, b *streamBench) {
	s := b.test(t)
	s.publish()
	s.configure()
	d := s.stream()
	s.loaded(d)
	d.arrived()
	d.stop()
	s.settled()
	before := s.manifests()
	r := kmsg.NewPtrDeleteGroupsRequest()
	r.Groups = []string{s.group}
	for _, g := range ask[*kmsg.DeleteGroupsResponse](s, r).Groups {
		if g.ErrorCode != 0 {
			t.Fatal(codeOf(g.ErrorCode))
		}
	}
	if n := len(s.committed()); n > 0 {
		t.Fatalf("the group has %d offsets", n)
	}
	d = s.stream()
	d.says(`"committed": -1`)
	d.stop()
	if after := s.manifests(); after != before {
		t.Errorf("without the group's offsets the stream has read again: %+v, before %+v", after, before)
	}
	for _, to := range []int64{0, 3, 1 << 40} {
		c := kmsg.NewPtrOffsetCommitRequest()
		c.Group, c.Generation = s.group, -1
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic, topic.TopicID = s.topic, s.fake.TopicInfo(s.topic).TopicID
		for p := range int32(3) {
			x := kmsg.NewOffsetCommitRequestTopicPartition()
			x.Partition, x.Offset = p, to
			topic.Partitions = append(topic.Partitions, x)
		}
		c.Topics = append(c.Topics, topic)
		for _, p := range ask[*kmsg.OffsetCommitResponse](s, c).Topics[0].Partitions {
			if p.ErrorCode != 0 {
				t.Fatal(codeOf(p.ErrorCode))
			}
		}
		d = s.stream()
		d.says("the target is at another offset than the group")
		d.stop()
		if after := s.manifests(); after != before {
			t.Errorf("the group's offset was %d, and the stream has read again: %+v, before %+v", to, after, before)
		}
	}
	s.same()
}

// testGap removes messages that were not loaded.
func testGap(t *testing.T, b *streamBench) {
	s := b.test(t)
	list := s.messages()
	s.create(s.topic, 1)
	s.configure()
	s.send(list[:100]...)
	d := s.stream()
	s.loaded(d)
	d.stop()
	for _, m := range list[100:] {
		m.Partition = 0
	}
	s.send(list[100:]...)
	if err := s.fake.DeleteRecords(s.topic, 0, 150); err != nil {
		t.Fatal(err)
	}
	out, errs, code := s.do(t, "stream", "check", "--config", s.yaml)
	if code != exitFailed || !strings.Contains(out, "100 to 149") || !strings.Contains(errs, "cannot be read on") {
		t.Errorf("check of a topic with a gap: exit code %d, %s%s", code, out, errs)
	}
	d = s.stream()
	if code := d.exit(); code == 0 || !strings.Contains(d.out.String(), "gap: skip") || !strings.Contains(d.out.String(), "100 to 149") {
		t.Errorf("over a gap the stream ended with %d:\n%s", code, d.out)
	}
	s.configure("gap: skip\n")
	d = s.stream()
	s.loaded(d)
	d.stop()
	if m := s.manifests(); m.Read != int64(len(list)-50) {
		t.Errorf("the manifests have %+v, %d messages were there", m, len(list)-50)
	}
}

// testStreamCheck checks that a check changes nothing.
func testStreamCheck(t *testing.T, b *streamBench) {
	s := b.test(t)
	s.publish()
	s.configure()
	tree := func() string {
		list, err := filepath.Glob(filepath.Join(s.dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{s.topic, s.topic + ".dlq", "__consumer_offsets"} {
			list = append(list, fmt.Sprint(topic, len(s.fake.PartitionInfos(topic))))
		}
		groups := ask[*kmsg.ListGroupsResponse](s, kmsg.NewPtrListGroupsRequest())
		return fmt.Sprint(list, groups.Groups)
	}
	before := tree()
	out := s.run(t, "stream", "check", "--config", s.yaml)
	for _, want := range []string{"3 partitions", "fit the layout", "does not exist; stream will create it"} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q: %s", want, out)
		}
	}
	if after := tree(); after != before {
		t.Errorf("check changed something: %s, before %s", after, before)
	}
	s.silent("check", out)
	d := s.stream()
	s.loaded(d)
	if out := s.run(t, "stream", "check", "--config", s.yaml); !strings.Contains(out, "has loaded 3 partitions into it") || !strings.Contains(out, ", 0 not loaded yet") {
		t.Errorf("check beside a stream: %s", out)
	}
	s.send(of("claims", "k", "{"))
	s.loaded(d)
	d.stop()
	out, errs, code := s.do(t, "stream", "check", "--config", s.yaml)
	s.silent("check", out+errs)
	if code != 0 && code != exitFailed {
		t.Errorf("check: %d %s", code, errs)
	}
}

// testStreamRefused is what a stream refuses, and how.
func testStreamRefused(t *testing.T, b *streamBench) {
	s := b.test(t)
	s.publish("--where", `table == "members"`)
	const four = "brokers: [127.0.0.1:1]\ntopics: [cpcds]\ngroup: g\nto: store:st\n"
	for _, tt := range []struct{ yaml, want string }{
		{four + "lateness: 3h\n", "[5:1]"},
		{four + "batch: {sise: 4MiB}\n", "5:"},
		{"brokers: [a]\ntopics: [{name: cpcds, tabel: claims}]\ngroup: g\nto: store:st\n", "2:"},
		{"topics: [cpcds]\ngroup: g\nto: store:st\n", "brokers is missing"},
		{"brokers: [a]\ngroup: g\nto: store:st\n", "topics is missing"},
		{"brokers: [a]\ntopics: [cpcds]\nto: store:st\n", "group is missing"},
		{"brokers: [a]\ntopics: [cpcds]\ngroup: g\n", "to is missing"},
		{"", "is missing"},
		{four + "mode: harsh\n", "mode"},
		{four + "carin: 9.9.9\n", "9.9.9"},
		{four + "profiles: none\n", "profiles"},
		{four + "layout: nothing-such\n", "nothing-such"},
		{four + "memory: much\n", "memory"},
		{four + "memory: 1\n", "memory"},
		{four + "batch: {size: big}\n", "batch.size"},
		{four + "batch: {size: -1MiB}\n", "batch.size"},
		{four + "batch: {linger: -1s}\n", "batch.linger"},
		{four + "late: 0s\n", "late"},
		{four + "late: soon\n", "5:"},
		{four + "window: -1h\n", "window"},
		{four + "max_rejects: some\n", "max_rejects"},
		{four + "recreated: maybe\n", "recreated"},
		{four + "gap: maybe\n", "gap"},
		{four + "log: loud\n", "log"},
		{four + "no_repair: [nothing-such]\n", "no_repair"},
		{four + "listen: nowhere\n", "listen"},
		{four + "listen: 0.0.0.0:0\npprof: true\n", "loopback"},
		{four + "sessions: {drain: 1m}\n", "sessions.drain"},
		{four + "dead_letters: {topic: cpcds}\n", "dead_letters.topic"},
		{four + "sasl: {mechanism: plain, username: joe, password: env:P}\n", "sasl.username"},
		{four + "sasl: {mechanism: plain, username: env:U, password: hunter2}\n", "sasl.password"},
		{four + "sasl: {mechanism: gssapi, username: env:U, password: env:P}\n", "gssapi"},
		{four + "sasl: {username: env:U, password: env:P}\n", "sasl.mechanism"},
		{four + "sasl: {mechanism: plain}\n", "sasl"},
		{four + "registry: {url: 'http://r', token: hunter2}\n", "registry.token"},
		{four + "registry: {url: 'ftp://r'}\n", "ftp"},
		{four + "tls: {ca: nothing-such.pem}\n", "nothing-such.pem"},
		{four + "tls: {cert: only.pem}\n", "key"},
		{"brokers: [a]\ntopics: [cpcds, cpcds]\ngroup: g\nto: store:st\n", "different names"},
		{"brokers: [a]\ntopics: ['']\ngroup: g\nto: store:st\n", "names"},
		{"brokers: [a]\ntopics: [{name: cpcds, format: avro}]\ngroup: g\nto: store:st\n", "avro"},
		{"brokers: [a]\ntopics: [{name: cpcds, format: registry}]\ngroup: g\nto: store:st\n", "registry.url"},
		{"brokers: [a]\ntopics: [{name: cpcds, table: invoices}]\ngroup: g\nto: store:st\n", "invoices"},
		{"brokers: [a]\ntopics: [cpcds]\ngroup: a/b\nto: store:st\n", "slash"},
		{"brokers: [a]\ntopics: [cpcds]\ngroup: g\nto: 'fhir:out'\n", "use the base URL of the server"},
		{"brokers: [a]\ntopics: [cpcds]\ngroup: g\nto: somewhere\n", "somewhere"},
		{"brokers: [a\n", "1:"},
	} {
		name, _, _ := strings.Cut(strings.TrimPrefix(tt.yaml, four), "\n")
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(s.yaml, []byte(tt.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			err := refusal(t, s.yaml)
			if err == nil {
				t.Fatalf("not refused: %q", tt.yaml)
			}
			if code, text := exitCode(err), message(err); code != exitUsage || !strings.Contains(text, tt.want) {
				t.Errorf("exit code %d, %s; want it to have %q", code, text, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "joe") {
				t.Errorf("the refusal has the secret: %v", err)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(s.dir, "st")); err == nil {
		t.Error("a refused configuration made a store")
	}
	// The real program, once each.
	for _, tt := range []struct {
		name  string
		yaml  string
		code  []int
		want  string
		limit time.Duration
	}{
		{"unknown key", four + "lateness: 3h\n", []int{exitUsage}, "lateness", 2 * time.Second},
		{"missing file", "-", []int{exitEnvironment}, "stream.yaml", 2 * time.Second},
		{"missing topic", fmt.Sprintf("brokers: [%s]\ntopics: [cpcd]\ngroup: g\nto: store:%s\n", s.addr, s.store), []int{exitEnvironment, exitFailed}, "cpcd", 10 * time.Second},
		{"no broker", fmt.Sprintf("brokers: [127.0.0.1:1]\ntopics: [cpcds]\ngroup: g\nto: store:%s\n", s.store), []int{exitEnvironment, exitFailed}, "127.0.0.1:1", 40 * time.Second},
	} {
		_ = os.Remove(s.yaml)
		if tt.yaml != "-" {
			if err := os.WriteFile(s.yaml, []byte(tt.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		_, errs, code := s.do(t, "stream", "--config", s.yaml)
		if !slices.Contains(tt.code, code) || !strings.Contains(errs, tt.want) || time.Since(start) > tt.limit {
			t.Errorf("%s: exit code %d after %s: %s", tt.name, code, time.Since(start).Round(time.Millisecond), errs)
		}
	}
	for _, topic := range []string{"cpcd", "cpcd.dlq"} {
		if s.fake.TopicInfo(topic) != nil {
			t.Errorf("the topic %s was created", topic)
		}
	}
	if _, err := os.Stat(s.store); err == nil {
		t.Error("a stream that could not begin made a store")
	}
}

// refusal reads a configuration as 'stream' does before it connects.
func refusal(t *testing.T, path string) error {
	t.Helper()
	c, err := readStream(path)
	if err != nil {
		return err
	}
	if strings.HasPrefix(c.To, "store:") {
		c.To = "store:" + filepath.Join(filepath.Dir(path), "st")
	}
	c.IDKey = filepath.Join(filepath.Dir(path), "key")
	if err := os.WriteFile(c.IDKey, []byte("the key of the test of refusals"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := c.setUp()
	if err != nil {
		return err
	}
	defer s.client.Close()
	stop, err := s.listen(t.Context())
	if err != nil {
		return err
	}
	stop()
	_, err = parseSize("batch.size", c.Batch.Size)
	return err
}

// TestStreamConfig: the printed configuration has the defaults.
func TestStreamConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream.yaml")
	if err := os.WriteFile(path, []byte(fullStreamConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	full, err := readStream(path)
	if err != nil {
		t.Fatal(err)
	}
	want := defaultStream()
	want.Brokers, want.Topics, want.Group, want.To = full.Brokers, full.Topics, full.Group, full.To
	if diff := cmp.Diff(want, full, cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
		t.Errorf("--print-config differs from the defaults: %s", diff)
	}
}

// TestStreamFaults streams an extract with faults: what a batch load rejects is a dead letter, and
// nothing else is.
func TestStreamFaults(t *testing.T) {
	b := newStreamBench(t, "--claims", "400", "--seed", "21", "--faults", "25%")
	s := b.test(t)
	s.publish("--partitions", "1")
	s.configure("late: 1s\n")
	d := s.stream()
	s.loaded(d)
	time.Sleep(1100 * time.Millisecond)
	d.stop()
	d = s.stream()
	d.says("reading") // a busy machine takes its time to start it
	time.Sleep(1500 * time.Millisecond)
	d.stop()
	s.same()
	got, want := map[string]int{}, map[string]int{}
	for _, l := range s.letters() {
		got[headerOf(l, deadRule)]++
	}
	for _, line := range lines([]byte(s.run(t, "rejects", "list", "--state", filepath.Join(b.dir, "batch")+".state", "--output", "json"))) {
		var r struct{ Problems []struct{ Rule string } }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		rule := r.Problems[0].Rule
		if rule == "unknown-member" || rule == "unknown-coverage" {
			rule = "waited-too-long" // it might still have arrived
		}
		want[rule]++
	}
	if len(want) < 10 {
		t.Errorf("the batch load has few rejects: %v", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the dead letters have other rules than the rejects of the batch load: %s", diff)
	}
	m := s.manifests()
	if sum := m.DeadLetters + m.ReleasedDead + m.Expired; sum != int64(len(s.letters())) {
		t.Errorf("the manifests have %+v, there are %d dead letters", m, len(s.letters()))
	}
}

// TestStreamDisagree publishes first a claim whose rows disagree, as 'kafka publish' writes it: with a
// field of the header in the lines.
func TestStreamDisagree(t *testing.T) {
	b := newStreamBench(t, "--claims", "30", "--seed", "21")
	s := b.test(t)
	good := s.messages()
	claims := claimsOf(good, "claims")
	bad := map[string]any{}
	if err := json.Unmarshal(claims[0].Value, &bad); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"One", "Two"} {
		if list := bad["lines"].([]any); i < len(list) {
			list[i].(map[string]any)["claim_payer_name"] = name
		}
	}
	first := changed(t, claims[0], map[string]any{"claim_unique_identifier": "disagrees", "claim_payer_name": nil, "lines": bad["lines"]})
	s.create(s.topic, 1)
	s.send(append([]*kgo.Record{first}, good...)...)
	s.configure()
	d := s.stream()
	s.loaded(d)
	d.stop()
	if n := len(s.letters()); n > 1 {
		t.Errorf("after one claim with a field of the header in its lines, %d of %d claims are dead letters", n-1, len(claims))
	}
	s.settled()
}
