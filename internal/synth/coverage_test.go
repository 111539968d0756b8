package synth

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// cell is a column in the resources of a profile, or in those of a small table.
type cell struct {
	element cpcds.Element
	profile string
}

// unusedColumns says why a column with a place in a profile is filled nowhere. So
// far all are.
var unusedColumns = map[cell]string{}

// missingCodes says why a code of a value set comes up nowhere. So far all do.
var missingCodes = map[cell]map[string]string{}

// usage counts the columns that are filled, and their codes.
type usage struct {
	filled map[cell]int
	codes  map[cell]map[string]int
}

func newUsage() *usage { return &usage{map[cell]int{}, map[cell]map[string]int{}} }

// note counts a record: the elements of e and those that follow it.
func (u *usage) note(profile string, e cpcds.Element, record []string) {
	for i, v := range record {
		if v == "" {
			continue
		}
		at := cell{e + cpcds.Element(i), profile}
		u.filled[at]++
		p, _ := profileOf(profile)
		if len(carin.ValueSet(at.element, p).Codes()) == 0 {
			continue
		}
		if u.codes[at] == nil {
			u.codes[at] = map[string]int{}
		}
		for code := range strings.FieldsSeq(v) {
			u.codes[at][strings.Clone(code)]++
		}
	}
}

// claim counts the records of a claim.
func (u *usage) claim(profile carin.Profile, c *cpcds.Claim) {
	name := profile.String()
	u.note(name, levelElements(cpcds.HeaderLevel)[0], c.Header[:])
	for i := range c.Lines {
		u.note(name, levelElements(cpcds.LineLevel)[0], c.Lines[i][:])
	}
	for i := range c.Diagnoses {
		u.note(name, levelElements(cpcds.DiagnosisLevel)[0], c.Diagnoses[i][:])
	}
	for i := range c.Procedures {
		u.note(name, levelElements(cpcds.ProcedureLevel)[0], c.Procedures[i][:])
	}
	for i := range c.CareTeam {
		u.note(name, levelElements(cpcds.CareTeamLevel)[0], c.CareTeam[i][:])
	}
}

func profileOf(name string) (carin.Profile, bool) {
	for p := range carin.NumProfiles {
		if p.String() == name {
			return p, true
		}
	}
	return 0, false
}

// TestEverythingIsUsed holds extracts of 10,000 claims against what package carin
// knows: whatever the seed, each column with a place in a profile is filled in
// claims of that profile, and each code of each value set comes up; and so it is
// among the claims that release 2.0.0 accepts.
func TestEverythingIsUsed(t *testing.T) {
	extracts := []Options{
		{Claims: 7000, Seed: 21}, // .ci/run has the official validator read this one
		{Claims: 10000, Seed: 1},
		{Claims: 10000, Seed: 12345},
	}
	if testing.Short() {
		extracts = extracts[:1]
	}
	for _, opt := range extracts {
		opt.Dir = "none"
		opt, err := opt.complete()
		if err != nil {
			t.Fatal(err)
		}
		for _, release := range []*carin.Version{carin.V220, carin.V200} {
			t.Run(fmt.Sprintf("%d claims, seed %d, release %s", opt.Claims, opt.Seed, release.Name), func(t *testing.T) {
				checkUsage(t, release, usageOf(t, opt, release))
			})
		}
	}
}

// usageOf counts what is used in the rows of an extract that a release accepts.
func usageOf(t *testing.T, opt Options, release *carin.Version) *usage {
	t.Helper()
	u, rules := newUsage(), carin.NewChecker(release)
	var verdict carin.Verdict
	var amounts carin.AmountTable
	people, newborns := map[string]bool{}, map[string]int{}
	dir := newDirectory(&opt)
	for _, p := range dir.people {
		if p.listed {
			u.note("providers", cpcds.Columns(cpcds.Providers)[0], p.row[:])
			people[p.npi] = true
		}
	}
	for _, o := range dir.bodies {
		u.note("organizations", cpcds.Columns(cpcds.Organizations)[0], o.row[:])
	}
	g := newGenerator(&opt, dir)
	for m := range plan(&opt)[0].members {
		g.arena.reset()
		g.person(m)
		u.note("members", cpcds.Columns(cpcds.Members)[0], g.who.row[:])
		for i := range g.who.primary {
			u.note("coverages", cpcds.Columns(cpcds.Coverages)[0], g.who.primary[i].row[:])
		}
		if g.who.other != nil {
			u.note("coverages", cpcds.Columns(cpcds.Coverages)[0], g.who.other.row[:])
		}
	}
	rejected := 0
	drafts(opt, func(g *generator, d *draft) {
		resolve(g, d)
		d.Refs.Providers[cpcds.Billing] = "Organization/o"
		if people[d.Get(cpcds.BillingProviderNPI)] {
			d.Refs.Providers[cpcds.Billing] = "Practitioner/p"
		}
		p, _ := carin.ProfileOf(&d.Claim)
		verdict.Reset()
		amounts.Fill(&d.Claim, p)
		rules.Claim(&d.Claim, &amounts, p, &verdict)
		if !verdict.OK() {
			rejected++
			return
		}
		u.claim(p, &d.Claim)
		if d.Get(cpcds.AdmissionTypeCode) == newbornType {
			newborns[p.String()+" "+d.Get(cpcds.PointOfOriginCode)]++
		}
	})
	if release == carin.V220 && rejected > 0 {
		t.Errorf("%d claims are rejected", rejected)
	}
	// Newborns have points of origin of their own, which look like those of others.
	for _, p := range []carin.Profile{carin.Inpatient, carin.Outpatient} {
		for _, code := range carin.NewbornOrigins().Codes() {
			if newborns[p.String()+" "+code] == 0 {
				t.Errorf("no %s newborn has the point of origin %s", p, code)
			}
		}
	}
	return u
}

// checkUsage compares it with what there is.
func checkUsage(t *testing.T, release *carin.Version, u *usage) {
	t.Helper()
	for _, m := range carin.Mapping() {
		if len(m.Paths) == 0 {
			continue
		}
		at := cell{m.Element, m.Profile}
		if reason := unusedColumns[at]; (u.filled[at] == 0) != (reason != "") {
			t.Errorf("%s of %s is filled %d times, and the reason not to fill it is %q", m.Element, m.Profile, u.filled[at], reason)
		}
		p, _ := profileOf(m.Profile)
		set := carin.ValueSet(m.Element, p)
		for _, code := range set.Codes() {
			if release.Lacks(m.Element, code) {
				continue
			}
			if n, reason := u.codes[at][code], missingCodes[at][code]; (n == 0) != (reason != "") {
				t.Errorf("%s of %s has the code %s %d times, and the reason to leave it out is %q", m.Element, m.Profile, code, n, reason)
			}
		}
	}
	for at, reasons := range missingCodes {
		p, _ := profileOf(at.profile)
		for code := range reasons {
			if !slices.Contains(carin.ValueSet(at.element, p).Codes(), code) {
				t.Errorf("%s of %s has no code %s that could be left out", at.element, at.profile, code)
			}
		}
	}
}
