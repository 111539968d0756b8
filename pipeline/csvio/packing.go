package csvio

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// packing is the compression of a file, as its name tells it.
type packing uint8

const (
	unpacked packing = iota
	gzipped
	zstandard
)

var packingNames = [...]string{"plain", "gzip", "zstd"}

func packingOf(path string) packing {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz":
		return gzipped
	case ".zst":
		return zstandard
	}
	return unpacked
}

// unpack returns the content of a compressed stream.
func (p packing) unpack(r io.Reader) (io.ReadCloser, error) {
	switch p {
	case gzipped:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("open gzip: %w", err)
		}
		return z, nil
	case zstandard:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("open zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}
