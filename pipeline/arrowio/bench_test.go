package arrowio

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// BenchmarkRead reads 500,000 rows of ten columns.
func BenchmarkRead(b *testing.B) {
	const rows, batch = 500_000, 50_000
	var fields []arrow.Field
	for i := range 10 {
		types := []arrow.DataType{arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64, arrow.FixedWidthTypes.Date32,
			&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, arrow.PrimitiveTypes.Float64}
		fields = append(fields, arrow.Field{Name: fmt.Sprint("c", i), Type: types[i%len(types)], Nullable: true})
	}
	build := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	var records []arrow.Record
	for n := range rows {
		for c := range fields {
			switch x := build.Field(c).(type) {
			case *array.StringBuilder:
				x.Append(fmt.Sprint("value ", n*7919%rows))
			case *array.Int64Builder:
				x.Append(int64(n * 31))
			case *array.Date32Builder:
				x.Append(arrow.Date32(n % 9000))
			case *array.BinaryDictionaryBuilder:
				if err := x.AppendString(fmt.Sprint("code", (n%batch)%700)); err != nil {
					b.Fatal(err)
				}
			case *array.Float64Builder:
				if n%5 == 0 {
					x.AppendNull()
				} else {
					x.Append(float64(n) / 4)
				}
			}
		}
		if n%batch == batch-1 {
			records = append(records, build.NewRecord())
		}
	}
	for _, form := range forms {
		f := openForm(b, form, records)
		b.Run(form.name, func(b *testing.B) {
			for b.Loop() {
				readRows(b, f)
			}
		})
	}
}

// readRows reads a file without using the values.
func readRows(b *testing.B, f pipeline.File) {
	spans, err := f.Spans(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	var r cpcds.Rows
	for _, span := range spans {
		s, err := f.Open(context.Background(), span.First, span.First+span.Rows, pipeline.ReadableColumns(f))
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			err = s.Next(context.Background(), &r)
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		s.Close()
	}
}
