package portal

import (
	"fmt"
	"strings"
	"testing"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestSearchTakesNoPatterns finds what somebody types as it is: no sign of it is a pattern.
func TestSearchTakesNoPatterns(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		k.submitted(k.tested("Dollar_Sense! 50%"))
		for query, want := range map[string]int{
			"dollar_sense!": 1, "sense!": 1, "50%": 1, "dollar": 1, "dollar-sense": 0, "d_llar": 0, "d%r": 0, "%": 1, "_": 1, "!": 1, `\`: 0,
		} {
			list, err := k.reviewer.Queue(ctx, &Filter{Query: query, Kind: lifecycle.Production})
			ok(t, err)
			if len(list) != want {
				t.Errorf("%q finds %d applications", query, len(list))
			}
		}
	})
}

// TestDirectoryOfClients lists no app whose client was disabled or removed by an operator, and all others.
func TestDirectoryOfClients(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		client := map[string]string{}
		for _, name := range []string{"Works", "Is Disabled", "Is Removed"} {
			app := k.tested(name)
			k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
			client[name] = first2(k.owner.App(ctx, app.ID)).Production
		}
		ok(t, k.Accounts.SetStatus(ctx, client["Is Disabled"], accounts.Disabled))
		ok(t, k.Accounts.RemoveClient(ctx, client["Is Removed"]))
		list, err := k.Directory(ctx, "en")
		ok(t, err)
		if len(list) != 1 || list[0].Name != "Works" {
			t.Errorf("got %+v", list)
		}
	})
}

// TestMost gives lists no more than they are asked for, and no less.
func TestMost(t *testing.T) {
	for asked, want := range map[int]int{0: 200, -1: 200, 1: 1, 200: 200, 5000: 5000, listMost: listMost, listMost + 1: listMost} {
		equal(t, most(asked), want)
	}
	each(t, nil, func(k *team, _ string) {
		for i := range 230 {
			_, err := k.db.Change(ctx, `INSERT INTO portal_people (id, email, verified, name, staff, status, issuer, subject, about, created, seen)
				VALUES ($1, $2, 1, 'Bulk', '', 'registered', '', '', '{}', 0, 0)`, fmt.Sprint("bulk", i), fmt.Sprintf("bulk%d@x.example", i))
			ok(k.t, err)
		}
		list, err := k.reviewer.People(ctx, "bulk", 10_000)
		ok(k.t, err)
		equal(k.t, len(list), 230)
	})
}

// TestNameOfTheOperator stands in the notes of what was done at the command line, which staff read.
func TestNameOfTheOperator(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		a := k.submitted(k.tested("Claims Friend"))
		op := k.Operator("root@box")
		a = k.step(op, a, lifecycle.Take, &Input{Note: "in a hurry"})
		ok(t, op.SetStaff(ctx, k.support.Person.ID, Reviewer))
		var notes []string
		for _, e := range first2(k.reviewer.Audit(ctx, &AuditFilter{Person: actorOperator})) {
			if e.Action == string(lifecycle.Take) || e.Action == didSetStaff {
				notes = append(notes, e.Note)
			}
		}
		equal(t, notes, []string{"reviewer (operator root@box)", "in a hurry (operator root@box)"})
		for _, e := range first2(k.owner.Events(ctx, a.ID)) {
			if strings.Contains(fmt.Sprintf("%+v", *e), "root@box") {
				t.Errorf("the applicant reads %+v", *e)
			}
		}
	})
}

// TestOverturned says of an application whose denial was overturned nothing that was decided.
func TestOverturned(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		a := k.submitted(k.tested("Claims Friend"))
		ground := func() *Input { return &Input{Reason: "r", Criterion: k.Criteria()[0]} }
		for _, x := range []lifecycle.Action{lifecycle.Take, lifecycle.StartReview, lifecycle.ProposeDeny} {
			a = k.step(k.reviewer, a, x, ground())
		}
		a = k.step(k.second, a, lifecycle.Deny, ground())
		a = k.step(k.owner, a, lifecycle.AppealDenial, ground())
		a = k.step(k.admin, a, lifecycle.Overturn, ground())
		if a.State != lifecycle.Triage || a.Decision != nil {
			t.Errorf("it is in %s, and decided: %+v", a.State, a.Decision)
		}
	})
}

// TestSameQueries asks the database as often for an address without an account as for one that has one, so that the time tells
// nothing.
func TestSameQueries(t *testing.T) {
	address := "sqlite:" + t.TempDir() + "/a.db"
	w := newWorld(t, address, nil)
	w.signUp("ana@dev.example", "Ana")
	f := w.faulty(address)
	asks := func(email string) int64 {
		t.Helper()
		before := f.Calls.Load()
		_, err := w.SignIn(ctx, email, "not the password at all")
		wants(t, err, accounts.ErrNotFound)
		return f.Calls.Load() - before
	}
	known, unknown := asks("ana@dev.example"), asks("nobody@dev.example")
	if known == 0 || known != unknown {
		t.Errorf("%d queries for an account, and %d for none", known, unknown)
	}
}
