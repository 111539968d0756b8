package array

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/arrowio/ipc"
	"cpcds2fhir/pipeline/columnar"
)

// buffer is one buffer of a record batch, either in memory or in a file.
type buffer struct {
	memory []byte
	file   io.ReaderAt // nil if it is in memory
	at     int64
	size   int64 // decompressed size

	codec  ipc.Codec // how it is compressed
	stored int64
}

// get returns the bytes [from, to), which must be within the buffer. The result may use scratch,
// which is returned, possibly grown.
func (b *buffer) get(from, to int64, scratch []byte) (got, _ []byte, _ error) {
	if b.file == nil || from == to {
		if b.memory == nil {
			return nil, scratch, nil
		}
		return b.memory[from:to:to], scratch, nil
	}
	if int64(cap(scratch)) < to-from {
		scratch = make([]byte, to-from+(to-from)/8)
	}
	got = scratch[:to-from]
	_, err := b.file.ReadAt(got, b.at+from)
	return got, scratch, err
}

const (
	prefixBytes     = 8       // size of the length prefix of a compressed buffer
	firstAllocation = 1 << 24 // of a buffer before decompression, unless the compressed size justifies more
	minRatio        = 1 << 20 // claimed sizes up to this are not checked against maxRatio
	maxRatio        = 1 << 16 // maximum compression ratio

	leastWindow = 8 << 20 // every zstd decoder must support this window size
	mostWindow  = 1 << 27 // window size at the highest zstd level
)

// Storage holds the buffers of one batch. As many as fit are kept in memory. Of the others,
// uncompressed buffers are read from the Arrow file itself, and compressed buffers are
// decompressed into a temporary file.
//
// A Storage, and the batches that are read into it, must not be used concurrently.
type Storage struct {
	temp   string
	left   int64  // bytes of memory left
	window uint64 // maximum window size of the zstd decoder

	spill   *columnar.TempFile
	spilled int64

	input *bufio.Reader
	zstd  *zstd.Decoder
	lz4   *lz4.Reader
}

// NewStorage returns a Storage for a source that may use the given number of bytes of memory; 0
// means no limit. This also limits the window of the decompressor, as far as the format allows.
// The buffers themselves are not limited until Reset is called. temp is the folder of the
// temporary file, or "" for the system's.
func NewStorage(temp string, memory int64) *Storage {
	s := &Storage{temp: temp, left: math.MaxInt64, window: mostWindow}
	if memory > 0 {
		s.window = uint64(min(max(memory, leastWindow), mostWindow))
	}
	return s
}

// Reset drops all buffers and sets the memory limit for new ones, in bytes. Data of the previous
// batch must not be used after the call.
func (s *Storage) Reset(memory int64) { s.left, s.spilled = memory, 0 }

// Close deletes the temporary file. It may be called more than once.
func (s *Storage) Close() {
	if s.spill != nil {
		s.spill.Discard()
		s.spill = nil
	}
	if s.zstd != nil {
		s.zstd.Close()
		s.zstd = nil
	}
}

// find returns a buffer of a message without loading it.
func find(r io.ReaderAt, m *ipc.Message, i int) (buffer, error) {
	if i >= len(m.Buffers) {
		return buffer{}, fault.Corrupt("a record batch has fewer buffers than its schema requires")
	}
	p := m.Buffers[i]
	if p.Offset < 0 || p.Length < 0 || p.Offset > m.Length || p.Length > m.Length-p.Offset {
		return buffer{}, fault.Corrupt("a buffer is outside its record batch")
	}
	b := buffer{file: r, at: m.Body + p.Offset, size: p.Length, stored: p.Length}
	if m.Codec == ipc.CodecNone || p.Length == 0 {
		return b, nil
	}
	var raw [prefixBytes]byte
	if p.Length < prefixBytes {
		return buffer{}, fault.Corrupt("a compressed buffer is too short for its length prefix")
	}
	if _, err := r.ReadAt(raw[:], b.at); err != nil {
		return buffer{}, err
	}
	b.at, b.stored = b.at+prefixBytes, b.stored-prefixBytes
	b.size = int64(binary.LittleEndian.Uint64(raw[:]))
	if b.size == -1 { // stored uncompressed because compression did not make it smaller
		b.size = b.stored
		return b, nil
	}
	if b.size < 0 || b.size > minRatio && b.size/maxRatio > b.stored {
		return buffer{}, fault.Corrupt("a compressed buffer has an impossible length")
	}
	if b.codec = m.Codec; b.codec == ipc.CodecUnknown {
		return buffer{}, fault.Corrupt("its buffers use an unknown compression codec")
	}
	return b, nil
}

