package array

import "cpcds2fhir/pipeline/arrowio/fault"

// Window is a part of an array: n values starting at index first. The zero value is ready to be
// opened. Opening it again moves it and reuses its memory. It must not be used concurrently.
type Window struct {
	array *Series
	first int64
	n     int

	valid []byte // validity bits, starting at bit shift; nil if there are no nulls
	shift int
	none  bool // all values are null

	values []byte // fixed-width values, bits starting at bit, offsets, or views
	bit    int
	data   []byte // the data that the offsets refer to, starting at base
	base   int64
	far    []part // the data that the views refer to, by buffer
	viewed [][]byte

	scratch [3][]byte
}

// Leave drops all references to the array. The window must be opened again before it is used.
func (w *Window) Leave() {
	w.array, w.valid, w.values, w.data = nil, nil, nil, nil
	clear(w.viewed[:cap(w.viewed)])
	for i := range w.far {
		w.far[i].bytes = nil
	}
}

// OpenValidity moves the window and reads only the validity bitmap. The error is a
// *fault.CorruptError or an error reading the file.
func (w *Window) OpenValidity(a *Series, first int64, n int) (err error) {
	w.array, w.first, w.n, w.valid, w.none = a, first, n, nil, a.Type.kind == kindNull
	if first < 0 || first+int64(n) > a.length {
		return fault.Corrupt("an array is shorter than its parent requires")
	}
	if a.valid != nil && n > 0 {
		w.shift = int(first & 7)
		w.valid, w.scratch[0], err = a.valid.get(first>>3, (first+int64(n)+7)>>3, w.scratch[0])
	}
	return err
}

// Open moves the window and reads its values, except for the data that views refer to, which Texts
// reads. The error is a *fault.CorruptError or an error reading the file.
func (w *Window) Open(a *Series, first int64, n int) (err error) {
	if err := w.OpenValidity(a, first, n); err != nil || n == 0 {
		return err
	}
	w.values, w.data = nil, nil
	end := first + int64(n)
	x := a.Type
	switch x.kind {
	case kindNull:
	case kindBool:
		w.bit = int(first & 7)
		w.values, w.scratch[1], err = a.parts[0].get(first>>3, (end+7)>>3, w.scratch[1])
	case kindBinary, kindUtf8, kindLargeBinary, kindLargeUtf8:
		if err := w.openOffsets(a.parts[1].size); err != nil {
			return err
		}
		size := x.offsetWidth()
		w.base = offset(w.values, 0, size)
		w.data, w.scratch[2], err = a.parts[1].get(w.base, offset(w.values, n, size), w.scratch[2])
	case kindBinaryView, kindUtf8View:
		w.values, w.scratch[1], err = a.parts[0].get(first*viewSize, end*viewSize, w.scratch[1])
	default:
		width := int64(x.width / 8)
		w.values, w.scratch[1], err = a.parts[0].get(first*width, end*width, w.scratch[1])
	}
	return err
}

// openOffsets reads the offsets of the window and checks that they do not decrease or exceed
// limit.
func (w *Window) openOffsets(limit int64) (err error) {
	size := w.array.Type.offsetWidth()
	w.values, w.scratch[1], err = w.array.parts[0].get(w.first*size, (w.first+int64(w.n)+1)*size, w.scratch[1])
	if err != nil {
		return err
	}
	last := int64(0)
	for i := range w.n + 1 {
		at := offset(w.values, i, size)
		if at < last || at > limit {
			return errOffsets
		}
		last = at
	}
	return nil
}

// HasNulls reports whether the window may have nulls.
func (w *Window) HasNulls() bool { return w.valid != nil || w.none }

// Null reports whether value i of the window is null.
func (w *Window) Null(i int32) bool {
	if w.valid == nil {
		return w.none
	}
	k := int(i) + w.shift
	return w.valid[k>>3]>>(k&7)&1 == 0
}

// bytes returns value i of a binary or text column that does not use views.
func (w *Window) bytes(i int32) []byte {
	switch x := w.array.Type; x.kind {
	case kindFixedSizeBinary:
		width := x.width / 8
		return w.values[int(i)*width:][:width]
	default:
		size := x.offsetWidth()
		return w.data[offset(w.values, int(i), size)-w.base : offset(w.values, int(i)+1, size)-w.base]
	}
}

// Cost returns how much memory a window would need for data that is not already in memory. The
// window must be opened again after the call. The error is a *fault.CorruptError or an error
// reading the file.
func (w *Window) Cost(a *Series, first int64, n int) (total int64, err error) {
	if n == 0 || first < 0 || first+int64(n) > a.length {
		return 0, nil // Open reports the error
	}
	x := a.Type
	switch x.kind {
	case kindNull, kindStruct, kindFixedSizeList:
	case kindBinary, kindUtf8, kindLargeBinary, kindLargeUtf8:
		if a.parts[0].file == nil && a.parts[1].file == nil {
			break
		}
		if err := w.OpenValidity(a, first, n); err != nil {
			return 0, err
		}
		if err := w.openOffsets(a.parts[1].size); err != nil {
			return 0, err
		}
		total = int64(len(w.values))
		if a.parts[1].file != nil {
			total += offset(w.values, n, x.offsetWidth()) - offset(w.values, 0, x.offsetWidth())
		}
	case kindBinaryView, kindUtf8View:
		return w.costViews(a, first, n)
	default:
		if a.parts[0].file != nil {
			total = int64(n) * int64(x.width/8)
		}
	}
	return total, nil
}
