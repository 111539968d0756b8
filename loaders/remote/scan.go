package remote

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// errJSON says that a resource is no JSON. It holds nothing of it.
var errJSON = errors.New("a resource is not JSON")

// maxDepth is how deep JSON may be nested: no resource comes near.
const maxDepth = 200

// scanner goes through JSON once, without a tree.
type scanner struct {
	text []byte
	at   int
	buf  []byte // of a string with escapes
}

// next skips white space and returns the byte that follows, 0 at the end.
func (s *scanner) next() byte {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// take skips white space and one byte, which must be c.
func (s *scanner) take(c byte) error {
	if s.next() != c {
		return errJSON
	}
	s.at++
	return nil
}

// raw returns the string that begins here as it is written, without its quotes.
func (s *scanner) raw() (text []byte, escaped bool, err error) {
	if err := s.take('"'); err != nil {
		return nil, false, err
	}
	for i := s.at; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			text, s.at = s.text[s.at:i], i+1
			return text, escaped, nil
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			return nil, false, errJSON
		}
	}
	return nil, false, errJSON
}

// string returns the string that begins here, unescaped. It is valid until the next call.
func (s *scanner) string() ([]byte, error) {
	text, escaped, err := s.raw()
	if err != nil || !escaped {
		return text, err
	}
	s.buf, err = unescape(s.buf[:0], text)
	return s.buf, err
}

// unescape appends the text of a JSON string.
func unescape(out, text []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return append(out, text...), nil
		}
		out = append(out, text[:i]...)
		if text = text[i+1:]; len(text) == 0 {
			return nil, errJSON
		}
		c := text[0]
		text = text[1:]
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, rest, err := unicodeEscape(text)
			if err != nil {
				return nil, err
			}
			out, text = utf8.AppendRune(out, r), rest
		default:
			return nil, errJSON
		}
	}
}

// unicodeEscape reads what follows \u, and the second half of a surrogate pair. Half a pair is U+FFFD.
func unicodeEscape(text []byte) (r rune, rest []byte, err error) {
	high, ok := hex4(text)
	if !ok {
		return 0, nil, errJSON
	}
	text = text[4:]
	if !utf16.IsSurrogate(high) {
		return high, text, nil
	}
	if len(text) >= 6 && text[0] == '\\' && text[1] == 'u' {
		if low, ok := hex4(text[2:]); ok {
			if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
				return r, text[6:], nil
			}
		}
	}
	return utf8.RuneError, text, nil
}

func hex4(text []byte) (r rune, ok bool) {
	if len(text) < 4 {
		return 0, false
	}
	for _, c := range text[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// scalar returns a number, true, false or null as it is written.
func (s *scanner) scalar() ([]byte, error) {
	s.next()
	from := s.at
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c == '-', c == '+', c == '.', c == 'E':
			s.at++
			continue
		}
		break
	}
	text := s.text[from:s.at]
	switch {
	case len(text) == 0:
		return nil, errJSON
	case text[0] == '-' || text[0] >= '0' && text[0] <= '9':
		return text, nil
	}
	switch string(text) {
	case "true", "false", "null":
		return text, nil
	}
	return nil, errJSON
}

// open goes into a list or an object; more is false if nothing is in it.
func (s *scanner) open(open, end byte) (more bool, err error) {
	if err := s.take(open); err != nil {
		return false, err
	}
	if s.next() == end {
		s.at++
		return false, nil
	}
	return true, nil
}

// more goes past what follows an item; more is false after the last one.
func (s *scanner) more(end byte) (more bool, err error) {
	switch s.next() {
	case ',':
		s.at++
		return true, nil
	case end:
		s.at++
		return false, nil
	}
	return false, errJSON
}

// list goes through what is between two brackets, separated by commas; item must read one.
func (s *scanner) list(open, end byte, item func() error) error {
	more, err := s.open(open, end)
	for ; more && err == nil; more, err = s.more(end) {
		if err := item(); err != nil {
			return err
		}
	}
	return err
}

// skip goes past a value.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return errJSON
	}
	switch s.next() {
	case '"':
		_, _, err := s.raw()
		return err
	case '{':
		return s.list('{', '}', func() error {
			if _, _, err := s.raw(); err != nil {
				return err
			}
			if err := s.take(':'); err != nil {
				return err
			}
			return s.skip(depth + 1)
		})
	case '[':
		return s.list('[', ']', func() error { return s.skip(depth + 1) })
	}
	_, err := s.scalar()
	return err
}

// value goes past a value and returns it as it is written.
func (s *scanner) value() ([]byte, error) {
	s.next()
	from := s.at
	err := s.skip(0)
	return s.text[from:min(s.at, len(s.text))], err
}

// end fails unless nothing follows.
func (s *scanner) end() error {
	if s.next() != 0 || s.at < len(s.text) {
		return errJSON
	}
	return nil
}

// eachMember calls f for the members of an object, in order, with names as they are written and values.
func eachMember(object []byte, f func(name string, value []byte) error) error {
	s := scanner{text: object}
	err := s.list('{', '}', func() error {
		name, _, err := s.raw()
		if err == nil {
			err = s.take(':')
		}
		if err != nil {
			return err
		}
		value, err := s.value()
		if err != nil {
			return err
		}
		return f(string(name), value)
	})
	if err != nil {
		return err
	}
	return s.end()
}
