package csvio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"cpcds2fhir/pipeline"
)

// bufferSize is how much of a file a lane holds. A longer record makes the buffer
// grow.
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
	size   int   // bytes that it takes up, with its line end
	lines  int64 // lines that it takes up
}

// scanner takes a stream apart into records. A record is a view into its buffer
// and holds until fill.
type scanner struct {
	file *file
	form form
	in   io.ReadCloser

	buf        []byte
	start, end int
	eof        bool
	base       mark // of the record at hand; its offset is that of buf[0]

	// countOnly leaves out the fields of records without quotes.
	countOnly bool
	fields    []field
	encoded   []byte // fields decoded since the last fill
}

// errHold means that the buffer must be filled before the next record is whole.
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
	in, err := f.packed.unpack(section)
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

// at is where the buffer goes on: behind the last record.
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

// next returns the next record. Where the buffer ends within it, fill is called
// if mayFill is set; errHold is returned if not. io.EOF ends.
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
		if s.form.quoted && bytes.IndexByte(b[:end], s.form.quote) >= 0 {
			return s.quotedRecord(b)
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

func (s *scanner) quotedRecord(b []byte) (record, error) {
	var next int
	var what fate
	s.fields, next, what = s.form.quotedFields(s.fields[:0], b, s.eof)
	switch {
	case what == stray:
		return record{}, s.fault(s.column(len(s.fields)-1), "has text after a closing quote", "a quote within a quoted field must be doubled")
	case what == partial && s.eof:
		return record{}, s.fault(s.column(len(s.fields)-1), "opens a quote that is never closed", "")
	case what == partial:
		return record{}, s.tooLong(s.fields)
	}
	rec := record{raw: b[:next], fields: s.fields, count: len(s.fields)}
	rec.lines = int64(bytes.Count(rec.raw, []byte{'\n'}))
	if b[next-1] != '\n' {
		rec.lines++
	}
	return rec, s.take(&rec, next)
}

// incomplete handles a line that goes on beyond the buffer.
func (s *scanner) incomplete(b []byte) error {
	if s.form.quoted && bytes.IndexByte(b, s.form.quote) >= 0 {
		s.fields, _, _ = s.form.quotedFields(s.fields[:0], b, false)
	} else {
		s.fields = s.form.fields(s.fields[:0], b)
	}
	return s.tooLong(s.fields)
}

// tooLong returns errHold, or a fault if a field is too long already.
func (s *scanner) tooLong(fields []field) error {
	for i, x := range fields {
		if int(x.to-x.from) > s.file.opts.MaxField {
			return s.fault(s.column(i), fmt.Sprintf("has a field of more than %d bytes", s.file.opts.MaxField), "is a quote not closed?")
		}
	}
	return errHold
}

// take checks a record that is whole and goes on behind it.
func (s *scanner) take(rec *record, next int) error {
	if len(rec.raw) > s.file.opts.MaxField {
		fields := rec.fields
		if fields == nil {
			fields = s.form.fields(s.fields[:0], rec.raw)
		}
		if err := s.tooLong(fields); err != errHold {
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
	for i, x := range fields {
		text := rec.raw[x.from:x.to]
		switch {
		case bytes.IndexByte(text, 0) >= 0:
			return s.fault(s.column(i), "holds a NUL byte", "")
		case !s.file.charset.valid(text):
			return s.fault(s.column(i), "is not valid "+s.file.charset.String(), "set the encoding of the file")
		}
	}
	return s.fault("", "is not valid "+s.file.charset.String(), "set the encoding of the file")
}

// passed counts a record that the caller is done with. What is at fault in a
// record is named by the count before it.
func (s *scanner) passed(rec *record) {
	s.base.row++
	s.base.line += rec.lines
}

// text returns a field of a record as UTF-8, without a copy where that can be.
func (s *scanner) text(rec *record, i int) string {
	f := &rec.fields[i]
	b := rec.raw[f.from:f.to]
	if f.escaped {
		b = s.form.unescape(b)
		f.to, f.escaped = f.from+int32(len(b)), false
	}
	if s.file.charset.perByte() && !ascii(b) {
		at := len(s.encoded)
		s.encoded = s.file.charset.appendField(s.encoded, b)
		b = s.encoded[at:]
	}
	return view(b)
}

// column is the name of a column by its place, "" beyond the header.
func (s *scanner) column(i int) string {
	if i < 0 || i >= len(s.file.fields) {
		return ""
	}
	return s.file.fields[i].Name
}

// fault is a fault in the record that begins at the scanner's place.
func (s *scanner) fault(column, what, hint string) error {
	return &pipeline.FormatError{File: s.file.path, Row: s.base.row + 1, Line: s.base.line, Column: column, What: what, Hint: hint}
}

// checkCount checks the number of fields. One empty field too many is what a
// delimiter at the end of the line makes.
func (s *scanner) checkCount(rec *record) error {
	want := len(s.file.fields)
	switch {
	case rec.count == want:
		return nil
	case rec.count < want && s.file.opts.ShortRows:
		return nil
	case rec.count == want+1 && s.endsEmpty(rec):
		return nil
	}
	return s.fault("", fmt.Sprintf("has %d fields, the header has %d", rec.count, want), "")
}

func (s *scanner) endsEmpty(rec *record) bool {
	if rec.fields == nil {
		return rec.raw[len(rec.raw)-1] == s.form.delimiter
	}
	last := rec.fields[len(rec.fields)-1]
	return last.from == last.to
}

// readFault turns an error of reading into one of the file's form, where it is.
func (s *scanner) readFault(err error) error {
	var disk *os.PathError
	if errors.As(err, &disk) || s.file.packed == unpacked {
		return fmt.Errorf("read %s: %w", s.file.path, err)
	}
	name := packingNames[s.file.packed]
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &pipeline.FormatError{File: s.file.path, What: "is truncated: the " + name + " stream ends early", Hint: "was the copy complete?"}
	}
	return &pipeline.FormatError{File: s.file.path, What: "is not a valid " + name + " stream", Hint: "was the copy complete?"}
}

// skipBOM skips the byte order mark of UTF-8 and finds that of UTF-16.
func (s *scanner) skipBOM() error {
	if err := s.fill(); err != nil {
		return err
	}
	b := s.buf[:s.end]
	switch {
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) && s.file.charset == utf8Text:
		s.start = 3
	case s.file.charset != utf16 && (bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff"))):
		return &pipeline.FormatError{File: s.file.path, What: "is UTF-16 text", Hint: "set the encoding of the file"}
	}
	return nil
}

// firstLine returns the first line that is not blank, as far as the buffer has it.
func (s *scanner) firstLine() []byte {
	b := bytes.TrimLeft(s.buf[s.start:s.end], "\r\n")
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	return line
}
