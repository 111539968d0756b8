package ndjson

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"cpcds2fhir/loaders/loadertest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func TestAcceptance(t *testing.T) {
	for _, compress := range []string{"", "zstd", "gzip"} {
		t.Run("compress="+compress, func(t *testing.T) {
			loadertest.Run(t, func(t *testing.T) loadertest.Target {
				return folder{filepath.Join(t.TempDir(), "out"), Options{Compress: compress, Run: "run-1", KeyFingerprint: "key-1", RollBytes: 10_000}}
			})
		})
	}
}

// folder is a target on disk.
type folder struct {
	dir  string
	opts Options
}

func (f folder) Open(t *testing.T) pipeline.Loader {
	t.Helper()
	l, err := Open(f.dir, f.opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l
}

func (f folder) Resources(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, line := range readTarget(t, f.dir) {
		ref := fhir.Reference(line.typ, line.id)
		if _, ok := out[ref]; ok {
			t.Fatalf("%s is there twice", ref)
		}
		out[ref] = line.json
	}
	return out
}

func (f folder) Sequence(t *testing.T, lane string, typ fhir.Type) []string {
	t.Helper()
	var refs []string
	for _, line := range readTarget(t, f.dir) {
		if line.typ == typ && strings.HasPrefix(filepath.Base(line.file), "part-"+lane+"-") {
			refs = append(refs, fhir.Reference(line.typ, line.id))
		}
	}
	return refs
}

type targetLine struct {
	typ            fhir.Type
	file, id, json string
}

// readTarget reads all that the manifest of a folder names, and fails the test
// if the manifest is wrong or leaves a file out.
func readTarget(t *testing.T, dir string) []targetLine {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{manifestName: true}
	var lines []targetLine
	for i, out := range m.Output {
		named[out.URL] = true
		data, err := os.ReadFile(filepath.Join(dir, out.URL))
		if err != nil {
			t.Fatal(err)
		}
		about := m.Extension.Files[i]
		sum := sha256.Sum256(data)
		raw := decompress(t, out.URL, data)
		if got := (manifestFile{out.URL, hex.EncodeToString(sum[:]), int64(len(data)), int64(len(raw))}); got != about {
			t.Fatalf("the manifest says %+v, the file is %+v", about, got)
		}
		typ, ok := fhir.ParseType(out.Type)
		if !ok || filepath.Dir(out.URL) != out.Type {
			t.Fatalf("%s is said to be of type %q", out.URL, out.Type)
		}
		count := int64(0)
		for line := range strings.Lines(string(raw)) {
			count++
			var r struct{ ResourceType, ID string }
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s, line %d: %v", out.URL, count, err)
			}
			if r.ResourceType != out.Type || !strings.HasSuffix(line, "\n") {
				t.Fatalf("%s, line %d: not a line with a resource of that type", out.URL, count)
			}
			lines = append(lines, targetLine{typ, out.URL, r.ID, strings.TrimSuffix(line, "\n")})
		}
		if count != out.Count {
			t.Fatalf("%s has %d lines, the manifest says %d", out.URL, count, out.Count)
		}
	}
	eachFile(t, dir, func(path string, _ fs.FileInfo) {
		if rel, _ := filepath.Rel(dir, path); !named[filepath.ToSlash(rel)] {
			t.Fatalf("%s is not in the manifest", rel)
		}
	})
	return lines
}

func decompress(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(data)
	var err error
	switch filepath.Ext(name) {
	case ".gz":
		r, err = gzip.NewReader(r)
	case ".zst":
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("decompress %s: %v", name, err)
	}
	return raw
}

func eachFile(t *testing.T, dir string, visit func(path string, info fs.FileInfo)) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			visit(path, info)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
