package desk

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/frame"
)

// Form is a form of a page, with all its words. The template "form" writes it.
type Form struct {
	Action  string
	Groups  []*Group // parts with a title of their own; one without a title has no frame
	Hidden  []Pair
	Buttons []Button
	Files   bool   // it has documents
	Class   string // of the element; "" is a card
	Note    string // before the fields

	v *Visit
}

// Group is a part of a form.
type Group struct {
	Title, Intro string
	Fields       []*Field
}

// Pair is a field that nobody sees.
type Pair struct{ Name, Value string }

// Button sends a form.
type Button struct{ Name, Value, Text, Class string }

// Field is one field, or several of which one or some are chosen.
type Field struct {
	ID   string // of the element, and what is sent unless Name says otherwise
	Name string
	Kind string // see the constants
	Type string // of a Line: text, email, url, tel, password, number, date

	Label, Hint string
	Help        string // for those who want to know more
	Lang        string // of what is typed, if it is not that of the page
	Required    bool
	Bare        bool   // neither "required" nor "optional" is said: it is clear
	Auto        string // token of the attribute autocomplete
	Mode        string // inputmode
	Accept      string // types of files
	Most        int    // letters
	Rows        int    // of a Text

	Values  []string
	Options []Option
	Files   []File

	Error string

	v *Visit
}

// Kinds of fields.
const (
	Line  = "line"
	Lines = "lines"
	One   = "one"  // of the options: radio buttons
	Some  = "some" // of the options: check boxes
	Pick  = "pick" // one of many options: a list to open
	Tick  = "tick" // one check box
	Give  = "give" // files
	Show  = "show" // a value that cannot be changed
)

// Option is one of the answers to choose from.
type Option struct{ Value, Text, Note string }

// File is a document that was given before.
type File struct {
	ID, Name, Size, URL string
	Remove              string // address that removes it, "" if it cannot be
}

// NewForm begins a form that is sent to a path.
func (v *Visit) NewForm(action string) *Form { return &Form{Action: action, v: v} }

// Add adds fields to the last group.
func (f *Form) Add(fields ...*Field) *Form {
	if len(f.Groups) == 0 {
		f.Groups = append(f.Groups, &Group{})
	}
	g := f.Groups[len(f.Groups)-1]
	for _, x := range fields {
		x.v = f.v
		if x.Name == "" {
			x.Name = x.ID
		}
		if x.Kind == "" {
			x.Kind = Line
		}
		if x.Kind == Line && x.Type == "" {
			x.Type = "text"
		}
		f.Files = f.Files || x.Kind == Give
		g.Fields = append(g.Fields, x)
	}
	return f
}

// Group begins a group.
func (f *Form) Group(title, intro string) *Form {
	f.Groups = append(f.Groups, &Group{Title: title, Intro: intro})
	return f
}

// Keep adds hidden fields: names and values. Empty ones are left out.
func (f *Form) Keep(pairs ...string) *Form {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			f.Hidden = append(f.Hidden, Pair{pairs[i], pairs[i+1]})
		}
	}
	return f
}

// Button adds a button that sends the form.
func (f *Form) Button(text string) *Form {
	f.Buttons = append(f.Buttons, Button{Text: text})
	return f
}

// Also adds a button that sends a name and a value with the form.
func (f *Form) Also(name, value, text, class string) *Form {
	f.Buttons = append(f.Buttons, Button{name, value, text, class})
	return f
}

// Token is what the form must send back.
func (f *Form) Token() string { return f.v.Token() }

// Field finds a field by its ID or name.
func (f *Form) Field(id string) *Field {
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			if x.ID == id || x.Name == id {
				return x
			}
		}
	}
	return nil
}

// Fail says what is wrong with a field. The first thing counts. If there is no such field, it is about the first one.
func (f *Form) Fail(id, text string) {
	x := f.Field(id)
	if x == nil && len(f.Groups) > 0 && len(f.Groups[0].Fields) > 0 {
		x = f.Groups[0].Fields[0]
	}
	if x != nil && x.Error == "" {
		x.Error = text
	}
}

// FailInput says what the portal does not accept.
func (f *Form) FailInput(e *portal.InputError) { f.Fail(e.Field, f.v.Code(e)) }

