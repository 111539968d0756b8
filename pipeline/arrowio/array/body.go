// Package array reads the arrays of a record batch in an Arrow file, and converts their values to
// text.
//
// ParseSchema determines the types of the columns of a file. The message of a batch lists its
// buffers; Locate determines which of them belong to which type. A Body is a batch whose arrays
// are loaded on demand: their buffers are decompressed into a Storage, in memory or in a file. A
// Series is an array whose buffers have been checked against each other and against the parent
// array. A Window is a part of a Series that fits into memory. It tells which values are null,
// where a list begins and ends, and what the text of a value is.
//
// Nothing in a batch is trusted: lengths, offsets, null counts and views are checked before they
// are used. Damage is reported as a *fault.CorruptError, and data that does not fit into memory as
// a *fault.SizeError; neither names a location. Type.Fault gives the reason if a type cannot be
// converted to text.
//
// The package depends on the messages of package ipc and on an io.ReaderAt. It knows nothing about
// the rows of an extract: package arrowio determines which columns are read, how lists are
// unfolded and how many rows fit into memory.
package array

import (
	"encoding/binary"
	"io"
	"math/bits"

	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/arrowio/ipc"
)

// Body is a record batch, or the values of a dictionary batch. Its arrays are loaded on demand. It
// must not be used concurrently.
type Body struct {
	file    io.ReaderAt
	message *ipc.Message
	store   *Storage
	spots   Spots
	arrays  []found // by type
}

// Spots holds, for each type, where its array begins in the lists of a message.
type Spots []spot

// spot is where an array begins in the lists of a message.
type spot struct{ node, buffer, variadic int }

// found is the cached result of loading an array.
type found struct {
	array *Series
	err   error
}

// Series is an array whose lengths are consistent with each other and with the parent array.
type Series struct {
	Type   *Type
	length int64
	valid  *buffer   // validity bitmap, nil if there are no nulls
	parts  [2]buffer // values, offsets and values, views, or offsets and sizes
	far    []buffer  // buffers that views point into
	ends   []int64   // run ends
	last   int64     // last offset: the number of values that the child array or buffer must have
}

// Locate determines where each array of a record batch begins. The positions of arrays after an
// unknown type cannot be determined. The error is a *fault.CorruptError if the message does not
// have the arrays of the schema.
func (s *Schema) Locate(m *ipc.Message) (Spots, error) { return s.locate(s.Fields, m) }

// locate walks the fields and records where each array begins.
func (s *Schema) locate(fields []*Type, m *ipc.Message) (Spots, error) {
	spots := make(Spots, s.types)
	var at spot
	for _, x := range fields {
		if ok, err := at.walk(spots, x, m); !ok || err != nil {
			return spots, err
		}
	}
	if at.node != len(m.Nodes) || at.buffer != len(m.Buffers) {
		return nil, fault.Corrupt("a record batch does not have the arrays of its schema")
	}
	return spots, nil
}

// Batch returns the record batch of a message that was read from file. Its buffers are loaded into
// store on demand. The error is that of Locate.
func (s *Schema) Batch(file io.ReaderAt, m *ipc.Message, store *Storage) (*Body, error) {
	return s.body(s.Fields, file, m, store)
}

// Dictionary is Batch for the values of a dictionary, which have type x.
func (s *Schema) Dictionary(x *Type, file io.ReaderAt, m *ipc.Message, store *Storage) (*Body, error) {
	return s.body([]*Type{x}, file, m, store)
}

func (s *Schema) body(fields []*Type, file io.ReaderAt, m *ipc.Message, store *Storage) (*Body, error) {
	spots, err := s.locate(fields, m)
	if err != nil {
		return nil, err
	}
	return &Body{file: file, message: m, store: store, spots: spots, arrays: make([]found, s.types)}, nil
}

func (s *spot) walk(spots Spots, x *Type, m *ipc.Message) (known bool, err error) {
	spots[x.ID] = *s
	if x.kind == kindNone {
		return false, nil
	}
	validity, others, variadic := x.parts(m.Version)
	s.node++
	s.buffer += others
	if validity {
		s.buffer++
	}
	if variadic {
		if s.variadic >= len(m.Variadic) {
			return false, fault.Corrupt("a record batch does not say how many buffers a column has")
		}
		n := m.Variadic[s.variadic]
		if n < 0 || n > int64(len(m.Buffers)-s.buffer) {
			return false, fault.Corrupt("a record batch has fewer buffers than its schema requires")
		}
		s.variadic++
		s.buffer += int(n)
	}
	if x.Values != nil {
		return true, nil // the children belong to the dictionary
	}
	for _, c := range x.Children {
		if known, err := s.walk(spots, c, m); !known || err != nil {
			return known, err
		}
	}
	return true, nil
}

