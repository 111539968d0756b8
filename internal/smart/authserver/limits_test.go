package authserver

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
)

// TestLimits proves that whoever has proved nothing can make the server write so much and no more, that another client is
// not affected, and that it works again after a while.
func TestLimits(t *testing.T) {
	b := newBench(t)
	now := time.Now()
	b.limits.clock(func() time.Time { return now })
	other := *b.client
	other.ID = "other"
	if err := b.Accounts.AddClient(t.Context(), &other); err != nil {
		t.Fatal(err)
	}
	ask := func(client string) *httptest.ResponseRecorder {
		v := url.Values{"client_id": {client}, "redirect_uri": {b.client.RedirectURIs[0]}, "response_type": {"code"}, "scope": {"patient/*.rs"}, "aud": {b.FHIRBase},
			"code_challenge": {challenge}, "code_challenge_method": {"S256"}}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, AuthorizePath+"?"+v.Encode(), http.NoBody))
		return w
	}
	for i := range requestsBurst {
		if w := ask("app"); w.Code != http.StatusSeeOther {
			t.Fatalf("request %d: %d", i, w.Code)
		}
	}
	if w := ask("app"); w.Code != http.StatusTooManyRequests {
		t.Errorf("one more: %d", w.Code)
	}
	if w := ask("other"); w.Code != http.StatusSeeOther {
		t.Errorf("another client: %d", w.Code)
	}
	now = now.Add(time.Second)
	if w := ask("app"); w.Code != http.StatusSeeOther {
		t.Errorf("a second later: %d", w.Code)
	}

	// A token that is unknown ends nothing, and is no record.
	if status, _ := b.call(RevokePath, url.Values{"token": {"made-up"}, "client_id": {"app"}}); status != http.StatusOK || len(b.events) > 0 {
		t.Errorf("%d, %d events", status, len(b.events))
	}
	for range revokingBurst - 1 {
		b.call(RevokePath, url.Values{"token": {"made-up"}, "client_id": {"app"}})
	}
	r := httptest.NewRequest(http.MethodPost, RevokePath, strings.NewReader("token=made-up&client_id=app"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if wait, err := strconv.Atoi(w.Header().Get("Retry-After")); w.Code != http.StatusTooManyRequests || err != nil || wait < 1 {
		t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
}

// TestFaultsUseNothingUp proves that a code and a refresh token work after a time in which nothing could be recorded.
func TestFaultsUseNothingUp(t *testing.T) {
	b := newBench(t)
	to, err := b.Allow(t.Context(), b.ask(t, "patient/*.rs offline_access"), b.decision("own", "patient/*.rs offline_access"))
	if err != nil {
		t.Fatal(err)
	}
	redeem := url.Values{"grant_type": {"authorization_code"}, "client_id": {"app"}, "code": {codeIn(t, to)}, "redirect_uri": {b.client.RedirectURIs[0]}, "code_verifier": {verifier}}
	refresh := url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}}
	for _, v := range []url.Values{redeem, refresh, refresh} {
		b.failed = errFull
		if status, answer := b.call(TokenPath, v); status != http.StatusServiceUnavailable || answer["access_token"] != nil {
			t.Fatalf("%s: %d %v", v.Get("grant_type"), status, answer["error"])
		}
		b.failed = nil
		status, answer := b.call(TokenPath, v)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %v", v.Get("grant_type"), status, answer)
		}
		refresh.Set("refresh_token", answer["refresh_token"].(string))
	}
}

// TestLinkThatEnds proves that a consent does not outlive the link that it was given by, whichever comes first.
func TestLinkThatEnds(t *testing.T) {
	b := newBench(t)
	b.onEvent = func() {
		if err := b.Accounts.RemoveLink(t.Context(), b.user, "own"); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Allow(t.Context(), b.ask(t, "patient/*.rs"), b.decision("own", "patient/*.rs")); err != nil {
		t.Fatal(err)
	}
	if grants, err := b.Accounts.Grants(t.Context(), accounts.GrantFilter{}); err != nil || len(grants) > 0 {
		t.Errorf("%d grants count, %v", len(grants), err)
	}
	b.onEvent = nil
	if err := b.Accounts.SetStatus(t.Context(), "app", accounts.Active); err != nil {
		t.Fatal(err)
	}
	id := b.ask(t, "patient/*.rs")
	if err := b.Accounts.SetStatus(t.Context(), "app", accounts.Disabled); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Allow(t.Context(), id, b.decision("child", "patient/*.rs")); err == nil {
		t.Error("a client that was stopped meanwhile got a code")
	}
}

// TestJSONTwice proves that a member of a JSON body that comes twice is refused, as it is in a form.
func TestJSONTwice(t *testing.T) {
	v, err := members([]byte(`{"code":"a","grant_type":"authorization_code","code":"b","n":1}`))
	if err != nil || repeated(v) != "code" {
		t.Errorf("%v, %v", v, err)
	}
	for _, text := range []string{`[]`, `"code"`, `null`, `1`} {
		if _, err := members([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
