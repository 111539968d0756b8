// Package messages reads messages as raw rows, and writes records as messages. A message is one
// record in JSON, Avro or Protobuf: a claim with its lines, a member, a coverage, a provider or an
// organization. It becomes the rows that a nested Parquet file with the same fields would give, so
// that a layout for such a file reads the messages too.
//
// A Collector gathers messages and groups them by their fields. A Format says how the messages of
// a topic are encoded: JSON, or Confluent for messages with the id of a schema in a registry. An
// Encoder writes messages.
//
// No error of this package shows a value of a message.
package messages

import (
	"context"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// Format says how the messages of a topic are encoded. It is a rule of the topic and is never
// guessed from the bytes of a message. A Format is safe for concurrent use.
type Format interface {
	// decode adds the fields of a message to the sink. value stays valid as long as the sink's
	// collector keeps the message.
	decode(ctx context.Context, value []byte, s *sink) error
}

// Place says where the rows of a message are: the rows [From, To) of a group.
type Place struct {
	Group    int
	From, To int
}

// Group has the rows of the messages that have the same fields. It is valid until the Reset of its
// collector.
type Group struct {
	// ID identifies Fields, whichever collector read the messages. What was derived from them, such
	// as the binding of a layout, can be kept under it.
	ID uint64

	// Fields are the fields of the messages and those that the collector expects, sorted by list,
	// then by name. Treat them as read-only.
	Fields []cpcds.Field

	// Rows has the columns that the collector's Select chose. Without Select it has one column for
	// each of Fields; columns of fields with a Fault are empty. Numbers has the number of each
	// row's message, and Whole says which rows begin a message.
	Rows *cpcds.Rows
}

// Limits bounds the work and the memory that a message can cause. Zero fields mean the defaults.
type Limits struct {
	Bytes  int // length of a message; 16 MiB
	Text   int // length in bytes of a value; 1 MiB
	Depth  int // nesting of objects and lists; 32
	Fields int // fields of a message; 2048
	Rows   int // rows of a message; 65,536
}

// Collector gathers messages that are read together. Its fields must be set before the first call
// of Add; the zero value is ready to use. A Collector is used by one goroutine at a time. It
// copies the messages and reuses its memory after Reset.
type Collector struct {
	Limits Limits

	// Expect lists fields that all messages are considered to have, usually those that the layout
	// names. Messages that only leave out some of these share a group. Without it, each
	// combination of optional JSON fields is a group of its own. Only Name, Group and Type are
	// used. A field in a plain object can be expected by its full name: "doctor.npi".
	Expect []cpcds.Field

	// Select chooses the columns of the rows of a group, and so the lists that unfold rows, as for
	// a file: the lists that contain a bound column. It is called once for each shape that is not
	// cached. nil binds all fields without a Fault.
	Select func(id uint64, fields []cpcds.Field) pipeline.Columns

	collection
}
