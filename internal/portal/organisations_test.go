package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/database/databasetest"
	"cpcds2fhir/internal/portal/lifecycle"
)

func TestOrganisation(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		a := w.actor("Ana Owner", NoStaff)
		o, err := a.AddOrganisation(ctx, &Organisation{
			Name: " Good  Apps ", Legal: "Good Apps Inc.", Type: "company", Website: "https://www.Good-Apps.example/", Address: "1 Main St\nSalt Lake City", US: true,
			Contacts: []Contact{{Kind: "security", Name: "Sue", Email: "SEC@good-apps.example", Phone: "+1 801 555 0100"}, {Kind: "privacy"}},
		})
		ok(t, err)
		a = w.actorOf(a.Person.ID)
		got, err := a.Organisation(ctx, o.ID)
		ok(t, err)
		equal(t, got, o)
		equal(t, []any{got.Name, got.Version, got.HIPAA, got.Domain.Name, got.Domain.Proofed.IsZero(), len(got.Contacts), got.Contacts[0].Email},
			[]any{"Good Apps", 1, "unknown", "good-apps.example", true, 1, "sec@good-apps.example"})
		members, err := a.MembersOf(ctx, o.ID)
		ok(t, err)
		equal(t, []any{len(members), members[0].Role, members[0].Email, members[0].OrgName}, []any{1, Owner, "ana@dev.example", "Good Apps"})

		changed := *got
		changed.Website, changed.Parent = "https://other.example", "Holding"
		ok(t, a.UpdateOrganisation(ctx, &changed))
		wants(t, a.UpdateOrganisation(ctx, &changed), ErrStale)
		after, err := a.Organisation(ctx, o.ID)
		ok(t, err)
		if after.Domain.Name != "other.example" || after.Domain.Token == got.Domain.Token || after.Domain.Token == "" || after.Version != 2 || !after.Created.Equal(got.Created) {
			t.Errorf("got %+v", after)
		}
		events, err := a.History(ctx, o.ID, time.Time{}, 0)
		ok(t, err)
		equal(t, []string{events[0].Action, events[1].Action, events[0].ActorName}, []string{didUpdateOrg, didAddOrganisation, "Ana Owner"})
		w.clock.pass(time.Hour)
		events, err = a.History(ctx, o.ID, events[0].At, 0)
		ok(t, err)
		equal(t, len(events), 0) // both at the same instant

		for field, change := range map[string]func(o *Organisation){
			"name":             func(o *Organisation) { o.Name = "" },
			"legal":            func(o *Organisation) { o.Legal = "" },
			"type":             func(o *Organisation) { o.Type = "gang" },
			"hipaa":            func(o *Organisation) { o.HIPAA = "maybe" },
			"website":          func(o *Organisation) { o.Website = "" },
			"address":          func(o *Organisation) { o.Address = strings.Repeat("x", 501) },
			"contacts":         func(o *Organisation) { o.Contacts = []Contact{{Kind: "boss", Name: "B", Email: "b@dev.example"}} },
			"contact_security": func(o *Organisation) { o.Contacts = []Contact{{Kind: "security", Name: "B", Email: "b"}} },
			"contact_status":   func(o *Organisation) { o.Contacts = []Contact{{Kind: "status", Email: "b@dev.example"}} },
		} {
			o := *after
			change(&o)
			_, err := a.AddOrganisation(ctx, &o)
			var i *InputError
			if !errors.As(err, &i) || i.Field != field {
				t.Errorf("%s: got %v", field, err)
			}
		}
		for _, site := range []string{
			"http://good.example", "https://good.example:8443", "https://user@good.example", "https://127.0.0.1", "https://[::1]/", "https://localhost", "ftp://good.example",
			"https://intranet", "https://host.internal", "https://1.2.3", "javascript:alert(1)", "https://bad..example", "//good.example",
		} {
			if _, err := hostOf(site); err == nil {
				t.Errorf("%s is taken", site)
			}
		}
		host, err := hostOf("https://Müller.example/x")
		ok(t, err)
		equal(t, host, "xn--mller-kva.example")
	})
}

