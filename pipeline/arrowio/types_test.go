package arrowio

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/decimal256"
	"github.com/apache/arrow/go/v17/arrow/float16"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// typedColumns has a column of every type, with a function that appends a value and the expected
// text.
var typedColumns = []struct {
	name  string
	typ   arrow.DataType
	shown string
	add   func(b array.Builder, i int) string
}{
	{"utf8", arrow.BinaryTypes.String, "string", func(b array.Builder, i int) string {
		v := strings.Repeat("é", i%3)
		b.(*array.StringBuilder).Append(v)
		return v
	}},
	{"large", arrow.BinaryTypes.LargeString, "string", func(b array.Builder, i int) string {
		v := fmt.Sprint("large", i)
		b.(*array.LargeStringBuilder).Append(v)
		return v
	}},
	{"binary", arrow.BinaryTypes.Binary, "string", func(b array.Builder, i int) string {
		v := fmt.Sprint("bytes", i)
		b.(*array.BinaryBuilder).Append([]byte(v))
		return v
	}},
	{"dict", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, "string", func(b array.Builder, i int) string {
		v := [...]string{"x", "", "z"}[i%3]
		if err := b.(*array.BinaryDictionaryBuilder).AppendString(v); err != nil {
			panic(err)
		}
		return v
	}},
	{"dictint", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: arrow.PrimitiveTypes.Int64}, "int64", func(b array.Builder, i int) string {
		if err := b.(*array.Int64DictionaryBuilder).Append(int64(i % 7)); err != nil {
			panic(err)
		}
		return fmt.Sprint(i % 7)
	}},
	{"bool", arrow.FixedWidthTypes.Boolean, "boolean", func(b array.Builder, i int) string {
		b.(*array.BooleanBuilder).Append(i%2 == 0)
		return fmt.Sprint(i%2 == 0)
	}},
	{"int8", arrow.PrimitiveTypes.Int8, "int8", func(b array.Builder, i int) string {
		b.(*array.Int8Builder).Append(int8(i))
		return fmt.Sprint(int8(i))
	}},
	{"uint64", arrow.PrimitiveTypes.Uint64, "uint64", func(b array.Builder, i int) string {
		v := uint64(1)<<63 + uint64(i)
		b.(*array.Uint64Builder).Append(v)
		return fmt.Sprint(v)
	}},
	{"double", arrow.PrimitiveTypes.Float64, "float64", func(b array.Builder, i int) string {
		b.(*array.Float64Builder).Append(float64(i) / 8)
		return fmt.Sprint(float64(i) / 8)
	}},
	{"decimal", &arrow.Decimal128Type{Precision: 12, Scale: 2}, "decimal(12,2)", func(b array.Builder, i int) string {
		b.(*array.Decimal128Builder).Append(decimal128.FromI64(-int64(i)*100 - 7))
		return fmt.Sprintf("-%d.07", i)
	}},
	{"decimal256", &arrow.Decimal256Type{Precision: 50, Scale: 1}, "decimal(50,1)", func(b array.Builder, i int) string {
		b.(*array.Decimal256Builder).Append(decimal256.FromI64(-int64(i)*10 - 3))
		return fmt.Sprintf("-%d.3", i)
	}},
	{"date32", arrow.FixedWidthTypes.Date32, "date", func(b array.Builder, i int) string {
		b.(*array.Date32Builder).Append(arrow.Date32(i - 40))
		return time.Unix(int64(i-40)*86400, 0).UTC().Format(time.DateOnly)
	}},
	{"date64", arrow.FixedWidthTypes.Date64, "date", func(b array.Builder, i int) string {
		b.(*array.Date64Builder).Append(arrow.Date64(int64(i-40) * 86400000))
		return time.Unix(int64(i-40)*86400, 0).UTC().Format(time.DateOnly)
	}},
	{"time", arrow.FixedWidthTypes.Time32s, "time", func(b array.Builder, i int) string {
		b.(*array.Time32Builder).Append(arrow.Time32(i % 60))
		return fmt.Sprintf("00:00:%02d", i%60)
	}},
	{"timestamp", &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}, "timestamp[UTC]", func(b array.Builder, i int) string {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(i*1000 + 20))
		return time.UnixMilli(int64(i*1000 + 20)).UTC().Format("2006-01-02T15:04:05.999Z")
	}},
	{"int16", arrow.PrimitiveTypes.Int16, "int16", func(b array.Builder, i int) string {
		b.(*array.Int16Builder).Append(int16(-i * 300))
		return fmt.Sprint(int16(-i * 300))
	}},
	{"uint8", arrow.PrimitiveTypes.Uint8, "uint8", func(b array.Builder, i int) string {
		b.(*array.Uint8Builder).Append(uint8(200 + i))
		return fmt.Sprint(uint8(200 + i))
	}},
	{"uint16", arrow.PrimitiveTypes.Uint16, "uint16", func(b array.Builder, i int) string {
		b.(*array.Uint16Builder).Append(uint16(60000 + i))
		return fmt.Sprint(uint16(60000 + i))
	}},
	{"float", arrow.PrimitiveTypes.Float32, "float32", func(b array.Builder, i int) string {
		b.(*array.Float32Builder).Append(float32(i) / 4)
		return fmt.Sprint(float32(i) / 4)
	}},
	{"half", arrow.FixedWidthTypes.Float16, "float16", func(b array.Builder, i int) string {
		v := float16.New(float32(i%100) / 4)
		b.(*array.Float16Builder).Append(v)
		return fmt.Sprint(v.Float32())
	}},
	{"nanos", arrow.FixedWidthTypes.Time64ns, "time", func(b array.Builder, i int) string {
		b.(*array.Time64Builder).Append(arrow.Time64(int64(i%60)*1e9 + 1))
		return fmt.Sprintf("00:00:%02d.000000001", i%60)
	}},
	{"clock", &arrow.TimestampType{Unit: arrow.Second}, "timestamp", func(b array.Builder, i int) string {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(i))
		return time.Unix(int64(i), 0).UTC().Format("2006-01-02T15:04:05")
	}},
	{"zoned", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "+05:30"}, "timestamp[+05:30]", func(b array.Builder, i int) string {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(i * 1e6))
		return time.Unix(int64(i), 0).In(time.FixedZone("", 19800)).Format(time.RFC3339)
	}},
	{"view", arrow.BinaryTypes.StringView, "string", func(b array.Builder, i int) string {
		v := strings.Repeat("v", i%30)
		b.(*array.StringViewBuilder).Append(v)
		return v
	}},
	{"fixed", &arrow.FixedSizeBinaryType{ByteWidth: 3}, "string", func(b array.Builder, i int) string {
		v := fmt.Sprintf("%03d", i%1000)
		b.(*array.FixedSizeBinaryBuilder).Append([]byte(v))
		return v
	}},
	{"largebinary", arrow.BinaryTypes.LargeBinary, "string", func(b array.Builder, i int) string {
		v := strings.Repeat("b", i%4)
		b.(*array.BinaryBuilder).Append([]byte(v))
		return v
	}},
	{"binaryview", arrow.BinaryTypes.BinaryView, "string", func(b array.Builder, i int) string {
		v := strings.Repeat("w", i%20)
		b.(*array.BinaryViewBuilder).Append([]byte(v))
		return v
	}},
	{"null", arrow.Null, "null", func(b array.Builder, _ int) string {
		b.AppendNull()
		return ""
	}},
}

