package layouts

import (
	"path/filepath"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

// rowBatch returns 4096 rows of the Synthea claims and a binding for them.
func rowBatch(b *testing.B) (*Binding, *cpcds.Rows) {
	file := filepath.Join(shared(b, "data", "synthea-cpcds", "csv"), "CPCDS_Claims.csv")
	l, err := Open("synthea")
	if err != nil {
		b.Fatal(err)
	}
	fields, rows := readCSV(b, file)
	rows.N = 4096
	for i := range rows.Columns {
		c := &rows.Columns[i]
		c.Index = c.Index[:rows.N]
		n := 0
		for _, k := range c.Index {
			n = max(n, int(k)+1)
		}
		c.Values = c.Values[:n]
	}
	bind, err := l.Bind(cpcds.Claims, fields, Options{Lenient: true})
	if err != nil {
		b.Fatal(err)
	}
	return bind, pick(rows, bind.Source())
}

func BenchmarkConvertDictionary(b *testing.B) {
	bind, rows := rowBatch(b)
	rows = encoded(rows, 1)
	var dst cpcds.Batch
	bind.Convert(&dst, rows)
	b.ReportAllocs()
	for b.Loop() {
		bind.Convert(&dst, rows)
	}
}

func BenchmarkConvertNewDictionary(b *testing.B) {
	bind, rows := rowBatch(b)
	rows = encoded(rows, 1)
	var dst cpcds.Batch
	b.ReportAllocs()
	for b.Loop() {
		for i := range rows.Columns {
			rows.Columns[i].Dict += 1000
		}
		bind.Convert(&dst, rows)
	}
}

func BenchmarkConvertPlain(b *testing.B) {
	bind, rows := rowBatch(b)
	var dst cpcds.Batch
	b.ReportAllocs()
	for b.Loop() {
		bind.Convert(&dst, rows)
	}
}
