package page

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/encoding/bytestreamsplit"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/plain"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline/parquetio/guarded"
)

// Decoder decodes the values of the pages of one column. The values of a page are valid until the
// next page is decoded, except for text, whose bytes are in Text. A Decoder must not be used
// concurrently.
type Decoder struct {
	Kind parquet.Kind
	Size int // bytes per value of a fixed-length type

	// Spare allows extra bytes after the values of a plain page. Without it, extra bytes are an
	// error because they indicate that a value was mistaken for a null.
	Spare bool

	Limit int64 // maximum bytes of decoded text per page, 0 for no limit

	// Text holds the text of the current page, which decoded values point into. The next page is
	// decoded into the same buffer, so a caller that needs the text longer must take it and set
	// Text to another buffer or to nil.
	Text []byte

	offsets []uint32
	bits    []byte
	int32s  []int32
	int64s  []int64
	int96s  []deprecated.Int96
	floats  []float32
	doubles []float64
}

// Values decodes the n values in src. The library checks little of its input, so sizes are checked
// before it allocates memory, and the result is checked after decoding. The error is
// parquet.ErrCorrupted, ErrEncoding or a *SizeError. The values do not point into src.
func (d *Decoder) Values(src []byte, e format.Encoding, n int) (v encoding.Values, err error) {
	if n == 0 {
		return d.None(), nil
	}
	if err := d.checkSize(src, e, n); err != nil {
		return v, err
	}
	if w := d.width(); d.Spare && e == format.Plain && w > 0 {
		src = src[:n*w]
	}
	err = guarded.Call(func() error {
		v, err = d.decode(src, e, n)
		return err
	})
	var size *SizeError
	if err != nil && !errors.Is(err, ErrEncoding) && !errors.As(err, &size) {
		err = parquet.ErrCorrupted
	}
	return v, err
}

// None returns the values of a page that has none. Whatever bytes the page contains are ignored.
func (d *Decoder) None() encoding.Values {
	switch d.Kind {
	case parquet.Boolean:
		return encoding.BooleanValues(nil)
	case parquet.Int32:
		return encoding.Int32Values(nil)
	case parquet.Int64:
		return encoding.Int64Values(nil)
	case parquet.Int96:
		return encoding.Int96Values(nil)
	case parquet.Float:
		return encoding.FloatValues(nil)
	case parquet.Double:
		return encoding.DoubleValues(nil)
	case parquet.ByteArray:
		return encoding.ByteArrayValues(nil, []uint32{0})
	}
	return encoding.FixedLenByteArrayValues(nil, d.Size)
}

// width is the size in bytes of a plain value, or 0 if values vary in length.
func (d *Decoder) width() int {
	switch d.Kind {
	case parquet.Int32, parquet.Float:
		return 4
	case parquet.Int64, parquet.Double:
		return 8
	case parquet.Int96:
		return 12
	case parquet.FixedLenByteArray:
		return d.Size
	}
	return 0
}

// checkSize checks that src has the right size for exactly n values, as far as the encoding
// allows.
func (d *Decoder) checkSize(src []byte, e format.Encoding, n int) error {
	ok := true
	switch e {
	case format.Plain, format.ByteStreamSplit:
		switch w := d.width(); {
		case d.Kind == parquet.Boolean:
			ok = d.holds(src, (n+7)/8)
		case w > 0:
			ok = d.holds(src, n*w)
		default:
			ok = len(src) >= 4*n
		}
	case format.DeltaBinaryPacked, format.DeltaLengthByteArray, format.DeltaByteArray:
		ok = deltaCount(src) == uint64(n)
	}
	if !ok {
		return parquet.ErrCorrupted
	}
	return nil
}

// holds reports whether src has the size of the values of a plain page.
func (d *Decoder) holds(src []byte, want int) bool {
	return len(src) == want || d.Spare && len(src) > want
}

// deltaCount returns the number of values that the header of a delta encoding claims.
func deltaCount(src []byte) uint64 {
	var x uint64
	for range 3 { // block size, miniblocks per block, value count
		var k int
		if x, k = binary.Uvarint(src); k <= 0 {
			return 0
		}
		src = src[k:]
	}
	return x
}

