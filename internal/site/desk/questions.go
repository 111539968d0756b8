package desk

import (
	"fmt"
	"slices"
	"strings"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/site/frame"
)

// FormView says how a form of internal/portal/forms is asked, or a section of it.
type FormView struct {
	Form      *forms.Form
	Section   *forms.Section // nil: all sections, each in a frame of its own
	Answers   forms.Answers
	Problems  []forms.Problem
	Documents []*portal.Document // that were given before
	Document  func(*portal.Document) (url, remove string)
	Uploads   bool // files can be given; if not, their questions are left out
}

// prefix keeps the IDs of questions apart from those of the page.
const prefix = "q-"

// Ask adds the questions to a form of a page: those that are asked by the answers so far. What is sent has the
// questions' ids as names; forms.Form.Parse reads it.
func (f *Form) Ask(w *FormView) *Form {
	v := f.v
	with := *w
	with.Answers = f.withTyped(w)
	w = &with
	visible := w.Form.Visible(w.Answers)
	for _, s := range w.Form.Sections {
		if w.Section != nil && s.ID != w.Section.ID {
			continue
		}
		asked := false
		for _, q := range s.Questions {
			if !slices.Contains(visible, q) || q.Kind == forms.Document && !w.Uploads {
				continue
			}
			if !asked {
				asked = true
				title, intro := s.Title.In(v.Lang), s.Intro.In(v.Lang)
				if w.Section != nil { // the page has the title
					title, intro = "", ""
				}
				f.Group(title, intro)
			}
			f.Add(v.question(w, q))
		}
	}
	for _, p := range w.Problems {
		f.Fail(prefix+p.Question, p.Text.In(v.Lang))
	}
	return f
}

// QuestionID is the ID of a question's element on a page.
func QuestionID(question string) string { return prefix + question }

func (v *Visit) question(w *FormView, q *forms.Question) *Field {
	x := &Field{ID: prefix + q.ID, Name: q.ID, Label: q.Label.In(v.Lang), Hint: q.Hint.In(v.Lang), Help: q.Help.In(v.Lang), Required: q.Required, Auto: q.Auto,
		Most: q.Length(), Values: w.Answers[q.ID]}
	for _, o := range q.Options {
		x.Options = append(x.Options, Option{Value: o.Value, Text: o.In(v.Lang)})
	}
	switch q.Kind {
	case forms.Paragraph:
		x.Kind, x.Rows = Lines, 5
	case forms.Choice:
		x.Kind = One
		if len(x.Options) > 8 {
			x.Kind = Pick
		}
	case forms.Choices:
		x.Kind = Some
	case forms.YesNo:
		x.Kind, x.Options = One, []Option{{Value: "yes", Text: v.Text("field.yes")}, {Value: "no", Text: v.Text("field.no")}}
	case forms.Attest:
		x.Kind = Tick
	case forms.URL:
		x.Type, x.Mode = "text", "url" // "example.gov" is completed, which browsers refuse in fields for URLs
	case forms.Email:
		x.Type = "email"
	case forms.Phone:
		x.Type = "tel"
	case forms.Date:
		x.Type = "date"
	case forms.Number:
		x.Type, x.Mode = "text", "numeric"
	case forms.Document:
		x.Kind, x.Accept = Give, strings.Join(q.Limits.Types, ",")
		x.Hint = strings.TrimSpace(x.Hint + " " + v.Text("field.files", typeNames(q.Limits.Types), max(q.Limits.Bytes>>20, 1)))
		for _, d := range w.Documents {
			if d.Question == q.ID {
				file := File{ID: d.ID, Name: frame.Plain(d.Name, 120), Size: Size(d.Size)}
				if w.Document != nil {
					file.URL, file.Remove = w.Document(d)
				}
				x.Files = append(x.Files, file)
			}
		}
	}
	return x
}

// typeNames are media types as people know them.
func typeNames(types []string) string {
	names := make([]string, len(types))
	for i, t := range types {
		_, sub, _ := strings.Cut(t, "/")
		names[i] = strings.ToUpper(sub)
		if sub == "plain" {
			names[i] = "TXT"
		}
	}
	return strings.Join(names, ", ")
}

// Size is a number of bytes as people write it.
func Size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// Answered is a section of a form with its answers in words, for a page to read before something is sent, and for
// those who review it. The template "answers" writes it.
type Answered struct {
	ID, Title string
	Edit      string // address of the page that asks it, "" for none
	Change    string // words of the link to it
	Questions []AnsweredQuestion
}

// AnsweredQuestion is a question with its answers in words.
type AnsweredQuestion struct {
	ID, Label string
	Answers   []string
	Lines     bool   // the answers have lines
	Link      string // of an answer that is the address of a web page
	Files     []File
	Error     string // what is wrong or missing
	Edit      string
}

// Answers are all sections with what was answered, and what is wrong with it.
func (v *Visit) Answers(w *FormView, edit func(section, question string) string) (list []Answered) {
	visible := w.Form.Visible(w.Answers)
	for _, s := range w.Form.Sections {
		a := Answered{ID: s.ID, Title: s.Title.In(v.Lang), Change: v.Text("answers.change")}
		if edit != nil {
			a.Edit = edit(s.ID, "")
		}
		for _, q := range s.Questions {
			if !slices.Contains(visible, q) {
				continue
			}
			x := AnsweredQuestion{ID: q.ID, Label: q.Label.In(v.Lang), Lines: q.Kind == forms.Paragraph}
			if q.Kind == forms.Document {
				x.Files = v.question(w, q).Files
				for i := range x.Files {
					x.Files[i].Remove = ""
				}
			} else {
				x.Answers = w.Form.Show(q.ID, w.Answers[q.ID], v.Lang)
			}
			if q.Kind == forms.URL && len(x.Answers) == 1 {
				x.Link = frame.WebLink(x.Answers[0])
			}
			for _, p := range w.Problems {
				if p.Question == q.ID && x.Error == "" {
					x.Error = p.Text.In(v.Lang)
				}
			}
			if edit != nil {
				x.Edit = edit(s.ID, q.ID)
			}
			a.Questions = append(a.Questions, x)
		}
		if len(a.Questions) > 0 {
			list = append(list, a)
		}
	}
	return list
}

// Sections are those of a form of which at least one question is asked.
func Sections(f *forms.Form, a forms.Answers) (list []*forms.Section) {
	visible := f.Visible(a)
	for _, s := range f.Sections {
		if slices.ContainsFunc(s.Questions, func(q *forms.Question) bool { return slices.Contains(visible, q) }) {
			list = append(list, s)
		}
	}
	return list
}

// In are the problems of a section.
func In(f *forms.Form, section string, problems []forms.Problem) (list []forms.Problem) {
	for _, p := range problems {
		if s := f.SectionOf(p.Question); s != nil && s.ID == section {
			list = append(list, p)
		}
	}
	return list
}
