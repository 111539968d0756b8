package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/identity"
)

const memberSystem = "https://state.example/member"

// byID is the rule of most tests.
var byID = []identity.Rule{{Name: "member id", Find: identity.Find{Identifier: memberSystem + "|{member_id}"}}}

// people are members in memory. They are found as the API finds them, with one more that was not asked for.
type people struct {
	mu     sync.Mutex
	list   []identity.Member
	failed error
	asked  []url.Values
}

func (p *people) Find(_ context.Context, q url.Values) (found []identity.Member, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, q)
	if p.failed != nil {
		return nil, p.failed
	}
	for i, m := range p.list {
		hit := m.Birth != "" && m.Birth == q.Get("birthdate")
		for _, id := range m.Identifiers {
			hit = hit || id.System+"|"+strings.NewReplacer(`\,`, `,`, `\|`, `|`, `\$`, `$`, `\\`, `\`).Replace(strings.TrimPrefix(q.Get("identifier"), memberSystem+"|")) == id.System+"|"+id.Value
		}
		if hit || i == 0 {
			found = append(found, m, m)
		}
	}
	return found, nil
}

// member makes a member.
func member(patient, id, birth, family string, given ...string) identity.Member {
	return identity.Member{Patient: patient, Birth: birth, Names: []identity.Name{{Family: family, Given: given}},
		Identifiers: []identity.Identifier{{System: memberSystem, Value: id}, {System: "https://other.example", Value: "X" + id}}}
}

// world is a provider, a server that signs in at it, and what happened.
type world struct {
	*openID
	login    *identity.Login
	accounts *accounts.Accounts
	people   *people
	site     *httptest.Server

	eventsMu sync.Mutex
	events   []string
	seen     []string // texts that people or logs see
	last     outcome
	after    time.Time // for Begin
}

// outcome is what Finish has returned.
type outcome struct {
	user    *accounts.User
	level   string
	at      time.Time
	request string
	err     error
}

// code is why a login is refused, "" if it is not.
func (x outcome) code(t *testing.T) string {
	t.Helper()
	if x.err == nil {
		return ""
	}
	r, ok := errors.AsType[*identity.RefusedError](x.err)
	if !ok {
		t.Fatalf("a fault: %v", x.err)
	}
	return r.Code
}

func newWorld(t *testing.T, change func(c *identity.Config)) *world {
	t.Helper()
	w := &world{openID: newOpenID(t), people: &people{list: []identity.Member{
		member("decoy", "M-0", "1970-01-01", "Nobody", "Ned"), member("p1", "M-1", "1980-02-03", "Winterbourne", "Ada", "Maria")}}}
	w.claims = map[string]any{"sub": "subject-of-ada", "member_id": "M-1", "family_name": "Winterbourne", "given_name": "Ada Maria", "birthdate": "1980-02-03", "email": "ada@canary.example"}
	var err error
	w.accounts, err = accounts.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "accounts.db"), &accounts.Options{Seal: [32]byte{1}, Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.accounts.Close() })
	mux := http.NewServeMux()
	w.site = httptest.NewServer(mux)
	t.Cleanup(w.site.Close)
	note := func(format string, args ...any) {
		w.eventsMu.Lock()
		defer w.eventsMu.Unlock()
		w.events = append(w.events, fmt.Sprintf(format, args...))
	}
	c := &identity.Config{Issuer: w.URL, ClientID: clientID, Secret: func() (string, error) { return clientSecret, nil }, RedirectURL: w.site.URL + "/login/callback",
		Levels: []string{levelTwo}, Rules: byID, Now: w.clock.now, Events: identity.Events{
			SignedIn: func(_, level string) { note("signed in at %s", level) },
			Refused:  func(code, rule, _ string) { note("refused %s %s", code, rule) },
			Linked:   func(_, patient, role, rule string) { note("linked %s %s %s", patient, role, rule) },
			Unlinked: func(_, patient string) { note("unlinked %s", patient) },
			Passed:   func(code, rule, _ string) { note("passed %s %s", code, rule) },
			Fetched:  func(what string, err error) { note("fetched %s %v", what, err) },
		}}
	if change != nil {
		change(c)
	}
	if w.login, err = identity.New(c, w.accounts, w.people); err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc("GET /login", func(rw http.ResponseWriter, r *http.Request) {
		if err := w.login.Begin(rw, r, r.FormValue("request"), w.after); err != nil {
			w.last = outcome{err: err}
			http.Error(rw, "", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/login/callback", func(rw http.ResponseWriter, r *http.Request) {
		var x outcome
		x.user, x.level, x.at, x.request, x.err = w.login.Finish(rw, r)
		w.eventsMu.Lock()
		w.last = x
		w.eventsMu.Unlock()
	})
	t.Cleanup(func() { w.noValues(t) })
	return w
}

// noValues looks for claims, codes and secrets in events, errors and cookies.
func (w *world) noValues(t *testing.T) {
	t.Helper()
	for _, text := range append(w.seen, w.events...) {
		for _, v := range w.values() {
			if strings.Contains(text, v) {
				t.Errorf("%q has a value: %s", text, v)
			}
		}
	}
}

// browser is a browser with its own cookies, that follows no redirect by itself.
func (w *world) browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// go opens a URL, and returns where it redirects to.
func (w *world) open(t *testing.T, b *http.Client, at string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, c := range resp.Cookies() {
		w.seen = append(w.seen, c.String())
	}
	return resp.Header.Get("Location")
}

// answered goes to the provider and back: it returns the URL that the provider sends the browser to.
func (w *world) answered(t *testing.T, b *http.Client, request string) string {
	t.Helper()
	to := w.open(t, b, w.site.URL+"/login?request="+url.QueryEscape(request))
	if to == "" {
		return ""
	}
	back := w.open(t, b, to)
	if !strings.HasPrefix(back, w.site.URL+"/login/callback?") {
		t.Fatalf("the provider answers with %q", back)
	}
	return back
}

// finish opens the URL that the provider gave.
func (w *world) finish(t *testing.T, b *http.Client, back string) outcome {
	t.Helper()
	w.open(t, b, back)
	w.eventsMu.Lock()
	defer w.eventsMu.Unlock()
	if w.last.err != nil {
		w.seen = append(w.seen, w.last.err.Error(), fmt.Sprintf("%+v", w.last.err))
	}
	return w.last
}

// signIn signs in with a new browser.
func (w *world) signIn(t *testing.T) outcome {
	t.Helper()
	b := w.browser(t)
	back := w.answered(t, b, "request-1")
	if back == "" {
		return w.last
	}
	return w.finish(t, b, back)
}

func (w *world) links(t *testing.T, user string) string {
	t.Helper()
	list, err := w.accounts.Links(t.Context(), user, "")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, k := range list {
		texts = append(texts, k.Patient+" "+k.Role+" "+k.Source)
	}
	return strings.Join(texts, ", ")
}

func TestLogin(t *testing.T) {
	w := newWorld(t, nil)
	x := w.signIn(t)
	if x.code(t) != "" || x.level != levelTwo || x.request != "request-1" || x.user.Subject != "subject-of-ada" || x.user.Issuer != w.URL {
		t.Fatalf("%+v", x)
	}
	if got := w.links(t, x.user.ID); got != "p1 self rule" {
		t.Errorf("links: %s", got)
	}
	if d := w.clock.now().Sub(x.at); d < 0 || d > 5*time.Second {
		t.Errorf("authenticated %s ago", d)
	}
	if w.basic != [2]string{clientID, clientSecret} || w.posted.Get("client_secret") != "" {
		t.Errorf("credentials: %q, %v", w.basic, w.posted["client_secret"])
	}
	if got := w.asked.Get("acr_values"); got != levelTwo {
		t.Errorf("acr_values: %q", got)
	}
	if w.asked.Get("scope") != "openid profile email" {
		t.Errorf("scope: %q", w.asked.Get("scope"))
	}
	again := w.signIn(t)
	if again.code(t) != "" || again.user.ID != x.user.ID {
		t.Errorf("the second login: %+v", again)
	}
	if got := w.links(t, x.user.ID); got != "p1 self rule" {
		t.Errorf("links after the second login: %s", got)
	}
}

// TestAnswers has an answer, or a token, that is not as it should be, and the code of the refusal.
func TestAnswers(t *testing.T) {
	sixty := func(w *world, d time.Duration) int64 { return w.clock.now().Add(d).Unix() }
	for name, x := range map[string]struct {
		change func(w *world)
		want   string
	}{
		"fine":             {func(*world) {}, ""},
		"denied":           {answer("error", "access_denied"), "denied"},
		"other error":      {answer("error", "canary-error"), "provider"},
		"level not given":  {answer("error", "unmet_authentication_requirements"), "level"},
		"no code":          {answer("code", ""), "provider"},
		"wrong code":       {answer("code", "code-of-canary"), "grant"},
		"another issuer":   {answer("iss", "https://evil.example"), "issuer"},
		"issuer missing":   {answer("iss", ""), "issuer"},
		"another state":    {answer("state", "made up"), "state"},
		"no state":         {answer("state", ""), "state"},
		"issuer in token":  {token("iss", "https://evil.example"), "issuer"},
		"slash at the end": {func(w *world) { w.token = func(c map[string]any) { c["iss"] = w.URL + "/" } }, "issuer"},
		"other audience":   {token("aud", "somebody else"), "audience"},
		"two audiences":    {token("aud", []string{clientID, "somebody else"}), "audience"},
		"azp of another":   {token("azp", "somebody else"), "audience"},
		"nonce":            {token("nonce", "another"), "nonce"},
		"no nonce":         {token("nonce", nil), "nonce"},
		"no subject":       {token("sub", nil), "token"},
		"subject a number": {token("sub", 7), "token"},
		"no expiry":        {token("exp", nil), "time"},
		"no iat":           {token("iat", nil), "time"},
		"access token":     {token("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "token"},
		"level":            {token("acr", "urn:example:ial:1"), "level"},
		"no level":         {token("acr", nil), "level"},
		"level in a list":  {token("acr", []string{"other", levelTwo}), ""},
		"expired":          {func(w *world) { w.token = func(c map[string]any) { c["exp"] = sixty(w, -90*time.Second) } }, "time"},
		"expired just now": {func(w *world) { w.token = func(c map[string]any) { c["exp"] = sixty(w, -30*time.Second) } }, ""},
		"of the future":    {func(w *world) { w.token = func(c map[string]any) { c["iat"] = sixty(w, 90*time.Second) } }, "time"},
		"clocks differ": {func(w *world) {
			w.token = func(c map[string]any) { c["iat"], c["nbf"] = sixty(w, 30*time.Second), sixty(w, 30*time.Second) }
		}, ""},
		"not yet":     {func(w *world) { w.token = func(c map[string]any) { c["nbf"] = sixty(w, 90*time.Second) } }, "time"},
		"no ID token": {func(w *world) { w.sign = func([]byte) string { return "" } }, "token"},
		"alg none": {func(w *world) {
			w.sign = func(p []byte) string { return encode([]byte(`{"alg":"none"}`)) + "." + encode(p) + "." }
		}, "token"},
		"unsigned": {func(w *world) {
			w.sign = func(p []byte) string { return encode([]byte(`{"alg":"RS256","kid":"one"}`)) + "." + encode(p) + "." }
		}, "token"},
		"HMAC": {func(w *world) {
			w.sign = func(p []byte) string { return sign([]byte(clientSecret+strings.Repeat("x", 32)), "HS256", "one", p) }
		}, "token"},
		"another key": {func(w *world) { w.sign = func(p []byte) string { return sign(rsaKeys()[1], "RS256", "one", p) } }, "token"},
		"unknown kid": {func(w *world) { w.sign = func(p []byte) string { return sign(rsaKeys()[0], "RS256", "nine", p) } }, "token"},
		"not a JWT":   {func(w *world) { w.sign = func([]byte) string { return "canary" } }, "token"},
		"changed": {func(w *world) {
			w.sign = func(p []byte) string { return tampered(sign(rsaKeys()[0], "RS256", "one", p)) }
		}, "token"},
		"acr unsigned": {func(w *world) {
			w.sign = func(p []byte) string { return tampered(sign(rsaKeys()[0], "RS256", "one", p)) }
		}, "token"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.set(func() { x.change(w) })
			got := w.signIn(t)
			if got.code(t) != x.want {
				t.Fatalf("%q, not %q", got.code(t), x.want)
			}
			if want := map[bool]string{false: "request-1"}[x.want == "state"]; got.request != want {
				t.Errorf("request %q, not %q", got.request, want)
			}
			if x.want == "" {
				return
			}
			if got.user != nil {
				t.Error("a user all the same")
			}
			if users, err := w.accounts.Links(t.Context(), "", ""); err != nil || len(users) > 0 {
				t.Errorf("links all the same: %d, %v", len(users), err)
			}
		})
	}
}

func answer(name, value string) func(w *world) {
	return func(w *world) {
		w.openID.answer = func(q url.Values) {
			if q.Set(name, value); value == "" {
				q.Del(name)
			}
			if name == "error" {
				q.Del("code")
			}
		}
	}
}

func token(name string, value any) func(w *world) {
	return func(w *world) {
		w.openID.token = func(c map[string]any) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
	}
}

// tampered changes a claim, and leaves the signature.
func tampered(jwt string) string {
	parts := strings.Split(jwt, ".")
	payload := decoded(parts[1])
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		panic(err)
	}
	c["acr"], c["member_id"] = levelTwo, "M-2"
	changed, _ := json.Marshal(c)
	return parts[0] + "." + encode(changed) + "." + parts[2]
}
