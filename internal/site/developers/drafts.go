package developers

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

func date(v *desk.Visit, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return v.Date(t)
}

func (s *Site) zone() *time.Location {
	if s.Portal.Zone != nil {
		return s.Portal.Zone
	}
	return time.UTC
}

// sectionContent is the content of the page that asks a section.
type sectionContent struct {
	Form  *desk.Form
	Intro string
	Place string // which step of how many
}

// section is that of the query or of the form; the first one if there is none such.
func (s *Site) section(v *desk.Visit, a *portal.Application, form *forms.Form) (*forms.Section, []*forms.Section) {
	steps := s.steps(a, form)
	for _, x := range steps {
		if x.ID == v.R.FormValue("section") {
			return x, steps
		}
	}
	return steps[0], steps
}

func (s *Site) editSection(v *desk.Visit) error {
	a, form, err := s.editable(v)
	if err != nil {
		return err
	}
	section, _ := s.section(v, a, form)
	return s.sectionPage(v, a, form, section, a.Answers, nil, "")
}

// editable is the application of the path, if its answers can be changed.
func (s *Site) editable(v *desk.Visit) (*portal.Application, *forms.Form, error) {
	a, form, err := s.own(v)
	if err != nil {
		return nil, nil, err
	}
	if roleIn(v, a.Org) == portal.Observer {
		return nil, nil, frame.ErrDenied
	}
	if !lifecycle.Editable(a.State) {
		return nil, nil, &lifecycle.IllegalError{Kind: a.Kind, From: a.State, Action: "edit"}
	}
	return a, form, nil
}

// documentLinks are where a document is given out, and where it is removed.
func (s *Site) documentLinks(a *portal.Application, edit bool) func(*portal.Document) (string, string) {
	return func(d *portal.Document) (string, string) {
		u := applicationPath(a.ID, "documents", url.PathEscape(d.ID))
		if !edit {
			return u, ""
		}
		return u, u + "/remove"
	}
}

func (s *Site) sectionForm(v *desk.Visit, a *portal.Application, form *forms.Form, section *forms.Section, answers forms.Answers, problems []forms.Problem) (*desk.Form, error) {
	documents, err := v.Actor.Documents(v.Context(), a.ID)
	if err != nil {
		return nil, err
	}
	f := v.NewForm(applicationPath(a.ID, "edit")).Keep("section", section.ID, "_version", strconv.Itoa(a.Version))
	f.Ask(&desk.FormView{Form: form, Section: section, Answers: answers, Problems: problems, Documents: documents, Document: s.documentLinks(a, true), Uploads: true})
	for _, g := range f.Groups {
		g.Fields = slices.DeleteFunc(g.Fields, func(x *desk.Field) bool { return signs(a, form, x.Name) })
	}
	f.Also("_do", "next", v.Text("section.next"), "button").Also("_do", "later", v.Text("section.later"), "button second")
	return f, nil
}

func (s *Site) sectionPage(v *desk.Visit, a *portal.Application, form *forms.Form, section *forms.Section, answers forms.Answers, problems []forms.Problem, warning string) error {
	f, err := s.sectionForm(v, a, form, section, answers, problems)
	if err != nil {
		return err
	}
	c := sectionContent{Form: f, Intro: section.Intro.In(v.Lang)}
	steps := s.steps(a, form)
	group := frame.Group{Title: form.Title.In(v.Lang)}
	all := s.problems(v, a, form)
	for i, x := range steps {
		l := frame.Link{Text: x.Title.In(v.Lang), URL: applicationPath(a.ID, "edit") + "?section=" + x.ID, Current: x.ID == section.ID}
		if n := len(desk.In(form, x.ID, all)); n > 0 {
			l.Note = strconv.Itoa(n)
		}
		group.Links = append(group.Links, l)
		if x.ID == section.ID {
			c.Place = v.Text("section.place", i+1, len(steps))
		}
	}
	group.Links = append(group.Links, frame.Link{Text: v.Text("submit.review"), URL: applicationPath(a.ID, "submit")})
	return v.Render(http.StatusOK, "section", &frame.Page{Title: section.Title.In(v.Lang), Content: c, Fields: f.Errors(), Side: []frame.Group{group}, Warning: warning,
		Notice: notice(v, "draft", "removed_document"), Trail: s.trail(v, v.Text("application.title", v.Kind(a.Kind), a.ID), applicationPath(a.ID)),
		Self: applicationPath(a.ID, "edit") + "?section=" + section.ID})
}

