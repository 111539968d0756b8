package blackbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// suite is what the checks of one run share.
type suite struct {
	*Target
	http     *http.Client // without cookies, does not follow redirects
	metadata metadata
	browsers map[string]*http.Client // by login: somebody has signed in with it

	mu    sync.Mutex
	found []string // what no answer may have
}

// metadata is what the checks need of the two documents of discovery.
type metadata struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	Authorize     string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Introspect    string   `json:"introspection_endpoint"`
	Revoke        string   `json:"revocation_endpoint"`
	Register      string   `json:"registration_endpoint"`
	Capabilities  []string `json:"capabilities"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	GrantTypes    []string `json:"grant_types_supported"`
	ResponseTypes []string `json:"response_types_supported"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs      []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IDTokenAlgs   []string `json:"id_token_signing_alg_values_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Scopes        []string `json:"scopes_supported"`
}

// open reads the documents of discovery.
func open(t *testing.T, target *Target) *suite {
	t.Helper()
	if len(target.Members) == 0 {
		t.Fatal("the target has no member who can sign in")
	}
	s := &suite{Target: target, browsers: map[string]*http.Client{}}
	s.http = s.client(nil)
	for _, at := range []string{target.Issuer + openidConfiguration, target.FHIRBase + smartConfiguration} { // the second one counts
		a := s.get(at)
		if a.err != nil || a.status != http.StatusOK {
			t.Fatalf("%s cannot be read: %s", at, a)
		}
		if err := json.Unmarshal(a.body, &s.metadata); err != nil {
			t.Fatalf("%s is not as it should be: %v", at, err)
		}
	}
	if s.metadata.Authorize == "" || s.metadata.Token == "" {
		t.Fatal("discovery names no authorization_endpoint or no token_endpoint")
	}
	return s
}

const (
	smartConfiguration  = "/.well-known/smart-configuration"
	openidConfiguration = "/.well-known/openid-configuration"
)

// client is an HTTP client of its own, with the transport of the target's.
func (s *suite) client(jar http.CookieJar) *http.Client {
	c := &http.Client{Timeout: 30 * time.Second}
	if s.HTTP != nil {
		*c = *s.HTTP
	}
	c.Jar = jar
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// browser is a browser in which nobody has signed in.
func (s *suite) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it never fails without options
	}
	return s.client(trusting{jar})
}

// trusting is a cookie jar that trusts loopback addresses as browsers do: they get cookies that are Secure over http.
type trusting struct{ http.CookieJar }

func (j trusting) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.CookieJar.SetCookies(trusted(u), cookies)
}
func (j trusting) Cookies(u *url.URL) []*http.Cookie { return j.CookieJar.Cookies(trusted(u)) }

func trusted(u *url.URL) *url.URL {
	if u.Scheme != "http" || !loopback(u.Hostname()) {
		return u
	}
	v := *u
	v.Scheme = "https"
	return &v
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// answer is what the server answered, read to its end.
type answer struct {
	request string // for messages: without a query or a body
	err     error  // there was no answer
	status  int
	header  http.Header
	body    []byte
	url     *url.URL
}

// call is a request.
type call struct {
	method string
	url    string
	form   url.Values // the body
	body   string     // or any other
	header map[string]string
	client *http.Client // nil is one without cookies
}

func (s *suite) get(at string) *answer { return s.do(&call{url: at}) }

// do sends a request, and looks at the answer for what none may have.
func (s *suite) do(c *call) *answer {
	method, body := c.method, c.body
	if method == "" {
		method = http.MethodGet
	}
	a := &answer{request: method + " " + strings.SplitN(c.url, "?", 2)[0]}
	if c.form != nil {
		body = c.form.Encode()
	}
	r, err := http.NewRequestWithContext(context.Background(), method, c.url, strings.NewReader(body))
	if err != nil {
		a.err = err
		return a
	}
	if c.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range c.header {
		r.Header.Set(k, v)
	}
	client := c.client
	if client == nil {
		client = s.http
	}
	resp, err := client.Do(r)
	if err != nil {
		a.err = err
		return a
	}
	defer resp.Body.Close()
	a.status, a.header, a.url = resp.StatusCode, resp.Header, resp.Request.URL
	if a.body, a.err = io.ReadAll(io.LimitReader(resp.Body, 16<<20)); a.err == nil {
		s.inspect(a)
	}
	return a
}

// String tells an answer in a message. Only errors are shown whole: other bodies may have tokens.
func (a *answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("%s: %v", a.request, a.err)
	}
	text := fmt.Sprintf("%s: %d", a.request, a.status)
	if u := a.location(); u != nil {
		text += " to " + u.Scheme + "://" + u.Host + u.Path
		if e := u.Query().Get("error"); e != "" {
			text += " with " + e + " (" + u.Query().Get("error_description") + ")"
		}
	}
	if a.status >= 400 && len(a.body) > 0 {
		text += " " + string(a.body[:min(len(a.body), 300)])
	}
	return text
}

// location is where the answer sends the browser; nil is nowhere.
func (a *answer) location() *url.URL {
	if a.err != nil || a.status < 300 || a.status > 399 || a.header.Get("Location") == "" {
		return nil
	}
	u, err := a.url.Parse(a.header.Get("Location"))
	if err != nil {
		return nil
	}
	return u
}

// object is the body as JSON; nil if it is none.
func (a *answer) object() map[string]any {
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	if a.err != nil || d.Decode(&o) != nil {
		return nil
	}
	return o
}

func (a *answer) text(member string) string {
	text, _ := a.object()[member].(string)
	return text
}

func (a *answer) mediaType() string {
	m, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return m
}

// errNoAnswer stands for an answer that never came, where one is compared.
var errNoAnswer = errors.New("there was no answer")

// wantStatus fails a check if an answer has none of some statuses.
func (t *trial) wantStatus(a *answer, statuses ...int) {
	t.Helper()
	if a.err != nil {
		t.Fatalf("%s: %v", errNoAnswer, a)
	}
	for _, s := range statuses {
		if a.status == s {
			return
		}
	}
	t.Fatalf("got %s, want %v", a, statuses)
}

// wantError fails a check unless an answer is an error of OAuth (RFC 6749, 5.2): a status, one of some codes, JSON, no-store,
// and no token. No code is any.
func (t *trial) wantError(a *answer, status int, errors ...string) {
	t.Helper()
	t.wantStatus(a, status)
	t.wantOAuthError(a, errors...)
}

// wantOAuthError is wantError for any status of 4xx.
func (t *trial) wantOAuthError(a *answer, errors ...string) {
	t.Helper()
	if a.err != nil || a.status < 400 || a.status > 499 {
		t.Fatalf("got %s, want a refusal", a)
	}
	if a.mediaType() != "application/json" {
		t.Errorf("%s: the type is %q, not JSON", a, a.header.Get("Content-Type"))
	}
	if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
		t.Errorf("%s: Cache-Control is %q, not no-store", a, a.header.Get("Cache-Control"))
	}
	if a.text("access_token") != "" {
		t.Errorf("%s has a token", a.request)
	}
	got := a.text("error")
	for _, e := range errors {
		if got == e {
			return
		}
	}
	if got == "" || len(errors) > 0 {
		t.Errorf("%s: the error is %q, want one of %v", a, got, errors)
	}
}
