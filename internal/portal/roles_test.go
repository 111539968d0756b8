package portal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
)

func dialer(address string) func(ctx context.Context, network, _ string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

// TestEveryMethodForEveryRole calls each method of an Actor that this file knows as each kind of person, with ids of their
// own organisation and of another. Who may not see something learns that it is not there; who may see it, and not do
// it, is told so; and nothing changes.
func TestEveryMethodForEveryRole(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", nil)
	who := map[string]*Actor{
		"support": w.actor("Sam Support", Support), "reviewer": w.actor("Ray Reviewer", Reviewer), "administrator": w.actor("Ada Admin", Administrator),
		"stranger": w.actor("Stan Stranger", NoStaff), "operator": w.Operator("root"),
	}
	mine, owner := w.organisation(w.actor("Olga Owner", NoStaff), "Mine")
	other, _ := w.organisation(who["stranger"], "Other")
	who["stranger"] = w.actorOf(who["stranger"].Person.ID)
	who["owner"] = owner
	who["developer"] = w.join(mine.ID, w.actor("Dan Developer", NoStaff), Developer)
	who["observer"] = w.join(mine.ID, w.actor("Obi Observer", NoStaff), Observer)
	target := w.join(mine.ID, w.actor("Tia Target", NoStaff), Observer)
	w.join(other.ID, target, Observer)
	var pending []string
	for _, o := range []*Organisation{mine, other} {
		boss := owner
		if o == other {
			boss = who["stranger"]
		}
		i, err := boss.Invite(ctx, &Invitation{Org: o.ID, Email: "pending@dev.example", Family: "P", Role: Observer})
		ok(t, err)
		pending = append(pending, i.ID)
	}
	ticket, err := w.File(ctx, "support", supportAnswers(), target.Person.ID, "", "en", false)
	ok(t, err)
	all := []string{"owner", "developer", "observer", "stranger", "support", "reviewer", "administrator", "operator"}
	staff := []string{"support", "reviewer", "administrator", "operator"}
	reviewers, admins := staff[1:], staff[2:]

	// What they may do with the organisation mine, and with the other one. Who is in neither list must not see it, or is
	// told so because they see it. dry: the call is one that fails for another reason once it is allowed, so that it changes nothing.
	type test struct {
		name      string
		may       []string // with mine
		mayOther  []string // with the other organisation
		see       []string // may see mine: they are told *DeniedError
		seeOther  []string
		call      func(a *Actor, org string, own bool) error
		noSubject bool // it is not about an organisation: the same for both
	}
	member := []string{"owner", "developer", "observer"}
	see, seeOther := append(slices.Clone(member), staff...), append([]string{"stranger"}, staff...)
	stale := func(err error) error { // it was allowed, and fails for what it was given
		var i *InputError
		if errors.Is(err, ErrStale) || errors.As(err, &i) {
			return nil
		}
		return err
	}
	tests := []test{
		{"Organisation", see, seeOther, see, seeOther, func(a *Actor, org string, _ bool) error { _, err := a.Organisation(ctx, org); return err }, false},
		{"MembersOf", see, seeOther, see, seeOther, func(a *Actor, org string, _ bool) error { _, err := a.MembersOf(ctx, org); return err }, false},
		{"Invitations", see, seeOther, see, seeOther, func(a *Actor, org string, _ bool) error { _, err := a.Invitations(ctx, org); return err }, false},
		{"History", see, seeOther, see, seeOther, func(a *Actor, org string, _ bool) error { _, err := a.History(ctx, org, time.Time{}, 0); return err }, false},
		{"UpdateOrganisation", []string{"owner"}, []string{"stranger"}, see, seeOther, func(a *Actor, org string, _ bool) error {
			o := *mine
			o.ID, o.Version = org, 99
			return stale(a.UpdateOrganisation(ctx, &o))
		}, false},
		{"CheckDomain", append([]string{"owner", "developer"}, reviewers...), append([]string{"stranger"}, reviewers...), see, seeOther, func(a *Actor, org string, _ bool) error {
			_, err := a.CheckDomain(ctx, org)
			return stale(err)
		}, false},
		{"Invite", []string{"owner"}, []string{"stranger"}, see, seeOther, func(a *Actor, org string, _ bool) error {
			_, err := a.Invite(ctx, &Invitation{Org: org, Email: "nobody", Family: "X", Role: Observer})
			return stale(err)
		}, false},
		{"CancelInvitation", []string{"owner"}, []string{"stranger"}, see, seeOther, func(a *Actor, org string, own bool) error {
			err := a.CancelInvitation(ctx, org, "none")
			if errors.Is(err, accounts.ErrNotFound) && a.roleIn(org) == Owner {
				return nil
			}
			return err
		}, false},
		{"CancelInvitation of another", nil, nil, see, seeOther, func(a *Actor, org string, own bool) error {
			id := pending[0]
			if own {
				id = pending[1]
			}
			err := a.CancelInvitation(ctx, org, id)
			if errors.Is(err, accounts.ErrNotFound) && a.roleIn(org) == Owner {
				return &DeniedError{"it is not one of the organisation"} // as wanted
			}
			return err
		}, false},
		{"SetOrgRole", []string{"owner"}, []string{"stranger"}, see, seeOther, func(a *Actor, org string, _ bool) error {
			return a.SetOrgRole(ctx, org, target.Person.ID, Observer) // as it is
		}, false},
		{"RemoveMember", []string{"owner"}, []string{"stranger"}, see, seeOther, func(a *Actor, org string, _ bool) error {
			err := a.RemoveMember(ctx, org, "nobody")
			if errors.Is(err, accounts.ErrNotFound) && a.roleIn(org) == Owner {
				return nil
			}
			return err
		}, false},

		{"Organisations", all, all, all, all, func(a *Actor, _ string, _ bool) error {
			list, err := a.Organisations(ctx)
			for _, o := range list {
				if a.maySee(o.ID) != nil {
					err = errors.New("it lists one that the actor must not see")
				}
			}
			if len(list) == 0 {
				err = errors.New("it lists none")
			}
			return err
		}, true},
		{"People", reviewers, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.People(ctx, "", 0); return err }, true},
		{"PersonOf", staff, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.PersonOf(ctx, target.Person.ID); return err }, true},
		{"SetStaff", admins, nil, all, nil, func(a *Actor, _ string, _ bool) error { return a.SetStaff(ctx, target.Person.ID, NoStaff) }, true},
		{"SetStaff of oneself", nil, nil, all, nil, func(a *Actor, _ string, _ bool) error { return a.SetStaff(ctx, a.id(), Administrator) }, true},
		{"SuspendPerson", admins, nil, all, nil, func(a *Actor, _ string, _ bool) error {
			return stale(a.SuspendPerson(ctx, target.Person.ID, "", true))
		}, true},
		{"EndSessionsOf", admins, nil, all, nil, func(a *Actor, _ string, _ bool) error {
			err := a.EndSessionsOf(ctx, "nobody")
			if errors.Is(err, accounts.ErrNotFound) {
				return nil
			}
			return err
		}, true},
		{"DecideProof", reviewers, nil, all, nil, func(a *Actor, _ string, _ bool) error {
			return stale(a.DecideProof(ctx, target.Person.ID, false, "", "", time.Time{}, ""))
		}, true},
		{"DecideProof of oneself", nil, nil, all, nil, func(a *Actor, _ string, _ bool) error {
			return a.DecideProof(ctx, a.id(), true, "IAL2", "me", w.clock.now(), "")
		}, true},
		{"AddPerson", admins, nil, all, nil, func(a *Actor, _ string, _ bool) error {
			_, err := a.AddPerson(ctx, &Person{}, "", "")
			return stale(err)
		}, true},
		{"PutPerson", admins, nil, all, nil, func(a *Actor, _ string, _ bool) error {
			_, err := a.PutPerson(ctx, &Person{}, "", "")
			return stale(err)
		}, true},
		{"Audit", reviewers, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.Audit(ctx, &AuditFilter{}); return err }, true},
		{"Actions", reviewers, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.Actions(ctx); return err }, true},
		{"Colleagues", staff, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.Colleagues(ctx, Support); return err }, true},
		{"ProofsRequested", reviewers, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.ProofsRequested(ctx); return err }, true},
		{"AllApps", staff, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.AllApps(ctx, "", 0); return err }, true},
		{"Lookalikes", staff, nil, all, nil, func(a *Actor, _ string, _ bool) error {
			_, _, err := a.Lookalikes(ctx, "An App", "", "")
			return err
		}, true},
		{"LetterTexts", admins, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.LetterTexts(ctx, "en"); return err }, true},
		{"NameOf", staff, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.NameOf(ctx, target.Person.ID); return err }, true},
		{"Outbox", admins, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.Outbox(ctx, 0); return err }, true},
		{"Tickets", staff, nil, all, nil, func(a *Actor, _ string, _ bool) error { _, err := a.Tickets(ctx, "", "", 0); return err }, true},
		{"Ticket", staff, nil, staff, nil, func(a *Actor, _ string, _ bool) error { _, err := a.Ticket(ctx, ticket.ID); return err }, true},
		{"Reply", staff, nil, all, nil, func(a *Actor, _ string, _ bool) error { return stale(a.Reply(ctx, ticket.ID, 99, "text", false)) }, true},
		{"Reply to none", nil, nil, slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(staff, s) }), nil,
			func(a *Actor, _ string, _ bool) error { return a.Reply(ctx, "S-0", 1, "text", false) }, true},
	}
	covered := map[string]bool{
		// of the actor's own account, or tested elsewhere by who the token is for
		"UpdateProfile": true, "ChangePassword": true, "EndSessions": true, "OpenSessions": true, "RequestProof": true, "AcceptTerms": true, "DeleteAccount": true,
		"AddOrganisation": true, "Invited": true, "AcceptInvitation": true,
	}
	before := w.dump()
	for _, c := range tests {
		covered[strings.Fields(c.name)[0]] = true
		for _, role := range all {
			for _, own := range []bool{true, false} {
				org, may, sees := mine.ID, c.may, c.see
				if !own && !c.noSubject {
					org, may, sees = other.ID, c.mayOther, c.seeOther
				}
				err := c.call(who[role], org, own)
				what := fmt.Sprintf("%s by %s, own %t", c.name, role, own)
				var d *DeniedError
				switch {
				case slices.Contains(may, role):
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
				case slices.Contains(sees, role):
					if !errors.As(err, &d) {
						t.Errorf("%s: got %v, not a *DeniedError", what, err)
					}
				case !errors.Is(err, accounts.ErrNotFound):
					t.Errorf("%s: got %v, not ErrNotFound", what, err)
				}
			}
			for _, org := range []string{"none", ""} { // an organisation that there is not
				if !c.noSubject {
					if err := c.call(who[role], org, true); err == nil && c.name != "MembersOf" && c.name != "Invitations" && c.name != "History" {
						t.Errorf("%s by %s of an organisation that is not there: no error", c.name, role)
					}
				}
			}
		}
	}
	if w.dump() != before {
		t.Error("something has changed")
	}
	for role, a := range who { // what belongs to nobody is seen by nobody but staff
		if slices.Contains(staff, role) {
			continue
		}
		for _, org := range []string{"", "none"} {
			wants(t, a.maySee(org), accounts.ErrNotFound)
		}
	}
	if _, err := who["stranger"].Ticket(ctx, ticket.ID); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if got, err := target.Ticket(ctx, ticket.ID); err != nil || got.ID != ticket.ID {
		t.Errorf("who has filed a ticket: %v", err)
	}

	// A method of the files of people and organisations that this test does not know is one that nobody has thought of.
	for i := range reflect.TypeFor[*Actor]().NumMethod() {
		name := reflect.TypeFor[*Actor]().Method(i).Name
		if _, of := reflect.TypeFor[*Portal]().MethodByName(name); of || covered[name] || slices.Contains(ofApplications, name) {
			continue
		}
		t.Errorf("%s is in no table: say who may do it", name)
	}
}

// ofApplications are methods of an Actor about applications and apps, whose roles are tested beside them.
var ofApplications = []string{
	"AddApp", "App", "Application", "Applications", "Apps", "Asked", "Assign", "ClaimForm", "CredentialsOf", "Differences", "Document", "Documents", "EndSecret", "Events", "Evidence",
	"Export", "ExportCSV", "Import", "Issue", "Letter", "Messages", "Move", "Moves", "Queue", "RemoveDocument", "Requests", "Revisions", "Rotate",
	"SaveChecks", "SaveDraft", "Say", "SetKeys", "SetLogo", "Start", "TextChanged", "UpdateApp", "Upload",
}
