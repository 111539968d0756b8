package messages

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline/messages/registry"
)

var (
	columns = []string{"claim_id", "Member ID", "9th", "straße", "a-b", "a_b", "aB", "a.b", "c_a_b", `quote"d\`, "type", "message", "Line", "null"}
	inLines = []string{"line_number", "a b", "a_b", "a-b", "Record", "lines", "1", "null"}
)

// randomText returns text that is hard to write.
func randomText(rnd *rand.Rand) string {
	pieces := []string{"", "", "x", "C1", "\"", "\\", "\n", "\x00", "\x1f", "\x7f", "ä", "€", "😀", "\u2028", "</script>", strings.Repeat("long ", 40)}
	var b strings.Builder
	for range rnd.IntN(4) {
		b.WriteString(pieces[rnd.IntN(len(pieces))])
	}
	return b.String()
}

func randomRecord(rnd *rand.Rand) *Record {
	r := &Record{Fields: columns, Lines: inLines}
	for range columns {
		r.Values = append(r.Values, randomText(rnd))
	}
	for range rnd.IntN(4) {
		var row []string
		for range inLines {
			row = append(row, randomText(rnd))
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

// cells returns the rows of a record by the names of their columns.
func cells(r *Record) (out []map[string]string) {
	for i := range max(len(r.Rows), 1) {
		row := map[string]string{}
		for k, v := range r.Values {
			if v != "" {
				row[r.Fields[k]] = v
			}
		}
		if len(r.Rows) > 0 {
			for k, v := range r.Rows[i] {
				if v != "" {
					row[linesField+"/"+r.Lines[k]] = v
				}
			}
		}
		out = append(out, row)
	}
	return out
}

func readCells(c *Collector, p Place) (out []map[string]string) {
	g := c.Group(p.Group)
	for i := p.From; i < p.To; i++ {
		row := map[string]string{}
		for k, f := range g.Fields {
			name := f.Name
			if f.Group != "" {
				name = f.Group + "/" + f.Name
			}
			if v := g.Rows.Columns[k].Value(i); v != "" {
				row[name] = v
			}
		}
		out = append(out, row)
	}
	return out
}

// encoders returns an encoder of each kind, and the format of its messages. The schemas are those
// of ids 1, 2 and 3.
func encoders(t testing.TB, fields, lines []string) (all map[string]Encoder, formats map[string]Format, s schemas) {
	t.Helper()
	s = schemas{}
	all, formats = map[string]Encoder{"plain": NewJSON()}, map[string]Format{"plain": JSON()}
	for i, f := range []func(fields, lines []string) (Encoder, error){NewAvro, NewProtobuf, NewJSONSchema} {
		e, err := f(fields, lines)
		if err != nil {
			t.Fatal(err)
		}
		schema := e.Schema()
		schema.ID = int32(i + 1)
		s[schema.ID] = &schema
		all[schema.Type], formats[schema.Type] = e, Confluent(s)
	}
	return all, formats, s
}

func encode(t testing.TB, e Encoder, s schemas, r *Record) []byte {
	t.Helper()
	var dst []byte
	for id, x := range s { // none for plain JSON
		if x.Type == e.Schema().Type {
			dst = AppendFrame(dst, id)
		}
	}
	dst, err := e.Append(dst, r)
	if err != nil {
		t.Fatal(err)
	}
	return dst
}

// TestRoundTrip writes random records in each format and reads the same rows.
func TestRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	all, formats, s := encoders(t, columns, inLines)
	var c Collector
	for range 500 {
		r := randomRecord(rnd)
		want := cells(r)
		for name, e := range all {
			message := encode(t, e, s, r)
			if again := encode(t, e, s, r); !slices.Equal(message, again) {
				t.Fatalf("%s: the same record gives different messages", name)
			}
			p, err := c.Add(t.Context(), formats[name], message, 1)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, readCells(&c, p)); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", name, diff)
			}
		}
		c.Reset()
	}
}

// TestNoColumns writes records without lines, and without columns of their own.
func TestNoColumns(t *testing.T) {
	for _, r := range []*Record{
		{Fields: []string{"a"}, Values: []string{"x"}},
		{Lines: []string{"a"}, Rows: [][]string{{"x"}, {"y"}}},
		{Fields: []string{"lines"}, Values: []string{"x"}},
		{},
	} {
		all, formats, s := encoders(t, r.Fields, r.Lines)
		for name, e := range all {
			var c Collector
			p, err := c.Add(t.Context(), formats[name], encode(t, e, s, r), 1)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(cells(r), readCells(&c, p)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

func TestJSONText(t *testing.T) {
	r := &Record{
		Fields: []string{"b", "a", "c"}, Values: []string{"1", "", "\"\n"},
		Lines: []string{"n", "m"}, Rows: [][]string{{"1", ""}, {"", ""}, {"3", "4"}},
	}
	got, err := NewJSON().Append([]byte("before "), r)
	want := `before {"b":"1","c":"\"\u000a","lines":[{"n":"1"},{},{"n":"3","m":"4"}]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}

func TestSchemas(t *testing.T) {
	all, _, _ := encoders(t, []string{"id", "a b"}, []string{"n"})
	for typ, want := range map[string]string{
		registry.Avro: `{"type":"record","name":"Record","namespace":"cpcds2fhir","fields":[{"name":"id","type":["null","string"],"default":null},` +
			`{"name":"c_a_b","type":["null","string"],"default":null,"column":"a b"},` +
			`{"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"n","type":["null","string"],"default":null}]}},"default":[]}]}`,
		registry.Protobuf: "syntax = \"proto3\";\npackage cpcds2fhir;\n\nmessage Record {\n  repeated .cpcds2fhir.Line lines = 1;\n" +
			"  optional string id = 2;\n  optional string c_a_b = 3 [json_name = \"a b\"];\n}\n\nmessage Line {\n  optional string n = 2;\n}\n",
		registry.JSON: `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"id":{"type":"string"},"a b":{"type":"string"},` +
			`"lines":{"type":"array","items":{"type":"object","properties":{"n":{"type":"string"}}}}}}`,
	} {
		got := all[typ].Schema().Text
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", typ, diff)
		}
		if typ != registry.Protobuf && !json.Valid([]byte(got)) {
			t.Errorf("%s: the schema is not JSON", typ)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	for _, x := range []struct{ fields, lines []string }{
		{[]string{"a", "a"}, nil}, {nil, []string{"a", "a"}}, {[]string{""}, nil}, {[]string{"\xff"}, nil}, {[]string{"lines"}, []string{"a"}},
	} {
		for i, f := range []func(fields, lines []string) (Encoder, error){NewAvro, NewProtobuf, NewJSONSchema} {
			if _, err := f(x.fields, x.lines); err == nil {
				t.Errorf("%d: %q, %q is accepted", i, x.fields, x.lines)
			}
		}
		r := &Record{Fields: x.fields, Values: x.fields, Lines: x.lines}
		if x.lines != nil {
			r.Rows = [][]string{x.lines}
		}
		if _, err := NewJSON().Append(nil, r); err == nil && x.fields == nil {
			t.Errorf("JSON: %q, %q is accepted", x.fields, x.lines)
		}
	}
	plain := NewJSON()
	for _, names := range [][]string{{"a", "b"}, {"a", "a"}, {"a", "b"}, {"b", "b"}} {
		if _, err := plain.Append(nil, &Record{Fields: names, Values: names}); (err == nil) != (names[1] == "b" && names[0] == "a") {
			t.Errorf("JSON: %q: %v", names, err)
		}
	}
	all, _, _ := encoders(t, []string{"a"}, []string{"n"})
	for name, e := range all {
		for i, r := range []*Record{
			{Fields: []string{"a"}, Values: []string{"SECRET\xff"}},
			{Fields: []string{"a"}, Values: []string{"SECRET"}, Lines: []string{"n"}, Rows: [][]string{{"SECRET\xff"}}},
			{Fields: []string{"a"}, Values: nil},
			{Fields: []string{"a"}, Values: []string{"SECRET"}, Lines: []string{"n"}, Rows: [][]string{{"SECRET", "x"}}},
			{Fields: []string{"b"}, Values: []string{"SECRET"}},
		} {
			_, err := e.Append(nil, r)
			if (err == nil) != (name == "plain" && i == 4) || err != nil && strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s: record %d: %v", name, i, err)
			}
		}
	}
}

func BenchmarkFormats(b *testing.B) {
	r := &Record{}
	for i := range 40 {
		r.Fields, r.Values = append(r.Fields, fmt.Sprintf("claim_column_number_%d", i)), append(r.Values, fmt.Sprint("value ", i*7919))
	}
	for i := range 15 {
		r.Lines = append(r.Lines, fmt.Sprintf("line_column_%d", i))
	}
	for l := range 12 {
		var row []string
		for i := range 15 {
			row = append(row, fmt.Sprintf("%d.%02d", i*37+l, i*13%100))
		}
		r.Rows = append(r.Rows, row)
	}
	all, formats, s := encoders(b, r.Fields, r.Lines)
	for name, e := range all {
		message := encode(b, e, s, r)
		b.Run(name+"/read", func(b *testing.B) {
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			var c Collector
			for i := 0; b.Loop(); i++ {
				if _, err := c.Add(b.Context(), formats[name], message, int64(i)); err != nil {
					b.Fatal(err)
				}
				if i%1000 == 999 {
					c.Reset()
				}
			}
		})
		b.Run(name+"/write", func(b *testing.B) {
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				var err error
				if dst, err = e.Append(dst[:0], r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
