package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirtest"
)

// testStreamServer streams into a FHIR server. The process is killed now and then; the server has what a batch
// load of the same brings there, and no second version of anything whose content did not change.
func testStreamServer(t *testing.T, b *streamBench) {
	s := b.test(t)
	s.publish("--partitions", "3")
	server := fhirtest.Start(t, &fhirtest.Options{Integrity: true})
	state, key := filepath.Join(s.dir, "server.state"), filepath.Join(s.dir, "id-key") // which reconcile need not be told
	if err := os.WriteFile(key, []byte("the key of this stream alone"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("brokers: [%s]\ntopics: [%s]\ngroup: %s\nto: fhir:%s\nstate: %s\nid_key: %s\nserver: {concurrency: 4}\nsessions: {timeout: 6s, rebalance: 10s, drain: 5s}\n", s.addr, s.topic, s.group, server.URL, state, key)
	if err := os.WriteFile(s.yaml, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := s.run(t, "stream", "check", "--config", s.yaml)
	if !strings.Contains(out, "server    HAPI FHIR Server 8.8.0, profile hapi") || len(server.Writes()) > 0 {
		t.Errorf("the check: %s", out)
	}
	s.killedNowAndThen(t, 3)
	d := s.stream()
	s.loaded(d)
	if _, metrics := d.get("/metrics"); !strings.Contains(metrics, `cpcds2fhir_stream_server_requests_total{status="200"}`) {
		t.Error("the metrics have no requests to the server")
	}
	if _, errs, code := s.do(t, "load", "--to", "fhir:"+server.URL, "--state", state, "--id-key", key, s.extract); code != exitEnvironment {
		t.Errorf("a load beside the stream: exit code %d, %s", code, errs)
	}
	d.stop()
	s.silent("the log", d.out.String())

	batch := fhirtest.Start(t, &fhirtest.Options{Integrity: true})
	s.run(t, "load", "--quiet", "--to", "fhir:"+batch.URL, "--state", filepath.Join(s.dir, "batch.state"), "--id-key", key, b.extract)
	for range 4 { // the next process finds records that wait, although what they refer to has arrived
		if len(differences(t, server, batch)) == 0 {
			break
		}
		d := s.stream()
		d.says("reading")
		time.Sleep(time.Second)
		d.stop()
	}
	for _, what := range differences(t, server, batch) {
		t.Error(what)
	}
	out, errs, code := s.do(t, "reconcile", "--to", "fhir:"+server.URL, "--state", state)
	if code != 0 || !strings.Contains(out, "The server agrees: 0 missing, 0 different, 0 extra") {
		t.Errorf("reconcile: exit code %d\n%s%s", code, out, errs)
	}
	for _, ref := range server.Names() {
		versions := server.Versions(ref)
		for i := 1; i < len(versions); i++ {
			if content(t, versions[i-1].JSON) == content(t, versions[i].JSON) {
				t.Errorf("%s has two versions of the same content", ref)
			}
		}
	}

	// What the server refuses is a dead letter, without the server's words in the log.
	claim := claimsOf(s.messages(), "claims")[0]
	refused := fhirtest.Start(t, &fhirtest.Options{Integrity: true})
	refused.Refuse(func(typ, _ string, _ map[string]any) bool { return typ == "ExplanationOfBenefit" })
	text = strings.ReplaceAll(strings.ReplaceAll(text, server.URL, refused.URL), state, state+"2")
	text = strings.ReplaceAll(text, "group: "+s.group, "group: refused")
	if err := os.WriteFile(s.yaml, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.group = "refused"
	s.send(claim)
	d = s.stream()
	s.loaded(d)
	eventually(t, "there are dead letters", func() bool { return len(s.letters()) > 0 })
	d.stop()
	s.silent("the log", d.out.String())
	rules := map[string]int{}
	for _, l := range s.letters() {
		rules[headerOf(l, deadRule)]++
	}
	if rules["server-refused"] == 0 {
		t.Errorf("no dead letter says that the server refused it: %v", rules)
	}
	for ref := range refused.Resources() {
		if strings.HasPrefix(ref, "ExplanationOfBenefit/") {
			t.Errorf("the server has %s", ref)
		}
	}
}

// differences lists where a server is not as another one, but for what they add themselves.
func differences(t *testing.T, got, want *fhirtest.Server) (list []string) {
	t.Helper()
	have, should := got.Resources(), want.Resources()
	for ref, r := range should {
		if h, ok := have[ref]; !ok {
			list = append(list, ref+" is missing")
		} else if content(t, h.JSON) != content(t, r.JSON) {
			list = append(list, ref+" is different")
		}
	}
	for ref := range have {
		if _, ok := should[ref]; !ok {
			list = append(list, ref+" is extra")
		}
	}
	return list
}

// content is a resource without what a server adds.
func content(t *testing.T, text string) string {
	t.Helper()
	if text == "" {
		return ""
	}
	var r map[string]any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	if meta, ok := r["meta"].(map[string]any); ok {
		delete(meta, "versionId")
		delete(meta, "lastUpdated")
		delete(meta, "source") // of the request
	}
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
