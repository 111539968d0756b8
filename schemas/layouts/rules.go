package layouts

import (
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"cpcds2fhir/schemas/cpcds"
)

// ClaimRules are a layout's rules about whole claims. The engine applies them. If a field is the
// name of a repair, the rule holds only in lenient mode, and "" means that the layout does not have
// it.
type ClaimRules struct {
	// ReusedIDs says that an adjustment has the id of the claim it adjusts; otherwise each version
	// of a claim has its own id.
	ReusedIDs bool

	// ReferToIDs says that the payer's own identifier, like an NPI, is enough to refer to a
	// provider that is in no table.
	ReferToIDs bool

	// BySource says that the order of the source's rows matters: lines without numbers, diagnoses,
	// procedures and care team members keep it. Otherwise they are ordered by their content.
	BySource bool

	// OlderLines says what happens to lines that only an older record of a claim has.
	OlderLines OlderLines

	// LapsedCoverage says that a claim is rejected if its coverage is not in effect on the day of
	// admission or first service; otherwise that is a warning.
	LapsedCoverage bool

	SkipPayers *SkipPayers // in both modes; nil: no payer is skipped
	Reclassify []Reclassify

	FirstDiagnosisPrincipal string // the first diagnosis is principal, the others are not
	DropUnmappedDiagnoses   string // diagnoses whose code has no ICD form are left out
	DropConflictingPOA      string // present on admission is left out if a code has two answers
	MalformedNPI            string // malformed NPIs are left out
	TextServices            string // institutional services without a usable code become text
}

// OlderLines is what happens to a claim if an older record in the extract has lines that the newest
// one lacks.
type OlderLines uint8

const (
	// The claim is rejected if only claim_last_updated_date says which record is newer, because it
	// may be a date of the row. A claim_source_version belongs to the claim, so with it the lines
	// are left out, with a warning.
	OlderLinesByVersion OlderLines = iota
	OlderLinesRejected             // the claim is rejected
	OlderLinesDropped              // the lines are left out, with a warning: the newest record is the whole claim
	OlderLinesKept                 // they are lines of the claim: rows have their own dates, not the claim's
)

// SkipPayers names payers whose claims and coverages are skipped and counted.
type SkipPayers struct {
	Rule   string // the id under which the rows are counted
	Payers []string
}

// Reclassify changes header elements of the claims that meet all conditions.
type Reclassify struct {
	Repair string
	When   []Condition
	Set    []Assignment
}

// Condition holds if the element has one of the values.
type Condition struct {
	Element cpcds.Element
	Values  []string
}

// Assignment gives an element a value.
type Assignment struct {
	Element cpcds.Element
	Value   string
}

// repairs returns the names of the repairs; one that is off is "".
func (r *ClaimRules) repairs() []string {
	names := []string{r.FirstDiagnosisPrincipal, r.DropUnmappedDiagnoses, r.DropConflictingPOA, r.MalformedNPI, r.TextServices}
	for _, c := range r.Reclassify {
		names = append(names, c.Repair)
	}
	return names
}

var ruleName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// ruleID returns the name of a repair or rule.
func (d *decoder) ruleID(n ast.Node, what string) string {
	s := d.text(n, what)
	if s != "" && !ruleName.MatchString(s) {
		d.at(n, "", "%s must be lower-case words joined by hyphens", what)
	}
	return s
}

// claimRules reads the claims block.
func (d *decoder) claimRules(n ast.Node, r *ClaimRules) {
	named := func(to *string) func(entry) {
		return func(e entry) {
			d.fields(e.val, e.key, map[string]func(entry){
				"repair": func(x entry) { *to = d.ruleID(x.val, "repair") },
			})
			if *to == "" {
				d.at(e.node, "", "%s needs the name of its repair", e.key)
			}
		}
	}
	d.fields(n, "claims", map[string]func(entry){
		"ids": func(e entry) {
			r.ReusedIDs = d.choice(e.val, "ids", "per_version", "reused") == 1
		},
		"provider_ids": func(e entry) {
			r.ReferToIDs = d.choice(e.val, "provider_ids", "listed", "mentioned") == 1
		},
		"order": func(e entry) {
			r.BySource = d.choice(e.val, "order", "content", "source") == 1
		},
		"older_lines": func(e entry) {
			r.OlderLines = OlderLines(d.choice(e.val, "older_lines", "by_version", "reject", "drop", "keep"))
		},
		"lapsed_coverage": func(e entry) {
			r.LapsedCoverage = d.choice(e.val, "lapsed_coverage", "warn", "reject") == 1
		},
		"skip_payers":               func(e entry) { r.SkipPayers = d.skipPayers(e) },
		"reclassify":                func(e entry) { r.Reclassify = d.reclassify(e.val) },
		"first_diagnosis_principal": named(&r.FirstDiagnosisPrincipal),
		"drop_unmapped_diagnoses":   named(&r.DropUnmappedDiagnoses),
		"drop_conflicting_poa":      named(&r.DropConflictingPOA),
		"malformed_npi":             named(&r.MalformedNPI),
		"text_services":             named(&r.TextServices),
	})
}

