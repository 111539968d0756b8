package identity_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/identity"
)

// TestIdentify signs in people who are no members, beside the members' login of the same server: neither finishes what
// the other has begun.
func TestIdentify(t *testing.T) {
	w := newWorld(t, nil)
	w.claims["email_verified"], w.claims["name"] = true, "Ada Maria Winterbourne"
	login, err := identity.New(&identity.Config{Issuer: w.URL, ClientID: clientID, Secret: func() (string, error) { return clientSecret, nil },
		RedirectURL: w.site.URL + "/developers/login/callback", AnyLevel: true, Cookie: "developer_login", Now: w.clock.now, Events: identity.Events{
			Refused: func(code, _, _ string) { w.events = append(w.events, "refused "+code) }}}, w.accounts, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got *identity.Subject
	var request string
	var failed error
	mux := w.site.Config.Handler.(*http.ServeMux)
	mux.HandleFunc("/developers/login/start", func(rw http.ResponseWriter, r *http.Request) {
		if err := login.Begin(rw, r, "back", time.Time{}); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/developers/login/callback", func(rw http.ResponseWriter, r *http.Request) { got, request, failed = login.Identify(rw, r) })

	b := w.browser(t)
	back := w.open(t, b, w.open(t, b, w.site.URL+"/developers/login/start"))
	w.open(t, b, back)
	if failed != nil || request != "back" {
		t.Fatalf("%v, request %q", failed, request)
	}
	want := identity.Subject{Issuer: w.URL, Subject: "subject-of-ada", Email: "ada@canary.example", EmailVerified: true, Name: "Ada Maria Winterbourne", Level: levelTwo, AuthTime: got.AuthTime}
	if *got != want {
		t.Errorf("got %+v", *got)
	}
	if w.open(t, b, back); codeOf(failed) != identity.CodeState {
		t.Errorf("the same answer again: %v", failed)
	}

	// The answer of a login of members, at the other callback.
	u, err := url.Parse(w.answered(t, b, "request-1"))
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	if w.open(t, b, w.site.URL+"/developers/login/callback?"+u.RawQuery); got != nil || codeOf(failed) != identity.CodeState {
		t.Errorf("a member's login at the developers' callback: %v", failed)
	}
	if list := strings.Join(w.events, "\n"); !strings.Contains(list, "refused state") || strings.Contains(list, "linked") {
		t.Errorf("events: %s", list)
	}
}

// codeOf is the code of a refusal, "" for what is none.
func codeOf(err error) string {
	if refused, ok := errors.AsType[*identity.RefusedError](err); ok {
		return refused.Code
	}
	return ""
}
