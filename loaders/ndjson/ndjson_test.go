package ndjson

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func mustOpen(t *testing.T, dir string, opts Options) *Loader {
	t.Helper()
	l, err := Open(dir, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustLoad(t *testing.T, l *Loader, lane string, b *fhir.Batch) {
	t.Helper()
	if err := loadBatch(l, lane, b); err != nil {
		t.Fatalf("load: %v", err)
	}
}

func loadBatch(l *Loader, lane string, b *fhir.Batch) error {
	return l.Load(context.Background(), lane, b, func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.Checkpoint, error) {
		return pipeline.Checkpoint{Row: int64(len(outcomes))}, nil
	})
}

func mustFinish(t *testing.T, l *Loader) {
	t.Helper()
	if err := errors.Join(l.Finish(context.Background(), &pipeline.Account{}), l.Close()); err != nil {
		t.Fatalf("finish: %v", err)
	}
}

func oneClaim(id string) *fhir.Batch {
	b := &fhir.Batch{}
	add(b, fhir.ExplanationOfBenefit, id, 10)
	return b
}

func diskOptions() Options {
	return Options{Run: "run-1", KeyFingerprint: "key-1", TransactionTime: "2024-01-02T03:04:05Z"}
}

func TestManifest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	l := mustOpen(t, dir, diskOptions())
	b := oneClaim("e1")
	add(b, fhir.Organization, "o1", 0)
	mustLoad(t, l, "claims-00-0000", b)
	mustFinish(t, l)
	got, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "transactionTime": "2024-01-02T03:04:05Z",
  "request": "urn:cpcds2fhir:run:run-1",
  "requiresAccessToken": false,
  "output": [
    {
      "type": "Organization",
      "url": "Organization/part-claims-00-0000-00001.ndjson",
      "count": 1
    },
    {
      "type": "ExplanationOfBenefit",
      "url": "ExplanationOfBenefit/part-claims-00-0000-00001.ndjson",
      "count": 1
    }
  ],
  "error": [],
  "extension": {
    "keyFingerprint": "key-1",
    "files": [
      {
        "url": "Organization/part-claims-00-0000-00001.ndjson",
        "sha256": "132031b5f164244aadef73cb72bf6e7522937fae07112ae1607f0f25f7b84453",
        "bytes": 52,
        "rawBytes": 52
      },
      {
        "url": "ExplanationOfBenefit/part-claims-00-0000-00001.ndjson",
        "sha256": "041e5d8542ce260c91b729d8f1212ea184946cce0f05c781e1ee3cc5d3ae8599",
        "bytes": 80,
        "rawBytes": 80
      }
    ]
  }
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	l := mustOpen(t, dir, diskOptions())
	b := oneClaim("e1")
	add(b, fhir.Organization, "o1", 0)
	mustLoad(t, l, "claims-00", b)
	check := func() {
		t.Helper()
		for _, folder := range []string{dir, dir + ".state"} {
			files := 0
			err := filepath.Walk(folder, func(path string, info fs.FileInfo, err error) error {
				if err != nil {
					return err
				}
				want := fs.FileMode(0o600)
				if info.IsDir() {
					want = 0o700
				} else {
					files++
				}
				if got := info.Mode().Perm(); got != want {
					t.Errorf("%s has mode %o, want %o", path, got, want)
				}
				return nil
			})
			if err != nil || files == 0 {
				t.Errorf("%d files in %s: %v", files, folder, err)
			}
		}
	}
	check()
	mustFinish(t, l)
	check()
}

// TestNamesBeforeFinish holds that nothing looks complete that is not.
func TestNamesBeforeFinish(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	opts := diskOptions()
	opts.RollBytes = 100
	l := mustOpen(t, dir, opts)
	for i := range 3 {
		mustLoad(t, l, "claims-00", oneClaim(fmt.Sprintf("e%d", i)))
	}
	var names []string
	eachFile(t, dir, func(path string, _ fs.FileInfo) { names = append(names, filepath.Base(path)) })
	want := []string{".part-claims-00-00002.ndjson.tmp", "part-claims-00-00001.ndjson"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestAltered(t *testing.T) {
	f := func(what string, finish bool, alter func(part string) error) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "out")
		l := mustOpen(t, dir, diskOptions())
		mustLoad(t, l, "claims-00", oneClaim("e1"))
		part := tempPath(l.partPath(typeName(fhir.ExplanationOfBenefit), "claims-00", 1))
		if finish {
			part = l.partPath(typeName(fhir.ExplanationOfBenefit), "claims-00", 1)
			mustFinish(t, l)
		}
		l.Close()
		if err := alter(part); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, diskOptions())
		if err == nil {
			_, err = l.Resume(context.Background(), "claims-00")
			l.Close()
		}
		var altered *AlteredError
		if !errors.As(err, &altered) || altered.File != part || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %v, want an *AlteredError that names %s", what, err, part)
		}
	}
	f("finished, removed", true, os.Remove)
	f("finished, shorter", true, func(p string) error { return os.Truncate(p, 3) })
	f("finished, longer", true, func(p string) error { return os.Truncate(p, 3000) })
	f("unfinished, removed", false, os.Remove)
	f("unfinished, shorter", false, func(p string) error { return os.Truncate(p, 3) })
}

