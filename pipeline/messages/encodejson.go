package messages

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"cpcds2fhir/pipeline/messages/registry"
)

// NewJSON returns an Encoder for plain JSON, which needs no schema and takes records of any
// columns. It leaves out absent values, and the list if there are no rows.
func NewJSON() Encoder { return &jsonEncoder{} }

// NewJSONSchema returns an Encoder for JSON with a JSON Schema, for records with these columns.
func NewJSONSchema(fields, lines []string) (Encoder, error) {
	if err := checkColumns(fields, lines); err != nil {
		return nil, err
	}
	schema := registry.Schema{Type: registry.JSON, Text: jsonSchema(fields, lines)}
	return &jsonEncoder{fields: nonNil(fields), lines: slices.Clone(lines), schema: schema}, nil
}

// nonNil returns a copy that is not nil.
func nonNil(names []string) []string { return append([]string{}, names...) }

func jsonSchema(fields, lines []string) string {
	var b strings.Builder
	properties := func(names []string) {
		b.WriteString(`"type":"object","properties":{`)
		for i, n := range names {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(appendQuoted(nil, n))
			b.WriteString(`:{"type":"string"}`)
		}
	}
	b.WriteString(`{"$schema":"http://json-schema.org/draft-07/schema#",`)
	properties(fields)
	if len(lines) > 0 {
		if len(fields) > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `%q:{"type":"array","items":{`, linesField)
		properties(lines)
		b.WriteString("}}}")
	}
	b.WriteString("}}")
	return b.String()
}

type jsonEncoder struct {
	fields, lines []string // nil if any
	schema        registry.Schema
	last          atomic.Pointer[Record] // the columns that were checked last
}

func (e *jsonEncoder) Schema() registry.Schema { return e.schema }

func (e *jsonEncoder) Append(dst []byte, r *Record) ([]byte, error) {
	if e.fields == nil {
		if err := e.check(r); err != nil {
			return dst, err
		}
	}
	if err := r.check(e.fields, e.lines); err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	dst, some := appendMembers(dst, r.Fields, r.Values)
	if len(r.Rows) > 0 {
		if some {
			dst = append(dst, ',')
		}
		dst = append(dst, `"`+linesField+`":[`...)
		for i, row := range r.Rows {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '{')
			dst, _ = appendMembers(dst, r.Lines, row)
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}

// check checks the columns of a record. Most records have the columns of the one before.
func (e *jsonEncoder) check(r *Record) error {
	last := e.last.Load()
	if last != nil && slices.Equal(last.Fields, r.Fields) && slices.Equal(last.Lines, r.Lines) {
		return nil
	}
	if err := checkColumns(r.Fields, r.Lines); err != nil {
		return err
	}
	e.last.Store(&Record{Fields: slices.Clone(r.Fields), Lines: slices.Clone(r.Lines)})
	return nil
}

// appendMembers appends the values that are there.
func appendMembers(dst []byte, names, values []string) (_ []byte, some bool) {
	for i, v := range values {
		if v == "" {
			continue
		}
		if some {
			dst = append(dst, ',')
		}
		some = true
		dst = appendQuoted(dst, names[i])
		dst = append(dst, ':')
		dst = appendQuoted(dst, v)
	}
	return dst, some
}

// appendQuoted appends a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		if c >= ' ' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"')
}
