package kafkaio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// made is a batch made by hand. It is encoded by franz-go, not by the code under test.
type made struct {
	base      int64
	delta     int32 // of the last offset
	attrs     int16
	producer  int64
	records   []kmsg.Record
	magic     int8
	codec     int
	body      []byte // instead of records, already packed
	count     int32  // instead of the number of records
	firstTime int64
	maxTime   int64
}

func rec(delta int32, key, value string) kmsg.Record {
	return kmsg.Record{OffsetDelta: delta, Key: []byte(key), Value: []byte(value)}
}

func plainBatch(base int64, values ...string) made {
	m := made{base: base, delta: int32(len(values) - 1), producer: -1}
	for i, v := range values {
		m.records = append(m.records, rec(int32(i), "k", v))
	}
	return m
}

func txnBatch(base, producer int64, values ...string) made {
	m := plainBatch(base, values...)
	m.attrs, m.producer = attrTransactional, producer
	return m
}

// marker is a control batch that ends a transaction.
func marker(base, producer int64, kind byte) made {
	return made{
		base: base, attrs: attrTransactional | attrControl, producer: producer,
		records: []kmsg.Record{{Key: []byte{0, 0, 0, kind}, Value: []byte{0, 0, 0, 0, 0, 0}}},
	}
}

const (
	abort  = 0
	commit = 1
)

func encodeRecords(recs []kmsg.Record) []byte {
	var body []byte
	for _, r := range recs {
		r.Length = 0
		// Length 0 takes one byte; the rest is what it must name.
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		body = r.AppendTo(body)
	}
	return body
}

func (m made) bytes(t testing.TB) []byte {
	t.Helper()
	body := m.body
	if body == nil {
		var err error
		if body, err = pack(m.codec, encodeRecords(m.records)); err != nil {
			t.Fatal(err)
		}
	}
	count := m.count
	if count == 0 {
		count = int32(len(m.records))
	}
	magic := m.magic
	if magic == 0 {
		magic = 2
	}
	b := kmsg.RecordBatch{
		FirstOffset: m.base, Length: int32(batchHead - batchPrefix + len(body)), PartitionLeaderEpoch: 7, Magic: magic,
		Attributes: m.attrs | int16(m.codec), LastOffsetDelta: m.delta, FirstTimestamp: m.firstTime, MaxTimestamp: m.maxTime,
		ProducerID: m.producer, NumRecords: count, Records: body,
	}
	raw := b.AppendTo(nil)
	return reseal(raw)
}

