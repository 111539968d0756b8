package parquetio

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/parquetio/page"
	"cpcds2fhir/schemas/cpcds"
)

type provider struct {
	NPI  string `parquet:"npi,dict"`
	Name string `parquet:"name"`
}

type line struct {
	Number  int32    `parquet:"number"`
	Code    *string  `parquet:"code,optional,dict"`
	Doctor  provider `parquet:"doctor"`
	Renders provider `parquet:"renders"`
}

type diagnosis struct {
	Code string `parquet:"code,dict"`
}

// nested has a three-level list, a plain repeated group, a list of values, and plain groups.
type nested struct {
	ID        string      `parquet:"id"`
	Lines     []line      `parquet:"lines,list"`
	Billing   provider    `parquet:"billing"`
	Diagnoses []diagnosis `parquet:"diagnoses"`
	Modifiers []string    `parquet:"modifiers,list"`
	Amount    int64       `parquet:"amount,decimal(2:18)"`
}

var nestedFields = []cpcds.Field{
	{Name: "id", Type: "string"},
	{Name: "number", Group: "lines", Type: "int32"},
	{Name: "code", Group: "lines", Type: "string"},
	{Name: "doctor.npi", Group: "lines", Type: "string"},
	{Name: "doctor.name", Group: "lines", Type: "string"},
	{Name: "renders.npi", Group: "lines", Type: "string"},
	{Name: "renders.name", Group: "lines", Type: "string"},
	{Name: "npi", Type: "string"},
	{Name: "name", Type: "string"},
	{Name: "code", Group: "diagnoses", Type: "string"},
	{Name: "modifiers", Group: "modifiers", Type: "string"},
	{Name: "amount", Type: "decimal(18,2)"},
}

func makeNested(n int) ([]nested, *table) {
	rnd := rand.New(rand.NewPCG(11, 12))
	var rows []nested
	var want table
	for i := range n {
		x := nested{ID: fmt.Sprint("claim", i), Billing: provider{NPI: fmt.Sprint(rnd.IntN(9))}, Amount: int64(i)}
		add := func(values ...string) {
			row := make([]string, len(nestedFields))
			row[0], row[7], row[8], row[11] = x.ID, x.Billing.NPI, x.Billing.Name, money(x.Amount)
			copy(row[1:], values[:6])
			copy(row[9:], values[6:])
			want.rows = append(want.rows, row)
			want.input = append(want.input, int64(i))
		}
		before := len(want.rows)
		for k := range rnd.IntN(4) {
			l := line{Number: int32(k + 1), Code: pick(rnd, fmt.Sprint("c", rnd.IntN(50))), Doctor: provider{NPI: fmt.Sprint(k), Name: fmt.Sprint("n", i)}}
			x.Lines = append(x.Lines, l)
			add(fmt.Sprint(l.Number), show(l.Code, func(s string) string { return s }), l.Doctor.NPI, l.Doctor.Name, "", "", "", "")
		}
		for range rnd.IntN(3) {
			d := diagnosis{Code: fmt.Sprint("d", rnd.IntN(20))}
			x.Diagnoses = append(x.Diagnoses, d)
			add("", "", "", "", "", "", d.Code, "")
		}
		for range rnd.IntN(3) {
			m := fmt.Sprint("m", rnd.IntN(20))
			x.Modifiers = append(x.Modifiers, m)
			add("", "", "", "", "", "", "", m)
		}
		if len(want.rows) == before {
			add("", "", "", "", "", "", "", "")
		}
		rows = append(rows, x)
	}
	return rows, &want
}

// TestNested unfolds three lists, of which each row has none, some or all.
func TestNested(t *testing.T) {
	rows, want := makeNested(6000)
	for version := 1; version <= 2; version++ {
		f := open(t, writeFile(t, rows, 2500, parquet.PageBufferSize(3000), parquet.DataPageVersion(version)))
		if diff := cmp.Diff(nestedFields, f.Fields()); diff != "" {
			t.Fatalf("fields (-want +got):\n%s", diff)
		}
		got := readAll(t, f, nil)
		compareRows(t, fmt.Sprintf("version %d", version), want.rows, got.rows)
		if diff := cmp.Diff(want.input, got.input); diff != "" {
			t.Fatalf("input rows (-want +got):\n%s", diff)
		}
		checkRanges(t, f, got)
	}
}

