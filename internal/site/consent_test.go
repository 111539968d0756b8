package site

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
)

// TestShare is the whole way of a member with one membership.
func TestShare(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request := w.ask("budget", webRedirect)

	b.get("/consent?request="+request).goes(t, "/login?request="+request)
	b.get("/login?request="+request).want(t, http.StatusOK, "Health Budget asks to see your health plan information")
	b.signIn("bob", bobPassword, request).goes(t, "/consent?request="+request)
	page := b.get("/consent?request="+request).want(t, http.StatusOK, "Share your health plan information with Health Budget?", "Bob Kanarie", "Born July 4, 1951", "https://budget.example/privacy",
		"Claims and costs", "Coverage", "Personal details", "until "+w.now().UTC().Add(365*day).Format("January 2, 2006"), "Let the app read while you are not using it", "go back to budget.example", "signed in as bob")
	f := page.form(t, "/consent")
	if got := f["kind"]; !slices.Equal(got, []string{"personal", "coverage", "claims"}) {
		t.Errorf("the boxes of %q are preselected", got)
	}
	f.Set("decision", "allow")
	a := b.post("/consent", f).goes(t, "https://budget.example/callback?")
	to, err := url.Parse(a.to)
	if err != nil {
		t.Fatal(err)
	}
	if q := to.Query(); q.Get("code") == "" || q.Get("state") != "st%2B+te" || q.Get("keep") != "1" {
		t.Errorf("the redirect is %q", a.to)
	}
	list := w.grants("bob")
	if len(list) != 1 {
		t.Fatalf("%d grants", len(list))
	}
	g := list[0]
	if got := strings.Join(g.Scopes, " "); got != "openid fhirUser launch/patient patient/*.read offline_access" || !g.Offline || g.Patient != "pat-bob" || !g.Expires.Equal(w.now().Add(365*day)) || !g.AuthTime.Equal(w.now()) {
		t.Errorf("the grant is %+v", g)
	}

	// A second click, and Back: a page, and no second code.
	b.post("/consent", f).want(t, http.StatusConflict, "You have already decided", "Go back to the app")
	b.get("/consent?request="+request).want(t, http.StatusConflict, "You have already decided")
	b.get("/login?request="+request).goes(t, "/consent")
	w.browser().get("/login?request="+request).want(t, http.StatusConflict, "You have already decided")
	if got := w.grants("bob"); len(got) != 1 {
		t.Errorf("%d grants after a second click", len(got))
	}
}

// TestAtOnce sends a form many times at once: one answer has a code.
func TestAtOnce(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request := w.ask("budget", webRedirect)
	b.signIn("bob", bobPassword, request)
	f := b.get("/consent?request="+request).form(t, "/consent")
	f.Set("decision", "allow")
	var wg sync.WaitGroup
	answers := make([]*answer, 30)
	for i := range answers {
		wg.Go(func() { answers[i] = b.post("/consent", f) })
	}
	wg.Wait()
	codes := 0
	for _, a := range answers {
		if a.status == http.StatusSeeOther && strings.Contains(a.to, "code=") {
			codes++
			continue
		}
		a.want(t, http.StatusConflict, "You have already decided")
	}
	if codes != 1 || len(w.grants("bob")) != 1 {
		t.Errorf("%d codes, %d grants", codes, len(w.grants("bob")))
	}
}

// TestChoices narrows what is asked for.
func TestChoices(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request := w.ask("budget", webRedirect, "launch/patient", "patient/*.rs", "offline_access")
	b.signIn("bob", bobPassword, request)
	page := b.get("/consent?request=" + request)
	f := page.form(t, "/consent")
	f.Set("decision", "allow")
	f["kind"] = []string{"personal", "claims", "everything"}
	f.Del("offline")
	f.Set("until", "90")
	b.post("/consent", f).goes(t, "https://budget.example/")
	g := w.grants("bob")[0]
	if got, want := strings.Join(g.Scopes, " "), "launch/patient patient/Patient.rs patient/ExplanationOfBenefit.rs patient/Organization.rs patient/Practitioner.rs"; got != want {
		t.Errorf("granted %q\nwant    %q", got, want)
	}
	if g.Offline || !g.Expires.Equal(w.now().Add(90*day)) {
		t.Errorf("the grant is %+v", g)
	}
}

