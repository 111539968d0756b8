package synth

import (
	"io"
	"reflect"
	"strconv"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"cpcds2fhir/schemas/cpcds"
)

// codec returns the page compression of a name.
func codec(name string) (compress.Codec, error) {
	switch name {
	case Zstd:
		return &parquet.Zstd, nil
	case Snappy:
		return &parquet.Snappy, nil
	case Gzip:
		return &parquet.Gzip, nil
	case Uncompressed:
		return &parquet.Uncompressed, nil
	}
	return nil, optionf("unknown compression %q: use zstd, snappy, gzip or none", name)
}

// textFields are the fields of a struct with an optional text column for each element.
// A struct keeps the order of the columns, which a parquet.Group does not.
func textFields(elements []cpcds.Element, opt *Options) []reflect.StructField {
	encoding := "dict"
	if opt.NoDictionary {
		encoding = "plain"
	}
	fields := make([]reflect.StructField, len(elements))
	for i, e := range elements {
		fields[i] = reflect.StructField{Name: "C" + strconv.Itoa(i), Type: reflect.TypeFor[string](),
			Tag: reflect.StructTag(`parquet:"` + e.Column() + `,optional,` + encoding + `"`)}
	}
	return fields
}

func parquetSchema(fields []reflect.StructField) *parquet.Schema {
	return parquet.SchemaOf(reflect.New(reflect.StructOf(fields)).Interface())
}

// parquetFile writes a Parquet file by column.
type parquetFile struct {
	out     io.WriteCloser
	writer  *parquet.GenericWriter[any]
	columns []*parquet.ColumnWriter
	values  []parquet.Value // of one column
	limit   int             // rows of a row group
	rows    int             // of the open row group
}

func newParquetFile(out io.WriteCloser, schema *parquet.Schema, opt *Options) (*parquetFile, error) {
	c, err := codec(opt.Compression)
	if err != nil {
		return nil, err
	}
	// The program's name in the file is fixed: it must not change with the build.
	w := parquet.NewGenericWriter[any](out, schema, parquet.Compression(c), parquet.CreatedBy("cpcds2fhir synth", "1", ""),
		parquet.MaxRowsPerRowGroup(int64(opt.RowGroup)))
	return &parquetFile{out: out, writer: w, columns: w.ColumnWriters(), limit: opt.RowGroup}, nil
}

func (f *parquetFile) write(s *columnBuffer) error {
	for from := 0; from < s.rows(); {
		n := min(s.rows()-from, f.limit-f.rows)
		for c := range s.cells {
			if err := f.writeColumn(c, s.cells[c][from:from+n]); err != nil {
				return err
			}
		}
		from += n
		if err := f.wrote(n); err != nil {
			return err
		}
	}
	return nil
}

// writeColumn writes cells of a column outside of all lists. Neighbours are often
// the same: the rows of a claim repeat its header.
func (f *parquetFile) writeColumn(c int, cells []string) error {
	f.values = f.values[:0]
	last, value := "", text("", 0, 0, 1, c)
	for _, v := range cells {
		if v != last {
			last, value = v, text(v, 0, 0, 1, c)
		}
		f.values = append(f.values, value)
	}
	_, err := f.columns[c].WriteRowValues(f.values)
	return err
}

// wrote counts rows and ends the row group when it is full.
func (f *parquetFile) wrote(rows int) error {
	if f.rows += rows; f.rows < f.limit {
		return nil
	}
	f.rows = 0
	return f.writer.Flush()
}

func (f *parquetFile) close() error {
	err := f.writer.Close()
	if e := f.out.Close(); err == nil {
		err = e
	}
	return err
}

// text is a value of an optional text column, null if s is empty. absent and
// present are the definition levels of the two.
func text(s string, repetition, absent, present, column int) parquet.Value {
	if s == "" {
		return parquet.Value{}.Level(repetition, absent, column)
	}
	// The writer copies what it keeps.
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s))).Level(repetition, present, column)
}

// nestedFile writes claims as rows with lists of structs.
type nestedFile struct {
	*parquetFile
	next [len(lists)]int // the record of each list that the next row begins with
}

func nestedSchema(p *pages, opt *Options) *parquet.Schema {
	fields := textFields(p.columnBuffers[0].elements, opt)
	for i, l := range lists {
		of := reflect.StructOf(textFields(p.columnBuffers[i+1].elements, opt))
		fields = append(fields, reflect.StructField{Name: "L" + strconv.Itoa(i), Type: reflect.SliceOf(of),
			Tag: reflect.StructTag(`parquet:"` + l.list + `,list"`)})
	}
	return parquetSchema(fields)
}

func newNestedFile(out io.WriteCloser, p *pages, opt *Options) (*nestedFile, error) {
	f, err := newParquetFile(out, nestedSchema(p, opt), opt)
	if err != nil {
		return nil, err
	}
	return &nestedFile{parquetFile: f}, nil
}

func (f *nestedFile) write(p *pages) error {
	f.next = [len(lists)]int{}
	rows := p.columnBuffers[0].rows()
	for from := 0; from < rows; {
		n := min(rows-from, f.limit-f.rows)
		c := 0
		for _, cells := range p.columnBuffers[0].cells {
			if err := f.writeColumn(c, cells[from:from+n]); err != nil {
				return err
			}
			c++
		}
		for i := range lists {
			counts := p.counts[i][from : from+n]
			if err := f.writeList(p.columnBuffers[i+1], counts, f.next[i], c); err != nil {
				return err
			}
			for _, k := range counts {
				f.next[i] += int(k)
			}
			c += len(p.columnBuffers[i+1].cells)
		}
		from += n
		if err := f.wrote(n); err != nil {
			return err
		}
	}
	return nil
}

// writeList writes a list for each row; counts says how many records each has,
// first which is the first of all. An empty list is a null at definition level 0,
// an absent cell one at level 1.
func (f *nestedFile) writeList(s *columnBuffer, counts []int32, first, c int) error {
	for k, cells := range s.cells {
		f.values = f.values[:0]
		at := first
		for _, n := range counts {
			if n == 0 {
				f.values = append(f.values, text("", 0, 0, 0, c+k))
			}
			for i := range int(n) {
				f.values = append(f.values, text(cells[at], min(i, 1), 1, 2, c+k))
				at++
			}
		}
		if _, err := f.columns[c+k].WriteRowValues(f.values); err != nil {
			return err
		}
	}
	return nil
}
