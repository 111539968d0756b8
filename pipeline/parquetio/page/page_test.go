package page

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/format"
)

// TestLevels decodes valid levels, and levels whose runs contradict the claimed count or range.
func TestLevels(t *testing.T) {
	run := func(count int, value byte) []byte { return append(binary.AppendUvarint(nil, uint64(count)<<1), value) }
	packed := func(bytes ...byte) []byte {
		return append(binary.AppendUvarint(nil, uint64(len(bytes))<<1|1), bytes...)
	}
	for _, c := range []struct {
		name    string
		src     []byte
		highest byte
		n       int
		want    []byte // nil: corrupt
	}{
		{"a run", run(3, 1), 1, 3, []byte{1, 1, 1}},
		{"packed, padded", packed(0b101), 1, 3, []byte{1, 0, 1}},
		{"a run, then packed", append(run(2, 1), packed(0b10)...), 1, 4, []byte{1, 1, 0, 1}},
		{"nothing for nothing", nil, 1, 0, []byte{}},
		{"too few", run(2, 1), 1, 3, nil},
		{"too many", run(4, 1), 1, 3, nil},
		{"a run behind the last", append(run(3, 1), run(1, 0)...), 1, 3, nil},
		{"above the highest", run(3, 3), 2, 3, nil},
		{"packed above the highest", packed(0b11, 0), 2, 3, nil},
		{"cut", packed(1, 2, 3)[:2], 1, 20, nil},
		{"a run of a billion", run(1<<30, 1), 1, 3, nil},
		{"no length", []byte{0x80}, 1, 3, nil},
	} {
		got, err := Levels(nil, c.src, c.highest, c.n)
		if (err != nil) != (c.want == nil) || err == nil && !bytes.Equal(got, c.want) {
			t.Errorf("%s: got %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	// The oldest writers packed levels starting with the most significant bit, without a length
	// prefix.
	got, rest, err := LevelsV1(nil, []byte{0b1011_0000, 7}, format.BitPacked, 1, 4)
	if err != nil || !bytes.Equal(got, []byte{1, 0, 1, 1}) || !bytes.Equal(rest, []byte{7}) {
		t.Errorf("bit-packed levels: got %v, %v, %v", got, rest, err)
	}
}

// TestValueSizes decodes pages with more or fewer values than claimed.
func TestValueSizes(t *testing.T) {
	for _, kind := range []parquet.Kind{parquet.Boolean, parquet.Int32, parquet.Int64, parquet.Float, parquet.Double, parquet.FixedLenByteArray, parquet.ByteArray} {
		d := &Decoder{Kind: kind, Size: 4}
		src := map[parquet.Kind][]byte{parquet.Boolean: {5}, parquet.ByteArray: []byte("\x01\x00\x00\x00a\x00\x00\x00\x00\x02\x00\x00\x00bc")}[kind]
		if src == nil {
			src = make([]byte, 3*d.width())
		}
		if _, err := d.Values(src, format.Plain, 3); err != nil {
			t.Errorf("%s: three values: %v", kind, err)
		}
		if _, err := d.Values(src[:len(src)-1], format.Plain, 3); err == nil {
			t.Errorf("%s: a missing byte was not detected", kind)
		}
		if _, err := d.Values(slices.Concat(src, []byte{0}), format.Plain, 3); err == nil {
			t.Errorf("%s: an extra byte was not detected", kind)
		}
	}
	// fastparquet writes extra bytes after the values.
	for kind, n := range map[parquet.Kind]int{parquet.Int96: 36, parquet.Int32: 12, parquet.Boolean: 1} {
		d := &Decoder{Kind: kind, Spare: true}
		if _, err := d.Values(make([]byte, n+8), format.Plain, 3); err != nil {
			t.Errorf("%s with spare bytes: %v", kind, err)
		}
		if _, err := d.Values(make([]byte, n-1), format.Plain, 3); err == nil {
			t.Errorf("%s: a missing byte was not detected", kind)
		}
	}
}

// TestPrefixedTexts rejects a small page that expands to a large text, and decodes what the
// library encodes.
func TestPrefixedTexts(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	values := []string{"", "a", "ab", "b", long, long, long, "bc"}
	for range 300 {
		values = append(values, long)
	}
	var text []byte
	offsets := []uint32{0}
	for _, v := range values {
		text = append(text, v...)
		offsets = append(offsets, uint32(len(text)))
	}
	page, err := new(delta.ByteArrayEncoding).EncodeByteArray(nil, text, offsets)
	if err != nil {
		t.Fatal(err)
	}
	d := &Decoder{Kind: parquet.ByteArray}
	v, err := d.Values(page, format.DeltaByteArray, len(values))
	if err != nil {
		t.Fatal(err)
	}
	if got, at := v.ByteArray(); !bytes.Equal(got, text) || !slices.Equal(at, offsets) {
		t.Error("the page has different text")
	}
	d.Limit = int64(len(text)) - 1
	var size *SizeError
	if _, err := d.Values(page, format.DeltaByteArray, len(values)); !errors.As(err, &size) || size.Size != int64(len(text)) {
		t.Errorf("got %v of a page of %d bytes with %d bytes of text", err, len(page), len(text))
	}
	for cut := range min(len(page), 200) {
		if _, err := d.Values(page[:cut], format.DeltaByteArray, len(values)); err == nil {
			t.Fatalf("the first %d bytes of a page were accepted as a page", cut)
		}
	}
}
