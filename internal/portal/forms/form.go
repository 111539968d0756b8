package forms

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Languages are those of every text of a form.
var Languages = []string{"en", "es"}

// Text is what a person reads, in every language.
type Text struct {
	EN string `yaml:"en" json:"en,omitempty"`
	ES string `yaml:"es" json:"es,omitempty"`
}

// In is the text in a language, or the English one where there is none in it.
func (t Text) In(lang string) string {
	if lang == "es" && t.ES != "" {
		return t.ES
	}
	return t.EN
}

// Empty reports whether there is no text at all.
func (t Text) Empty() bool { return t.EN == "" && t.ES == "" }

// with puts values into the places of a text.
func (t Text) with(args ...any) Text {
	if len(args) == 0 {
		return t
	}
	return Text{EN: fmt.Sprintf(t.EN, args...), ES: fmt.Sprintf(t.ES, args...)}
}

// Kind says how a question is answered.
type Kind string

// Kinds of questions. An answer is one value, but for Choices, and for documents if the limit allows several.
const (
	Plain     Kind = "text"      // one line
	Paragraph Kind = "paragraph" // several lines
	Choice    Kind = "choice"    // one of the options
	Choices   Kind = "choices"   // any of the options
	YesNo     Kind = "yes_no"    // "yes" or "no"
	URL       Kind = "url"       // https, with a public host
	Email     Kind = "email"     //
	Phone     Kind = "phone"     //
	Date      Kind = "date"      // 2006-01-02
	Number    Kind = "number"    // a whole number, without separators
	Document  Kind = "document"  // ids of files that were uploaded
	Attest    Kind = "attest"    // "yes", or not answered
	item      Kind = "item"      // in files only: an item of a checklist, which becomes its three questions
)

// Group says what an answer may be used for.
type Group string

// Groups of questions. Most have none: they inform the reviewer.
const (
	Gate       Group = "gate"       // authenticity, contact, technical security: may be a ground to refuse
	Disclosure Group = "disclosure" // privacy: shown to members as attested or not, never a ground to refuse
)

// Values are one or more answers to a question. A file may write a single one without brackets.
type Values []string

// UnmarshalYAML reads one value, or a list.
func (v *Values) UnmarshalYAML(decode func(any) error) error {
	var one string
	if decode(&one) == nil {
		*v = Values{one}
		return nil
	}
	var list []string
	if err := decode(&list); err != nil {
		return err
	}
	*v = list
	return nil
}

// When is a condition on answers: for each question one of the values is among the answers to it. An empty one holds.
type When map[string]Values

// holds reports whether the condition holds for answers.
func (w When) holds(a Answers) bool {
	for id, values := range w {
		if !slices.ContainsFunc(a[id], func(v string) bool { return slices.Contains(values, v) }) {
			return false
		}
	}
	return true
}

// Option is one of the answers to a question that offers some.
type Option struct {
	Value string `yaml:"value" json:"value"`
	Text  `yaml:",inline"`
}

// Limits of an answer; zero is no limit of the form's own.
type Limits struct {
	Length int      `yaml:"length" json:"length,omitempty"` // most characters of a text; the default depends on the kind
	Count  int      `yaml:"count" json:"count,omitempty"`   // most options, or files
	From   *int64   `yaml:"from" json:"from,omitempty"`     // least number
	To     *int64   `yaml:"to" json:"to,omitempty"`         // greatest number
	Past   bool     `yaml:"past" json:"past,omitempty"`     // the date is not after the day on which it is sent
	Types  []string `yaml:"types" json:"types,omitempty"`   // media types of a file
	Bytes  int64    `yaml:"bytes" json:"bytes,omitempty"`   // largest file
}

// Question is one question of a form.
type Question struct {
	ID    string `yaml:"id" json:"id"`
	Kind  Kind   `yaml:"kind" json:"kind"`
	Label Text   `yaml:"label" json:"label"`         // the question itself, or the statement to attest
	Hint  Text   `yaml:"hint" json:"hint,omitzero"`  // how to answer, in one sentence or two
	Help  Text   `yaml:"help" json:"help,omitzero"`  // why it is asked, for those who want to know more
	Auto  string `yaml:"auto" json:"auto,omitempty"` // token of the autocomplete attribute (WCAG 1.3.5)

	Required bool     `yaml:"required" json:"required,omitempty"` // it must be answered if it is asked
	When     When     `yaml:"when" json:"when,omitempty"`         // it is asked only then
	Options  []Option `yaml:"options" json:"options,omitempty"`   // of Choice and Choices
	Limits   Limits   `yaml:"limits" json:"limits,omitzero"`

	Group     Group  `yaml:"group" json:"group,omitempty"`
	Criterion string `yaml:"criterion" json:"criterion,omitempty"` // a code of the Set's criteria; a Gate has one
	Attests   Values `yaml:"attests" json:"attests,omitempty"`     // the answers that fulfil the criterion; none is "yes"

	// Item is the item of a checklist to which this question belongs, "" if it belongs to none. The item's result has
	// the id of the item itself, its note and evidence have it with _note and _evidence.
	Item string `yaml:"-" json:"item,omitempty"`

	at places
}

