package portal

import (
	"bytes"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestClock follows the days of an agency: weekends and holidays do not count, and neither does waiting for the applicant.
func TestClock(t *testing.T) {
	zone, err := time.LoadLocation("America/Denver")
	ok(t, err)
	p := &Portal{Config: Config{Zone: zone, Rules: Rules{Holidays: []string{"2026-03-10"}}}}
	at := func(text string) time.Time {
		x, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
		ok(t, err)
		return x
	}
	for _, c := range []struct {
		from string
		days float64
		want string
	}{
		{"2026-03-02 15:00", 1, "2026-03-03 15:00"},
		{"2026-03-05 15:00", 2, "2026-03-09 15:00"}, // over a weekend, in which summer time begins
		{"2026-03-06 15:00", 2, "2026-03-11 15:00"}, // and over a holiday
		{"2026-03-07 12:00", 1, "2026-03-10 00:00"}, // what comes on a Saturday counts from Monday
		{"2026-03-09 12:00", 0.5, "2026-03-10 00:00"},
		{"2026-10-30 12:00", 1, "2026-11-02 12:00"}, // summer time ends
	} {
		d := time.Duration(c.days * 24 * float64(time.Hour))
		got := p.later(at(c.from), d)
		if !got.Equal(at(c.want)) {
			t.Errorf("%v days after %s: %s, want %s", c.days, c.from, got.In(zone), c.want)
		}
		if back := p.between(at(c.from), got); back != d {
			t.Errorf("between %s and %s: %s, want %s", c.from, c.want, back, d)
		}
	}
	r := &record{Application: Application{Kind: lifecycle.Production, State: lifecycle.Draft}}
	go2 := func(to lifecycle.State, when string) {
		p.clock(r, to, at(when))
		r.State, r.Since = to, at(when)
	}
	go2(lifecycle.Submitted, "2026-03-02 12:00")
	equal(t, r.Due.Equal(at("2026-03-23 12:00")), true) // 14 days, with three weekends and a holiday
	go2(lifecycle.Triage, "2026-03-03 12:00")
	go2(lifecycle.ChangesRequested, "2026-03-04 12:00") // two days are used
	equal(t, r.Due.IsZero(), true)
	go2(lifecycle.Triage, "2026-04-06 12:00")
	equal(t, r.Due.Equal(at("2026-04-22 12:00")), true)
	equal(t, r.Waited, at("2026-04-06 12:00").Sub(at("2026-03-04 12:00")))
	go2(lifecycle.ChangesRequested, "2026-05-01 12:00") // it is late, and a question does not make it early
	go2(lifecycle.Triage, "2026-05-04 12:00")
	equal(t, r.Due.Sub(at("2026-05-04 12:00")) <= time.Second, true)
	go2(lifecycle.Withdrawn, "2026-05-04 13:00")
	equal(t, r.Due.IsZero(), true)

	p.Rules.Holidays = nil
	for d := at("2026-01-01 00:00"); d.Year() < 2400; d = d.AddDate(0, 0, 1) { // an agency that never works ends all the same
		p.Rules.Holidays = append(p.Rules.Holidays, d.Format(time.DateOnly))
		if len(p.Rules.Holidays) > 300 {
			break
		}
	}
	if got := p.later(at("2026-01-01 00:00"), time.Hour); got.Year() != 2026 {
		t.Errorf("got %s", got)
	}
}

// TestStaffReadWhatWasSubmitted proves that nobody of staff sees a draft, and nobody of the applicant sees what staff note.
func TestStaffReadWhatWasSubmitted(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		a, err := k.owner.Start(ctx, lifecycle.Production, k.org, app.ID)
		ok(t, err)
		_, err = k.owner.Start(ctx, lifecycle.Production, k.org, app.ID)
		wants(t, err, accounts.ErrExists)
		_, err = k.stranger.Start(ctx, lifecycle.Production, k.stranger.Members[0].Org, app.ID)
		wants(t, err, accounts.ErrNotFound)
		answers := formstest.Filled(k.Forms.Form(forms.Production))
		answers["value"] = []string{"the first value"}
		a, err = k.developer.SaveDraft(ctx, a.ID, a.Version, answers)
		ok(t, err)
		_, err = k.developer.SaveDraft(ctx, a.ID, a.Version-1, answers)
		wants(t, err, ErrStale)
		_, err = k.observer.SaveDraft(ctx, a.ID, a.Version, answers)
		denied(t, err)
		_, err = k.stranger.SaveDraft(ctx, a.ID, a.Version, answers)
		wants(t, err, accounts.ErrNotFound)
		seen, err := k.reviewer.Application(ctx, a.ID)
		ok(t, err)
		equal(t, len(seen.Answers), 0)
		queue, err := k.reviewer.Queue(ctx, &Filter{})
		ok(t, err)
		for _, x := range queue {
			if x.ID == a.ID {
				t.Error("a draft is in the queue")
			}
		}
		a = k.step(k.owner, a, lifecycle.Submit, k.signed(a))
		_, err = k.owner.SaveDraft(ctx, a.ID, a.Version, answers)
		var frozen *lifecycle.IllegalError
		if !errors.As(err, &frozen) {
			t.Fatalf("got %v", err)
		}
		a = k.step(k.reviewer, a, lifecycle.Take, nil)
		a = k.step(k.reviewer, a, lifecycle.Ask, &Input{Reason: "what value?", Note: "a secret note"})
		a, err = k.owner.Application(ctx, a.ID)
		ok(t, err)
		answers = a.Answers
		answers["value"] = []string{"the second value"}
		a, err = k.owner.SaveDraft(ctx, a.ID, a.Version, answers)
		ok(t, err)
		seen, err = k.reviewer.Application(ctx, a.ID)
		ok(t, err)
		equal(t, seen.Answers["value"], []string{"the first value"})
		a = k.step(k.owner, a, lifecycle.Resubmit, k.signed(a))
		diff, err := k.reviewer.Differences(ctx, a.ID, 1, 2)
		ok(t, err)
		if len(diff) != 1 || diff[0].Question != "value" || diff[0].Was[0] != "the first value" || diff[0].Is[0] != "the second value" {
			t.Fatalf("got %+v", diff)
		}
		revisions, err := k.reviewer.Revisions(ctx, a.ID)
		ok(t, err)
		equal(t, []any{len(revisions), len(revisions[0].Texts) >= 3, revisions[0].Evidence[0].Interaction}, []any{2, true, "authorize"})
		form, err := k.reviewer.Asked(ctx, revisions[0])
		ok(t, err)
		equal(t, form.Digest(), revisions[0].Form)

		a, err = k.reviewer.SaveChecks(ctx, a.ID, a.Version, forms.Answers{"identity": {"met"}, "unknown": {"x"}})
		ok(t, err)
		equal(t, a.Checks, forms.Answers{"identity": {"met"}})
		_, err = k.reviewer.SaveChecks(ctx, a.ID, a.Version-1, forms.Answers{})
		wants(t, err, ErrStale)
		for _, x := range []*Actor{k.owner, k.support, k.twin} {
			_, err = x.SaveChecks(ctx, a.ID, a.Version, forms.Answers{})
			denied(t, err)
		}
		a, err = k.admin.Assign(ctx, a.ID, a.Version, k.second.Person.ID)
		ok(t, err)
		for name, who := range map[string]*Actor{"wrong": k.support, "related": k.twin} {
			_, err = k.admin.Assign(ctx, a.ID, a.Version, who.Person.ID)
			input(t, err, "assignee", name)
		}
		a = k.step(k.reviewer, a, lifecycle.StartReview, nil)
		a = k.step(k.reviewer, a, lifecycle.ProposeDeny, &Input{Reason: "not safe", Criterion: "S-02", Note: "a secret note"})
		mine, err := k.owner.Application(ctx, a.ID)
		ok(t, err)
		if mine.Proposal != nil || mine.Checks != nil || mine.Assignee != "" || mine.Reviews != nil {
			t.Error("the applicant sees what staff have not decided")
		}
		events, err := k.owner.Events(ctx, a.ID)
		ok(t, err)
		for _, e := range events {
			if e.Note != "" || e.Action == string(lifecycle.ProposeDeny) || e.Reason == "not safe" || e.Actor == k.reviewer.id() && e.ActorName != "" {
				t.Errorf("the applicant sees %+v", e)
			}
		}
		letter, err := k.reviewer.Letter(ctx, a.ID, lifecycle.Deny)
		ok(t, err)
		if !strings.Contains(letter, a.ID) || !strings.Contains(letter, "Claims Friend") || strings.Contains(letter, "http") {
			t.Errorf("got %s", letter)
		}
		_, err = k.reviewer.Letter(ctx, a.ID, lifecycle.Take)
		input(t, err, "action", codeWrong)
		k.mails()
		k.step(k.second, a, lifecycle.Deny, &Input{Reason: letter + "\n\nYours", Criterion: "S-02"})
		for _, m := range k.mails() {
			if !strings.Contains(m.Text, "Yours") || strings.Contains(m.Text, "secret note") {
				t.Errorf("the letter is another: %s", m.Text)
			}
		}
	})
}

