package parquetio

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// sharedData returns the path of a file in the shared data folder next to the module.
func sharedData(t testing.TB, name string) string {
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
			t.Fatal("no go.mod in any parent folder")
		}
		dir = up
	}
	path := filepath.Join(dir, "..", "shared", "data", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the shared data is missing: %s", name)
	}
	return path
}

func open(t testing.TB, path string) pipeline.File {
	t.Helper()
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// table is the result of reading: rows of text, and the input row of each.
type table struct {
	rows  [][]string
	input []int64
}

// readRange reads the rows [from, to) of a file, batch by batch into one Rows.
func readRange(f pipeline.File, from, to int64, columns []int) (*table, error) {
	bound := pipeline.Columns{Bound: columns}
	if columns == nil {
		bound = pipeline.ReadableColumns(f)
	}
	s, err := f.Open(context.Background(), from, to, bound)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var out table
	var r cpcds.Rows
	for {
		r.Reset()
		err := s.Next(context.Background(), &r)
		if err == io.EOF {
			return &out, nil
		}
		if err != nil {
			return nil, err
		}
		if err := checkBatch(&r); err != nil {
			return nil, err
		}
		for i := range r.N {
			row := make([]string, len(r.Columns))
			for c := range r.Columns {
				row[c] = string(append([]byte(nil), r.Columns[c].Value(i)...))
			}
			out.rows = append(out.rows, row)
			out.input = append(out.input, r.InputRow(i))
		}
	}
}

// checkBatch checks the invariants of row batches.
func checkBatch(r *cpcds.Rows) error {
	if r.N == 0 {
		return errors.New("a row batch without rows")
	}
	for c := range r.Columns {
		col := &r.Columns[c]
		if len(col.Index) != r.N {
			return fmt.Errorf("column %d has %d rows, the row batch has %d", c, len(col.Index), r.N)
		}
		for i, k := range col.Index {
			if k >= 0 && col.Values[k] == "" {
				return fmt.Errorf("column %d, row %d: an absent value has an entry", c, i)
			}
		}
	}
	return nil
}

// readAll reads a file span by span.
func readAll(t testing.TB, f pipeline.File, columns []int) *table {
	t.Helper()
	spans, err := f.Spans(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var out table
	next := int64(0)
	for _, s := range spans {
		if s.First != next {
			t.Fatalf("a span begins at row %d, want %d", s.First, next)
		}
		next += s.Rows
		part, err := readRange(f, s.First, s.First+s.Rows, columns)
		if err != nil {
			t.Fatal(err)
		}
		out.rows = append(out.rows, part.rows...)
		out.input = append(out.input, part.input...)
	}
	return &out
}

func readCSV(t testing.TB, path string) (header []string, rows [][]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all[0], all[1:]
}

func names(f pipeline.File) []string {
	var out []string
	for _, x := range f.Fields() {
		out = append(out, x.Name)
	}
	return out
}

// asType formats a value of the CSV file in the way a column of the given type has it: amounts
// there have one, two or no decimal places.
func asType(typ, v string) string {
	if !strings.HasPrefix(typ, "decimal") || v == "" {
		return v
	}
	amount, ok := new(big.Rat).SetString(v)
	if !ok {
		return v
	}
	return amount.FloatString(2)
}

// compareRows compares tables. It is faster than cmp for large ones.
func compareRows(t testing.TB, name string, want, got [][]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d rows, want %d", name, len(got), len(want))
	}
	for i := range want {
		if !slices.Equal(want[i], got[i]) {
			t.Fatalf("%s: row %d (-want +got):\n%s", name, i, cmp.Diff(want[i], got[i]))
		}
	}
}

// TestSharedFlat reads the extract in all its flat variants and compares every value with the CSV
// file that they were made from.
func TestSharedFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	const dir = "synthea-cpcds/parquet/"
	check := func(csvName string, parts ...string) {
		t.Helper()
		header, want := readCSV(t, sharedData(t, "synthea-cpcds/csv/"+csvName))
		var got [][]string
		var fields []cpcds.Field
		for _, p := range parts {
			f := open(t, sharedData(t, dir+p))
			if diff := cmp.Diff(header, names(f)); diff != "" {
				t.Fatalf("%s: header (-want +got):\n%s", p, diff)
			}
			fields = f.Fields()
			got = append(got, readAll(t, f, nil).rows...)
		}
		for _, row := range want {
			for c, v := range row {
				row[c] = asType(fields[c].Type, v)
			}
		}
		compareRows(t, parts[0], want, got)
	}
	check("CPCDS_Claims.csv", "claims-00000-of-00003.parquet", "claims-00001-of-00003.parquet", "claims-00002-of-00003.parquet")
	check("CPCDS_Claims.csv", "claims-rowgroups-1000.parquet")
	check("CPCDS_Claims.csv", "claims-typed.parquet")
	check("CPCDS_Coverages.csv", "coverages.parquet")
	check("CPCDS_Members.csv", "members.parquet")
	check("Organizations.csv", "organizations.parquet")
	check("PractitionerRoles.csv", "practitioner_roles.parquet")
}

