package forms

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

//go:embed content/*.yaml
var content embed.FS

// Names of the forms.
const (
	Questionnaire = "questionnaire" // access to the sandbox
	Production    = "production"    // access to members' data
	PHR           = "phr"           // the public registration of an app, without an account
	App           = "app"           // what members read about an app
	Support       = "support"       // a request to the technical desk
	Complaint     = "complaint"     // a member about an app
	Contact       = "contact"       // anything else
	Review        = "review"        // the reviewer's checklist
)

var names = []string{Questionnaire, Production, PHR, App, Support, Complaint, Contact, Review}

// largest is the most that a file of an agency may have, in bytes.
const largest = 1 << 20

// Set is all forms, with the criteria to which their questions belong. It is safe for concurrent use.
type Set struct {
	forms    map[string]*Form
	criteria []*Criterion
	words    *words
}

// Form is the form of a name, nil if there is none.
func (s *Set) Form(name string) *Form { return s.forms[name] }

// Criterion is what an app is held to. Those of the group Gate are the objective criteria that are applied to all apps
// alike; a refusal names one of them. Those of the group Disclosure are what members see as attested or not.
type Criterion struct {
	Code   string `yaml:"code"`
	Group  Group  `yaml:"group"`
	Text   Text   `yaml:"text"`   // for developers and reviewers
	Member Text   `yaml:"member"` // for members, of a Disclosure

	at places
}

// Criteria are all criteria in their order.
func (s *Set) Criteria() []*Criterion { return slices.Clone(s.criteria) }

// Criterion is the criterion of a code, nil if there is none.
func (s *Set) Criterion(code string) *Criterion {
	for _, c := range s.criteria {
		if c.Code == code {
			return c
		}
	}
	return nil
}

// Load reads the forms: the built-in ones and, if dir is not "", those of an agency's folder. There, NAME.yaml takes the
// place of a built-in form, criteria.yaml that of the criteria, words.yaml words problems otherwise, and NAME.add.yaml
// adds sections, questions and checks. A file of another name is an error, and so is a folder that does not exist: a
// mistyped name must not be passed over in silence. Errors name file, line and column; all faults of all files are
// reported together.
func Load(dir string) (*Set, error) {
	if dir == "" {
		return builtInSet()
	}
	return load(dir)
}

// builtInSet is read once: it never changes.
var builtInSet = sync.OnceValues(func() (*Set, error) { return load("") })

