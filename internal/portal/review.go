package portal

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Events of staff's work on applications.
const (
	didAssign = "assigned"
	didExport = "export"
)

// Filter chooses applications for staff.
type Filter struct {
	Kind     lifecycle.Kind // "": all
	States   []lifecycle.State
	Open     bool   // only those that staff have something to do with
	Assignee string // id, or "none"
	Query    string // part of a number or name
	Limit    int    // 0 is 200
}

// Queue lists applications for staff, the most urgent first: those that staff have something to do with by when they are
// due, then the others, the latest first. Drafts are the applicants' own.
func (a *Actor) Queue(ctx context.Context, f *Filter) ([]*Application, error) {
	list, err := a.queue(ctx, f, listMost)
	if err != nil {
		return nil, err
	}
	return a.views(ctx, list)
}

func (a *Actor) queue(ctx context.Context, f *Filter, largest int) ([]*record, error) {
	if err := a.needStaff(Support); err != nil {
		return nil, err
	}
	if f == nil {
		f = &Filter{}
	}
	states := slices.Clone(f.States)
	for _, kind := range []lifecycle.Kind{lifecycle.Sandbox, lifecycle.Production} {
		if len(f.States) > 0 {
			break
		}
		for _, s := range lifecycle.States(kind) {
			if s != lifecycle.Draft && (!f.Open || lifecycle.Open(s)) && !slices.Contains(states, s) {
				states = append(states, s)
			}
		}
	}
	states = slices.DeleteFunc(states, func(s lifecycle.State) bool { return s == lifecycle.Draft || f.Open && !lifecycle.Open(s) })
	if len(states) == 0 {
		return nil, nil
	}
	var where strings.Builder
	var values []any
	value := func(v any) string {
		values = append(values, v)
		return "$" + strconv.Itoa(len(values))
	}
	var list []string
	for _, s := range states {
		list = append(list, value(string(s)))
	}
	where.WriteString("a.state IN (" + strings.Join(list, ", ") + ")")
	if f.Kind != "" {
		where.WriteString(" AND a.kind = " + value(string(f.Kind)))
	}
	switch f.Assignee {
	case "":
	case "none":
		where.WriteString(" AND a.assignee = ''")
	default:
		where.WriteString(" AND a.assignee = " + value(f.Assignee))
	}
	if q := strings.ToLower(strings.TrimSpace(f.Query)); q != "" {
		where.WriteString(" AND a.words LIKE " + value(contains(q)) + ` ESCAPE '!'`)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = most(0)
	}
	where.WriteString(" ORDER BY CASE WHEN a.due = 0 THEN 1 ELSE 0 END, a.due, a.since DESC, a.id LIMIT " + value(min(limit, largest)))
	return database.List(ctx, a.db, readApplication, applicationQuery+"WHERE "+where.String(), values...)
}

// ofStaff finds an application that staff may work on, and locks it.
func (a *Actor) ofStaff(ctx context.Context, tx *step, id string, version int) (*record, error) {
	r, err := a.see(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	related := a.roleIn(r.Org) != ""
	if !related && a.Person != nil {
		if related, err = a.related(ctx, tx, r, a.Person); err != nil {
			return nil, err
		}
	}
	if related || !a.isStaff(Reviewer) {
		return nil, &DeniedError{"only reviewers who do not belong to the applicant, and never did, do it"}
	}
	switch {
	case r.Version != version:
		return nil, ErrStale
	case r.State == lifecycle.Draft:
		return nil, &lifecycle.IllegalError{Kind: r.Kind, From: r.State, Action: "review"}
	}
	return r, nil
}

// Assign gives an application to a reviewer, or with "" to nobody.
func (a *Actor) Assign(ctx context.Context, id string, version int, to string) (*Application, error) {
	var shown *Application
	err := a.tx(ctx, func(ctx context.Context, tx *step) error {
		r, err := a.ofStaff(ctx, tx, id, version)
		if err != nil {
			return err
		}
		if to != "" {
			who, err := person(ctx, tx, byID, to)
			if err != nil || who.Status != registered || !(&Actor{Person: who}).isStaff(Reviewer) {
				return &InputError{"assignee", codeWrong}
			}
			related, err := a.related(ctx, tx, r, who)
			if err != nil {
				return err
			}
			if related {
				return &InputError{"assignee", "related"}
			}
		}
		r.Assignee = to
		if err := a.saveApplication(ctx, tx, r); err != nil {
			return err
		}
		if shown, err = a.view(ctx, tx, r); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didAssign, Application: id, Org: r.Org, App: r.App, Subject: to})
	})
	return shown, err
}