func TestUnwritable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	l := mustOpen(t, dir, diskOptions())
	blocked := filepath.Join(dir, "ExplanationOfBenefit")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := loadBatch(l, "claims-00", oneClaim("e1")); err == nil || !strings.Contains(err.Error(), blocked) {
		t.Fatalf("Load returns %v, want an error that names %s", err, blocked)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, l, "claims-00", oneClaim("e1"))
	mustFinish(t, l)
	if got := len(readTarget(t, dir)); got != 1 {
		t.Errorf("%d resources in the target, want 1", got)
	}
	if _, err := Open(filepath.Join(dir, manifestName), diskOptions()); err == nil {
		t.Error("a file is opened as a target")
	}
}

// TestResumeUndoes looks at the files after Resume, before anything is loaded again.
func TestResumeUndoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	l := mustOpen(t, dir, diskOptions())
	mustLoad(t, l, "claims-00", oneClaim("e1"))
	mustLoad(t, l, "claims-0", oneClaim("e2"))
	l.Close()
	part := tempPath(l.partPath(typeName(fhir.ExplanationOfBenefit), "claims-00", 1))
	want, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(part, append(want, "half a li"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tempPath(l.partPath(typeName(fhir.ExplanationOfBenefit), "claims-00", 2)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir, diskOptions())
	if _, err := l.Resume(context.Background(), "claims-00"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(part)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the part has %d bytes after Resume (%v), want %d", len(got), err, len(want))
	}
	var names []string
	eachFile(t, dir, func(path string, _ fs.FileInfo) { names = append(names, filepath.Base(path)) })
	if diff := cmp.Diff([]string{".part-claims-0-00001.ndjson.tmp", ".part-claims-00-00001.ndjson.tmp"}, names); diff != "" {
		t.Errorf("files after Resume (-want +got):\n%s", diff)
	}
}

// TestLongLines has resources that are longer than a part may be: each is alone
// in its part.
func TestLongLines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	opts := diskOptions()
	opts.RollBytes = 1000
	l := mustOpen(t, dir, opts)
	b := &fhir.Batch{}
	for i := range 3 {
		add(b, fhir.Organization, fmt.Sprintf("o%d", i), 100_000+i)
	}
	mustLoad(t, l, "claims-00", b)
	l.Close()
	l = mustOpen(t, dir, opts)
	if _, err := l.Resume(context.Background(), "claims-00"); err != nil {
		t.Fatal(err)
	}
	mustFinish(t, l)
	var want []string
	for i, r := range b.All() {
		want = append(want, fmt.Sprintf("Organization/part-claims-00-%05d.ndjson %s", i+1, r.JSON))
	}
	var got []string
	for _, line := range readTarget(t, dir) {
		got = append(got, line.file+" "+line.json)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d resources in the target are not the %d that were loaded, each in its part", len(got), len(want))
	}
}

func TestLaneNames(t *testing.T) {
	l := mustOpen(t, filepath.Join(t.TempDir(), "out"), diskOptions())
	for _, name := range []string{"", "..", "a/b", ".hidden", "a b", "-a"} {
		if _, err := l.Resume(context.Background(), name); err == nil {
			t.Errorf("lane %q is accepted", name)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "out"), Options{Part: "../x"}); err == nil {
		t.Error("a load with a path for a name is accepted")
	}
}

// TestFramesDependOnContentAlone: a resumed run has new compressors, so a used
// one must make the same bytes.
func TestFramesDependOnContentAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("compresses much, with nothing at the same time")
	}
	random := rand.New(rand.NewPCG(1, 2))
	var inputs [][]byte
	for range 30 {
		words := make([]byte, 0, 1<<19)
		for range random.IntN(60_000) {
			words = fmt.Appendf(words, "word%d ", random.IntN(500))
		}
		inputs = append(inputs, words)
	}
	for _, name := range []string{"zstd", "gzip"} {
		c, err := codecOf(name)
		if err != nil {
			t.Fatal(err)
		}
		used := c.compressor()
		for i, raw := range inputs {
			got, err := used(nil, raw)
			if err != nil {
				t.Fatal(err)
			}
			want, err := c.compressor()(nil, raw)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: frame %d of a used compressor differs from that of a new one", name, i)
			}
		}
	}
}