// saveSection keeps what was sent of a section as part of the draft, and goes on: to questions that are asked only now,
// to the next section, or to the page of the application.
func (s *Site) saveSection(v *desk.Visit) error {
	a, form, err := s.editable(v)
	if err != nil {
		return err
	}
	section, _ := s.section(v, a, form)
	v.About.Back = applicationPath(a.ID, "edit") + "?section=" + section.ID
	answers := form.Merge(a.Answers, form.Parse(v.R.PostForm), section.ID)
	before := form.Visible(a.Answers)
	problems := desk.In(form, section.ID, form.Check(answers, false))
	a.Version = version(v)
	if len(problems) == 0 {
		saved, err := v.Actor.SaveDraft(v.Context(), a.ID, a.Version, answers)
		if need, ok := errors.AsType[*portal.NeedError](err); ok {
			problems = desk.In(form, section.ID, need.Problems)
			if len(problems) == 0 {
				return err
			}
		} else if err != nil {
			return err
		} else {
			a = saved
		}
	}
	if len(problems) > 0 {
		return s.sectionPage(v, a, form, section, answers, problems, "")
	}
	more, err := s.takeDocuments(v, a, form, section)
	if err != nil {
		return err
	}
	if len(more) > 0 {
		return s.sectionPage(v, a, form, section, a.Answers, more, "")
	}
	if a, err = v.Actor.Application(v.Context(), a.ID); err != nil {
		return err
	}
	if v.R.PostForm.Get("_do") == "later" {
		return v.See(applicationPath(a.ID), "done", "draft")
	}
	// Questions that this answer has opened are asked on the same page.
	for _, q := range form.Visible(a.Answers) {
		if form.SectionOf(q.ID) == section && !slices.Contains(before, q) && len(a.Answers[q.ID]) == 0 && !signs(a, form, q.ID) {
			return s.sectionPage(v, a, form, section, a.Answers, nil, v.Text("section.more"))
		}
	}
	steps := s.steps(a, form)
	i := slices.Index(steps, section)
	if i < 0 || i+1 >= len(steps) {
		return v.See(applicationPath(a.ID, "submit"))
	}
	return v.See(applicationPath(a.ID, "edit"), "section", steps[i+1].ID)
}

// takeDocuments keeps the files of a section, and says which could not be taken.
func (s *Site) takeDocuments(v *desk.Visit, a *portal.Application, form *forms.Form, section *forms.Section) (problems []forms.Problem, err error) {
	for _, q := range form.Visible(a.Answers) {
		if q.Kind != forms.Document || form.SectionOf(q.ID) != section {
			continue
		}
		file, err := v.File(q.ID)
		if err != nil {
			return nil, err
		}
		if file == nil {
			continue
		}
		if err := v.Limit(desk.Uploads); err != nil {
			return nil, err
		}
		kind, _, err := mime.ParseMediaType(file.Type)
		if err != nil {
			kind = "application/octet-stream"
		}
		if p := form.Accepts(q.ID, kind, file.Size); p != nil {
			problems = append(problems, *p)
			continue
		}
		in, err := file.Open()
		if err != nil {
			return nil, err
		}
		_, err = v.Actor.Upload(v.Context(), a.ID, q.ID, file.Name, in)
		_ = in.Close() // it was only read
		if e, ok := errors.AsType[*portal.InputError](err); ok {
			text := v.Code(e)
			problems = append(problems, forms.Problem{Question: q.ID, Key: e.Code, Text: forms.Text{EN: text, ES: text}})
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return problems, nil
}

// document gives out a document as an attachment: it is never shown by the browser in this origin.
func (s *Site) document(v *desk.Visit) error {
	a, _, err := s.own(v)
	if err != nil {
		return err
	}
	d, r, err := v.Actor.Document(v.Context(), a.ID, v.R.PathValue("document"))
	if err != nil {
		return err
	}
	defer r.Close()
	return attach(v, d, r)
}

// attach writes a document as an attachment, in a sandbox of its own whatever it is.
func attach(v *desk.Visit, d *portal.Document, r io.Reader) error {
	v.Headers()
	h := v.W.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": d.Name}))
	if d.Size > 0 {
		h.Set("Content-Length", strconv.FormatInt(d.Size, 10))
	}
	v.W.WriteHeader(http.StatusOK)
	_, err := io.Copy(v.W, r)
	if err != nil && v.Context().Err() == nil {
		v.Fault(err) // the page has begun, so it cannot become one that says so
	}
	return nil
}

func (s *Site) askRemoveDocument(v *desk.Visit) error {
	a, _, err := s.editable(v)
	if err != nil {
		return err
	}
	d, r, err := v.Actor.Document(v.Context(), a.ID, v.R.PathValue("document"))
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	f := v.NewForm(v.R.URL.Path)
	f.Buttons = []desk.Button{{Text: v.Text("document.button"), Class: "button danger full"}}
	return v.RenderForm(&frame.Page{Title: v.Text("document.title"), Trail: s.trail(v, v.Text("application.title", v.Kind(a.Kind), a.ID), applicationPath(a.ID))},
		&desk.FormPage{Lead: v.Text("document.lead", frame.Plain(d.Name, 120)), Form: f, Links: []frame.Link{{Text: v.Text("document.keep"), URL: applicationPath(a.ID)}}})
}

func (s *Site) removeDocument(v *desk.Visit) error {
	a, form, err := s.editable(v)
	if err != nil {
		return err
	}
	d, r, err := v.Actor.Document(v.Context(), a.ID, v.R.PathValue("document"))
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	if err := v.Actor.RemoveDocument(v.Context(), a.ID, d.ID); err != nil {
		return err
	}
	section := ""
	if x := form.SectionOf(d.Question); x != nil {
		section = x.ID
	}
	return v.See(applicationPath(a.ID, "edit"), "section", section, "done", "removed_document")
}
