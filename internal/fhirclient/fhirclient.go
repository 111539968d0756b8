// Package fhirclient speaks to FHIR R4 servers: what a server is and can do, bundles of writes, reads,
// searches and counts, with whatever the server demands of a client: authentication, limits, back-off.
// It knows no loads, and nothing of claims.
//
// What servers differ in is data: the profiles in servers/*.yaml. A profile is recognised by the
// server's CapabilityStatement, or named in the settings.
package fhirclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cpcds2fhir/internal/fhirclient/credentials"
)

// Config says how to reach a server. It is the YAML of --server FILE and of a stream's server section.
// The zero value of a field is the default, or what the server's profile says.
type Config struct {
	Profile string `yaml:"profile"` // hapi, azure, google, healthlake, aidbox, medplum, blaze, generic…; "" is to be recognised
	IDs     string `yaml:"ids"`     // client: resources keep our ids; conditional: the server makes its own
	Bundle  string `yaml:"bundle"`  // transaction or batch

	Entries     int           `yaml:"entries"`     // most entries of a bundle
	Bytes       int           `yaml:"bytes"`       // most bytes of a bundle
	Concurrency int           `yaml:"concurrency"` // most requests at once
	Timeout     time.Duration `yaml:"timeout"`     // of one request
	Patience    time.Duration `yaml:"patience"`    // how long an unavailable server is tried again before the run fails

	// Headers are those of every request. A value may be env:NAME or file:PATH, as of a Secret.
	Headers map[string]string `yaml:"headers"`

	Conflicts string `yaml:"conflicts"` // report (the default): what somebody else changed stays; overwrite
	Deletions string `yaml:"deletions"` // delete (the default), or mark: as entered in error, or inactive

	Insecure bool `yaml:"insecure"` // http is allowed to other hosts than this one

	Auth Auth `yaml:"auth"`
	TLS  TLS  `yaml:"tls"`
}

// Secret is where a secret is: env:NAME or file:PATH.
type Secret = credentials.Secret

// Auth says how the client proves who it is. Type is one of none, smart-backend, client-secret, bearer,
// basic, google, azure, aws.
type Auth = credentials.Config

// TLS is what a connection needs beyond the certificates of the system.
type TLS struct {
	CA         string `yaml:"ca"`   // file of further authorities
	Cert       string `yaml:"cert"` // of the client, for mutual TLS
	Key        string `yaml:"key"`
	ServerName string `yaml:"server_name"`
}

// Events tell what a client meets, with names and numbers only. Any of them may be nil; they are called
// from several goroutines.
type Events struct {
	// Backoff says that a request is tried again after a pause: the status (0: no answer) and the attempt.
	Backoff func(status, attempt int, wait time.Duration)
	// Concurrency says that the number of requests at once has changed.
	Concurrency func(now int)
	// Request says how long an answered request took, how many entries and bytes it had.
	Request func(status, entries, bytes int, took time.Duration)
}

// Options are what cmd gives a client beside its Config.
type Options struct {
	Environment func(name string) string // for env: secrets
	Transport   http.RoundTripper        // nil is one of its own, with TLS and limits of the Config
	UserAgent   string
	Events      Events
}

// Reference names a resource of a server by its type and the id that it has there.
type Reference struct {
	Type, ID string
}

func (r Reference) String() string { return r.Type + "/" + r.ID }

// Write is one entry of a bundle: an upsert, a conditional upsert, or a deletion.
type Write struct {
	Reference        // of a conditional upsert without the id
	Search    string // of a conditional upsert: the query that finds the resource, such as identifier=system|value
	JSON      []byte // of the resource; empty of a deletion
	IfMatch   string // version that the resource must have there, without W/ and quotes; "" is any
}

// Answer is what a server said to one Write, or to a read.
type Answer struct {
	Status   int       // of HTTP; 0: the server has not answered this entry, and what became of it is unknown
	Location Reference // of the resource, as the server names it
	Version  string    // without W/ and quotes; "" if the server does not say
	Modified time.Time // zero if the server does not say
	JSON     []byte    // of a read
	Outcome  *Outcome  // nil if the server sends none
	Meaning  Meaning   // of the status and the outcome, by the server's profile
}

// Stored reports whether the write was done. 304 says that nothing had to be.
func (a *Answer) Stored() bool { return a.Status/100 == 2 || a.Status == http.StatusNotModified }

// Meaning is what an answer means for whoever has sent the request.
type Meaning uint8

// The meanings.
const (
	Done     Meaning = iota // it was done
	Later                   // the server has put it off: the same may succeed later
	Conflict                // the server has another version of the resource
	Split                   // it may succeed in smaller bundles, or not be the fault of all entries
	Dangling                // it refers to a resource that is not there
	Refused                 // the server does not accept it, now or later
	Absent                  // there is no such resource
	Unclear                 // what became of it is unknown
)

// Outcome is an OperationOutcome.
type Outcome struct {
	Codes     []string // issue.code and details.coding.code, each once
	Locations []string // issue.expression or issue.location, each once, without what is in brackets or quotes
	Text      string   // diagnostics and details.text; may hold values
}