func typedRecords(sizes ...int) ([]arrow.Record, [][]string) {
	var fields []arrow.Field
	for _, c := range typedColumns {
		fields = append(fields, arrow.Field{Name: c.name, Type: c.typ, Nullable: true})
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	rnd := rand.New(rand.NewPCG(1, 2))
	var records []arrow.Record
	var want [][]string
	// Use one dictionary for all batches: the file format does not support replacing it.
	for i := range 7 {
		for c, col := range typedColumns {
			col.add(b.Field(c), i)
		}
	}
	warm := b.NewRecord()
	defer warm.Release()
	n := 0
	for _, size := range sizes {
		for range size {
			row := make([]string, len(typedColumns))
			for c, col := range typedColumns {
				if rnd.IntN(4) == 0 {
					b.Field(c).AppendNull()
				} else {
					row[c] = col.add(b.Field(c), n)
				}
			}
			want = append(want, row)
			n++
		}
		records = append(records, b.NewRecord())
	}
	return records, want
}

func isBinary(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW, arrow.FIXED_SIZE_BINARY:
		return true
	}
	return false
}

func TestTypes(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	records, want := typedRecords(700, 900, 0, 5000, 40)
	for _, form := range forms {
		f := openForm(t, form, records)
		for i, x := range f.Fields() {
			if w := (field{Name: typedColumns[i].name, Type: typedColumns[i].shown, Bulk: isBinary(typedColumns[i].typ)}); x != w {
				t.Errorf("field %d: got %v, want %v", i, x, w)
			}
		}
		got := readAll(t, f)
		compareRows(t, form.name, want, got.rows)
		checkRanges(t, f, got)
		spans, err := f.Spans(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		wantSpans := []pipeline.Span{{First: 0, Rows: 1600}, {First: 1600, Rows: 5000}, {First: 6600, Rows: 40}}
		if form.stream {
			wantSpans = []pipeline.Span{{First: 0, Rows: 6640}}
		}
		if diff := cmp.Diff(wantSpans, spans); diff != "" {
			t.Errorf("%s: spans (-want +got):\n%s", form.name, diff)
		}
	}
}

// TestDictionaryStays checks that the text of a dictionary is produced only once for all batches
// that share it.
func TestDictionaryStays(t *testing.T) {
	records, _ := typedRecords(1000, 1000)
	f := openForm(t, forms[0], records)
	s, err := f.Open(context.Background(), 0, 2000, pipeline.Columns{Bound: []int{3}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var r cpcds.Rows
	var ids []uint64
	for s.Next(context.Background(), &r) == nil {
		ids = append(ids, r.Columns[0].Dict)
	}
	if len(ids) != 2 || ids[0] == 0 || ids[0] != ids[1] {
		t.Errorf("dictionaries %v, want the same one twice", ids)
	}
}