// SaveChecks keeps the reviewer's checklist (the form review). It fails with *NeedError (Complete) if an answer is none.
func (a *Actor) SaveChecks(ctx context.Context, id string, version int, checks forms.Answers) (*Application, error) {
	form := a.Forms.Form(forms.Review)
	if problems := form.Check(checks, false); len(problems) > 0 {
		return nil, &NeedError{Need: lifecycle.Complete, Problems: problems}
	}
	kept := forms.Answers{}
	for q, v := range checks {
		if form.Question(q) != nil && len(v) > 0 {
			kept[q] = slices.Clone(v)
		}
	}
	var shown *Application
	err := a.tx(ctx, func(ctx context.Context, tx *step) error {
		r, err := a.ofStaff(ctx, tx, id, version)
		if err != nil {
			return err
		}
		r.Checks = kept
		if err := a.saveApplication(ctx, tx, r); err != nil {
			return err
		}
		shown, err = a.view(ctx, tx, r)
		return err
	})
	return shown, err
}

// Letter is the text of a decision, filled in from the agency's template, that a reviewer may change before it is sent as the
// reason of the move. It is in the language of who reads it.
func (a *Actor) Letter(ctx context.Context, id string, action lifecycle.Action) (string, error) {
	if err := a.needStaff(Reviewer); err != nil {
		return "", err
	}
	r, err := a.see(ctx, a.db, id)
	if err != nil {
		return "", err
	}
	language := letterLanguages[0]
	if r.Org == "" {
		v, err := a.visitor(ctx, a.db, r.ID)
		if err != nil {
			return "", err
		}
		language = languageOf(v.Language)
	} else {
		owners, err := a.readers(ctx, a.db, `JOIN portal_members m ON m.person = p.id WHERE m.org = $1 AND m.role = 'owner'`, r.Org)
		if err != nil {
			return "", err
		}
		if len(owners) > 0 {
			language = languageOf(owners[0].Language)
		}
	}
	_, text, err := a.letters.write("application_"+string(action), language, map[string]string{
		"Agency": a.Agency, "URL": a.URL, "Number": r.ID, "App": titleOf(r), "Organisation": r.OrgName, "Reason": "", "Conditions": "", "Link": "",
	})
	if text == "" {
		return "", &InputError{"action", codeWrong}
	}
	a.fault("letter "+string(action), err)
	return strings.TrimSpace(text), nil
}

// csvColumns are those of ExportCSV.
var csvColumns = []string{
	"number", "kind", "source", "organisation", "app", "state", "since", "submitted", "due", "days_waited", "assignee", "revision",
	"decision", "decided", "criterion", "attested", "expires", "created", "changed",
}