// Error is a request that failed as a whole. It never holds values.
type Error struct {
	Method, Path string // of the request; the path without ids and query
	Status       int    // of HTTP; 0 if there was no answer
	Outcome      *Outcome
	Meaning      Meaning
	Retriable    bool  // the same request may succeed later
	Unknown      bool  // the request may have been done
	Err          error // what went wrong on the way, if nothing was answered
}

func (e *Error) Error() string {
	what := e.Method + " " + e.Path
	if e.Status != 0 {
		what = fmt.Sprintf("%s: the server answers %d", what, e.Status)
	}
	if e.Outcome != nil && len(e.Outcome.Codes) > 0 {
		what = fmt.Sprintf("%s (%s)", what, strings.Join(e.Outcome.Codes, ", "))
	}
	if e.Err != nil {
		what += ": " + e.Err.Error()
	}
	return what
}

func (e *Error) Unwrap() error { return e.Err }

// ErrAuthentication says that a server, or who gives tokens for it, does not accept the credentials.
var ErrAuthentication = credentials.ErrRefused

// Probe is what a server says of itself, and what follows.
type Probe struct {
	Software   string          `json:"software"`
	Version    string          `json:"version"`
	FHIR       string          `json:"fhir"` // 4.0.1
	Profile    string          `json:"profile"`
	Recognised bool            `json:"recognised"`
	Abilities  map[string]bool `json:"abilities"` // transaction, batch, update-create, conditional-update, versioned-update, delete, import…
	Types      []string        `json:"types"`     // that the server can store, of those that we write
	Settings   Settings        `json:"settings"`
	Notes      []string        `json:"notes"` // what a user should know, in sentences
}

// Settings are what a client does with a server: its profile, changed by the Config.
type Settings struct {
	IDs         string        `json:"ids"`
	Bundle      string        `json:"bundle"`
	Entries     int           `json:"entries"`
	Bytes       int           `json:"bytes"`
	ResourceMax int           `json:"resource_bytes"` // 0 is no limit of its own
	Concurrency int           `json:"concurrency"`
	IfMatch     bool          `json:"if_match"`     // the server compares If-Match in bundles
	SameVersion bool          `json:"same_version"` // equal content makes no new version
	Ignore      []string      `json:"ignore"`       // elements that the server changes by itself, such as meta.tag; decimal.zeros are trailing zeros
	Import      string        `json:"import"`       // kind of bulk import: hapi, azure, google, healthlake, aidbox, bulk-submit; "" is none
	Timeout     time.Duration `json:"timeout"`
	Patience    time.Duration `json:"patience"`
	Conflicts   string        `json:"conflicts"`
	Deletions   string        `json:"deletions"`
}

// Server is a client of one server. It is safe for concurrent use; all callers share its limits: how
// many requests are under way follows from how the server answers. Every method tries again what may
// succeed later, until the patience of the settings has run out or ctx ends.
type Server interface {
	// Settings are those that the client uses.
	Settings() Settings

	// URL is the base of the server, without credentials.
	URL() string

	// Send sends a bundle of writes, and returns an answer for each, in order. A transaction that the
	// server refuses as a whole is an *Error with the server's outcome, and nothing of it was done; so is
	// a batch that it refuses as a whole. With bundle "" it is what the settings say. Entries that the
	// server put off (429, 503 and the like in a batch) are sent again. If an *Error is Unknown, any of
	// the writes may have been done.
	Send(ctx context.Context, bundle string, writes []Write) ([]Answer, error)

	// Read reads resources, each with its version; Status of one that is not there is 404 or 410, and 400 or
	// 405 of one that the server cannot have, such as one of a type that it does not know. It reads what is
	// stored, not what a search index or a cache says.
	Read(ctx context.Context, refs []Reference) ([]Answer, error)

	// Each calls f for every resource of a type, in the server's order, each once. With only set, the
	// resources may lack all elements but these. f's argument is valid during the call.
	Each(ctx context.Context, typ string, only []string, f func(id, version string, resource json.RawMessage) error) error

	// Find returns the resources that a search finds, at most a page.
	Find(ctx context.Context, typ, query string) ([]Answer, error)

	// Count asks how many resources of a type there are, by _summary=count.
	Count(ctx context.Context, typ string) (int64, error)

	// Do sends a request of another kind, with authentication and back-off; path is relative to the base
	// or a URL, body may be nil, and is sent again if the request is. A POST that may have been done is not:
	// it is an *Error that is Unknown. The caller closes the body of the answer. Answers of any status below
	// 500 but 401 and 429 are returned.
	Do(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error)
}

// Once returns a context in which Do sends a request once, apart from authentication, and returns the
// answer of whatever status. It is for requests that must not be repeated blindly, such as the start of a
// job, and for those whose status is no fault of the request, such as the state of a job.
func Once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

type onceKey struct{}

// once reports whether a request must be sent once.
func once(ctx context.Context) bool { return ctx.Value(onceKey{}) != nil }
