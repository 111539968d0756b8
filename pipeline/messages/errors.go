package messages

import (
	"errors"
	"strconv"
)

// Stages of reading a message.
const (
	StageFrame  = "frame"  // the bytes before the message itself
	StageSchema = "schema" // the schema in the registry
	StageDecode = "decode" // the message itself
)

// Rules that a message can break.
const (
	RuleEmpty          = "message-empty"
	RuleTooLarge       = "message-too-large"
	RuleTooDeep        = "message-too-deep"
	RuleTooManyFields  = "message-too-many-fields"
	RuleTooManyRows    = "message-too-many-rows"
	RuleNameTooLong    = "message-name-too-long"
	RuleTextTooLong    = "message-text-too-long"
	RuleNotUTF8        = "message-not-utf8"
	RuleTruncated      = "message-truncated"
	RuleTrailing       = "message-trailing-bytes"
	RuleNotJSON        = "message-not-json"
	RuleNotAnObject    = "message-not-an-object"
	RuleDuplicateField = "message-duplicate-field"
	RuleNotAvro        = "message-not-avro"
	RuleNotProtobuf    = "message-not-protobuf"
	RuleDecoderFailed  = "message-decoder-failed"

	RuleFrameTruncated = "frame-truncated"
	RuleFrameUnknown   = "frame-unknown"
	RuleFrameIndex     = "frame-message-index"
	RuleFrameHeader    = "frame-in-header"

	RuleSchemaUnknown     = "schema-unknown"
	RuleSchemaUnsupported = "schema-unsupported"
	RuleSchemaInvalid     = "schema-invalid"
	RuleSchemaUnavailable = "schema-unavailable"
)

// Error says why a message cannot be read. It contains no value of the message.
type Error struct {
	Stage  string // StageFrame, StageSchema or StageDecode
	Rule   string // a stable code in kebab-case
	Field  string // the name of the field with its lists and objects: "lines.code"; "" if unknown
	Offset int    // the position in the message in bytes, from 0; -1 if unknown

	// Retriable means that the message itself may be fine: the registry did not answer. The caller
	// must wait and read the message again, and must not give it up.
	Retriable bool

	// Err is the cause in the schema or the registry, nil if there is none.
	Err error
}

func (e *Error) Error() string {
	s := e.Stage + ": " + e.Rule
	if e.Field != "" {
		s += ": field " + strconv.Quote(e.Field)
	}
	if e.Offset >= 0 {
		s += ": at byte " + strconv.Itoa(e.Offset)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// IsRetriable reports whether the message may be readable later. See Error.Retriable.
func IsRetriable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Retriable
}

func broken(rule string, offset int) *Error {
	return &Error{Stage: StageDecode, Rule: rule, Offset: offset}
}

func brokenField(rule, field string, offset int) *Error {
	return &Error{Stage: StageDecode, Rule: rule, Field: field, Offset: offset}
}
