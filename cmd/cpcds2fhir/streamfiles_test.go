package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/loaders/ndjson"
)

// killedNowAndThen runs the stream so many times, and kills it each time after more is committed.
func (s *streamTest) killedNowAndThen(t *testing.T, times int) {
	t.Helper()
	for i := range times {
		d := s.stream()
		eventually(t, "something is committed", func() bool {
			for _, at := range s.committed() {
				if at > int64(20*i) {
					return true
				}
			}
			return d.ended()
		})
		d.kill()
	}
}

// testStreamFiles streams into NDJSON files. The process is killed now and then; the folder has what a
// batch load writes, and agrees with the accounts.
func testStreamFiles(t *testing.T, b *streamBench) {
	s := b.test(t)
	s.publish("--partitions", "3")
	dir := filepath.Join(s.dir, "out")
	s.store = dir // whose state folder has the manifests
	text := fmt.Sprintf("brokers: [%s]\ntopics: [%s]\ngroup: %s\nto: ndjson:%s\n%s", s.addr, s.topic, s.group, dir, quick)
	if err := os.WriteFile(s.yaml, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.killedNowAndThen(t, 4)
	d := s.stream()
	s.loaded(d)
	if _, errs, code := s.do(t, "stream", "--config", s.yaml); code != exitEnvironment || !strings.Contains(errs, "another process is loading into this folder") {
		t.Errorf("a second stream into the folder: exit code %d, %s", code, errs)
	}
	if _, errs, code := s.do(t, "reconcile", "--to", "ndjson:"+dir); code != exitFailed || !strings.Contains(errs, "stop it first") {
		t.Errorf("reconcile beside a stream: exit code %d, %s", code, errs)
	}
	d.stop()
	want := filepath.Join(s.dir, "want")
	s.run(t, "load", "--quiet", "--to", "ndjson:"+want, b.extract)
	sameLines(t, streamed(t, dir), streamed(t, want))
	out := s.run(t, "reconcile", "--to", "ndjson:"+dir)
	if !strings.Contains(out, "agrees with the accounts of 1 stream") {
		t.Errorf("reconcile: %s", out)
	}
	if _, errs, code := s.do(t, "load", "--to", "ndjson:"+dir, b.extract); code != exitUsage {
		t.Errorf("a load into the folder of a stream: exit code %d, %s", code, errs)
	}
	s.manifests()
	s.private()

	// A claim is deleted, and comes again: its line is the last one.
	claim := claimsOf(s.messages(), "claims")[0]
	s.send(null("claims", string(claim.Key)))
	d = s.stream()
	s.loaded(d)
	d.stop()
	gone := streamed(t, dir)
	if n := len(streamed(t, want)) - len(gone); n < 1 {
		t.Errorf("%d resources were deleted", n)
	}
	deleted, err := filepath.Glob(filepath.Join(dir, "deleted", "part-*"))
	if err != nil || len(deleted) == 0 {
		t.Errorf("there are %d parts of deletions (%v)", len(deleted), err)
	}
	s.send(claim)
	d = s.stream()
	s.loaded(d)
	time.Sleep(50 * time.Millisecond)
	d.stop()
	sameLines(t, streamed(t, dir), streamed(t, want))
	s.run(t, "reconcile", "--to", "ndjson:"+dir)
}

// streamed reads a folder of NDJSON files as a consumer does.
func streamed(t *testing.T, dir string) map[string]string {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(dir, "*", "part-*"))
	if err != nil || len(parts) == 0 {
		t.Fatalf("%s has no parts: %v", dir, err)
	}
	slices.SortStableFunc(parts, func(a, b string) int { return ndjson.Number(a) - ndjson.Number(b) })
	all := map[string]string{}
	for _, p := range parts {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Base(filepath.Dir(p))
		for line := range bytes.Lines(text) {
			if folder == "deleted" {
				_, rest, _ := bytes.Cut(line, []byte(`"url":"`))
				reference, _, _ := bytes.Cut(rest, []byte(`"`))
				delete(all, string(reference))
				continue
			}
			_, rest, _ := bytes.Cut(line, []byte(`"id":"`))
			id, _, _ := bytes.Cut(rest, []byte(`"`))
			all[folder+"/"+string(id)] = string(line)
		}
	}
	return all
}

func sameLines(t *testing.T, got, want map[string]string) {
	t.Helper()
	differs := 0
	for reference, line := range want {
		if got[reference] != line {
			if differs++; differs < 4 {
				t.Errorf("%s: got %.200s, want %.200s", reference, got[reference], line)
			}
		}
	}
	for reference := range got {
		if _, ok := want[reference]; !ok {
			differs++
			t.Errorf("%s is not wanted", reference)
		}
	}
	if differs > 0 {
		t.Errorf("%d of %d resources differ", differs, len(want))
	}
}