func (d *Decoder) decode(src []byte, e format.Encoding, n int) (v encoding.Values, err error) {
	switch d.Kind {
	case parquet.Boolean:
		switch e {
		case format.Plain:
			d.bits = append(d.bits[:0], src...)
		case format.RLE:
			d.bits, err = decodeBooleans(d.bits, src, n)
		default:
			err = ErrEncoding
		}
		return encoding.BooleanValues(d.bits), err
	case parquet.ByteArray:
		return d.texts(src, e, n)
	case parquet.FixedLenByteArray:
		if e == format.DeltaByteArray {
			err = d.prefixedTexts(src, n)
			err = enoughOf(err, len(d.Text), n*d.Size)
		} else {
			d.Text, err = decodeWith(fixed, e, d.fixedLength, d.Text, src, n*d.Size)
		}
		return encoding.FixedLenByteArrayValues(d.Text, d.Size), err
	case parquet.Int32:
		d.int32s, err = decodeWith(numbers, e, encoding.Encoding.DecodeInt32, d.int32s, src, n)
		return encoding.Int32Values(d.int32s), err
	case parquet.Int64:
		d.int64s, err = decodeWith(numbers, e, encoding.Encoding.DecodeInt64, d.int64s, src, n)
		return encoding.Int64Values(d.int64s), err
	case parquet.Int96:
		d.int96s, err = decodeWith(plainOnly, e, encoding.Encoding.DecodeInt96, d.int96s, src, n)
		return encoding.Int96Values(d.int96s), err
	case parquet.Float:
		d.floats, err = decodeWith(numbers, e, encoding.Encoding.DecodeFloat, d.floats, src, n)
		return encoding.FloatValues(d.floats), err
	case parquet.Double:
		d.doubles, err = decodeWith(numbers, e, encoding.Encoding.DecodeDouble, d.doubles, src, n)
		return encoding.DoubleValues(d.doubles), err
	}
	return v, ErrEncoding
}

// The supported encodings of values other than text.
var (
	plainOnly = map[format.Encoding]encoding.Encoding{format.Plain: new(plain.Encoding)}
	numbers   = map[format.Encoding]encoding.Encoding{
		format.Plain:             new(plain.Encoding),
		format.DeltaBinaryPacked: new(delta.BinaryPackedEncoding),
		format.ByteStreamSplit:   new(bytestreamsplit.Encoding),
	}
	fixed = map[format.Encoding]encoding.Encoding{
		format.Plain:           new(plain.Encoding),
		format.ByteStreamSplit: new(bytestreamsplit.Encoding),
	}
)

// fixedLength decodes values of the column's fixed length.
func (d *Decoder) fixedLength(e encoding.Encoding, dst, src []byte) ([]byte, error) {
	return e.DecodeFixedLenByteArray(dst, src, d.Size)
}

// decodeWith decodes n elements into dst, which is overwritten and returned, possibly grown.
func decodeWith[T any](known map[format.Encoding]encoding.Encoding, e format.Encoding,
	decode func(encoding.Encoding, []T, []byte) ([]T, error), dst []T, src []byte, n int) ([]T, error) {
	with, ok := known[e]
	if !ok {
		return dst, ErrEncoding
	}
	dst, err := decode(with, slices.Grow(dst[:0], n), src)
	return dst, enoughOf(err, len(dst), n)
}

// enoughOf checks that the expected number of values was decoded.
func enoughOf(err error, got, want int) error {
	if err == nil && got != want {
		return parquet.ErrCorrupted
	}
	return err
}

// texts decodes variable-length values.
func (d *Decoder) texts(src []byte, e format.Encoding, n int) (v encoding.Values, err error) {
	d.offsets = slices.Grow(d.offsets[:0], n+1)
	switch e {
	case format.Plain:
		err = d.plainTexts(src, n)
	case format.DeltaLengthByteArray:
		d.Text, d.offsets, err = new(delta.LengthByteArrayEncoding).DecodeByteArray(d.Text[:0], src, d.offsets)
	case format.DeltaByteArray:
		err = d.prefixedTexts(src, n)
	default:
		err = ErrEncoding
	}
	if err == nil && (len(d.offsets) != n+1 || !slices.IsSorted(d.offsets) || int64(d.offsets[n]) > int64(len(d.Text))) {
		err = parquet.ErrCorrupted
	}
	return encoding.ByteArrayValues(d.Text, d.offsets), err
}

// plainTexts decodes length-prefixed values into one contiguous buffer.
func (d *Decoder) plainTexts(src []byte, n int) error {
	d.Text = slices.Grow(d.Text[:0], len(src)-4*n)
	for range n {
		if len(src) < 4 {
			return parquet.ErrCorrupted
		}
		size := int64(binary.LittleEndian.Uint32(src))
		src = src[4:]
		if size > int64(len(src)) {
			return parquet.ErrCorrupted
		}
		d.offsets = append(d.offsets, uint32(len(d.Text)))
		d.Text = append(d.Text, src[:size]...)
		src = src[size:]
	}
	d.offsets = append(d.offsets, uint32(len(d.Text)))
	if len(src) > 0 && !d.Spare {
		return parquet.ErrCorrupted
	}
	return nil
}