// choice returns the index of a value among the words, 0 if it is not one of them.
func (d *decoder) choice(n ast.Node, what string, words ...string) int {
	i := slices.Index(words, d.text(n, what))
	if i < 0 {
		last := len(words) - 1
		d.at(n, "", "%s must be %s or %s", what, strings.Join(words[:last], ", "), words[last])
	}
	return max(i, 0)
}

func (d *decoder) skipPayers(e entry) *SkipPayers {
	s := &SkipPayers{}
	d.fields(e.val, "skip_payers", map[string]func(entry){
		"rule":   func(x entry) { s.Rule = d.ruleID(x.val, "rule") },
		"payers": func(x entry) { s.Payers = d.texts(x.val, "payers") },
	})
	if s.Rule == "" || len(s.Payers) == 0 {
		d.at(e.node, "", "skip_payers needs rule and payers")
	}
	return s
}

func (d *decoder) reclassify(n ast.Node) []Reclassify {
	var out []Reclassify
	for _, item := range d.items(n) {
		var r Reclassify
		d.fields(item, "reclassify", map[string]func(entry){
			"repair": func(e entry) { r.Repair = d.ruleID(e.val, "repair") },
			"when": func(e entry) {
				for _, x := range d.entries(e.val, "when") {
					if el, ok := d.headerElement(x); ok {
						r.When = append(r.When, Condition{el, d.texts(x.val, "when of "+x.key)})
					}
				}
			},
			"set": func(e entry) {
				for _, x := range d.entries(e.val, "set") {
					if el, ok := d.headerElement(x); ok {
						r.Set = append(r.Set, Assignment{el, d.canonical(el, x.val)})
					}
				}
			},
		})
		if r.Repair == "" || len(r.When) == 0 || len(r.Set) == 0 {
			d.at(item, "", "reclassify needs repair, when and set")
		}
		out = append(out, r)
	}
	return out
}

// headerElement returns the element that a key names, which must be a header element.
func (d *decoder) headerElement(e entry) (cpcds.Element, bool) {
	el, ok := d.element(cpcds.Claims, e)
	if ok && el.Info().Level != cpcds.HeaderLevel {
		d.at(e.node, "", "%s is not a header element: it may occur more than once in a claim", e.key)
		return el, false
	}
	return el, ok
}

// element returns the element of a table that a key names.
func (d *decoder) element(t cpcds.Table, e entry) (cpcds.Element, bool) {
	el, ok := cpcds.Lookup(t, e.key)
	if !ok {
		names := make([]string, 0, 128)
		for _, c := range cpcds.Columns(t) {
			names = append(names, c.Column())
		}
		d.unknown(e, "element", "table "+t.String(), names)
	}
	return el, ok
}

// elements returns the elements of a table that a list names.
func (d *decoder) elements(t cpcds.Table, n ast.Node, what string) []cpcds.Element {
	var out []cpcds.Element
	for _, item := range d.items(n) {
		if el, ok := d.element(t, entry{key: d.text(item, what), node: item}); ok {
			out = append(out, el)
		}
	}
	return out
}

// canonical returns a text of the layout as the canonical text of an element.
func (d *decoder) canonical(el cpcds.Element, n ast.Node) string {
	s := d.text(n, el.Column())
	if s == "" {
		return ""
	}
	f := form{kind: el.Info().Kind, round: -1}
	out, rule := f.read(s)
	if rule != "" {
		d.at(n, "", "%s must be a valid %s", el.Column(), el.Info().Kind)
	}
	d.closed(el, n, s)
	return out
}
