package kafkaio

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"
	"unsafe"
)

// A batch (magic 2) begins with 61 bytes:
//
//	 0 base offset, 8 bytes     23 last offset delta, 4    51 producer epoch, 2
//	 8 length of the rest, 4    27 base timestamp, 8       53 base sequence, 4
//	12 leader epoch, 4          35 largest timestamp, 8    57 number of records, 4
//	16 magic, 1                 43 producer id, 8
//	17 CRC-32C of what follows, 4
//	21 attributes, 2
const (
	batchPrefix = 12 // base offset and length
	batchHead   = 61

	attrLogTime       = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5

	controlAbort = 0
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// What a record and a header take in memory besides their bytes.
const (
	recordSize = int64(unsafe.Sizeof(Record{}))
	headerSize = int64(unsafe.Sizeof(Header{}))
	// minRecord is the length of the smallest record: seven one-byte fields.
	minRecord = 7
)

// abortedTxn is an entry of the list that comes with a fetch: what the producer wrote from first on
// is aborted, until its next abort marker.
type abortedTxn struct{ producer, first int64 }

// walker walks the batches of one answer.
type walker struct {
	tp      TopicPartition
	unpack  unpacker
	data    []byte
	aborted []abortedTxn       // not reached yet, by first offset
	active  map[int64]struct{} // producers whose records are aborted at this point
	last    int64              // the last offset of the batch before
	end     int64              // no batch may reach it

	spare [][]byte // buffers for unpacked contents
	taken int      // how many of spare are in use
	heads []Header
}

// begin takes a new answer. Its aborted transactions must be sorted by first offset. All of
// its offsets must be below end; negative means unknown.
func (w *walker) begin(data []byte, aborted []abortedTxn, end int64) {
	if end < 0 {
		end = math.MaxInt64
	}
	w.data, w.aborted, w.last, w.end = data, aborted, -1, end
	clear(w.active)
}

// recycle allows the memory of all records to be used again.
func (w *walker) recycle() {
	var kept int64
	for _, b := range w.spare {
		kept += int64(cap(b))
	}
	if kept > 2*w.unpack.limit {
		w.spare = nil
	}
	w.taken = 0
	clear(w.heads)
	w.heads = w.heads[:0]
}

// step is what one batch gave.
type step struct {
	next int64 // the position after it
	size int64 // the memory that its records take
	cut  int64 // if not 0, the answer ends within the batch, which is that long
}

// batch reads the next batch and appends its committed records from position on to recs. On an error the walker stays
// before the batch.
func (w *walker) batch(recs []Record, position int64) ([]Record, step, error) {
	b := w.data
	s := step{next: position}
	if len(b) < batchPrefix {
		w.data = nil
		s.cut = batchHead
		return recs, s, nil
	}
	base := int64(binary.BigEndian.Uint64(b))
	size := int64(int32(binary.BigEndian.Uint32(b[8:]))) + batchPrefix
	if base < 0 || size < batchPrefix+minLegacy {
		return recs, s, w.corrupt(position, "its header is impossible")
	}
	if size > int64(len(b)) {
		w.data = nil
		s.cut = size
		return recs, s, nil
	}
	if magic := b[16]; magic != 2 {
		if magic < 2 {
			return recs, s, &UnsupportedError{w.tp, base, "its format is from before Kafka 0.11; rewrite the topic"}
		}
		return recs, s, &UnsupportedError{w.tp, base, "its format is newer than this program"}
	}
	if size < batchHead {
		return recs, s, w.corrupt(position, "its header is impossible")
	}
	b = b[:size]
	if crc32.Checksum(b[21:], castagnoli) != binary.BigEndian.Uint32(b[17:]) {
		return recs, s, w.corrupt(base, "its checksum is wrong")
	}
	delta := int32(binary.BigEndian.Uint32(b[23:]))
	// The checksum does not cover the base offset.
	if delta < 0 || base <= w.last || base >= w.end-int64(delta) {
		return recs, s, w.corrupt(position, "its offsets are impossible")
	}
	last := base + int64(delta)
	skip, err := w.skip(b, last)
	if err != nil {
		return recs, s, w.corrupt(base, err.Error())
	}
	if !skip && last >= position {
		recs, s.size, err = w.records(recs, b, position)
		switch {
		case errors.Is(err, errTooLarge):
			return recs, s, &TooLargeError{w.tp, base, w.unpack.limit}
		case err != nil:
			return recs, s, w.corrupt(base, err.Error())
		}
	}
	s.next = max(position, last+1)
	w.last = last
	w.data = w.data[size:]
	return recs, s, nil
}

// maxTime is the end of the year 9999 in milliseconds. A producer can write any number; what is no time
// that RFC 3339 can write is none.
const maxTime = 253402300799999

// minLegacy is the least that follows the prefix, in a message of the old formats.
const minLegacy = 14

func (w *walker) corrupt(offset int64, reason string) error {
	return &CorruptError{w.tp, offset, reason}
}

// skip keeps account of aborted transactions and reports whether the batch holds nothing for readers.
func (w *walker) skip(b []byte, last int64) (bool, error) {
	attrs := binary.BigEndian.Uint16(b[21:])
	producer := int64(binary.BigEndian.Uint64(b[43:]))
	for len(w.aborted) > 0 && w.aborted[0].first <= last {
		if w.active == nil {
			w.active = map[int64]struct{}{}
		}
		w.active[w.aborted[0].producer] = struct{}{}
		w.aborted = w.aborted[1:]
	}
	if attrs&attrControl != 0 {
		kind, err := controlKind(b)
		if err == nil && kind == controlAbort {
			delete(w.active, producer)
		}
		return true, err
	}
	_, aborted := w.active[producer]
	return aborted && attrs&attrTransactional != 0, nil
}

var errMarker = errors.New("its control marker cannot be read")

// controlKind reads what a control batch says; -1 if compaction has left nothing of it.
func controlKind(b []byte) (int16, error) {
	if binary.BigEndian.Uint32(b[57:]) == 0 {
		return -1, nil
	}
	if binary.BigEndian.Uint16(b[21:])&codecMask != codecNone {
		return 0, errMarker
	}
	c := &cursor{b: b[batchHead:]}
	c.varint32() // length
	c.i8()       // attributes
	c.varint()   // time
	c.varint32() // offset
	key := &cursor{b: c.varbytes()}
	key.i16() // version
	kind := key.i16()
	if c.bad || key.bad {
		return 0, errMarker
	}
	return kind, nil
}

// records appends the records of a batch from position on.
func (w *walker) records(recs []Record, b []byte, position int64) ([]Record, int64, error) {
	attrs := binary.BigEndian.Uint16(b[21:])
	body := b[batchHead:]
	if codec := int(attrs & codecMask); codec != codecNone {
		var err error
		if body, err = w.contents(codec, body); err != nil {
			return recs, 0, err
		}
	}
	count := int64(int32(binary.BigEndian.Uint32(b[57:])))
	if count < 0 || count*minRecord > int64(len(body)) {
		return recs, 0, errShort
	}
	used := int64(len(body)) + count*recordSize
	if used > w.unpack.limit {
		return recs, 0, errTooLarge
	}
	p := recordParser{
		w:         w,
		base:      int64(binary.BigEndian.Uint64(b)),
		lastDelta: int(binary.BigEndian.Uint32(b[23:])),
		baseTime:  int64(binary.BigEndian.Uint64(b[27:])),
		logTime:   -1,
		budget:    w.unpack.limit - used,
		previous:  -1,
		epoch:     int32(binary.BigEndian.Uint32(b[12:])),
	}
	if attrs&attrLogTime != 0 {
		p.logTime = int64(binary.BigEndian.Uint64(b[35:]))
	}
	c := &cursor{b: body}
	first := len(recs)
	for ; count > 0; count-- {
		r, err := p.record(c)
		if err != nil {
			clear(recs[first:])
			return recs[:first], 0, err
		}
		if r.Offset >= position {
			recs = append(recs, r)
		}
	}
	if len(c.b) > 0 {
		clear(recs[first:])
		return recs[:first], 0, errors.New("it has more than its records")
	}
	return recs, w.unpack.limit - p.budget, nil
}

// contents unpacks into memory that stays until recycle.
func (w *walker) contents(codec int, b []byte) ([]byte, error) {
	if w.taken == len(w.spare) {
		w.spare = append(w.spare, nil)
	}
	body, err := w.unpack.unpack(codec, b, w.spare[w.taken][:0])
	w.spare[w.taken] = body[:0]
	w.taken++
	return body, err
}

// recordParser parses the records of one batch.
type recordParser struct {
	w                       *walker
	base, baseTime, logTime int64
	lastDelta, previous     int
	budget                  int64 // bytes of memory that headers may still take
	epoch                   int32
}

func (p *recordParser) record(c *cursor) (Record, error) {
	f := cursor{b: c.take(c.varint32())}
	f.i8() // attributes, none are defined
	sinceBase := f.varint()
	delta := f.varint32()
	r := Record{
		Offset:      p.base + int64(delta),
		LeaderEpoch: p.epoch,
		Key:         f.varbytes(),
		Value:       f.varbytes(),
	}
	if c.bad || f.bad {
		return r, errShort
	}
	if delta <= p.previous || delta > p.lastDelta {
		return r, errors.New("its offsets are out of order")
	}
	p.previous = delta
	at := p.baseTime + sinceBase
	if p.logTime >= 0 {
		at = p.logTime
	}
	if (p.logTime >= 0 || p.baseTime >= 0) && at >= 0 && at <= maxTime {
		r.Time = time.UnixMilli(at)
	}
	heads := f.varint32()
	if heads < 0 || 2*heads > len(f.b) {
		return r, errShort
	}
	if p.budget -= int64(heads) * headerSize; p.budget < 0 {
		return r, errTooLarge
	}
	begin := len(p.w.heads)
	for range heads {
		key := f.varbytes()
		p.w.heads = append(p.w.heads, Header{Key: string(key), Value: f.varbytes()})
	}
	if f.bad || len(f.b) > 0 {
		return r, errShort
	}
	if heads > 0 {
		r.Headers = p.w.heads[begin:len(p.w.heads):len(p.w.heads)]
	}
	return r, nil
}
