package identity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Members finds members. It is safe for concurrent use.
type Members interface {
	// Find returns all members that a search for Patients matches. The query has one parameter: identifier,
	// written SYSTEM|VALUE with backslashes as FHIR has them, or birthdate, a day. It may return more members than
	// match, and a member twice: whoever calls compares. Members that are missing are taken for unknown, so it
	// fails rather than leave some out.
	Find(ctx context.Context, query url.Values) ([]Member, error)
}

// Member is what is compared of a member.
type Member struct {
	Patient     string // id of the Patient
	Identifiers []Identifier
	Names       []Name // also former ones
	Birth       string // YYYY-MM-DD
	Deceased    bool
}

// Identifier is an identifier of a member.
type Identifier struct{ System, Value string }

// Name is a name of a member.
type Name struct {
	Family string
	Given  []string
}

// Rule says how to find the member that a person is, or members whom the person represents. It applies to whoever has
// all the claims that it names, with the values that it requires. All that find has must hold.
//
// Texts of Find have claims in braces: {member_id}, or {address.postal_code} for a claim within a claim.
type Rule struct {
	Name    string         `yaml:"name"`
	Role    string         `yaml:"role"`    // self, which "" is too, or representative
	Require map[string]any `yaml:"require"` // values of claims, such as email_verified: true
	Each    string         `yaml:"each"`    // of representative: a claim that is a list; the rule counts for each entry, {each}
	Find    Find           `yaml:"find"`
}

// Find says what a member must have. "" is not looked at.
type Find struct {
	Identifier     string `yaml:"identifier"` // SYSTEM|VALUE, compared exactly
	Family         string `yaml:"family"`     // compared without regard to case, accents, blanks and punctuation
	Given          string `yaml:"given"`      // the first given name, or all of them; compared so too
	BirthDate      string `yaml:"birthdate"`  // YYYY-MM-DD
	IdentifierEnds Ends   `yaml:"identifier_ends"`
}

// Ends says how an identifier of a member ends, in at least four characters.
type Ends struct {
	System string `yaml:"system"`
	Value  string `yaml:"value"`
}

// Roles of links.
const (
	self           = "self"
	representative = "representative"
)

const (
	entriesMax = 50 // of a claim that Each names
	endsMin    = 4
)

// rule is a Rule that is checked.
type rule struct {
	name, role, each    string
	require             map[string]string
	system              string // of the identifier
	identifier          template
	family, given, born template
	endsSystem          string
	ends                template
}

// CheckRules checks rules, and says which one is wrong and where.
func CheckRules(rules []Rule) error {
	_, err := compile(rules)
	return err
}

func compile(rules []Rule) (list []rule, err error) {
	names := map[string]bool{}
	for i := range rules {
		r := &rules[i]
		title := fmt.Sprintf("rule %q", r.Name)
		if r.Name == "" {
			title = fmt.Sprintf("rule %d", i+1)
		}
		c, err := r.compile()
		if err == nil && names[r.Name] {
			err = errors.New("name: another rule has it")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", title, err)
		}
		names[r.Name] = true
		list = append(list, *c)
	}
	return list, nil
}

func (r *Rule) compile() (*rule, error) {
	c := &rule{name: r.Name, role: r.Role, each: r.Each, endsSystem: r.Find.IdentifierEnds.System, require: map[string]string{}}
	if c.role == "" {
		c.role = self
	}
	switch {
	case r.Name == "" || len(r.Name) > 100 || strings.ContainsFunc(r.Name, unicode.IsControl):
		return nil, errors.New("name: give it a name of one line, for logs")
	case c.role != self && c.role != representative:
		return nil, errors.New("role: use self or representative")
	case c.role == self && r.Each != "":
		return nil, errors.New("each: only representatives have several members")
	}
	for claim, v := range r.Require {
		text := fmt.Sprint(v)
		if _, isList := v.([]any); claim == "" || v == nil || isList || text == "" {
			return nil, errors.New("require: write CLAIM: VALUE with one value")
		}
		c.require[claim] = text
	}
	f := &r.Find
	identifier := f.Identifier
	if identifier != "" {
		var ok bool
		if c.system, identifier, ok = strings.Cut(identifier, "|"); !ok || c.system == "" || strings.Contains(c.system, "{") {
			return nil, errors.New("find.identifier: write it as SYSTEM|{claim}: a number without its system can be another one of somebody else")
		}
	}
	for _, x := range []struct {
		field, text string
		into        *template
	}{
		{"identifier", identifier, &c.identifier}, {"family", f.Family, &c.family}, {"given", f.Given, &c.given},
		{"birthdate", f.BirthDate, &c.born}, {"identifier_ends.value", f.IdentifierEnds.Value, &c.ends},
	} {
		var err error
		if *x.into, err = parseTemplate(x.text, r.Each != ""); err != nil {
			return nil, fmt.Errorf("find.%s: %w", x.field, err)
		}
	}
	switch {
	case (c.ends == nil) != (c.endsSystem == ""):
		return nil, errors.New("find.identifier_ends: it needs both a system and a value")
	case f.Identifier != "" && c.identifier == nil:
		return nil, errors.New("find.identifier: it has no value")
	case c.identifier == nil && (c.family == nil || c.given == nil || c.born == nil || c.ends == nil):
		return nil, errors.New("find: use an identifier, or family, given, birthdate and identifier_ends together: people share names and birth dates")
	case r.Each != "" && !slices.ContainsFunc([]template{c.identifier, c.ends}, template.ofEntry):
		return nil, errors.New("find: use {each} in the identifier")
	}
	return c, nil
}

