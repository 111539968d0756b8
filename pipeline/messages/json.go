package messages

import (
	"context"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON is the format of messages that are a JSON object as RFC 8259 defines it, without a frame. A
// name may not occur twice in an object. Numbers keep their text.
func JSON() Format { return jsonFormat{} }

type jsonFormat struct{}

func (jsonFormat) decode(_ context.Context, value []byte, s *sink) error {
	return decodeJSON(value, 0, s)
}

// maxNameBytes is the maximum length of a field's name.
const maxNameBytes = 1024

// scanner reads a JSON message in one pass.
type scanner struct {
	b       []byte
	i       int
	s       *sink
	t       *jsonTree
	objects *uint64 // number of objects read, over all messages
	nodes   int     // that the tree may have after the message
}

// decodeJSON reads the JSON text that begins at byte from.
func decodeJSON(b []byte, from int, s *sink) error {
	if s.json.root == nil {
		s.json.reset()
	}
	s.use(&s.json.tree)
	p := scanner{b: b, i: from, s: s, t: &s.json, objects: &s.objects, nodes: s.json.nodes + 4*s.limits.Fields}
	if err := p.message(); err != nil {
		return err
	}
	return nil
}

func (p *scanner) message() *Error {
	switch c := p.next(); {
	case p.i == len(p.b):
		return broken(RuleTruncated, p.i)
	case c == '{':
	case c == '[' || c == '"' || c == '-' || '0' <= c && c <= '9' || c == 't' || c == 'f' || c == 'n':
		return broken(RuleNotAnObject, p.i)
	default:
		return p.syntax()
	}
	p.i++
	if err := p.object(p.t.root, 1); err != nil {
		return err
	}
	if p.next(); p.i < len(p.b) {
		return broken(RuleTrailing, p.i)
	}
	return nil
}

// next moves to the next byte that is not white space and returns it, 0 at the end.
func (p *scanner) next() byte {
	for p.i < len(p.b) {
		switch c := p.b[p.i]; c {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return c
		}
	}
	return 0
}

// syntax is the error for a byte that does not belong here.
func (p *scanner) syntax() *Error {
	if p.i >= len(p.b) {
		return broken(RuleTruncated, len(p.b))
	}
	return broken(RuleNotJSON, p.i)
}

// object reads an object after its opening brace.
func (p *scanner) object(o *jsonObject, depth int) *Error {
	if depth > p.s.limits.Depth {
		return broken(RuleTooDeep, p.i)
	}
	*p.objects++
	number := *p.objects
	if p.next() == '}' {
		p.i++
		return nil
	}
	guess := &o.first
	for {
		if p.next() != '"' {
			return p.syntax()
		}
		p.i++
		at := p.i
		f := *guess
		if f == nil || !p.follows(f) {
			key, err := p.text()
			if err != nil {
				return err
			}
			if len(key) > maxNameBytes {
				return broken(RuleNameTooLong, at)
			}
			f = p.t.field(o, key)
			if p.t.nodes > p.nodes {
				return broken(RuleTooManyFields, at)
			}
			*guess = f
		}
		if f.object == number {
			return brokenField(RuleDuplicateField, f.path, at)
		}
		f.object, guess = number, &f.next
		if p.next() != ':' {
			return p.syntax()
		}
		p.i++
		if err := p.value(o, f, depth); err != nil {
			if err.Field == "" {
				err.Field = f.path
			}
			return err
		}
		switch p.next() {
		case ',':
			p.i++
		case '}':
			p.i++
			return nil
		default:
			return p.syntax()
		}
	}
}

// follows passes the name of f and its closing quote if that is what follows.
func (p *scanner) follows(f *jsonField) bool {
	n := len(f.name)
	if !f.simple || len(p.b)-p.i <= n || p.b[p.i+n] != '"' || string(p.b[p.i:p.i+n]) != f.name {
		return false
	}
	p.i += n + 1
	return true
}

// value reads the value of a field.
func (p *scanner) value(o *jsonObject, f *jsonField, depth int) *Error {
	switch p.next() {
	case '{':
		p.i++
		return p.object(p.t.fieldsOf(o, f), depth+1)
	case '[':
		if o.list >= 0 {
			if err := p.touch(p.t.nestedOf(o, f)); err != nil {
				return err
			}
			return p.skip(depth)
		}
		p.i++
		return p.list(p.t.listOf(f), depth+1)
	}
	text, null, err := p.scalar()
	if err != nil {
		return err
	}
	if null && !p.s.nulls {
		return nil
	}
	leaf := p.t.textOf(o, f)
	if err := p.touch(leaf); err != nil {
		return err
	}
	p.s.put(leaf, text)
	return nil
}

func (p *scanner) touch(leaf int32) *Error {
	p.s.grow()
	if !p.s.touch(leaf) {
		return broken(RuleTooManyFields, p.i)
	}
	return nil
}

// list reads a list after its opening bracket.
func (p *scanner) list(l *jsonList, depth int) *Error {
	if depth > p.s.limits.Depth {
		return broken(RuleTooDeep, p.i)
	}
	if p.next() == ']' {
		p.i++
		return nil
	}
	p.s.grow()
	for {
		if !p.s.element(l.list) {
			return broken(RuleTooManyRows, p.i)
		}
		if err := p.element(l, depth); err != nil {
			return err
		}
		switch p.next() {
		case ',':
			p.i++
		case ']':
			p.i++
			return nil
		default:
			return p.syntax()
		}
	}
}

// element reads an element of a list.
func (p *scanner) element(l *jsonList, depth int) *Error {
	switch p.next() {
	case '{':
		p.i++
		return p.object(l.fields, depth+1)
	case '[':
		if err := p.touch(p.t.nestedIn(l)); err != nil {
			return err
		}
		return p.skip(depth)
	}
	text, null, err := p.scalar()
	if err != nil || null {
		return err
	}
	leaf := p.t.elementOf(l)
	if err := p.touch(leaf); err != nil {
		return err
	}
	p.s.put(leaf, text)
	return nil
}

// scalar reads a string, a number or a literal.
func (p *scanner) scalar() (text string, null bool, err *Error) {
	if p.i >= len(p.b) {
		return "", false, p.syntax()
	}
	switch c := p.b[p.i]; {
	case c == '"':
		p.i++
		from := p.i
		text, err = p.text()
		if len(text) > p.s.limits.Text {
			return "", false, broken(RuleTextTooLong, from)
		}
		return text, false, err
	case c == '-' || '0' <= c && c <= '9':
		text, err = p.number()
		return text, false, err
	case c == 't':
		return "true", false, p.literal("true")
	case c == 'f':
		return "false", false, p.literal("false")
	case c == 'n':
		return "", true, p.literal("null")
	}
	return "", false, p.syntax()
}

func (p *scanner) literal(want string) *Error {
	for i := range len(want) {
		if p.i >= len(p.b) || p.b[p.i] != want[i] {
			return p.syntax()
		}
		p.i++
	}
	return nil
}

func (p *scanner) number() (string, *Error) {
	from := p.i
	if p.b[p.i] == '-' {
		p.i++
	}
	if p.i < len(p.b) && p.b[p.i] == '0' {
		p.i++
	} else if !p.digits() {
		return "", p.syntax()
	}
	if p.i < len(p.b) && p.b[p.i] == '.' {
		if p.i++; !p.digits() {
			return "", p.syntax()
		}
	}
	if p.i < len(p.b) && p.b[p.i]|0x20 == 'e' {
		p.i++
		if p.i < len(p.b) && (p.b[p.i] == '+' || p.b[p.i] == '-') {
			p.i++
		}
		if !p.digits() {
			return "", p.syntax()
		}
	}
	if p.i-from > p.s.limits.Text {
		return "", broken(RuleTextTooLong, from)
	}
	return view(p.b[from:p.i]), nil
}

// digits passes digits and reports whether there was one.
func (p *scanner) digits() bool {
	from := p.i
	for p.i < len(p.b) && '0' <= p.b[p.i] && p.b[p.i] <= '9' {
		p.i++
	}
	return p.i > from
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special returns a word whose lowest set bit marks the first of eight bytes that ends a plain
// ASCII string: a quote, a backslash, a control character or a byte above 0x7f. Later marks may be
// wrong, because a borrow of the subtraction can set them.
func special(w uint64) uint64 {
	quote := w ^ ones*'"'
	slash := w ^ ones*'\\'
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w | w) & highs
}

// text reads a string after its opening quote. The result is a view of the message, or text in the
// arena if it had escapes.
func (p *scanner) text() (string, *Error) {
	from, ascii := p.i, true
	for {
		if p.i+8 <= len(p.b) {
			m := special(binary.LittleEndian.Uint64(p.b[p.i:]))
			if m == 0 {
				p.i += 8
				continue
			}
			p.i += bits.TrailingZeros64(m) / 8
		}
		if p.i >= len(p.b) {
			return "", broken(RuleTruncated, len(p.b))
		}
		switch c := p.b[p.i]; {
		case c == '"':
			raw := p.b[from:p.i]
			p.i++
			if !ascii && !utf8.Valid(raw) {
				return "", broken(RuleNotUTF8, from)
			}
			return view(raw), nil
		case c == '\\':
			if !ascii && !utf8.Valid(p.b[from:p.i]) {
				return "", broken(RuleNotUTF8, from)
			}
			return p.escaped(from)
		case c < ' ':
			return "", p.syntax()
		default:
			ascii = ascii && c < utf8.RuneSelf
			p.i++
		}
	}
}

// escaped reads the rest of a string from its first backslash.
func (p *scanner) escaped(from int) (string, *Error) {
	text := append(p.s.text.room(2*(p.i-from)+64), p.b[from:p.i]...)
	for p.i < len(p.b) {
		switch c := p.b[p.i]; {
		case c == '"':
			p.i++
			if !utf8.Valid(text) {
				return "", broken(RuleNotUTF8, from)
			}
			return p.s.text.keep(text), nil
		case c < ' ':
			return "", p.syntax()
		case c == '\\':
			p.i++
			var err *Error
			if text, err = p.escape(text); err != nil {
				return "", err
			}
		default:
			text = append(text, c)
			p.i++
		}
	}
	return "", broken(RuleTruncated, len(p.b))
}

// escape reads an escape after its backslash.
func (p *scanner) escape(text []byte) ([]byte, *Error) {
	if p.i >= len(p.b) {
		return nil, p.syntax()
	}
	switch c := p.b[p.i]; c {
	case '"', '\\', '/':
		text = append(text, c)
	case 'b':
		text = append(text, '\b')
	case 'f':
		text = append(text, '\f')
	case 'n':
		text = append(text, '\n')
	case 'r':
		text = append(text, '\r')
	case 't':
		text = append(text, '\t')
	case 'u':
		return p.unicode(text)
	default:
		return nil, p.syntax()
	}
	p.i++
	return text, nil
}

// unicode reads an escape after "\". Half of a surrogate pair is not a character.
func (p *scanner) unicode(text []byte) ([]byte, *Error) {
	from := p.i - 1
	r, err := p.hex()
	if err != nil {
		return nil, err
	}
	if utf16.IsSurrogate(r) {
		if p.i+1 >= len(p.b) || p.b[p.i] != '\\' || p.b[p.i+1] != 'u' {
			return nil, broken(RuleNotUTF8, from)
		}
		p.i++
		low, err := p.hex()
		if err != nil {
			return nil, err
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return nil, broken(RuleNotUTF8, from)
		}
	}
	return utf8.AppendRune(text, r), nil
}

// hex reads "u" and four hexadecimal digits.
func (p *scanner) hex() (r rune, err *Error) {
	p.i++
	for range 4 {
		if p.i >= len(p.b) {
			return 0, p.syntax()
		}
		switch c := p.b[p.i]; {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, p.syntax()
		}
		p.i++
	}
	return r, nil
}