// Array returns the array of a type, with its buffers checked and loaded. The error is a
// *fault.CorruptError, a *fault.SizeError or an error reading the file. Repeated calls return the
// same result. Array may panic if the position of the type is unknown.
func (b *Body) Array(x *Type) (*Series, error) {
	f := &b.arrays[x.ID]
	if f.array == nil && f.err == nil {
		f.array, f.err = b.load(x)
	}
	return f.array, f.err
}

// Length returns the length of an array without checking anything else. The error is a
// *fault.CorruptError.
func (b *Body) Length(x *Type) (int64, error) {
	node, err := b.node(x)
	return node.Length, err
}

// node returns the length and the null count of an array.
func (b *Body) node(x *Type) (ipc.Node, error) {
	at := b.spots[x.ID].node
	if at >= len(b.message.Nodes) {
		return ipc.Node{}, fault.Corrupt("a record batch has fewer arrays than its schema requires")
	}
	node := b.message.Nodes[at]
	if node.Length < 0 || node.Nulls < 0 || node.Nulls > node.Length {
		return ipc.Node{}, fault.Corrupt("an array has an impossible length or null count")
	}
	return node, nil
}

func (b *Body) load(x *Type) (*Series, error) {
	at := b.spots[x.ID]
	node, err := b.node(x)
	if err != nil {
		return nil, err
	}
	a := &Series{Type: x, length: node.Length}
	if err := b.checkLength(a); err != nil {
		return nil, err
	}
	validity, others, variadic := x.parts(b.message.Version)
	if validity {
		if err := b.loadValidity(a, at.buffer, node.Nulls); err != nil {
			return nil, err
		}
		at.buffer++
	}
	for i := range others {
		var err error
		if a.parts[i], err = find(b.file, b.message, at.buffer+i); err != nil {
			return nil, err
		}
	}
	if variadic {
		for i := range int(b.message.Variadic[at.variadic]) {
			far, err := find(b.file, b.message, at.buffer+others+i)
			if err != nil {
				return nil, err
			}
			a.far = append(a.far, far)
		}
	}
	if err := a.checkSizes(); err != nil {
		return nil, err
	}
	for i := range others {
		if err := b.store.load(&a.parts[i]); err != nil {
			return nil, err
		}
	}
	for i := range a.far {
		if err := b.store.load(&a.far[i]); err != nil {
			return nil, err
		}
	}
	if x.HasRuns() {
		return a, b.loadRuns(a)
	}
	return a, a.readLast()
}

// checkLength compares the length of an array with the length that its parent requires.
func (b *Body) checkLength(a *Series) error {
	parent := a.Type.parent
	if parent == nil {
		if a.length != b.message.Rows {
			return fault.Corrupt("a column does not have the rows of its record batch")
		}
		return nil
	}
	if parent.HasRuns() {
		return nil // loadRuns checks the length
	}
	p, err := b.Array(parent)
	if err != nil {
		return err
	}
	short := false
	switch parent.kind {
	case kindStruct:
		short = a.length < p.length
	case kindList, kindLargeList:
		short = a.length < p.last
	case kindFixedSizeList:
		short = parent.size > 0 && p.length > a.length/parent.size
	}
	if short {
		return fault.Corrupt("an array is shorter than its parent requires")
	}
	return nil
}

// loadValidity loads the validity bitmap and checks the null count.
func (b *Body) loadValidity(a *Series, i int, nulls int64) error {
	v, err := find(b.file, b.message, i)
	if err != nil {
		return err
	}
	if v.size == 0 && nulls == 0 {
		return nil
	}
	if v.size < (a.length+7)/8 {
		return fault.Corrupt("a validity bitmap is too short")
	}
	if err := b.store.load(&v); err != nil {
		return err
	}
	zeros, err := countZeros(&v, a.length)
	if err != nil {
		return err
	}
	if zeros != nulls {
		return fault.Corrupt("a validity bitmap does not match its null count")
	}
	if nulls > 0 {
		a.valid = &v
	}
	return nil
}

const chunk = 1 << 16 // number of bytes or values per read when scanning a buffer

// countZeros counts the zeros among the first n bits.
func countZeros(v *buffer, n int64) (zeros int64, err error) {
	zeros = n
	var got, scratch []byte
	for from := int64(0); from < n/8; from += chunk {
		if got, scratch, err = v.get(from, min(from+chunk, n/8), scratch); err != nil {
			return 0, err
		}
		for ; len(got) >= 8; got = got[8:] {
			zeros -= int64(bits.OnesCount64(binary.LittleEndian.Uint64(got)))
		}
		for _, c := range got {
			zeros -= int64(bits.OnesCount8(c))
		}
	}
	if rest := n % 8; rest > 0 {
		if got, _, err = v.get(n/8, n/8+1, scratch); err != nil {
			return 0, err
		}
		zeros -= int64(bits.OnesCount8(got[0] & (1<<rest - 1)))
	}
	return zeros, nil
}

