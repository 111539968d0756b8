// Package fhirtest is a FHIR R4 server for tests, in the process of the test: what a client of servers meets, and
// what it should never meet.
//
// By default it answers as a HAPI FHIR 8.8.0 does, observed entry by entry; Options make it behave as other
// servers. It keeps every version of every resource in memory, checks ids, values and references, and has
// transactions that are atomic. Faults are injected by rules (see Inject): a client is throttled, cut off,
// answered in part, or not at all. Afterwards a test asks what the server has (Resources, Versions), what was
// written (Writes), and what was asked and answered (Requests).
package fhirtest

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options say how a server behaves. The zero value behaves as HAPI FHIR does without referential integrity.
type Options struct {
	Software, Version string   // of the CapabilityStatement; "" is HAPI FHIR Server 8.8.0
	Base              string   // path of the server; "" is /fhir
	Types             []string // that it stores; nil is those of claims data and a few more
	TLS               *tls.Config
	Now               func() time.Time

	Integrity         bool // references must resolve
	EqualMakesVersion bool // a write of equal content makes a new version
	AnyID             bool // an id of digits alone is accepted
	AssignIDs         bool // a PUT to an id that does not exist is 404, as on Medplum; POST and conditional updates create
	AssignAlone       bool // the same for a PUT by itself; in a bundle the id is accepted
	RecreateAlone     bool // a deleted resource that comes again in a transaction of several entries is 409
	Stale412          bool // a wrong If-Match is 412, and not 409
	IgnoreIfMatch     bool // If-Match in bundles is not looked at
	DeleteIfMatch     bool // If-Match of deletions is looked at
	DeleteAgain       int  // status of a deletion of what is not there; 0 is 200, or 204 in a bundle
	TransactionAsBatch,
	NoTransaction, // transactions are refused: 400
	BatchFailsWhole bool // one entry at fault fails the batch, as on Blaze

	MaxEntries  int // of a bundle; more are refused with 413. 0 is no limit
	MaxBytes    int // of a request's body, unpacked; more are refused with 413
	MaxResource int // bytes of a resource; larger ones are refused with 413, or 422 in a bundle

	PageSize    int           // of searches without _count; 0 is 20
	MaxPage     int           // of any search; 0 is 1000
	SearchCache time.Duration // for which a search is answered as the same one was before, unless the request says no-cache
	NoTotal     bool          // searchsets without a total
	WrongTotal  int           // is added to totals of pages
	WriteTime   time.Duration // that a write takes; another one of the same resource meanwhile is a conflict

	// Rewrite changes a resource when it is stored, as servers do that add elements of their own.
	Rewrite func(resource map[string]any)

	Auth   *Auth
	Import Import
}

// Server is a FHIR server for tests. It is safe for concurrent use.
type Server struct {
	URL string // of its base, without a slash at the end

	http    *httptest.Server
	closing chan struct{}
	once    sync.Once

	mu           sync.Mutex
	o            Options
	known        map[string]*resource // by Type/id
	order        map[string][]string  // ids of a type, in order of their first version
	versions     int                  // that were ever made
	byIdentifier map[string][]string  // ids by Type?system|value
	busy         map[string]chan struct{}
	writes       []Write
	requests     []*Request
	rules        []*rule
	refuse       []*refusal
	searches     map[string]*search
	cache        map[string]*search
	jobs         map[string]*job
	tokens       map[string]time.Time
	used         map[string]bool // jti of assertions
	serial       int

	serialRequests int // requests that were forgotten
}

// Listen starts a server on a free port of the loopback. The caller closes it.
func Listen(o *Options) *Server {
	s := &Server{
		known: map[string]*resource{}, byIdentifier: map[string][]string{}, order: map[string][]string{}, busy: map[string]chan struct{}{},
		searches: map[string]*search{}, cache: map[string]*search{}, jobs: map[string]*job{},
		tokens: map[string]time.Time{}, used: map[string]bool{}, closing: make(chan struct{}),
	}
	if o != nil {
		s.o = *o
	}
	s.o.fill()
	s.http = httptest.NewUnstartedServer(s)
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) //nolint:forbidigo // the library's own log, of connections that a fault has cut
	scheme := "http://"
	if s.o.TLS != nil {
		scheme = "https://"
	}
	s.URL = scheme + s.http.Listener.Addr().String() + s.o.Base // before anybody can ask
	if s.o.TLS != nil {
		s.http.TLS = s.o.TLS
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
	return s
}

// Start starts a server for a test, and closes it after the test.
func Start(tb testing.TB, o *Options) *Server {
	tb.Helper()
	s := Listen(o)
	tb.Cleanup(s.Close)
	return s
}

// Close ends the server and all its connections.
func (s *Server) Close() {
	s.once.Do(func() { close(s.closing) })
	s.http.CloseClientConnections()
	s.http.Close()
}

// Client is an HTTP client that trusts the certificate of the server.
func (s *Server) Client() *http.Client { return s.http.Client() }

// Set changes how the server behaves from now on.
func (s *Server) Set(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	base := s.o.Base
	change(&s.o)
	s.o.Base = base
	s.o.fill()
}

func (o *Options) fill() {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	def(&o.Software, "HAPI FHIR Server")
	def(&o.Version, "8.8.0")
	def(&o.Base, "/fhir")
	o.Base = "/" + strings.Trim(o.Base, "/")
	if o.Base == "/" {
		o.Base = ""
	}
	if o.Types == nil {
		o.Types = []string{"Claim", "Coverage", "ExplanationOfBenefit", "Group", "Location", "Observation", "Organization", "Patient", "Practitioner", "PractitionerRole", "RelatedPerson"}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.PageSize == 0 {
		o.PageSize = 20
	}
	if o.MaxPage == 0 {
		o.MaxPage = 1000
	}
}

func (o *Options) stores(typ string) bool { return slices.Contains(o.Types, typ) }
