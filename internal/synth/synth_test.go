package synth

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/schemas/cpcds"
)

// write writes an extract to a new folder.
func write(t *testing.T, opt Options) (dir string, s *Summary) {
	t.Helper()
	opt.Dir = filepath.Join(t.TempDir(), "extract")
	s, err := Write(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return opt.Dir, s
}

// table is the text of a table: its columns and rows.
type table struct {
	columns []string
	rows    [][]string
}

// sorted returns the rows as sorted lines.
func (x table) sorted() []string {
	var out []string
	for _, r := range x.rows {
		out = append(out, strings.Join(r, "|"))
	}
	slices.Sort(out)
	return out
}

// pick returns the distinct rows of some columns, but for empty ones, in order.
func (x table) pick(columns []string) []string {
	var at []int
	for _, c := range columns {
		at = append(at, slices.Index(x.columns, c))
	}
	seen := map[string]bool{}
	var out []string
	for _, r := range x.rows {
		var cells []string
		for _, i := range at {
			cells = append(cells, r[i])
		}
		if line := strings.Join(cells, "|"); !seen[line] {
			seen[line] = true
			out = append(out, line)
		}
	}
	return out
}

// read joins the parts of a table.
func read(t *testing.T, dir, name string) table {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, name+"*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("table %s has no file", name)
	}
	var x table
	for _, f := range files {
		if strings.HasSuffix(f, ".csv") {
			readCSV(t, f, &x)
		} else {
			readParquet(t, f, &x)
		}
	}
	return x
}

func readCSV(t *testing.T, path string, x *table) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	x.columns = rows[0]
	x.rows = append(x.rows, rows[1:]...)
}

