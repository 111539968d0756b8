package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"cpcds2fhir/internal/rates"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// Config describes a server. Zero values mean defaults where a field says so.
type Config struct {
	Store      store.Handle
	Authorizer Authorizer

	Base    string   // public URL, such as https://api.example.org/fhir; "" is http, the Host of the request, and Path
	Path    string   // where it is on this server; "" is /fhir
	Aliases []string // other paths whose /metadata is answered, such as /ProviderClient

	CursorKey []byte // signs cursors; at least 16 bytes, the same for all servers of a store
	Release   string // of the CARIN guide that the store was loaded with; "" is 2.2.0
	Software  string // version of the program
	Security  *Security

	// SMART is what .well-known/smart-configuration answers; nil is nothing.
	SMART []byte

	// SourceDates serves meta.lastUpdated as the source has it. By default it is the later of that and the
	// commit: otherwise an app that asks for what has changed never sees a claim that was loaded late.
	SourceDates bool

	Limits Limits
	Events Events
}

// Security is what the CapabilityStatement says about authorization; URLs are empty if there are none.
type Security struct {
	Authorize, Token, Introspect, Revoke, Manage, Register string
}

// Limits bound what a request may cost. Zero values mean the defaults.
type Limits struct {
	Rows     int           // resources that a search reads without an index, and that it sorts: 20,000
	Included int           // resources that a _revinclude adds: 1,000
	Time     time.Duration // of a request: 30 seconds
	URL      int           // bytes of a URL: 8,192
	Body     int64         // bytes of a body: 65,536
	Parallel int           // requests at a time; more are told to come back: 256

	// Memory is how many bytes answers take at a time, while they are made and sent, by a rough estimate; more
	// large answers wait: 128 MiB.
	Memory int64

	// Requests a minute, and as many at once: of a client, and of a client for one member. Below 0 is no
	// limit.
	Client int // 60,000
	Member int // 1,200
}

func (l *Limits) fill() {
	set := func(n *int, to int) {
		if *n == 0 {
			*n = to
		}
	}
	set(&l.Rows, 20_000)
	set(&l.Included, 1_000)
	set(&l.URL, 8<<10)
	set(&l.Parallel, 256)
	set(&l.Client, 60_000)
	set(&l.Member, 1_200)
	if l.Memory == 0 {
		l.Memory = 128 << 20
	}
	if l.Time == 0 {
		l.Time = 30 * time.Second
	}
	if l.Body == 0 {
		l.Body = 64 << 10
	}
}

// Events report what the server does. Every field may be nil. The functions are called from several
// goroutines at once and must be fast.
type Events struct {
	// Answered is called after each request.
	Answered func(a *Answer)
	// Audit is called before an answer is sent to somebody who was let in, with what it shows. If it fails,
	// the answer is 503 instead: nobody reads what is not accounted for. The Answer is valid during the call.
	Audit func(a *Answer) error
	// Failed says why a request was answered with 5xx. The error holds no values of members.
	Failed func(request string, err error)
}

// Answer describes an answered request. It has ids of resources, which are pseudonyms, and no values.
type Answer struct {
	Request string // its id
	Method  string
	Route   string // such as search, read or metadata
	Type    string // of the resource, "" if none
	ID      string
	Status  int
	Bytes   int
	Took    time.Duration
	Access  *Access // nil if it was refused before that was known
	Client  string  // whose token was refused, if that is known
	Entries int     // resources in the answer
	Later   bool    // it is a page after the first one

	// For Events.Audit:
	Params []string // names of the parameters that the server knows
	Shown  []Shown  // the resources in the answer
}

// Shown is a resource that an answer has.
type Shown struct {
	Type    fhir.Type
	ID      string
	Patient string // whose it is, "" if it is nobody's
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	Config
	cursors  cursors
	busy     chan struct{}
	answers  *semaphore.Weighted // their memory
	clients  *rates.Rates
	members  *rates.Rates
	metadata []byte
	openAPI  []byte
}