// TestTalk proves that notes stay among staff, and that each side hears of the other.
func TestTalk(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		r := k.put(lifecycle.Production, lifecycle.Triage)
		k.mails()
		_, err := k.owner.Say(ctx, r.ID, "When?", false)
		ok(t, err)
		equal(t, len(k.mails()), 3) // two reviewers and the administrator who do not belong to it
		_, err = k.reviewer.Say(ctx, r.ID, "Soon.", false)
		ok(t, err)
		equal(t, len(k.mails()), 3) // owners and developers
		_, err = k.reviewer.Say(ctx, r.ID, "Do not hurry.", true)
		ok(t, err)
		equal(t, len(k.mails()), 0)
		_, err = k.owner.Say(ctx, r.ID, "x", true)
		denied(t, err)
		_, err = k.observer.Say(ctx, r.ID, "x", false)
		denied(t, err)
		_, err = k.stranger.Say(ctx, r.ID, "x", false)
		wants(t, err, accounts.ErrNotFound)
		_, err = k.owner.Say(ctx, r.ID, " ", false)
		input(t, err, "text", codeMissing)
		mine, err := k.owner.Messages(ctx, r.ID)
		ok(t, err)
		theirs, err := k.reviewer.Messages(ctx, r.ID)
		ok(t, err)
		equal(t, []any{len(mine), mine[1].Name, mine[1].By, len(theirs), theirs[1].Name}, []any{2, "Agency of Health", "", 3, "Rita Reviewer"})
	})
}