func TestSoloDeveloper(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		a := w.actor("Ana Alone", NoStaff)
		o, err := a.AddOrganisation(ctx, &Organisation{Name: "Ana Alone", Solo: true})
		ok(t, err)
		equal(t, []any{o.Solo, o.Type, o.Legal, o.Domain}, []any{true, "individual", "Ana Alone", Domain{}})
		_, err = a.AddOrganisation(ctx, &Organisation{Name: "Ana Again", Solo: true})
		wants(t, err, accounts.ErrExists)
		a = w.actorOf(a.Person.ID)
		_, err = a.Invite(ctx, &Invitation{Org: o.ID, Email: "b@dev.example", Family: "B", Role: Owner})
		denied(t, err)
		_, err = a.CheckDomain(ctx, o.ID)
		input(t, err, "domain", codeMissing)
		o.Solo = false // it stays what it is
		o.Type, o.Website = "company", "https://ana.example"
		ok(t, a.UpdateOrganisation(ctx, o))
		o, err = a.Organisation(ctx, o.ID)
		ok(t, err)
		equal(t, o.Solo, true)
		_, err = w.Operator("root").AddOrganisation(ctx, &Organisation{Name: "X", Solo: true})
		denied(t, err)
	})
}

func TestInvitations(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		org, owner := w.organisation(w.actor("Olga Owner", NoStaff), "Good Apps")
		bea := w.actor("Bea de la Peña", NoStaff)
		invite := func(email, family string, role OrgRole) (*Invitation, string) {
			t.Helper()
			i, err := owner.Invite(ctx, &Invitation{Org: org.ID, Email: email, Family: family, Role: role})
			ok(t, err)
			return i, tokenIn(t, w.mailTo(strings.ToLower(email)))
		}
		i, token := invite("BEA@dev.example", "PENA", Developer)
		equal(t, []any{i.State, i.By, i.Expires}, []any{invitePending, owner.Person.ID, w.clock.now().Add(inviteFor)})
		_, err := owner.Invite(ctx, &Invitation{Org: org.ID, Email: "bea@dev.example", Family: "X", Role: Owner})
		wants(t, err, accounts.ErrExists)
		_, err = owner.Invite(ctx, &Invitation{Org: org.ID, Email: "olga@dev.example", Family: "X", Role: Owner})
		wants(t, err, accounts.ErrExists)
		_, err = owner.Invite(ctx, &Invitation{Org: org.ID, Email: "x@dev.example", Family: "X", Role: "king"})
		input(t, err, "role", codeWrong)

		shown, about, err := bea.Invited(ctx, token)
		ok(t, err)
		equal(t, []any{shown.ID, shown.Role, about.Name, about.Contacts == nil, about.Domain.Token}, []any{i.ID, Developer, "Good Apps", true, ""})
		eve := w.actor("Eve Pena", NoStaff)
		_, _, err = eve.Invited(ctx, token)
		denied(t, err)
		_, err = eve.AcceptInvitation(ctx, token)
		denied(t, err)
		_, err = w.Operator("root").AcceptInvitation(ctx, token)
		denied(t, err)
		_, err = bea.AcceptInvitation(ctx, token+"x")
		wants(t, err, accounts.ErrNotFound)
		got, err := bea.AcceptInvitation(ctx, token)
		ok(t, err)
		equal(t, got.ID, org.ID)
		_, err = bea.AcceptInvitation(ctx, token)
		wants(t, err, accounts.ErrNotFound)
		bea = w.actorOf(bea.Person.ID)
		equal(t, bea.roleIn(org.ID), Developer)
		list, err := owner.Invitations(ctx, org.ID)
		ok(t, err)
		equal(t, []any{len(list), list[0].State, list[0].Email, list[0].Family}, []any{1, inviteAccepted, "", ""})

		// Another family name.
		cyd := w.actor("Cyd Smith", NoStaff)
		j, token := invite("cyd@dev.example", "Smithers", Observer)
		_, err = cyd.AcceptInvitation(ctx, token)
		denied(t, err)
		ok(t, owner.CancelInvitation(ctx, org.ID, j.ID))
		wants(t, owner.CancelInvitation(ctx, org.ID, j.ID), accounts.ErrNotFound)
		_, _, err = cyd.Invited(ctx, token)
		wants(t, err, accounts.ErrNotFound)

		// Too late; and then once more.
		_, token = invite("cyd@dev.example", "Smith", Observer)
		w.clock.pass(inviteFor)
		cyd = w.actorOf(cyd.Person.ID)
		owner = w.actorOf(owner.Person.ID)
		_, err = cyd.AcceptInvitation(ctx, token)
		wants(t, err, accounts.ErrNotFound)
		list, err = owner.Invitations(ctx, org.ID)
		ok(t, err)
		equal(t, list[0].State, inviteExpired)
		_, token = invite("cyd@dev.example", "smith", Observer)
		_, err = cyd.AcceptInvitation(ctx, token)
		ok(t, err)
		_, err = owner.Invite(ctx, &Invitation{Org: org.ID, Email: "gone@dev.example", Family: "Gone", Role: Observer})
		ok(t, err)
		w.clock.pass(inviteFor)
		_, err = w.Tick(ctx)
		ok(t, err)
		if d := w.dump(); strings.Contains(d, "Gone") || strings.Contains(d, "gone@dev.example") {
			t.Error("whom an invitation was for is kept")
		}
		for n := 0; ; n++ {
			_, err = w.actorOf(owner.Person.ID).Invite(ctx, &Invitation{Org: org.ID, Email: fmt.Sprintf("a%d@dev.example", n), Family: "A", Role: Observer})
			if err != nil {
				equal(t, n, inviteMost)
				break
			}
		}
		input(t, err, "email", "many")
	})
}

