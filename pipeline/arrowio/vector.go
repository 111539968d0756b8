package arrowio

import (
	"errors"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/schemas/cpcds"
)

// lastDict numbers the dictionaries of the process.
var lastDict atomic.Uint64

// errNotText means that a value is not UTF-8 or holds a NUL.
var errNotText = errors.New("not text")

// vector collects one column of a slab: an index vector into a dictionary or into
// values of its own.
type vector struct {
	index []int32
	plain []string
	arena []byte
	live  []int32 // scratch: places of values
	dict  *dictionary
	slab  *dictionary // the dictionary that index is of; nil if the values are its own
}

// dictionary is a dictionary as text.
type dictionary struct {
	of    arrow.ArrayData // what it was made from: a dictionary is often that of all batches
	id    uint64
	text  []string
	blank bool // there is an empty text among them
}

// column hands the values to a column of a slab. Its Index is not touched.
func (v *vector) column(c *cpcds.Column) {
	c.Bad, c.Repaired = nil, nil
	if v.slab != nil {
		c.Values, c.Dict = v.slab.text, v.slab.id
		return
	}
	c.Values, c.Dict = v.plain, 0
}

// fill makes the vector from the places at of an array. A place is null where the
// array is, or a struct around it.
func (v *vector) fill(a arrow.Array, structs []arrow.Array, at []int32) error {
	v.index, v.plain, v.arena, v.live, v.slab = v.index[:0], v.plain[:0], v.arena[:0], v.live[:0], nil
	for _, i := range at {
		null := a.IsNull(int(i))
		for _, s := range structs {
			null = null || s.IsNull(int(i))
		}
		if null {
			v.index = append(v.index, -1)
			continue
		}
		v.index = append(v.index, int32(len(v.live)))
		v.live = append(v.live, i)
	}
	if d, ok := a.(*array.Dictionary); ok {
		return v.fillIndexes(d)
	}
	v.plain, v.arena = texts(v.plain, v.arena, a, v.live)
	check := mayBeNoText(a.DataType())
	for k, s := range v.plain {
		if s == "" || check && !columnar.IsText(s) {
			if s != "" {
				return errNotText
			}
			v.live[k] = -1
		} else {
			v.live[k] = int32(k)
		}
	}
	for i, k := range v.index {
		if k >= 0 {
			v.index[i] = v.live[k]
		}
	}
	return nil
}

// fillIndexes looks the indexes of the live places up; the index vector numbers
// those places so far.
func (v *vector) fillIndexes(d *array.Dictionary) error {
	if err := v.readDictionary(d); err != nil {
		return err
	}
	size := len(v.dict.text)
	for k, i := range v.live {
		x := d.GetValueIndex(int(i))
		if x < 0 || x >= size {
			return errCorrupt
		}
		if v.dict.blank && v.dict.text[x] == "" {
			x = -1
		}
		v.live[k] = int32(x)
	}
	for i, k := range v.index {
		if k >= 0 {
			v.index[i] = v.live[k]
		}
	}
	v.slab = v.dict
	return nil
}

// readDictionary makes the text of a dictionary, unless it is that of the last
// batch.
func (v *vector) readDictionary(d *array.Dictionary) error {
	of := d.Data().(*array.Data).Dictionary()
	if v.dict != nil && v.dict.of == of {
		return nil
	}
	values := d.Dictionary()
	if values.Len() > maxLength(of) {
		return errCorrupt
	}
	next := &dictionary{of: of, id: lastDict.Add(1), text: make([]string, values.Len())}
	var at []int32
	for i := range values.Len() {
		if values.IsValid(i) {
			at = append(at, int32(i))
		}
	}
	made, _ := texts(nil, nil, values, at)
	for k, i := range at {
		if !columnar.IsText(made[k]) {
			return errNotText
		}
		next.text[i] = made[k]
	}
	for _, s := range next.text {
		next.blank = next.blank || s == ""
	}
	v.dict = next
	return nil
}

// maxLength is the most values that the buffers of an array can hold: a value
// takes a bit at least.
func maxLength(data arrow.ArrayData) int {
	bytes := 0
	for _, b := range data.Buffers() {
		if b != nil {
			bytes += b.Len()
		}
	}
	return 8 * bytes
}

// mayBeNoText is true for types whose text is not made here.
func mayBeNoText(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW,
		arrow.BINARY, arrow.LARGE_BINARY, arrow.BINARY_VIEW, arrow.FIXED_SIZE_BINARY:
		return true
	}
	return false
}
