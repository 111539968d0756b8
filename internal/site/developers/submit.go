package developers

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// submitContent is the content of the page that shows all answers before they are sent.
type submitContent struct {
	Answers      []desk.Answered
	Contradicted []frame.Link
	Form         *desk.Form // nil if it cannot be sent yet
	Lacks        []frame.Link
}

// sending is the move that sends the application in its state.
func sending(a *portal.Application) lifecycle.Action {
	if a.State == lifecycle.Draft {
		return lifecycle.Submit
	}
	return lifecycle.Resubmit
}

// attestForm asks for all statements, each by itself and none made beforehand, and who makes them.
func (s *Site) attestForm(v *desk.Visit, a *portal.Application, form *forms.Form, action string, f *desk.Form) *desk.Form {
	f.Keep("_version", strconv.Itoa(a.Version))
	if a.Kind != lifecycle.Production {
		return f
	}
	f.Group(v.Text("attest.title"), v.Text("attest.intro"))
	for _, q := range form.Visible(a.Answers) {
		if q.Kind == forms.Attest && q.ID != signerAuthority {
			f.Add(&desk.Field{ID: desk.QuestionID(q.ID), Name: q.ID, Kind: desk.Tick, Label: q.Label.In(v.Lang), Hint: q.Hint.In(v.Lang), Help: q.Help.In(v.Lang), Required: q.Required})
		}
	}
	f.Group(v.Text("signer.title"), "")
	f.Add(&desk.Field{ID: desk.QuestionID("signer_name"), Name: "signer_name", Label: v.Text("signer.name"), Auto: "name", Required: true, Most: 120, Values: []string{v.Actor.Person.Name}},
		&desk.Field{ID: desk.QuestionID("signer_title"), Name: "signer_title", Label: v.Text("signer.position"), Hint: v.Text("signer.position.hint"), Auto: "organization-title", Required: true, Most: 120},
		&desk.Field{ID: desk.QuestionID(signerAuthority), Name: signerAuthority, Kind: desk.Tick, Label: v.Text("signer.bind"), Required: true})
	_ = action
	return f
}

// signerAuthority is the statement that somebody may bind the publisher.
const signerAuthority = "signer_authority"

// missingAttests says of each required statement that is not made what to do, and reports whether there is one.
func missingAttests(v *desk.Visit, f *desk.Form) bool {
	found := false
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			switch {
			case x.Kind == desk.Tick && x.Required && x.Value() != "yes":
				f.Fail(x.ID, v.Text("attest.missing", x.Label))
				found = true
			case x.Required && x.Value() == "":
				f.Fail(x.ID, v.Text("field.missing", x.Label))
				found = true
			}
		}
	}
	return found
}

// attested takes the statements that were made into what a move is given.
func attested(f *desk.Form, form *forms.Form, in *portal.Input) {
	for _, q := range form.Questions() {
		if x := f.Field(q.ID); x != nil && q.Kind == forms.Attest && x.Value() == "yes" {
			in.Attest = append(in.Attest, q.ID)
		}
	}
	in.Name, in.Title, in.Bind = f.Value("signer_name"), f.Value("signer_title"), f.Value(signerAuthority) == "yes"
}

func (s *Site) showSubmit(v *desk.Visit) error {
	a, form, err := s.editable(v)
	if err != nil {
		return err
	}
	return s.submitPage(v, a, form, s.submitForm(v, a, form), nil)
}

func (s *Site) submitForm(v *desk.Visit, a *portal.Application, form *forms.Form) *desk.Form {
	f := s.attestForm(v, a, form, "submit", v.NewForm(applicationPath(a.ID, "submit")))
	return f.Button(v.Action(sending(a)))
}

func (s *Site) submitPage(v *desk.Visit, a *portal.Application, form *forms.Form, f *desk.Form, lacks []frame.Link) error {
	documents, err := v.Actor.Documents(v.Context(), a.ID)
	if err != nil {
		return err
	}
	problems := s.problems(v, a, form)
	c := submitContent{Lacks: lacks}
	edit := func(section, question string) string {
		u := applicationPath(a.ID, "edit") + "?section=" + section
		if question != "" {
			u += "#" + desk.QuestionID(question)
		}
		return u
	}
	c.Answers = v.Answers(&desk.FormView{Form: form, Answers: a.Answers, Problems: problems, Documents: documents, Document: s.documentLinks(a, false)}, edit)
	for i := range c.Answers {
		c.Answers[i].Questions = slices.DeleteFunc(c.Answers[i].Questions, func(q desk.AnsweredQuestion) bool { return signs(a, form, q.ID) })
	}
	c.Answers = slices.DeleteFunc(c.Answers, func(x desk.Answered) bool { return len(x.Questions) == 0 })
	for _, x := range form.Contradictions(a.Answers) {
		link := frame.Link{Text: x.Text.In(v.Lang)}
		if len(x.Questions) > 0 {
			link.URL = v.About.At(x.Questions[0])
		}
		c.Contradicted = append(c.Contradicted, link)
	}
	moves, err := v.Actor.Moves(v.Context(), a)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(moves, func(o portal.Option) bool { return o.Action == sending(a) })
	switch {
	case i < 0:
		c.Lacks = append(c.Lacks, frame.Link{Text: v.Text("submit.owner")})
	default:
		for i, x := range problems {
			if i == lacksMost { // the answers below have all of them
				c.Lacks = append(c.Lacks, frame.Link{Text: v.Count("submit.more", len(problems)-i)})
				break
			}
			label := form.Question(x.Question).Label.In(v.Lang)
			c.Lacks = append(c.Lacks, frame.Link{Text: v.Text("submit.lacking", label, x.Text.In(v.Lang)), URL: edit(form.SectionOf(x.Question).ID, x.Question)})
		}
		for _, n := range moves[i].Lacks {
			// What is complete but for the statements is made complete by sending it.
			if n != lifecycle.Complete {
				c.Lacks = append(c.Lacks, frame.Link{Text: v.Need(n), URL: needURL(a, n)})
			}
		}
	}
	if len(c.Lacks) == 0 || len(f.Errors()) > 0 {
		c.Form = f
	}
	p := &frame.Page{Title: v.Text("submit.title"), Content: c, Trail: s.trail(v, v.Text("application.title", v.Kind(a.Kind), a.ID), applicationPath(a.ID)), Self: selfOf(v)}
	if c.Form != nil {
		p.Fields = f.Errors()
	}
	status := http.StatusOK
	if v.R.Method == http.MethodPost {
		status = http.StatusUnprocessableEntity
	}
	return v.Render(status, "submit", p)
}

