package carin

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Severity says what breaking a rule means.
type Severity uint8

// An Error makes the resource invalid: the claim is rejected. A Warning is counted.
const (
	Error Severity = iota
	Warning
)

func (s Severity) String() string {
	if s == Error {
		return "error"
	}
	return "warning"
}

// Rule is one requirement on the flat claim or on a row of a small table.
type Rule struct {
	ID       string
	Severity Severity
	Profiles []Profile     // of claims: the profiles it applies to; nil for the small tables
	Table    cpcds.Table   // the table whose rows it checks
	Element  cpcds.Element // the element it is about; NoElement if several
	Text     string        // what it requires, for a data engineer

	claim func(c *cpcds.Claim, r *report)
	row   func(get func(cpcds.Element) string) bool
}

// Verdict is what the rules found in one claim or row. It is reused.
type Verdict struct {
	Errors   []cpcds.Problem
	Warnings []cpcds.Problem
}

// Reset empties the verdict but keeps its memory.
func (v *Verdict) Reset() { v.Errors, v.Warnings = v.Errors[:0], v.Warnings[:0] }

// OK reports whether there is no error.
func (v *Verdict) OK() bool { return len(v.Errors) == 0 }

// report collects the findings of one rule.
type report struct {
	rule    *Rule
	version *Version
	profile Profile
	amounts *AmountTable // of claims
	out     *Verdict
}

// fail records that the rule is broken at record row of its element's level; -1 means the claim as
// a whole.
func (r *report) fail(row int) { r.failAt(r.rule.Element, row) }

func (r *report) failAt(e cpcds.Element, row int) {
	if strings.HasPrefix(r.rule.ID, "required-") || strings.HasPrefix(r.rule.ID, r.rule.Table.String()+"-required-") {
		// A value that could not be read is not missing: its problem is already reported.
		for _, x := range r.out.Errors {
			if x.Element == e && x.Row == row && x.Rule != r.rule.ID {
				return
			}
		}
	}
	p := cpcds.Problem{Rule: r.rule.ID, Element: e, Row: row}
	if r.rule.Severity == Error {
		r.out.Errors = append(r.out.Errors, p)
	} else {
		r.out.Warnings = append(r.out.Warnings, p)
	}
}

// Checker applies the rules of one release. It is safe for concurrent use.
type Checker struct {
	version *Version
	rules   []Rule
	claims  [NumProfiles][]*Rule
	rows    [cpcds.NumTables][]*Rule
}

// NewChecker returns a Checker for a release.
func NewChecker(v *Version) *Checker {
	k := &Checker{version: v, rules: allRules(v)}
	for i := range k.rules {
		r := &k.rules[i]
		if r.row != nil {
			k.rows[r.Table] = append(k.rows[r.Table], r)
		}
		for _, p := range r.Profiles {
			k.claims[p] = append(k.claims[p], r)
		}
	}
	return k
}

// Rules lists all rules of the release.
func (k *Checker) Rules() []Rule { return k.rules }

// Claim checks a claim with resolved Refs against a profile. It fills amounts from the claim.
// Problems found while reading and assembling count as errors.
func (k *Checker) Claim(c *cpcds.Claim, amounts *AmountTable, p Profile, out *Verdict) {
	out.Errors = append(out.Errors, c.Problems...)
	r := report{version: k.version, profile: p, amounts: amounts, out: out}
	for _, rule := range k.claims[p] {
		r.rule = rule
		rule.claim(c, &r)
	}
}

// Row checks a row of a small table. get returns its elements.
func (k *Checker) Row(t cpcds.Table, get func(cpcds.Element) string, out *Verdict) {
	r := report{version: k.version, out: out}
	for _, rule := range k.rows[t] {
		if !rule.row(get) {
			r.rule = rule
			r.fail(-1)
		}
	}
}

var (
	all           = []Profile{Inpatient, Outpatient, Professional, Pharmacy, Oral}
	institutional = []Profile{Inpatient, Outpatient}
	byLine        = []Profile{Professional, Oral}
	allButRx      = []Profile{Inpatient, Outpatient, Professional, Oral}
)