// Errors are what is wrong, for the summary of the page.
func (f *Form) Errors() (list []frame.FieldError) {
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			if x.Error != "" {
				list = append(list, frame.FieldError{ID: x.First(), Text: x.Error})
			}
		}
	}
	return list
}

// Missing says of each required field without a value that it must be filled in, and reports whether there is one.
func (f *Form) Missing() bool {
	found := false
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			if x.Required && x.Kind != Give && strings.TrimSpace(x.Value()) == "" {
				found = true
				f.Fail(x.ID, f.v.Text("field.missing", x.Label))
			}
		}
	}
	return found
}

// Fill takes what was sent into the fields, so that nothing is typed twice. Passwords and codes are left out.
func (f *Form) Fill() *Form {
	sent := f.v.R.PostForm
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			if x.Kind == Give || x.Kind == Show {
				continue
			}
			x.take(sent)
		}
	}
	return f
}

func (x *Field) take(sent url.Values) {
	x.Values = nil
	for _, text := range sent[x.Name] {
		x.Values = append(x.Values, clean(text, x.Kind == Lines, x.Type == "password"))
	}
}

// clean is a text as it is kept: without control characters, and without blanks around it unless it is a password.
func clean(text string, lines, secret bool) string {
	if secret {
		return text
	}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(text, ""))
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' && lines:
			return r
		case r < ' ' || r == 0x7f:
			return ' '
		}
		return r
	}, text)
	return strings.TrimSpace(text)
}

// Value is the first value of a field by its ID, as it was filled.
func (f *Form) Value(id string) string {
	if x := f.Field(id); x != nil {
		return x.Value()
	}
	return ""
}

// Value is the first value.
func (x *Field) Value() string {
	if len(x.Values) == 0 {
		return ""
	}
	return x.Values[0]
}

// Shown is the value as the page shows it: passwords and codes are typed again.
func (x *Field) Shown() string {
	if x.Type == "password" || x.Auto == "one-time-code" {
		return ""
	}
	return x.Value()
}

// Chosen reports whether an option is.
func (x *Field) Chosen(value string) bool { return slices.Contains(x.Values, value) }

// First is the ID of the first element, to which the summary of errors links.
func (x *Field) First() string { return x.ID }

// OptionID is the ID of an option's element.
func (x *Field) OptionID(i int) string {
	if i == 0 {
		return x.ID
	}
	return x.ID + "-" + strconv.Itoa(i+1)
}

// Mark says in words whether a field must be filled in.
func (x *Field) Mark() string {
	switch {
	case x.Bare || x.Kind == Show:
		return ""
	case x.Required:
		return x.v.Text("field.required")
	}
	return x.v.Text("field.optional")
}

// Describe are the attributes that tie the element to hint and error.
func (x *Field) Describe() template.HTMLAttr {
	var by []string
	if x.Hint != "" {
		by = append(by, x.ID+"-hint")
	}
	if x.Error != "" {
		by = append(by, x.ID+"-error")
	}
	text := ""
	if len(by) > 0 {
		text = `aria-describedby="` + template.HTMLEscapeString(strings.Join(by, " ")) + `"`
	}
	if x.Error != "" && (x.Kind == Line || x.Kind == Lines || x.Kind == Pick || x.Kind == Tick || x.Kind == Give) {
		text += ` aria-invalid="true"`
	}
	return template.HTMLAttr(text) //nolint:gosec // IDs are ours, and escaped all the same
}

// T is a text in the language of the page.
func (x *Field) T(key string, args ...any) string { return x.v.Text(key, args...) }

// FormPage is the content of the page "form": a text, a form, and what else there is to do.
type FormPage struct {
	Lead  string
	Paras []string
	Form  *Form
	Links []frame.Link
}

// ShowForm writes a page that is not more than a form. Its errors become those of the page.
func (v *Visit) ShowForm(title, lead string, f *Form, links ...frame.Link) error {
	return v.RenderForm(&frame.Page{Title: title}, &FormPage{Lead: lead, Form: f, Links: links})
}

// RenderForm is ShowForm for a page with more of its own.
func (v *Visit) RenderForm(p *frame.Page, c *FormPage) error {
	p.Content = c
	p.Fields = append(p.Fields, c.Form.Errors()...)
	if v.R.Method == http.MethodPost && p.Self == "" {
		p.Self = v.back()
	}
	return v.Render(http.StatusOK, "form", p)
}
