package csvio

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sharedFiles lists files of the data that lies beside the module.
func sharedFiles(t *testing.T, pattern string) []string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
	found, err := filepath.Glob(filepath.Join(dir, "..", "shared", "data", pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skipf("the shared data is not there: %s", pattern)
	}
	return found
}

// TestShared reads all CPCDS extracts, of which some have a delimiter at the end
// of each row or rows that are short, and compares them with encoding/csv.
func TestShared(t *testing.T) {
	paths := sharedFiles(t, "synthea-cpcds/csv/*.csv")
	paths = append(paths, sharedFiles(t, "synthea-cpcds/dialects/*/*.csv")...)
	for _, path := range paths {
		raw, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r := csv.NewReader(raw)
		r.FieldsPerRecord = -1
		want, err := r.ReadAll()
		raw.Close()
		if err != nil {
			t.Fatal(err)
		}
		columns := len(want[0])
		for i := range want {
			for len(want[i]) < columns {
				want[i] = append(want[i], "")
			}
			want[i] = want[i][:columns]
		}
		header, rows, err := parse(t, path, Options{ShortRows: true})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		compareRows(t, path, want, append([][]string{header}, rows...))
	}
}

// TestSharedPipes reads extracts with another delimiter.
func TestSharedPipes(t *testing.T) {
	for _, path := range sharedFiles(t, "bfd-rif/rif-synthea/*.csv") {
		raw, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r := csv.NewReader(raw)
		r.Comma = '|'
		want, err := r.ReadAll()
		raw.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(want[0]) == 1 {
			continue // not of this delimiter
		}
		want[0][0] = strings.TrimPrefix(want[0][0], "\ufeff")
		header, rows, err := parse(t, path, Options{})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		compareRows(t, path, want, append([][]string{header}, rows...))
	}
}
