package arrowio

import (
	"cpcds2fhir/pipeline/arrowio/array"
	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/schemas/cpcds"
)

// vector collects one column of a row batch: an index vector that refers to a dictionary or to the
// vector's own values.
type vector struct {
	index []int32
	plain []string
	arena []byte
	live  []int32 // scratch: indexes of values that are not null
	phys  []int32 // scratch: indexes of runs
	dict  *dictionary
	of    *dictionary // the dictionary that index refers to; nil if the vector has its own values

	structs []array.Window // the structs that contain the column
	values  array.Window
}

// column stores the values in a column of a row batch. It does not change Index.
func (v *vector) column(c *cpcds.Column) {
	c.Bad, c.Repaired = nil, nil
	if v.of != nil {
		c.Values, c.Dict = v.of.text, v.of.id
		return
	}
	c.Values, c.Dict = v.plain, 0
}

// clear sets the vector to n nulls.
func (v *vector) clear(n int) {
	v.index, v.plain, v.arena, v.of = v.index[:0], v.plain[:0], v.arena[:0], nil
	for range n {
		v.index = append(v.index, -1)
	}
}

// fill fills the vector with the values of a column at the indexes at, relative to first and less
// than n. A value is null if it, or a struct that contains it, is null. A value that is not valid
// text is an error, or is left out if the column is only kept.
func (v *vector) fill(b *array.Body, c *column, first int64, n int, at []int32) error {
	v.clear(0)
	v.live = v.live[:0]
	a, err := b.Array(c.leaf.typ)
	if err != nil {
		return err
	}
	if err := v.openStructs(b, c, first, n); err != nil {
		return err
	}
	places := at
	if c.leaf.typ.HasRuns() {
		from, to, err := a.Runs(first, n)
		if err != nil {
			return err
		}
		v.phys = a.RunsOf(v.phys[:0], from, to, first, at)
		places, first, n = v.phys, int64(from), to-from
		if a, err = b.Array(c.leaf.typ.Children[1]); err != nil {
			return err
		}
	}
	if err := v.values.Open(a, first, n); err != nil {
		return err
	}
	v.findLive(c, places, at)
	if a.Type.Values != nil {
		return v.fillIndexes(c)
	}
	return v.fillPlain(c)
}

// findLive determines which values are not null, and numbers them.
func (v *vector) findLive(c *column, places, at []int32) {
	runs := c.leaf.typ.HasRuns()
	nulls := v.values.HasNulls()
	for s := range v.structs {
		nulls = nulls || v.structs[s].HasNulls()
	}
	if !nulls && !runs { // most columns
		v.live = append(v.live, places...)
		for k := range int32(len(places)) {
			v.index = append(v.index, k)
		}
		return
	}
	last := int32(-1)
	for k, i := range places {
		null := v.values.Null(i)
		for s := range v.structs {
			null = null || v.structs[s].Null(at[k])
		}
		if null {
			v.index = append(v.index, -1)
			continue
		}
		if !runs || i != last {
			v.live = append(v.live, i)
			last = i
		}
		v.index = append(v.index, int32(len(v.live)-1))
	}
}

func (v *vector) openStructs(b *array.Body, c *column, first int64, n int) error {
	around := c.leaf.inner
	if c.leaf.list == nil {
		around = c.leaf.outer
	}
	for len(v.structs) < len(around) {
		v.structs = append(v.structs, array.Window{})
	}
	for i, x := range around {
		a, err := b.Array(x)
		if err != nil {
			return err
		}
		if err := v.structs[i].OpenValidity(a, first, n); err != nil {
			return err
		}
	}
	return nil
}

// fillPlain produces the text of the values that are not null.
func (v *vector) fillPlain(c *column) (err error) {
	if v.plain, v.arena, err = v.values.Texts(v.plain, v.arena, v.live); err != nil {
		return err
	}
	if !v.values.HasOwnText() {
		return nil // generated text is valid and never empty
	}
	absent := false
	for k, s := range v.plain {
		switch {
		case s == "":
			v.live[k], absent = -1, true
		case !columnar.IsText(s):
			if !c.kept {
				return errNotText
			}
			v.live[k], v.plain[k], absent = -1, "", true
		default:
			v.live[k] = int32(k)
		}
	}
	if absent {
		v.relabel()
	}
	return nil
}

// fillIndexes looks up the dictionary indexes of the values that are not null. Before this, the
// index vector contains only the numbers of these values.
func (v *vector) fillIndexes(c *column) error {
	size := uint64(len(v.dict.text))
	for k, i := range v.live {
		p := v.values.Index(i)
		if p >= size {
			return fault.Corrupt("a dictionary index is out of range")
		}
		v.live[k] = int32(p)
		if v.dict.blank && v.dict.text[p] == "" {
			if v.dict.bad[int32(p)] && !c.kept {
				return errNotText
			}
			v.live[k] = -1
		}
	}
	v.relabel()
	v.of = v.dict
	return nil
}

// relabel replaces the numbers of the values with the results in live.
func (v *vector) relabel() {
	for i, k := range v.index {
		if k >= 0 {
			v.index[i] = v.live[k]
		}
	}
}
