package staff

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// view is an application that somebody looks at, with what its pages share.
type view struct {
	*portal.Application
	names  func(id string) (string, error)
	rev    *portal.Revision // the last one that was submitted; nil if there is none
	form   *forms.Form      // as it was asked then
	events []*portal.Event
}

// open finds the application of the path. Whoever belongs to its organisation is no reviewer of it, and sees it among
// their own; ok is false, and the page that says so is written.
func (s *Site) open(v *desk.Visit) (x *view, ok bool, err error) {
	id := v.R.PathValue("id")
	a, err := v.Actor.Application(v.Context(), id)
	if err != nil {
		return nil, false, err
	}
	v.About.Back = at(id)
	if belongs(v, a.Org) {
		return nil, false, s.render(v, 403, "explain", s.page(v, v.Text("related.title"), desk.Explanation{
			Text: v.Text("related.text"), Next: v.Text("related.next"), Back: "/developers/applications/" + id}, s.trail(v)...))
	}
	x = &view{Application: a, names: s.names(v)}
	if x.events, err = v.Actor.Events(v.Context(), id); err != nil {
		return nil, false, err
	}
	if a.Revision > 0 {
		list, err := v.Actor.Revisions(v.Context(), id)
		if err != nil {
			return nil, false, err
		}
		if err := x.take(v, list[len(list)-1]); err != nil {
			return nil, false, err
		}
	}
	return x, true, nil
}

// take makes a revision the one that is looked at.
func (x *view) take(v *desk.Visit, rev *portal.Revision) (err error) {
	x.rev = rev
	x.form, err = v.Actor.Asked(v.Context(), rev)
	return err
}

// seen is the last event that a page shows: a form that comes back with it tells what has happened since.
func (x *view) seen() string {
	if len(x.events) == 0 {
		return ""
	}
	return x.events[len(x.events)-1].ID
}

// keep are the hidden fields of forms about an application.
func (x *view) keep() []string { return []string{"version", strconv.Itoa(x.Version), "seen", x.seen()} }

func (s *Site) trail(v *desk.Visit) []frame.Link {
	return []frame.Link{{Text: v.Text("queue.title"), URL: root}}
}

// tabs are the pages of an application.
func (s *Site) tabs(v *desk.Visit, x *view) (list []frame.Link) {
	for _, t := range []struct{ key, path string }{
		{"tab.review", at(x.ID)}, {"tab.checklist", at(x.ID, "checklist")}, {"tab.changes", at(x.ID, "changes")},
		{"tab.messages", at(x.ID, "messages")}, {"tab.history", at(x.ID, "history")},
	} {
		list = append(list, frame.Link{Text: v.Text(t.key), URL: t.path, Current: v.R.URL.Path == t.path})
	}
	return list
}

// titled is how pages call an application.
func titled(v *desk.Visit, x *portal.Application) string {
	name := frame.Plain(x.AppName, 80)
	if name == "" {
		name = applicant(v, x)
	}
	return v.Text("application.title", x.ID, name)
}

// fact is a line of a list of facts.
type fact struct {
	Label  string
	Values []value
}

// value is one value of a fact.
type value struct {
	Text, URL string
	Code      bool // letters that are compared one by one
	Lines     bool
	State     *frame.State
	Note      string
	Lang      string // of a text that members read, if it is not that of the page
	Outside   bool   // the link leads to a site of somebody else
}

func one(label string, values ...value) fact { return fact{label, values} }

// said is a fact of one text, or of "none".
func said(v *desk.Visit, label, text string) fact {
	if text = frame.Plain(text, 500); text == "" {
		text = v.Text("none")
	}
	return fact{label, []value{{Text: text}}}
}

// web is a fact of an address that somebody else gave.
func web(v *desk.Visit, label, address string) fact {
	if frame.WebLink(address) == "" {
		return said(v, label, address)
	}
	return fact{label, []value{{Text: frame.Plain(address, 300), URL: frame.WebLink(address), Outside: true}}}
}

// applicationContent is the content of the page on which an application is reviewed.
type applicationContent struct {
	State     frame.State
	Tabs      []frame.Link
	Facts     []fact
	Moves     []offer
	Assign    *desk.Form // nil for those who may not
	Findings  []finding
	Signed    []signed
	Proposal  []fact
	Decision  []fact
	Answers   []desk.Answered
	Evidence  *evidence
	Settings  []fact
	Org       []fact
	OrgURL    string
	People    []member
	Gate      string
	Submitted string // when what is shown was submitted, and by whom
}

