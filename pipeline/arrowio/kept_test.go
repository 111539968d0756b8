package arrowio

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
)

// keptFiles are the files in testdata, which were written by make.py with pyarrow 26.0.1 or, if
// the name says so, Polars 2.1.0. They contain what the Go library cannot write. faults are the
// columns that cannot be converted to text, with the reasons.
var keptFiles = []struct {
	name   string
	faults map[string]string
}{
	{"old.arrows", nil},
	{"old.arrow", nil},
	{"decimals.arrow", nil},
	{"runs.arrow", nil},
	{"runs.arrows", nil},
	{"extensions.arrow", map[string]string{
		"shape": `is of the extension type "test.shape", which cannot be converted to text`,
		"flags": `is of the extension type "arrow.bool8", which cannot be converted to text`,
	}},
	{"views.arrow", nil},
	{"views-lz4.arrow", nil},
	{"delta.arrows", nil},
	{"delta.arrow", nil},
	{"replaced.arrows", nil},
	{"unread.arrow", unreadFaults},
	{"unread-v4.arrow", unreadFaults},
	{"twice.arrow", nil},
	{"polars-lz4.arrow", nil},
	{"polars-zstd.arrow", nil},
	{"polars-old.arrow", nil},
	{"polars.arrows", nil},
}

var unreadFaults = map[string]string{
	"map":      "is a map",
	"pair.map": "is a map",
	"lists":    "is a list within a list",
	"dense":    "is a union",
	"sparse":   "is a union",
	"span":     "is of type duration, which cannot be converted to text",
	"interval": "is of type interval, which cannot be converted to text",
	"runs":     "is of type list, which cannot be converted to text",
	"zoned":    `is a timestamp in the unknown time zone "Mars/Olympus"`,
}

// keptRows returns the expected rows of a file in testdata.
func keptRows(t *testing.T, name string) (rows [][]string) {
	t.Helper()
	o, err := os.Open(filepath.Join("testdata", name+".rows"))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for s := bufio.NewScanner(o); s.Scan(); {
		var row []string
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// TestKeptFiles reads files of other writers from the beginning and starting at each row, with
// much memory and with little.
func TestKeptFiles(t *testing.T) {
	for _, x := range keptFiles {
		for _, memory := range []int64{0, 20_000} {
			f, err := Open(filepath.Join("testdata", x.name), Options{Memory: memory, Temp: t.TempDir()})
			if err != nil {
				t.Errorf("%s: %v", x.name, err)
				continue
			}
			defer f.Close()
			faults := map[string]string{}
			for _, field := range f.Fields() {
				if field.Fault != "" {
					faults[field.Name] = field.Fault
				}
			}
			for name := range x.faults { // some files do not have all of them
				if !slices.ContainsFunc(f.Fields(), func(y field) bool { return y.Name == name }) && x.name == "unread-v4.arrow" {
					faults[name] = x.faults[name]
				}
			}
			if diff := cmp.Diff(x.faults, faults); diff != "" && len(x.faults)+len(faults) > 0 {
				t.Errorf("%s: faults (-want +got):\n%s", x.name, diff)
			}
			got := readAll(t, f)
			compareRows(t, x.name, keptRows(t, x.name), got.rows)
			checkEveryRow(t, x.name, f, got)
		}
	}
}

// checkEveryRow reads a file from each row to the end, from the beginning to each row, and each
// row alone.
func checkEveryRow(t testing.TB, name string, f pipeline.File, whole *table) {
	t.Helper()
	rows := whole.input[len(whole.input)-1] + 1
	for at := range rows + 1 {
		for _, r := range [][2]int64{{at, rows}, {0, at}, {at, min(at+1, rows)}} {
			part, err := readRange(f, r[0], r[1], nil)
			if err != nil {
				t.Fatalf("%s: rows %d to %d: %v", name, r[0], r[1], err)
			}
			want := whole.cut(r[0], r[1])
			compareRows(t, fmt.Sprintf("%s: rows %d to %d", name, r[0], r[1]), want.rows, part.rows)
			if !slices.Equal(want.input, part.input) {
				t.Fatalf("%s: rows %d to %d: wrong input rows", name, r[0], r[1])
			}
		}
	}
}

func TestKeptFields(t *testing.T) {
	check := func(name string, want ...field) {
		t.Helper()
		f, err := Open(filepath.Join("testdata", name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if diff := cmp.Diff(want, f.Fields()); diff != "" {
			t.Errorf("%s: fields (-want +got):\n%s", name, diff)
		}
	}
	check("decimals.arrow", field{Name: "d32", Type: "decimal(9,2)"}, field{Name: "d64", Type: "decimal(18,3)"}, field{Name: "after", Type: "string"})
	check("twice.arrow", field{Name: "x", Type: "string"}, field{Name: "x", Type: "string"}, field{Name: "y", Type: "int64"})
	check("extensions.arrow", field{Name: "uuid", Type: "uuid"}, field{Name: "json", Type: "string"}, field{Name: "words", Type: "string"},
		field{Name: "shape", Type: "string", Fault: `is of the extension type "test.shape", which cannot be converted to text`},
		field{Name: "flags", Type: "int8", Fault: `is of the extension type "arrow.bool8", which cannot be converted to text`})
	check("views.arrow", field{Name: "short", Type: "string"}, field{Name: "long", Type: "string"}, field{Name: "bytes", Type: "string", Bulk: true},
		field{Name: "words", Group: "words", Type: "string"}, field{Name: "large", Group: "large", Type: "string"})
	check("unread.arrow",
		field{Name: "first", Type: "string"},
		field{Name: "map", Type: "map", Fault: "is a map"},
		field{Name: "lists", Group: "lists", Type: "list", Fault: "is a list within a list"},
		field{Name: "dense", Type: "union", Fault: "is a union"},
		field{Name: "sparse", Type: "union", Fault: "is a union"},
		field{Name: "span", Type: "duration", Fault: unreadFaults["span"]},
		field{Name: "interval", Type: "interval", Fault: unreadFaults["interval"]},
		field{Name: "nothing", Type: "null"},
		field{Name: "runs", Type: "list", Fault: unreadFaults["runs"]},
		field{Name: "zoned", Type: "timestamp[Mars/Olympus]", Fault: unreadFaults["zoned"]},
		field{Name: "pair.map", Type: "map", Fault: "is a map"},
		field{Name: "x", Type: "int32"},
		field{Name: "half", Type: "float16"},
		field{Name: "local", Type: "timestamp[America/New_York]"},
		field{Name: "clock", Type: "timestamp"},
		field{Name: "last", Type: "string"})
}
