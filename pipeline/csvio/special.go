package csvio

import "bytes"

// fate is the result of trying to find a field or a record.
type fate uint8

const (
	complete     fate = iota
	more              // a delimiter follows: the record has another field
	partial           // the record continues beyond the available bytes
	stray             // text follows a closing quote
	blanksBefore      // blanks before an opening quote
	blanksBehind      // blanks after a closing quote
	ambiguous         // a backslash before a quote may or may not escape it
	loneEscape        // the file ends in an escape character
)

const backslash = '\\'

// special reports whether a line has characters that only specialFields understands.
func (f *form) special(line []byte) bool {
	return f.quoted && bytes.IndexByte(line, f.quote) >= 0 || f.escape != 0 && bytes.IndexByte(line, f.escape) >= 0
}

// specialFields appends the fields of the record that begins b, which has quotes or escapes. It
// returns where the next record begins. If b does not have all of the record, the last field is the
// unfinished one; after a fault it is the one at fault.
func (f *form) specialFields(dst []field, b []byte, eof bool) (fields []field, next int, what fate) {
	for p := 0; ; {
		var x field
		x, p, what = f.field(b, p, eof)
		dst = append(dst, x)
		if what != more {
			return dst, p, what
		}
	}
}

// field finds the field that begins at p and where the next one, or the next record,
// begins.
func (f *form) field(b []byte, p int, eof bool) (x field, next int, what fate) {
	if f.quoted {
		q := f.skipBlanks(b, p)
		switch {
		case q == len(b) || b[q] != f.quote:
		case q > p && !f.trim:
			return field{from: int32(p), to: int32(q)}, 0, blanksBefore
		default:
			return f.quotedField(b, q+1, eof)
		}
	}
	return f.plainField(b, p, eof)
}

func (f *form) quotedField(b []byte, from int, eof bool) (x field, next int, what fate) {
	to, escaped, what := f.closing(b, from)
	x = field{from: int32(from), to: int32(to), escaped: escaped}
	if what != complete {
		return x, 0, what
	}
	p := f.skipBlanks(b, to+1)
	blanks := p > to+1 && !f.trim
	switch {
	case p == len(b) && !eof, p+1 == len(b) && b[p] == '\r' && !eof:
		return x, 0, partial
	case p < len(b) && b[p] == f.delimiter:
		next, what = p+1, more
	default:
		var end int
		if end, next = endOfLine(b[p:], eof); next < 0 || end > 0 {
			return x, 0, stray
		}
		next += p
	}
	if blanks {
		return x, 0, blanksBehind
	}
	return x, next, what
}

// closing finds the quote that closes a field.
func (f *form) closing(b []byte, from int) (at int, escaped bool, what fate) {
	if f.escape != 0 {
		return f.closingEscaped(b, from)
	}
	for at = from; ; at += 2 {
		i := bytes.IndexByte(b[at:], f.quote)
		if i < 0 {
			return len(b), escaped, partial
		}
		at += i
		if at > from && b[at-1] == backslash && !f.doubled {
			return at, escaped, ambiguous
		}
		if at+1 == len(b) || b[at+1] != f.quote {
			return at, escaped, complete
		}
		escaped = true
	}
}

func (f *form) closingEscaped(b []byte, from int) (at int, escaped bool, what fate) {
	for at = from; at < len(b); at++ {
		switch {
		case b[at] == f.escape, b[at] == f.quote && at+1 < len(b) && b[at+1] == f.quote:
			escaped = true
			at++
		case b[at] == f.quote:
			return at, escaped, complete
		}
	}
	return len(b), escaped, partial
}

func (f *form) plainField(b []byte, from int, eof bool) (x field, next int, what fate) {
	p, text := from, from // text begins after the last escaped character
	escaped := false
	for p < len(b) && b[p] != f.delimiter && b[p] != '\n' {
		if f.escape == 0 || b[p] != f.escape {
			p++
			continue
		}
		// An escaped CRLF counts as one.
		n := 2
		if p+2 < len(b) && b[p+1] == '\r' && b[p+2] == '\n' {
			n = 3
		}
		if p+n > len(b) || p+2 == len(b) && b[p+1] == '\r' && !eof {
			what = partial
			if eof {
				what = loneEscape
			}
			return field{from: int32(from), to: int32(len(b))}, 0, what
		}
		p, escaped = p+n, true
		text = p
	}
	x = field{from: int32(from), to: int32(p), escaped: escaped}
	switch {
	case p == len(b) && !eof:
		return x, 0, partial
	case p < len(b) && b[p] == f.delimiter:
		next, what = p+1, more
	default:
		next = min(p+1, len(b))
		if p > text && b[p-1] == '\r' {
			x.to--
		}
	}
	if escaped && bytes.Equal(b[x.from:x.to], []byte{f.escape, 'N'}) {
		x.to, x.escaped, x.null = x.from, false, true
	}
	return x, next, what
}

// skipBlanks returns the position of the next non-blank character. A tab that separates fields is
// not a blank.
func (f *form) skipBlanks(b []byte, p int) int {
	for p < len(b) && (b[p] == ' ' || b[p] == '\t') && b[p] != f.delimiter {
		p++
	}
	return p
}

// unescape turns b, a field with or without quotes, into its text, in place, and returns the
// shorter text.
func (f *form) unescape(b []byte, quoted bool) []byte {
	w := 0
	for r := 0; r < len(b); r++ {
		if r+1 < len(b) && (f.escape != 0 && b[r] == f.escape || quoted && b[r] == f.quote) {
			r++
		}
		b[w] = b[r]
		w++
	}
	return b[:w]
}

// undecided reports whether the options leave open what a backslash is.
func (f *form) undecided() bool { return f.escape == 0 && !f.doubled }

// escapeLike reports whether b has a backslash that may be an escape: one before another, or before
// a letter that stands for a tab or a line end. Writers that escape produce such pairs for a
// backslash, tab or line end.
func escapeLike(b []byte) bool {
	for {
		i := bytes.IndexByte(b, backslash)
		if i < 0 || i+1 == len(b) {
			return false
		}
		switch b[i+1] {
		case backslash, 't', 'n', 'r':
			return true
		}
		b = b[i+1:]
	}
}

// escapesWord reports whether an escape precedes a letter or digit, which programs read
// differently: \n is a line feed for some and an n for others.
func (f *form) escapesWord(b []byte) bool {
	for i := 0; i+1 < len(b); i++ {
		if b[i] != f.escape {
			continue
		}
		i++
		if c := b[i] | 0x20; c >= 'a' && c <= 'z' || b[i] >= '0' && b[i] <= '9' {
			return true
		}
	}
	return false
}
