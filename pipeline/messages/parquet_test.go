package messages

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/parquetio"
	"cpcds2fhir/schemas/cpcds"
)

type person struct {
	NPI  *string `parquet:"npi,optional" json:"npi,omitempty"`
	Name string  `parquet:"name" json:"name"`
}

type line struct {
	Number int32   `parquet:"number" json:"number"`
	Code   *string `parquet:"code,optional" json:"code,omitempty"`
	Doctor person  `parquet:"doctor" json:"doctor"`
	Helper *person `parquet:"helper,optional" json:"helper,omitempty"`
}

type diagnosis struct {
	Code string `parquet:"code" json:"code"`
}

// claim has its lists in the order of their names, which is the order in which a collector reads
// them.
type claim struct {
	ID        string      `parquet:"id" json:"id"`
	Billing   person      `parquet:"billing" json:"billing"`
	Diagnoses []diagnosis `parquet:"diagnoses,list" json:"diagnoses,omitempty"`
	Lines     []line      `parquet:"lines,list" json:"lines"`
	Modifiers []string    `parquet:"modifiers,list" json:"modifiers,omitempty"`
	Paid      bool        `parquet:"paid" json:"paid"`
	Note      *string     `parquet:"note,optional" json:"note"`
}

func makeClaims(n int) (all []claim) {
	rnd := rand.New(rand.NewPCG(3, 4))
	maybe := func(s string) *string {
		if rnd.IntN(3) == 0 {
			return nil
		}
		return &s
	}
	for i := range n {
		x := claim{ID: fmt.Sprint("C", i), Billing: person{maybe(fmt.Sprint(i)), "ä\"\n"}, Paid: i%2 == 0, Note: maybe("note")}
		for k := range rnd.IntN(4) {
			l := line{Number: int32(k + 1), Code: maybe("code"), Doctor: person{maybe("1"), ""}}
			if rnd.IntN(2) == 0 {
				l.Helper = &person{maybe("2"), "helper"}
			}
			x.Lines = append(x.Lines, l)
		}
		for k := range rnd.IntN(3) {
			x.Diagnoses = append(x.Diagnoses, diagnosis{fmt.Sprint("D", k)})
		}
		for k := range rnd.IntN(3) {
			x.Modifiers = append(x.Modifiers, fmt.Sprint("M", k))
		}
		all = append(all, x)
	}
	return all
}

// TestSameAsParquet reads the same records from messages and from a nested Parquet file.
func TestSameAsParquet(t *testing.T) {
	claims := makeClaims(300)
	path := filepath.Join(t.TempDir(), "claims.parquet")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[claim](out)
	if _, err := w.Write(claims); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := parquetio.Open(path, parquetio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := readFile(t, f, int64(len(claims)))

	c := Collector{Expect: f.Fields()}
	var got []string
	for i, x := range claims {
		message, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		p := add(t, &c, JSON(), string(message), int64(i))
		if p.Group != 0 {
			t.Fatalf("claim %d is in group %d:\n%s", i, p.Group, cmp.Diff(names(c.Group(0).Fields), names(c.Group(p.Group).Fields)))
		}
		g := c.Group(0)
		for k := p.From; k < p.To; k++ {
			got = append(got, showRow(f.Fields(), g.Fields, g.Rows, k))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-file +messages):\n%s", diff)
	}

	// A record that has everything needs no expectations.
	everything := `{"id":"1","billing":{"npi":"1","name":"n"},"lines":[{"number":1,"code":"c","doctor":{"npi":"1","name":"n"},"helper":{"npi":"1","name":"n"}}],` +
		`"diagnoses":[{"code":"D"}],"modifiers":["M"],"paid":true,"note":"x"}`
	var plain Collector
	p := add(t, &plain, JSON(), everything, 0)
	fields := map[string]bool{}
	for _, n := range names(f.Fields()) {
		fields[n] = true
	}
	for _, n := range names(plain.Group(p.Group).Fields) {
		if !fields[n] {
			t.Errorf("the file has no field %q", n)
		}
		delete(fields, n)
	}
	if len(fields) > 0 {
		t.Errorf("the messages lack %v", fields)
	}
}

// readFile returns all rows of a file.
func readFile(t *testing.T, f pipeline.File, rows int64) (out []string) {
	t.Helper()
	s, err := f.Open(t.Context(), 0, rows, pipeline.ReadableColumns(f))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var r cpcds.Rows
	for {
		err := s.Next(t.Context(), &r)
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.N {
			out = append(out, showRow(f.Fields(), f.Fields(), &r, i))
		}
	}
}

// showRow returns row i with the columns in the order of the fields want.
func showRow(want, fields []cpcds.Field, rows *cpcds.Rows, i int) string {
	s := fmt.Sprintf("%d %v", rows.InputRow(i), len(rows.Whole) == 0 || rows.Whole[i])
	for _, w := range want {
		for k, f := range fields {
			if f.Name == w.Name && f.Group == w.Group {
				s += fmt.Sprintf(" %q", rows.Columns[k].Value(i))
			}
		}
	}
	return s
}
