package messages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"cpcds2fhir/pipeline/messages/registry"
)

// NewProtobuf returns an Encoder for Protobuf, for records with these columns. All fields of the
// schema are optional strings, numbered in the order of the columns, the list first. A column whose
// name is not allowed in Protobuf has its own name as JSON name. A message begins with the index of
// its type.
func NewProtobuf(fields, lines []string) (Encoder, error) {
	if err := checkColumns(fields, lines); err != nil {
		return nil, err
	}
	if max(len(fields), len(lines)) > maxSchemaFields {
		return nil, errors.New("there are too many columns")
	}
	e := &protoEncoder{nonNil(fields), slices.Clone(lines), registry.Schema{Type: registry.Protobuf, Text: protoSchema(fields, lines)}}
	// Some names cannot be JSON names either.
	if _, err := parseProto(context.Background(), &e.schema); err != nil {
		return nil, fmt.Errorf("the columns cannot be those of a Protobuf message: %w", err)
	}
	return e, nil
}

// linesNumber is the number of the list. Those of the columns follow.
const linesNumber = 1

func protoSchema(fields, lines []string) string {
	var b strings.Builder
	list := func(names []string, taken string) {
		for i, n := range sanitised(names, taken, protoKey) {
			fmt.Fprintf(&b, "  optional string %s = %d", n, protoNumber(i))
			if defaultJSONName(n) != names[i] {
				b.WriteString(" [json_name = " + protoQuoted(names[i]) + "]")
			}
			b.WriteString(";\n")
		}
	}
	b.WriteString("syntax = \"proto3\";\npackage cpcds2fhir;\n\nmessage Record {\n")
	if len(lines) > 0 {
		fmt.Fprintf(&b, "  repeated .cpcds2fhir.Line %s = %d;\n", linesField, linesNumber)
	}
	list(fields, linesField)
	b.WriteString("}\n")
	if len(lines) > 0 {
		b.WriteString("\nmessage Line {\n")
		list(lines, "")
		b.WriteString("}\n")
	}
	return b.String()
}

// protoKey is what must differ for two names in a message to be different: compilers compare their
// camel case, some without regard to the case.
func protoKey(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// protoNumber is the number of the column at an index. It stays below 19000, where reserved numbers
// begin.
func protoNumber(i int) int { return i + linesNumber + 1 }

// protoQuoted returns a string literal of a schema.
func protoQuoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			b.WriteString(`\x` + strconv.FormatUint(uint64(c)|0x100, 16)[1:])
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

type protoEncoder struct {
	fields, lines []string
	schema        registry.Schema
}

func (e *protoEncoder) Schema() registry.Schema { return e.schema }

func (e *protoEncoder) Append(dst []byte, r *Record) ([]byte, error) {
	if err := r.check(e.fields, e.lines); err != nil {
		return dst, err
	}
	dst = append(dst, 0) // the path to the first message type
	for _, row := range r.Rows {
		dst = protowire.AppendTag(dst, linesNumber, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(protoLength(row)))
		dst = appendProtoValues(dst, row)
	}
	return appendProtoValues(dst, r.Values), nil
}

func protoLength(values []string) (n int) {
	for i, v := range values {
		if v != "" {
			n += protowire.SizeTag(protowire.Number(protoNumber(i))) + protowire.SizeBytes(len(v))
		}
	}
	return n
}

func appendProtoValues(dst []byte, values []string) []byte {
	for i, v := range values {
		if v != "" {
			dst = protowire.AppendTag(dst, protowire.Number(protoNumber(i)), protowire.BytesType)
			dst = protowire.AppendString(dst, v)
		}
	}
	return dst
}
