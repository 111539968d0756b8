package messages

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline/messages/registry"
)

// schemas is a registry with fixed schemas.
type schemas map[int32]*registry.Schema

func (s schemas) Schema(_ context.Context, id int32) (*registry.Schema, error) {
	if x := s[id]; x != nil {
		return x, nil
	}
	return nil, &registry.Error{Op: fmt.Sprint("schema ", id), Status: 404, Code: 40403, Unknown: true}
}

func avroFormat(text string) Format {
	return Confluent(schemas{1: {ID: 1, Type: registry.Avro, Text: text}})
}

func framed(message string) string { return string(AppendFrame(nil, 1)) + message }

// record returns the schema of a record with fields, each given as its name and its type.
func record(fields ...string) string {
	var all []string
	for i := 0; i < len(fields); i += 2 {
		all = append(all, fmt.Sprintf(`{"name":%q,"type":%s}`, fields[i], fields[i+1]))
	}
	return `{"type":"record","name":"r","fields":[` + strings.Join(all, ",") + `]}`
}

func zigzag(v int64) string { return string(binary.AppendVarint(nil, v)) }

func text(s string) string { return zigzag(int64(len(s))) + s }

func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func double(v float64) string {
	return string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)))
}

func TestAvroValues(t *testing.T) {
	check := func(schema, message string, want ...string) {
		t.Helper()
		var c Collector
		got := showPlace(&c, add(t, &c, avroFormat(schema), framed(message), 0))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", schema, diff)
		}
	}
	one := func(typ, message, want string) {
		t.Helper()
		check(record("a", typ), message, strings.TrimSuffix("* a="+want, "a="))
	}
	one(`"string"`, "\x06foo", "foo") // from the specification
	one(`"string"`, "\x00", "")
	one(`{"type":"string","avro.java.string":"String"}`, "\x06foo", "foo")
	one(`"int"`, "\x01", "-1")
	one(`"int"`, "\x80\x01", "64")
	one(`"int"`, zigzag(math.MinInt32), "-2147483648")
	one(`"long"`, zigzag(math.MinInt64), "-9223372036854775808")
	one(`"long"`, zigzag(math.MaxInt64), "9223372036854775807")
	one(`"boolean"`, "\x01", "true")
	one(`"boolean"`, "\x00", "false")
	one(`"null"`, "", "")
	one(`"double"`, double(1234.5), "1234.5")
	one(`"float"`, unhex("cdcccc3d"), "0.1")
	one(`["null","string"]`, "\x00", "")
	one(`["null","string"]`, "\x02\x06foo", "foo")
	one(`["string","null"]`, "\x00\x06foo", "foo")
	one(`["string","null"]`, "\x02", "")
	one(`["string"]`, "\x00\x06foo", "foo")
	one(`{"type":"enum","name":"e","symbols":["A","B"]}`, "\x02", "B")

	one(`{"type":"int","logicalType":"date"}`, zigzag(0), "1970-01-01")
	one(`{"type":"int","logicalType":"date"}`, zigzag(-1), "1969-12-31")
	one(`{"type":"int","logicalType":"date"}`, zigzag(19782), "2024-02-29")
	one(`{"type":"long","logicalType":"timestamp-millis"}`, zigzag(1709164800123), "2024-02-29T00:00:00.123Z")
	one(`{"type":"long","logicalType":"timestamp-micros"}`, zigzag(-1), "1969-12-31T23:59:59.999999Z")
	one(`{"type":"long","logicalType":"timestamp-nanos"}`, zigzag(1_000_000_000), "1970-01-01T00:00:01Z")
	one(`{"type":"long","logicalType":"local-timestamp-millis"}`, zigzag(0), "1970-01-01T00:00:00")
	one(`{"type":"int","logicalType":"time-millis"}`, zigzag(3_600_500), "01:00:00.5")
	one(`{"type":"long","logicalType":"time-micros"}`, zigzag(1), "00:00:00.000001")
	one(`{"type":"string","logicalType":"uuid"}`, text("0b5e"), "0b5e")
	one(`{"type":"fixed","name":"u","size":16,"logicalType":"uuid"}`, unhex("00112233445566778899aabbccddeeff"), "00112233-4455-6677-8899-aabbccddeeff")
	one(`{"type":"string","logicalType":"date"}`, text("x"), "x") // does not fit: ignored
	one(`{"type":"int","logicalType":"unheard-of"}`, "\x02", "1")

	decimal := func(scale int) string {
		return fmt.Sprintf(`{"type":"bytes","logicalType":"decimal","precision":12,"scale":%d}`, scale)
	}
	one(decimal(2), "\x04\x30\x39", "123.45")
	one(decimal(4), "\x04\x30\x39", "1.2345")
	one(decimal(0), "\x04\x30\x39", "12345")
	one(decimal(2), "\x02\xff", "-0.01")
	one(`["null",`+decimal(2)+`]`, "\x02\x02\x00", "0.00")
	one(`{"type":"fixed","name":"f","size":4,"logicalType":"decimal","precision":9,"scale":3}`, unhex("fffffc18"), "-1.000")

	lines := `{"type":"array","items":` + strings.Replace(record("n", `"int"`, "c", `["null","string"]`), `"r"`, `"line"`, 1) + `}`
	schema := record("id", `"string"`, "lines", lines)
	check(schema, text("1")+"\x04"+"\x02\x00"+"\x04\x02\x02x"+"\x00", "* id=1 lines.n=1", "id=1 lines.c=x lines.n=2")
	check(schema, text("1")+"\x02\x02\x00"+"\x02\x04\x00"+"\x00", "* id=1 lines.n=1", "id=1 lines.n=2")
	check(schema, text("1")+"\x03"+zigzag(4)+"\x02\x00"+"\x04\x00"+"\x00", "* id=1 lines.n=1", "id=1 lines.n=2")
	check(schema, text("1")+"\x00", "* id=1")
	check(record("id", `"string"`, "lines", `["null",`+lines+`]`), text("1")+"\x00", "* id=1")
	check(record("id", `"string"`, "lines", `["null",`+lines+`]`), text("1")+"\x02\x02\x02\x00\x00", "* id=1 lines.n=1")
	check(record("codes", `{"type":"array","items":["null","string"]}`), "\x04\x02\x02x\x00\x00", "* codes.codes=x", "")
	check(record("lines", `{"type":"array","items":["null",{"type":"record","name":"x","fields":[{"name":"n","type":"int"}]}]}`), "\x04\x00\x02\x06\x00", "* ", "lines.n=3")

	nested := record("doctor", `{"type":"record","name":"p","fields":[{"name":"npi","type":"string"},{"name":"zip","type":"int"}]}`, "billing", `["null","p"]`)
	check(nested, text("1")+"\x02"+"\x02"+text("2")+"\x04", "* billing.npi=2 billing.zip=2 doctor.npi=1 doctor.zip=1")
	check(nested, text("1")+"\x02"+"\x00", "* doctor.npi=1 doctor.zip=1")
	check(`{"type":"record","name":"r","namespace":"a.b","fields":[{"name":"x","type":{"type":"enum","name":"e","symbols":["S"]}},{"name":"y","type":"a.b.e"},{"name":"z","type":"e"}]}`,
		"\x00\x00\x00", "* x=S y=S z=S")
	check(`{"type":"record","name":"r","fields":[{"name":"c_x","column":"x y","type":"int"}]}`, "\x02", "* x y=1")
}

