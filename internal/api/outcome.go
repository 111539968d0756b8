package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"cpcds2fhir/internal/store"
)

// Error is why a request was refused. It names parameters and reasons, and never has a value of a
// member.
type Error struct {
	Status int    // of HTTP
	Code   string // of http://hl7.org/fhir/issue-type
	Param  string // what it is about: the name of a parameter or header, "" if none
	Text   string
	Retry  int               // seconds after which to try again; 0: none
	Header map[string]string // to add to the answer

	// Client is whose token was refused, "" if that is not known. It is for Answer; no answer has it.
	Client string

	always bool // also if the client wants what is unknown to be left out
}

func (e *Error) Error() string {
	if e.Param != "" {
		return e.Param + ": " + e.Text
	}
	return e.Text
}

func invalid(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "invalid", Param: param, Text: fmt.Sprintf(format, args...)}
}

func unsupported(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "not-supported", Param: param, Text: fmt.Sprintf(format, args...)}
}

func forbidden(format string, args ...any) *Error {
	return &Error{Status: http.StatusForbidden, Code: "forbidden", Text: fmt.Sprintf(format, args...)}
}

// costly refuses what no index answers.
func costly(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusForbidden, Code: "too-costly", Param: param, Text: fmt.Sprintf(format, args...)}
}

// notFound is the same for what does not exist and for what belongs to somebody else.
func notFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: "not-found", Text: "there is no such resource"}
}

func gone() *Error {
	return &Error{Status: http.StatusGone, Code: "deleted", Text: "the resource was deleted"}
}

// asError is the answer to any error of ours, of the store, or of a context.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*store.FilterError](err); ok {
		return &Error{Status: http.StatusBadRequest, Code: "value", Param: e.Param, Text: e.What}
	}
	if errors.Is(err, store.ErrNotFound) {
		return notFound()
	}
	return &Error{Status: http.StatusInternalServerError, Code: "exception", Text: "the server could not answer; its log says why"}
}

// issue is one of an OperationOutcome.
type issue struct {
	Severity    string `json:"severity"`
	Code        string `json:"code"`
	Diagnostics string `json:"diagnostics,omitempty"`
}

type outcome struct {
	ResourceType string  `json:"resourceType"`
	Issue        []issue `json:"issue"`
}

func outcomeOf(e *Error) []byte {
	text, err := json.Marshal(outcome{"OperationOutcome", []issue{{Severity: "error", Code: e.Code, Diagnostics: e.Error()}}})
	if err != nil {
		panic(err) // strings always marshal
	}
	return text
}
