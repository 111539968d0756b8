package page

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// Readable reports whether an Unpacker supports a codec.
func Readable(c format.CompressionCodec) bool { return c != format.LZO && c >= 0 && c <= format.Lz4Raw }

// Unpacker decompresses pages. It belongs to one source and must not be used concurrently. The
// claimed size of a page is not trusted: memory grows with the actual output, up to the claimed
// size. The zero value is ready to use.
type Unpacker struct {
	gzip *gzip.Reader
	zstd *zstd.Decoder
	out  bytes.Buffer
}

// trusted is the largest claimed page size for which memory is allocated before decoding.
const trusted = 16 << 20

// Unpack decompresses src to size bytes. The result is in dst, which is overwritten, in src itself
// if it was not compressed, or in memory owned by the Unpacker. It is valid until the next call.
// The error is parquet.ErrCorrupted, or ErrEncoding if the codec is not supported.
func (u *Unpacker) Unpack(dst, src []byte, codec format.CompressionCodec, size int) ([]byte, error) {
	if size == 0 && len(src) == 0 {
		return src, nil // a page without values is not compressed
	}
	switch codec {
	case format.Uncompressed:
		if len(src) != size {
			return nil, parquet.ErrCorrupted
		}
		return src, nil
	case format.Snappy:
		if n, err := s2.DecodedLen(src); err != nil || n != size || size > trusted && n/64 > len(src) {
			return nil, parquet.ErrCorrupted
		}
		return exactly(size)(s2.Decode(room(dst, size), src))
	case format.Zstd:
		return u.unpackZstd(dst, src, size)
	case format.Gzip:
		if u.gzip == nil {
			u.gzip = new(gzip.Reader)
		}
		if err := u.gzip.Reset(bytes.NewReader(src)); err != nil {
			return nil, parquet.ErrCorrupted
		}
		return u.stream(u.gzip, size)
	case format.Brotli:
		return u.stream(brotli.NewReader(bytes.NewReader(src)), size)
	case format.Lz4Raw:
		return unpackLZ4(dst, src, size)
	case format.Lz4:
		// Historically this meant Hadoop framing; other writers used it for raw blocks.
		if out, err := unpackHadoop(dst, src, size); err == nil {
			return out, nil
		}
		return unpackLZ4(dst, src, size)
	}
	return nil, ErrEncoding
}

// Trim releases the memory owned by the Unpacker if it exceeds usual bytes.
func (u *Unpacker) Trim(usual int) {
	if u.out.Cap() > usual {
		u.out = bytes.Buffer{}
	}
}

// room returns dst resized to size bytes, with undefined content.
func room(dst []byte, size int) []byte {
	if cap(dst) < size {
		return make([]byte, size)
	}
	return dst[:size]
}

// exactly passes on the decoded bytes if their size matches the claimed size.
func exactly(size int) func([]byte, error) ([]byte, error) {
	return func(b []byte, err error) ([]byte, error) {
		if err != nil || len(b) != size {
			return nil, parquet.ErrCorrupted
		}
		return b, nil
	}
}

func (u *Unpacker) unpackZstd(dst, src []byte, size int) ([]byte, error) {
	if u.zstd == nil {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(1<<31))
		if err != nil {
			return nil, err
		}
		u.zstd = d
	}
	var h zstd.Header
	if h.Decode(src) == nil && h.HasFCS && h.FrameContentSize == uint64(size) && size <= trusted {
		return exactly(size)(u.zstd.DecodeAll(src, room(dst, size)[:0]))
	}
	if err := u.zstd.Reset(bytes.NewReader(src)); err != nil {
		return nil, parquet.ErrCorrupted
	}
	return u.stream(u.zstd, size)
}

// stream reads exactly size bytes, after which the stream must end.
func (u *Unpacker) stream(r io.Reader, size int) ([]byte, error) {
	u.out.Reset()
	n, err := io.CopyN(&u.out, r, int64(size))
	if err != nil || n != int64(size) {
		return nil, parquet.ErrCorrupted
	}
	var more [1]byte
	if k, err := io.ReadFull(r, more[:]); k > 0 || !errors.Is(err, io.EOF) {
		return nil, parquet.ErrCorrupted
	}
	return u.out.Bytes(), nil
}

func unpackLZ4(dst, src []byte, size int) ([]byte, error) {
	if size/255 > len(src) { // the maximum LZ4 compression ratio
		return nil, parquet.ErrCorrupted
	}
	dst = room(dst, size)
	n, err := lz4.UncompressBlock(src, dst)
	if err != nil || n != size {
		return nil, parquet.ErrCorrupted
	}
	return dst, nil
}

// unpackHadoop reads blocks that are each preceded by their uncompressed and compressed size, in
// big-endian order.
func unpackHadoop(dst, src []byte, size int) ([]byte, error) {
	if size/255 > len(src) {
		return nil, parquet.ErrCorrupted
	}
	dst = room(dst, size)
	at := 0
	for len(src) > 0 {
		if len(src) < 8 {
			return nil, parquet.ErrCorrupted
		}
		plain, packed := int64(binary.BigEndian.Uint32(src)), int64(binary.BigEndian.Uint32(src[4:]))
		src = src[8:]
		if packed > int64(len(src)) || plain > int64(size-at) {
			return nil, parquet.ErrCorrupted
		}
		n, err := lz4.UncompressBlock(src[:packed], dst[at:at+int(plain)])
		if err != nil || int64(n) != plain {
			return nil, parquet.ErrCorrupted
		}
		src, at = src[packed:], at+n
	}
	if at != size {
		return nil, parquet.ErrCorrupted
	}
	return dst, nil
}
