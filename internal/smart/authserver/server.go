package authserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/outbound"
)

// Config says how the server is reached and how long things count. Zero values mean defaults where a field says so.
type Config struct {
	Accounts *accounts.Accounts

	// Issuer is the origin that the server is reached at, without a slash at the end, and the name of the server
	// in its tokens: https://api.example.gov.
	Issuer string

	// FHIRBase is the base URL of the API, which aud must be and fhirUser begins with.
	FHIRBase string

	// MissingAudience accepts authorization requests without aud. SMART demands it; some apps do not send it.
	MissingAudience bool

	// Production refuses clients of the developers' sandbox, as if they did not exist.
	Production bool

	// SignIn is the path of the page where somebody signs in and decides; the id of the request is added as
	// ?request=ID. "" is /consent.
	SignIn string

	CodeFor    time.Duration // life of a code; 0 is a minute
	RequestFor time.Duration // how long somebody may take to sign in and decide; 0 is half an hour
	AccessFor  time.Duration // life of an access token; 0 is an hour
	ServiceFor time.Duration // life of a service's access token; 0 is 5 minutes, the most that SMART recommends
	Grace      time.Duration // how long a refresh that is repeated gets the same answer; 0 is 45 seconds, below 0 none

	Registration bool // apps may register themselves (RFC 7591), and are held until somebody approves them

	Brand Brand

	// KeySets fetches the key sets of clients; nil is a client that reaches public addresses over TLS only.
	KeySets *http.Client

	// Explain shows a person why a request has no answer, as the pages do; nil is a line of text. The code is one
	// of OAuth, or unknown_client, held_client, redirect_mismatch.
	Explain func(w http.ResponseWriter, r *http.Request, status int, code string)

	Events Events
	Now    func() time.Time // nil is time.Now
}

// Events report what happens. Every field may be nil. No event has a secret or a value of a member: ids are
// pseudonyms.
type Events struct {
	// Happened is told what was decided. It fails if that cannot be recorded; then it does not count either.
	Happened func(*Event) error

	Refused func(endpoint, client, code, reason string) // a request was refused

	// Registered: a client that has registered itself is kept, and held.
	Registered func(client string)

	Failed func(endpoint string, err error) // a fault
}

// Event is something that an audit wants to know.
type Event struct {
	Action  string // authorize, deny, token, refresh, service, revoke, reuse, register
	Client  string
	User    string
	Patient string
	Grant   string
	Scopes  []string
	Utah    bool // in the dialect of Utah
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	Config
	keySets *keySets
	limits  *limits
	mux     *http.ServeMux
}

var _ Pages = (*Server)(nil)

// New makes a Server.
func New(c *Config) (*Server, error) {
	u, err := url.Parse(c.Issuer)
	switch {
	case c.Accounts == nil:
		return nil, errors.New("the authorization server has no accounts")
	case err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the issuer is an origin such as https://api.example.gov, without a path or a slash at the end")
	case c.FHIRBase == "":
		return nil, errors.New("the authorization server does not know the base URL of the API")
	}
	s := &Server{Config: *c}
	for _, d := range []struct {
		of *time.Duration
		to time.Duration
	}{
		{&s.CodeFor, time.Minute}, {&s.RequestFor, 30 * time.Minute}, {&s.AccessFor, time.Hour},
		{&s.ServiceFor, 5 * time.Minute}, {&s.Grace, 45 * time.Second},
	} {
		if *d.of == 0 {
			*d.of = d.to
		}
	}
	s.Grace = max(s.Grace, 0)
	if s.SignIn == "" {
		s.SignIn = "/consent"
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Explain == nil {
		s.Explain = func(w http.ResponseWriter, _ *http.Request, status int, code string) {
			http.Error(w, "The request of the app cannot be answered: "+code, status)
		}
	}
	if c.KeySets == nil {
		s.KeySets = outbound.PublicOnly()
	}
	s.keySets = newKeySets(s.KeySets, s.Now)
	s.limits = newLimits()
	s.limits.clock(s.Now)
	s.routes()
	return s, nil
}

// Paths of the server below its issuer.
const (
	AuthorizePath     = "/oauth2/authorize"
	TokenPath         = "/oauth2/token"
	RevokePath        = "/oauth2/revoke"
	IntrospectPath    = "/oauth2/introspect"
	KeysPath          = "/oauth2/jwks"
	RegisterPath      = "/oauth2/register"
	BrandsPath        = "/brands.json"
	DiscoveryPath     = "/.well-known/openid-configuration"
	UtahAuthorizePath = "/sso/oauth2/authorize"
	UtahTokenPath     = "/sso/oauth2/access_token"
)

// Paths are those that Handler answers.
func (s *Server) Paths() []string {
	list := []string{AuthorizePath, TokenPath, RevokePath, IntrospectPath, KeysPath, DiscoveryPath, BrandsPath, UtahAuthorizePath, UtahTokenPath}
	if s.Registration {
		list = append(list, RegisterPath)
	}
	return list
}

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	page := func(path string, h http.HandlerFunc, methods ...string) {
		s.mux.Handle(path, s.guard(h, false, methods))
	}
	call := func(path string, h http.HandlerFunc, methods ...string) {
		s.mux.Handle(path, s.guard(h, true, methods))
	}
	page(AuthorizePath, s.authorize(false), http.MethodGet, http.MethodPost)
	page(UtahAuthorizePath, s.authorize(true), http.MethodGet, http.MethodPost)
	call(TokenPath, s.token(false), http.MethodPost)
	call(UtahTokenPath, s.token(true), http.MethodPost)
	call(RevokePath, s.revoke, http.MethodPost)
	call(IntrospectPath, s.introspect, http.MethodPost)
	call(KeysPath, s.keys, http.MethodGet)
	call(DiscoveryPath, s.discovery, http.MethodGet)
	call(BrandsPath, s.brands, http.MethodGet)
	if s.Registration {
		call(RegisterPath, s.register, http.MethodPost)
	}
}