func load(dir string) (*Set, error) {
	var own fs.FS
	if dir != "" {
		own = os.DirFS(dir)
		list, err := fs.ReadDir(own, ".")
		if err != nil {
			return nil, fmt.Errorf("read the folder of forms: %w", err)
		}
		var wrong []error
		for _, e := range list {
			if name := e.Name(); !strings.HasPrefix(name, ".") && !known(name) {
				wrong = append(wrong, fmt.Errorf("%s: no form has this name; there are %s, criteria and words, each with .yaml, and forms with .add.yaml",
					filepath.Join(dir, name), strings.Join(names, ", ")))
			}
		}
		if len(wrong) > 0 {
			return nil, errors.Join(wrong...)
		}
	}
	l := &loader{own: own, dir: dir}
	s := &Set{forms: map[string]*Form{}, words: new(words)}
	l.words(s)
	var criteria struct {
		Criteria []*Criterion `yaml:"criteria"`
	}
	if body := l.replaceable("criteria.yaml", &criteria); body != nil {
		for i, c := range criteria.Criteria {
			if c != nil {
				c.at = l.places(body, "criteria", i)
			}
		}
	}
	s.criteria = criteria.Criteria
	for _, name := range names {
		if f := l.form(name); f != nil {
			f.words = s.words
			s.forms[name] = f
		}
	}
	if len(l.faults) > 0 {
		return nil, errors.Join(l.faults...) // what could not be read would only cause more
	}
	v := &validator{set: s}
	v.criteria()
	for _, name := range names {
		v.form(name, s.forms[name])
	}
	if len(v.faults) > 0 {
		return nil, errors.Join(v.faults...)
	}
	for _, f := range s.forms {
		if err := f.index(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// known reports whether a file of an agency's folder is read.
func known(file string) bool {
	if file == "criteria.yaml" || file == "words.yaml" {
		return true
	}
	base, ok := strings.CutSuffix(file, ".yaml")
	return ok && slices.Contains(names, strings.TrimSuffix(base, ".add"))
}

// loader reads files and collects what is wrong with them.
type loader struct {
	own    fs.FS // nil without a folder
	dir    string
	faults []error
}

// places are where the keys of a mapping stand: "file:line:column", by key.
type places map[string]string

// of is where a key stands, or where the mapping begins.
func (p places) of(key string) string {
	if s, ok := p[key]; ok {
		return s
	}
	return p[""]
}

// replaceable reads a file of the agency's folder or, if there is none, the built-in one.
func (l *loader) replaceable(name string, into any) ast.Node {
	if l.own != nil {
		if body, found := l.read(l.own, name, filepath.Join(l.dir, name), into); found {
			return body
		}
	}
	body, found := l.read(content, "content/"+name, name, into)
	if !found {
		l.faults = append(l.faults, fmt.Errorf("%s: there is no such file", name))
	}
	return body
}

// read decodes one file strictly. It returns nil for the tree if the file has a fault, and false if there is no file.
func (l *loader) read(from fs.FS, path, shown string, into any) (ast.Node, bool) {
	text, err := fs.ReadFile(from, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	fail := func(err error) (ast.Node, bool) {
		l.faults = append(l.faults, fmt.Errorf("%s: %w", shown, err))
		return nil, true
	}
	if err != nil {
		return fail(err)
	}
	if len(text) > largest {
		return fail(fmt.Errorf("a file of forms has at most %d bytes", largest))
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return l.fault(shown, err)
	}
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		return fail(errors.New("a file of forms is one document that is not empty"))
	}
	if err := yaml.NodeToValue(tree.Docs[0].Body, into, yaml.Strict()); err != nil {
		return l.fault(shown, err)
	}
	return located{tree.Docs[0].Body, shown}, true
}

// fault keeps an error of the parser with its place.
func (l *loader) fault(shown string, err error) (ast.Node, bool) {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil && e.GetToken().Position != nil {
		p := e.GetToken().Position
		err = fmt.Errorf("%s:%d:%d: %s", shown, p.Line, p.Column, e.GetMessage())
	} else {
		err = fmt.Errorf("%s: %w", shown, err)
	}
	l.faults = append(l.faults, err)
	return nil, true
}

// located is a tree that knows its file.
type located struct {
	ast.Node
	file string
}

// places finds the mapping at a path of keys and indexes, and says where its keys stand.
func (l *loader) places(root ast.Node, path ...any) places {
	at, ok := root.(located)
	if !ok {
		return nil
	}
	n := at.Node
	for _, step := range path {
		n = child(n, step)
	}
	p := places{}
	for _, v := range mapping(n) {
		if pos := v.Key.GetToken().Position; pos != nil {
			where := fmt.Sprintf("%s:%d:%d", at.file, pos.Line, pos.Column)
			p[v.Key.GetToken().Value] = where
			if _, ok := p[""]; !ok {
				p[""] = where
			}
		}
	}
	if _, ok := p[""]; !ok {
		p[""] = at.file
	}
	return p
}

func child(n ast.Node, step any) ast.Node {
	switch step := step.(type) {
	case string:
		for _, v := range mapping(n) {
			if v.Key.GetToken().Value == step {
				return v.Value
			}
		}
	case int:
		if s, ok := bare(n).(*ast.SequenceNode); ok && step < len(s.Values) {
			return s.Values[step]
		}
	}
	return nil
}

func mapping(n ast.Node) []*ast.MappingValueNode {
	switch n := bare(n).(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// bare is a node without the anchor before it.
func bare(n ast.Node) ast.Node {
	if a, ok := n.(*ast.AnchorNode); ok {
		return a.Value
	}
	return n
}

// form reads a form, with what an agency adds to it; nil if it has a fault.
func (l *loader) form(name string) *Form {
	f := new(Form)
	body := l.replaceable(name+".yaml", f)
	if body == nil {
		return nil
	}
	l.mark(f, body)
	if l.own != nil {
		more := new(Form)
		body, found := l.read(l.own, name+".add.yaml", filepath.Join(l.dir, name+".add.yaml"), more)
		if found && body != nil {
			l.mark(more, body)
			add(f, more)
		}
	}
	expand(f)
	return f
}

// mark keeps where the parts of a form stand.
func (l *loader) mark(f *Form, body ast.Node) {
	for i, s := range f.Sections {
		if s == nil {
			l.faults = append(l.faults, fmt.Errorf("%s: a section is empty", l.places(body).of("sections")))
			continue
		}
		s.at = l.places(body, "sections", i)
		for k, q := range s.Questions {
			if q == nil {
				l.faults = append(l.faults, fmt.Errorf("%s: a question is empty", s.at.of("questions")))
				continue
			}
			q.at = l.places(body, "sections", i, "questions", k)
		}
	}
	for i, r := range f.Checks {
		if r == nil {
			l.faults = append(l.faults, fmt.Errorf("%s: a check is empty", l.places(body).of("checks")))
			continue
		}
		r.at = l.places(body, "checks", i)
	}
}

// add puts an agency's sections, questions and checks behind those of the form.
func add(f, more *Form) {
	for _, s := range more.Sections {
		if s == nil {
			continue
		}
		if i := slices.IndexFunc(f.Sections, func(old *Section) bool { return old != nil && old.ID == s.ID }); i >= 0 {
			f.Sections[i].Questions = append(f.Sections[i].Questions, s.Questions...)
		} else {
			f.Sections = append(f.Sections, s)
		}
	}
	f.Checks = append(f.Checks, more.Checks...)
}

// expand makes three questions of each item of a checklist: result, note and evidence.
func expand(f *Form) {
	if f.Item == nil {
		return
	}
	for _, s := range f.Sections {
		if s == nil {
			continue
		}
		var list []*Question
		for _, q := range s.Questions {
			if q == nil || q.Kind != item {
				list = append(list, q)
				continue
			}
			q.Kind, q.Options, q.Item = Choice, slices.Clone(f.Item.Results), q.ID
			if q.Criterion != "" {
				q.Attests = Values{"met"}
			}
			note := &Question{ID: q.ID + "_note", Kind: Paragraph, Label: f.Item.Note, Required: true, When: maps.Clone(q.When), Item: q.ID, at: q.at}
			evidence := &Question{ID: q.ID + "_evidence", Kind: Paragraph, Label: f.Item.Evidence, Required: q.Required, When: maps.Clone(q.When), Item: q.ID, at: q.at}
			for part, results := range map[*Question]Values{note: {"not_met", "not_applicable"}, evidence: {"met", "not_met"}} {
				if part.When == nil {
					part.When = When{}
				}
				part.When[q.ID] = results
			}
			list = append(list, q, note, evidence)
		}
		s.Questions = list
	}
}
