package staff

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestSandboxReview takes a questionnaire, asks, gets an answer, and approves.
func TestSandboxReview(t *testing.T) {
	w := newWorld(t, nil)
	a := w.questionnaire()
	q := w.rita.see("/staff", a.ID, "Apps", "Submitted", "Due in 2 days", "Nobody", "1 application")
	q.form(at(a.ID, "move", "take")).send().follow("You have taken the application.", "Rita Reviewer")
	w.in(a.ID, lifecycle.InReview)
	w.mailed()
	p := w.rita.see(at(a.ID, "move", "ask"), "The applicant gets your text by mail.", "Waiting for your answer")
	p.form(at(a.ID, "move", "ask")).send().want(http.StatusUnprocessableEntity, "Fill in “Text”")
	w.in(a.ID, lifecycle.InReview)
	w.rita.does(a.ID, lifecycle.Ask, "reason", "Where are your servers?", "note", "they said nothing of it")
	if m := w.mailed(); !strings.Contains(m, "olga@people.example") || !strings.Contains(m, "Where are your servers?") || strings.Contains(m, "they said nothing") {
		t.Errorf("the applicant reads: %s", m)
	}
	w.rita.see(at(a.ID), "The clock stands still")
	w.rita.see("/staff?view=waiting", a.ID)
	w.rita.see("/staff").lacks(a.ID)

	got, err := w.owner.Application(ctx, a.ID)
	ok(t, err)
	answers := got.Answers
	for id, v := range answers {
		if strings.HasPrefix(v[0], "About ") {
			answers[id] = []string{"In Raleigh"}
			break
		}
	}
	_, err = w.owner.SaveDraft(ctx, a.ID, got.Version, answers)
	ok(t, err)
	w.rita.see(at(a.ID)).lacks("In Raleigh") // it is a draft
	w.step(a.ID, lifecycle.Resubmit, nil)
	w.rita.see(at(a.ID), "In Raleigh", "Revision 2")
	w.rita.see(at(a.ID, "changes"), "In Raleigh", "About ", "Revision 1 – Revision 2")
	w.rita.see(at(a.ID, "revisions", "1")).lacks("In Raleigh")
	p = w.rita.see(at(a.ID, "move", "approve"))
	if letter := p.form(at(a.ID, "move", "approve")).fields.Get("reason"); !strings.Contains(letter, "is approved") {
		t.Errorf("the letter is %q", letter)
	}
	w.rita.does(a.ID, lifecycle.Approve, "reason", "Welcome, dear Apps.", "conditions", "Mock data only.")
	if m := w.mailed(); !strings.Contains(m, "Welcome, dear Apps.") || !strings.Contains(m, "Mock data only.") {
		t.Errorf("the applicant reads: %s", m)
	}
	w.rita.see(at(a.ID), "Approved", "Mock data only.")
	w.rita.see(at(a.ID, "history"), "The applicant was asked.", "they said nothing of it", "Rita Reviewer", "The application was approved.")
}

// production brings an application to where a decision can be proposed, by the pages of a reviewer.
func (w *world) reviewed(by *browser, a *portal.Application) {
	w.t.Helper()
	by.does(a.ID, lifecycle.Take)
	by.does(a.ID, lifecycle.StartReview)
	by.does(a.ID, lifecycle.SignSecurity, "note", "the report is fine")
	by.does(a.ID, lifecycle.SignPrivacy)
}

