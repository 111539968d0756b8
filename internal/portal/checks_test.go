package portal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/lifecycle"
)

// subjects are those of the mails to somebody since the last time, as far as they have a text in them.
func (k *team) subjects(to *Actor, text string) (n int) {
	k.t.Helper()
	for _, m := range k.mails() {
		if m.To == to.Person.Email && strings.Contains(m.Subject, text) {
			n++
		}
	}
	return n
}

// TestTextThatIsGone proves that a policy which nobody can read is noticed after three days in a row, told of once, and makes the
// app due for renewal.
func TestTextThatIsGone(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		pages := &site{map[string]string{"/policy": "We share nothing.", "/terms": "Be kind."}}
		k.Fetch.Transport = pages
		k.opens()
		app := k.tested("Claims Friend")
		a := k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
		a = k.step(k.owner, a, lifecycle.GoLive, nil)
		k.mails()
		look := func(pass time.Duration) {
			t.Helper()
			k.clock.pass(pass)
			_, err := k.checkTexts(ctx)
			ok(t, err)
		}
		const day, text = 25 * time.Hour, "cannot be read"
		state := func() lifecycle.State { return first2(k.owner.Application(ctx, a.ID)).State }
		delete(pages.pages, "/policy")
		look(31 * day)
		look(day)
		pages.pages["/policy"] = "We share nothing." // it was away for two days: the count begins anew
		look(day)
		delete(pages.pages, "/policy")
		look(31 * day)
		look(day)
		look(time.Minute) // not a day in between
		equal(t, []any{state(), k.subjects(k.owner, text)}, []any{lifecycle.Live, 0})
		look(day)
		equal(t, state(), lifecycle.RenewalDue)
		var owner, reviewer, confirm int
		for _, m := range k.mails() {
			switch {
			case m.To == k.owner.Person.Email && strings.Contains(m.Subject, text):
				owner++
			case m.To == k.reviewer.Person.Email && strings.Contains(m.Subject, text):
				reviewer++
			case m.To == k.owner.Person.Email && strings.Contains(m.Subject, "confirm"):
				confirm++
			}
		}
		equal(t, []int{owner, reviewer, confirm}, []int{1, 1, 1})
		look(day)
		look(day)
		equal(t, k.subjects(k.owner, text), 0) // once
		lost := 0
		for _, e := range first2(k.reviewer.Events(ctx, a.ID)) {
			if e.Action == didLoseText {
				lost++
			}
		}
		equal(t, lost, 1)
	})
}

// TestDomainThatLapses proves that a domain is looked at every month, and that one which proves nothing on three days loses its
// proof: members do not read it any more, and owners and reviewers are told.
func TestDomainThatLapses(t *testing.T) {
	each(t, func(c *Config) {
		c.Fetch = pagesOf(map[string]string{"/policy": "We share nothing.", "/terms": "Be kind."})
	}, func(k *team, _ string) {
		var token string
		var looked int
		k.TXT = func(context.Context, string) ([]string, error) {
			looked++
			if token == "" {
				return nil, errors.New("there is no such name")
			}
			return []string{token}, nil
		}
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		token = first2(k.owner.Organisation(ctx, k.org)).Domain.Token
		_, err := k.owner.CheckDomain(ctx, k.org)
		ok(t, err)
		domain := func() string {
			t.Helper()
			return first2(k.Accounts.Client(ctx, app.Sandbox)).Domain
		}
		look := func(pass time.Duration, want int) {
			t.Helper()
			looked = 0
			k.clock.pass(pass)
			_, err := k.checkDomains(ctx)
			ok(t, err)
			equal(t, looked, want)
		}
		const day = 24 * time.Hour
		k.mails()
		equal(t, domain(), "apps.example")
		look(29*day, 0)
		look(day, 1)
		look(day, 0)
		right := token
		token = ""
		look(30*day, 1)
		look(2*time.Hour, 0)
		look(day, 1)
		equal(t, []any{domain(), len(k.mails())}, []any{"apps.example", 0})
		token = right // the name server was away
		look(day, 1)
		token = ""
		look(30*day, 1)
		look(day, 1)
		look(day, 1)
		equal(t, domain(), "")
		var told []string
		for _, m := range k.mails() {
			if strings.Contains(m.Subject, "not proved any more") {
				told = append(told, m.To)
			}
		}
		for _, who := range []*Actor{k.owner, k.twin, k.reviewer, k.admin} {
			if !slices.Contains(told, who.Person.Email) {
				t.Errorf("%s is not told", who.Person.Name)
			}
		}
		o := first2(k.owner.Organisation(ctx, k.org))
		equal(t, []any{o.Domain.Proofed.IsZero(), o.Domain.Token}, []any{true, right})
		look(60*day, 0)
		equal(t, first2(k.Accounts.Client(ctx, app.Sandbox)).Status, accounts.Active) // it is no ground to cut anybody off
	})
}
