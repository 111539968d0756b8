package forms

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// validator says what is wrong with forms that could be read, each fault with its place.
type validator struct {
	set    *Set
	faults []error
}

func (v *validator) at(where, format string, args ...any) {
	v.faults = append(v.faults, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

var (
	ids    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,49}$`)
	codes  = regexp.MustCompile(`^[A-Z]{1,3}-[0-9]{2}$`)
	kinds  = []Kind{Plain, Paragraph, Choice, Choices, YesNo, URL, Email, Phone, Date, Number, Document, Attest}
	groups = []Group{"", Gate, Disclosure}
)

func (v *validator) text(where, what string, t Text, needed bool) {
	if t.Empty() && !needed {
		return
	}
	if strings.TrimSpace(t.EN) == "" || strings.TrimSpace(t.ES) == "" {
		v.at(where, "%s needs en and es", what)
	}
}

func (v *validator) criteria() {
	seen := map[string]bool{}
	for _, c := range v.set.criteria {
		if c == nil {
			v.at("criteria.yaml", "a criterion is empty")
			continue
		}
		switch {
		case !codes.MatchString(c.Code):
			v.at(c.at.of("code"), "a code is letters, a hyphen and two digits, such as S-01")
		case seen[c.Code]:
			v.at(c.at.of("code"), "the code %s occurs twice", c.Code)
		case c.Group != Gate && c.Group != Disclosure:
			v.at(c.at.of("group"), "the group of %s is gate or disclosure", c.Code)
		case c.Group == Gate && !c.Member.Empty():
			v.at(c.at.of("member"), "members see disclosures only, and %s is a gate", c.Code)
		}
		v.text(c.at.of("text"), "text", c.Text, true)
		v.text(c.at.of("member"), "member", c.Member, c.Group == Disclosure)
		seen[c.Code] = true
	}
	if len(seen) == 0 {
		v.at("criteria.yaml", "there are no criteria")
	}
}

// relied are the questions that the program reads by their ids, whatever else an agency asks.
var relied = map[string]map[string]Kind{
	App: {
		"name": Plain, "publisher": Plain, "about_en": Paragraph, "about_es": Paragraph, "category": Choice, "platforms": Choices,
		"audience": Choice, "website": URL, "policy_url": URL, "terms_url": URL, "support_email": Email,
	},
	Production: {"policy_url": URL, "terms_url": URL, "policy_document": Document, "terms_document": Document, "attest_changes": Attest},
	PHR: {
		"name": Plain, "publisher": Plain, "contact_name": Plain, "contact_email": Email, "website": URL, "policy_url": URL, "redirect_uri": URL, "about_en": Paragraph,
	},
	Support: {"subject": Plain, "message": Paragraph}, Contact: {"subject": Plain, "message": Paragraph},
	Complaint: {"app": Plain, "message": Paragraph},
}

func (v *validator) form(name string, f *Form) {
	file := name + ".yaml"
	if f.Name != name {
		v.at(file, "form must be %s, as the file is named", name)
	}
	if f.Version < 1 {
		v.at(file, "version must be 1 or more, and grow with every change")
	}
	v.text(file, "title", f.Title, true)
	v.text(file, "intro", f.Intro, false)
	if f.Item != nil {
		v.options(file, f.Item.Results)
		v.text(file, "note", f.Item.Note, true)
		v.text(file, "evidence", f.Item.Evidence, true)
	}
	sections, earlier := map[string]bool{}, map[string]*Question{}
	for _, s := range f.Sections {
		if !ids.MatchString(s.ID) || sections[s.ID] {
			v.at(s.at.of("id"), "the id of a section is lower case, digits and _, and occurs once")
		}
		sections[s.ID] = true
		v.text(s.at.of("title"), "title", s.Title, true)
		v.text(s.at.of("intro"), "intro", s.Intro, false)
		v.when(s.at.of("when"), s.When, earlier)
		if len(s.Questions) == 0 {
			v.at(s.at.of("id"), "section %s asks nothing", s.ID)
		}
		for _, q := range s.Questions {
			v.question(q, earlier)
			earlier[q.ID] = q
		}
	}
	for _, id := range slices.Sorted(maps.Keys(relied[name])) {
		if q, kind := earlier[id], relied[name][id]; q == nil {
			v.at(file, "the program needs the question %s", id)
		} else if q.Kind != kind {
			v.at(q.at.of("kind"), "the program needs %s to be of kind %s", id, kind)
		}
	}
	v.checks(f, earlier)
	if len(v.faults) == 0 {
		v.reach(f)
	}
}

func (v *validator) question(q *Question, earlier map[string]*Question) {
	if !ids.MatchString(q.ID) {
		v.at(q.at.of("id"), "an id begins with a letter and has at most 50 lower case letters, digits and _")
	} else if earlier[q.ID] != nil {
		v.at(q.at.of("id"), "the question %s occurs twice", q.ID)
	}
	if !slices.Contains(kinds, q.Kind) {
		v.at(q.at.of("kind"), "there is no kind %q; there are %v", q.Kind, kinds)
	}
	v.text(q.at.of("label"), "label", q.Label, true)
	v.text(q.at.of("hint"), "hint", q.Hint, false)
	v.text(q.at.of("help"), "help", q.Help, false)
	v.when(q.at.of("when"), q.When, earlier)
	if offers := q.Kind == Choice || q.Kind == Choices; offers {
		v.options(q.at.of("options"), q.Options)
	} else if len(q.Options) > 0 {
		v.at(q.at.of("options"), "a question of kind %s has no options", q.Kind)
	}
	v.limits(q)

	c := v.set.Criterion(q.Criterion)
	switch {
	case !slices.Contains(groups, q.Group):
		v.at(q.at.of("group"), "there is no group %q; there are gate and disclosure", q.Group)
	case q.Criterion != "" && c == nil:
		v.at(q.at.of("criterion"), "there is no criterion %s", q.Criterion)
	case q.Group == "" && c != nil:
		v.at(q.at.of("criterion"), "a question with a criterion has the group %s", c.Group)
	case q.Group == Gate && c == nil:
		v.at(q.at.of("group"), "a gate needs a criterion: without one it could not be a ground of refusal")
	case c != nil && c.Group != q.Group:
		v.at(q.at.of("group"), "%s is a criterion of the group %s", c.Code, c.Group)
	}
	if len(q.Attests) > 0 {
		if !q.decides() || q.Kind == Attest {
			v.at(q.at.of("attests"), "only a yes or no and a choice with a criterion have answers that attest")
		}
		for _, value := range q.Attests {
			v.value(q.at.of("attests"), q, value)
		}
	} else if q.decides() && q.Kind == Choice {
		v.value(q.at.of("criterion"), q, "yes")
	}
}

func (v *validator) limits(q *Question) {
	l, where := q.Limits, q.at.of("limits")
	wrong := func(what string) { v.at(where, "a question of kind %s has no limit %s", q.Kind, what) }
	if l.Length < 0 || l.Count < 0 || l.Bytes < 0 || l.From != nil && l.To != nil && *l.From > *l.To {
		v.at(where, "limits are not negative, and from is not more than to")
	}
	if l.Length > 0 && lengths[q.Kind] == 0 {
		wrong("length")
	}
	if l.Count > 0 && q.Kind != Choices && q.Kind != Document {
		wrong("count")
	}
	if (l.From != nil || l.To != nil) && q.Kind != Number {
		wrong("from or to")
	}
	if l.Past && q.Kind != Date {
		wrong("past")
	}
	if q.Kind != Document {
		if l.Bytes > 0 || len(l.Types) > 0 {
			wrong("bytes or types")
		}
		return
	}
	if l.Bytes == 0 || len(l.Types) == 0 || l.Count == 0 {
		v.at(q.at.of("id"), "a document needs the limits bytes, types and count")
	}
	for _, t := range l.Types {
		// What a browser would run, or what hides macros, is no document.
		if !slices.Contains([]string{"application/pdf", "image/png", "image/jpeg", "text/plain"}, t) {
			v.at(where, "documents are application/pdf, image/png, image/jpeg or text/plain, and not %s", t)
		}
	}
}

func (v *validator) options(where string, list []Option) {
	if len(list) < 2 {
		v.at(where, "a choice needs two options or more")
	}
	seen := map[string]bool{}
	for _, o := range list {
		if !ids.MatchString(o.Value) || seen[o.Value] {
			v.at(where, "the value of an option is lower case, digits and _, begins with a letter, and occurs once")
		}
		seen[o.Value] = true
		v.text(where, "option "+o.Value, o.Text, true)
	}
}

// when checks that a condition is about earlier questions and answers that there are.
func (v *validator) when(where string, w When, earlier map[string]*Question) {
	for _, id := range slices.Sorted(maps.Keys(w)) {
		q := earlier[id]
		if q == nil {
			v.at(where, "there is no question %s before this one", id)
			continue
		}
		if len(w[id]) == 0 {
			v.at(where, "%s has no values", id)
		}
		for _, value := range w[id] {
			v.value(where, q, value)
		}
	}
}

// value checks that a question can be answered with a value.
func (v *validator) value(where string, q *Question, value string) {
	switch good := false; q.Kind {
	case YesNo:
		good = value == "yes" || value == "no"
		fallthrough
	case Attest:
		good = good || value == "yes"
		fallthrough
	case Choice, Choices:
		if good = good || slices.ContainsFunc(q.Options, func(o Option) bool { return o.Value == value }); !good {
			v.at(where, "%s is not an answer to %s", value, q.ID)
		}
	default:
		v.at(where, "%s is answered freely, so nothing can depend on what it says", q.ID)
	}
}

func (v *validator) checks(f *Form, all map[string]*Question) {
	seen := map[string]bool{}
	for _, r := range f.Checks {
		if !ids.MatchString(r.ID) || seen[r.ID] {
			v.at(r.at.of("id"), "the id of a check is lower case, digits and _, and occurs once")
		}
		seen[r.ID] = true
		v.text(r.at.of("text"), "text", r.Text, true)
		v.when(r.at.of("if"), r.If, all)
		if len(r.If)+len(r.Same)+len(r.Hosts)+len(r.More) == 0 {
			v.at(r.at.of("id"), "check %s has no condition", r.ID)
		}
		compared := map[string][]string{"same": r.Same, "hosts": r.Hosts, "more": r.More}
		for _, key := range slices.Sorted(maps.Keys(compared)) {
			list := compared[key]
			if len(list) == 1 || key == "more" && len(list) > 2 {
				v.at(r.at.of(key), "%s compares two questions", key)
			}
			for _, id := range list {
				q := all[id]
				switch {
				case q == nil:
					v.at(r.at.of(key), "there is no question %s", id)
				case key == "hosts" && q.Kind != URL && q.Kind != Email, key == "more" && q.Kind != Number:
					v.at(r.at.of(key), "%s cannot be compared so", id)
				}
			}
		}
	}
}

// reach finds questions that no answers lead to.
func (v *validator) reach(f *Form) {
	g := *f
	if err := g.index(); err != nil {
		v.at(f.Name+".yaml", "%v", err)
		return
	}
	for _, q := range g.questions {
		if g.lead(q, Answers{}) == nil {
			v.at(q.at.of("when"), "no answers lead to the question %s", q.ID)
		}
	}
}

// lead extends answers by those that make a question visible; nil if none do.
func (f *Form) lead(q *Question, a Answers) Answers {
	type need struct {
		id     string
		values Values
	}
	var needs []need
	for _, w := range []When{f.section[q.ID].When, q.When} {
		for _, id := range slices.Sorted(maps.Keys(w)) {
			needs = append(needs, need{id, w[id]})
		}
	}
	var try func(a Answers, rest []need) Answers
	try = func(a Answers, rest []need) Answers {
		if len(rest) == 0 {
			return a
		}
		n := rest[0]
		asked := f.lead(f.byID[n.id], a)
		if asked == nil {
			return nil
		}
		for _, value := range n.values {
			has := asked[n.id]
			if len(has) > 0 && !slices.Contains(has, value) && f.byID[n.id].Kind != Choices {
				continue
			}
			b := maps.Clone(asked)
			if !slices.Contains(has, value) {
				b[n.id] = append(slices.Clone(has), value)
			}
			if out := try(b, rest[1:]); out != nil {
				return out
			}
		}
		return nil
	}
	return try(a, needs)
}
