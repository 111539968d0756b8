package folders_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/pipeline/folders"
	"cpcds2fhir/pipeline/parquetio"
	"cpcds2fhir/schemas/cpcds"
)

var keys = []folders.Key{{Name: "year", Value: "2024"}, {Name: "region", Absent: true}, {Name: "plan", Value: "gold"}}

func openCSV(t *testing.T, text string) pipeline.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := csvio.Open(path, csvio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// read reads rows of a file as lines of values, a dash where there is none. rows may have
// been used before.
func read(t *testing.T, f pipeline.File, from, to int64, columns pipeline.Columns, rows *cpcds.Rows) (lines []string) {
	t.Helper()
	src, err := f.Open(context.Background(), from, to, columns)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for {
		err := src.Next(context.Background(), rows)
		if errors.Is(err, io.EOF) {
			return lines
		} else if err != nil {
			t.Fatal(err)
		}
		if len(rows.Columns) != len(columns.All()) {
			t.Fatalf("%d columns, want %d", len(rows.Columns), len(columns.All()))
		}
		for i := range rows.N {
			var values []string
			for c := range rows.Columns {
				v := rows.Columns[c].Value(i)
				if v == "" {
					v = "-"
				}
				values = append(values, v)
			}
			lines = append(lines, fmt.Sprintf("%d: %s", rows.InputRow(i), strings.Join(values, " ")))
		}
	}
}

func TestWithKeys(t *testing.T) {
	f := folders.WithKeys(openCSV(t, "id,Plan,name\n1,silver,a\n2,,b\n"), keys)
	want := []cpcds.Field{{Name: "id", Type: "string"}, {Name: "Plan", Type: "string"}, {Name: "name", Type: "string"},
		{Name: "year", Type: folders.FieldType}, {Name: "region", Type: folders.FieldType}}
	if diff := cmp.Diff(want, f.Fields()); diff != "" {
		t.Fatal(diff)
	}
	var rows cpcds.Rows
	for _, c := range []struct {
		name    string
		columns pipeline.Columns
		want    []string
	}{
		{"all, with the file's own plan", pipeline.ReadableColumns(f), []string{"0: 1 silver a 2024 -", "1: 2 - b 2024 -"}},
		{"any order, bound and kept", pipeline.Columns{Bound: []int{4, 3, 2}, Kept: []int{0, 1}}, []string{"0: - 2024 a 1 silver", "1: - 2024 b 2 -"}},
		{"keys that are kept", pipeline.Columns{Bound: []int{0}, Kept: []int{3, 2}}, []string{"0: 1 2024 a", "1: 2 2024 b"}},
		{"keys alone", pipeline.Columns{Bound: []int{3}}, []string{"0: 2024", "1: 2024"}},
		{"none of the keys", pipeline.Columns{Bound: []int{2}}, []string{"0: a", "1: b"}},
	} {
		if diff := cmp.Diff(c.want, read(t, f, 0, 2, c.columns, &rows)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	if diff := cmp.Diff([]string{"1: b 2024"}, read(t, f, 1, 2, pipeline.Columns{Bound: []int{2, 3}}, &rows)); diff != "" {
		t.Error(diff)
	}
}

// TestWithKeysDict: layouts convert a value once as long as its number stays the same, and
// must see another number for another value.
func TestWithKeysDict(t *testing.T) {
	plain := openCSV(t, "id\n"+strings.Repeat("1\n", 10_000))
	seen := map[uint64]string{}
	for _, value := range []string{"2023", "2024"} {
		f := folders.WithKeys(plain, []folders.Key{{Name: "year", Value: value}, {Name: "other", Value: value + "x"}})
		src, err := f.Open(context.Background(), 0, 10_000, pipeline.Columns{Bound: []int{1, 0, 2}})
		if err != nil {
			t.Fatal(err)
		}
		var rows cpcds.Rows
		var first [2]uint64
		for batches := 0; ; batches++ {
			if err := src.Next(context.Background(), &rows); errors.Is(err, io.EOF) {
				if batches < 2 {
					t.Errorf("%d batches: the numbers of several are to be compared", batches)
				}
				break
			} else if err != nil {
				t.Fatal(err)
			}
			now := [2]uint64{rows.Columns[0].Dict, rows.Columns[2].Dict}
			if batches == 0 {
				first = now
			}
			if now != first || now[0] == 0 {
				t.Fatalf("row batch %d has the numbers %d, the first one %d", batches, now, first)
			}
		}
		for i, v := range []string{value, value + "x"} {
			if other, ok := seen[first[i]]; ok {
				t.Errorf("%q and %q have one number", v, other)
			}
			seen[first[i]] = v
		}
		src.Close()
	}
}

// TestWithKeysNested: what is said of an input row is said of all rows that it becomes.
func TestWithKeysNested(t *testing.T) {
	type line struct {
		Code string `parquet:"code"`
	}
	type claim struct {
		ID    string `parquet:"id"`
		Lines []line `parquet:"lines,list"`
	}
	path := filepath.Join(t.TempDir(), "a.parquet")
	if err := parquet.WriteFile(path, []claim{{"1", []line{{"a"}, {"b"}, {"c"}}}, {"2", nil}, {"3", []line{{"d"}}}}); err != nil {
		t.Fatal(err)
	}
	plain, err := parquetio.Open(path, parquetio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	f := folders.WithKeys(plain, keys[:2])
	var rows cpcds.Rows
	got := read(t, f, 0, 3, pipeline.Columns{Bound: []int{2, 1, 0}, Kept: []int{3}}, &rows)
	want := []string{"0: 2024 a 1 -", "0: 2024 b 1 -", "0: 2024 c 1 -", "1: 2024 - 2 -", "2: 2024 d 3 -"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"0: 2024", "1: 2024", "2: 2024"}, read(t, f, 0, 3, pipeline.Columns{Bound: []int{2}}, &rows)); diff != "" {
		t.Errorf("keys alone: %s", diff)
	}
	// The row batch goes on to a source of another format, as those of a lane do.
	csv := folders.WithKeys(openCSV(t, "id,name\n7,x\n8,y\n"), keys[:1])
	if diff := cmp.Diff([]string{"0: x 2024 7", "1: y 2024 8"}, read(t, csv, 0, 2, pipeline.Columns{Bound: []int{1, 2, 0}}, &rows)); diff != "" {
		t.Error(diff)
	}
}

func TestDoubled(t *testing.T) {
	f := openCSV(t, "id,YEAR,name\n1,2,a\n")
	if diff := cmp.Diff([]string{"year"}, folders.Doubled(f, []folders.Key{{Name: "region", Value: "x"}, {Name: "year", Absent: true}})); diff != "" {
		t.Error(diff)
	}
	if names := folders.Doubled(f, nil); names != nil {
		t.Errorf("without keys: %q", names)
	}
}

func TestWithKeysNone(t *testing.T) {
	f := openCSV(t, "id,year\n1,2\n")
	if folders.WithKeys(f, nil) != f || folders.WithKeys(f, keys[:1]) != f {
		t.Error("a file without columns to add is not what it was")
	}
}