// finding is something that a reviewer must look at.
type finding struct {
	State frame.State
	Text  string
	Items []value
}

// signed is the word of a reviewer on one part.
type signed struct {
	Part, By, At, Note string
	State              frame.State
}

// evidence is what the app has shown in the sandbox.
type evidence struct {
	Frozen string // when it was taken down
	Rows   []shown
	Rule   string
}

// shown is an interaction: as it was when the application was submitted, and now.
type shown struct {
	Text      string
	Asked     bool // the agency's rules ask for it
	Then, Now frame.State
	Last      string
}

// member is a person of the applicant.
type member struct {
	Name, URL, Email, Role string
	Proof                  frame.State
	Note                   string
}

func (s *Site) application(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	c := applicationContent{State: v.State(string(x.State)), Tabs: s.tabs(v, x), Gate: v.Text("gate.only")}
	for _, fill := range []func(*desk.Visit, *view, *applicationContent) error{s.summary, s.offers, s.assigning, s.decisions, s.answers, s.evidence, s.applicantFacts, s.findings} {
		if err := fill(v, x, &c); err != nil {
			return err
		}
	}
	p := s.page(v, titled(v, x.Application), c, s.trail(v)...)
	p.Notice = notice(v, "assigned", "unassigned", "moved", "take", "said", "checked")
	return s.render(v, 200, "application", p)
}

func (s *Site) summary(v *desk.Visit, x *view, c *applicationContent) error {
	due, late := s.due(v, x.Application)
	dueValue := value{Text: due}
	if late {
		dueValue = value{State: &frame.State{Kind: "bad", Text: due}}
	}
	if !x.Due.IsZero() {
		dueValue.Note = v.Date(x.Due)
	}
	assignee, err := x.names(x.Assignee)
	if err != nil {
		return err
	}
	org, app := value{Text: applicant(v, x.Application)}, value{Text: frame.Plain(x.AppName, 80)}
	if x.Org != "" {
		org.URL = orgsPath + "/" + x.Org
	}
	if x.App != "" {
		app.URL = appsPath + "/" + x.App
	}
	c.Facts = []fact{one(v.Text("fact.kind"), value{Text: v.Kind(x.Kind), Note: v.Text("source." + x.Source)}), one(v.Text("fact.applicant"), org)}
	if app.Text != "" {
		c.Facts = append(c.Facts, one(v.Text("fact.app"), app))
	}
	if !x.Submitted.IsZero() {
		c.Facts = append(c.Facts, one(v.Text("fact.submitted"), value{Text: v.DateTime(x.Submitted), Note: s.age(v, x.Application)}))
	}
	c.Facts = append(c.Facts, one(v.Text("fact.due"), dueValue))
	if n := int(x.Waited.Hours() / 24); n > 0 {
		c.Facts = append(c.Facts, said(v, v.Text("fact.waited"), v.Count("days", n)))
	}
	c.Facts = append(c.Facts, said(v, v.Text("fact.assignee"), assignee), said(v, v.Text("fact.revision"), strconv.Itoa(x.Revision)))
	if x.Approved > 0 {
		c.Facts = append(c.Facts, said(v, v.Text("fact.approved"), strconv.Itoa(x.Approved)))
	}
	if !x.Attested.IsZero() {
		c.Facts = append(c.Facts, one(v.Text("fact.attested"), value{Text: v.Date(x.Attested), Note: v.Text("fact.expires", v.Date(x.Expires))}))
	}
	if !x.Demo.IsZero() {
		c.Facts = append(c.Facts, said(v, v.Text("fact.demo"), v.Date(x.Demo)))
	}
	return nil
}

// assigning is the form that gives the application to somebody.
func (s *Site) assigning(v *desk.Visit, x *view, c *applicationContent) error {
	if !is(v, portal.Reviewer) || x.State == lifecycle.Draft {
		return nil
	}
	list, err := v.Actor.Colleagues(v.Context(), portal.Reviewer)
	if err != nil {
		return err
	}
	who := &desk.Field{ID: "assignee", Kind: desk.Pick, Label: v.Text("assign.to"), Bare: true, Values: []string{cmp.Or(x.Assignee, "none")}, Options: []desk.Option{{Value: "none", Text: v.Text("queue.nobody")}}}
	for _, p := range list {
		who.Options = append(who.Options, desk.Option{Value: p.ID, Text: frame.Plain(p.Name, 80)})
	}
	c.Assign = v.NewForm(at(x.ID, "assign")).Keep(x.keep()...).Add(who)
	c.Assign.Class = "quietly"
	c.Assign.Buttons = []desk.Button{{Text: v.Text("assign.button"), Class: "small button"}}
	if x.Assignee != v.Actor.Person.ID {
		c.Assign.Buttons = append(c.Assign.Buttons, desk.Button{Text: v.Text("assign.me"), Name: "assignee", Value: "me", Class: "small button"})
	}
	return nil
}

