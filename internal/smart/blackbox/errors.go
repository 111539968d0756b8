package blackbox

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// internals are what betrays how a server is made. Values that a request had may come back in an error, so they are
// of kinds that no check sends.
var internals = regexp.MustCompile(`(?i)goroutine \d|panic:|runtime error|\.go:\d+|\.java:\d+|\.js:\d+|\.py"|stack ?trace|traceback|at [\w$.]+\([\w]+\.\w+:\d+\)` +
	`|\bsql(ite)?\b|sql:|\bpq:|\bpgx\b|postgres|database is|constraint|no rows|modernc|accounts\.|authserver|go-jose|go\.mod|\*[a-z]+\.[A-Z]\w+|json: |invalid character|strconv\.|illegal base64|unmarshal` +
	`|context (canceled|deadline)|dial tcp|connection refused|no such file|/(home|root|usr|var|work|tmp|go/src|node_modules)/|0xc0[0-9a-f]{8}|<nil>|%!\w\(|undefined is not`)

// inspect notes what an answer must not have.
func (s *suite) inspect(a *answer) {
	text := ""
	if a.status >= 400 {
		text = string(a.body[:min(len(a.body), 64<<10)])
	}
	if to := a.location(); to != nil && to.Query().Has("error") {
		text += " " + to.Query().Get("error_description") + " " + to.Query().Get("error_uri")
	}
	for _, h := range []string{"WWW-Authenticate", "Server", "X-Powered-By"} {
		text += " " + a.header.Get(h)
	}
	switch {
	case a.status >= 500:
		s.note("%s: %d", a.request, a.status)
	case strings.Contains(a.request, "/.well-known/"):
	default:
		if m := internals.FindString(text); m != "" {
			s.note("%s: %d has %q", a.request, a.status, m)
		}
	}
}

func (s *suite) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line := fmt.Sprintf(format, args...); len(s.found) < 100 {
		s.found = append(s.found, line)
	}
}

// odd are values that programs stumble over.
var odd = []string{"", "\x00", "%", "'", `"`, "\xff\xfe", "{}", "[", "-1", "9999999999999999999999", "../../../etc/passwd", "${jndi:ldap://x}", "{{7*7}}", "%s%n", strings.Repeat("[", 5000)}

var errorTexts = []check{
	{"odd values at all endpoints", func(t *trial) {
		c := t.app()
		for _, value := range odd {
			for name := range t.attempt(c, c.scope()).query {
				t.ask(nil, t.attempt(c, c.scope()).set(name, value))
			}
			for _, grantType := range []string{"authorization_code", "refresh_token", "client_credentials", value} {
				for _, name := range []string{"code", "refresh_token", "redirect_uri", "client_id", "client_secret", "client_assertion", "client_assertion_type", "code_verifier", "scope"} {
					form := url.Values{"grant_type": {grantType}, "client_id": {c.ID}, "code": {"x"}, "refresh_token": {"x"}}
					form.Set(name, value)
					t.post(form, "")
				}
			}
			t.post(url.Values{"grant_type": {"authorization_code"}}, basic(value, value))
			for _, at := range []string{t.metadata.Revoke, t.metadata.Introspect} {
				if at != "" {
					t.do(&call{method: http.MethodPost, url: at, form: url.Values{"token": {value}, "token_type_hint": {value}, "client_id": {c.ID}}})
				}
			}
			if t.metadata.Register != "" {
				t.do(&call{method: http.MethodPost, url: t.metadata.Register, body: value, header: map[string]string{"Content-Type": "application/json"}})
			}
			for _, at := range []string{"/login", "/consent", "/login/callback"} {
				t.get(t.origin() + at + "?request=" + url.QueryEscape(value) + "&state=" + url.QueryEscape(value) + "&code=" + url.QueryEscape(value))
			}
		}
	}},
	{"no answer of all these tests tells how the server is made, or is 5xx", func(t *trial) {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, f := range t.found {
			t.Error(f)
		}
	}},
}
