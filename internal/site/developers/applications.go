package developers

import (
	"errors"
	"net/http"
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

// applicationPath is the page of an application, or one below it.
func applicationPath(id string, more ...string) string {
	p := "/developers/applications/" + id
	for _, m := range more {
		p += "/" + m
	}
	return p
}

// own is the application of the path, for somebody of its organisation. Staff have pages of their own, which show
// what was submitted, and not the draft.
func (s *Site) own(v *desk.Visit) (*portal.Application, *forms.Form, error) {
	id := v.R.PathValue("id")
	a, err := v.Actor.Application(v.Context(), id)
	if err != nil {
		return nil, nil, err
	}
	if roleIn(v, a.Org) == "" {
		return nil, nil, frame.ErrMissing
	}
	form := s.formOf(a)
	if form == nil {
		return nil, nil, errors.New("the form of the application is not there")
	}
	v.About = desk.About{Back: applicationPath(id), Form: form, At: func(q string) string {
		if signs(a, form, q) {
			return applicationPath(id, "submit") + "#" + desk.QuestionID(q)
		}
		section := form.SectionOf(q)
		if section == nil {
			return applicationPath(id, "submit")
		}
		return applicationPath(id, "edit") + "?section=" + section.ID + "#" + desk.QuestionID(q)
	}}
	return a, form, nil
}

func (s *Site) formOf(a *portal.Application) *forms.Form {
	if f := s.Portal.Forms.Form(a.Form); f != nil {
		return f
	}
	if a.Kind == lifecycle.Sandbox {
		return s.Portal.Forms.Form(forms.Questionnaire)
	}
	return s.Portal.Forms.Form(forms.Production)
}

// signs reports whether a question is answered when the application is sent, and not before: the statements, each by
// itself, and who makes them.
func signs(a *portal.Application, form *forms.Form, id string) bool {
	q := form.Question(id)
	return a.Kind == lifecycle.Production && q != nil && (q.Kind == forms.Attest || strings.HasPrefix(id, "signer_"))
}

// applicationContent is the content of the page of an application.
type applicationContent struct {
	A            *portal.Application
	App, Org     string
	State        frame.State
	Steps        frame.Steps
	Next         string
	Due          string
	Submitted    string
	Decision     *decisionView
	Actions      []actionView
	Checklist    []checkView
	Edit         bool
	Say          *desk.Form
	Messages     []messageView
	Timeline     []desk.Moment
	Revisions    []frame.Link
	AppURL       string
	Attested     string
	Expires      string
	Asked        *portal.Settings // a change under review
	Contradicted []string
}

type decisionView struct {
	Text, Reason, Criterion, Conditions string
	Approve                             bool
}

// actionView is a move that the person can make, or could if it lacked nothing.
type actionView struct {
	Text, URL string
	Primary   bool
	Lacks     []string
}

// checkView is one line of the checklist.
type checkView struct {
	Text  string
	Done  bool
	Note  string
	Links []frame.Link
}

type messageView struct {
	Who, At, Text string
	Staff         bool
}

func (s *Site) application(v *desk.Visit) error {
	a, form, err := s.own(v)
	if err != nil {
		return err
	}
	return s.applicationPage(v, a, form, s.sayForm(v, a))
}

func (s *Site) sayForm(v *desk.Visit, a *portal.Application) *desk.Form {
	f := v.NewForm(applicationPath(a.ID, "messages")).Add(
		&desk.Field{ID: "text", Label: v.Text("message.text"), Hint: v.Text("message.hint"), Kind: desk.Lines, Rows: 4, Required: true, Bare: true, Most: 4000},
	).Button(v.Text("message.button"))
	return f
}

func (s *Site) applicationPage(v *desk.Visit, a *portal.Application, form *forms.Form, say *desk.Form) error {
	role := roleIn(v, a.Org)
	c := applicationContent{A: a, App: frame.Plain(a.AppName, 80), Org: frame.Plain(a.OrgName, 80), State: v.State(string(a.State)), Steps: v.StepList(v.Steps(a.Kind, a.State)),
		Next: v.Text("next." + string(a.Kind) + "." + string(a.State)), Edit: lifecycle.Editable(a.State) && role != portal.Observer,
		Submitted: date(v, a.Submitted), Attested: date(v, a.Attested), Expires: date(v, a.Expires)}
	if a.App != "" {
		c.AppURL = appPath(a.App)
	}
	if lifecycle.Open(a.State) && !a.Due.IsZero() {
		c.Due = v.Date(a.Due)
	}
	if d := a.Decision; d != nil {
		c.Decision = &decisionView{Approve: d.Approve, Text: v.Text("decision.no"), Reason: d.Reason, Criterion: v.Criterion(d.Criterion), Conditions: d.Conditions}
		if d.Approve {
			c.Decision.Text = v.Text("decision.yes")
		}
	}
	if err := s.actions(v, a, s.problems(v, a, form), &c); err != nil {
		return err
	}
	if c.Edit {
		if err := s.checklist(v, a, form, &c); err != nil {
			return err
		}
	}
	if role != portal.Observer {
		c.Say = say
	}
	messages, err := v.Actor.Messages(v.Context(), a.ID)
	if err != nil {
		return err
	}
	for _, m := range messages {
		who := frame.Plain(m.Name, 80)
		if m.Staff {
			who = v.Text("message.staff", s.desk.Agency(v.Lang))
		}
		c.Messages = append(c.Messages, messageView{who, v.DateTime(m.At), m.Text, m.Staff})
	}
	events, err := v.Actor.Events(v.Context(), a.ID)
	if err != nil {
		return err
	}
	c.Timeline = v.Timeline(events)
	revisions, err := v.Actor.Revisions(v.Context(), a.ID)
	if err != nil {
		return err
	}
	for _, r := range revisions {
		c.Revisions = append(c.Revisions, frame.Link{Text: v.Text("revision.link", r.Number, v.DateTime(r.At)), URL: applicationPath(a.ID, "revisions", strconv.Itoa(r.Number))})
	}
	p := &frame.Page{Title: v.Text("application.title", v.Kind(a.Kind), a.ID), Content: c, Fields: say.Errors(), Trail: s.trail(v, c.Org, orgPath(a.Org)), Self: selfOf(v),
		Notice: notice(v, "submitted", "message", "move", "draft")}
	if c.App != "" {
		p.Title = v.Text("application.title.app", v.Kind(a.Kind), c.App, a.ID)
	}
	return v.Render(http.StatusOK, "application", p)
}

// actions are the moves that the person can make.
func (s *Site) actions(v *desk.Visit, a *portal.Application, problems []forms.Problem, c *applicationContent) error {
	moves, err := v.Actor.Moves(v.Context(), a)
	if err != nil {
		return err
	}
	for _, m := range moves {
		if !slices.ContainsFunc(m.By, func(r lifecycle.Role) bool { return r == lifecycle.Owner || r == lifecycle.Developer }) {
			continue
		}
		x := actionView{Text: v.Action(m.Action), URL: movePath(a, m.Action), Primary: primary(m.Action)}
		for _, n := range m.Lacks {
			// The statements are made with the move itself, so they do not count here.
			if n != lifecycle.Complete || len(problems) > 0 {
				x.Lacks = append(x.Lacks, v.Need(n))
			}
		}
		c.Actions = append(c.Actions, x)
	}
	slices.SortStableFunc(c.Actions, func(x, y actionView) int {
		switch {
		case x.Primary == y.Primary:
			return 0
		case x.Primary:
			return -1
		}
		return 1
	})
	return nil
}

// primary reports whether a move leads on.
func primary(a lifecycle.Action) bool {
	switch a {
	case lifecycle.Submit, lifecycle.Resubmit, lifecycle.Issue, lifecycle.GoLive, lifecycle.Renew, lifecycle.Reopen:
		return true
	}
	return false
}

// movePath is the page on which a move is made.
func movePath(a *portal.Application, action lifecycle.Action) string {
	switch action {
	case lifecycle.Submit, lifecycle.Resubmit:
		return applicationPath(a.ID, "submit")
	case lifecycle.Change:
		return appPath(a.App, "edit") + "?change=1"
	}
	return applicationPath(a.ID, "move", string(action))
}

// checklist is what the application still lacks.
func (s *Site) checklist(v *desk.Visit, a *portal.Application, form *forms.Form, c *applicationContent) error {
	problems := s.problems(v, a, form)
	for _, section := range s.steps(a, form) {
		line := checkView{Text: section.Title.In(v.Lang), Done: true, Links: []frame.Link{{Text: v.Text("checklist.open"), URL: applicationPath(a.ID, "edit") + "?section=" + section.ID}}}
		if n := len(desk.In(form, section.ID, problems)); n > 0 {
			line.Done, line.Note = false, v.Count("checklist.missing", n)
		}
		c.Checklist = append(c.Checklist, line)
	}
	if s.Portal.Rules.TermsVersion != "" {
		line := checkView{Text: v.Text("checklist.terms"), Done: s.termsAccepted(v)}
		if !line.Done {
			line.Links = []frame.Link{{Text: v.Text("terms.title"), URL: "/developers/terms?next=" + applicationPath(a.ID)}}
		}
		c.Checklist = append(c.Checklist, line)
	}
	if s.Portal.Rules.Proof != "" {
		line := checkView{Text: v.Text("checklist.identity"), Done: s.proofed(v)}
		if !line.Done {
			line.Links = []frame.Link{{Text: v.Text("profile.title"), URL: "/developers/profile"}}
		}
		c.Checklist = append(c.Checklist, line)
	}
	if a.Kind != lifecycle.Production {
		return nil
	}
	if a.App != "" {
		shown, missing, err := v.Actor.Evidence(v.Context(), a.App)
		if err != nil {
			return err
		}
		for _, x := range shown {
			c.Checklist = append(c.Checklist, checkView{Text: v.Text("shown." + x.Interaction), Done: true, Note: v.Text("checklist.shown", v.DateTime(x.At))})
		}
		for _, m := range missing {
			line := checkView{Text: v.Text("shown." + m), Note: v.Text("checklist.evidence"), Links: []frame.Link{{Text: v.Text("requests.title"), URL: appPath(a.App, "requests")}}}
			if u := s.guide("production", ""); u != "" {
				line.Links = append(line.Links, frame.Link{Text: v.Text("checklist.how"), URL: u + "#" + m})
			}
			c.Checklist = append(c.Checklist, line)
		}
	}
	if o, err := v.Actor.Organisation(v.Context(), a.Org); err == nil && o.Domain.Name != "" {
		line := checkView{Text: v.Text("checklist.domain"), Done: !o.Domain.Proofed.IsZero()}
		if !line.Done {
			line.Links = []frame.Link{{Text: v.Text("domain.title"), URL: orgPath(a.Org, "domain")}}
		}
		c.Checklist = append(c.Checklist, line)
	}
	c.Checklist = append(c.Checklist, checkView{Text: v.Text("checklist.attest"), Note: v.Text("checklist.attest.note")})
	return nil
}

// problems are what is wrong with the draft, but for what is answered when it is sent.
func (s *Site) problems(v *desk.Visit, a *portal.Application, form *forms.Form) []forms.Problem {
	list := form.Check(a.Answers, true)
	list = append(list, form.NotYet(a.Answers, v.Now().In(s.zone()).Format("2006-01-02"))...)
	return slices.DeleteFunc(list, func(p forms.Problem) bool { return signs(a, form, p.Question) })
}

// steps are the sections that are answered one by one.
func (s *Site) steps(a *portal.Application, form *forms.Form) (list []*forms.Section) {
	visible := form.Visible(a.Answers)
	for _, section := range desk.Sections(form, a.Answers) {
		if slices.ContainsFunc(section.Questions, func(q *forms.Question) bool { return slices.Contains(visible, q) && !signs(a, form, q.ID) }) {
			list = append(list, section)
		}
	}
	return list
}

// startSandbox begins the questionnaire, or goes on with the one that there is.
func (s *Site) startSandbox(v *desk.Visit) error {
	o, _, err := s.member(v)
	if err != nil {
		return err
	}
	a, err := v.Actor.Start(v.Context(), lifecycle.Sandbox, o.ID, "")
	if errors.Is(err, accounts.ErrExists) {
		list, err := v.Actor.Applications(v.Context(), o.ID)
		if err != nil {
			return err
		}
		if a := sandboxOf(list); a != nil {
			return v.See(applicationPath(a.ID))
		}
		return accounts.ErrExists
	}
	if err != nil {
		return err
	}
	return v.See(applicationPath(a.ID, "edit"))
}

func (s *Site) say(v *desk.Visit) error {
	a, form, err := s.own(v)
	if err != nil {
		return err
	}
	f := s.sayForm(v, a).Fill()
	if f.Missing() {
		return s.applicationPage(v, a, form, f)
	}
	if _, err := v.Actor.Say(v.Context(), a.ID, f.Value("text"), false); err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.applicationPage(v, a, form, f)
	}
	return v.See(applicationPath(a.ID), "done", "message")
}