// New makes a server.
func New(c *Config) (*Server, error) {
	if c.Store == nil || c.Authorizer == nil || len(c.CursorKey) < 16 {
		return nil, errors.New("the server needs a store, an authorizer and a key of 16 bytes for cursors")
	}
	s := &Server{Config: *c, cursors: cursors{c.CursorKey}}
	s.Limits.fill()
	if s.Path == "" {
		s.Path = "/fhir"
	}
	if s.Release == "" {
		s.Release = defaultRelease
	}
	s.Base = strings.TrimRight(s.Base, "/")
	s.clients, s.members = newRates(s.Limits.Client), newRates(s.Limits.Member)
	s.answers = semaphore.NewWeighted(s.Limits.Memory)
	s.busy = make(chan struct{}, s.Limits.Parallel)
	return s, s.documents()
}

// defaultRelease of the CARIN guide.
const defaultRelease = "2.2.0"

// exchange is one request and its answer.
type exchange struct {
	*Server
	w      http.ResponseWriter
	r      *http.Request
	base   string
	answer Answer
	access *Access
	memory *memory
	params []pair // of the URL and of the body
	pretty bool
	plain  bool  // the answer is application/json
	noted  bool  // in the audit
	held   int64 // of the room for answers
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Server: s, w: w, r: r, base: s.Base, memory: memories.Get().(*memory)}
	defer x.memory.release()
	if x.base == "" {
		x.base = scheme(r) + "://" + r.Host + s.Path
	}
	began := time.Now()
	x.answer = Answer{Request: requestID(r), Method: r.Method}
	w.Header().Set("X-Request-Id", x.answer.Request)
	r.Header.Set("X-Request-Id", x.answer.Request) // what is not an id must not reach the log of an Authorizer
	x.cors()
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Time)
	defer cancel()
	x.r = r.WithContext(ctx)
	defer x.leave()
	if err := x.serve(); err != nil {
		x.fail(err)
	}
	x.answer.Took, x.answer.Access = time.Since(began), x.access
	if s.Events.Answered != nil {
		s.Events.Answered(&x.answer)
	}
}

// scheme is how the client reached this server itself. Headers of proxies do not count.
func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// serve answers a request, or returns why not.
func (x *exchange) serve() (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			err = errors.New("a bug: the request made the server panic")
		}
	}()
	if x.preflight() {
		x.answer.Route, x.answer.Status = "preflight", http.StatusNoContent
		x.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	select {
	case x.busy <- struct{}{}:
		defer func() { <-x.busy }()
	default:
		return &Error{Status: http.StatusTooManyRequests, Code: "throttled", Text: "the server is busy; try again", Retry: 1}
	}
	if len(x.r.RequestURI) > x.Limits.URL {
		return &Error{Status: http.StatusRequestURITooLong, Code: "too-long", Text: "the URL is too long; use POST with _search"}
	}
	segments, ok := x.segments()
	if !ok {
		x.answer.Route = "unknown"
		return &Error{Status: http.StatusNotFound, Code: "not-found", Text: "the server has nothing here; its FHIR service is at " + x.Path}
	}
	rt, err := x.route(segments)
	x.answer.Route = rt.name
	if err != nil {
		return err
	}
	if x.r.Method == http.MethodOptions {
		x.w.Header().Set("Allow", strings.Join(rt.methods, ", "))
		x.w.WriteHeader(http.StatusNoContent)
		x.answer.Status = http.StatusNoContent
		return nil
	}
	if !slices.Contains(rt.methods, x.r.Method) {
		return &Error{Status: http.StatusMethodNotAllowed, Code: "not-supported", Text: "the method is not allowed here",
			Header: map[string]string{"Allow": strings.Join(rt.methods, ", ")}}
	}
	if x.params, err = parsePairs(x.r.URL.RawQuery); err != nil {
		return err
	}
	if rt.form {
		if err := x.form(); err != nil {
			return err
		}
	}
	// FHIR says that a parameter without a value is no error, and is ignored.
	x.params = slices.DeleteFunc(x.params, func(p pair) bool { return p.value == "" })
	x.answer.Later = slices.ContainsFunc(x.params, func(p pair) bool { return p.name == cursorParam })
	if x.plain = rt.plain; !rt.plain {
		if err := x.negotiate(); err != nil {
			return err
		}
	}
	if !rt.public {
		if x.access, err = x.Authorizer.Authorize(x.r); err != nil {
			return err
		}
		if err := x.throttle(); err != nil {
			return err
		}
	}
	return rt.serve(x)
}