// ExportCSV writes applications, one a row, without answers: numbers, states, dates, times, decisions. Cells that a
// spreadsheet would take for a formula are escaped. Reviewers do it.
func (a *Actor) ExportCSV(ctx context.Context, f *Filter, w io.Writer) error {
	if err := a.needStaff(Reviewer); err != nil {
		return err
	}
	g := Filter{}
	if f != nil {
		g = *f
	}
	if g.Limit <= 0 {
		g.Limit = 100_000
	}
	list, err := a.queue(ctx, &g, 100_000)
	if err != nil {
		return err
	}
	if err := a.tx(ctx, func(ctx context.Context, tx *step) error {
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didExport, Note: "csv " + strconv.Itoa(len(list))})
	}); err != nil {
		return err
	}
	day := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.In(a.Zone).Format(time.RFC3339)
	}
	out := csv.NewWriter(w)
	if err := out.Write(csvColumns); err != nil {
		return fmt.Errorf("portal: write applications: %w", err)
	}
	for _, r := range list {
		decision := Decision{}
		word := ""
		if r.Decision != nil {
			decision = *r.Decision
			word = map[bool]string{true: "approved", false: "refused"}[decision.Approve]
		}
		row := []string{
			r.ID, string(r.Kind), r.Source, r.OrgName, r.AppName, string(r.State), day(r.Since), day(r.Submitted), day(r.Due),
			strconv.FormatFloat(r.Waited.Hours()/24, 'f', 1, 64), r.Assignee, strconv.Itoa(r.Revision),
			word, day(decision.At), decision.Criterion, day(r.Attested), day(r.Expires), day(r.Created), day(r.Changed),
		}
		for i := range row {
			row[i] = cell(row[i])
		}
		if err := out.Write(row); err != nil {
			return fmt.Errorf("portal: write applications: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("portal: write applications: %w", err)
	}
	return nil
}

// cell is a value that no spreadsheet takes for a formula.
func cell(s string) string {
	trimmed := strings.TrimLeft(s, " \t\r\n\u00a0")
	if s != "" && (trimmed != s && strings.ContainsAny(s[:1], "\t\r\n") || trimmed != "" && strings.ContainsAny(trimmed[:1], "=+-@|%") ||
		slices.ContainsFunc([]string{"＝", "＋", "－", "＠"}, func(p string) bool { return strings.HasPrefix(trimmed, p) })) {
		return "'" + s
	}
	return s
}

// Counts are for metrics: applications by kind and state, those that are due, tickets, mails.
func (p *Portal) Counts(ctx context.Context) (map[string]int, error) {
	type count struct {
		name string
		n    int
	}
	out := map[string]int{}
	read := func(row database.Row) (c count, err error) { return c, row.Scan(&c.name, &c.n) }
	for _, q := range []struct {
		query  string
		values []any
	}{
		{`SELECT 'application ' || kind || ' ' || state, COUNT(*) FROM portal_applications GROUP BY kind, state`, nil},
		{`SELECT 'overdue', COUNT(*) FROM portal_applications WHERE due <> 0 AND due < $1`, []any{database.Millis(p.Now())}},
		{`SELECT 'ticket ' || kind || ' ' || state, COUNT(*) FROM portal_tickets GROUP BY kind, state`, nil},
		{`SELECT CASE WHEN failed = 0 THEN 'mail waiting' ELSE 'mail failed' END AS what, COUNT(*) FROM portal_outbox WHERE kind <> 'none'
			GROUP BY CASE WHEN failed = 0 THEN 'mail waiting' ELSE 'mail failed' END`, nil},
		{`SELECT 'sandbox client pending', COUNT(*) FROM portal_pending`, nil},
	} {
		list, err := database.List(ctx, p.db, read, q.query, q.values...)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			out[c.name] = c.n
		}
	}
	return out, nil
}

// byName orders apps as people look for them.
func byName(a, b PublicApp) int {
	return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.ID, b.ID))
}

// Directory lists apps that are live and whose clients work, by name; nothing if the agency does not show them.
func (p *Portal) Directory(ctx context.Context, language string) ([]PublicApp, error) {
	if !p.Rules.Directory {
		return nil, nil
	}
	apps, err := database.List(ctx, p.db, readApp, appQuery+`WHERE production <> '' AND retired = 0 AND id IN (SELECT app FROM portal_applications
		WHERE kind = 'production' AND state IN ('credentials', 'live', 'change_pending', 'renewal_due'))`)
	if err != nil {
		return nil, err
	}
	var list []PublicApp
	for _, app := range apps {
		s := app.Approved
		if s == nil || s.Kind == "service" { // members do not choose services
			continue
		}
		c, err := p.production().Client(ctx, app.Production)
		switch {
		case errors.Is(err, accounts.ErrNotFound): // an operator has removed it
			continue
		case err != nil:
			return nil, err
		case c.Status != accounts.Active: // or disabled it
			continue
		}
		about := s.About[language]
		if about == "" {
			about = s.About["en"]
		}
		list = append(list, PublicApp{
			ID: app.ID, Name: s.Name, Publisher: c.Publisher, Domain: c.Domain, Homepage: s.Homepage, Policy: s.Policy, Terms: s.Terms,
			Support: s.Support, About: about, Attested: c.Attested, Platforms: slices.Clone(s.Platforms), Logo: s.Logo,
		})
	}
	slices.SortFunc(list, byName)
	return list, nil
}
