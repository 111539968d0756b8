package synth

import (
	"bufio"
	"io"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// csvFile writes a table as comma-separated values with a header line, quoting
// only what must be quoted.
type csvFile struct {
	out io.WriteCloser
	buf *bufio.Writer
}

func newCSVFile(out io.WriteCloser, elements []cpcds.Element) *csvFile {
	f := &csvFile{out: out, buf: bufio.NewWriterSize(out, 1<<18)}
	for c, e := range elements {
		if c > 0 {
			f.buf.WriteByte(',')
		}
		f.buf.WriteString(e.Column())
	}
	f.buf.WriteByte('\n')
	return f
}

func (f *csvFile) write(s *columnBuffer) error {
	for row := range s.rows() {
		for c := range s.cells {
			if c > 0 {
				f.buf.WriteByte(',')
			}
			f.field(s.cells[c][row])
		}
		// bufio.Writer keeps its first error, so checking once per row is enough.
		if err := f.buf.WriteByte('\n'); err != nil {
			return err
		}
	}
	return nil
}

func (f *csvFile) field(v string) {
	if !strings.ContainsAny(v, ",\"\r\n") {
		f.buf.WriteString(v)
		return
	}
	f.buf.WriteByte('"')
	for {
		before, after, more := strings.Cut(v, `"`)
		f.buf.WriteString(before)
		if !more {
			break
		}
		f.buf.WriteString(`""`)
		v = after
	}
	f.buf.WriteByte('"')
}

func (f *csvFile) close() error {
	err := f.buf.Flush()
	if e := f.out.Close(); err == nil {
		err = e
	}
	return err
}