// revisionContent is the content of the page of what was submitted.
type revisionContent struct {
	Answers  []desk.Answered
	At, By   string
	Evidence []string
}

func (s *Site) revision(v *desk.Visit) error {
	a, form, err := s.own(v)
	if err != nil {
		return err
	}
	list, err := v.Actor.Revisions(v.Context(), a.ID)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(v.R.PathValue("number"))
	i := slices.IndexFunc(list, func(r *portal.Revision) bool { return r.Number == n })
	if i < 0 {
		return frame.ErrMissing
	}
	documents, err := v.Actor.Documents(v.Context(), a.ID)
	if err != nil {
		return err
	}
	c := revisionContent{At: v.DateTime(list[i].At), By: v.By(list[i].By)}
	c.Answers = v.Answers(&desk.FormView{Form: form, Answers: list[i].Answers, Documents: documents, Document: s.documentLinks(a, false)}, nil)
	for _, e := range list[i].Evidence {
		c.Evidence = append(c.Evidence, v.Text("shown."+e.Interaction))
	}
	return v.Render(http.StatusOK, "revision", &frame.Page{Title: v.Text("revision.title", n), Content: c,
		Trail: s.trail(v, a.OrgName, orgPath(a.Org), v.Text("application.title", v.Kind(a.Kind), a.ID), applicationPath(a.ID))})
}