// template is a text with claims: texts at even places, names of claims at odd ones.
type template []string

func parseTemplate(text string, each bool) (template, error) {
	if text == "" {
		return nil, nil
	}
	t := template{}
	for {
		before, rest, ok := strings.Cut(text, "{")
		if strings.Contains(before, "}") {
			return nil, errors.New("it has } without {")
		}
		t = append(t, before)
		if !ok {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" || strings.Contains(name, "{") || strings.TrimSpace(name) != name {
			return nil, errors.New("write claims in braces: {member_id}")
		}
		t, text = append(t, name), after
	}
	switch {
	case len(t) == 1:
		return nil, errors.New("it has no claim, so it would hold for everybody: write claims in braces")
	case !each && t.ofEntry():
		return nil, errors.New("{each} needs a list: say in each which claim it is")
	}
	return t, nil
}

// ofEntry reports whether a template has the entry of a list.
func (t template) ofEntry() bool {
	for i := 1; i < len(t); i += 2 {
		if t[i] == "each" || strings.HasPrefix(t[i], "each.") {
			return true
		}
	}
	return false
}

// fill puts claims in. It fails if one is missing; values are text, whatever is in them.
func (t template) fill(c claims) (string, bool) {
	var b strings.Builder
	for i, part := range t {
		if i%2 == 1 {
			if part = c.text(part); part == "" {
				return "", false
			}
		}
		b.WriteString(part)
	}
	return b.String(), true
}

// wanted is a rule with the claims of a person.
type wanted struct {
	*rule
	identifier, family, given, born, ends string
}

// of returns what a rule wants of a person's claims; ok is false if the rule does not apply. heard says that all claims
// of the rule were there, if not with the values that it requires: then it has decided.
func (r *rule) of(c claims) (w *wanted, heard, ok bool) {
	w, ok = r.fill(c)
	return w, ok && r.asked(c), ok && r.required(c)
}

// fill puts the claims of a person into what a rule finds by.
func (r *rule) fill(c claims) (*wanted, bool) {
	w := &wanted{rule: r}
	for _, x := range []struct {
		t    template
		into *string
	}{{r.identifier, &w.identifier}, {r.family, &w.family}, {r.given, &w.given}, {r.born, &w.born}, {r.ends, &w.ends}} {
		if x.t == nil {
			continue
		}
		var ok bool
		if *x.into, ok = x.t.fill(c); !ok {
			return nil, false
		}
	}
	if r.family != nil {
		w.family = plain(w.family)
	}
	if r.given != nil {
		w.given = plain(w.given)
	}
	_, err := time.Parse(time.DateOnly, w.born)
	ok := (r.family == nil || w.family != "") && (r.given == nil || w.given != "") && (r.born == nil || err == nil) && (r.ends == nil || len(w.ends) >= endsMin)
	return w, ok
}

// required reports whether all claims that a rule requires have the values that it requires.
func (r *rule) required(c claims) bool {
	for name, v := range r.require {
		if c.text(name) != v {
			return false
		}
	}
	return true
}

// asked reports whether all claims that a rule requires are there, with whatever value.
func (r *rule) asked(c claims) bool {
	for name := range r.require {
		if c.text(name) == "" {
			return false
		}
	}
	return true
}

// query is the search that finds the member, and maybe others.
func (w *wanted) query() url.Values {
	if w.rule.identifier != nil {
		return url.Values{"identifier": {escaped(w.system) + "|" + escaped(w.identifier)}}
	}
	return url.Values{"birthdate": {w.born}}
}

// escaped writes a value of a search parameter (FHIR R4, 3.1.1.4.1.2).
func escaped(v string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`).Replace(v)
}

// matches compares a member with all that is wanted, whatever the search has compared.
func (w *wanted) matches(m *Member) bool {
	r := w.rule
	return (r.identifier == nil || slices.Contains(m.Identifiers, Identifier{w.system, w.identifier})) &&
		(r.born == nil || m.Birth == w.born) &&
		(r.ends == nil || slices.ContainsFunc(m.Identifiers, func(i Identifier) bool { return i.System == r.endsSystem && strings.HasSuffix(i.Value, w.ends) })) &&
		(r.family == nil && r.given == nil || slices.ContainsFunc(m.Names, w.named))
}

// named compares family and given names, which must be of the same name.
func (w *wanted) named(n Name) bool {
	if w.rule.family != nil && plain(n.Family) != w.family {
		return false
	}
	return w.rule.given == nil || len(n.Given) > 0 && (plain(n.Given[0]) == w.given || plain(strings.Join(n.Given, " ")) == w.given)
}

// plain is a name without case, accents, blanks and punctuation, which sources write in different ways.
func plain(name string) string {
	name = cases.Fold().String(norm.NFKD.String(name))
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return r
	}, strokes.Replace(name))
}

// strokes are letters that Unicode does not take apart.
var strokes = strings.NewReplacer("ø", "o", "ł", "l", "đ", "d", "ð", "d", "þ", "th", "æ", "ae", "œ", "oe", "ı", "i", "ħ", "h")
