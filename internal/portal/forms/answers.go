package forms

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Answers are answers by the ids of questions; a question without an answer is not in it. Its JSON is the same for the
// same answers.
type Answers map[string][]string

// refused takes the place of a character that no answer may have. It stays visible to whoever wrote the answer, and
// Check complains of it, so that nothing is stored and nothing is typed twice.
const refused = unicode.ReplacementChar

// Parse takes the answers to the form's questions out of what a page has sent. Values are trimmed, in Unicode's form
// NFC, lines end with a newline, and options stand in the form's order. Keys that are no question are ignored, and so are
// the ids of documents, which whoever has stored the files puts in. A control character, NUL among them, becomes U+FFFD,
// which Check refuses.
func (f *Form) Parse(sent url.Values) Answers {
	a := Answers{}
	for _, q := range f.questions {
		if q.Kind == Document {
			continue
		}
		var values []string
		for _, v := range sent[q.ID] {
			if v = q.normal(v); v != "" && !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		switch {
		case len(values) == 0:
			continue
		case q.Kind == Choices:
			place := func(v string) int {
				if i := slices.IndexFunc(q.Options, func(o Option) bool { return o.Value == v }); i >= 0 {
					return i
				}
				return len(q.Options)
			}
			slices.SortStableFunc(values, func(x, y string) int { return place(x) - place(y) })
			// One more than there are options is enough to be refused.
			a[q.ID] = values[:min(len(values), len(q.Options)+1)]
		default:
			a[q.ID] = values[:1]
		}
	}
	return a
}

// Merge puts what one page has sent into the answers that are stored: those of the named sections, or of all if none is
// named, are replaced; others and all documents stay.
func (f *Form) Merge(stored, sent Answers, sections ...string) Answers {
	a := Answers{}
	for _, q := range f.questions {
		from := sent
		if q.Kind == Document || len(sections) > 0 && !slices.Contains(sections, f.section[q.ID].ID) {
			from = stored
		}
		if v := from[q.ID]; len(v) > 0 {
			a[q.ID] = slices.Clone(v)
		}
	}
	return a
}

// breaks are the ways in which systems and word processors end a line.
var breaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\v", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

var grouped = regexp.MustCompile(`^-?\d{1,3}([.,' ]\d{3})+$`)

// normal is a value as it is kept.
func (q *Question) normal(v string) string {
	v = strings.ToValidUTF8(v, string(refused))
	v = breaks.Replace(v)
	lines := q.Kind == Paragraph
	v = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			if lines {
				return r
			}
			return ' '
		case r == 0xFEFF || r == 0x200B || r == 0x00AD || turns(r): // they come along when text is pasted, and show nothing
			return -1
		case forbidden(r):
			return refused
		}
		return r
	}, v)
	v = norm.NFC.String(v)
	if !lines {
		return q.line(strings.Join(strings.Fields(v), " "))
	}
	all := strings.Split(v, "\n")
	for i := range all {
		all[i] = strings.TrimRightFunc(all[i], unicode.IsSpace)
	}
	return strings.Trim(strings.Join(all, "\n"), "\n")
}

// line is a value of one line as its kind writes it.
func (q *Question) line(v string) string {
	switch q.Kind {
	case Number:
		if grouped.MatchString(v) {
			return strings.NewReplacer(".", "", ",", "", "'", "", " ", "").Replace(v)
		}
	case URL:
		if v != "" && !strings.ContainsAny(v, ": ") && strings.Contains(v, ".") {
			return "https://" + v
		}
	case Email:
		for strings.HasPrefix(v, "mailto:") {
			v = v[len("mailto:"):]
		}
	}
	return v
}

// forbidden reports whether no answer may have a character: controls, and what changes the direction of the text around
// it.
func forbidden(r rune) bool {
	return unicode.IsControl(r) || turns(r) || r == 0x2028 || r == 0x2029 || r >= 0xE0000 && r <= 0xE007F || r >= 0xFFF9 && r <= 0xFFFB || r == refused
}

