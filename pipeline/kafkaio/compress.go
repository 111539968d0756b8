package kafkaio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// The codecs of a batch, in the lowest three bits of its attributes.
const (
	codecNone = iota
	codecGzip
	codecSnappy
	codecLZ4
	codecZstd
	codecMask = 7
)

// errTooLarge says that contents unpack to more than is allowed.
var errTooLarge = errors.New("contents are too large")

// minZstd is the least limit that the decoder gets: it would also apply to the window that a frame asks for, and
// encoders ask for the same 8 MiB whatever the frame holds.
const minZstd = 16 << 20

// unpacker unpacks contents of batches and never beyond a limit. It keeps its decoders.
type unpacker struct {
	limit int64
	src   bytes.Reader
	gzip  *gzip.Reader
	lz4   *lz4.Reader
	zstd  *zstd.Decoder
}

func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
		u.zstd = nil
	}
}

// unpack appends the contents of b to dst.
func (u *unpacker) unpack(codec int, b, dst []byte) ([]byte, error) {
	switch codec {
	case codecGzip:
		u.src.Reset(b)
		var err error
		if u.gzip == nil {
			u.gzip, err = gzip.NewReader(&u.src)
		} else {
			err = u.gzip.Reset(&u.src)
		}
		if err != nil {
			u.gzip = nil
			return dst, fmt.Errorf("unpack gzip: %w", err)
		}
		return u.read(u.gzip, dst)
	case codecSnappy:
		return u.unpackSnappy(b, dst)
	case codecLZ4:
		u.src.Reset(b)
		if u.lz4 == nil {
			u.lz4 = lz4.NewReader(&u.src)
		} else {
			u.lz4.Reset(&u.src)
		}
		return u.read(u.lz4, dst)
	case codecZstd:
		if u.zstd == nil {
			var err error
			u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxMemory(uint64(max(u.limit, minZstd))))
			if err != nil {
				return dst, fmt.Errorf("unpack zstd: %w", err)
			}
		}
		begin := len(dst)
		dst, err := u.zstd.DecodeAll(b, dst)
		switch {
		case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
			return dst, errTooLarge
		case err != nil:
			return dst, fmt.Errorf("unpack zstd: %w", err)
		case int64(len(dst)-begin) > u.limit:
			return dst, errTooLarge
		}
		return dst, nil
	}
	return dst, fmt.Errorf("codec %d is unknown", codec)
}

// read is io.ReadAll into dst, up to the limit.
func (u *unpacker) read(r io.Reader, dst []byte) ([]byte, error) {
	begin := len(dst)
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case int64(len(dst)-begin) > u.limit:
			return dst, errTooLarge
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, fmt.Errorf("unpack: %w", err)
		}
	}
}

// xerial begins the framing of snappy-java, which the Java client writes: a version and a
// compatible version of four bytes each, then blocks with their lengths.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

func (u *unpacker) unpackSnappy(b, dst []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, xerial) {
		return u.snappyBlock(b, dst, u.limit)
	}
	if len(b) < 16 {
		return dst, fmt.Errorf("unpack snappy: %w", errShort)
	}
	b = b[16:]
	begin := len(dst)
	for len(b) > 0 {
		if len(b) < 4 {
			return dst, fmt.Errorf("unpack snappy: %w", errShort)
		}
		n := int64(binary.BigEndian.Uint32(b))
		b = b[4:]
		if n > int64(len(b)) {
			return dst, fmt.Errorf("unpack snappy: %w", errShort)
		}
		var err error
		if dst, err = u.snappyBlock(b[:n], dst, u.limit-int64(len(dst)-begin)); err != nil {
			return dst, err
		}
		b = b[n:]
	}
	return dst, nil
}

func (u *unpacker) snappyBlock(b, dst []byte, limit int64) ([]byte, error) {
	n, err := snappy.DecodedLen(b)
	switch {
	case err != nil:
		return dst, fmt.Errorf("unpack snappy: %w", err)
	case n > 64*len(b)+64:
		// No element of the format makes more than 64 bytes of three: the length is a lie, not worth its memory.
		return dst, fmt.Errorf("unpack snappy: %w", errShort)
	case int64(n) > limit:
		return dst, errTooLarge
	}
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	if _, err := snappy.Decode(dst[at:at+n], b); err != nil {
		return dst[:at], fmt.Errorf("unpack snappy: %w", err)
	}
	return dst, nil
}