func TestFamilyNames(t *testing.T) {
	for _, c := range []struct {
		name, family string
		want         bool
	}{
		{"Ana Díaz", "diaz", true}, {"Ana Díaz Núñez", "Diaz Nunez", true}, {"Ana Díaz Núñez", "Díaz", false}, {"Díaz, Ana", "Díaz", true},
		{"Sean O'Brien", "OBrien", true}, {"Mary-Jane Watson", "Watson", true}, {"Li Wei", "Li", true}, {"Ana Díaz", "Dí", false}, {"Ana Díaz", "", false},
		{"Ana", "Ana Díaz", false}, {"Анна Иванова", "ИВАНОВА", true},
	} {
		if got := hasFamilyName(c.name, c.family); got != c.want {
			t.Errorf("%s has the family name %s: %t", c.name, c.family, got)
		}
	}
}

func TestLastOwnerStays(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		org, owner := w.organisation(w.actor("Olga Owner", NoStaff), "Good Apps")
		dev := w.join(org.ID, w.actor("Dan Developer", NoStaff), Developer)
		denied(t, owner.SetOrgRole(ctx, org.ID, owner.Person.ID, Observer))
		denied(t, owner.RemoveMember(ctx, org.ID, owner.Person.ID))
		denied(t, owner.DeleteAccount(ctx))
		ok(t, owner.SetOrgRole(ctx, org.ID, dev.Person.ID, Owner))
		if m := w.mailTo("dan@dev.example"); !strings.Contains(m.Text, "an owner: you may bind") {
			t.Errorf("got %q", m.Text)
		}
		dev = w.actorOf(dev.Person.ID)

		// Both take the other's role at the same time: one stays.
		errs := make([]error, 2)
		var all sync.WaitGroup
		all.Go(func() { errs[0] = owner.SetOrgRole(ctx, org.ID, dev.Person.ID, Observer) })
		all.Go(func() { errs[1] = dev.SetOrgRole(ctx, org.ID, owner.Person.ID, Observer) })
		all.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("got %v and %v", errs[0], errs[1])
		}
		w.mails()
		stays, other := owner, dev
		if errs[0] != nil {
			stays, other = dev, owner
		}
		ok(t, w.actorOf(other.Person.ID).RemoveMember(ctx, org.ID, other.Person.ID)) // everybody may leave
		equal(t, len(w.mails()), 0)
		wants(t, stays.RemoveMember(ctx, org.ID, other.Person.ID), accounts.ErrNotFound)
		members, err := stays.MembersOf(ctx, org.ID)
		ok(t, err)
		equal(t, len(members), 1)
		third := w.join(org.ID, w.actor("Tia Third", NoStaff), Observer)
		ok(t, stays.RemoveMember(ctx, org.ID, third.Person.ID))
		w.mailTo("tia@dev.example")
	})
}