// TestMistakes shows a form again with what is wrong, and keeps what was chosen.
func TestMistakes(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request := w.ask("budget", webRedirect)
	b.signIn("bob", bobPassword, request)
	f := b.get("/consent?request="+request).form(t, "/consent")
	f.Set("decision", "allow")
	f.Del("kind")
	f.Set("until", "90")
	a := b.post("/consent", f).want(t, http.StatusUnprocessableEntity, "<title>Error: Share", "Choose at least one kind of information", `href="#kind-personal"`, `aria-describedby="kinds-error"`)
	if again := a.form(t, "/consent"); again.Get("until") != "90" || again.Has("kind") {
		t.Errorf("the form has %v", again)
	}
	for _, until := range []string{"", "9999", "-1", "x", "0"} {
		f["kind"] = []string{"personal"}
		f.Set("until", until)
		b.post("/consent", f).want(t, http.StatusUnprocessableEntity, "Choose for how long.", `href="#until-1"`)
	}
	for _, decision := range []string{"", "yes"} { // a form with neither button changes nothing
		f.Set("decision", decision)
		b.post("/consent", f).goes(t, "/consent?request=")
	}
	if n := len(w.grants("bob")); n != 0 {
		t.Errorf("%d grants by forms with mistakes", n)
	}
	b.share(a, "deny").goes(t, webRedirect+"&error=access_denied")
}

// TestDeny tells the app, and leaves older grants as they are.
func TestDeny(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first := w.ask("budget", webRedirect)
	b.signIn("bob", bobPassword, first)
	token := w.token(b.share(b.get("/consent?request="+first), "allow").to)
	second := w.ask("budget", webRedirect, "patient/Patient.read")
	page := b.get("/consent?request=" + second)
	a := b.share(page, "deny").goes(t, webRedirect+"&error=access_denied")
	if strings.Contains(a.to, "code=") || !strings.Contains(a.to, "state=") {
		t.Errorf("the redirect is %q", a.to)
	}
	b.share(page, "allow").want(t, http.StatusConflict, "You have already decided")
	if _, err := w.accounts.Access(t.Context(), token); err != nil {
		t.Errorf("the older token: %v", err)
	}

	// Before anybody has signed in.
	request := w.ask("budget", webRedirect)
	other := w.browser()
	f := other.get("/login?request="+request).form(t, "/consent")
	f.Set("decision", "deny")
	other.post("/consent", f).goes(t, webRedirect+"&error=access_denied")
}

// TestTabs has two apps wait in two tabs of one browser.
func TestTabs(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	one, two := w.ask("budget", webRedirect), w.ask("budget", webRedirect, "patient/Coverage.rs")
	login1, login2 := b.get("/login?request="+one).form(t, "/login"), b.get("/login?request="+two).form(t, "/login")
	for _, f := range []url.Values{login1, login2} {
		f.Set("login", "bob")
		f.Set("password", bobPassword)
	}
	b.post("/login", login1).goes(t, "/consent?request="+one)
	page1 := b.get("/consent?request=" + one)
	b.post("/login", login2).goes(t, "/consent?request="+two)
	page2 := b.get("/consent?request=" + two)
	b.share(page1, "allow").goes(t, webRedirect+"&code=")
	b.share(page2, "allow").goes(t, webRedirect+"&code=")
	list := w.grants("bob")
	if len(list) == 0 || strings.Join(list[0].Scopes, " ") != "patient/Coverage.rs" {
		t.Errorf("the grants are %+v", list)
	}
}

