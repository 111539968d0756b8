package messages

import (
	"context"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"cpcds2fhir/pipeline/messages/registry"
)

func protoFormat(text string) Format {
	return Confluent(schemas{1: {ID: 1, Type: registry.Protobuf, Text: text}})
}

func TestMessageIndexes(t *testing.T) {
	check := func(message string, n int, want ...int) {
		t.Helper()
		path, length, ok := messageIndexes([]byte(unhex(message)))
		if diff := cmp.Diff(want, path); diff != "" || length != n || !ok {
			t.Errorf("%s: %d, %v (-want +got):\n%s", message, length, ok, diff)
		}
	}
	check("00", 1, 0)
	check("00 08", 1, 0)
	check("02 00", 2, 0)
	check("02 02", 2, 1)
	check("02 06 ff", 2, 3)
	check("04 02 00", 3, 1, 0)
	check("04 04 02", 3, 2, 1)
	check("06 02 00 08", 4, 1, 0, 4)
	check("02 80 02", 3, 128) // more than one byte
	check("80 00", 2, 0)      // a 0 that is longer than it has to be
	for _, bad := range []string{"", "02", "04 00", "01", "02 01", "80", "fe ff ff ff ff ff ff ff ff 01", "02 fe ff ff ff 0f", "7e" + strings.Repeat("00", 63)} {
		if path, _, ok := messageIndexes([]byte(unhex(bad))); ok {
			t.Errorf("%s: %v", bad, path)
		}
	}
}

const nestedTypes = `syntax = "proto3";
message A { optional string a = 1; message B { optional string b = 1; message C { optional string c = 1; } } }
message D { optional string d = 1; message E { optional string e = 1; } message F { optional string f = 1; } }`

func TestProtoTypes(t *testing.T) {
	f := protoFormat(nestedTypes)
	var c Collector
	for index, want := range map[string]string{
		"00": "a", "02 00": "a", "04 00 00": "b", "06 00 00 00": "c", "02 02": "d", "04 02 00": "e", "04 02 02": "f",
	} {
		if got := showPlace(&c, add(t, &c, f, framed(unhex(index+"0a 01 78")), 0)); got[0] != "* "+want+"=x" {
			t.Errorf("index %s: %q", index, got)
		}
	}
	checkRejected(t, &c, f, []rejected{
		{framed(unhex("02 04")), RuleFrameIndex, "", 5},
		{framed(unhex("04 02 04")), RuleFrameIndex, "", 5},
		{framed(unhex("08 00 00 00 00")), RuleFrameIndex, "", 5},
		{framed(""), RuleFrameIndex, "", 5},
		{framed("\x04\x00"), RuleFrameIndex, "", 5},
	})
}

const allTypes = `syntax = "proto3";
package test;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/type/date.proto";
import "confluent/meta.proto";
import "confluent/type/decimal.proto";
message Claim {
  string id = 1;
  optional int32 i32 = 2; optional int64 i64 = 3; optional uint32 u32 = 4; optional uint64 u64 = 5;
  optional sint32 s32 = 6; optional sint64 s64 = 7; optional fixed32 f32 = 8; optional fixed64 f64 = 9;
  optional sfixed32 sf32 = 10; optional sfixed64 sf64 = 11; optional float fl = 12; optional double db = 13;
  optional bool ok = 14; optional Kind kind = 15;
  google.protobuf.Timestamp at = 16; google.type.Date day = 17;
  confluent.type.Decimal amount = 18 [(confluent.field_meta) = { params: [{ key: "precision", value: "9" }] }];
  google.protobuf.StringValue note = 19; google.protobuf.Int32Value count = 20;
  bytes raw = 21; map<string, string> extra = 22; Claim original = 23;
  repeated Line lines = 24; repeated int32 numbers = 25; repeated string codes = 26;
  Person doctor = 27; Person billing = 28; optional string claim_type = 29 [json_name = "claim-type"];
  oneof one { string left = 30; string right = 31; }
  repeated google.type.Date days = 32;
}
message Line { optional string code = 1; repeated string modifiers = 2; Person doctor = 3; int32 quantity = 4; }
message Person { optional string npi = 1; optional string zip = 2; }
enum Kind { KIND_UNSPECIFIED = 0; ORAL = 1; }`

// field returns a field of a message.
func field(number protowire.Number, content string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), content))
}

func varint(number protowire.Number, v uint64) string {
	return string(protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), v))
}

