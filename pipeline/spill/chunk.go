package spill

import (
	"encoding/binary"
	"errors"
	"slices"
	"unsafe"

	"cpcds2fhir/schemas/cpcds"
)

var errDamaged = errors.New("the file is damaged")

// packRows appends rows [from, to) as they wait for their chunk: tag, number, whole, and
// each column as its length and its bytes.
func packRows(b []byte, rows *cpcds.Rows, from, to int, tag int32) []byte {
	number := rows.InputRow(from)
	for i := from; i < to; i++ {
		whole := byte(0)
		if len(rows.Whole) == 0 || rows.Whole[i] {
			whole = 1
		}
		switch {
		case len(rows.Numbers) > 0:
			number = rows.Numbers[i]
		case i > from:
			number += int64(whole)
		}
		b = binary.AppendUvarint(b, uint64(tag))
		b = binary.AppendUvarint(b, uint64(number))
		b = append(b, whole)
		for c := range rows.Columns {
			v := rows.Columns[c].Value(i)
			b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
		}
	}
	return b
}

// chunk turns packed rows into columns, which take a sixth less than rows when they are
// compressed, and less of the compressor's time.
type chunk struct {
	cells []cell // by row and column
	out   []byte
}

// cell is where a value is in the packed rows.
type cell struct{ at, size int32 }

// columns returns, one after the other, the tags, the numbers, each as its distance from
// the one before, and the marks of the rows; then of each column 0 if it has no values,
// else 1, the lengths of all values, and all values. It is overwritten by the next call.
func (k *chunk) columns(packed []byte, rows, columns int) []byte {
	k.cells = slices.Grow(k.cells[:0], rows*columns)[:rows*columns]
	some := make([]bool, columns)
	var tags, numbers, marks []byte
	before := uint64(0)
	at := 0
	number := func() uint64 {
		v, n := binary.Uvarint(packed[at:])
		at += n
		return v
	}
	for r := range rows {
		tags = binary.AppendUvarint(tags, number())
		n := number()
		numbers, before = binary.AppendVarint(numbers, int64(n-before)), n
		marks = append(marks, packed[at])
		at++
		for c := range columns {
			size := int(number())
			k.cells[r*columns+c] = cell{int32(at), int32(size)}
			some[c] = some[c] || size > 0
			at += size
		}
	}
	b := append(append(append(k.out[:0], tags...), numbers...), marks...)
	for c := range columns {
		if !some[c] {
			b = append(b, 0)
			continue
		}
		b = append(b, 1)
		for i := c; i < len(k.cells); i += columns {
			b = binary.AppendUvarint(b, uint64(k.cells[i].size))
		}
		for i := c; i < len(k.cells); i += columns {
			x := k.cells[i]
			b = append(b, packed[x.at:x.at+x.size]...)
		}
	}
	k.out = b
	return b
}

// rowsOf calls row for each row of a chunk of columns, as Reader.Next does. The values
// point into b, which must not be written to again.
func rowsOf(b []byte, rows, columns int, row func(tag int32, number int64, whole bool, values []string)) error {
	damaged := false
	number := func(b *[]byte) uint64 {
		v, n := binary.Uvarint(*b)
		if n <= 0 {
			damaged = true
			return 0
		}
		*b = (*b)[n:]
		return v
	}
	take := func(n int) []byte {
		if n < 0 || n > len(b) {
			damaged = true
			return nil
		}
		part := b[:n:n]
		b = b[n:]
		return part
	}
	// A row takes three bytes at least: more rows than there are bytes are a damaged
	// count, not a reason to ask for memory.
	if rows < 0 || rows > len(b) {
		return errDamaged
	}
	tags, numbers := make([]int32, rows), make([]int64, rows)
	for i := range tags {
		tags[i] = int32(number(&b))
	}
	before := int64(0)
	for i := range numbers {
		v := number(&b)
		before += int64(v>>1) ^ -int64(v&1) // as binary.Varint
		numbers[i] = before
	}
	marks := take(rows)
	type column struct{ lengths, texts []byte }
	list := make([]column, columns)
	for c := range list {
		if some := take(1); damaged || some[0] == 0 {
			continue
		}
		lengths, total := b, 0
		for range rows {
			n := number(&b)
			if damaged || n > uint64(len(b)) {
				return errDamaged
			}
			total += int(n)
		}
		list[c] = column{lengths, take(total)}
	}
	if damaged || len(b) > 0 {
		return errDamaged
	}
	values := make([]string, columns)
	for i := range rows {
		for c := range list {
			x := &list[c]
			values[c] = ""
			if x.lengths == nil {
				continue
			}
			if n := number(&x.lengths); n > 0 {
				values[c] = unsafe.String(&x.texts[0], int(n))
				x.texts = x.texts[n:]
			}
		}
		row(tags[i], numbers[i], marks[i] == 1, values)
	}
	return nil
}
