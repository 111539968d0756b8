// Package registry is a client of a schema registry with the API of Confluent, which Apicurio,
// Redpanda and Karapace have too.
//
// A message has only the id of its schema. Whether a schema is unknown for good or just cannot be
// had at the moment decides between giving up a message and waiting, so each Error says which.
package registry

import (
	"errors"
	"fmt"
	"strconv"
)

// Types of schemas.
const (
	Avro     = "AVRO"
	Protobuf = "PROTOBUF"
	JSON     = "JSON"
)

// Schema is a schema. Those that a Client returns are shared: treat them as read-only.
type Schema struct {
	ID         int32  // 0 if it is not registered
	Type       string // Avro, Protobuf or JSON
	Text       string
	References []Reference
}

// Reference is a schema that another one refers to.
type Reference struct {
	Name    string // how the other schema refers to it: a full name in Avro, a path in Protobuf
	Subject string
	Version int
	Schema  *Schema // the schema itself, with its own references; not needed to register a schema
}

// Error is a failure of the registry. It contains neither secrets nor the text of a response.
type Error struct {
	Op      string // "schema 7"
	Status  int    // of HTTP, 0 if there was no response
	Code    int    // error_code of the registry, 0 if there is none
	Unknown bool   // the registry has confirmed that the schema does not exist
	Refused bool   // the registry has confirmed that it does not accept the schema
	Err     error  // the cause, nil if the response says it all
}

func (e *Error) Error() string {
	s := "schema registry: " + e.Op
	switch {
	case e.Unknown:
		s += ": unknown"
	case e.Refused:
		s += ": refused"
	}
	if e.Status != 0 {
		s += ": status " + strconv.Itoa(e.Status)
	}
	if e.Code != 0 {
		s += fmt.Sprintf(" (error_code %d)", e.Code)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Retriable reports whether the same request may succeed later. Only an answer that the registry
// itself has confirmed is final: a wrong password or a proxy without a backend is not.
func (e *Error) Retriable() bool { return !e.Unknown && !e.Refused }

// IsUnknown reports whether an error means that the registry has confirmed that a schema does not
// exist.
func IsUnknown(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unknown
}