// Section is a part of a form, a page of its own if it is long.
type Section struct {
	ID        string      `yaml:"id" json:"id"`
	Title     Text        `yaml:"title" json:"title"`
	Intro     Text        `yaml:"intro" json:"intro,omitzero"`
	When      When        `yaml:"when" json:"when,omitempty"` // all of its questions are asked only then
	Questions []*Question `yaml:"questions" json:"questions"`

	at places
}

// Rule finds answers that contradict one another. It fires if If holds and, where they are given, all named answers of
// Same are equal, the hosts of Hosts differ, and the number of More[0] exceeds that of More[1].
type Rule struct {
	ID    string   `yaml:"id" json:"id"`
	If    When     `yaml:"if" json:"if,omitempty"`
	Same  []string `yaml:"same" json:"same,omitempty"`
	Hosts []string `yaml:"hosts" json:"hosts,omitempty"`
	More  []string `yaml:"more" json:"more,omitempty"`
	Text  Text     `yaml:"text" json:"text"`

	at places
}

// parts are the texts that all items of a checklist share.
type parts struct {
	Results  []Option `yaml:"results" json:"results"`
	Note     Text     `yaml:"note" json:"note"`
	Evidence Text     `yaml:"evidence" json:"evidence"`
}

// Form is a form as it stands in a file, with an agency's questions added. It does not change after Load and is safe for
// concurrent use.
type Form struct {
	Name     string     `yaml:"form" json:"form"`
	Version  int        `yaml:"version" json:"version"`
	Title    Text       `yaml:"title" json:"title"`
	Intro    Text       `yaml:"intro" json:"intro,omitzero"`
	Item     *parts     `yaml:"item" json:"item,omitempty"`
	Sections []*Section `yaml:"sections" json:"sections"`
	Checks   []*Rule    `yaml:"checks" json:"checks,omitempty"`

	questions []*Question
	byID      map[string]*Question
	section   map[string]*Section // of a question
	digest    string
	words     *words
}

// Questions are all questions in their order.
func (f *Form) Questions() []*Question { return slices.Clone(f.questions) }

// Question is the question of an id, nil if there is none.
func (f *Form) Question(id string) *Question { return f.byID[id] }

// SectionOf is the section in which a question stands, nil if there is no such question.
func (f *Form) SectionOf(id string) *Section { return f.section[id] }

// Digest stands for everything that the form asks and how it words it. A snapshot of answers keeps it, so that nobody
// has to guess later what had been asked.
func (f *Form) Digest() string { return f.digest }

// index makes what is looked up, after all questions are in their places.
func (f *Form) index() error {
	f.questions, f.byID, f.section = nil, map[string]*Question{}, map[string]*Section{}
	for _, s := range f.Sections {
		for _, q := range s.Questions {
			f.questions = append(f.questions, q)
			f.byID[q.ID] = q
			f.section[q.ID] = s
		}
	}
	text, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("form %s: %w", f.Name, err)
	}
	sum := sha256.Sum256(text)
	f.digest = hex.EncodeToString(sum[:])
	return nil
}

// Restore reads a form from the JSON that json.Marshal made of it: the form of an old snapshot, with its labels and its
// digest. Problems are worded as this Set words them.
func (s *Set) Restore(text []byte) (*Form, error) {
	f := &Form{words: s.words}
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("read a stored form: %w", err)
	}
	if f.Name == "" || len(f.Sections) == 0 {
		return nil, fmt.Errorf("read a stored form: it has no name or no sections")
	}
	return f, f.index()
}

// Accepts says what is wrong with a file that is to be uploaded for a question of kind Document, nil if nothing is. The
// type is what was found in the file, not what its sender says.
func (f *Form) Accepts(id, mediaType string, size int64) *Problem {
	q := f.byID[id]
	switch {
	case q == nil || q.Kind != Document:
		return f.problem(id, "file")
	case size == 0:
		return f.problem(id, "file_empty")
	case size > q.Limits.Bytes:
		return f.problem(id, "file_large", max(q.Limits.Bytes>>20, 1))
	case !slices.Contains(q.Limits.Types, mediaType):
		return f.problem(id, "file_type", strings.Join(typeNames(q.Limits.Types), ", "))
	}
	return nil
}

// typeNames are media types as people know them: PDF, PNG.
func typeNames(types []string) []string {
	names := make([]string, len(types))
	for i, t := range types {
		_, sub, _ := strings.Cut(t, "/")
		names[i] = strings.ToUpper(sub)
		if sub == "plain" {
			names[i] = "TXT"
		}
	}
	return names
}

// Show is an answer in words: the texts of options, yes and no, or the answer as it is.
func (f *Form) Show(id string, values []string, lang string) []string {
	out := slices.Clone(values)
	q := f.byID[id]
	if q == nil {
		return out
	}
	for i, v := range out {
		if k := slices.IndexFunc(q.Options, func(o Option) bool { return o.Value == v }); k >= 0 {
			out[i] = q.Options[k].In(lang)
		} else if q.Kind == YesNo || q.Kind == Attest {
			if t := f.words.text("show." + v); !t.Empty() {
				out[i] = t.In(lang)
			}
		}
	}
	return out
}