// turns reports whether a character changes the direction of the text around it.
func turns(r rune) bool {
	return r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r == 0x200E || r == 0x200F || r == 0x061C
}

// Visible are the questions that are asked, given the answers so far: a condition counts only answers to questions that
// are asked themselves.
func (f *Form) Visible(a Answers) []*Question {
	var list []*Question
	counted := Answers{}
	for _, q := range f.questions {
		if f.section[q.ID].When.holds(counted) && q.When.holds(counted) {
			list = append(list, q)
			if v := a[q.ID]; len(v) > 0 {
				counted[q.ID] = v
			}
		}
	}
	return list
}

// Asked are the answers to the questions that are asked: what a snapshot keeps.
func (f *Form) Asked(a Answers) Answers {
	out := Answers{}
	for _, q := range f.Visible(a) {
		if v := a[q.ID]; len(v) > 0 {
			out[q.ID] = slices.Clone(v)
		}
	}
	return out
}

// Change is a question whose answer differs between two revisions.
type Change struct {
	Question string
	Was, Is  []string // nil: not answered, or not asked
}

// Diff says what has changed from one revision of answers to the next, in the order of the form; answers to questions
// that the form no longer has come last. Options count in any order.
func Diff(f *Form, was, is Answers) []Change {
	var out []Change
	compare := func(id string, x, y []string) {
		same := slices.Equal(x, y)
		if q := f.byID[id]; !same && q != nil && (q.Kind == Choices || q.Kind == Document) {
			same = slices.Equal(slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y)))
		}
		if !same {
			out = append(out, Change{Question: id, Was: slices.Clone(x), Is: slices.Clone(y)})
		}
	}
	a, b := f.Asked(was), f.Asked(is)
	for _, q := range f.questions {
		compare(q.ID, a[q.ID], b[q.ID])
	}
	gone := map[string]bool{}
	for _, list := range []Answers{was, is} {
		for id := range list {
			gone[id] = f.byID[id] == nil
		}
	}
	for _, id := range slices.Sorted(maps.Keys(gone)) {
		if gone[id] {
			compare(id, was[id], is[id])
		}
	}
	return out
}

// Unmet are the questions with a criterion whose answers do not fulfil it, in the order of the form. Questions that are
// not asked, not answered, or that no choice answers are not among them, nor are items that do not apply. Those of the
// group Gate may be grounds of a refusal.
func (f *Form) Unmet(a Answers) []*Question {
	var out []*Question
	for _, q := range f.Visible(a) {
		if v := a[q.ID]; q.decides() && len(v) > 0 && v[0] != "not_applicable" && !q.fulfils(v) {
			out = append(out, q)
		}
	}
	return out
}

// Disclosures say for each criterion of the group Disclosure whether its answers attest it: "attested" if all do, and
// "not_attested" if one does not, or is not answered. A criterion whose questions do not apply, or are not asked, is left
// out.
func (f *Form) Disclosures(a Answers) map[string]string {
	out := map[string]string{}
	for _, q := range f.Visible(a) {
		if q.Group != Disclosure || !q.decides() {
			continue
		}
		switch v := a[q.ID]; {
		case len(v) > 0 && v[0] == "not_applicable":
		case !q.fulfils(v):
			out[q.Criterion] = "not_attested"
		case out[q.Criterion] == "":
			out[q.Criterion] = "attested"
		}
	}
	return out
}

// decides reports whether the answers to a question say by themselves that a criterion is met.
func (q *Question) decides() bool {
	return q.Criterion != "" && (q.Kind == YesNo || q.Kind == Choice || q.Kind == Attest)
}

func (q *Question) fulfils(values []string) bool {
	if len(values) == 0 {
		return false
	}
	if len(q.Attests) == 0 {
		return values[0] == "yes"
	}
	return slices.Contains(q.Attests, values[0])
}