// TestFourEyes approves an app by two people, changes it, and cuts it off.
func TestFourEyes(t *testing.T) {
	w := newWorld(t, nil)
	w.opens()
	app, _ := w.app("Claims Friend")
	a := w.applies(app)
	page := w.rita.see(at(a.ID), "Claims Friend", "Olga Owner", "IAL2", "State ID Service", "https://www.apps.example/back", "patient/*.read", "Evidence from the sandbox", "Shown once", "pen test",
		"Not proved", "Only objective criteria")
	w.rita.does(a.ID, lifecycle.Take)
	w.rita.does(a.ID, lifecycle.StartReview)
	w.rita.see(at(a.ID), "Both reviews must be signed")
	w.rita.see(at(a.ID, "move", "propose"), "Both reviews must be signed")
	w.rita.does(a.ID, lifecycle.SignSecurity, "note", "the report is fine")
	w.rita.does(a.ID, lifecycle.SignPrivacy)
	w.rita.see(at(a.ID), "the report is fine")
	w.rita.does(a.ID, lifecycle.Propose, "note", "all in order")

	w.rita.see(at(a.ID), "Another person must decide", "Proposed decision")
	w.rita.see(at(a.ID, "move", "approve"), "Another person must decide")
	w.post(w.rita, at(a.ID, "move", "approve"), a.ID, "reason", "yes").want(http.StatusUnprocessableEntity, "Another person must decide")
	w.in(a.ID, lifecycle.Proposed)
	w.rob.does(a.ID, lifecycle.Approve, "conditions", "Tell us of each breach.")
	w.in(a.ID, lifecycle.Approved)

	w.step(a.ID, lifecycle.Issue, nil)
	w.step(a.ID, lifecycle.GoLive, nil)
	app, err := w.owner.App(ctx, app.ID)
	ok(t, err)
	w.client(app.Production, accounts.Active)

	// Another name is asked for: the page shows what would change.
	got, err := w.owner.Application(ctx, a.ID)
	ok(t, err)
	in := w.signed(got)
	in.Settings = settings("Claims Companion")
	w.step(a.ID, lifecycle.Change, in)
	w.rob.see(at(a.ID, "changes"), "Claims Friend", "Claims Companion")
	w.rob.see(at(a.ID, "move", "accept_change"), "An approval must be proposed first")
	w.rob.does(a.ID, lifecycle.ProposeChange, "note", "only the name")
	w.rob.see(at(a.ID), "only the name", "Another person must decide")
	w.post(w.rob, at(a.ID, "move", "accept_change"), a.ID, "reason", "yes").want(http.StatusUnprocessableEntity, "Another person must decide")
	w.in(a.ID, lifecycle.ChangePending)
	w.rita.does(a.ID, lifecycle.AcceptChange)

	// A reviewer suspends; only an administrator reinstates.
	w.rob.see("/staff/apps/"+app.ID, "Suspend", app.Production, "GET /Patient/{id}")
	p := w.rob.see(at(a.ID, "move", "suspend"), "42 CFR 431.60(e)", "tokens for production open nothing")
	p.form(at(a.ID, "move", "suspend")).fill("reason", "Keys have leaked.").send().want(http.StatusUnprocessableEntity, "Fill in “Criterion”")
	p.form(at(a.ID, "move", "suspend")).fill("reason", "Keys have leaked.", "criterion", "P-01").send().want(http.StatusUnprocessableEntity)
	w.in(a.ID, lifecycle.Live)
	w.rob.does(a.ID, lifecycle.Suspend, "reason", "Keys have leaked.", "criterion", "S-02")
	w.client(app.Production, accounts.Disabled)
	w.rob.see(at(a.ID)).lacks("Reinstate")
	w.rob.get(at(a.ID, "move", "reinstate")).want(http.StatusForbidden)
	w.post(w.rob, at(a.ID, "move", "reinstate"), a.ID, "reason", "please").want(http.StatusForbidden)
	w.ada.see("/staff/apps/"+app.ID, "Reinstate", "Revoke")
	w.ada.does(a.ID, lifecycle.Reinstate, "reason", "The keys are new.")
	w.client(app.Production, accounts.Active)
	w.in(a.ID, lifecycle.Live)
	w.ada.does(a.ID, lifecycle.Revoke, "reason", "They leaked again.", "criterion", "S-02")
	w.client(app.Production, accounts.Disabled)
	_ = page
}

// client wants a client in production to have a status.
func (w *world) client(id string, want accounts.Status) {
	w.t.Helper()
	c, err := w.Accounts.Client(ctx, id)
	ok(w.t, err)
	if c.Status != want {
		w.t.Fatalf("the client is %s, not %s", c.Status, want)
	}
}

// post sends a form about an application that is not on a page, with a good token and the newest version.
func (w *world) post(b *browser, path, id string, pairs ...string) *reply {
	w.t.Helper()
	a, err := w.Operator("test").Application(ctx, id)
	ok(w.t, err)
	f := b.see(at(id, "messages")).form(at(id, "messages"))
	f.fields.Set("version", itoa(a.Version))
	for i := 0; i+1 < len(pairs); i += 2 {
		f.fields.Set(pairs[i], pairs[i+1])
	}
	return b.do(http.MethodPost, path, f.fields.Encode())
}

