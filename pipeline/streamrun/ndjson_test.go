package streamrun_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/loaders/ndjson"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/schemas/carin"
)

// openFiles opens a folder of NDJSON files, with its ledger, for a stream.
func openFiles(t testing.TB, dir string, o ndjson.StreamOptions) (files *ndjson.Stream, end func()) {
	t.Helper()
	ledger := openStore(t, filepath.Join(dir+".state", "ledger"))
	o.KeyFingerprint = identity.Fingerprint()
	files, err := ndjson.OpenStream(t.Context(), dir, ledger, o)
	if err != nil {
		t.Fatal(err)
	}
	return files, func() {
		t.Helper()
		if err := errors.Join(files.Close(), ledger.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// folded reads a folder of plain NDJSON files as its documentation says: parts in the order of their
// numbers, the last line of an id counts, and deletions delete what came before.
func folded(t testing.TB, dir string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*", "part-*.ndjson"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no parts in", dir, err)
	}
	slices.SortStableFunc(paths, func(a, b string) int { return ndjson.Number(a) - ndjson.Number(b) })
	all := map[string]string{}
	id := regexp.MustCompile(`^\{"resourceType":"(\w+)","id":"([^"]+)"`)
	deleted := regexp.MustCompile(`"method":"DELETE","url":"([^"]+)"`)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			line = bytes.TrimSuffix(line, []byte{'\n'})
			if d := deleted.FindSubmatch(line); d != nil {
				if _, ok := all[string(d[1])]; !ok {
					t.Errorf("%s: %s is deleted before it is there", filepath.Base(path), d[1])
				}
				delete(all, string(d[1]))
				continue
			}
			m := id.FindSubmatch(line)
			if m == nil {
				t.Fatalf("%s: a line has no id", path)
			}
			all[string(m[1])+"/"+string(m[2])] = string(line)
		}
	}
	return all
}

// batchFiles loads the extract as a batch into a folder.
func (b *bench) batchFiles() map[string]string {
	b.t.Helper()
	dir := filepath.Join(b.dir, "batch-files")
	l, err := ndjson.Open(dir, ndjson.Options{Run: "run", KeyFingerprint: identity.Fingerprint(), State: dir + ".state"})
	if err != nil {
		b.t.Fatal(err)
	}
	e, err := batchrun.New(&batchrun.Config{ID: "run", Inputs: b.inputs(), Layout: b.layout, Version: carin.V220, Identity: identity,
		Loader: l, State: dir + ".state", Workers: 2})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := e.Load(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		b.t.Fatal(err)
	}
	return folded(b.t, dir)
}

// TestFiles proves that a stream into NDJSON files ends with the resources of a batch load, whatever
// the order of the messages, although owners change and the folder is closed and opened again; and
// that a message without a value deletes, and the record can come back.
func TestFiles(t *testing.T) {
	claims := 400
	if testing.Short() {
		claims = 120
	}
	b := newBench(t, synth.Options{Claims: claims, Seed: 9})
	want := b.batchFiles()
	r := rand.New(rand.NewPCG(4, 4))
	r.Shuffle(len(b.topic), func(i, j int) { b.topic[i], b.topic[j] = b.topic[j], b.topic[i] })
	parts := b.partitions(4)
	dir := filepath.Join(t.TempDir(), "out")
	options := ndjson.StreamOptions{RollBytes: 1 << 18, Roll: 50 * time.Millisecond}
	dead := &letters{}

	// Owners that end at any time, and a folder that is opened again.
	for range 3 {
		files, end := openFiles(t, dir, options)
		e := b.engine(nil, dead, func(c *streamrun.Config) { c.Target, c.Voider, c.BatchBytes = files, nil, 1<<15 })
		var wait sync.WaitGroup
		for _, p := range parts {
			wait.Go(func() {
				own, stop := context.WithTimeout(t.Context(), 150*time.Millisecond)
				defer stop()
				if err := e.Lane(own, p); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		durable, err := streamrun.Positions(t.Context(), files, "group")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if at := durable[fmt.Sprintf("%s/%d", p.topic, p.number)].Next; p.Committed() != at {
				t.Errorf("partition %d is durable up to %d, and was given away with %d committed", p.number, at, p.Committed())
			}
		}
		end()
	}
	files, end := openFiles(t, dir, options)
	e := b.engine(nil, dead, func(c *streamrun.Config) { c.Target, c.Voider, c.BatchBytes = files, nil, 1<<15 })
	stream(t, e, parts)
	end()
	compare(t, folded(t, dir), want)
	if len(dead.list) > 0 {
		t.Errorf("%d dead letters, the first %+v", len(dead.list), dead.list[0].Problems)
	}

	// Every third claim is deleted, and every second of these comes again.
	files, end = openFiles(t, dir, options)
	e = b.engine(nil, dead, func(c *streamrun.Config) { c.Target, c.Voider, c.BatchBytes = files, nil, 1<<12 })
	n := 0
	for _, p := range parts {
		for _, m := range slices.Clone(p.messages) {
			if table, _ := headerOf(&m, streamrun.TableHeader); table != "claims" {
				continue
			}
			gone := m
			gone.Value = nil
			switch n++; n % 3 {
			case 1:
				p.add(gone)
				if n%2 == 0 {
					m.Time = m.Time.Add(time.Hour)
					p.add(m)
				}
			case 2:
				p.add(m) // again, which changes nothing
			}
		}
	}
	stream(t, e, parts)
	var account pipeline.Account
	err := streamrun.Accounts(t.Context(), files, "group", time.Time{}, func(a *streamrun.LaneAccount) error {
		account.Add(&a.Account)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	end()
	got := folded(t, dir)
	counts := map[string]int64{}
	for ref := range got {
		typ, _, _ := bytes.Cut([]byte(ref), []byte{'/'})
		counts[string(typ)]++
	}
	for typ, c := range account.ResourcesByType() {
		if c.Created-c.Deleted != counts[typ] {
			t.Errorf("%s: the account says %d created, %d deleted; the folder has %d", typ, c.Created, c.Deleted, counts[typ])
		}
	}
	if account.ResourcesByType()["ExplanationOfBenefit"].Deleted == 0 {
		t.Error("nothing was deleted")
	}
	if temps, _ := filepath.Glob(filepath.Join(dir, "*", ".part*")); len(temps) > 0 {
		t.Errorf("%d parts are not complete after Close", len(temps))
	}
}

func headerOf(m *streamrun.Message, key string) (string, bool) {
	for _, h := range m.Headers {
		if h.Key == key {
			return string(h.Value), true
		}
	}
	return "", false
}