// decisions are signatures, what is proposed, and what was decided.
func (s *Site) decisions(v *desk.Visit, x *view, c *applicationContent) error {
	if x.Kind == lifecycle.Production && x.Revision > 0 {
		for _, part := range []string{"security", "privacy"} {
			line := signed{Part: v.Text("part." + part), State: frame.State{Kind: "idle", Text: v.Text("unsigned")}}
			if sig, ok := x.Reviews[part]; ok {
				by, err := x.names(sig.By)
				if err != nil {
					return err
				}
				line.State = frame.State{Kind: "good", Text: v.Text("signed")}
				line.By, line.At, line.Note = by, v.DateTime(sig.At), sig.Note
			}
			c.Signed = append(c.Signed, line)
		}
	}
	list := func(approve bool, by string, at string, reason, criterion, conditions, note string) ([]fact, error) {
		name, err := x.names(by)
		if err != nil {
			return nil, err
		}
		word := frame.State{Kind: "good", Text: v.Text("word.approve")}
		if !approve {
			word = frame.State{Kind: "bad", Text: v.Text("word.refuse")}
		}
		out := []fact{one(v.Text("decision.what"), value{State: &word}), one(v.Text("decision.by"), value{Text: name, Note: at})}
		for _, f := range [][2]string{{"decision.criterion", v.Criterion(criterion)}, {"decision.reason", reason}, {"decision.conditions", conditions}, {"decision.note", note}} {
			if f[1] != "" {
				out = append(out, one(v.Text(f[0]), value{Text: f[1], Lines: true}))
			}
		}
		return out, nil
	}
	var err error
	if p := x.Proposal; p != nil {
		if c.Proposal, err = list(p.Approve, p.By, v.DateTime(p.At), p.Reason, p.Criterion, "", p.Note); err != nil {
			return err
		}
	}
	if d := x.Application.Decision; d != nil {
		c.Decision, err = list(d.Approve, d.By, v.DateTime(d.At), d.Reason, d.Criterion, d.Conditions, "")
	}
	return err
}

// answers are those of the revision that is looked at, with its documents.
func (s *Site) answers(v *desk.Visit, x *view, c *applicationContent) error {
	if x.rev == nil {
		return nil
	}
	by, err := x.names(x.rev.By)
	if err != nil {
		return err
	}
	c.Submitted = v.Text("revision.when", x.rev.Number, v.DateTime(x.rev.At), by)
	docs, err := v.Actor.Documents(v.Context(), x.ID)
	if err != nil {
		return err
	}
	docs = slices.DeleteFunc(docs, func(d *portal.Document) bool { return !slices.Contains(x.rev.Answers[d.Question], d.ID) })
	c.Answers = v.Answers(&desk.FormView{Form: x.form, Answers: x.rev.Answers, Documents: docs, Uploads: true,
		Document: func(d *portal.Document) (string, string) { return at(x.ID, "documents", d.ID), "" }}, nil)
	return nil
}

// document gives out a document that was submitted.
func (s *Site) document(v *desk.Visit) error {
	id := v.R.PathValue("id")
	a, err := v.Actor.Application(v.Context(), id)
	if err != nil {
		return err
	}
	if belongs(v, a.Org) {
		return frame.ErrMissing // it is among their own
	}
	d, in, err := v.Actor.Document(v.Context(), id, v.R.PathValue("document"))
	if err != nil {
		return err
	}
	defer in.Close()
	attach(v, d.Name, d.Type)
	v.W.Header().Set("Content-Length", strconv.FormatInt(d.Size, 10))
	_, _ = io.Copy(v.W, in) // nobody can be told who has gone
	return nil
}