func TestProtoValues(t *testing.T) {
	f := protoFormat(allTypes)
	check := func(message string, want ...string) {
		t.Helper()
		var c Collector
		got := showPlace(&c, add(t, &c, f, framed("\x00"+message), 0))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", hex.EncodeToString([]byte(message)), diff)
		}
	}
	minus := func(v int64) uint64 { return uint64(v) }
	check("", "* ")
	check(field(1, "C1"), "* id=C1")
	check(varint(2, minus(-5))+varint(3, minus(math.MinInt64))+varint(4, math.MaxUint32)+varint(5, math.MaxUint64),
		"* i32=-5 i64=-9223372036854775808 u32=4294967295 u64=18446744073709551615")
	check(varint(6, 3)+varint(7, 1), "* s32=-2 s64=-1")
	check(unhex("45 ffffffff 49 0100000000000000 55 ffffffff 59 ffffffffffffffff 65 cdcccc3d 69")+double(2.5),
		"* db=2.5 f32=4294967295 f64=1 fl=0.1 sf32=-1 sf64=-1")
	check(varint(14, 1)+varint(15, 1), "* kind=ORAL ok=true")
	check(varint(14, 0)+varint(15, 7), "* kind=7 ok=false")
	check(varint(2, 0), "* i32=0")
	check(varint(6, 1<<32|3)+varint(2, 1<<32|3), "* i32=3 s32=-2") // excess bits do not count
	check(field(16, varint(1, 1709164800)+varint(2, 5000000)), "* at=2024-02-29T00:00:00.005Z")
	check(field(16, ""), "* at=1970-01-01T00:00:00Z")
	check(field(17, varint(1, 2024)+varint(2, 2)+varint(3, 9)), "* day=2024-02-09")
	check(field(17, varint(1, 2024)+varint(2, 2)), "* day=2024-02")
	check(field(17, varint(1, 2024)), "* day=2024")
	check(field(17, ""), "* ")
	check(field(18, field(1, "\x30\x39")+varint(3, 2)), "* amount=123.45")
	check(field(19, field(1, "x"))+field(20, ""), "* count=0 note=x")
	check(field(21, "\xff")+field(22, "\xff")+field(23, "\xff")+field(1, "x"), "* id=x")
	check(field(24, field(1, "a"))+field(24, field(2, "m")+varint(4, 3)), "* lines.code=a lines.quantity=0", "lines.quantity=3")
	check(field(25, "\x01\x02")+varint(25, 3)+field(25, ""), "* numbers.numbers=1", "numbers.numbers=2", "numbers.numbers=3")
	check(field(26, "x")+field(26, "")+field(26, "y"), "* codes.codes=x", "", "codes.codes=y")
	check(field(27, field(1, "1"))+field(28, field(1, "2")+field(2, "z")), "* billing.npi=2 billing.zip=z doctor.npi=1")
	check(field(24, field(3, field(1, "1"))), "* lines.npi=1 lines.quantity=0")
	check(field(29, "x"), "* claim-type=x")
	check(field(31, "x"), "* right=x")
	check(field(32, varint(1, 2024))+field(32, varint(1, 2025)), "* days.days=2024", "days.days=2025")

	check(field(1, "x")+field(1, "y"), "* id=y")
	check(field(1, "x")+field(1, ""), "* ")
	check(field(27, field(1, "1"))+field(27, field(2, "z")), "* doctor.npi=1 doctor.zip=z")
	check(field(24, field(3, field(1, "1"))+varint(4, 3)+field(3, field(2, "z"))), "* lines.npi=1 lines.quantity=3 lines.zip=z")
	check(varint(1, 5)+field(2, "x")+field(99, "x")+varint(24, 1), "* ")
}

// TestProtoDefaults checks that what a field without presence does not say is its zero.
func TestProtoDefaults(t *testing.T) {
	f := protoFormat(`syntax = "proto3"; message M { string s = 1; double d = 2; bool b = 3; E e = 4; N n = 5; optional int32 o = 6; repeated int32 r = 7; }
message N { int32 i = 1; O o = 2; } message O { int32 j = 1; } enum E { ZERO = 0; }`)
	var c Collector
	for message, want := range map[string]string{
		"":           "* b=false d=0 e=ZERO",
		field(5, ""): "* b=false d=0 e=ZERO i=0",
		unhex("110000000000000840") + varint(3, 1):                                         "* b=true d=3 e=ZERO",
		field(5, varint(1, 2)) + field(5, field(2, varint(1, 3))) + field(5, field(2, "")): "* b=false d=0 e=ZERO i=2 j=3",
	} {
		got := showPlace(&c, add(t, &c, f, framed("\x00"+message), 0))
		if got[0] != want {
			t.Errorf("%x: %q instead of %q", message, got[0], want)
		}
	}
}

