package csvio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/unicode"

	"cpcds2fhir/pipeline"
)

// packing is the compression of a file, according to its name.
type packing uint8

const (
	unpacked packing = iota
	gzipped
	zstandard
)

// packings has the name of each packing for messages, the suffix of its files, and its name in
// kindOf.
var packings = [...]struct{ name, end, kind string }{
	unpacked:  {"text", "", ""},
	gzipped:   {"gzip", ".gz", "gzip data"},
	zstandard: {"zstd", ".zst", "zstd data"},
}

func packingOf(path string) packing {
	end := strings.ToLower(filepath.Ext(path))
	for p := gzipped; p <= zstandard; p++ {
		if end == packings[p].end {
			return p
		}
	}
	return unpacked
}

// A window is how far back a zstd stream may refer: each lane that reads one keeps that much in
// memory. Every reader should support the smaller one; zstd --long uses the larger.
const (
	minWindow = 8 << 20
	maxWindow = 128 << 20
)

// window is the largest window that is read.
func (o *Options) window() uint64 {
	if o.Memory == 0 {
		return maxWindow
	}
	return uint64(min(max(o.Memory/2, minWindow), maxWindow))
}

// errTrailing means that other data follows a compressed stream.
var errTrailing = errors.New("data after the compressed stream")

// unpack returns the content of a compressed stream. window is the largest that it may need.
func (p packing) unpack(r io.Reader, window uint64) (io.ReadCloser, error) {
	switch p {
	case gzipped:
		in := bufio.NewReaderSize(r, 64<<10)
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("open gzip: %w", err)
		}
		z.Multistream(false)
		return &members{in: in, z: z}, nil
	case zstandard:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
		if err != nil {
			return nil, fmt.Errorf("open zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// members reads all members of a gzip file as one stream. So does the reader of package gzip, but
// it reports trailing data as a broken header.
type members struct {
	in *bufio.Reader
	z  *gzip.Reader
}

func (m *members) Read(b []byte) (int, error) {
	for {
		n, err := m.z.Read(b)
		if err != io.EOF || n > 0 {
			if err == io.EOF {
				err = nil // it will be returned again
			}
			return n, err
		}
		next, err := m.in.Peek(2)
		switch {
		case len(next) == 0:
			return 0, err
		case !strings.HasPrefix("\x1f\x8b", view(next)):
			return 0, errTrailing
		}
		if err := m.z.Reset(m.in); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		m.z.Multistream(false)
	}
}

func (m *members) Close() error { return m.z.Close() }

// readFault turns a read error into a *pipeline.FormatError if it is one.
func (s *scanner) readFault(err error) error {
	fault := func(what, hint string) error {
		return &pipeline.FormatError{File: s.file.path, What: what, Hint: hint}
	}
	if errors.Is(err, unicode.ErrMissingBOM) {
		return fault("has no UTF-16 byte order mark", "set encoding: utf-16le or encoding: utf-16be under csv in the layout")
	}
	var disk *os.PathError
	if errors.As(err, &disk) || s.file.packed == unpacked {
		return readError(s.file.path, err)
	}
	name := packings[s.file.packed].name
	cut := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
	window, limit := uint64(0), s.file.opts.window()
	if s.file.packed == zstandard {
		var trailing bool
		if window, trailing = surveyFrames(s.file.os); trailing && (cut || errors.Is(err, zstd.ErrMagicMismatch)) {
			err = errTrailing
		}
	}
	switch {
	case err == errTrailing:
		return fault("has other bytes after the end of the "+name+" stream", "was something appended to it, or the copy damaged?")
	case errors.Is(err, zstd.ErrWindowSizeExceeded) && window > limit:
		hint := fmt.Sprintf("it was compressed with a large zstd --long; compress it again with --long=%d or less", bits.Len64(limit)-1)
		if window <= maxWindow {
			hint = "use more --memory or fewer --workers, or compress it again without --long and --ultra"
		}
		return fault(fmt.Sprintf("needs a window of %d MiB to decompress, but the limit is %d MiB", (window+1<<20-1)>>20, limit>>20), hint)
	case cut:
		return fault("is truncated: the "+name+" stream ends early", "was the copy complete?")
	}
	return fault("is not a valid "+name+" stream", "was the copy complete?")
}

// readError wraps a read error that is not the file's fault.
func readError(path string, err error) error { return fmt.Errorf("read %s: %w", path, err) }

// surveyFrames walks over the frames of a zstd file without decompressing them. It returns the
// largest window that any of them needs, and whether other data follows them.
func surveyFrames(r io.ReaderAt) (window uint64, trailing bool) {
	for at := int64(0); ; {
		head := make([]byte, zstd.HeaderMaxSize)
		n, _ := r.ReadAt(head, at)
		head = head[:n]
		begin := head[:min(n, 4)]
		if n == 0 || n < 4 && (bytes.HasPrefix([]byte("\x28\xb5\x2f\xfd"), begin) || begin[0]&0xf0 == 0x50) {
			return window, false
		}
		var h zstd.Header
		if err := h.Decode(head); errors.Is(err, zstd.ErrMagicMismatch) || n < 4 {
			return window, true
		} else if err != nil {
			return window, false
		}
		at += int64(h.HeaderSize)
		if h.Skippable {
			at += int64(h.SkippableSize)
			continue
		}
		if window = max(window, h.WindowSize); h.SingleSegment {
			window = max(window, h.FrameContentSize)
		}
		for last := false; !last; {
			var b [3]byte
			if _, err := r.ReadAt(b[:], at); err != nil {
				return window, false
			}
			block := int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16
			last = block&1 != 0
			if at += 3 + block>>3; block>>1&3 == 1 {
				at += 1 - block>>3 // one byte, repeated
			}
		}
		if h.HasCheckSum {
			at += 4
		}
	}
}
