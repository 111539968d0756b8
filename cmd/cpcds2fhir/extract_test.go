package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cpcds2fhir/pipeline/csvio"
)

// fingerprintOf writes files and returns the fingerprint of what args name.
func fingerprintOf(t *testing.T, files map[string]string, args ...string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x, err := findExtract(args)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range x.found {
		x.sizes = append(x.sizes, int64(len(files[f.Path])))
	}
	s, err := x.fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFingerprint: a run finds its checkpoints by it, those of earlier releases too.
func TestFingerprint(t *testing.T) {
	flat := sha256.Sum256([]byte("a.csv\x003\x00x,y" + "b.csv\x003\x00p,q"))
	want := hex.EncodeToString(flat[:])
	files := map[string]string{"in/a.csv": "x,y", "in/b.csv": "p,q"}
	for _, args := range [][]string{{"in"}, {"in/b.csv", "in/a.csv"}, {"in/*.csv"}, {"in", "in/a.csv"}} {
		if got := fingerprintOf(t, files, args...); got != want {
			t.Errorf("%q: %s, want %s", args, got, want)
		}
	}
	// Where a file lies in an extract counts, and so do the keys that its path has.
	seen := map[string]string{want: "flat"}
	for _, c := range []struct {
		file string
		args []string
	}{
		{"in/t/a.csv", []string{"in"}},
		{"in/year=1/a.csv", []string{"in"}},
		{"in/year=2/a.csv", []string{"in"}},
		{"in/year=2/a.csv", []string{"in/year=2"}},
		{"in/year=__HIVE_DEFAULT_PARTITION__/a.csv", []string{"in/year=__HIVE_DEFAULT_PARTITION__"}},
	} {
		got := fingerprintOf(t, map[string]string{c.file: "x,y"}, c.args...)
		if other := seen[got]; other != "" {
			t.Errorf("%s of %q has the fingerprint of %s", c.file, c.args, other)
		}
		seen[got] = c.file
	}
}

// TestNoteDoubled: a partition key that files have as a column, too, is worth one warning.
func TestNoteDoubled(t *testing.T) {
	in := t.TempDir()
	for _, name := range []string{"year=1/a.csv", "year=1/b.csv", "year=2/a.csv"} {
		path := filepath.Join(in, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("id,Year\n1,3\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	x, err := findExtract([]string{in})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // as for a layout that is recognised
		if err := x.openFiles(csvio.Options{}); err != nil {
			t.Fatal(err)
		}
		x.close()
	}
	if len(x.warnings) != 1 || !strings.HasPrefix(x.warnings[0], `column "year" is both in the files and in their folder names`) {
		t.Errorf("got %q", x.warnings)
	}
}

// TestMemoryOfText: text that needs more memory to be unpacked than a lane has is refused.
func TestMemoryOfText(t *testing.T) {
	// A window of 64 MiB and one last raw block.
	const frame = "\x28\xb5\x2f\xfd\x00\x80\x41\x00\x00" + "a,b\n1,2\n"
	path := filepath.Join(t.TempDir(), "a.csv.zst")
	if err := os.WriteFile(path, []byte(frame), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openCSV(path, opening{room: readerRoom{memory: 128 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := openCSV(path, opening{room: readerRoom{memory: 64 << 20}}); err == nil || !strings.Contains(err.Error(), "use more --memory") {
		t.Errorf("got %v", err)
	}
}
