package array

import (
	"bytes"
	"encoding/binary"

	"cpcds2fhir/pipeline/arrowio/fault"
)

const (
	viewSize   = 16 // size of a view: length, then either the value, or its first bytes, buffer and offset
	viewInline = 12 // maximum length of a value stored in the view itself
)

// part describes the data that the views of a window need from one buffer.
type part struct {
	sum      int64 // total length of the values
	from, to int64 // the range that contains the values
	bytes    []byte
	used     int64 // length of bytes in use if the values are read individually
	scratch  []byte
}

// scattered reports whether most of the range is not needed. The values are then read
// individually.
func (p *part) scattered() bool { return p.to-p.from > 4*p.sum+chunk }

// cost returns how many bytes are read.
func (p *part) cost() int64 {
	if p.scattered() {
		return p.sum
	}
	return p.to - p.from
}

// planFar determines which parts of the buffers are needed by the views at the given indexes.
func (w *Window) planFar(at []int32) error {
	far := w.array.far
	for len(w.far) < len(far) {
		w.far = append(w.far, part{})
	}
	w.far = w.far[:len(far)]
	for i := range w.far {
		w.far[i] = part{scratch: w.far[i].scratch}
	}
	for _, i := range at {
		n, buffer, from, _ := w.view(i)
		if 0 <= n && n <= viewInline {
			continue
		}
		if n < 0 || buffer < 0 || buffer >= int64(len(far)) || from < 0 || from+n > far[buffer].size {
			return fault.Corrupt("a view in a column points outside its values")
		}
		p := &w.far[buffer]
		if p.to == 0 {
			p.from = from
		}
		p.sum, p.from, p.to = p.sum+n, min(p.from, from), max(p.to, from+n)
	}
	return nil
}

// view decodes a view.
func (w *Window) view(i int32) (n, buffer, from int64, v []byte) {
	v = w.values[int(i)*viewSize:][:viewSize]
	number := func(at int) int64 { return int64(int32(binary.LittleEndian.Uint32(v[at:]))) }
	return number(0), number(8), number(12), v
}

// views returns the values of the views at the given indexes.
func (w *Window) views(at []int32) ([][]byte, error) {
	if err := w.planFar(at); err != nil {
		return nil, err
	}
	for i := range w.far {
		p, b := &w.far[i], &w.array.far[i]
		switch {
		case p.sum == 0:
		case b.file != nil && p.scattered():
			p.scratch = grow(p.scratch[:0], int(p.sum))
			p.bytes = p.scratch
		default:
			var err error
			if p.bytes, p.scratch, err = b.get(p.from, p.to, p.scratch); err != nil {
				return nil, err
			}
		}
	}
	w.viewed = w.viewed[:0]
	for _, i := range at {
		n, buffer, from, v := w.view(i)
		if n <= viewInline {
			w.viewed = append(w.viewed, v[4:4+n])
			continue
		}
		p, b := &w.far[buffer], &w.array.far[buffer]
		value := p.bytes
		if b.file != nil && p.scattered() {
			value = value[p.used:][:n]
			p.used += n
			if _, err := b.file.ReadAt(value, b.at+from); err != nil {
				return nil, err
			}
		} else {
			value = value[from-p.from:][:n]
		}
		if !bytes.Equal(value[:4], v[4:8]) {
			return nil, fault.Corrupt("a view in a column does not match its value")
		}
		w.viewed = append(w.viewed, value)
	}
	return w.viewed, nil
}

// costViews is Cost for views.
func (w *Window) costViews(a *Series, first int64, n int) (total int64, err error) {
	inMemory := a.parts[0].file == nil
	for i := range a.far {
		inMemory = inMemory && a.far[i].file == nil
	}
	if inMemory {
		return 0, nil
	}
	if err := w.Open(a, first, n); err != nil {
		return 0, err
	}
	total = int64(len(w.values))
	live := make([]int32, 0, n)
	for i := range int32(n) {
		if !w.Null(i) {
			live = append(live, i)
		}
	}
	if err := w.planFar(live); err != nil {
		return 0, err
	}
	for i := range w.far {
		if a.far[i].file != nil {
			total += w.far[i].cost()
		}
	}
	return total, nil
}
