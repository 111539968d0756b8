package layouts

import (
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

// shared returns the path of a folder of shared test data, which lies beside the
// module. The test is skipped where it does not.
func shared(t testing.TB, elem ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the package")
		}
		dir = filepath.Dir(dir)
	}
	path := filepath.Join(append([]string{dir, "..", "shared"}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the shared test data %s is not here", filepath.Join(elem...))
	}
	return path
}

// fieldsOf makes fields of headers.
func fieldsOf(headers ...string) []cpcds.Field {
	out := make([]cpcds.Field, len(headers))
	for i, h := range headers {
		out[i] = cpcds.Field{Name: h, Type: "string"}
	}
	return out
}

// rowsOf makes a row batch of plain columns of rows of text.
func rowsOf(columns int, rows ...[]string) *cpcds.Rows {
	r := &cpcds.Rows{N: len(rows), Columns: make([]cpcds.Column, columns)}
	for _, row := range rows {
		for i := range r.Columns {
			v := ""
			if i < len(row) {
				v = row[i]
			}
			r.Columns[i].AppendPlain(v)
		}
	}
	return r
}

// encoded returns the row batch with a dictionary per column.
func encoded(r *cpcds.Rows, first uint64) *cpcds.Rows {
	out := &cpcds.Rows{First: r.First, N: r.N, Columns: make([]cpcds.Column, len(r.Columns))}
	for i := range r.Columns {
		c := &out.Columns[i]
		c.Dict = first + uint64(i)
		places := map[string]int32{}
		for row := range r.N {
			v := r.Columns[i].Value(row)
			if v == "" {
				c.Index = append(c.Index, -1)
				continue
			}
			k, ok := places[v]
			if !ok {
				k = int32(len(c.Values))
				places[v] = k
				c.Values = append(c.Values, v)
			}
			c.Index = append(c.Index, k)
		}
	}
	return out
}

// pick returns the columns of a row batch that a binding needs.
func pick(r *cpcds.Rows, source []int) *cpcds.Rows {
	out := &cpcds.Rows{First: r.First, N: r.N}
	for _, i := range source {
		out.Columns = append(out.Columns, r.Columns[i])
	}
	return out
}

// readCSV reads a file without quoting: fields and rows.
func readCSV(t testing.TB, file string) ([]cpcds.Field, *cpcds.Rows) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	header, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return fieldsOf(header...), rowsOf(len(header), rows...)
}

// compileText compiles a layout from text and fails on findings.
func compileText(t testing.TB, yaml string) *Layout {
	t.Helper()
	l, findings := parseText(yaml, nil)
	for _, f := range findings {
		t.Error(f)
	}
	if l == nil {
		t.FailNow()
	}
	return l
}

func parseText(yaml string, files map[string]string) (*Layout, []Finding) {
	return parse("test.yaml", []byte(yaml), func(name string) ([]byte, error) {
		if s, ok := files[name]; ok {
			return []byte(s), nil
		}
		return nil, os.ErrNotExist
	})
}

func TestBuiltinsCompile(t *testing.T) {
	files, err := builtin.ReadDir("builtin")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".yaml" {
			continue
		}
		n++
		l, findings := readBuiltin("builtin/" + f.Name())
		for _, x := range findings {
			t.Error(x)
		}
		if l == nil {
			continue
		}
		if want := strings.TrimSuffix(f.Name(), ".yaml"); l.Name != want {
			t.Errorf("%s holds the layout %s", f.Name(), l.Name)
		}
		if len(l.Hash) != 64 {
			t.Errorf("%s: the hash %q is not that of SHA-256", l.Name, l.Hash)
		}
		if l.About == "" || l.Systems.Claim == "" || l.Systems.Member == "" || l.Systems.Coverage == "" {
			t.Errorf("%s: about or identifier systems are missing", l.Name)
		}
	}
	if got := len(Builtins()); got != n || n < 2 {
		t.Errorf("%d of %d built-in layouts are there", got, n)
	}
}

