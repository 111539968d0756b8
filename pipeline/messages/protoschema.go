package messages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cpcds2fhir/pipeline/messages/registry"
)

// protoKind says how a value is read.
type protoKind uint8

const (
	protoText    protoKind = iota // a scalar
	protoObject                   // a message
	protoWrapper                  // a message with one scalar, which is the value
	protoTimestamp
	protoDate
	protoDecimal
)

// protoMessage is a message type at a certain place in a message.
type protoMessage struct {
	fields   map[int32]*protoField
	defaults []*protoField // that have a value even if the message does not say it
}

type protoField struct {
	kind    protoKind
	scalar  protoreflect.Kind
	symbols map[int32]string // of an enum
	message *protoMessage    // of an object
	absent  string           // the value if the message does not say it
	path    string
	leaf    int32
	list    int32 // the list that the field is, -1 if it is none
}

type protoProgram struct {
	tree tree
	root *protoMessage
}

// protoSources are files that schemas import without a reference, because the registry has them.
var protoSources = map[string]string{
	"google/type/date.proto": `syntax = "proto3"; package google.type;
message Date { int32 year = 1; int32 month = 2; int32 day = 3; }`,
	"confluent/type/decimal.proto": `syntax = "proto3"; package confluent.type;
message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }`,
	"confluent/meta.proto": `syntax = "proto3"; package confluent;
import "google/protobuf/descriptor.proto";
message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }`,
}

const protoMain = "the-schema-itself.proto"