// reseal gives a batch the right checksum.
func reseal(raw []byte) []byte {
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func join(t testing.TB, batches ...made) []byte {
	var b []byte
	for _, m := range batches {
		b = append(b, m.bytes(t)...)
	}
	return b
}

var testTP = TopicPartition{"claims", 3}

// walkAll walks an answer to its end or to an error.
func walkAll(data []byte, aborted []abortedTxn, position, limit int64) (values []string, next int64, err error) {
	w := &walker{tp: testTP, unpack: unpacker{limit: limit}}
	defer w.unpack.close()
	w.begin(data, aborted, 1<<40)
	var recs []Record
	for err == nil && len(w.data) > 0 {
		var s step
		recs, s, err = w.batch(recs, position)
		position = s.next
	}
	for _, r := range recs {
		values = append(values, fmt.Sprintf("%d=%s", r.Offset, r.Value))
	}
	return values, position, err
}

func TestWalk(t *testing.T) {
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	tests := map[string]struct {
		data    []byte
		aborted []abortedTxn
		from    int64
		want    string
		next    int64
	}{
		"two batches":                  {join(t, plainBatch(5, "a", "b"), plainBatch(7, "c")), nil, 5, "5=a 6=b 7=c", 8},
		"begin inside a batch":         {join(t, plainBatch(5, "a", "b", "c")), nil, 6, "6=b 7=c", 8},
		"batch below the position":     {join(t, plainBatch(1, "x"), plainBatch(5, "a")), nil, 5, "5=a", 6},
		"nothing":                      {nil, nil, 5, "", 5},
		"hole between batches":         {join(t, plainBatch(5, "a"), plainBatch(300_000, "b")), nil, 5, "5=a 300000=b", 300_001},
		"position in a hole":           {join(t, plainBatch(300_000, "b")), nil, 77, "300000=b", 300_001},
		"compacted within a batch":     {join(t, made{base: 5, delta: 9, producer: -1, records: []kmsg.Record{rec(2, "k", "a"), rec(4, "k", "b")}}), nil, 5, "7=a 9=b", 15},
		"all before position, tail":    {join(t, made{base: 5, delta: 9, producer: -1, records: []kmsg.Record{rec(2, "k", "a")}}), nil, 10, "", 15},
		"batch without records":        {join(t, made{base: 5, delta: 299_999, producer: 4}), nil, 5, "", 300_005},
		"empty batch, then data":       {join(t, made{base: 5, delta: 4, producer: 4}, plainBatch(10, "a")), nil, 5, "10=a", 11},
		"control marker":               {join(t, txnBatch(5, 1, "a"), marker(6, 1, commit)), nil, 5, "5=a", 7},
		"only a control marker":        {join(t, marker(6, 1, commit)), nil, 6, "", 7},
		"compacted control batch":      {join(t, made{base: 5, attrs: attrTransactional | attrControl, producer: 1}, plainBatch(6, "a")), nil, 5, "6=a", 7},
		"unknown control type":         {join(t, marker(6, 1, 9), plainBatch(7, "a")), nil, 6, "7=a", 8},
		"cut at the end":               {cut(join(t, plainBatch(5, "a"), plainBatch(6, "b"))), nil, 5, "5=a", 6},
		"cut in the prefix":            {join(t, plainBatch(5, "a"), plainBatch(6, "b"))[:len(join(t, plainBatch(5, "a")))+11], nil, 5, "5=a", 6},
		"cut first batch":              {cut(join(t, plainBatch(5, "a"))), nil, 5, "", 5},
		"aborted":                      {join(t, txnBatch(5, 1, "a"), marker(6, 1, abort)), []abortedTxn{{1, 5}}, 5, "", 7},
		"aborted began before":         {join(t, txnBatch(5, 1, "a"), marker(6, 1, abort)), []abortedTxn{{1, 2}}, 5, "", 7},
		"committed before aborted":     {join(t, txnBatch(5, 1, "a"), marker(6, 1, commit), txnBatch(7, 1, "b"), marker(8, 1, abort)), []abortedTxn{{1, 7}}, 5, "5=a", 9},
		"committed after aborted":      {join(t, txnBatch(5, 1, "a"), marker(6, 1, abort), txnBatch(7, 1, "b"), marker(8, 1, commit)), []abortedTxn{{1, 5}}, 5, "7=b", 9},
		"not transactional by aborter": {join(t, txnBatch(5, 1, "a"), made{base: 6, producer: 1, records: []kmsg.Record{rec(0, "k", "b")}}, marker(7, 1, abort)), []abortedTxn{{1, 5}}, 5, "6=b", 8},
		// Producer 1 aborts, producer 2 commits in between: 2's marker must not end 1's abortion, nor 1's hide 2.
		"interleaved": {
			join(t, txnBatch(5, 1, "a"), txnBatch(6, 2, "b"), marker(7, 2, commit), txnBatch(8, 1, "c"), txnBatch(9, 3, "d"), marker(10, 1, abort),
				txnBatch(11, 1, "e"), marker(12, 3, abort), marker(13, 1, commit)),
			[]abortedTxn{{1, 5}, {3, 9}}, 5, "6=b 11=e", 14,
		},
		"commit ends no abortion": {
			join(t, txnBatch(5, 1, "a"), marker(6, 1, commit), txnBatch(7, 1, "b"), marker(8, 1, abort), txnBatch(9, 1, "c")),
			[]abortedTxn{{1, 5}}, 5, "9=c", 10,
		},
		// The abort marker of one producer must not end the abortion of another.
		"two aborted": {
			join(t, txnBatch(5, 1, "a"), txnBatch(6, 3, "b"), marker(7, 3, abort), txnBatch(8, 1, "c"), marker(9, 1, abort)),
			[]abortedTxn{{1, 5}, {3, 6}}, 5, "", 10,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			values, next, err := walkAll(tt.data, tt.aborted, tt.from, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(values, " "); got != tt.want || next != tt.next {
				t.Errorf("got %q and next %d, want %q and %d", got, next, tt.want, tt.next)
			}
		})
	}
}

func TestRecordFields(t *testing.T) {
	m := made{base: 10, delta: 3, producer: -1, firstTime: 1_700_000_000_000, maxTime: 1_700_000_009_000, records: []kmsg.Record{
		{OffsetDelta: 0, Key: nil, Value: nil, TimestampDelta64: 5},
		{OffsetDelta: 1, Key: []byte{}, Value: []byte{}, Headers: []kmsg.Header{{Key: "h", Value: nil}, {Key: "h", Value: []byte{}}, {Key: "", Value: []byte("v")}}},
		{OffsetDelta: 3, Key: []byte("k"), Value: []byte("v"), TimestampDelta64: -2},
	}}
	at := time.UnixMilli
	want := []Record{
		{Offset: 10, LeaderEpoch: 7, Time: at(1_700_000_000_005)},
		{Offset: 11, LeaderEpoch: 7, Time: at(1_700_000_000_000), Key: []byte{}, Value: []byte{}, Headers: []Header{{"h", nil}, {"h", []byte{}}, {"", []byte("v")}}},
		{Offset: 13, LeaderEpoch: 7, Time: at(1_699_999_999_998), Key: []byte("k"), Value: []byte("v")},
	}
	check := func(m made, want []Record) {
		t.Helper()
		w := &walker{tp: testTP, unpack: unpacker{limit: 1 << 20}}
		w.begin(m.bytes(t), nil, -1)
		got, _, err := w.batch(nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		// cmp tells nil from empty, which is the point.
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
	check(m, want)

	m.attrs = attrLogTime
	for i := range want {
		want[i].Time = at(1_700_000_009_000)
	}
	check(m, want)

	m.attrs, m.maxTime = attrLogTime, 1<<60 // no year that anybody can write
	for i := range want {
		want[i].Time = time.Time{}
	}
	check(m, want)

	m.attrs, m.firstTime = 0, 1<<60
	check(m, want)

	m.attrs, m.firstTime = 0, -1
	for i := range want {
		want[i].Time = time.Time{}
	}
	check(m, want)
}

func TestCodecs(t *testing.T) {
	// Compressible and long enough for several blocks of every format.
	long := strings.Repeat("a claim like every other claim; ", 10_000)
	body := encodeRecords([]kmsg.Record{rec(0, "k", "a"), rec(1, "k", long)})
	for codec, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		packed, err := pack(codec, body)
		if err != nil {
			t.Fatal(err)
		}
		if codec != codecNone && len(packed) > len(body)/2 {
			t.Errorf("%s: %d of %d bytes are no compression", name, len(packed), len(body))
		}
		bodies := map[string][]byte{name: packed}
		if codec == codecSnappy {
			bodies["snappy block"] = snappy.Encode(nil, body)
		}
		if codec == codecZstd {
			var b bytes.Buffer
			w, _ := zstd.NewWriter(&b) // streamed: the frame does not name its size, and its window is large
			_, _ = w.Write(body)
			_ = w.Close()
			bodies["zstd stream"] = b.Bytes()
		}
		for name, packed := range bodies {
			data := made{base: 5, delta: 1, codec: codec, body: packed, count: 2}.bytes(t)
			values, next, err := walkAll(append(data, join(t, plainBatch(7, "b"))...), nil, 5, 1<<20)
			if err != nil || next != 8 || len(values) != 3 || values[1] != "6="+long {
				t.Errorf("%s: %d values, next %d, error %v", name, len(values), next, err)
			}
			if codec == codecNone {
				continue
			}
			// Damaged, but with the right checksum: an error and no panic.
			for _, n := range []int{0, 1, 7, len(packed) / 2, len(packed) - 1} {
				data := made{base: 5, delta: 1, codec: codec, body: packed[:n:n], count: 2}.bytes(t)
				var c *CorruptError
				if _, _, err := walkAll(data, nil, 5, 1<<20); !errors.As(err, &c) || c.Offset != 5 {
					t.Errorf("%s cut to %d: %v", name, n, err)
				}
			}
		}
	}
}

func TestDamage(t *testing.T) {
	good := plainBatch(6, "b").bytes(t)
	change := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	resealed := func(f func(b []byte)) []byte { return reseal(change(f)) }
	var data = map[string][]byte{
		"bit of the value":        change(func(b []byte) { b[len(b)-2] ^= 1 }),
		"bit of the checksum":     change(func(b []byte) { b[17] ^= 1 }),
		"bit of the producer":     change(func(b []byte) { b[50] ^= 1 }),
		"negative offset":         change(func(b []byte) { b[0] = 0x80 }),
		"length too short":        change(func(b []byte) { binary.BigEndian.PutUint32(b[8:], 20) }),
		"negative length":         change(func(b []byte) { b[8] = 0xff }),
		"negative last offset":    resealed(func(b []byte) { b[23] = 0xff }),
		"offset above the end":    change(func(b []byte) { b[1] = 0x7f }),
		"offset overflows":        change(func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, 8)); b[0] = 0x7f }),
		"same offset again":       plainBatch(5, "a").bytes(t),
		"negative count":          resealed(func(b []byte) { b[57] = 0xff }),
		"huge count":              resealed(func(b []byte) { b[57] = 0x7f }),
		"one record more":         resealed(func(b []byte) { b[60]++ }),
		"one record less":         resealed(func(b []byte) { b[60]-- }),
		"unknown codec":           resealed(func(b []byte) { b[22] = 5 }),
		"offset above the last":   made{base: 6, delta: 0, records: []kmsg.Record{rec(1, "k", "v")}}.bytes(t),
		"offsets not rising":      made{base: 6, delta: 3, records: []kmsg.Record{rec(1, "k", "v"), rec(1, "k", "v")}}.bytes(t),
		"marker that is cut":      made{base: 6, attrs: attrControl, count: 1, body: []byte{2, 0}}.bytes(t),
		"marker that is packed":   made{base: 6, attrs: attrControl, count: 1, codec: codecGzip}.bytes(t),
		"key length":              made{base: 6, count: 1, body: []byte{14, 0, 0, 0, 100, 0, 0, 0}}.bytes(t),
		"key length below null":   made{base: 6, count: 1, body: []byte{14, 0, 0, 0, 3, 0, 0, 0}}.bytes(t),
		"record length":           made{base: 6, count: 1, body: []byte{100, 0, 0, 0, 0, 0, 0, 0}}.bytes(t),
		"negative record length":  made{base: 6, count: 1, body: []byte{13, 0, 0, 0, 0, 0, 0, 0}}.bytes(t),
		"number of headers":       made{base: 6, count: 1, body: []byte{14, 0, 0, 0, 0, 0, 100, 0}}.bytes(t),
		"varint without an end":   made{base: 6, count: 1, body: bytes.Repeat([]byte{0xff}, 20)}.bytes(t),
		"more within a record":    made{base: 6, count: 1, body: []byte{14, 0, 0, 0, 0, 0, 0, 0}}.bytes(t),
		"magic 2 without records": made{base: 6, magic: 2, body: []byte{}, count: 3}.bytes(t),
	}
	for name, bad := range data {
		t.Run(name, func(t *testing.T) {
			values, next, err := walkAll(append(join(t, plainBatch(5, "a")), bad...), nil, 5, 1<<20)
			var c *CorruptError
			if !errors.As(err, &c) {
				t.Fatalf("error %v, want a CorruptError", err)
			}
			if c.Offset != 6 || c.TopicPartition != testTP || Retriable(err) {
				t.Errorf("error names offset %d of %v", c.Offset, c.TopicPartition)
			}
			if next != 6 || len(values) != 1 {
				t.Errorf("next %d after %v, want 6 after the first", next, values)
			}
		})
	}
	for _, magic := range []int8{1, 3} {
		m := plainBatch(6, "b")
		m.magic = magic
		var u *UnsupportedError
		if _, _, err := walkAll(m.bytes(t), nil, 5, 1<<20); !errors.As(err, &u) || u.Offset != 6 {
			t.Errorf("magic %d: %v", magic, err)
		}
	}
}