// checkSizes checks that the buffers are large enough for the length of the array.
func (a *Series) checkSizes() error {
	ok := true
	n, first := a.length, a.parts[0].size
	switch x := a.Type; x.kind {
	case kindNull, kindStruct, kindFixedSizeList, kindRunEndEncoded:
	case kindBinary, kindUtf8, kindLargeBinary, kindLargeUtf8, kindList, kindLargeList:
		ok = n == 0 || n < first/x.offsetWidth()
	case kindBinaryView, kindUtf8View:
		ok = n <= first/viewSize
	case kindListView, kindLargeListView:
		ok = n <= first/x.offsetWidth() && n <= a.parts[1].size/x.offsetWidth()
	case kindBool:
		ok = n <= first*8
	default:
		ok = x.width == 0 || n <= first/int64(x.width/8)
	}
	if !ok {
		return fault.Corrupt("a buffer is too short for the values of its column")
	}
	return nil
}

// readLast reads and checks the first and the last offset.
func (a *Series) readLast() error {
	x := a.Type
	switch x.kind {
	case kindBinary, kindUtf8, kindLargeBinary, kindLargeUtf8, kindList, kindLargeList:
	default:
		return nil
	}
	if a.length == 0 || x.Values != nil {
		return nil
	}
	w := x.offsetWidth()
	first, _, err := a.parts[0].get(0, w, nil)
	if err != nil {
		return err
	}
	from := offset(first, 0, w)
	last, _, err := a.parts[0].get(a.length*w, (a.length+1)*w, nil)
	if err != nil {
		return err
	}
	a.last = offset(last, 0, w)
	if from < 0 || a.last < from {
		return errOffsets
	}
	if x.kind != kindList && x.kind != kindLargeList && a.last > a.parts[1].size {
		return errOffsets
	}
	return nil
}

var errOffsets = fault.Corrupt("the offsets of a column decrease or point outside its values")

// offset returns the i-th offset; offsets have w bytes.
func offset(raw []byte, i int, w int64) int64 {
	if w == 4 {
		return int64(int32(binary.LittleEndian.Uint32(raw[4*i:])))
	}
	return int64(binary.LittleEndian.Uint64(raw[8*i:]))
}

// loadRuns reads the run ends.
func (b *Body) loadRuns(a *Series) error {
	ends, err := b.Array(a.Type.Children[0])
	if err != nil {
		return err
	}
	values, err := b.Array(a.Type.Children[1])
	if err != nil {
		return err
	}
	if ends.valid != nil || values.length < ends.length {
		return fault.Corrupt("a run-end encoded column has null run ends or too few values")
	}
	need := 8 * ends.length
	if need > b.store.left {
		return &fault.SizeError{What: "has more runs than fit into the memory limit", Need: 2 * need}
	}
	b.store.left -= need
	a.ends = make([]int64, 0, ends.length)
	width := int64(ends.Type.width / 8)
	var got, scratch []byte
	last := int64(0)
	for from := int64(0); from < ends.length; from += chunk {
		to := min(from+chunk, ends.length)
		if got, scratch, err = ends.parts[0].get(from*width, to*width, scratch); err != nil {
			return err
		}
		for i := range int(to - from) {
			var end int64
			if width == 2 {
				end = int64(int16(binary.LittleEndian.Uint16(got[2*i:])))
			} else {
				end = offset(got, i, width)
			}
			if end <= last {
				return fault.Corrupt("the run ends of a column are not in ascending order")
			}
			last = end
			a.ends = append(a.ends, end)
		}
	}
	if last < a.length {
		return fault.Corrupt("the runs of a column do not cover its record batch")
	}
	return nil
}

// BytesOf returns how many bytes the arrays of a type occupy in the file, according to the message
// m.
func (s Spots) BytesOf(m *ipc.Message, x *Type) (size int64) {
	if x.kind == kindNone {
		return 0
	}
	at := s[x.ID]
	validity, others, variadic := x.parts(m.Version)
	n := others
	if validity {
		n++
	}
	if variadic && at.variadic < len(m.Variadic) {
		n += int(m.Variadic[at.variadic])
	}
	for i := at.buffer; i < min(at.buffer+n, len(m.Buffers)); i++ {
		size += max(m.Buffers[i].Length, 0)
	}
	if x.Values != nil {
		return size
	}
	for _, c := range x.Children {
		size += s.BytesOf(m, c)
	}
	return size
}