// revision shows what was submitted before.
func (s *Site) revision(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	number, err := strconv.Atoi(v.R.PathValue("number"))
	if err != nil {
		return accounts.ErrNotFound
	}
	list, err := v.Actor.Revisions(v.Context(), x.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(r *portal.Revision) bool { return r.Number == number })
	if i < 0 {
		return accounts.ErrNotFound
	}
	if err := x.take(v, list[i]); err != nil {
		return err
	}
	c := applicationContent{State: v.State(string(x.State)), Tabs: s.tabs(v, x)}
	if err := s.answers(v, x, &c); err != nil {
		return err
	}
	if c.Settings, err = s.settings(v, x.rev.Settings, ""); err != nil {
		return err
	}
	s.texts(v, x.rev, &c)
	trail := append(s.trail(v), frame.Link{Text: titled(v, x.Application), URL: at(x.ID)})
	return s.render(v, 200, "revision", s.page(v, v.Text("revision.title", number), c, trail...))
}

// texts are the sums of policy and terms as they were when the revision was submitted.
func (s *Site) texts(v *desk.Visit, rev *portal.Revision, c *applicationContent) {
	for _, kind := range []string{"policy", "terms", "policy_pasted", "terms_pasted", "policy_document", "terms_document"} {
		if sum := rev.Texts[kind]; sum != "" {
			c.Settings = append(c.Settings, one(v.Text("sum."+kind), value{Text: sum, Code: true}))
		}
	}
}

func (s *Site) timeline(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	events := slices.Clone(x.events)
	slices.Reverse(events)
	c := struct {
		State  frame.State
		Tabs   []frame.Link
		Events []desk.Moment
	}{v.State(string(x.State)), s.tabs(v, x), v.Timeline(events)}
	return s.render(v, 200, "history", s.page(v, v.Text("history.title", x.ID), c, append(s.trail(v), frame.Link{Text: titled(v, x.Application), URL: at(x.ID)})...))
}

// difference is a question whose answer has changed, side by side.
type difference struct {
	Label   string
	Was, Is []string
}

// changes compares two revisions: those of the address, or the last one with what was approved, or with the one before.
func (s *Site) changes(v *desk.Visit) error {
	x, ok, err := s.open(v)
	if err != nil || !ok {
		return err
	}
	c := struct {
		State    frame.State
		Tabs     []frame.Link
		Links    []frame.Link // revisions
		From, To string
		List     []difference
	}{State: v.State(string(x.State)), Tabs: s.tabs(v, x)}
	for n := x.Revision; n > 0; n-- {
		c.Links = append(c.Links, frame.Link{Text: v.Text("revision.title", n), URL: at(x.ID, "revisions", strconv.Itoa(n))})
	}
	from, to := x.Revision-1, x.Revision
	if x.Approved > 0 && x.Approved < x.Revision {
		from = x.Approved
	}
	q := v.R.URL.Query()
	if n, err := strconv.Atoi(q.Get("to")); err == nil && n > 1 && n <= x.Revision {
		from, to = n-1, n
	}
	if n, err := strconv.Atoi(q.Get("from")); err == nil && n > 0 && n < to {
		from = n
	}
	if from > 0 {
		c.From, c.To = v.Text("revision.title", from), v.Text("revision.title", to)
		list, err := v.Actor.Differences(v.Context(), x.ID, from, to)
		if err != nil {
			return err
		}
		docs, err := v.Actor.Documents(v.Context(), x.ID)
		if err != nil {
			return err
		}
		for _, d := range list {
			c.List = append(c.List, s.difference(v, x, docs, d))
		}
	}
	trail := append(s.trail(v), frame.Link{Text: titled(v, x.Application), URL: at(x.ID)})
	return s.render(v, 200, "changes", s.page(v, v.Text("changes.title", x.ID), c, trail...))
}

func (s *Site) difference(v *desk.Visit, x *view, docs []*portal.Document, d forms.Change) difference {
	words := func(values []string) []string { return x.form.Show(d.Question, values, v.Lang) }
	label := d.Question
	if q := x.form.Question(d.Question); q != nil {
		label = q.Label.In(v.Lang)
		if q.Kind == forms.Document {
			words = func(values []string) (names []string) {
				for _, id := range values {
					name := id
					if i := slices.IndexFunc(docs, func(d *portal.Document) bool { return d.ID == id }); i >= 0 {
						name = fmt.Sprintf("%s (%s)", docs[i].Name, desk.Size(docs[i].Size))
					}
					names = append(names, name)
				}
				return names
			}
		}
	}
	if field, ok := strings.CutPrefix(d.Question, "app."); ok {
		label = joined(v.Text("settings.title"), v.Text("set."+field))
		words = func(values []string) (out []string) {
			for _, t := range values {
				out = append(out, setWord(v, field, t))
			}
			return out
		}
	}
	return difference{label, words(d.Was), words(d.Is)}
}
