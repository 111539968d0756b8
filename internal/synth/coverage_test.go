package synth

import (
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

// unusedColumns are the columns with a place in the profile that no claim fills,
// with the reason.
var unusedColumns = map[cell]string{}

// missingCodes are the codes of value sets that no row has, with the reason. A
// release is named where it alone lacks them.
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

// TestEverythingIsUsed holds an extract of 10,000 claims against what package carin
// knows: whatever the seed, each column with a place in a profile is filled in
// claims of that profile, and each code of each value set comes up; and so it is
// among the claims that release 2.0.0 accepts.
func TestEverythingIsUsed(t *testing.T) {
	seeds := []uint64{1, 21, 12345}
	if testing.Short() {
		seeds = seeds[:1]
	}
	for _, seed := range seeds {
		for _, release := range []*carin.Version{carin.V220, carin.V200} {
			checkUsage(t, seed, release, usageOf(t, seed, release))
		}
	}
}

func usageOf(t *testing.T, seed uint64, release *carin.Version) *usage {
	t.Helper()
	opt := Options{Claims: 10000, Seed: seed, Dir: "none"}
	opt, err := opt.complete()
	if err != nil {
		t.Fatal(err)
	}
	u, rules := newUsage(), carin.NewChecker(release)
	var verdict carin.Verdict
	people, newborns := map[string]bool{}, map[string]int{}
	dir := newDirectory(&opt)
	for _, p := range dir.people {
		u.note("providers", cpcds.Columns(cpcds.Providers)[0], p.row[:])
		if p.listed {
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
		rules.Claim(&d.Claim, p, &verdict)
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
		t.Errorf("seed %d, release %s: %d claims are rejected", seed, release.Name, rejected)
	}
	// Newborns have points of origin of their own, which look like those of others.
	for _, p := range []carin.Profile{carin.Inpatient, carin.Outpatient} {
		for _, code := range carin.NewbornOrigins().Codes() {
			if newborns[p.String()+" "+code] == 0 {
				t.Errorf("seed %d, release %s: no %s newborn has the point of origin %s", seed, release.Name, p, code)
			}
		}
	}
	return u
}

func checkUsage(t *testing.T, seed uint64, release *carin.Version, u *usage) {
	t.Helper()
	for _, m := range carin.Mapping() {
		if len(m.Paths) == 0 {
			continue
		}
		at := cell{m.Element, m.Profile}
		if reason := unusedColumns[at]; (u.filled[at] == 0) != (reason != "") {
			t.Errorf("seed %d, release %s: %s of %s is filled %d times, and the reason not to fill it is %q",
				seed, release.Name, m.Element, m.Profile, u.filled[at], reason)
		}
		p, _ := profileOf(m.Profile)
		set := carin.ValueSet(m.Element, p)
		for _, code := range set.Codes() {
			if release.Lacks(m.Element, code) {
				continue
			}
			if n, reason := u.codes[at][code], missingCodes[at][code]; (n == 0) != (reason != "") {
				t.Errorf("seed %d, release %s: %s of %s has the code %s %d times, and the reason to leave it out is %q",
					seed, release.Name, m.Element, m.Profile, code, n, reason)
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