// TestAvroFaults passes over values that cannot be read.
func TestAvroFaults(t *testing.T) {
	check := func(typ, message, want string) {
		t.Helper()
		var c Collector
		p := add(t, &c, avroFormat(record("a", typ, "b", `"int"`)), framed(message+"\x02"), 0)
		if got := showPlace(&c, p); len(got) != 1 || got[0] != "* b=1" {
			t.Errorf("%s: %q", typ, got)
		}
		if got := names(c.Group(0).Fields)[0]; got != want {
			t.Errorf("%s: field %s", typ, got)
		}
	}
	check(`"bytes"`, text("xyz"), "a (is of type bytes, which cannot be converted to text)")
	check(`{"type":"fixed","name":"f","size":3}`, "xyz", "a (is of type fixed, which cannot be converted to text)")
	check(`{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}`, text("x"), "a (is of type bytes, which cannot be converted to text)")
	check(`{"type":"map","values":"int"}`, "\x04"+text("x")+"\x02"+text("y")+"\x04\x00", "a (is a map)")
	check(`["null",{"type":"map","values":"int"}]`, "\x02\x01\x06"+text("x")+"\x02\x00", "a (is a map)")
	check(`["null","string","int"]`, "\x04\x08", "a (is a union of several types)")
	check(`["null","string","int"]`, "\x00", "a (is a union of several types)")
	check(`{"type":"array","items":{"type":"array","items":"string"}}`, "\x02\x04"+text("x")+text("y")+"\x00\x00", "a (is a list within a list)")
	check(`{"type":"array","items":"bytes"}`, "\x02"+text("y")+"\x00", "a (is of type bytes, which cannot be converted to text)")
	check(`{"type":"array","items":["string","int"]}`, "\x04\x00"+text("y")+"\x02\x08\x00", "a (is a list whose elements have several types)")
	check(`["null","r"]`, "\x02\x00\x08", "a (contains itself)")
	check(`{"type":"array","items":"r"}`, "\x02\x00\x08\x00", "a (contains itself)")
}

