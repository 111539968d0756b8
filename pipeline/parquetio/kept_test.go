package parquetio

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKeptFiles reads the files from other writers in testdata, starting at every row. Their
// expected content was recorded by testdata/make.py when they were created.
func TestKeptFiles(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "*.parquet"))
	if err != nil || len(paths) < 12 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(strings.TrimSuffix(path, ".parquet") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var want struct {
			Columns []string
			Rows    [][]string
		}
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		for _, memory := range []int64{0, 4000} {
			f, err := Open(path, Options{Memory: memory, Temp: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Columns, names(f)); diff != "" {
				t.Errorf("%s: columns (-want +got):\n%s", path, diff)
			}
			rows := int64(len(want.Rows))
			for from := range rows {
				got, err := readRange(f, from, rows, nil)
				if err != nil {
					t.Fatalf("from row %d: %v", from, err)
				}
				if diff := cmp.Diff(want.Rows[from:], got.rows); diff != "" {
					t.Fatalf("%s, memory %d, from row %d (-want +got):\n%s", path, memory, from, diff)
				}
			}
			f.Close()
		}
	}
}