func openParquet(t *testing.T, path string) *parquet.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	p, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// readParquet unfolds lists as the line grain does: row i has element i of each.
func readParquet(t *testing.T, path string, x *table) {
	t.Helper()
	p := openParquet(t, path)
	x.columns = nil
	for _, c := range p.Schema().Columns() {
		x.columns = append(x.columns, c[len(c)-1])
	}
	r := parquet.NewReader(p)
	defer r.Close()
	for {
		var rows [64]parquet.Row
		n, err := r.ReadRows(rows[:])
		for _, row := range rows[:n] {
			unfold(row, x)
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func unfold(row parquet.Row, x *table) {
	cells := make([][]string, len(x.columns))
	height := 1
	for _, v := range row {
		c := v.Column()
		cells[c] = append(cells[c], strings.Clone(v.String()))
		if v.IsNull() {
			cells[c][len(cells[c])-1] = ""
		}
		height = max(height, len(cells[c]))
	}
	header := len(cpcds.Header{})
	for i := range height {
		out := make([]string, len(cells))
		for c := range cells {
			switch {
			case i < len(cells[c]):
				out[c] = cells[c][i]
			case c < header && len(cells) > header:
				out[c] = cells[c][0]
			}
		}
		x.rows = append(x.rows, out)
	}
}

func TestWorkersChangeNoByte(t *testing.T) {
	for _, opt := range []Options{
		{Format: Parquet, Grain: LineGrain},
		{Format: Parquet, Grain: NestedGrain},
		{Format: Parquet, Grain: NormalisedGrain, Compression: Snappy},
		{Format: CSV, Grain: LineGrain, Faults: 0.3},
		{Format: Parquet, Grain: LineGrain, NoDictionary: true},
		{Format: Parquet, Grain: LineGrain, Shuffle: true},
		{Format: CSV, Grain: NormalisedGrain, Shuffle: true, Faults: 0.1},
	} {
		t.Run(fmt.Sprintf("%s %s shuffle=%v", opt.Format, opt.Grain, opt.Shuffle), func(t *testing.T) {
			if testing.Short() && opt.Grain != LineGrain {
				t.Skip("the workers do the same whatever the grain")
			}
			if testing.Short() && opt.NoDictionary {
				t.Skip("the workers do the same without dictionaries")
			}
			opt.Claims, opt.Seed, opt.RowGroup, opt.partClaims, opt.bucketRows = 3000, 11, 2000, 1000, 5000
			if testing.Short() {
				opt.Claims, opt.RowGroup, opt.partClaims, opt.bucketRows = 600, 400, 200, 1000
			}
			one, first := write(t, opt)
			opt.Workers = 3
			three, second := write(t, opt)
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("summaries differ (-1 worker +3 workers):\n%s", diff)
			}
			for _, name := range first.Files {
				if !same(t, filepath.Join(one, name), filepath.Join(three, name)) {
					t.Errorf("%s differs", name)
				}
			}
			if len(first.Files) < 6 {
				t.Errorf("files %v: want several parts", first.Files)
			}
		})
	}
}

func same(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}

// dictionaries reports whether a column of a Parquet file has one.
func dictionaries(t *testing.T, path string) bool {
	t.Helper()
	for _, group := range openParquet(t, path).Metadata().RowGroups {
		for _, c := range group.Columns {
			if slices.Contains(c.MetaData.Encoding, format.RLEDictionary) {
				return true
			}
		}
	}
	return false
}

func TestFormatsAndGrainsAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("reads whole extracts")
	}
	opt := Options{Claims: 1500, Seed: 4, RowGroup: 1000, Faults: 0}
	flat, summary := write(t, opt)
	want := read(t, flat, "claims")
	if len(want.rows) != summary.Rows["claims"] {
		t.Errorf("claims has %d rows, the summary says %d", len(want.rows), summary.Rows["claims"])
	}
	opt.Format = CSV
	text, _ := write(t, opt)
	for _, name := range []string{"claims", "members", "coverages", "providers", "organizations"} {
		if diff := cmp.Diff(read(t, flat, name).rows, read(t, text, name).rows); diff != "" {
			t.Errorf("%s of Parquet and CSV differ:\n%.2000s", name, diff)
		}
	}
	opt.Format, opt.NoDictionary = Parquet, true
	plain, _ := write(t, opt)
	if diff := cmp.Diff(want.rows, read(t, plain, "claims").rows); diff != "" {
		t.Errorf("with and without dictionaries differ:\n%.2000s", diff)
	}
	if !dictionaries(t, filepath.Join(flat, summary.Files[0])) || dictionaries(t, filepath.Join(plain, summary.Files[0])) {
		t.Error("there are dictionaries where none should be, or the reverse")
	}
	opt.NoDictionary, opt.Grain = false, NestedGrain
	nested, s := write(t, opt)
	if diff := cmp.Diff(want.rows, read(t, nested, "claims").rows); diff != "" {
		t.Errorf("line and nested grain differ:\n%.2000s", diff)
	}
	if s.Rows["claims"] != opt.Claims {
		t.Errorf("nested extract has %d rows, want one per claim", s.Rows["claims"])
	}
	opt.Grain = NormalisedGrain
	apart, s := write(t, opt)
	if s.Rows["claim_lines"] != s.Lines || s.Rows["claim_headers"] != opt.Claims {
		t.Errorf("normalised extract has %d lines and %d headers, want %d and %d", s.Rows["claim_lines"], s.Rows["claim_headers"], s.Lines, opt.Claims)
	}
	headers := read(t, apart, "claim_headers")
	if diff := cmp.Diff(want.pick(headers.columns), headers.pick(headers.columns)); diff != "" {
		t.Errorf("headers of line and normalised grain differ:\n%.2000s", diff)
	}
	lines := read(t, apart, "claim_lines")
	with := slices.DeleteFunc(want.rows, func(r []string) bool { return r[slices.Index(want.columns, "line_number")] == "" })
	if diff := cmp.Diff(table{want.columns, with}.pick(lines.columns), lines.pick(lines.columns)); diff != "" {
		t.Errorf("lines of line and normalised grain differ:\n%.2000s", diff)
	}
}

func TestShuffleMovesRows(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	for _, grain := range []string{LineGrain, NormalisedGrain} {
		name := map[string]string{LineGrain: "claims", NormalisedGrain: "claim_lines"}[grain]
		opt := Options{Claims: 4000, Seed: 9, Format: CSV, Grain: grain, partClaims: 1000, bucketRows: 5000}
		plain, _ := write(t, opt)
		opt.Shuffle = true
		mixed, s := write(t, opt)
		a, b := read(t, plain, name), read(t, mixed, name)
		if diff := cmp.Diff(a.sorted(), b.sorted()); diff != "" {
			t.Errorf("%s: the shuffled rows are others:\n%.2000s", name, diff)
		}
		together := 0
		key := slices.Index(b.columns, "claim_unique_identifier")
		for i := range b.rows[1:] {
			if b.rows[i][key] == b.rows[i+1][key] {
				together++
			}
		}
		if together > 100 {
			t.Errorf("%s: %d of %d rows stand next to one of their claim", name, together, len(b.rows))
		}
		entries, err := os.ReadDir(mixed)
		if err != nil || len(entries) != len(s.Files) {
			t.Errorf("%d entries in the folder, want the %d files of the summary", len(entries), len(s.Files))
		}
	}
}

func TestEveryColumnIsFilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	dir, _ := write(t, Options{Claims: 10000, Seed: 1, Format: CSV})
	for tab := range cpcds.NumTables {
		x := read(t, dir, tab.String())
		var names []string
		for _, e := range cpcds.Columns(tab) {
			names = append(names, e.Column())
		}
		if diff := cmp.Diff(names, x.columns); diff != "" {
			t.Errorf("columns of %s (-want +got):\n%s", tab, diff)
		}
		filled := 0
		for c, column := range x.columns {
			n := 0
			for _, r := range x.rows {
				if r[c] != "" {
					n++
				}
			}
			if n == 0 {
				t.Errorf("%s: %s is filled nowhere", tab, column)
			}
			filled += n
		}
		if per := filled / len(x.rows); tab == cpcds.Claims && (per < 50 || per > 80) {
			t.Errorf("a row of claims has %d filled columns, want about 60", per)
		}
	}
}

func TestRowGroups(t *testing.T) {
	dir, s := write(t, Options{Claims: 2000, Seed: 1, RowGroup: 3000})
	groups := openParquet(t, filepath.Join(dir, "claims-00000.parquet")).RowGroups()
	left := int64(s.Rows["claims"])
	for _, g := range groups {
		if want := min(left, 3000); g.NumRows() != want {
			t.Errorf("row group has %d rows, want %d", g.NumRows(), want)
		}
		left -= g.NumRows()
	}
	if left != 0 {
		t.Errorf("%d rows are in no row group", left)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir, s := write(t, Demo())
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder has mode %v, want 0700", info.Mode().Perm())
	}
	for _, name := range s.Files {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode().Perm())
		}
	}
	if s.Claims != 2000 || s.Members < 60 || s.Members > 150 {
		t.Errorf("demo has %d claims of %d members", s.Claims, s.Members)
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	for _, shuffle := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		dir := filepath.Join(t.TempDir(), "extract")
		_, err := Write(ctx, Options{Claims: 60000, Dir: dir, Format: CSV, Shuffle: shuffle, Workers: 2, partClaims: 3000, bucketRows: 5000, Progress: func(int, int) { cancel() }})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that of the context", err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			t.Errorf("%d entries are left, want none", len(entries))
		}
	}
}

func TestProgressCountsAllClaims(t *testing.T) {
	last := 0
	_, err := Write(t.Context(), Options{Claims: 9000, Dir: t.TempDir(), Format: CSV, Workers: 2, Progress: func(done, total int) {
		if done < last || total != 9000 {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last = done
	}})
	if err != nil || last != 9000 {
		t.Errorf("progress ended at %d, error %v", last, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "claims-00009.csv"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(opt Options, want string) {
		t.Helper()
		if opt.Dir == "" {
			opt.Dir = filepath.Join(t.TempDir(), "extract")
		}
		_, err := Write(t.Context(), opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
		if _, ok := errors.AsType[*OptionError](err); !ok {
			t.Errorf("%v is no *OptionError", err)
		}
	}
	f(Options{}, "at least 1")
	f(Options{Claims: 1, Faults: 1.5}, "between 0 and 1")
	f(Options{Claims: 1, Format: "xml"}, "unknown format")
	f(Options{Claims: 1, Grain: "page"}, "unknown grain")
	f(Options{Claims: 1, Compression: "lzo"}, "unknown compression")
	f(Options{Claims: 1, Format: CSV, Grain: NestedGrain}, "no lists")
	f(Options{Claims: 1, Grain: NestedGrain, Shuffle: true}, "nothing to shuffle")
	f(Options{Claims: 1, RowGroup: -1}, "row group")
	f(Options{Claims: 1, Dir: full}, "not empty")
}