func TestAvroRules(t *testing.T) {
	c := Collector{Limits: Limits{Text: 10, Depth: 5, Rows: 3}}
	check := func(schema string, cases ...rejected) {
		t.Helper()
		for i := range cases {
			cases[i].message = framed(cases[i].message)
			cases[i].offset += frameBytes
		}
		checkRejected(t, &c, avroFormat(schema), cases)
	}
	check(record("a", `"string"`),
		rejected{"", RuleTruncated, "a", 0},
		rejected{"\x80", RuleTruncated, "a", 1},
		rejected{"\x06fo", RuleTruncated, "a", 3},
		rejected{zigzag(1 << 40), RuleTruncated, "a", 6},
		rejected{zigzag(math.MaxInt64), RuleTruncated, "a", 10},
		rejected{"\x01x", RuleNotAvro, "a", 0},
		rejected{zigzag(math.MinInt64), RuleNotAvro, "a", 0},
		rejected{strings.Repeat("\xff", 11), RuleNotAvro, "a", 0},
		rejected{"\x06foox", RuleTrailing, "", 4},
		rejected{"\x02\xff", RuleNotUTF8, "a", 0},
		rejected{text("12345678901"), RuleTextTooLong, "a", 0})
	check(record("a", `"int"`), rejected{zigzag(1 << 31), RuleNotAvro, "a", 0})
	check(record("a", `"boolean"`), rejected{"\x02", RuleNotAvro, "a", 0})
	check(record("a", `"double"`), rejected{"1234567", RuleTruncated, "a", 7})
	check(record("a", `["null","int"]`), rejected{"\x04", RuleNotAvro, "a", 0}, rejected{"\x01", RuleNotAvro, "a", 0})
	check(record("a", `["int","null"]`), rejected{"\x04", RuleNotAvro, "a", 0})
	check(record("a", `["int"]`), rejected{"\x02\x02", RuleNotAvro, "a", 0})
	check(record("a", `["null"]`), rejected{"\x02", RuleNotAvro, "a", 0})
	check(record("a", `{"type":"enum","name":"e","symbols":["A"]}`), rejected{"\x02", RuleNotAvro, "a", 0}, rejected{"\x01", RuleNotAvro, "a", 0})
	check(record("a", `{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`),
		rejected{"\x00", RuleNotAvro, "a", 0}, rejected{text(strings.Repeat("x", 65)), RuleNotAvro, "a", 0})

	list := record("a", `{"type":"array","items":"int"}`)
	check(list,
		rejected{"", RuleTruncated, "a", 0},
		rejected{"\x02\x02", RuleTruncated, "a", 2},
		rejected{zigzag(math.MinInt64), RuleNotAvro, "a", 0},
		rejected{"\x01\x06\x02\x00", RuleTruncated, "a", 4},
		rejected{"\x01\x04\x02\x00", RuleNotAvro, "a", 0},
		rejected{"\x01\x01\x02\x00", RuleNotAvro, "a", 1},
		rejected{"\x08\x02\x02\x02\x02\x00", RuleTooManyRows, "a", 4},
		rejected{zigzag(math.MaxInt64) + "\x02", RuleTruncated, "a", 11})
	check(record("a", `{"type":"array","items":"null"}`), rejected{zigzag(math.MaxInt64) + "\x00", RuleTooManyRows, "a", 10})
	check(record("a", `{"type":"array","items":{"type":"record","name":"e","fields":[]}}`), rejected{zigzag(-1<<60) + "\x00\x00", RuleTooManyRows, "a", 10})
	check(record("a", `{"type":"array","items":{"type":"array","items":"null"}}`), rejected{"\x02" + zigzag(math.MaxInt64) + "\x00", RuleTooManyRows, "a", 11})
	check(record("a", `{"type":"map","values":"null"}`), rejected{zigzag(math.MaxInt64) + "\x00\x00", RuleTruncated, "a", 12})
	check(record("a", `["null","r"]`), rejected{strings.Repeat("\x02", 1000), RuleTooDeep, "a", 4})
}