func TestBombs(t *testing.T) {
	zeros := make([]byte, 64<<20)
	many := bytes.Repeat([]byte{12, 0, 0, 0, 1, 1, 0}, 100_000) // records without key and value: 7 bytes become a Record each
	heads := append([]byte{0, 0, 0, 1, 1}, binary.AppendVarint(nil, 50_000)...)
	heads = append(heads, bytes.Repeat([]byte{0, 1}, 50_000)...)
	heads = append(binary.AppendVarint(nil, int64(len(heads))), heads...)
	const limit = 1 << 20
	for codec := codecGzip; codec <= codecZstd; codec++ {
		packed, err := pack(codec, zeros)
		if err != nil {
			t.Fatal(err)
		}
		bombs := map[string]made{fmt.Sprint("codec ", codec): {base: 5, codec: codec, body: packed, count: 1}}
		if codec == codecZstd {
			bombs["small records"] = made{base: 5, delta: 100_000, body: many, count: 100_000}
			bombs["headers"] = made{base: 5, body: heads, count: 1}
			bombs["plain"] = made{base: 5, body: zeros[:limit+1], count: 1}
		}
		for name, m := range bombs {
			data := m.bytes(t)
			var large *TooLargeError
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := walkAll(data, nil, 5, limit)
			runtime.ReadMemStats(&after)
			// The decoders have windows and tables of their own.
			if n := after.TotalAlloc - before.TotalAlloc; n > 3*minZstd {
				t.Errorf("%s: took %d bytes", name, n)
			}
			if !errors.As(err, &large) || large.Offset != 5 || large.Limit != limit || Retriable(err) {
				t.Errorf("%s: %v, want a TooLargeError at 5", name, err)
			}
		}
	}
	// A block of snappy that lies about its size must not get the memory.
	lie := append(binary.AppendUvarint(nil, 1<<19), 0)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	u := unpacker{limit: limit}
	if _, err := u.unpack(codecSnappy, lie, nil); err == nil {
		t.Error("a block that lies about its size was unpacked")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<18 {
		t.Errorf("a lie of 512 KiB took %d bytes", n)
	}
}

func TestEncodeMurmur2(t *testing.T) {
	// From the tests of the Java client, org.apache.kafka.common.utils.UtilsTest.
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

// FuzzBatch must neither panic nor take memory without bound, and what it reads must make sense.
func FuzzBatch(f *testing.F) {
	for codec := codecNone; codec <= codecZstd; codec++ {
		m := plainBatch(5, "a", strings.Repeat("b", 100))
		m.codec = codec
		f.Add(m.bytes(f), int64(0), int64(5))
	}
	f.Add(join(f, txnBatch(5, 1, "a"), marker(6, 1, abort), made{base: 7, delta: 100}), int64(1), int64(5))
	f.Fuzz(func(t *testing.T, data []byte, producer, position int64) {
		// Most inputs would end at the checksum; make the first batch whole.
		if len(data) > batchHead {
			binary.BigEndian.PutUint32(data[8:], uint32(len(data)-batchPrefix))
			reseal(data)
		}
		const limit = 1 << 16
		w := &walker{tp: testTP, unpack: unpacker{limit: limit}}
		defer w.unpack.close()
		w.begin(data, []abortedTxn{{producer, 0}}, -1)
		var recs []Record
		for len(w.data) > 0 {
			before := len(w.data)
			out, s, err := w.batch(recs, position)
			if err != nil {
				return
			}
			if s.next < position || s.size > limit || len(w.data) >= before {
				t.Fatalf("position %d to %d, %d bytes, %d left of %d", position, s.next, s.size, len(w.data), before)
			}
			for _, r := range out[len(recs):] {
				if r.Offset < position || r.Offset >= s.next {
					t.Fatalf("record %d outside %d to %d", r.Offset, position, s.next)
				}
			}
			recs, position = out, s.next
		}
	})
}