// TestEveryElementIsBound proves that the canonical format leaves nothing out.
func TestEveryElementIsBound(t *testing.T) {
	l, err := Open("cpcds")
	if err != nil {
		t.Fatal(err)
	}
	for table := range cpcds.NumTables {
		var headers []string
		for _, el := range cpcds.Columns(table) {
			headers = append(headers, el.Column())
		}
		b, err := l.Bind(table, fieldsOf(headers...), Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		for _, el := range cpcds.Columns(table) {
			if cols := b.Columns(el); len(cols) != 1 || cols[0] != el.Column() {
				t.Errorf("%s of %s is read from %q", el, table, cols)
			}
		}
	}
}

func TestOpen(t *testing.T) {
	_, err := Open("sinthea")
	if err == nil || !strings.Contains(err.Error(), `did you mean "synthea"?`) || !strings.Contains(err.Error(), "cpcds, rif, synthea") {
		t.Errorf("an unknown name: %v", err)
	}
	if _, err := Open("nowhere/x.yaml"); err == nil || !strings.Contains(err.Error(), "read layout") {
		t.Errorf("a missing file: %v", err)
	}

	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("own.yaml", `
layout: own
code_maps: {sex: sex.csv, states: usps_states.csv}
tables:
  members:
    key: [member_id]
    columns:
      member_id: Id
      member_last_updated_date: Updated
      gender_code: {from: [Sex], code_map: sex}
      state: {from: [State], code_map: states}
`)
	write("sex.csv", "from,to,note\n1,male,\n2,female,\n")
	l, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := convertOne(t, l, cpcds.Members, cpcds.MembersGenderCode, "Sex", "2", Options{}); got.text != "female" {
		t.Errorf("a code map beside the layout gives %q", got.text)
	}
	if got := convertOne(t, l, cpcds.Members, cpcds.MembersState, "State", "Utah", Options{}); got.text != "UT" {
		t.Errorf("a code map of the product gives %q", got.text)
	}
	archive, err := l.Archive()
	if err != nil {
		t.Fatal(err)
	}
	before := l.Hash
	write("sex.csv", "from,to\n1,male\n2,other\n")
	if l, err = Open(file); err != nil || l.Hash == before {
		t.Errorf("another code map must change the hash: %v", err)
	}
	if l, err = OpenArchive(archive); err != nil || l.Hash != before {
		t.Fatalf("the archive makes another layout (%v)", err)
	}
	if got := convertOne(t, l, cpcds.Members, cpcds.MembersGenderCode, "Sex", "2", Options{}); got.text != "female" {
		t.Errorf("a code map of the archive gives %q", got.text)
	}
}

// TestNullMark: \N may pass a reader of text only if no column would take it for a value.
func TestNullMark(t *testing.T) {
	f := func(want bool, global, member, name string) {
		t.Helper()
		l := compileText(t, "layout: x"+global+`
tables:
  members:
    key: [member_id]
    required: [member_id]
    columns:
      member_id: {from: [ID]`+member+`}
      member_family_name: {from: [NAME]`+name+`}
      member_given_name: {const: None}
`)
		if l.CSV.NullMark != want {
			t.Errorf("global %q, columns %q and %q: got %t", global, member, name, l.CSV.NullMark)
		}
	}
	const null = `, null: ['\N']`
	f(false, "", "", "")
	f(false, "", null, "")
	f(false, "", "", null)
	f(true, "", null, null)
	f(true, "\nnull: ['\\N', none]", "", "")
	f(true, "\nnull: ['\\N']", "", `, null: ["-"]`)
	f(false, "\nnull: ['NULL']", "", null)
}

// convertOne binds one column, with the key, and converts one value.
func convertOne(t testing.TB, l *Layout, table cpcds.Table, el cpcds.Element, header, value string, o Options) result {
	t.Helper()
	headers, row := []string{header}, []string{value}
	tab := l.Table(table)
	for _, need := range append(tab.Key, tab.Required...) {
		if c := tab.column(need); c.origin != fromConst && cpcds.FoldHeader(c.headers[0][0]) != cpcds.FoldHeader(header) {
			headers, row = append(headers, c.headers[0][0]), append(row, "1")
		}
	}
	b, err := l.Bind(table, fieldsOf(headers...), o)
	if err != nil {
		t.Fatal(err)
	}
	return convertRow(t, b, el, row)
}

func convertRow(t testing.TB, b *Binding, el cpcds.Element, row []string) result {
	t.Helper()
	plain := rowsOf(len(row), row)
	var results [2]result
	for i, src := range []*cpcds.Rows{plain, encoded(plain, 100)} {
		var dst cpcds.Batch
		b.Clone().Convert(&dst, pick(src, b.Source()))
		c := dst.Column(el)
		if c == nil {
			t.Fatalf("%s is not bound", el)
			return result{}
		}
		results[i].text = c.Value(0)
		if k := c.Index[0]; k >= 0 {
			if c.Bad != nil {
				results[i].bad = c.Bad[k]
			}
			if c.Repaired != nil {
				results[i].repaired = c.Repaired[k]
			}
		}
	}
	if results[0] != results[1] {
		t.Errorf("%s: a plain column gives %+v, a dictionary %+v", el, results[0], results[1])
	}
	return results[0]
}