func TestProtoRules(t *testing.T) {
	c := Collector{Limits: Limits{Text: 10, Rows: 3}}
	cases := []rejected{
		{"\x80", RuleTruncated, "", 0},
		{"\x0a\x05x", RuleTruncated, "", 1},
		{"\x0a", RuleTruncated, "", 1},
		{"\x00", RuleNotProtobuf, "", 0},
		{"\x0f", RuleNotProtobuf, "", 1},
		{"\x0c", RuleNotProtobuf, "", 1},
		{strings.Repeat("\xff", 11), RuleNotProtobuf, "", 0},
		{"\x10" + strings.Repeat("\xff", 11), RuleNotProtobuf, "", 1},
		{field(1, "\xff"), RuleNotUTF8, "id", 1},
		{field(1, "12345678901"), RuleTextTooLong, "id", 1},
		{field(27, field(1, "\xff")), RuleNotUTF8, "doctor.npi", 4},
		{field(24, "\x0a\x05"), RuleTruncated, "lines", 4},
		{strings.Repeat(field(24, ""), 4), RuleTooManyRows, "lines", 12},
		{field(25, "\x01\x01\x01\x01"), RuleTooManyRows, "numbers", 6},
		{field(25, "\x01\x80"), RuleTruncated, "numbers", 4},
		{field(16, varint(1, 1<<60)), RuleNotProtobuf, "at", 3},
		{field(16, varint(2, 1_000_000_000)), RuleNotProtobuf, "at", 3},
		{field(17, varint(1, 2024)+varint(2, 13)), RuleNotProtobuf, "day", 3},
		{field(17, varint(2, 3)), RuleNotProtobuf, "day", 3},
		{field(18, ""), RuleNotProtobuf, "amount", 3},
		{field(18, field(1, "x")+varint(3, 77)), RuleNotProtobuf, "amount", 3},
	}
	for i := range cases {
		cases[i].message = framed("\x00" + cases[i].message)
		cases[i].offset += frameBytes + 1
	}
	checkRejected(t, &c, protoFormat(allTypes), cases)
	for _, bad := range []string{"", "{", `syntax = "proto3"; import "other.proto"; message M {}`, `syntax = "proto3"; message M { Unknown u = 1; }`} {
		rule := RuleSchemaInvalid
		if bad == "" {
			rule = RuleFrameIndex // a schema without messages
		}
		offset := 1
		if bad == "" {
			offset = frameBytes
		}
		checkRejected(t, &c, protoFormat(bad), []rejected{{framed("\x00"), rule, "", offset}})
	}
}

func TestProtoReferences(t *testing.T) {
	line := &registry.Schema{Type: registry.Protobuf, Text: `syntax = "proto3"; package other; import "deep/kind.proto"; message Line { optional Kind kind = 1; }`,
		References: []registry.Reference{{Name: "deep/kind.proto", Schema: &registry.Schema{Text: `syntax = "proto3"; package other; enum Kind { A = 0; B = 1; }`}}}}
	s := schemas{1: {Type: registry.Protobuf, Text: `syntax = "proto3"; import "line.proto"; message M { repeated other.Line lines = 1; }`,
		References: []registry.Reference{{Name: "line.proto", Schema: line}}}}
	var c Collector
	if got := showPlace(&c, add(t, &c, Confluent(s), framed("\x00"+field(1, varint(1, 1))), 0)); got[0] != "* lines.kind=B" {
		t.Error(got)
	}
}

// FuzzProtobuf checks that whatever the Protobuf library accepts is read, unless a rule of ours
// forbids it.
func FuzzProtobuf(f *testing.F) {
	file, err := parseProto(context.Background(), &registry.Schema{Text: allTypes})
	if err != nil {
		f.Fatal(err)
	}
	format := protoFormat(allTypes)
	f.Add([]byte(field(1, "C1") + varint(2, 7) + field(24, field(1, "a")+field(3, field(1, "x"))) + field(25, "\x01\x02")))
	f.Add([]byte(field(16, varint(1, 5)) + field(17, varint(1, 2024)) + field(18, field(1, "x")+varint(3, 2)) + field(20, varint(1, 3))))
	f.Add([]byte(field(23, field(22, field(1, "k")+field(2, "v"))) + unhex("45ffffffff49010000000000000055ffffffff59ffffffffffffffff65cdcccc3d")))
	var c Collector
	f.Fuzz(func(t *testing.T, message []byte) {
		ok := fuzzOne(t, &c, format, append(AppendFrame(nil, 1), append([]byte{0}, message...)...))
		valid := proto.Unmarshal(message, dynamicpb.NewMessage(file.Messages().Get(0))) == nil
		if ok || !valid {
			return
		}
		_, err := c.Add(t.Context(), format, append(AppendFrame(nil, 1), append([]byte{0}, message...)...), 0)
		var e *Error
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		switch {
		case e.Field == "at" || e.Field == "day" || e.Field == "days" || e.Field == "amount":
		case e.Rule == RuleTooManyRows || e.Rule == RuleTextTooLong:
		default:
			t.Fatalf("the library accepts the message: %v", err)
		}
	})
}