// Decompressed returns the decompressed size of all buffers of a message in r. It stops counting
// once the size exceeds limit. The error is a *fault.CorruptError or an error reading the file.
func Decompressed(r io.ReaderAt, m *ipc.Message, limit int64) (size int64, err error) {
	for i := range m.Buffers {
		b, err := find(r, m, i)
		if err != nil {
			return 0, err
		}
		if size = size + b.size; size > limit {
			break
		}
	}
	return size, nil
}

// load prepares a buffer for get.
func (s *Storage) load(b *buffer) error {
	switch {
	case b.size <= s.left:
		s.left -= b.size
		return s.loadMemory(b)
	case b.codec != ipc.CodecNone:
		return s.loadFile(b)
	}
	return nil
}

func (s *Storage) loadMemory(b *buffer) error {
	if b.size == 0 && b.codec == ipc.CodecNone {
		b.file = nil
		return nil
	}
	if b.codec == ipc.CodecNone {
		b.memory = make([]byte, b.size)
		_, err := b.file.ReadAt(b.memory, b.at)
		b.file = nil
		return err
	}
	r, err := s.decompress(b)
	if err != nil {
		return err
	}
	// The length may be damaged, so grow the memory only as data arrives.
	b.memory = make([]byte, min(b.size, max(firstAllocation, 64*b.stored)))
	for n := 0; ; {
		k, err := io.ReadFull(r, b.memory[n:])
		if n += k; err != nil {
			return ofStream(err)
		}
		if int64(n) == b.size {
			break
		}
		b.memory = grow(b.memory, int(min(b.size, 2*int64(n))))
	}
	b.file = nil
	return atEnd(r)
}

// loadFile decompresses a buffer into the temporary file.
func (s *Storage) loadFile(b *buffer) error {
	if s.spill == nil {
		f, err := columnar.NewTempFile(s.temp)
		if err != nil {
			return fmt.Errorf("create space for a record batch: %w", err)
		}
		s.spill = f
	}
	r, err := s.decompress(b)
	if err != nil {
		return err
	}
	at := s.spilled
	w := io.NewOffsetWriter(s.spill, at)
	n, err := io.Copy(w, io.LimitReader(r, b.size))
	if err != nil {
		return ofStream(err)
	}
	if n < b.size {
		return ofStream(io.ErrUnexpectedEOF)
	}
	s.spilled += n
	b.file, b.at, b.codec = s.spill, at, ipc.CodecNone
	return atEnd(r)
}

// decompress returns a reader for the content of a compressed buffer.
func (s *Storage) decompress(b *buffer) (io.Reader, error) {
	from := io.NewSectionReader(b.file, b.at, b.stored)
	if s.input == nil {
		s.input = bufio.NewReaderSize(nil, 1<<16)
	}
	s.input.Reset(from)
	if b.codec == ipc.CodecLZ4 {
		if s.lz4 == nil {
			s.lz4 = lz4.NewReader(nil)
		}
		s.lz4.Reset(s.input)
		return s.lz4, nil
	}
	if s.zstd == nil {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(s.window), zstd.WithDecoderMaxMemory(math.MaxInt64))
		if err != nil {
			return nil, err
		}
		s.zstd = z
	}
	return s.zstd, s.zstd.Reset(s.input)
}

// atEnd checks that the decompressed data ends here.
func atEnd(r io.Reader) error {
	var b [1]byte
	n, err := io.ReadFull(r, b[:])
	if n > 0 {
		return fault.Corrupt("a compressed buffer is longer than its length prefix says")
	}
	if err != io.EOF {
		return ofStream(err)
	}
	return nil
}

// ofStream converts errors in the compressed data to fault errors. Disk errors are returned
// unchanged.
func ofStream(err error) error {
	var disk *os.PathError
	switch {
	case errors.As(err, &disk):
		return err
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return &fault.SizeError{What: "is compressed with a window that is too large for the memory limit", Need: mostWindow}
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fault.Corrupt("a compressed buffer is shorter than its length prefix says")
	}
	return fault.Corrupt("a compressed buffer cannot be decompressed")
}

// grow returns b extended to n bytes, with its content preserved.
func grow(b []byte, n int) []byte {
	if n <= cap(b) {
		return b[:n]
	}
	next := make([]byte, n)
	copy(next, b)
	return next
}