// TestCSV proves that no spreadsheet takes what somebody has typed for a formula.
func TestCSV(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "App": "App", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@sum": "'@sum", " =1": "' =1", "\t=1": "'\t=1", "\tx": "'\tx", "\r=1": "'\r=1", "＝1": "'＝1", "a=1": "a=1",
	} {
		if got := cell(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app, err := k.owner.AddApp(ctx, k.org, appSettings(`=HYPERLINK("https://evil.example")`))
		ok(t, err)
		a, err := k.owner.Start(ctx, lifecycle.Production, k.org, app.ID)
		ok(t, err)
		k.step(k.owner, a, lifecycle.Withdraw, nil)
		var b bytes.Buffer
		ok(t, k.reviewer.ExportCSV(ctx, &Filter{}, &b))
		rows, err := csv.NewReader(&b).ReadAll()
		ok(t, err)
		if len(rows) != 3 || len(rows[0]) != len(csvColumns) {
			t.Fatalf("got %d rows", len(rows))
		}
		found := false
		for _, row := range rows[1:] {
			for _, c := range row {
				found = found || strings.HasPrefix(c, "'=HYPERLINK")
				if strings.HasPrefix(c, "=") {
					t.Errorf("got %s", c)
				}
			}
		}
		equal(t, found, true)
		denied(t, k.support.ExportCSV(ctx, &Filter{}, &b))
		denied(t, k.owner.ExportCSV(ctx, &Filter{}, &b))
		counts, err := k.Counts(ctx)
		ok(t, err)
		equal(t, []int{counts["application sandbox approved"], counts["application production withdrawn"], counts["overdue"]}, []int{1, 1, 0})
	})
}

