package array

import (
	"sort"

	"cpcds2fhir/pipeline/arrowio/fault"
)

// Lists is a window over a list array that tells where the elements of each list begin and end.
// The zero value is ready to be opened. It must not be used concurrently.
type Lists struct {
	// Around are windows over the structs that contain the lists. A list is null if any of them is
	// null. They must be opened before the lists.
	Around []Window

	typ     *Type
	offsets Window
	sizes   []byte // of list views
	scratch []byte
}

// Open moves the window to the n lists starting at index first. elements is the length of the
// child array that contains the elements. The error is a *fault.CorruptError or an error reading
// the file.
func (l *Lists) Open(a *Series, first int64, n int, elements int64) (err error) {
	l.typ = a.Type
	w := &l.offsets
	if err := w.OpenValidity(a, first, n); err != nil || n == 0 {
		return err
	}
	switch x := l.typ; x.kind {
	case kindList, kindLargeList:
		return w.openOffsets(elements)
	case kindListView, kindLargeListView:
		size := x.offsetWidth()
		if w.values, w.scratch[1], err = a.parts[0].get(first*size, (first+int64(n))*size, w.scratch[1]); err != nil {
			return err
		}
		if l.sizes, l.scratch, err = a.parts[1].get(first*size, (first+int64(n))*size, l.scratch); err != nil {
			return err
		}
		for i := range int32(n) {
			if from, to := l.Element(i); !l.Null(i) && (from < 0 || to < from || to > elements) {
				return errOffsets
			}
		}
	}
	return nil
}

// Element returns where the elements of list i of the window begin and end. For a null list, the
// range may be invalid.
func (l *Lists) Element(i int32) (from, to int64) {
	size := l.typ.offsetWidth()
	switch l.typ.kind {
	case kindFixedSizeList:
		at := l.offsets.first + int64(i)
		return at * l.typ.size, (at + 1) * l.typ.size
	case kindListView, kindLargeListView:
		from = offset(l.offsets.values, int(i), size)
		return from, from + offset(l.sizes, int(i), size)
	}
	return offset(l.offsets.values, int(i), size), offset(l.offsets.values, int(i)+1, size)
}

// Null reports whether list i of the window, or a struct that contains it, is null.
func (l *Lists) Null(i int32) bool {
	null := l.offsets.Null(i)
	for k := range l.Around {
		null = null || l.Around[k].Null(i)
	}
	return null
}

// Leave drops all references to the array. The window must be opened again before it is used.
func (l *Lists) Leave() {
	l.offsets.Leave()
	l.sizes = nil
	for k := range l.Around {
		l.Around[k].Leave()
	}
}

// Runs returns the range of runs that contains the n values starting at index first of a run-end
// encoded array. The error is a *fault.CorruptError if the array is too short.
func (a *Series) Runs(first int64, n int) (from, to int, err error) {
	if first < 0 || first+int64(n) > a.length {
		return 0, 0, fault.Corrupt("an array is shorter than its parent requires")
	}
	from, to = runs(a.ends, first, n)
	return from, to, nil
}

// RunsOf appends, for each index in at, the run that contains it, relative to the run from. The
// indexes are relative to first, and all of them must be in the runs [from, to).
func (a *Series) RunsOf(dst []int32, from, to int, first int64, at []int32) []int32 {
	return expand(dst, a.ends[from:to], first, at)
}

// runs returns the range of runs that contains the n values starting at index first.
func runs(ends []int64, first int64, n int) (from, to int) {
	from = sort.Search(len(ends), func(i int) bool { return ends[i] > first })
	if n == 0 {
		return from, from
	}
	last := first + int64(n) - 1
	return from, sort.Search(len(ends), func(i int) bool { return ends[i] > last }) + 1
}

// expand appends, for each index in at, the run that contains it. The indexes are relative to
// first, and runs are counted from 0.
func expand(dst []int32, ends []int64, first int64, at []int32) []int32 {
	run := 0
	for _, i := range at {
		place := first + int64(i)
		if run > 0 && place < ends[run-1] {
			run = 0 // the elements of list views may be in any order
		}
		if place >= ends[run] {
			run += sort.Search(len(ends)-run, func(i int) bool { return ends[run+i] > place })
		}
		dst = append(dst, int32(run))
	}
	return dst
}
