package ndjson

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// codec is a way to compress parts. A part is a sequence of whole frames (zstd)
// or members (gzip), so it can be cut after any of them and be decompressed as one.
type codec struct {
	suffix     string
	compressor func() compressor
}

// compressor appends one frame that holds raw to dst. It keeps memory between
// calls but nothing that changes the bytes. nil stands for plain text.
type compressor func(dst, raw []byte) ([]byte, error)

func codecOf(name string) (codec, error) {
	switch name {
	case "":
		return codec{compressor: func() compressor { return nil }}, nil
	case "zstd":
		return codec{suffix: ".zst", compressor: zstdCompressor}, nil
	case "gzip":
		return codec{suffix: ".gz", compressor: gzipCompressor}, nil
	}
	return codec{}, fmt.Errorf("compress with %q: use zstd, gzip or nothing", name)
}

func zstdCompressor() compressor {
	var enc *zstd.Encoder
	return func(dst, raw []byte) ([]byte, error) {
		if enc == nil {
			var err error
			if enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
				return nil, err
			}
		}
		return enc.EncodeAll(raw, dst), nil
	}
}

func gzipCompressor() compressor {
	var enc *gzip.Writer
	return func(dst, raw []byte) ([]byte, error) {
		out := bytes.NewBuffer(dst)
		if enc == nil {
			var err error
			if enc, err = gzip.NewWriterLevel(out, gzip.BestSpeed); err != nil {
				return nil, err
			}
		} else {
			enc.Reset(out)
		}
		if _, err := enc.Write(raw); err != nil {
			return nil, err
		}
		if err := enc.Close(); err != nil {
			return nil, err
		}
		return out.Bytes(), nil
	}
}

// scratch is the memory of one Load. It belongs to no lane, so memory grows with the number of
// concurrent Loads, not of lanes.
type scratch struct {
	compress compressor
	packed   []byte
}