// TestDenyAndAppeal denies on a criterion, and lets somebody who took no part decide the appeal.
func TestDenyAndAppeal(t *testing.T) {
	w := newWorld(t, nil)
	w.opens()
	app, _ := w.app("Claims Friend")
	a := w.applies(app)
	w.reviewed(w.rita, a)

	// The checklist says which grounds there may be.
	list := at(a.ID, "checklist")
	w.rita.see(list, "May be a ground to refuse", "Shown to members, no ground to refuse", "A-02", "0 of ").form(list).
		fill("domain", "not_met", "domain_note", "the domain is for sale", "policy_sharing", "not_met").send().follow("The checklist is saved.")
	w.rita.see(at(a.ID), "The checklist found these criteria of security not met.", "The checklist found these points of privacy not met.")
	w.support.see(list, "the domain is for sale").lacks("Save the checklist")

	p := w.rita.see(at(a.ID, "move", "propose_deny"), "It is no ground to refuse", "The checklist found these criteria of security not met.")
	for _, c := range w.Forms.Criteria() {
		if got := strings.Contains(p.body, `value="`+c.Code+`"`); got != (c.Group == forms.Gate) {
			t.Errorf("the criterion %s of the group %s can be chosen: %v", c.Code, c.Group, got)
		}
	}
	w.rita.does(a.ID, lifecycle.ProposeDeny, "criterion", "A-02", "reason", "The domain is not yours.")
	d := w.ada.see(at(a.ID, "move", "deny")).form(at(a.ID, "move", "deny"))
	if d.fields.Get("criterion") != "A-02" || d.fields.Get("reason") != "The domain is not yours." {
		t.Errorf("the proposal is not in the form: %v", d.fields)
	}
	w.mailed()
	d.send().follow("It is done.", "Denied")
	if m := w.mailed(); !strings.Contains(m, "The domain is not yours.") {
		t.Errorf("the applicant reads: %s", m)
	}
	w.step(a.ID, lifecycle.AppealDenial, &portal.Input{Reason: "It is ours, since yesterday."})
	w.rita.see(at(a.ID), "There is nothing that you can do")
	w.ada.see(at(a.ID), "neither proposed nor decided")
	w.eve.see(at(a.ID, "history"), "It is ours, since yesterday.")
	w.eve.does(a.ID, lifecycle.Overturn, "reason", "You are right.")
	w.in(a.ID, lifecycle.Triage)
}

// TestFreshSession asks administrators to prove who they are.
func TestFreshSession(t *testing.T) {
	w := newWorld(t, nil)
	a := w.questionnaire()
	w.rita.does(a.ID, lifecycle.Take)
	w.rita.does(a.ID, lifecycle.Approve)
	w.rita.does(a.ID, lifecycle.Suspend, "reason", "Calls without end.", "criterion", "S-05")
	id := w.people["Dan Developer"].ID
	role := w.ada.see("/staff/people/" + id).form("/staff/people/" + id + "/role")
	back := w.ada.see(at(a.ID, "move", "reinstate")).form(at(a.ID, "move", "reinstate")).fill("reason", "They wait now.")
	w.pass(11 * time.Minute)
	for path, r := range map[string]*reply{
		at(a.ID, "move", "reinstate"): back.send(), "/staff/people/" + id: role.fill("role", "support").send(),
		"/staff/mail": w.ada.get("/staff/mail"), "/staff/export.csv": w.ada.get("/staff/export.csv"),
	} {
		r.want(http.StatusSeeOther)
		if to := r.header.Get("Location"); !strings.HasPrefix(to, "/developers/reauth?next=") {
			t.Errorf("%s leads to %s", path, to)
		}
	}
	w.ada.get(at(a.ID, "move", "reinstate")).want(http.StatusSeeOther)
	w.in(a.ID, lifecycle.Suspended)
	who, err := w.Operator("test").PersonOf(ctx, id)
	ok(t, err)
	if who.Staff != portal.NoStaff {
		t.Error("the role was changed")
	}
	w.rita.see("/staff") // reviewers read and decide
	full, err := w.Reauthenticate(ctx, w.ada.id, password, w.code())
	ok(t, err)
	w.ada.id = full.ID
	w.ada.does(a.ID, lifecycle.Reinstate, "reason", "They wait now.")
	w.in(a.ID, lifecycle.Approved)
}

