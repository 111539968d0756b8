package arrowio

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// wrappers are the containers of a column: none, or a kind of list.
var wrappers = []struct {
	name string
	list func(arrow.Field) arrow.DataType
}{
	{"plain", nil},
	{"list", func(f arrow.Field) arrow.DataType { return arrow.ListOfField(f) }},
	{"largelist", func(f arrow.Field) arrow.DataType { return arrow.LargeListOfField(f) }},
	{"fixedlist", func(f arrow.Field) arrow.DataType { return arrow.FixedSizeListOfField(2, f) }},
	{"listview", func(f arrow.Field) arrow.DataType { return arrow.ListViewOfField(f) }},
	{"largelistview", func(f arrow.Field) arrow.DataType { return arrow.LargeListViewOfField(f) }},
}

// TestEvery writes small files of every type, with and without nulls, in lists and not, in both
// formats, compressed and not, and reads them starting at each row.
func TestEvery(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	var all []form
	for _, stream := range []bool{false, true} {
		all = append(all, form{"none", stream, nil}, form{"lz4", stream, []ipc.Option{ipc.WithLZ4()}}, form{"zstd", stream, []ipc.Option{ipc.WithZstd()}})
	}
	if testing.Short() {
		all = all[1:3]
	}
	for c, column := range typedColumns {
		for k, wrapper := range wrappers {
			if k > 1 && c%5 != 0 { // a few types are enough for the less common kinds of lists
				continue
			}
			for _, nullable := range []bool{false, true} {
				records, want := wrapped(c, wrapper.list, nullable)
				for _, form := range all {
					name := fmt.Sprint(column.name, " ", wrapper.name, " nullable ", nullable, " ", form.name, " stream ", form.stream)
					for _, memory := range []int64{0, 6000} {
						f, err := Open(writeRecords(t, form, records), Options{Memory: memory, Temp: t.TempDir()})
						if err != nil {
							t.Fatalf("%s: %v", name, err)
						}
						whole := readAll(t, f)
						compareRows(t, name, want, whole.rows)
						checkEveryRow(t, name, f, whole)
						f.Close()
					}
				}
			}
		}
	}
}

// wrapped returns two records of a column, and the expected rows.
func wrapped(c int, list func(arrow.Field) arrow.DataType, nullable bool) (records []arrow.Record, want [][]string) {
	column := typedColumns[c]
	element := arrow.Field{Name: "c", Type: column.typ, Nullable: nullable || column.typ.ID() == arrow.NULL}
	if list != nil {
		element = arrow.Field{Name: "c", Type: list(element), Nullable: nullable}
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema([]arrow.Field{element}, nil))
	rnd := rand.New(rand.NewPCG(7, uint64(c)))
	add := func(b array.Builder, i int) string {
		if nullable && rnd.IntN(3) == 0 {
			b.AppendNull()
			return ""
		}
		return column.add(b, i)
	}
	// Use one dictionary for both: the file format does not support replacing it.
	for i := range 7 {
		if list != nil {
			appendList(b.Field(0), 2, func(b array.Builder) { column.add(b, i) })
		} else {
			column.add(b.Field(0), i)
		}
	}
	b.NewRecord().Release()
	for i := range 12 {
		switch {
		case list == nil:
			want = append(want, []string{add(b.Field(0), i)})
		case nullable && i%4 == 1:
			b.Field(0).AppendNull()
			want = append(want, []string{""})
		default:
			n := i % 3
			if _, fixed := b.Field(0).(*array.FixedSizeListBuilder); fixed {
				n = 2
			}
			appendList(b.Field(0), n, func(b array.Builder) { want = append(want, []string{add(b, i)}) })
			if n == 0 {
				want = append(want, []string{""})
			}
		}
		if i == 6 {
			records = append(records, b.NewRecord())
		}
	}
	return append(records, b.NewRecord()), want
}

// appendList appends a list of n elements.
func appendList(b array.Builder, n int, add func(array.Builder)) {
	list := b.(array.ListLikeBuilder)
	switch view := b.(type) {
	case *array.ListViewBuilder:
		view.AppendWithSize(true, n)
	case *array.LargeListViewBuilder:
		view.AppendWithSize(true, n)
	default:
		list.Append(true)
	}
	for range n {
		add(list.ValueBuilder())
	}
}
