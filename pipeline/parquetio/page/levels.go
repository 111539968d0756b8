package page

import (
	"encoding/binary"
	"math/bits"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/format"
)

// checkRuns validates the runs of the RLE/bit-packing hybrid encoding without decoding them. The
// runs must hold n values: each run must begin before the n-th value, an RLE run may extend past
// it by at most slack values, and bit-packed runs may be padded. This check is needed because the
// library allocates memory for whatever a run claims.
func checkRuns(src []byte, width, n, slack int) error {
	for at, i := 0, 0; i < len(src); {
		u, k := binary.Uvarint(src[i:])
		if k <= 0 {
			return parquet.ErrCorrupted
		}
		i += k
		count := u >> 1
		if count == 0 {
			continue
		}
		if at >= n || count > 1<<31 {
			return parquet.ErrCorrupted
		}
		if u&1 != 0 {
			at += int(count) * 8
			i += int(count) * width
		} else {
			at += int(count)
			i += (width + 7) / 8
			if at > n+slack {
				return parquet.ErrCorrupted
			}
		}
		if i > len(src) {
			return parquet.ErrCorrupted
		}
		if i == len(src) {
			return enough(at, n)
		}
	}
	return enough(0, n)
}

func enough(got, want int) error {
	if got < want {
		return parquet.ErrCorrupted
	}
	return nil
}

// Levels decodes n levels, each at most highest, from src, which must contain nothing else. dst is
// overwritten and returned, possibly grown. The error is parquet.ErrCorrupted.
func Levels(dst, src []byte, highest byte, n int) ([]byte, error) {
	return decodeRuns(dst, src, highest, n, 0)
}

func decodeRuns(dst, src []byte, highest byte, n, slack int) ([]byte, error) {
	width := bits.Len8(highest)
	if err := checkRuns(src, width, n, slack); err != nil {
		return dst, err
	}
	dst, err := (&rle.Encoding{BitWidth: width}).DecodeLevels(dst[:0], src)
	if err != nil {
		return dst, parquet.ErrCorrupted
	}
	return checkLevels(dst[:min(n, len(dst))], highest, n)
}

func checkLevels(levels []byte, highest byte, n int) ([]byte, error) {
	if len(levels) != n {
		return levels, parquet.ErrCorrupted
	}
	var top byte
	for _, l := range levels {
		top = max(top, l)
	}
	if top > highest {
		return levels, parquet.ErrCorrupted
	}
	return levels, nil
}

// decodePackedLevels decodes levels in the deprecated bit-packed encoding: without a length
// prefix, and starting with the most significant bit of each byte.
func decodePackedLevels(dst, src []byte, highest byte, n int) (levels, rest []byte, err error) {
	width := bits.Len8(highest)
	size := (n*width + 7) / 8
	if len(src) < size {
		return dst, nil, parquet.ErrCorrupted
	}
	dst = dst[:0]
	bit := 0
	for range n {
		var l byte
		for range width {
			l = l<<1 | src[bit/8]>>(7-bit%8)&1
			bit++
		}
		dst = append(dst, l)
	}
	dst, err = checkLevels(dst, highest, n)
	return dst, src[size:], err
}

// LevelsV1 decodes the n levels, each at most highest, at the start of a version 1 page, and
// returns the bytes that follow them. dst is overwritten and returned, possibly grown. The error
// is parquet.ErrCorrupted or ErrEncoding.
func LevelsV1(dst, src []byte, encoding format.Encoding, highest byte, n int) (levels, rest []byte, err error) {
	switch encoding {
	case format.BitPacked:
		return decodePackedLevels(dst, src, highest, n)
	case format.RLE:
		if len(src) < 4 {
			return dst, nil, parquet.ErrCorrupted
		}
		size := int64(binary.LittleEndian.Uint32(src))
		src = src[4:]
		if size > int64(len(src)) {
			return dst, nil, parquet.ErrCorrupted
		}
		levels, err = Levels(dst, src[:size], highest, n)
		return levels, src[size:], err
	}
	return dst, nil, ErrEncoding
}

// Indexes decodes n dictionary indexes: the bit width, followed by the runs. dst is overwritten
// and returned, possibly grown. The caller must check that the dictionary has these entries. The
// error is parquet.ErrCorrupted.
func Indexes(dst []int32, src []byte, n int) ([]int32, error) {
	if n == 0 {
		return dst[:0], nil // some writers omit the bit width as well
	}
	if len(src) == 0 || src[0] > 32 {
		return dst, parquet.ErrCorrupted
	}
	width := int(src[0])
	if err := checkRuns(src[1:], width, n, 0); err != nil {
		return dst, err
	}
	dst, err := (&rle.Encoding{BitWidth: width}).DecodeInt32(dst[:0], src[1:])
	if err != nil || len(dst) < n {
		return dst, parquet.ErrCorrupted
	}
	return dst[:n], nil
}

// decodeBooleans decodes n length-prefixed RLE booleans into a bitmap, least significant bit
// first. Some writers round run lengths up to a multiple of eight, hence the slack of 7.
func decodeBooleans(dst, src []byte, n int) ([]byte, error) {
	if len(src) < 4 || int64(binary.LittleEndian.Uint32(src)) != int64(len(src)-4) {
		return dst, parquet.ErrCorrupted
	}
	each, err := decodeRuns(nil, src[4:], 1, n, 7)
	if err != nil {
		return dst, err
	}
	dst = append(dst[:0], make([]byte, (n+7)/8)...)
	for i, b := range each {
		dst[i/8] |= b << (i % 8)
	}
	return dst, nil
}
