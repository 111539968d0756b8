package page

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// DELTA_BYTE_ARRAY stores for each value the length of the prefix that it shares with the previous
// value. A page of one kilobyte may expand to gigabytes of text, and the library allocates memory
// for all of it, however large. Here the lengths are added up first.

// prefixedTexts decodes n values, each of which shares a prefix with the previous one.
func (d *Decoder) prefixedTexts(src []byte, n int) error {
	prefixes, rest, err := deltaLengths(src, n)
	if err != nil {
		return err
	}
	suffixes, rest, err := deltaLengths(rest, n)
	if err != nil {
		return err
	}
	var size, whole int64
	for i, p := range prefixes {
		if int64(p) > size {
			return parquet.ErrCorrupted
		}
		size = int64(p) + int64(suffixes[i])
		whole += size
	}
	if limit := d.Limit; whole > math.MaxInt32 || limit > 0 && whole > limit {
		return &SizeError{Size: whole}
	}
	d.Text, d.offsets = slices.Grow(d.Text[:0], int(whole)), append(d.offsets[:0], 0)
	last := 0
	for i, p := range prefixes {
		suffix := int(suffixes[i])
		if suffix > len(rest) {
			return parquet.ErrCorrupted
		}
		at := len(d.Text)
		d.Text = append(d.Text, d.Text[last:last+int(p)]...)
		d.Text = append(d.Text, rest[:suffix]...)
		rest, last = rest[suffix:], at
		d.offsets = append(d.offsets, uint32(len(d.Text)))
	}
	if len(rest) > 0 {
		return parquet.ErrCorrupted
	}
	return nil
}

// deltaLengths decodes n lengths in DELTA_BINARY_PACKED encoding, and returns the bytes that
// follow them.
func deltaLengths(src []byte, n int) (lengths []int32, rest []byte, err error) {
	r := deltaReader{rest: src}
	blockSize, mini, count := r.uvarint(), r.uvarint(), r.uvarint()
	value := r.varint()
	if r.bad || count != uint64(n) || mini == 0 || mini > 1<<16 || blockSize > 1<<24 || blockSize/mini%8 != 0 || blockSize == 0 {
		return nil, nil, parquet.ErrCorrupted
	}
	lengths = append(make([]int32, 0, min(n, 1<<20)), int32(value))
	each := int(blockSize / mini)
	for len(lengths) < n {
		least := r.varint()
		widths := r.bytes(int(mini))
		for _, width := range widths {
			if len(lengths) == n {
				break
			}
			packed := r.bytes(each * int(width) / 8)
			if r.bad || width > 64 {
				return nil, nil, parquet.ErrCorrupted
			}
			for i := range min(each, n-len(lengths)) {
				value += least + int64(bitsAt(packed, i*int(width), int(width)))
				lengths = append(lengths, int32(value))
			}
		}
		if r.bad {
			return nil, nil, parquet.ErrCorrupted
		}
	}
	for _, l := range lengths {
		if l < 0 {
			return nil, nil, parquet.ErrCorrupted
		}
	}
	return lengths, r.rest, nil
}

// bitsAt reads an integer of width bits, least significant bit first.
func bitsAt(packed []byte, at, width int) (v uint64) {
	for i := range width {
		v |= uint64(packed[(at+i)/8]>>((at+i)%8)&1) << i
	}
	return v
}

type deltaReader struct {
	rest []byte
	bad  bool
}

func (r *deltaReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest) // n is 0 if there is none
	r.skip(n)
	return v
}

func (r *deltaReader) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.skip(n)
	return v
}

// skip skips an integer of n bytes; if n is not positive, there was no valid integer.
func (r *deltaReader) skip(n int) {
	if n <= 0 {
		r.bad = true
		return
	}
	r.rest = r.rest[n:]
}

func (r *deltaReader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}