// TestDocuments keeps what is a document by its content, where nobody else reaches it.
func TestDocuments(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		r := k.put(lifecycle.Production, lifecycle.ChangesRequested)
		const question = "security_documents"
		for name, c := range map[string]struct{ content, code string }{
			"page.pdf": {"<!DOCTYPE html><script>alert(1)</script>", "type"}, "empty.pdf": {"", "empty"}, "page.txt": {" \n<html>", "type"},
			"program.pdf": {"MZ\x00\x00", "type"}, "vector.png": {"<svg xmlns='x'/>", "type"}, "broken.txt": {"a\xff\xfe", "type"}, "zip.pdf": {"PK\x03\x04", "type"},
			"large.pdf": {"%PDF-" + strings.Repeat("x", documentBytes), "size"},
		} {
			_, err := k.owner.Upload(ctx, r.ID, question, name, strings.NewReader(c.content))
			input(t, err, question, c.code)
		}
		equal(t, len(files(t, k.Uploads)), 0)
		_, err := k.owner.Upload(ctx, r.ID, "value", "x.pdf", strings.NewReader("%PDF-1"))
		input(t, err, "value", codeWrong)
		_, err = k.observer.Upload(ctx, r.ID, question, "x.pdf", strings.NewReader("%PDF-1"))
		denied(t, err)
		_, err = k.stranger.Upload(ctx, r.ID, question, "x.pdf", strings.NewReader("%PDF-1"))
		wants(t, err, accounts.ErrNotFound)
		d, err := k.owner.Upload(ctx, r.ID, question, `C:\..\evil"<b>.pdf`, strings.NewReader("%PDF-1.7 test"))
		ok(t, err)
		equal(t, []any{d.Name, d.Type, d.Size}, []any{"evil__b_.pdf", "application/pdf", int64(13)})
		info, err := os.Stat(filepath.Join(k.Uploads, d.ID))
		ok(t, err)
		equal(t, info.Mode().Perm(), os.FileMode(0o600))

		for name, want := range map[string]string{"plan.pdf.exe": "plan.pdf.exe.pdf", "plan": "plan.pdf", "PLAN.PDF": "PLAN.PDF"} {
			x, err := k.owner.Upload(ctx, r.ID, question, name, strings.NewReader("%PDF-1.7 test"))
			ok(t, err)
			equal(t, x.Name, want) // a machine opens a file by its ending
			ok(t, k.owner.RemoveDocument(ctx, r.ID, x.ID))
		}

		// Staff see it once it is submitted; it stays then although the applicant takes it away.
		_, _, err = k.reviewer.Document(ctx, r.ID, d.ID)
		wants(t, err, accounts.ErrNotFound)
		a, err := k.owner.Application(ctx, r.ID)
		ok(t, err)
		equal(t, a.Answers[question], []string{d.ID})
		a = k.step(k.owner, a, lifecycle.Resubmit, k.signed(a))
		a = k.step(k.reviewer, a, lifecycle.Ask, &Input{Reason: "more"})
		ok(t, k.owner.RemoveDocument(ctx, r.ID, d.ID))
		wants(t, k.owner.RemoveDocument(ctx, r.ID, d.ID), accounts.ErrNotFound)
		list, err := k.reviewer.Documents(ctx, r.ID)
		ok(t, err)
		equal(t, len(list), 1)
		_, f, err := k.reviewer.Document(ctx, r.ID, d.ID)
		ok(t, err)
		f.Close()
		_, _, err = k.stranger.Document(ctx, r.ID, d.ID)
		wants(t, err, accounts.ErrNotFound)

		// One that was never submitted goes, and so does a file that nobody knows.
		gone, err := k.owner.Upload(ctx, r.ID, question, "b.pdf", strings.NewReader("%PDF-2"))
		ok(t, err)
		_, err = k.owner.Upload(ctx, r.ID, "policy_document", "b.txt", strings.NewReader("hello\n"))
		input(t, err, "policy_document", "type") // that one must be a PDF
		_, err = k.owner.Documents(ctx, r.ID)
		ok(t, err)
		ok(t, k.owner.RemoveDocument(ctx, r.ID, gone.ID))
		orphan := filepath.Join(k.Uploads, strings.Repeat("a", 32))
		ok(t, os.WriteFile(orphan, nil, 0o600))
		k.clock.pass(2 * time.Hour)
		for _, name := range files(t, k.Uploads) {
			ok(t, os.Chtimes(filepath.Join(k.Uploads, name), time.Time{}, k.clock.now().Add(-2*time.Hour)))
		}
		_, err = k.removeOrphans(ctx)
		ok(t, err)
		equal(t, files(t, k.Uploads), []string{d.ID})
		equal(t, a.State, lifecycle.ChangesRequested)
	})
}

func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	ok(t, err)
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}
