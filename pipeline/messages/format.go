package messages

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cpcds2fhir/pipeline/messages/registry"
)

// Schemas has schemas by id. *registry.Client is one. It is safe for concurrent use. An error that
// is a *registry.Error with Unknown is final; any other one means that the schema may be had later.
type Schemas interface {
	// Schema returns the schema with an id, and all the schemas that it refers to.
	Schema(ctx context.Context, id int32) (*registry.Schema, error)
}

// Confluent is the format of messages that begin with 0x00 and the id of their schema, as
// Confluent's serializers write them. The schema says whether the message is Avro, Protobuf or
// JSON. Messages are decoded with the schema that they were written with. The format remembers
// schemas for ever.
func Confluent(s Schemas) Format {
	return &confluent{schemas: s, byID: map[int32]*schema{}}
}

const frameBytes = 5

// schemaHeaders are the headers in which serializers of Confluent and Apicurio put the id of a schema,
// if they do not put it into the message.
var schemaHeaders = []string{"__value_schema_id", "apicurio.value.globalId", "apicurio.value.contentId", "apicurio.value.artifactId"}

// CheckHeaders returns an *Error if a header says that a message is not written in a format: what follows
// has no frame then, but may begin with a zero byte all the same. has reports whether the message has
// a header.
func CheckHeaders(f Format, has func(name string) bool) error {
	if _, framed := f.(*confluent); !framed {
		return nil
	}
	for _, h := range schemaHeaders {
		if has(h) {
			return &Error{Stage: StageFrame, Rule: RuleFrameHeader, Offset: -1}
		}
	}
	return nil
}

type confluent struct {
	schemas Schemas
	mu      sync.RWMutex
	byID    map[int32]*schema
}

// schema is a schema that is ready to decode messages.
type schema struct {
	err     *Error  // why it cannot
	program program // nil for Protobuf, which has one for each message type

	file protoreflect.FileDescriptor
	mu   sync.RWMutex
	root protoType
}

// protoType is a message type of a Protobuf schema, and those inside of it.
type protoType struct {
	program program
	err     error
	inner   map[int]*protoType
}

func (c *confluent) decode(ctx context.Context, value []byte, s *sink) error {
	if value[0] != 0 {
		return &Error{Stage: StageFrame, Rule: RuleFrameUnknown, Offset: 0}
	}
	if len(value) < frameBytes {
		return &Error{Stage: StageFrame, Rule: RuleFrameTruncated, Offset: len(value)}
	}
	x, err := c.schema(ctx, int32(binary.BigEndian.Uint32(value[1:])))
	if err != nil {
		return err
	}
	if x.err != nil {
		e := *x.err
		return &e
	}
	if x.file != nil {
		return x.decodeProto(value, s)
	}
	return x.program.decode(value, frameBytes, s)
}

// schema returns the schema with an id.
func (c *confluent) schema(ctx context.Context, id int32) (*schema, error) {
	c.mu.RLock()
	x := c.byID[id]
	c.mu.RUnlock()
	if x != nil {
		return x, nil
	}
	text, err := c.schemas.Schema(ctx, id)
	if err != nil {
		return nil, schemaError(ctx, err)
	}
	x = newSchema(ctx, text)
	if err := ctx.Err(); err != nil {
		return nil, err // which may be why it could not be compiled
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.byID[id]; other != nil {
		return other, nil
	}
	c.byID[id] = x
	return x, nil
}

func schemaError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *registry.Error
	if errors.As(err, &e) && !e.Retriable() {
		return &Error{Stage: StageSchema, Rule: RuleSchemaUnknown, Offset: 1, Err: err}
	}
	return &Error{Stage: StageSchema, Rule: RuleSchemaUnavailable, Offset: 1, Retriable: true, Err: err}
}

// newSchema makes a schema ready to decode messages.
func newSchema(ctx context.Context, s *registry.Schema) *schema {
	x := &schema{}
	var err error
	switch s.Type {
	case registry.Avro, "":
		x.program, err = newAvroProgram(s)
	case registry.JSON:
		x.program = jsonProgram{}
	case registry.Protobuf:
		x.file, err = parseProto(ctx, s)
	default:
		err = unsupported{fmt.Errorf("its type is %q", cut(s.Type))}
	}
	if err != nil {
		x.err = badSchema(err)
	}
	return x
}

func badSchema(err error) *Error {
	rule := RuleSchemaInvalid
	var u unsupported
	if errors.As(err, &u) {
		rule = RuleSchemaUnsupported
	}
	return &Error{Stage: StageSchema, Rule: rule, Offset: 1, Err: err}
}

type jsonProgram struct{}

func (jsonProgram) decode(b []byte, from int, s *sink) error { return decodeJSON(b, from, s) }

// decodeProto decodes a message after the indexes of its type.
func (x *schema) decodeProto(value []byte, s *sink) error {
	path, n, ok := messageIndexes(value[frameBytes:])
	if !ok {
		return &Error{Stage: StageFrame, Rule: RuleFrameIndex, Offset: frameBytes}
	}
	p, err := x.programAt(path)
	if err != nil {
		return err
	}
	return p.decode(value, frameBytes+n, s)
}

// messageIndexes reads which message type of a schema a message has: the path to it, as zigzag
// varints with their number before them. A single 0 stands for the path to the first type. It
// returns the length in bytes.
func messageIndexes(b []byte) (path []int, n int, ok bool) {
	next := func() (int, bool) {
		v, length := protowire.ConsumeVarint(b[n:])
		if length < 0 {
			return 0, false
		}
		n += length
		i := protowire.DecodeZigZag(v)
		return int(i), i >= 0 && i < maxSchemaFields
	}
	count, ok := next()
	if !ok || count > maxSchemaDepth {
		return nil, 0, false
	}
	if count == 0 {
		return []int{0}, n, true
	}
	for range count {
		i, ok := next()
		if !ok {
			return nil, 0, false
		}
		path = append(path, i)
	}
	return path, n, true
}

// programAt returns the program for the message type at a path.
func (x *schema) programAt(path []int) (program, error) {
	x.mu.RLock()
	t := &x.root
	for _, i := range path {
		if t = t.inner[i]; t == nil {
			break
		}
	}
	if t != nil && (t.program != nil || t.err != nil) {
		defer x.mu.RUnlock()
		return t.result()
	}
	x.mu.RUnlock()
	m := messageAt(x.file, path)
	if m == nil {
		return nil, &Error{Stage: StageFrame, Rule: RuleFrameIndex, Offset: frameBytes}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	t = &x.root
	for _, i := range path {
		if t.inner == nil {
			t.inner = map[int]*protoType{}
		}
		if t.inner[i] == nil {
			t.inner[i] = &protoType{}
		}
		t = t.inner[i]
	}
	if t.program == nil && t.err == nil {
		t.program, t.err = newProtoProgram(m)
	}
	return t.result()
}

func (t *protoType) result() (program, error) {
	if t.err != nil {
		return nil, badSchema(t.err)
	}
	return t.program, nil
}