// parseProto compiles a schema. It sees no files but the schema, its references, and the well-known
// ones.
func parseProto(ctx context.Context, s *registry.Schema) (_ protoreflect.FileDescriptor, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the compiler failed")
		}
	}()
	files := map[string]string{}
	for name, text := range protoSources {
		files[name] = text
	}
	if err := addReferences(files, s, 0); err != nil {
		return nil, err
	}
	files[protoMain] = s.Text
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(files)}),
		MaxParallelism: 1,
	}
	all, err := compiler.Compile(ctx, protoMain)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func addReferences(files map[string]string, s *registry.Schema, depth int) error {
	if depth > maxSchemaDepth {
		return errDeep
	}
	for _, r := range s.References {
		if r.Schema == nil {
			return fmt.Errorf("the schema %q that it refers to is missing", r.Name)
		}
		files[r.Name] = r.Schema.Text
		if err := addReferences(files, r.Schema, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// messageAt returns the message type that a path of indexes leads to, nil if there is none.
func messageAt(f protoreflect.FileDescriptor, path []int) protoreflect.MessageDescriptor {
	all := f.Messages()
	var m protoreflect.MessageDescriptor
	for _, i := range path {
		if i >= all.Len() {
			return nil
		}
		m = all.Get(i)
		all = m.Messages()
	}
	return m
}

// newProtoProgram returns the program for messages of a type.
func newProtoProgram(m protoreflect.MessageDescriptor) (program, error) {
	var b protoBuilder
	root, err := b.message(m, top)
	if err != nil {
		return nil, unsupported{err}
	}
	return &protoProgram{b.out.tree, root}, nil
}

type protoBuilder struct {
	out    schemaTree
	inside []protoreflect.FullName // the messages around the current place
}

func (b *protoBuilder) message(m protoreflect.MessageDescriptor, at place) (*protoMessage, error) {
	if at.depth > maxSchemaDepth {
		return nil, errDeep
	}
	b.inside = append(b.inside, m.FullName())
	defer func() { b.inside = b.inside[:len(b.inside)-1] }()
	out := &protoMessage{fields: map[int32]*protoField{}}
	for i := range m.Fields().Len() {
		d := m.Fields().Get(i)
		f, err := b.field(d, at)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		out.fields[int32(d.Number())] = f
		if f.absent != "" {
			out.defaults = append(out.defaults, f)
		}
	}
	return out, nil
}

// protoName is the name of a field's column: its JSON name if the schema sets one, otherwise its
// own name.
func protoName(d protoreflect.FieldDescriptor) string {
	if json := d.JSONName(); json != "" && json != defaultJSONName(string(d.Name())) {
		return json
	}
	return string(d.Name())
}

// defaultJSONName is the JSON name that a compiler gives a field: in camel case.
func defaultJSONName(name string) string {
	var b strings.Builder
	upper := false
	for i := range len(name) {
		switch c := name[i]; {
		case c == '_':
			upper = true
			continue
		case upper && 'a' <= c && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
		default:
			b.WriteByte(c)
		}
		upper = false
	}
	return b.String()
}

// field returns how a field is read, nil if it cannot be.
func (b *protoBuilder) field(d protoreflect.FieldDescriptor, at place) (*protoField, error) {
	name := protoName(d)
	f := &protoField{scalar: d.Kind(), path: joined(at.path, name), leaf: -1, list: -1}
	typ := d.Kind().String()
	if m := d.Message(); m != nil {
		typ = f.wellKnown(m)
	}
	why := ""
	switch {
	case d.IsMap():
		typ, why = "map", "is a map"
	case d.IsList() && at.list >= 0:
		typ, why = "list", nestedList
	case f.scalar == protoreflect.BytesKind:
		why = unreadable(typ)
	case d.Kind() == protoreflect.GroupKind:
		why = "is a group"
	case f.kind == protoObject && slices.Contains(b.inside, d.Message().FullName()):
		why = "contains itself"
	}
	if why != "" {
		return nil, b.out.fault(at, name, typ, why)
	}
	f.setSymbols(d)
	return f, b.place(f, d, name, typ, at)
}

// place finds the place of a field's values.
func (b *protoBuilder) place(f *protoField, d protoreflect.FieldDescriptor, name, typ string, at place) (err error) {
	in := at.in(name)
	if d.IsList() {
		if in, err = b.out.list(at, name); err != nil {
			return err
		}
		f.list = in.list
	}
	switch {
	case f.kind == protoObject:
		f.message, err = b.message(d.Message(), in)
	case d.IsList():
		f.leaf, err = b.out.element(in, typ)
	default:
		f.leaf, err = b.out.leaf(at, name, typ)
		if f.kind == protoText && !d.HasPresence() {
			f.absent = f.zero()
		}
	}
	return err
}

// zero is the value of a field without presence if the message does not say it. It cannot be told
// apart from a zero that was meant. Empty text is absent.
func (f *protoField) zero() string {
	switch f.scalar {
	case protoreflect.StringKind:
		return ""
	case protoreflect.BoolKind:
		return "false"
	case protoreflect.EnumKind:
		return f.symbol(0)
	}
	return "0"
}

// wellKnown sets how values of a message type are read and returns the name of the type.
func (f *protoField) wellKnown(m protoreflect.MessageDescriptor) string {
	f.kind = protoObject
	switch m.FullName() {
	case "google.protobuf.Timestamp":
		f.kind = protoTimestamp
		return "timestamp[UTC]"
	case "google.type.Date":
		f.kind = protoDate
		return "date"
	case "confluent.type.Decimal":
		f.kind = protoDecimal
		return "decimal"
	case "google.protobuf.StringValue", "google.protobuf.BoolValue", "google.protobuf.BytesValue",
		"google.protobuf.Int32Value", "google.protobuf.Int64Value", "google.protobuf.UInt32Value",
		"google.protobuf.UInt64Value", "google.protobuf.FloatValue", "google.protobuf.DoubleValue":
		f.kind, f.scalar = protoWrapper, m.Fields().Get(0).Kind()
		return f.scalar.String()
	}
	return string(m.FullName())
}

func (f *protoField) setSymbols(d protoreflect.FieldDescriptor) {
	e := d.Enum()
	if e == nil {
		return
	}
	f.symbols = map[int32]string{}
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		if _, ok := f.symbols[int32(v.Number())]; !ok { // the first name of several is the canonical one
			f.symbols[int32(v.Number())] = string(v.Name())
		}
	}
}
