package parquetio

import "cpcds2fhir/schemas/cpcds"

// vector collects one column of a row batch: an index vector that refers to a dictionary or to the
// vector's own values.
type vector struct {
	index []int32
	dict  *dictionary // nil if the vector has its own values
	plain []string
	arena []byte // text of plain values that are not stored as text in the page
}

func (v *vector) reset() {
	v.index, v.dict, v.plain, v.arena = v.index[:0], nil, v.plain[:0], v.arena[:0]
}

// forget resets the vector and drops its references to the text of pages.
func (v *vector) forget() {
	v.reset()
	clear(v.plain[:cap(v.plain)])
}

// column stores the values in a column of a row batch. It does not change Index.
func (v *vector) column(c *cpcds.Column) {
	c.Bad, c.Repaired = nil, nil
	if v.dict != nil {
		c.Values, c.Dict = v.dict.text, v.dict.id
		return
	}
	c.Values, c.Dict = v.plain, 0
}

// beginPlain makes sure that the vector has its own values. A writer abandons the dictionary of a
// chunk when it grows too large; values read so far are then looked up here.
func (v *vector) beginPlain() {
	if v.dict == nil {
		return
	}
	d := v.dict
	v.dict = nil
	v.copyText(d, v.index)
}

// copyText replaces dictionary indexes with indexes of the vector's own values. The rows of a
// claim repeat its header, so equal neighbors share one value and are converted only once.
func (v *vector) copyText(d *dictionary, indexes []int32) {
	last := int32(-1)
	for i, k := range indexes {
		if k < 0 {
			continue
		}
		if k != last {
			v.plain, last = append(v.plain, d.text[k]), k
		}
		indexes[i] = int32(len(v.plain) - 1)
	}
}

// addIndexes appends the entries of a dictionary-encoded page. indexes has an index for each
// value, but none for nulls.
func (v *vector) addIndexes(d *dictionary, indexes []int32, defs []byte, present byte) {
	switch {
	case len(v.index) == 0:
		v.dict = d
	case v.dict != d:
		v.beginPlain()
	}
	from := len(v.index)
	if defs == nil {
		v.index = append(v.index, indexes...)
	} else {
		v.index = appendPresent(v.index, indexes, defs, present)
	}
	added := v.index[from:]
	if d.blank {
		for i, k := range added {
			if k >= 0 && d.text[k] == "" {
				added[i] = -1
			}
		}
	}
	if v.dict == nil {
		v.copyText(d, added)
	}
}

// appendPresent appends one index per definition level: the next of indexes if the value is
// present, otherwise -1. It does not branch on the level because levels are nearly random.
func appendPresent(dst, indexes []int32, defs []byte, present byte) []int32 {
	from := len(dst)
	dst = grow(dst, len(defs))
	out := dst[from:]
	i, k := 0, 0
	for ; i < len(defs) && k < len(indexes); i++ {
		var hit int32
		if defs[i] == present {
			hit = 1
		}
		out[i] = indexes[k] | (hit - 1)
		k += int(hit)
	}
	for ; i < len(out); i++ {
		out[i] = -1
	}
	return dst
}

// grow extends s by n elements with undefined content.
func grow(s []int32, n int) []int32 {
	if need := len(s) + n; need > cap(s) {
		s = append(make([]int32, 0, max(need, batchRows)), s...)
	}
	return s[:len(s)+n]
}

// addPlain appends entries whose values are v.plain[at:]. Equal neighbors share one value, see
// copyText.
func (v *vector) addPlain(at int, defs []byte, present byte) {
	values, kept := v.plain[at:], at
	add := func(s string) {
		switch {
		case s == "":
			v.index = append(v.index, -1)
			return
		case kept == 0 || v.plain[kept-1] != s:
			v.plain[kept] = s
			kept++
		}
		v.index = append(v.index, int32(kept-1))
	}
	if defs == nil {
		for _, s := range values {
			add(s)
		}
	}
	for _, d := range defs {
		if d != present {
			v.index = append(v.index, -1)
			continue
		}
		add(values[0])
		values = values[1:]
	}
	v.plain = v.plain[:kept]
}
