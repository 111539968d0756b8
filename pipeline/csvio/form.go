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
	escape    byte // escapes the next character; 0: none does
	doubled   bool // quotes are only ever doubled, so a backslash before one is text
	trim      bool // blanks next to quotes are not part of a field
}

// field is the place of a field in a record.
type field struct {
	from, to int32
	escaped  bool // it holds doubled quotes or escapes
	null     bool // it is empty because it is the \N of a writer that escapes
}

// detect returns the most frequent delimiter outside quotes in a line; the comma if there is none.
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

// endOfLine returns where the first line of b ends, without its line feed and carriage return, and
// where the next one begins; -1 if b does not have all of it. At the end of the file no line feed
// is needed.
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
		// Set the high bit of exactly the bytes that equal the delimiter, without carries between
		// bytes.
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
