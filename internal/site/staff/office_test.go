package staff

import (
	"net/http"
	"strings"
	"testing"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestPeople looks after people: roles, accounts, identities.
func TestPeople(t *testing.T) {
	w := newWorld(t, nil)
	pia := w.actor("Pia Pending")
	ok(t, pia.RequestProof(ctx))
	path := peoplePath + "/" + pia.Person.ID
	w.mailed()
	w.rita.see(peoplePath, "They wait for your word", "Pia Pending", "Waits for a reviewer")
	w.rita.see(peoplePath+"?q=sue", "Sue Support", "1 person")
	w.rita.see(peoplePath+"?q=100%25", "There is nothing to show")
	w.rita.see(path).lacks("Suspend the account", "Change the role")

	f := w.rita.see(path).form(path + "/proof")
	f.send().want(http.StatusUnprocessableEntity, "Fill in “Your word on the identity”")
	f.fill("passed", "yes").send().want(http.StatusUnprocessableEntity, "Fill in “Level”", "Fill in “Who has the evidence”", "Fill in “Date of the evidence”")
	f.fill("passed", "yes", "level", "IAL2", "issuer", "County office", "at", "2027-01-01").send().want(http.StatusUnprocessableEntity)
	f.fill("at", "2026-13-01").send().want(http.StatusUnprocessableEntity, "Write the day as year, month and day.")
	f.fill("passed", "no").send().want(http.StatusUnprocessableEntity, "Fill in “Text for the person”")
	f.fill("passed", "yes", "at", "2026-02-20", "note", "Thank you for coming.").send().follow("Your word on the identity is kept.", "Verified", "County office", "February 20, 2026", "Rita Reviewer", "An identity was verified.")
	if m := w.mailed(); !strings.Contains(m, "Thank you for coming.") {
		t.Errorf("the person reads: %s", m)
	}
	mine := peoplePath + "/" + w.people["Rita Reviewer"].ID
	if strings.Contains(w.rita.see(mine).body, mine+"/proof") {
		t.Error("somebody may decide about themselves")
	}

	w.ada.see(path).form(path+"/role").fill("role", "reviewer").send().follow("The role is changed.", "Reviewer")
	w.ada.see(path).form(path+"/role").fill("role", "owner").send().want(http.StatusUnprocessableEntity)
	w.rita.see(path).lacks("End all sessions")
	w.ada.see(path).form(path+"/sessions").send().follow("All sessions of the person are ended.", "All sessions of a person were ended.")
	if _, err := w.Portal.Actor(ctx, pia.Session.ID); err == nil {
		t.Error("a session that was ended goes on")
	}
	w.ada.see(path).form(path+"/suspend").send().want(http.StatusUnprocessableEntity, "Fill in “Why is the account suspended?”")
	two := w.eve.see(path).form(path+"/suspend").fill("reason", "Eve says so.")
	w.ada.see(path).form(path+"/suspend").fill("reason", "A phone was stolen.").send().follow("The account is suspended.", "Suspended", "A phone was stolen.")
	two.send().want(http.StatusConflict)
	w.ada.see(path).form(path+"/suspend").fill("reason", "It is found.").send().follow("The account is open again.")
	own := peoplePath + "/" + w.people["Ada Admin"].ID
	if body := w.ada.see(own).body; strings.Contains(body, own+"/role") || strings.Contains(body, own+"/suspend") {
		t.Error("somebody may change their own role")
	}
	r := w.ada.see(path).form(path + "/role")
	r.action = own + "/role"
	r.fill("role", "none").send().want(http.StatusForbidden)
}

// TestTickets answers and closes requests, and keeps what the second of two has typed.
func TestTickets(t *testing.T) {
	k := newBusy(t)
	path := ticketPath + "/" + k.ticket
	k.support.see(ticketPath, k.ticket, k.complaint, "Technical support", "Complaint about an app", "2 requests")
	k.support.see(ticketPath+"?kind=complaint", k.complaint).lacks(k.ticket)
	k.support.see(ticketPath+"?state=closed", "There is nothing to show")
	k.support.see(ticketPath+"/"+k.complaint, "Claims", "There is no address to answer to")
	f := k.support.see(path, "ann@apps.example", "Never ask for a secret").form(path)
	f.fields.Set("do", "answer")
	f.send().want(http.StatusUnprocessableEntity)
	late := k.rita.see(path).form(path).fill("text", "Rita types for long.")
	k.mailed()
	f.fill("text", "Follow the link named next.").send().follow("The answer is sent.", "Answered", "Follow the link named next.", "Sue Support")
	if m := k.mailed(); !strings.Contains(m, "ann@apps.example") || !strings.Contains(m, "Follow the link named next.") {
		t.Errorf("it was sent: %s", m)
	}
	late.fields.Set("do", "answer")
	p := late.send().want(http.StatusConflict, "Somebody has answered or closed the request", "Follow the link named next.")
	again := p.form(path)
	if again.fields.Get("text") != "Rita types for long." {
		t.Errorf("what was typed is lost: %v", again.fields)
	}
	again.fields.Set("do", "close")
	again.send().follow("The request is closed.", "Closed", "Rita types for long.")
	if strings.Contains(k.support.get(path).body, "<textarea") {
		t.Error("a closed request can be answered")
	}
}

// TestMail shows what waits, and what it says only if mail is off.
func TestMail(t *testing.T) {
	w := newWorld(t, nil)
	w.mailed()
	w.ada.see(mailPath, "No mail waits.")
	ok(t, w.ForgotPassword(ctx, "ada@people.example"))
	w.ada.see(mailPath, "ada@people.example", "reset", "Waits", "1 mail").lacks("Set a new password", "token=")

	off := newWorld(t, func(c *portal.Config) { c.Mail = nil })
	ok(t, off.ForgotPassword(ctx, "ada@people.example"))
	off.ada.see(mailPath, "Mail is off", "ada@people.example", "To do so, open this page")
}

// TestLetters shows every letter of both languages, with examples.
func TestLetters(t *testing.T) {
	w := newWorld(t, nil)
	w.ada.see(letterPath, "application_deny", "The program’s letter", "[Number]", "is denied", "proof_passed")
	w.ada.see(letterPath+"?in=es", "application_deny", "[Number]").lacks("is denied")
	w.ada.see(letterPath + "?in=xx")
}

// TestAudit finds events by what they are about.
func TestAudit(t *testing.T) {
	k := newBusy(t)
	for query, x := range map[string]struct{ has, lacks []string }{
		"":                                       {[]string{"The application was approved.", "Production credentials were issued.", "A secret was made.", "Rob Reviewer"}, nil},
		"?application=" + k.sandbox.ID:           {[]string{"A reviewer took the application."}, []string{"Production credentials were issued."}},
		"?person=" + k.people["Rob Reviewer"].ID: {[]string{"The application was approved."}, []string{"A reviewer took the application."}},
		"?org=" + k.other:                        {[]string{"The organization was registered."}, []string{"The application was approved."}},
		"?app=" + k.app.ID + "&action=secret_made": {[]string{"A secret was made."}, []string{"The application was approved."}},
		"?from=2026-03-02&to=2026-03-02":           {[]string{"The application was approved."}, nil},
		"?from=2026-03-03":                         {nil, []string{"The application was approved."}},
		"?to=2026-03-01":                           {nil, []string{"The application was approved."}},
		"?from=nonsense&action=%27":                {nil, []string{"The application was approved."}},
	} {
		got := k.rita.see(auditPath + query).rows()
		for _, text := range x.has {
			if !strings.Contains(got, text) {
				t.Errorf("%s lacks %q: %s", query, text, got)
			}
		}
		for _, text := range x.lacks {
			if strings.Contains(got, text) {
				t.Errorf("%s has %q", query, text)
			}
		}
	}
	k.rita.see(orgsPath+"/"+k.org, "Apps Inc.", "Sid Secure", "Claims Friend", k.production.ID, "Somebody was invited.")
	k.rita.see(orgsPath+"?q=else", "Elsewhere").lacks("Apps Inc.")
	k.support.see(orgsPath + "/" + k.org).lacks(auditPath)
}

// TestFindings shows what a reviewer must look at.
func TestFindings(t *testing.T) {
	w := newWorld(t, nil)
	w.opens()
	first, _ := w.app("Claims Friend Plus")
	_ = first
	app, _ := w.app("Medicaid Claims")
	a, err := w.owner.Start(ctx, lifecycle.Production, w.org, app.ID)
	ok(t, err)
	answers := formstest.Filled(w.Forms.Form("production"))
	for _, q := range w.Forms.Form("production").Visible(answers) { // an answer by which a criterion is not met
		if q.Criterion != "" && q.Kind == "yes_no" && len(q.Attests) == 0 {
			answers[q.ID] = []string{"no"}
		}
	}
	for id, v := range formstest.Filled(w.Forms.Form("production")) {
		if answers[id] == nil {
			answers[id] = v
		}
	}
	formstest.Complete(w.Forms.Form("production"), answers)
	a, err = w.owner.SaveDraft(ctx, a.ID, a.Version, answers)
	ok(t, err)
	w.step(a.ID, lifecycle.Submit, w.signed(a))
	w.rita.see(at(a.ID), "words that belong to the government", "Members are told that these are not attested.", "By these answers a criterion of security is not met.")

	list, reserved, err := w.Operator("test").Lookalikes(ctx, "Сlаims Friend Plus", "", w.other)
	ok(t, err)
	if len(list) != 1 || !list[0].Same || list[0].Name != "Claims Friend Plus" || len(reserved) != 0 {
		t.Errorf("look-alikes are %+v, %q", list, reserved)
	}
	list, _, err = w.Operator("test").Lookalikes(ctx, "Claims Friend Plu", "", w.other)
	ok(t, err)
	if len(list) != 1 || list[0].Same {
		t.Errorf("look-alikes are %+v", list)
	}
	if list, _, _ = w.Operator("test").Lookalikes(ctx, "Budget", "", w.other); len(list) != 0 {
		t.Errorf("look-alikes are %+v", list)
	}
}