func TestDeleteAccount(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		org, owner := w.organisation(w.actor("Olga Owner", NoStaff), "Good Apps")
		o := *org
		o.Contacts = []Contact{{Kind: "primary", Name: "Zoe Contact", Email: "zoe@good.example"}}
		ok(t, owner.UpdateOrganisation(ctx, &o))
		app, err := owner.Start(ctx, lifecycle.Sandbox, org.ID, "")
		ok(t, err)
		_, err = w.db.Change(ctx, `INSERT INTO portal_apps (id, org, version, sandbox, production, logo, about, created, retired)
			VALUES ('app', $1, 1, '', 'live-1', '', '{}', 0, 0)`, org.ID)
		ok(t, err)
		_, err = w.db.Change(ctx, `INSERT INTO portal_applications (id, slot, kind, org, app, state, version, assignee, due, since, changed, expires, words, about, created)
			VALUES ('P-1', 'P-1', 'production', $1, 'app', 'live', 1, '', 0, 0, 0, 0, '', '{}', 0)`, org.ID)
		ok(t, err)
		denied(t, owner.DeleteAccount(ctx)) // an app is in production
		o.Name, o.Version = "Other Name", 2
		denied(t, owner.UpdateOrganisation(ctx, &o))
		_, err = w.db.Change(ctx, `UPDATE portal_applications SET state = 'retired' WHERE id = $1`, "P-1")
		ok(t, err)
		ok(t, owner.UpdateOrganisation(ctx, &o))
		ok(t, owner.DeleteAccount(ctx))
		_, err = w.Actor(ctx, owner.Session.ID)
		wants(t, err, ErrSession)
		d := w.dump()
		for _, gone := range []string{"olga@", "Olga", "Zoe", "zoe@"} {
			if strings.Contains(d, gone) {
				t.Errorf("%s is kept", gone)
			}
		}
		admin := w.actor("Ada Admin", Administrator)
		_, err = admin.Organisation(ctx, org.ID)
		wants(t, err, accounts.ErrNotFound)
		got, err := admin.Application(ctx, app.ID)
		ok(t, err)
		equal(t, got.State, lifecycle.Withdrawn)
		kept, err := database.Column(ctx, w.db, `SELECT action FROM portal_events WHERE actor = $1 ORDER BY id DESC`, owner.Person.ID)
		ok(t, err)
		equal(t, kept[0], didDeleteAccount) // what was done stays
		w.signUp("olga@dev.example", "Olga")
	})
}

func TestDomain(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		var mu sync.Mutex
		records := map[string][]string{}
		page := func(http.ResponseWriter, *http.Request) {}
		site := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Host != "www.apps.example" || r.URL.Path != domainPath {
				t.Errorf("asked for %s%s", r.Host, r.URL.Path)
			}
			page(rw, r)
		}))
		defer site.Close()
		fetch := site.Client()
		fetch.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
		fetch.Transport.(*http.Transport).DialContext = dialer(site.Listener.Addr().String())
		w := newWorld(t, address, func(c *Config) {
			c.Fetch = fetch
			c.TXT = func(_ context.Context, name string) ([]string, error) {
				mu.Lock()
				defer mu.Unlock()
				if r, is := records[name]; is {
					return r, nil
				}
				return nil, errors.New("no such host")
			}
		})
		org, owner := w.organisation(w.actor("Olga Owner", NoStaff), "Good Apps")
		says := func(status int, text string) func(http.ResponseWriter, *http.Request) {
			return func(rw http.ResponseWriter, _ *http.Request) {
				if status == http.StatusFound {
					rw.Header().Set("Location", "https://www.apps.example"+domainPath+"?again")
				}
				rw.WriteHeader(status)
				rw.Write([]byte(text))
			}
		}
		for name, p := range map[string]func(http.ResponseWriter, *http.Request){
			"nothing":    says(200, ""),
			"another":    says(200, database.NewSecret()),
			"an error":   says(404, org.Domain.Token),
			"a redirect": says(302, org.Domain.Token),
			"among more": says(200, "x "+org.Domain.Token),
			"far away":   says(200, strings.Repeat(" ", domainMost)+org.Domain.Token),
		} {
			page = p
			if _, err := owner.CheckDomain(ctx, org.ID); err == nil {
				t.Fatalf("%s is a proof", name)
			}
		}
		page = says(200, org.Domain.Token+"\n")
		got, err := owner.CheckDomain(ctx, org.ID)
		ok(t, err)
		equal(t, []any{got.Domain.By, got.Domain.Proofed}, []any{"web", w.clock.now()})

		// Another website is another domain.
		o := *got
		o.Website = "https://other.example"
		ok(t, owner.UpdateOrganisation(ctx, &o))
		got, err = owner.Organisation(ctx, org.ID)
		ok(t, err)
		equal(t, got.Domain.Proofed.IsZero(), true)
		mu.Lock()
		records["_cpcds2fhir.other.example"] = []string{"v=spf1 -all", got.Domain.Token}
		mu.Unlock()
		reviewer := w.actor("Ray Reviewer", Reviewer)
		got, err = reviewer.CheckDomain(ctx, org.ID)
		ok(t, err)
		equal(t, got.Domain.By, "dns")
	})
}