// TestFallback reads chunks whose dictionary was abandoned halfway, and pages that end at
// different rows in each column.
func TestFallback(t *testing.T) {
	type row struct {
		A string  `parquet:"a,dict"`
		B *string `parquet:"b,dict,optional"`
		C int64   `parquet:"c,dict"`
		D string  `parquet:"d,dict"`
	}
	rnd := rand.New(rand.NewPCG(13, 14))
	var rows []row
	var want [][]string
	for i := range 30000 {
		x := row{A: fmt.Sprint("a", rnd.IntN(1+i)), B: pick(rnd, fmt.Sprint("b", rnd.IntN(1+i/3))), C: rnd.Int64N(int64(1 + i)), D: "same"}
		if i%17 == 0 {
			x.A = ""
		}
		rows = append(rows, x)
		want = append(want, []string{x.A, show(x.B, func(s string) string { return s }), fmt.Sprint(x.C), x.D})
	}
	path := writeFile(t, rows, len(rows), parquet.DictionaryMaxBytes(40000), parquet.PageBufferSize(3000))
	f := open(t, path)
	got := readAll(t, f, nil)
	compareRows(t, "fallback", want, got.rows)
	if dictionaries, plain := encodingsOf(t, f, 0); dictionaries == 0 || plain == 0 {
		t.Fatalf("the writer did not abandon its dictionary: %d and %d pages", dictionaries, plain)
	}
	checkRanges(t, f, got)
}

func TestSpans(t *testing.T) {
	check := func(rows []int64, want ...int64) {
		t.Helper()
		var groups []group
		var first int64
		for _, n := range rows {
			groups = append(groups, group{first: first, rows: n})
			first += n
		}
		var spans []pipeline.Span
		var at int64
		for _, n := range want {
			spans = append(spans, pipeline.Span{First: at, Rows: n})
			at += n
		}
		if diff := cmp.Diff(spans, spansOf(groups)); diff != "" {
			t.Errorf("groups %v (-want +got):\n%s", rows, diff)
		}
	}
	check(nil)
	check([]int64{0})
	check([]int64{5}, 5)
	check([]int64{20000, 20000, 7}, 20000, 20000, 7)
	check([]int64{400, 400, 400, 1000, 10}, 1200, 1000, 10)
	check([]int64{10, 1_000_000}, 1_000_010)
	check([]int64{10, 1_000_001, 10}, 10, 333_333, 333_334, 333_334, 10)
	check([]int64{1_500_000}, 500_000, 500_000, 500_000)
}

// BenchmarkRead reads 60 dictionary-encoded columns, a third of them with nulls.
func BenchmarkRead(b *testing.B) {
	const columns = 60
	path := writeWide(b, 200_000, columns)
	f := open(b, path)
	rows := 0
	b.ReportAllocs()
	for b.Loop() {
		s, err := f.Open(b.Context(), 0, 200_000, pipeline.ReadableColumns(f))
		if err != nil {
			b.Fatal(err)
		}
		rows += drain(b, s)
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

func drain(b *testing.B, s pipeline.Source) int {
	b.Helper()
	defer s.Close()
	var r cpcds.Rows
	rows := 0
	for s.Next(b.Context(), &r) == nil {
		rows += r.N
	}
	if rows == 0 {
		b.Fatal("no rows were read")
	}
	return rows
}

// writeWide writes a file like a data warehouse: with zstd, dictionaries, and pages of the usual
// size.
func writeWide(b *testing.B, rows, columns int) string {
	group := parquet.Group{}
	for c := range columns {
		node := parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
		if c%3 == 0 {
			node = parquet.Optional(node)
		}
		group[fmt.Sprintf("c%02d", c)] = node
	}
	rnd := rand.New(rand.NewPCG(15, 16))
	var all []map[string]any
	for range rows {
		row := map[string]any{}
		for c := range columns {
			if c%3 == 0 && rnd.IntN(4) == 0 {
				row[fmt.Sprintf("c%02d", c)] = nil
				continue
			}
			row[fmt.Sprintf("c%02d", c)] = fmt.Sprintf("value %d", rnd.IntN(10+c*c))
		}
		all = append(all, row)
	}
	return writeFile(b, all, rows, parquet.NewSchema("row", group), parquet.Compression(&parquet.Zstd))
}

// encodingsOf counts the dictionary-encoded and the plain pages of a column in the first row
// group.
func encodingsOf(t testing.TB, f pipeline.File, column int) (dictionaries, plain int) {
	t.Helper()
	p, err := f.(*file).footer()
	if err != nil {
		t.Fatal(err)
	}
	m := &p.Groups.list[0].chunks[column]
	w := m.pages(f.(*file).os, p.begin)
	for w.More() {
		var h page.Header
		if err := w.Header(&h); err != nil {
			t.Fatal(err)
		}
		switch {
		case h.V1.Valid && h.V1.V.Encoding == format.Plain || h.V2.Valid && h.V2.V.Encoding == format.Plain:
			plain++
		case h.IsData():
			dictionaries++
		}
		if err := w.Pass(&h); err != nil {
			t.Fatal(err)
		}
	}
	return dictionaries, plain
}
