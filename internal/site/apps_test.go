package site

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
)

// TestApps lists an app, and ends it: its token opens nothing from then on.
func TestApps(t *testing.T) {
	var fails error
	var last time.Time
	w := newWorld(t, func(c *Config) {
		c.Read = func(_ context.Context, user, client, patient string) (time.Time, map[string]int, error) {
			if client != "budget" || patient != "pat-leo" || user == "" {
				return time.Time{}, nil, errors.New("another one")
			}
			return last, map[string]int{"ExplanationOfBenefit": 12, "Coverage": 1, "Organization": 3, "Practitioner": 2}, fails
		}
	})
	last = w.at
	b := w.browser()
	b.get("/apps").goes(t, "/login")
	request := w.ask("budget", webRedirect)
	b.signIn("ana", anaPassword, "").goes(t, "/apps")
	b.get("/apps").want(t, http.StatusOK, "No app is connected.")
	key := memberKey(t, b.get("/consent?request="+request), "Leo Canario López")
	token := w.token(b.share(b.get("/consent?request="+request+"&member="+key), "allow").to)
	today := w.at.UTC().Format("January 2, 2006")
	page := b.get("/apps").want(t, http.StatusOK, "Health Budget", "Reads the information of Leo Canario López", "Claims and costs", "Personal details", "Also while you are not using it", "Claims, read 12 times", "Coverage records, read once",
		"Records of doctors, clinics and plans, read 5 times", "<dd>"+today+"</dd>", w.at.UTC().Add(365*day).Format("January 2, 2006"), "A number that stands for you")
	if strings.Contains(page.body, "pat-leo") {
		t.Error("the page has the id of a member")
	}

	grant := w.grants("ana")[0].ID
	confirm := b.get("/apps/revoke?grant="+grant).want(t, http.StatusOK, "Disconnect Health Budget?", "Leo Canario López")
	if _, err := w.accounts.Access(t.Context(), token); err != nil {
		t.Fatalf("the token before: %v", err)
	}
	f := confirm.form(t, "/apps/revoke")

	// Somebody else cannot even see it.
	bob := w.browser()
	bob.signIn("bob", bobPassword, "")
	bob.get("/apps/revoke?grant="+grant).want(t, http.StatusNotFound)
	theirs := bob.get("/apps").form(t, "/logout")
	theirs.Set("grant", grant)
	bob.post("/apps/revoke", theirs).goes(t, "/apps")
	if _, err := w.accounts.Access(t.Context(), token); err != nil {
		t.Fatalf("somebody else has ended it: %v", err)
	}
	f.Del("token")
	b.post("/apps/revoke", f).want(t, http.StatusForbidden)

	b.post("/apps/revoke", confirm.form(t, "/apps/revoke")).goes(t, "/apps?ended=1")
	if _, err := w.accounts.Access(t.Context(), token); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("the token afterwards: %v", err)
	}
	b.get("/apps?ended=1").want(t, http.StatusOK, "The app is disconnected.", "No app is connected.")
	b.post("/apps/revoke", confirm.form(t, "/apps/revoke")).goes(t, "/apps") // twice

	// The audit cannot be read.
	fails = errors.New("the audit is broken")
	b.share(b.get("/consent?request="+w.ask("budget", webRedirect)+"&member="+key), "allow")
	b.get("/apps").want(t, http.StatusOK, "This cannot be shown now.")
	w.browser().post("/apps/revoke", nil).goes(t, "/login")
}

// TestOthers shows a member what somebody has allowed who acts for it, and lets it end that.
func TestOthers(t *testing.T) {
	var ana string
	w := newWorld(t, func(c *Config) {
		c.Read = func(_ context.Context, user, _, _ string) (time.Time, map[string]int, error) {
			if user != ana {
				return time.Time{}, nil, errors.New("another one")
			}
			return time.Time{}, map[string]int{"Coverage": 7}, nil
		}
	})
	ana = w.user("ana")
	w.must(w.accounts.AddLink(t.Context(), &accounts.Link{User: ana, Patient: "pat-bob", Role: "representative", Source: "operator", Created: w.at}))
	her, bob := w.browser(), w.browser()
	her.signIn("ana", anaPassword, "")
	request := w.ask("budget", webRedirect)
	token := w.token(her.share(her.get("/consent?request="+request+"&member="+memberKey(t, her.get("/consent?request="+request), "Bob Kanarie")), "allow").to)
	bob.signIn("bob", bobPassword, "")
	bob.get("/apps").want(t, http.StatusOK, "Health Budget", "Somebody who acts for you", "Coverage records, read 7 times")
	bob.post("/apps/revoke", bob.get("/apps/revoke?grant="+w.grants("ana")[0].ID).form(t, "/apps/revoke")).goes(t, "/apps?ended=1")
	if _, err := w.accounts.Access(t.Context(), token); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("the token afterwards: %v", err)
	}

	// A representative does not see what the member itself has allowed.
	bob.share(bob.get("/consent?request="+w.ask("budget", webRedirect)), "allow")
	her.get("/apps").want(t, http.StatusOK, "No app is connected.")
}

// TestWithoutOffline says of an app without refresh tokens that it can read for an hour, whatever was allowed, and lists
// it no longer afterwards.
func TestWithoutOffline(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Access = 30 * time.Minute })
	b := w.browser()
	b.signIn("bob", bobPassword, "")
	page := b.get("/consent?request="+w.ask("budget", webRedirect)).want(t, http.StatusOK, "it can read for about 30 minutes and")
	f := page.form(t, "/consent")
	f.Del("offline")
	f.Set("decision", "allow")
	w.token(b.post("/consent", f).goes(t, webRedirect+"&code=").to)
	list := b.get("/apps").want(t, http.StatusOK, "Health Budget", w.at.Add(30*time.Minute).UTC().Format("January 2, 2006"))
	if year := w.at.Add(365 * day).UTC().Format("January 2, 2006"); strings.Contains(list.body, year) {
		t.Errorf("the page says that the app can read until %s", year)
	}
	for range 3 {
		w.pass(10 * time.Minute)
		b.get("/apps").want(t, http.StatusOK, "Health Budget")
	}
	w.pass(11 * time.Minute)
	b.get("/apps").want(t, http.StatusOK, "No app is connected.")
}
