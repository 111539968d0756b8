package csvio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// header is the header line, to recognise it if it is repeated.
type header struct {
	count  int            // of fields, without an empty one at the end
	names  map[string]int // how often each of them occurs, as cpcds.FoldHeader makes them
	begins [256]bool      // first bytes of a line of these fields without quotes
	empty  bool           // it ends in a delimiter
	doubt  bool           // the names may be data: messages give positions instead
}

// readHeader finds the delimiter, the columns and where the first row begins.
func (f *file) readHeader() error {
	if err := f.checkKind(); err != nil {
		return err
	}
	s, err := f.scanner(mark{line: 1})
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.skipBOM(); err != nil {
		return err
	}
	begin := s.at()
	f.form = f.opts.form()
	if f.form.delimiter == 0 {
		f.form.delimiter = f.form.detect(s.firstLine())
	}
	if f.form.bareReturn(s.buf[s.start:s.end]) {
		return &pipeline.FormatError{File: f.path, Line: f.headerLine(), What: "has lines that end with only a carriage return",
			Hint: "write it with LF or CRLF line ends"}
	}
	s.form = f.form
	rec, err := s.next(true)
	switch {
	case err == io.EOF:
		return &pipeline.FormatError{File: f.path, What: "is empty", Hint: "at least a header line is expected"}
	case err != nil:
		return f.inHeader(err)
	}
	if f.opts.NoHeader {
		f.data = begin
		if err := f.nameColumns(f.opts.Columns); err != nil {
			return err
		}
		f.measure(&rec)
		return nil
	}
	names := f.takeHeader(s, &rec)
	f.data = s.at()
	f.data.line += rec.lines
	if err := f.nameColumns(names); err != nil {
		return err
	}
	// A fault in the first row is reported when rows are read.
	if rec, err := s.next(true); err == nil {
		f.measure(&rec)
	} else {
		f.measure(nil)
	}
	return nil
}

// takeHeader keeps the header line and returns its names. An empty last name is not a column: it
// comes from a delimiter at the end of the line.
func (f *file) takeHeader(s *scanner, rec *record) (names []string) {
	n := len(rec.fields)
	if n > 1 && blank(s.bytes(rec, n-1)) {
		n--
		f.header.empty = true
	}
	f.header.count, f.header.names = n, map[string]int{}
	for _, c := range []byte{' ', '_', '-', '\t', 0xC2} { // these may precede a name; 0xC2 begins a no-break space
		f.header.begins[c] = true
	}
	for i := range n {
		b := append(bytes.Clone(s.bytes(rec, i)), f.form.delimiter)
		f.header.names[cpcds.FoldHeader(string(b[:len(b)-1]))]++
		for _, c := range [][]byte{b[:1], bytes.ToLower(b[:1]), bytes.ToUpper(b[:1])} {
			f.header.begins[c[0]] = true
		}
		name := strings.Clone(s.text(rec, i))
		if plain, ok := unguarded(name); ok && f.opts.ExcelGuards {
			name = plain
		}
		names = append(names, name)
	}
	return names
}

// nameColumns sets the column names. The layout rejects duplicate names if it needs one of them. A
// column without a name cannot be read.
func (f *file) nameColumns(names []string) error {
	named := false
	for i, name := range names {
		field := cpcds.Field{Name: name, Type: "string"}
		if blank([]byte(name)) {
			field.Name, field.Fault = fmt.Sprintf("column %d", i+1), cpcds.Unnamed
		}
		named = named || field.Fault == ""
		f.fields = append(f.fields, field)
	}
	if !named {
		return &pipeline.FormatError{File: f.path, Line: f.headerLine(), What: "has no names in its first line", Hint: "a header line is expected"}
	}
	f.header.doubt = cpcds.Doubtful(f.fields)
	return nil
}

// measure learns from the first row whether rows end in a delimiter. All others must do the same: a
// single row with an extra empty field may have its values in the wrong columns.
func (f *file) measure(first *record) {
	switch {
	case first != nil && first.count == len(f.fields)+1 && endsEmpty(first, f.form.delimiter):
		f.surplus = 1
	case f.header.empty && f.opts.ShortRows:
		f.surplus = 1 // the first row may be a short one, which shows nothing
	}
}

// again reports whether a record repeats the header line: the same columns in any order, or a
// line in which most of the fields are names of columns. Names are compared as layouts compare
// them. It is fast for a record that does not begin with one of the names.
func (f *file) again(s *scanner, rec *record) bool {
	h := &f.header
	fields := rec.fields
	var buffer [64]byte
	if fields == nil {
		first, _, _ := bytes.Cut(rec.raw, []byte{f.form.delimiter})
		if h.names[string(cpcds.AppendFoldedHeader(buffer[:0], first))] == 0 {
			return false
		}
		fields = f.form.fields(nil, rec.raw)
	}
	n := len(fields)
	if n == h.count+1 && endsEmpty(rec, f.form.delimiter) {
		n--
	}
	var left map[string]int
	known, telling := 0, 0 // fields that are names, and those of them that no value would equal
	for i, x := range fields[:n] {
		b := rec.raw[x.from:x.to]
		if x.escaped {
			b = s.form.unescape(bytes.Clone(b), s.isQuoted(rec, i)) // the row may still be read
		}
		name := cpcds.AppendFoldedHeader(buffer[:0], b)
		if i == 0 {
			if h.names[string(name)] == 0 {
				return false
			}
			left = maps.Clone(h.names)
		}
		if left[string(name)] == 0 {
			continue
		}
		left[string(name)]--
		known++
		if bytes.IndexByte(name, '_') >= 0 {
			telling++
		}
	}
	return known == n && n == h.count || telling >= max(2, (n+1)/2)
}

func (f *file) headerLine() int64 {
	if f.opts.NoHeader {
		return 0
	}
	return 1
}

// inHeader corrects a fault that the scanner found in the header line: it counts rows and does not
// know that this is not one.
func (f *file) inHeader(err error) error {
	var fault *pipeline.FormatError
	if errors.As(err, &fault) && !f.opts.NoHeader && fault.Row > 0 {
		fault.Row, fault.Line = 0, 1
	}
	return err
}

func blank(b []byte) bool { return len(bytes.TrimSpace(b)) == 0 }

// bareReturn reports whether the first line of b has a carriage return that no line
// feed follows, outside of quotes.
func (f *form) bareReturn(b []byte) bool {
	b = bytes.TrimLeft(b, "\n")
	for bytes.HasPrefix(b, []byte("\r\n")) {
		b = bytes.TrimLeft(b[2:], "\n")
	}
	for p := 0; p < len(b); {
		if q := f.skipBlanks(b, p); f.quoted && q < len(b) && b[q] == f.quote {
			to, _, what := f.closing(b, q+1)
			if what != complete {
				return false
			}
			p = to + 1
		}
		for p < len(b) && b[p] != f.delimiter {
			switch {
			case b[p] == '\n':
				return false
			case b[p] == '\r':
				return p+1 < len(b) && b[p+1] != '\n'
			case f.escape != 0 && b[p] == f.escape:
				p++
			}
			p++
		}
		p++
	}
	return false
}
