package messages

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"cpcds2fhir/pipeline/messages/registry"
)

// linesField is the name of the list of a record.
const linesField = "lines"

// Record is a record to be written as a message: values of the record itself, and rows of its list
// "lines". An empty value is absent.
type Record struct {
	Fields []string // names, each of them once; none is "lines" if there are rows
	Values []string // parallel to Fields

	Lines []string   // names of the columns of the list, each of them once
	Rows  [][]string // by row; parallel to Lines
}

// Encoder writes records as messages. It is safe for concurrent use.
type Encoder interface {
	// Schema is the schema to be registered for the messages. Its Type is "" if they need none;
	// otherwise each message must begin with AppendFrame.
	Schema() registry.Schema

	// Append appends a message without its frame. The messages of the same record are the same
	// bytes. An error names the field, never a value; then the content after dst is undefined. A
	// Collector reads the message as the same record. If the encoder was made for certain columns,
	// the record must have the same ones, in the same order.
	Append(dst []byte, r *Record) ([]byte, error)
}

// AppendFrame appends the frame of a message: 0x00 and the id of its schema.
func AppendFrame(dst []byte, id int32) []byte {
	return append(dst, 0, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// checkColumns checks the columns of records.
func checkColumns(fields, lines []string) error {
	for _, names := range [][]string{fields, lines} {
		seen := map[string]bool{}
		for _, n := range names {
			switch {
			case n == "":
				return errors.New("a column has no name")
			case !utf8.ValidString(n):
				return errors.New("the name of a column is not UTF-8")
			case seen[n]:
				return fmt.Errorf("the column %q occurs twice", n)
			}
			seen[n] = true
		}
	}
	if len(lines) > 0 && slices.Contains(fields, linesField) {
		return fmt.Errorf("a column has the name of the list, %q", linesField)
	}
	return nil
}

// check checks that a record has as many values as names, that all values are text, and, if it
// must have certain columns, that it has these.
func (r *Record) check(fields, lines []string) error {
	if fields != nil && (!slices.Equal(fields, r.Fields) || len(r.Rows) > 0 && !slices.Equal(lines, r.Lines)) {
		return errors.New("the record has other columns than the schema")
	}
	if err := checkValues("", r.Fields, r.Values); err != nil {
		return err
	}
	for _, row := range r.Rows {
		if err := checkValues(linesField, r.Lines, row); err != nil {
			return err
		}
	}
	return nil
}

func checkValues(list string, names, values []string) error {
	if len(names) != len(values) {
		return errors.New("the record has more values than columns, or fewer")
	}
	for i, v := range values {
		if !utf8.ValidString(v) {
			return fmt.Errorf("the value of %q is not UTF-8", joined(list, names[i]))
		}
	}
	return nil
}

// sanitised returns names that consist of ASCII letters, digits and underscores and begin with a
// letter. A name that is already like that is kept, if possible. No two names, and no name and
// taken, have the same key.
func sanitised(names []string, taken string, key func(string) string) []string {
	used := map[string]bool{key(taken): true}
	out := make([]string, len(names))
	for i, n := range names {
		if isIdentifier(n) && !used[key(n)] {
			out[i], used[key(n)] = n, true
		}
	}
	for i, n := range names {
		if out[i] != "" {
			continue
		}
		base := []byte("c_")
		for _, c := range []byte(n) {
			if isWordByte(c) {
				base = append(base, c)
			} else if base[len(base)-1] != '_' {
				base = append(base, '_')
			}
		}
		out[i] = string(base)
		for k := 2; used[key(out[i])]; k++ {
			out[i] = fmt.Sprintf("%s_%d", base, k)
		}
		used[key(out[i])] = true
	}
	return out
}

func isWordByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

func isIdentifier(s string) bool {
	if s == "" || !('a' <= s[0]|0x20 && s[0]|0x20 <= 'z') {
		return false
	}
	for i := range len(s) {
		if !isWordByte(s[i]) {
			return false
		}
	}
	return true
}
