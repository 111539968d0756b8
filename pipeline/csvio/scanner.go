package csvio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"cpcds2fhir/pipeline"
)

// bufferSize is the buffer of a lane. A longer record makes it grow.
const bufferSize = 1 << 20

// mark is a place in a file where a record begins.
type mark struct {
	offset int64 // in bytes, from the beginning of the file
	row    int64 // data rows before it
	line   int64 // from 1
}

// record is one record in the buffer of a scanner.
type record struct {
	raw    []byte // without its line end
	count  int    // number of fields
	fields []field
	size   int   // its size in bytes, with its line end
	lines  int64 // number of its lines

	special bool // it has quotes or escapes
}

// scanner splits a stream into records. A record is a view into its buffer and is valid until fill.
type scanner struct {
	file *file
	form form
	in   io.ReadCloser

	buf        []byte
	start, end int
	eof        bool
	base       mark // of the current record; its offset is that of buf[0]

	// countOnly leaves out the fields of records without quotes.
	countOnly bool
	fields    []field
	encoded   []byte // fields decoded since the last fill
}

// errHold means that the buffer must be filled before the next record is complete.
var errHold = errors.New("the buffer has no further record")

// rows opens the file at its first row.
func (f *file) rows() (*scanner, error) {
	if f.hasIndex {
		return f.scanner(f.data)
	}
	s, err := f.scanner(mark{line: 1})
	if err != nil {
		return nil, err
	}
	err = s.skipBOM()
	if err == nil && !f.opts.NoHeader {
		var header record
		header, err = s.next(true)
		s.base.line += header.lines
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// scanner opens the file at a place.
func (f *file) scanner(from mark) (*scanner, error) {
	section := io.NewSectionReader(f.os, from.offset, math.MaxInt64-from.offset)
	s := &scanner{file: f, form: f.form, base: from, buf: make([]byte, bufferSize)}
	in, err := f.packed.unpack(section, f.opts.window())
	if err != nil {
		return nil, s.readFault(err)
	}
	s.in = struct {
		io.Reader
		io.Closer
	}{f.charset.stream(in), in}
	return s, nil
}

func (s *scanner) close() { s.in.Close() }

// at is where the buffer continues: after the last record.
func (s *scanner) at() mark {
	m := s.base
	m.offset += int64(s.start)
	return m
}

// fill makes room and reads on. Views into the buffer become invalid.
func (s *scanner) fill() error {
	s.encoded = s.encoded[:0]
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.base.offset += int64(s.start)
		s.start, s.end = 0, s.end-s.start
	}
	if s.end == len(s.buf) {
		if len(s.buf) > math.MaxInt32/2 {
			return s.fault("", "is longer than a gigabyte", "is a quote not closed?")
		}
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for s.end < len(s.buf) && !s.eof {
		n, err := s.in.Read(s.buf[s.end:])
		s.end += n
		if err == io.EOF {
			s.eof = true
		} else if err != nil {
			return s.readFault(err)
		}
	}
	return nil
}

// next returns the next record. If the buffer ends within it, next calls fill if mayFill is set,
// and returns errHold if not. io.EOF ends.
func (s *scanner) next(mayFill bool) (record, error) {
	for {
		rec, err := s.inBuffer()
		if err != errHold {
			return rec, err
		}
		if s.eof {
			return rec, io.EOF
		}
		if !mayFill {
			return rec, errHold
		}
		if err := s.fill(); err != nil {
			return rec, err
		}
	}
}

// inBuffer returns the next record if the buffer has all of it.
func (s *scanner) inBuffer() (record, error) {
	for {
		b := s.buf[s.start:s.end]
		end, next := endOfLine(b, s.eof)
		if next < 0 {
			return record{}, s.incomplete(b)
		}
		if end == 0 {
			if len(b) == 0 {
				return record{}, errHold
			}
			s.start += next
			s.base.line++
			continue
		}
		if s.form.special(b[:end]) {
			return s.specialRecord(b)
		}
		rec := record{raw: b[:end], lines: 1}
		if s.countOnly {
			rec.count = bytes.Count(rec.raw, []byte{s.form.delimiter}) + 1
		} else {
			s.fields = s.form.fields(s.fields[:0], rec.raw)
			rec.fields, rec.count = s.fields, len(s.fields)
		}
		return rec, s.take(&rec, next)
	}
}

func (s *scanner) specialRecord(b []byte) (record, error) {
	var next int
	var what fate
	s.fields, next, what = s.form.specialFields(s.fields[:0], b, s.eof)
	if what != complete {
		return record{}, s.broken(what, s.fields, len(b))
	}
	rec := record{raw: b[:next], fields: s.fields, count: len(s.fields), special: true}
	rec.lines = int64(bytes.Count(rec.raw, []byte{'\n'}))
	if b[next-1] != '\n' {
		rec.lines++
	}
	return rec, s.take(&rec, next)
}

// broken says what is wrong with the last field of a record, or returns errHold if the record may
// be complete once there is more of it than these size bytes.
func (s *scanner) broken(what fate, fields []field, size int) error {
	column := s.column(len(fields) - 1)
	switch what {
	case stray:
		return s.fault(column, "has text after a closing quote", "a quote in a quoted field must be doubled")
	case blanksBefore:
		return s.fault(column, "has blanks before a quote", "set trim: true under csv in the layout to skip them")
	case blanksBehind:
		return s.fault(column, "has blanks after a closing quote", "set trim: true under csv in the layout to skip them")
	case ambiguous:
		return s.fault(column, "has a backslash before a quote, which may end the field or be text",
			s.form.escapeHint("if a backslash escapes the quote"))
	case loneEscape:
		return s.fault(column, "ends with an escape character", "is the file complete?")
	}
	if s.eof {
		return s.fault(column, "opens a quote that is never closed", "")
	}
	return s.tooLong(fields, size)
}

// escapeHint says how to set in a layout what a backslash is.
func (f *form) escapeHint(escapes string) string {
	return fmt.Sprintf(`under csv in the layout, set escape: '\' %s, or escape: %s if it is text`, escapes, quoteYAML(f.quote))
}

// quoteYAML writes a quote character as a layout does.
func quoteYAML(quote byte) string {
	if quote == '\'' {
		return `"'"`
	}
	return "'" + string(rune(quote)) + "'"
}

// incomplete handles a line that continues beyond the buffer.
func (s *scanner) incomplete(b []byte) error {
	if !s.form.special(b) {
		s.fields = s.form.fields(s.fields[:0], b)
		return s.tooLong(s.fields, len(b))
	}
	var what fate
	if s.fields, _, what = s.form.specialFields(s.fields[:0], b, false); what != partial {
		return s.broken(what, s.fields, len(b))
	}
	return s.tooLong(s.fields, len(b))
}

// maxRecord is the maximum size of a record whose fields are not near their limit.
const maxRecord = 64 << 20

// recordLimit is how long a record may be. A longer one with many short fields nearly always means
// unrecognised line ends. The number of fields of a header is not known in advance.
func (s *scanner) recordLimit() int {
	most := max(maxRecord, s.file.opts.MaxField)
	if len(s.file.fields) == 0 {
		return most
	}
	const around = 3 // a delimiter and quotes
	return min(most, (len(s.file.fields)+1)*(s.file.opts.MaxField+around))
}

// tooLong returns errHold, or a fault if a field is already too long, or the record, which has size
// bytes so far.
func (s *scanner) tooLong(fields []field, size int) error {
	for i, x := range fields {
		if int(x.to-x.from) > s.file.opts.MaxField {
			return s.fault(s.column(i), fmt.Sprintf("has a field of more than %d bytes", s.file.opts.MaxField), "is a quote not closed?")
		}
	}
	if limit := s.recordLimit(); size > limit {
		what := fmt.Sprintf("has a row of more than %d bytes", limit)
		if limit >= 1<<20 {
			what = fmt.Sprintf("has a row of more than %d MB", limit>>20)
		}
		return s.fault("", what, "do lines end with only a carriage return, or is a quote not closed?")
	}
	return errHold
}

// take checks a complete record and continues after it.
func (s *scanner) take(rec *record, next int) error {
	if len(rec.raw) > s.file.opts.MaxField {
		fields := rec.fields
		if fields == nil {
			fields = s.form.fields(s.fields[:0], rec.raw)
		}
		if err := s.tooLong(fields, len(rec.raw)); err != errHold {
			return err
		}
	}
	if !s.file.charset.valid(rec.raw) {
		return s.invalid(rec)
	}
	s.start += next
	rec.size = next
	return nil
}

// invalid says which field of a record is not text.
func (s *scanner) invalid(rec *record) error {
	fields := rec.fields
	if fields == nil {
		fields = s.form.fields(nil, rec.raw)
	}
	what, hint := "is not valid "+s.file.charset.String(), "set its encoding under csv in the layout"
	if s.file.charset.wide() {
		hint = "is the file complete?"
	}
	for i, x := range fields {
		if !s.file.charset.valid(rec.raw[x.from:x.to]) {
			return s.fault(s.column(i), what, hint)
		}
	}
	return s.fault("", what, hint)
}

// passed counts a record that the caller is done with. Faults in a record are located by the count
// before it.
func (s *scanner) passed(rec *record) {
	s.base.row++
	s.base.line += rec.lines
}

// bytes returns a field of a record without escapes, in the encoding of the file.
func (s *scanner) bytes(rec *record, i int) []byte {
	f := &rec.fields[i]
	b := rec.raw[f.from:f.to]
	if f.escaped {
		b = s.form.unescape(b, s.isQuoted(rec, i))
		f.to, f.escaped = f.from+int32(len(b)), false
	}
	return b
}

// isQuoted reports whether a field is in quotes: only then is there a quote before it.
func (s *scanner) isQuoted(rec *record, i int) bool {
	from := rec.fields[i].from
	return s.form.quoted && from > 0 && rec.raw[from-1] == s.form.quote
}

// text returns a field of a record as UTF-8, without a copy if possible.
func (s *scanner) text(rec *record, i int) string {
	b := s.bytes(rec, i)
	if s.file.charset.perByte() && !ascii(b) {
		at := len(s.encoded)
		s.encoded = s.file.charset.appendField(s.encoded, b)
		b = s.encoded[at:]
	}
	return view(b)
}

// column is the name of a column by its index, "" beyond the header. If the header may be data, it
// is the position instead.
func (s *scanner) column(i int) string {
	switch {
	case i < 0 || i >= len(s.file.fields):
		return ""
	case s.file.header.doubt:
		return strconv.Itoa(i + 1)
	}
	return s.file.fields[i].Name
}

// fault is a fault in the record that begins at the scanner's place.
func (s *scanner) fault(column, what, hint string) error {
	return &pipeline.FormatError{File: s.file.path, Row: s.base.row + 1, Line: s.base.line, Column: column, What: what, Hint: hint}
}

// check rejects a record that is not a row of the file: the beginning of another file, or one whose
// fields do not match the header.
func (s *scanner) check(rec *record) error {
	if b := rec.raw[0]; b == byteOrderMark[0] && bytes.HasPrefix(rec.raw, []byte(byteOrderMark)) {
		return s.fault("", "begins with a byte order mark, which only the first line of a file has", "were two files joined?")
	} else if (rec.special || s.file.header.begins[b]) && s.file.again(s, rec) {
		return s.fault("", "repeats the header line", "were two files joined?")
	}
	return s.checkCount(rec)
}

// checkCount checks the number of fields.
func (s *scanner) checkCount(rec *record) error {
	have := len(s.file.fields)
	want := have + s.file.surplus
	switch {
	case rec.count == want && (want == have || endsEmpty(rec, s.form.delimiter)):
		return nil
	case rec.count < want && s.file.opts.ShortRows && (want == have || s.file.header.empty):
		return nil
	case rec.count < have && s.file.opts.ShortRows && endsEmpty(rec, s.form.delimiter):
		return nil
	case rec.count < want && want > have:
		return s.fault("", fmt.Sprintf("has %d fields, but the first row has %d", rec.count, want),
			"the first row has an empty field after the columns of the header: does one of them have a delimiter too many or too few?")
	case rec.count == have+1 && endsEmpty(rec, s.form.delimiter):
		return s.fault("", fmt.Sprintf("has %d fields, but the header has %d", rec.count, have),
			"it ends with a delimiter, but the first row does not: is there one too many?")
	}
	hint := ""
	if rec.count > want && !rec.special && bytes.IndexByte(rec.raw, '\r') >= 0 {
		hint = "do lines end with only a carriage return?"
	}
	return s.fault("", fmt.Sprintf("has %d fields, but the header has %d", rec.count, have), hint)
}

// endsEmpty reports whether the last field of a record is empty.
func endsEmpty(rec *record, delimiter byte) bool {
	if rec.fields == nil {
		return rec.raw[len(rec.raw)-1] == delimiter
	}
	last := rec.fields[len(rec.fields)-1]
	return last.from == last.to && !last.null
}

// byteOrderMark is that of UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

// skipBOM reads the beginning of the text, skips a UTF-8 byte order mark and rejects what is not
// text in the encoding.
func (s *scanner) skipBOM() error {
	if err := s.fill(); err != nil {
		return err
	}
	b := s.buf[:s.end]
	refuse := func(what, hint string) error {
		return &pipeline.FormatError{File: s.file.path, What: what, Hint: hint}
	}
	mark := bytes.HasPrefix(b, []byte(byteOrderMark))
	switch {
	case s.file.charset.wide():
		return nil
	case mark && s.file.charset == utf8Text:
		s.start = len(byteOrderMark)
		return nil
	case mark:
		return refuse("is UTF-8 text: it begins with a UTF-8 byte order mark", "set encoding: utf-8 under csv in the layout")
	}
	if name := kindOf(b); name != "" {
		return refuse("holds "+name+", not text", "")
	}
	if name := wideText(b); name != "" {
		return refuse("is UTF-16 text", "set encoding: "+name+" under csv in the layout")
	}
	return nil
}

// firstLine returns the first line that is not blank, as far as the buffer has it.
func (s *scanner) firstLine() []byte {
	b := bytes.TrimLeft(s.buf[s.start:s.end], "\r\n")
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	return line
}