// lacksMost is how many questions are named that have no answer, or a wrong one.
const lacksMost = 10

// needURL is where something that an application lacks is done.
func needURL(a *portal.Application, n lifecycle.Need) string {
	switch n {
	case lifecycle.Terms:
		return "/developers/terms?next=" + applicationPath(a.ID, "submit")
	case lifecycle.Identity:
		return "/developers/profile"
	case lifecycle.SandboxAccess:
		return orgPath(a.Org)
	case lifecycle.Evidence:
		return applicationPath(a.ID)
	}
	return ""
}

func (s *Site) submit(v *desk.Visit) error {
	a, form, err := s.editable(v)
	if err != nil {
		return err
	}
	f := s.submitForm(v, a, form).Fill()
	if missingAttests(v, f) {
		return s.submitPage(v, a, form, f, nil)
	}
	in := &portal.Input{Version: version(v)}
	if a.Kind == lifecycle.Production {
		attested(f, form, in)
	}
	_, err = v.Actor.Move(v.Context(), a.ID, sending(a), in)
	if need, ok := errors.AsType[*portal.NeedError](err); ok {
		return s.submitPage(v, a, form, f, v.Lacking(need))
	}
	if err != nil {
		return err
	}
	return v.See(applicationPath(a.ID), "done", "submitted")
}

// moveForm is the page before a move: what it does, what it needs, and a button.
func (s *Site) moveForm(v *desk.Visit, a *portal.Application, form *forms.Form, m *lifecycle.Move) *desk.Form {
	f := v.NewForm(applicationPath(a.ID, "move", string(m.Action)))
	if slices.Contains(m.Needs, lifecycle.Reason) {
		f.Add(&desk.Field{ID: "reason", Label: v.Text("move.reason"), Kind: desk.Lines, Rows: 5, Required: true, Bare: true, Most: 4000})
	}
	if slices.Contains(m.Needs, lifecycle.Attested) {
		s.attestForm(v, a, form, string(m.Action), f)
	} else {
		f.Keep("_version", strconv.Itoa(a.Version))
	}
	class := ""
	if m.Action == lifecycle.Retire || m.Action == lifecycle.Withdraw {
		class = "button danger full"
	}
	f.Buttons = []desk.Button{{Text: v.Action(m.Action), Class: class}}
	return f
}

// moving is the move of the path, if the person can make it now.
func (s *Site) moving(v *desk.Visit, a *portal.Application) (*lifecycle.Move, error) {
	action := lifecycle.Action(v.R.PathValue("action"))
	if !s.desk.HasText("move." + string(action)) {
		return nil, frame.ErrMissing
	}
	roles := []lifecycle.Role{}
	switch roleIn(v, a.Org) {
	case portal.Owner:
		roles = append(roles, lifecycle.Owner)
	case portal.Developer:
		roles = append(roles, lifecycle.Developer)
	}
	return lifecycle.Find(a.Kind, a.State, action, roles)
}

func (s *Site) askMove(v *desk.Visit) error {
	a, form, err := s.own(v)
	if err != nil {
		return err
	}
	m, err := s.moving(v, a)
	if err != nil {
		return err
	}
	return s.movePage(v, a, m, s.moveForm(v, a, form, m))
}

func (s *Site) movePage(v *desk.Visit, a *portal.Application, m *lifecycle.Move, f *desk.Form) error {
	return v.RenderForm(&frame.Page{Title: v.Action(m.Action), Trail: s.trail(v, v.Text("application.title", v.Kind(a.Kind), a.ID), applicationPath(a.ID)), Self: selfOf(v)},
		&desk.FormPage{Lead: v.Text("move." + string(m.Action)), Form: f, Links: []frame.Link{{Text: v.Text("move.keep"), URL: applicationPath(a.ID)}}})
}

func (s *Site) move(v *desk.Visit) error {
	a, form, err := s.own(v)
	if err != nil {
		return err
	}
	m, err := s.moving(v, a)
	if err != nil {
		return err
	}
	f := s.moveForm(v, a, form, m).Fill()
	if missingAttests(v, f) {
		return s.movePage(v, a, m, f)
	}
	in := &portal.Input{Version: version(v), Reason: f.Value("reason")}
	if slices.Contains(m.Needs, lifecycle.Attested) {
		attested(f, form, in)
	}
	if _, err := v.Actor.Move(v.Context(), a.ID, m.Action, in); err != nil {
		if err = failInput(f, err); err != nil {
			return err
		}
		return s.movePage(v, a, m, f)
	}
	if m.Action == lifecycle.Issue {
		return v.See(credentialsPath(a.App, portal.InProduction))
	}
	return v.See(applicationPath(a.ID), "done", "move")
}