// segments are the parts of the path below the base. Empty ones are passed over: a redirect would turn
// POST into GET, and lose the body.
func (x *exchange) segments() (list []string, ok bool) {
	path := x.r.URL.EscapedPath()
	rest, ok := below(path, x.Path)
	if !ok {
		for _, a := range x.Aliases {
			if rest, ok = below(path, a); ok && strings.Trim(rest, "/") == "metadata" {
				return []string{"metadata"}, true
			}
		}
		return nil, false
	}
	for s := range strings.SplitSeq(rest, "/") {
		if s == "" {
			continue
		}
		s, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}

// below cuts a prefix of whole segments from a path.
func below(path, prefix string) (rest string, ok bool) {
	prefix = strings.Trim(prefix, "/")
	path = strings.TrimLeft(path, "/")
	if prefix == "" {
		return path, true
	}
	rest, ok = strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// route is what answers a path.
type route struct {
	name    string
	methods []string
	public  bool // without authorization
	plain   bool // application/json, whatever is accepted: the document is not of FHIR
	form    bool // a body has parameters
	serve   func(x *exchange) error
}

var reading = []string{http.MethodGet, http.MethodHead}

// route finds what answers a path.
func (x *exchange) route(path []string) (route, error) {
	unknown := route{name: "unknown"}
	switch {
	case len(path) == 1 && path[0] == "metadata":
		return route{name: "metadata", methods: reading, public: true, serve: func(x *exchange) error { return x.fixed(x.Server.metadata) }}, nil
	case len(path) == 2 && path[0] == ".well-known" && path[1] == "smart-configuration" && x.SMART != nil:
		return route{name: "smart", methods: reading, public: true, plain: true, serve: func(x *exchange) error { return x.fixed(x.SMART) }}, nil
	case len(path) == 1 && path[0] == "openapi.json":
		return route{name: "openapi", methods: reading, public: true, serve: func(x *exchange) error { return x.fixed(x.openAPI) }}, nil
	case len(path) == 0:
		return unknown, &Error{Status: http.StatusNotFound, Code: "not-supported", Text: "batches and transactions are not supported; the server is described at /metadata"}
	}
	t := typeNamed(path[0])
	if t == nil {
		return unknown, &Error{Status: http.StatusNotFound, Code: "not-supported", Text: "the server does not have this type; /metadata lists those that it has"}
	}
	x.answer.Type = t.typ.String()
	if len(path) > 1 && IsID(path[1]) {
		x.answer.ID = path[1]
	}
	switch {
	case len(path) == 1:
		return route{name: "search", methods: reading, serve: func(x *exchange) error { return x.search(t) }}, nil
	case len(path) == 2 && path[1] == "_search":
		x.answer.ID = ""
		return route{name: "search", methods: []string{http.MethodPost}, form: true, serve: func(x *exchange) error { return x.search(t) }}, nil
	case len(path) == 2 && !strings.HasPrefix(path[1], "_") && !strings.HasPrefix(path[1], "$"):
		return route{name: "read", methods: reading, serve: func(x *exchange) error { return x.read(t, path[1]) }}, nil
	case len(path) == 3 && path[2] == "_history":
		return route{name: "history", methods: reading, serve: func(x *exchange) error { return x.history(t, path[1]) }}, nil
	case len(path) == 4 && path[2] == "_history":
		return route{name: "vread", methods: reading, serve: func(x *exchange) error { return x.vread(t, path[1], path[3]) }}, nil
	case len(path) == 3 && path[2] == "$everything" && t.everything:
		return route{name: "everything", methods: append(reading[:2:2], http.MethodPost), form: true,
			serve: func(x *exchange) error { return x.everything(path[1]) }}, nil
	}
	return unknown, &Error{Status: http.StatusNotFound, Code: "not-supported", Text: "the server has no such interaction; /metadata lists those that it has"}
}

// IsID reports whether a text may be the id of a resource or a request, which may be logged.
func IsID(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == ""
}
