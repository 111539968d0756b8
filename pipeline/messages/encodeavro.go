package messages

import (
	"encoding/binary"
	"slices"
	"strings"

	"cpcds2fhir/pipeline/messages/registry"
)

// NewAvro returns an Encoder for Avro, for records with these columns. All fields of the schema are
// optional strings. A column whose name is not allowed in Avro has another one there, and its own
// in the property "column" of the field.
func NewAvro(fields, lines []string) (Encoder, error) {
	if err := checkColumns(fields, lines); err != nil {
		return nil, err
	}
	return &avroEncoder{nonNil(fields), slices.Clone(lines), registry.Schema{Type: registry.Avro, Text: avroSchema(fields, lines)}}, nil
}

func avroSchema(fields, lines []string) string {
	var b strings.Builder
	list := func(names []string, taken string) {
		for i, n := range sanitised(names, taken, strings.Clone) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`{"name":"` + n + `","type":["null","string"],"default":null`)
			if n != names[i] {
				b.WriteString(`,"` + columnProperty + `":`)
				b.Write(appendQuoted(nil, names[i]))
			}
			b.WriteByte('}')
		}
	}
	b.WriteString(`{"type":"record","name":"Record","namespace":"cpcds2fhir","fields":[`)
	list(fields, linesField)
	if len(lines) > 0 {
		if len(fields) > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"name":"` + linesField + `","type":{"type":"array","items":{"type":"record","name":"Line","fields":[`)
		list(lines, "")
		b.WriteString(`]}},"default":[]}`)
	}
	b.WriteString("]}")
	return b.String()
}

type avroEncoder struct {
	fields, lines []string
	schema        registry.Schema
}

func (e *avroEncoder) Schema() registry.Schema { return e.schema }

func (e *avroEncoder) Append(dst []byte, r *Record) ([]byte, error) {
	if err := r.check(e.fields, e.lines); err != nil {
		return dst, err
	}
	dst = appendAvroValues(dst, r.Values)
	if len(e.lines) == 0 {
		return dst, nil
	}
	if len(r.Rows) > 0 {
		dst = binary.AppendVarint(dst, int64(len(r.Rows)))
		for _, row := range r.Rows {
			dst = appendAvroValues(dst, row)
		}
	}
	return append(dst, 0), nil
}

// appendAvroValues appends values of unions of null and string.
func appendAvroValues(dst []byte, values []string) []byte {
	for _, v := range values {
		if v == "" {
			dst = append(dst, 0)
			continue
		}
		dst = append(dst, 2)
		dst = binary.AppendVarint(dst, int64(len(v)))
		dst = append(dst, v...)
	}
	return dst
}
