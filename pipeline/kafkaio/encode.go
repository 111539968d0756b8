package kafkaio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// appendBatch appends records as one batch. Those without a time get now.
func appendBatch(dst []byte, recs []Record, codec int, now time.Time) ([]byte, error) {
	base, largest := millis(&recs[0], now), int64(0)
	var body encoder
	var one encoder
	for i := range recs {
		r := &recs[i]
		at := millis(r, now)
		largest = max(largest, at)
		one.b = one.b[:0]
		one.i8(0)
		one.varint(at - base)
		one.varint(int64(i))
		one.varbytes(r.Key)
		one.varbytes(r.Value)
		one.varint(int64(len(r.Headers)))
		for _, h := range r.Headers {
			one.varint(int64(len(h.Key)))
			one.b = append(one.b, h.Key...)
			one.varbytes(h.Value)
		}
		body.varint(int64(len(one.b)))
		body.b = append(body.b, one.b...)
	}
	packed, err := pack(codec, body.b)
	if err != nil {
		return dst, err
	}
	begin := len(dst)
	e := encoder{b: dst}
	e.i64(0) // the broker gives the offsets
	e.i32(int32(batchHead - batchPrefix + len(packed)))
	e.i32(-1)
	e.i8(2)
	e.i32(0) // room for the checksum
	e.i16(int16(codec))
	e.i32(int32(len(recs) - 1))
	e.i64(base)
	e.i64(largest)
	e.i64(-1) // no producer id: not idempotent
	e.i16(-1)
	e.i32(-1)
	e.i32(int32(len(recs)))
	e.b = append(e.b, packed...)
	b := e.b[begin:]
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return e.b, nil
}

func millis(r *Record, now time.Time) int64 {
	if r.Time.IsZero() {
		return now.UnixMilli()
	}
	return r.Time.UnixMilli()
}

// snappyBlockSize is the size of blocks that snappy-java writes.
const snappyBlockSize = 32 << 10

// pack compresses contents of a batch.
func pack(codec int, b []byte) ([]byte, error) {
	var out bytes.Buffer
	switch codec {
	case codecNone:
		return b, nil
	case codecGzip:
		w := gzip.NewWriter(&out)
		_, _ = w.Write(b) // a bytes.Buffer takes everything
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("pack gzip: %w", err)
		}
		return out.Bytes(), nil
	case codecSnappy:
		e := encoder{b: bytes.Clone(xerial)}
		e.i32(1)
		e.i32(1)
		for len(b) > 0 {
			n := min(len(b), snappyBlockSize)
			block := snappy.Encode(nil, b[:n])
			e.i32(int32(len(block)))
			e.b = append(e.b, block...)
			b = b[n:]
		}
		return e.b, nil
	case codecLZ4:
		w := lz4.NewWriter(&out)
		_, _ = w.Write(b)
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("pack lz4: %w", err)
		}
		return out.Bytes(), nil
	case codecZstd:
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("pack zstd: %w", err)
		}
		b = w.EncodeAll(b, nil)
		return b, w.Close()
	}
	return nil, fmt.Errorf("codec %d is unknown", codec)
}

// murmur2 is the hash by which the Java client spreads keys over partitions.
func murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// PartitionOf returns the partition, of n, to which a key belongs: the same as with the Java client.
// Other clients may hash otherwise.
func PartitionOf(key []byte, n int) int {
	return int(murmur2(key)&0x7fffffff) % n
}