// ServeHTTP answers the paths of the server.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

const bodyMax = 64 << 10 // bytes

// guard sets what all answers have in common, and answers preflights and methods that a path does not have. Calls
// are what scripts of any origin may make: they carry no cookies, so that the origin decides nothing.
func (s *Server) guard(h http.HandlerFunc, call bool, methods []string) http.Handler {
	allow := strings.Join(append(methods, http.MethodOptions), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Pragma", "no-cache")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		if call {
			header.Set("Access-Control-Allow-Origin", "*")
			header.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
		}
		allowed := slices.Contains(methods, r.Method) || r.Method == http.MethodHead && methods[0] == http.MethodGet
		switch {
		case r.Method == http.MethodOptions:
			header.Set("Allow", allow)
			if call {
				header.Set("Access-Control-Allow-Methods", allow)
				header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept")
				header.Set("Access-Control-Max-Age", "86400")
			}
			w.WriteHeader(http.StatusNoContent)
		case !allowed:
			header.Set("Allow", allow)
			s.fail(w, r, &fault{status: http.StatusMethodNotAllowed, code: "invalid_request", text: "use " + strings.Join(methods, " or ")})
		default:
			r.Body = http.MaxBytesReader(w, r.Body, bodyMax)
			h(w, r)
		}
	})
}

// fault is an error of OAuth (RFC 6749, 5.2), or one of this server if it has a cause, which is not shown.
type fault struct {
	status int // 0 is 400
	code   string
	text   string
	basic  bool // the client may try again with HTTP Basic
	cause  error
	client string // whose request it was, if that is known
	retry  int    // seconds to wait, 0 if it is not known
}

func (f *fault) Error() string { return f.code + ": " + f.text }
func (f *fault) Unwrap() error { return f.cause }

func invalid(code, text string) *fault { return &fault{code: code, text: text} }

// broken is a fault of the server or its database.
func broken(err error) *fault {
	return &fault{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", text: "the server cannot answer now; try again later", cause: err}
}

// noClient says that a client could not be authenticated.
func noClient(client, text string) *fault {
	return &fault{status: http.StatusUnauthorized, code: "invalid_client", text: text, basic: true, client: client}
}

// fail answers a call with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, f *fault) {
	s.note(r.URL.Path, f)
	if f.status == 0 {
		f.status = http.StatusBadRequest
	}
	if f.basic {
		w.Header().Set("WWW-Authenticate", `Basic realm="oauth2"`)
	}
	if f.status == http.StatusServiceUnavailable && f.retry == 0 {
		f.retry = 5
	}
	if f.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.retry))
	}
	reply(w, f.status, map[string]string{"error": f.code, "error_description": f.text})
}

// note reports an error, whose texts are all of this program.
func (s *Server) note(endpoint string, f *fault) {
	switch {
	case f.cause != nil:
		if s.Events.Failed != nil {
			s.Events.Failed(endpoint, f.cause)
		}
	case s.Events.Refused != nil:
		s.Events.Refused(endpoint, f.client, f.code, f.text)
	}
}

// happened records what is about to count.
func (s *Server) happened(e *Event) error {
	if s.Events.Happened == nil {
		return nil
	}
	return s.Events.Happened(e)
}

func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts, numbers and lists always marshal
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // nobody could be told
}

// asFault keeps faults, and takes other errors as those of the server.
func asFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	return broken(err)
}