// TestSharedNested unfolds the nested extract and expects the rows of the CSV file.
func TestSharedNested(t *testing.T) {
	f := open(t, sharedData(t, "synthea-cpcds/parquet/claims-nested.parquet"))
	header, want := readCSV(t, sharedData(t, "synthea-cpcds/csv/CPCDS_Claims.csv"))
	at := map[string]int{}
	for i, x := range f.Fields() {
		at[x.Name] = i
	}
	var columns []int
	claim := -1
	for i, h := range header {
		c, ok := at[h]
		if !ok {
			t.Fatalf("column %q is missing", h)
		}
		columns = append(columns, c)
		if h == "Claim unique identifier" {
			claim = i
		}
	}
	got := readAll(t, f, columns)
	compareRows(t, "claims-nested", want, got.rows)
	input := int64(-1)
	for i := range want {
		if i == 0 || want[i][claim] != want[i-1][claim] {
			input++
		}
		if got.input[i] != input {
			t.Fatalf("row %d comes from input row %d, want %d", i, got.input[i], input)
		}
	}
	for i, c := range columns {
		inLines := f.Fields()[c].Group == "lines"
		if header[i] == "Line number" && !inLines || header[i] == "Claim type" && inLines {
			t.Errorf("column %q is in group %q", header[i], f.Fields()[c].Group)
		}
	}
	// If no column of the list is requested, nothing is unfolded.
	if top := readAll(t, f, []int{at["Claim unique identifier"]}); len(top.rows) != int(input)+1 {
		t.Errorf("got %d claims, want %d", len(top.rows), input+1)
	}
}

// TestSharedResume starts reading in the middle of a file, and in the middle of a row group.
func TestSharedResume(t *testing.T) {
	for _, name := range []string{"claims-rowgroups-1000.parquet", "claims-nested.parquet"} {
		f := open(t, sharedData(t, "synthea-cpcds/parquet/"+name))
		checkRanges(t, f, readAll(t, f, nil))
	}
}

// checkRanges reads ranges of rows and compares them with the result of reading the whole file.
func checkRanges(t *testing.T, f pipeline.File, whole *table) {
	t.Helper()
	rows := whole.input[len(whole.input)-1] + 1
	starts := []int64{0, 1, min(7, rows), rows / 3, rows / 2, rows - 1, rows}
	if testing.Short() {
		starts = []int64{1, rows / 2, rows}
	}
	for _, from := range starts {
		for _, to := range []int64{from, min(from+1, rows), min(from+1001, rows), rows} {
			part, err := readRange(f, from, to, nil)
			if err != nil {
				t.Fatalf("rows %d to %d: %v", from, to, err)
			}
			var want table
			for i, n := range whole.input {
				if n >= from && n < to {
					want.rows = append(want.rows, whole.rows[i])
					want.input = append(want.input, n)
				}
			}
			name := fmt.Sprintf("rows %d to %d", from, to)
			compareRows(t, name, want.rows, part.rows)
			if !slices.Equal(part.input, want.input) {
				t.Fatalf("%s: input rows %v, want %v", name, part.input, want.input)
			}
		}
	}
}

// writeFile writes rows with the library's own writer, in row groups of perGroup.
func writeFile[T any](t testing.TB, rows []T, perGroup int, options ...parquet.WriterOption) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.parquet")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[T](f, options...)
	for len(rows) > 0 {
		n := min(perGroup, len(rows))
		if _, err := w.Write(rows[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		rows = rows[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
