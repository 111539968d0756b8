package csvio

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// form is how fields and records are told apart.
type form struct {
	delimiter byte
	quote     byte
	quoted    bool
}

// field is the place of a field in a record.
type field struct {
	from, to int32
	escaped  bool // it holds doubled quotes
}

// fate is what became of an attempt to find a record.
type fate uint8

const (
	complete fate = iota
	partial       // the record goes on beyond the bytes that are there
	stray         // text follows a closing quote
)

// detect returns the delimiter that a line has most of outside of quotes; the
// comma if it has none.
func (f *form) detect(line []byte) byte {
	const candidates = ",;|\t"
	var count [len(candidates)]int
	inQuotes := false
	for _, c := range line {
		if f.quoted && c == f.quote {
			inQuotes = !inQuotes
		} else if i := bytes.IndexByte([]byte(candidates), c); i >= 0 && !inQuotes {
			count[i]++
		}
	}
	best := 0
	for i, n := range count {
		if n > count[best] {
			best = i
		}
	}
	return candidates[best]
}

// endOfLine returns where the line that begins b ends without its line feed and
// carriage return, and where the next begins; -1 if b does not have all of it. At
// the end of the file no line feed is needed.
func endOfLine(b []byte, eof bool) (end, next int) {
	i := bytes.IndexByte(b, '\n')
	switch {
	case i >= 0:
		end, next = i, i+1
	case eof:
		end, next = len(b), len(b)
	default:
		return 0, -1
	}
	if end > 0 && b[end-1] == '\r' {
		end--
	}
	return end, next
}

// fields appends the fields of a line without quotes.
func (f *form) fields(dst []field, line []byte) []field {
	const low, high = 0x0101010101010101, 0x8080808080808080
	pattern := uint64(f.delimiter) * low
	start, i := int32(0), 0
	for ; i+8 <= len(line); i += 8 {
		// The high bit of each byte that equals the delimiter, exactly: nothing is
		// carried from byte to byte.
		x := binary.LittleEndian.Uint64(line[i:]) ^ pattern
		hits := ^((x&^high + ^uint64(high)) | x) & high
		for ; hits != 0; hits &= hits - 1 {
			at := int32(i + bits.TrailingZeros64(hits)/8)
			dst = append(dst, field{from: start, to: at})
			start = at + 1
		}
	}
	for ; i < len(line); i++ {
		if line[i] == f.delimiter {
			dst = append(dst, field{from: start, to: int32(i)})
			start = int32(i) + 1
		}
	}
	return append(dst, field{from: start, to: int32(len(line))})
}

// quotedFields appends the fields of the record that begins b, which has quotes.
// It returns where the next record begins. If b does not have all of the record,
// the last field is the one that goes on.
func (f *form) quotedFields(dst []field, b []byte, eof bool) ([]field, int, fate) {
	p := 0
	for {
		if p < len(b) && b[p] == f.quote {
			from := p + 1
			to, escaped := f.closing(b, from)
			switch {
			case to < 0:
				return append(dst, field{from: int32(from), to: int32(len(b))}), 0, partial
			case to+1 == len(b) && !eof, to+2 == len(b) && b[to+1] == '\r' && !eof:
				return append(dst, field{from: int32(from), to: int32(to)}), 0, partial
			}
			dst = append(dst, field{from: int32(from), to: int32(to), escaped: escaped})
			rest := b[to+1:]
			switch {
			case len(rest) == 0:
				return dst, len(b), complete
			case rest[0] == f.delimiter:
				p = to + 2
				continue
			}
			if end, next := endOfLine(rest, eof); next >= 0 && end == 0 {
				return dst, to + 1 + next, complete
			}
			return dst, 0, stray
		}
		from := p
		for p < len(b) && b[p] != f.delimiter && b[p] != '\n' {
			p++
		}
		if p < len(b) && b[p] == f.delimiter {
			dst = append(dst, field{from: int32(from), to: int32(p)})
			p++
			continue
		}
		end, next := endOfLine(b[from:], eof)
		if next < 0 {
			return append(dst, field{from: int32(from), to: int32(len(b))}), 0, partial
		}
		return append(dst, field{from: int32(from), to: int32(from + end)}), from + next, complete
	}
}

// closing finds the quote that closes a field; -1 if it is not there.
func (f *form) closing(b []byte, from int) (at int, escaped bool) {
	for at = from; ; at += 2 {
		i := bytes.IndexByte(b[at:], f.quote)
		if i < 0 {
			return -1, escaped
		}
		at += i
		if at+1 == len(b) || b[at+1] != f.quote {
			return at, escaped
		}
		escaped = true
	}
}

// unescape makes one quote of two, in place, and returns the shorter text.
func (f *form) unescape(b []byte) []byte {
	w := bytes.IndexByte(b, f.quote)
	for r := w; r < len(b); r++ {
		b[w] = b[r]
		w++
		if b[r] == f.quote {
			r++
		}
	}
	return b[:w]
}