// TestTwoAtOnce tells the second of two reviewers what the first has changed, and keeps what the second has typed.
func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	a := w.questionnaire()
	queue := w.rob.see("/staff").form(at(a.ID, "move", "take"))
	w.rita.does(a.ID, lifecycle.Take)
	queue.send().want(http.StatusConflict, "Somebody has changed this meanwhile", "A reviewer took the application.", "Rita Reviewer")

	ask, approve := at(a.ID, "move", "ask"), at(a.ID, "move", "approve")
	second := w.rob.see(ask).form(ask).fill("reason", "A long question of Rob.")
	third := w.rob.see(approve).form(approve).fill("reason", "Rob says welcome.")
	list := at(a.ID, "checklist")
	checks := w.rob.see(list).form(list).fill("domain", "met", "domain_note", "Rob has seen it")
	w.rita.see(list).form(list).fill("domain", "not_met", "domain_note", "Rita has not").send().follow("saved")
	p := checks.send().want(http.StatusConflict, "Your entries are still here", "Rita has not", "Rob has seen it", "Not met")
	kept := p.form(list)
	if kept.fields.Get("domain") != "met" || kept.fields.Get("domain_note") != "Rob has seen it" {
		t.Errorf("what was typed is lost: %v", kept.fields)
	}
	p = second.send().want(http.StatusConflict, "Somebody has changed the application", "Nothing of yours was done")
	if got := p.form(ask).fields.Get("reason"); got != "A long question of Rob." {
		t.Errorf("what was typed is lost: %q", got)
	}
	w.in(a.ID, lifecycle.InReview)
	w.rita.does(a.ID, lifecycle.Approve, "reason", "Rita says welcome.")
	third.send().want(http.StatusConflict, "The application was approved.", "Rita says welcome.", "Rita Reviewer")
	assign := w.rob.see(at(a.ID)).form(at(a.ID, "assign"))
	w.rita.does(a.ID, lifecycle.Suspend, "reason", "Stop.", "criterion", "S-05")
	assign.fill("assignee", w.people["Rob Reviewer"].ID).send().want(http.StatusConflict, "Access was suspended.")
	if got, _ := w.Operator("test").Application(ctx, a.ID); got.Assignee != w.people["Rita Reviewer"].ID {
		t.Error("it was assigned all the same")
	}
	w.rob.see(at(a.ID)).form(at(a.ID, "assign")).fill("assignee", w.people["Rob Reviewer"].ID).send().follow("The application is assigned.", "Rob Reviewer")
	w.rob.see(at(a.ID)).form(at(a.ID, "assign")).fill("assignee", "").send().want(http.StatusUnprocessableEntity, "Fill this in.")
	w.rob.see(at(a.ID)).form(at(a.ID, "assign")).fill("assignee", "none").send().follow("The application is assigned to nobody.")
	w.rob.see(at(a.ID)).form(at(a.ID, "assign")).fill("assignee", "nobody at all").send().want(http.StatusUnprocessableEntity)
}

// TestRelated keeps staff from what belongs to their own organisation.
func TestRelated(t *testing.T) {
	w := newWorld(t, nil)
	a := w.questionnaire()
	inv, err := w.owner.Invite(ctx, &portal.Invitation{Org: w.org, Email: "rita@people.example", Family: "Reviewer", Role: portal.Developer})
	ok(t, err)
	_ = inv
	m := w.mailed()
	i := strings.Index(m, "token=")
	token := strings.Fields(m[i+len("token="):])[0]
	rita, err := w.Portal.Actor(ctx, w.rita.id)
	ok(t, err)
	_, err = rita.AcceptInvitation(ctx, token)
	ok(t, err)
	for _, path := range []string{at(a.ID), at(a.ID, "checklist"), at(a.ID, "messages"), at(a.ID, "history"), at(a.ID, "changes"), at(a.ID, "move", "take"), at(a.ID, "revisions", "1")} {
		w.rita.get(path).want(http.StatusForbidden, "You belong to this applicant").lacks("About ")
	}
	w.rita.see("/staff", a.ID).lacks("Take it")
	w.post(w.rob, at(a.ID, "assign"), a.ID, "assignee", w.people["Rita Reviewer"].ID).want(http.StatusUnprocessableEntity, "belongs to the applicant")
	w.in(a.ID, lifecycle.Submitted)
}