func TestExpired(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request := w.ask("budget", webRedirect)
	b.signIn("bob", bobPassword, request)
	page := b.get("/consent?request=" + request)
	w.pass(11 * time.Minute)
	b.share(page, "allow").want(t, http.StatusGone, "This request has expired", "start again there")
	b.share(page, "deny").want(t, http.StatusGone, "This request has expired")
	b.get("/consent?request="+request).want(t, http.StatusGone, "This request has expired")
	b.get("/consent?request="+accounts.NewSecret()).want(t, http.StatusGone)
	b.get("/consent").want(t, http.StatusBadRequest, "There is nothing to decide here")
	w.browser().get("/login?request="+request).want(t, http.StatusGone, "This request has expired")
	if n := len(w.grants("bob")); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// TestRepresentative lets a mother choose, one person at a time.
func TestRepresentative(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request := w.ask("budget", webRedirect)
	b.signIn("ana", anaPassword, request)
	page := b.get("/consent?request="+request).want(t, http.StatusOK, "Whose information do you want to share?", "Ana Canaria López", "Leo Canario López", "Born February 3, 2015", "Mia")
	if strings.Contains(page.body, "pat-") || strings.Contains(page.body, `checked`) {
		t.Error("the page has ids of members, or has chosen one")
	}
	b.get("/consent?request="+request+"&choose=1").want(t, http.StatusUnprocessableEntity, "<title>Error:", "Choose a person.")
	b.get("/consent?request="+request+"&choose=1&member=pat-leo").want(t, http.StatusUnprocessableEntity)

	key := memberKey(t, page, "Leo Canario López")
	consent := b.get("/consent?request="+request+"&choose=1&member="+key).want(t, http.StatusOK, "Share the health plan information of Leo Canario López with Health Budget?", "Choose another person")
	f := consent.form(t, "/consent")
	f.Set("decision", "allow")

	// The key of another session, or of a member of somebody else, is none.
	other := w.browser()
	other.signIn("ana", anaPassword, "")
	otherKey := memberKey(t, other.get("/consent?request="+request), "Leo Canario López")
	if otherKey == key {
		t.Error("two sessions have the same key")
	}
	for _, k := range []string{otherKey, "pat-leo", "pat-bob", ""} {
		f.Set("member", k)
		b.post("/consent", f).goes(t, "/consent?request=")
	}
	if n := len(w.grants("ana")); n != 0 {
		t.Fatalf("%d grants", n)
	}
	f.Set("member", key)
	b.post("/consent", f).goes(t, "https://budget.example/")
	if g := w.grants("ana"); len(g) != 1 || g[0].Patient != "pat-leo" {
		t.Errorf("the grants are %+v", g)
	}

	// A link that ends between the page and the click.
	request = w.ask("budget", webRedirect)
	page = b.get("/consent?request=" + request)
	consent = b.get("/consent?request=" + request + "&member=" + memberKey(t, page, "Leo Canario López"))
	w.must(w.accounts.RemoveLink(t.Context(), w.user("ana"), "pat-leo"))
	b.share(consent, "allow").goes(t, "/consent?request=")
	if g := w.grants("ana"); len(g) != 0 {
		t.Errorf("the grants are %+v", g)
	}
}

// memberKey is the value of the radio button of a name.
func memberKey(t *testing.T, page *answer, name string) string {
	t.Helper()
	before, _, ok := strings.Cut(page.body, name)
	i := strings.LastIndex(before, `for="member-`)
	if !ok || i < 0 {
		t.Fatalf("the page has no %s:\n%s", name, page.body)
	}
	key, _, _ := strings.Cut(before[i+len(`for="member-`):], `"`)
	return key
}

// TestNobody grants nothing to somebody who is no member, and tells where help is.
func TestNobody(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request := w.ask("budget", webRedirect)
	b.signIn("nobody", nobodysWord, request)
	page := b.get("/consent?request="+request).want(t, http.StatusForbidden, "We cannot find your membership", `href="mailto:help@medicaid.example"`)
	f := page.form(t, "/consent")
	f.Set("decision", "allow")
	f.Set("until", "1")
	f.Set("kind", "personal")
	b.post("/consent", f).want(t, http.StatusForbidden, "We cannot find your membership")
	b.share(page, "deny").goes(t, webRedirect+"&error=access_denied")
	if n := len(w.grants("nobody")); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// TestOther keeps a request with the account that has begun to answer it.
func TestOther(t *testing.T) {
	w := newWorld(t)
	request := w.ask("budget", webRedirect)
	bob := w.browser()
	bob.signIn("bob", bobPassword, request)
	page := bob.get("/consent?request=" + request)
	w.must(w.accounts.AssignRequest(t.Context(), request, w.user("ana")))
	bob.share(page, "allow").want(t, http.StatusForbidden, "Somebody else is answering this request")
	bob.share(page, "deny").want(t, http.StatusForbidden, "Somebody else is answering this request")
	bob.get("/consent?request="+request).want(t, http.StatusForbidden, "Somebody else is answering this request")
	if _, err := w.accounts.Request(t.Context(), request); err != nil {
		t.Errorf("the request: %v", err)
	}
}

// TestNotYou lets somebody else sign in for the same request.
func TestNotYou(t *testing.T) {
	w := newWorld(t)
	request := w.ask("budget", webRedirect)
	b := w.browser()
	b.signIn("ana", anaPassword, request)
	page := b.get("/consent?request=" + request)
	consent := b.get("/consent?request=" + request + "&member=" + memberKey(t, page, "Ana Canaria López"))
	b.post("/logout", consent.form(t, "/logout")).goes(t, "/login?request="+request)
	b.signIn("bob", bobPassword, request)
	b.share(b.get("/consent?request="+request), "allow").goes(t, "https://budget.example/")
	if n := len(w.grants("bob")); n != 1 {
		t.Errorf("%d grants", n)
	}
}

// TestSchemes: apps of devices come back by a link that somebody taps.
func TestSchemes(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("bob", bobPassword, "")
	for _, c := range []struct{ decision, text string }{{"allow", "You have allowed My Chart Pocket"}, {"deny", "You have shared nothing with My Chart Pocket"}} {
		request := w.ask("chart", schemeRedirect)
		page := b.get("/consent?request="+request).want(t, http.StatusOK, "go back to My Chart Pocket on this device", "This app has not given a privacy policy.")
		if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' org.example.chart:;") {
			t.Errorf("the policy is %q", csp)
		}
		a := b.share(page, c.decision).want(t, http.StatusOK, c.text, `href="org.example.chart:/callback?`, "Open My Chart Pocket")
		if strings.Contains(a.body, "lang=es") {
			t.Error("a link to the other language loses the way back to the app")
		}
	}
	// A policy cannot name IPv6 addresses.
	request := w.ask("chart", "http://[::1]:4444/cb")
	page := b.get("/consent?request=" + request)
	b.share(page, "allow").want(t, http.StatusOK, `href="http://[::1]:4444/cb?code=`)
	for _, bad := range []string{"javascript:alert(1)", "data:text/html,x", "intent://x"} {
		request := w.ask("chart", bad)
		page := b.get("/consent?request="+request).want(t, http.StatusOK)
		for _, decision := range []string{"allow", "deny"} {
			a := b.share(page, decision).want(t, http.StatusBadRequest, "cannot be opened safely")
			if strings.Contains(a.body, bad) {
				t.Error("the page links to it")
			}
		}
	}
}

// TestUtah shows the same page for the dialect of Utah, whose scopes are the server's defaults.
func TestUtah(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	id := accounts.NewSecret()
	w.must(w.accounts.AddRequest(t.Context(), &accounts.Request{ID: id, Client: "budget", RedirectURI: webRedirect, Scopes: []string{"launch/patient", "patient/*.read", "offline_access"}, Utah: true,
		Created: w.now(), Expires: w.now().Add(time.Minute)}))
	b.signIn("bob", bobPassword, id)
	page := b.get("/consent?request="+id).want(t, http.StatusOK, "Share your health plan information with Health Budget?", "Claims and costs")
	b.share(page, "allow").goes(t, "https://budget.example/")
}

// TestIdentityOnly is an app that asks for nothing but who signs in.
func TestIdentityOnly(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("bob", bobPassword, "")
	request := w.ask("budget", webRedirect, "openid", "fhirUser")
	page := b.get("/consent?request="+request).want(t, http.StatusOK, "It asked for nothing else.")
	b.share(page, "allow").goes(t, "https://budget.example/")
	if got := strings.Join(w.grants("bob")[0].Scopes, " "); got != "openid fhirUser" {
		t.Errorf("granted %q", got)
	}
	request = w.ask("budget", webRedirect, "launch/patient")
	page = b.get("/consent?request="+request).want(t, http.StatusForbidden, "The app asked for nothing that can be shared")
	b.share(page, "deny").goes(t, webRedirect+"&error=access_denied")
}

// TestFromAuthorize goes all the way: from the app's request to a token.
func TestFromAuthorize(t *testing.T) {
	w := newWorld(t)
	w.must(w.accounts.EnsureKeys(t.Context()))
	b := w.browser()
	verifier := accounts.NewSecret()
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{"response_type": {"code"}, "client_id": {"budget"}, "redirect_uri": {webRedirect}, "scope": {"openid fhirUser launch/patient patient/*.rs offline_access"}, "state": {"a b+c%"},
		"aud": {w.server.URL + "/fhir"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
	a := b.get("/oauth2/authorize?" + q.Encode())
	consent := strings.TrimPrefix(a.to, w.server.URL)
	_, request, ok := strings.Cut(consent, "/consent?request=")
	if !ok {
		t.Fatalf("authorize: %d %q\n%s", a.status, a.to, a.body)
	}
	b.get(consent).goes(t, "/login?request=")
	b.signIn("ana", anaPassword, request)
	page := b.get(consent + "&member=" + memberKey(t, b.get(consent), "Mia Canaria López"))
	f := page.form(t, "/consent")
	f.Set("decision", "allow")
	f["kind"] = []string{"personal", "coverage"}
	back := b.post("/consent", f).goes(t, webRedirect+"&code=")
	u, err := url.Parse(back.to)
	w.must(err)
	if got := u.Query().Get("state"); got != "a b+c%" {
		t.Errorf("state %q", got)
	}
	res := b.do(http.MethodPost, "/oauth2/token", url.Values{"grant_type": {"authorization_code"}, "code": {u.Query().Get("code")}, "redirect_uri": {webRedirect}, "client_id": {"budget"}, "code_verifier": {verifier}}.Encode())
	res.want(t, http.StatusOK, `"patient":"pat-mia"`, "patient/Patient.rs patient/Coverage.rs", `"refresh_token"`)
	if strings.Contains(res.body, "ExplanationOfBenefit") {
		t.Errorf("more than was shared: %s", res.body)
	}

	// What cannot go back to the app is a page.
	for change, want := range map[string]string{"client_id": "We do not know this app", "redirect_uri": "We cannot send you back to this app"} {
		wrong := url.Values{}
		for k, v := range q {
			wrong[k] = v
		}
		wrong.Set(change, "https://evil.example/cb")
		a := b.get("/oauth2/authorize?"+wrong.Encode()).want(t, http.StatusBadRequest, want, "Code for the support of the app:")
		if n := strings.Count(a.body, "evil"); n != 1 { // the link to the page in Spanish
			t.Errorf("the page has what was sent %d times", n)
		}
	}
}