// Constructors for the common kinds of rules.

func required(profiles []Profile, e cpcds.Element, why string) Rule {
	return Rule{ID: "required-" + e.Column(), Profiles: profiles, Table: cpcds.Claims, Element: e,
		Text: e.Column() + " must be filled: " + why,
		claim: func(c *cpcds.Claim, r *report) {
			if c.Header.Get(e) == "" {
				r.fail(-1)
			}
		}}
}

func requiredLine(profiles []Profile, e cpcds.Element, why string) Rule {
	return Rule{ID: "required-" + e.Column(), Profiles: profiles, Table: cpcds.Claims, Element: e,
		Text: e.Column() + " must be filled on every line: " + why,
		claim: func(c *cpcds.Claim, r *report) {
			for i := range c.Lines {
				if c.Lines[i].Get(e) == "" && !Ingredient(r.profile, &c.Lines[i]) {
					r.fail(i)
				}
			}
		}}
}

// Ingredient reports whether a line is an ingredient of a compound: on a pharmacy claim it becomes
// a detail of another line's item, and few elements are required.
func Ingredient(p Profile, l *cpcds.Line) bool {
	return p == Pharmacy && l.Get(cpcds.CompoundParentLineNumber) != ""
}

func code(profiles []Profile, e cpcds.Element, what string, ok func(string) bool) Rule {
	return Rule{ID: "code-" + e.Column(), Profiles: profiles, Table: cpcds.Claims, Element: e,
		Text: e.Column() + " must be " + what,
		claim: func(c *cpcds.Claim, r *report) {
			if v := c.Header.Get(e); v != "" && !ok(v) {
				r.fail(-1)
			}
		}}
}

func codeLine(profiles []Profile, e cpcds.Element, what string, ok func(string) bool) Rule {
	return Rule{ID: "code-" + e.Column(), Profiles: profiles, Table: cpcds.Claims, Element: e,
		Text: e.Column() + " must be " + what,
		claim: func(c *cpcds.Claim, r *report) {
			for i := range c.Lines {
				if v := c.Lines[i].Get(e); v != "" && !ok(v) {
					r.fail(i)
				}
			}
		}}
}

func claimRule(id string, profiles []Profile, e cpcds.Element, text string, check func(c *cpcds.Claim, r *report)) Rule {
	return Rule{ID: id, Profiles: profiles, Table: cpcds.Claims, Element: e, Text: text, claim: check}
}

func rowRule(id string, t cpcds.Table, e cpcds.Element, text string, ok func(get func(cpcds.Element) string) bool) Rule {
	return Rule{ID: t.String() + "-" + id, Table: t, Element: e, Text: text, row: ok}
}

func requiredRow(t cpcds.Table, e cpcds.Element, why string) Rule {
	return rowRule("required-"+e.Column(), t, e, e.Column()+" must be filled: "+why,
		func(get func(cpcds.Element) string) bool { return get(e) != "" })
}

func codeRow(t cpcds.Table, e cpcds.Element, what string, ok func(string) bool) Rule {
	return rowRule("code-"+e.Column(), t, e, e.Column()+" must be "+what,
		func(get func(cpcds.Element) string) bool { v := get(e); return v == "" || ok(v) })
}

func warning(r Rule) Rule {
	r.Severity = Warning
	return r
}

// each reports whether every code of a space-separated list passes.
func each(ok func(string) bool) func(string) bool {
	return func(list string) bool {
		for f := range strings.FieldsSeq(list) {
			if !ok(f) {
				return false
			}
		}
		return true
	}
}

func allRules(v *Version) []Rule {
	rules := headerRules(v)
	rules = append(rules, lineRules()...)
	rules = append(rules, partRules()...)
	rules = append(rules, pharmacyRules()...)
	rules = append(rules, amountRules()...)
	rules = append(rules, identityRules()...)
	rules = append(rules, aloneRules()...)
	rules = append(rules, unusedRules()...)
	return append(rules, rowRules(v)...)
}