func TestAvroSchemas(t *testing.T) {
	check := func(text, rule string) {
		t.Helper()
		var c Collector
		checkRejected(t, &c, avroFormat(text), []rejected{{framed("\x00"), rule, "", 1}})
	}
	check(`"string"`, RuleSchemaUnsupported)
	check(`string`, RuleSchemaUnsupported)
	check(`["null",`+record("a", `"int"`)+`]`, RuleSchemaUnsupported)
	check(`{`, RuleSchemaInvalid)
	check(`7`, RuleSchemaInvalid)
	check(record("a", `"unheard-of"`), RuleSchemaInvalid)
	check(record("a", `{"type":"fixed","name":"f","size":-1}`), RuleSchemaInvalid)
	check(record("a", `{"type":"enum","name":"f","symbols":[1]}`), RuleSchemaInvalid)
	check(record("a", `["null",["int"]]`), RuleSchemaInvalid)
	check(record("a", record("b", `"int"`)), RuleSchemaInvalid)
	check(record("", `"int"`), RuleSchemaInvalid)
	check(record("a", strings.Repeat(`{"type":"array","items":`, 100)+`"int"`+strings.Repeat("}", 100)), RuleSchemaInvalid)

	// Records that contain the one before twice: 2^30 fields.
	bomb := record("a", `"int"`)
	for i := range 30 {
		bomb = fmt.Sprintf(`{"type":"record","name":"r%d","fields":[{"name":"x","type":%s},{"name":"y","type":"r%s"}]}`, i, bomb, strings.TrimPrefix(fmt.Sprint(i-1), "-1"))
	}
	check(bomb, RuleSchemaUnsupported)
}

func TestAvroReferences(t *testing.T) {
	line := &registry.Schema{Type: registry.Avro, Text: `{"type":"record","name":"org.Line","fields":[{"name":"n","type":"int"}]}`}
	s := schemas{1: {Type: registry.Avro, Text: record("lines", `{"type":"array","items":"org.Line"}`), References: []registry.Reference{{Name: "org.Line", Schema: line}}}}
	var c Collector
	if got := showPlace(&c, add(t, &c, Confluent(s), framed("\x02\x02\x00"), 0)); len(got) != 1 || got[0] != "* lines.n=1" {
		t.Error(got)
	}
}

// TestWriterSchema reads messages before and after an optional field was added.
func TestWriterSchema(t *testing.T) {
	old := record("a", `"int"`)
	f := Confluent(schemas{
		1: {Type: registry.Avro, Text: old},
		2: {Type: registry.Avro, Text: record("a", `"int"`, "b", `["null","string"]`)},
		3: {Type: registry.Avro, Text: old + " "},
	})
	var c Collector
	for id, want := range map[int32]string{1: "* a=1", 2: "* a=1 b=x", 3: "* a=1"} {
		message := "\x02"
		if id == 2 {
			message += "\x02\x02x"
		}
		if got := showPlace(&c, add(t, &c, f, string(AppendFrame(nil, id))+message, 0)); got[0] != want {
			t.Errorf("schema %d: %q", id, got)
		}
	}
	if c.Groups() != 2 {
		t.Errorf("%d groups", c.Groups())
	}
}

func FuzzAvro(f *testing.F) {
	format := avroFormat(record(
		"id", `["null","string"]`,
		"lines", `{"type":"array","items":`+strings.Replace(record("n", `"int"`, "e", `{"type":"enum","name":"e","symbols":["A"]}`), `"r"`, `"line"`, 1)+`}`,
		"amount", `{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`,
		"m", `{"type":"map","values":["null","r","string"]}`,
		"none", `{"type":"array","items":"null"}`,
		"at", `{"type":"long","logicalType":"timestamp-micros"}`))
	f.Add([]byte("\x02\x02x\x02\x02\x00\x00\x02\x01\x02\x02k\x00\x00\x00\x00"))
	f.Add([]byte("\x00" + zigzag(math.MaxInt64)))
	c := Collector{Limits: Limits{Rows: 1000}}
	f.Fuzz(func(t *testing.T, message []byte) { fuzzOne(t, &c, format, append(AppendFrame(nil, 1), message...)) })
}
