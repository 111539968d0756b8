package pipeline

import (
	"slices"
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// Repairs of the engine's own; a layout names the others.
const (
	repairFacilityBills = "facility-bills"         // the service facility stands in for a billing provider without a valid NPI
	repairICDPoint      = "icd-point-inserted"     // S060X1A becomes S06.0X1A
	repairLeadingZero   = "leading-zero-restored"  // revenue code 450 becomes 0450, type of bill 131 becomes 0131
	rulePOAConflict     = "poa-conflict"           // one diagnosis of a claim has two answers to present on admission
	repairDuplicateLine = "duplicate-line-dropped" // a line that is a copy of another of the same number is left out
	engineRepairs       = "facility-bills icd-point-inserted leading-zero-restored duplicate-line-dropped"
	ruleSuperseded      = "superseded-in-extract"    // rows of an older record of a claim that the extract has in a newer one
	ruleSplitRest       = "nothing-left-after-split" // rows that hold no service once the fills of a claim stand alone
)

// Repairs lists the names of all repairs that lenient mode can apply with a
// layout.
func Repairs(l *layouts.Layout) []string {
	names := append(strings.Fields(engineRepairs), l.Repairs()...)
	slices.Sort(names)
	return slices.Compact(names)
}

// repairer changes claims in lenient mode, before their references are resolved,
// so that what can be valid becomes so. Every change is counted under its name.
type repairer struct {
	rules *layouts.ClaimRules
	on    func(repair string) bool
}

var npiColumns = []cpcds.Element{cpcds.BillingProviderNPI, cpcds.AttendingProviderNPI, cpcds.PerformingProviderNPI, cpcds.PCPNPI,
	cpcds.ReferringProviderNPI, cpcds.OperatingProviderNPI, cpcds.SupervisingProviderNPI, cpcds.PrescribingProviderNPI, cpcds.ServiceFacilityNPI}

// claim repairs one claim.
func (r *repairer) claim(a *assembled) {
	c := &a.claim
	for i := range r.rules.Reclassify {
		x := &r.rules.Reclassify[i]
		if r.on(x.Repair) && holds(c, x.When) {
			for _, s := range x.Set {
				c.Set(s.Element, s.Value)
			}
			a.repair(x.Set[0].Element, x.Repair)
		}
	}
	profile, ok := carin.ProfileOf(c)
	if !ok {
		return
	}
	if name := r.rules.MalformedNPI; r.on(name) {
		for _, e := range npiColumns {
			if v := c.Get(e); v != "" && !carin.ValidNPI(v) {
				c.Set(e, "")
				a.repair(e, name)
			}
		}
		c.CareTeam = slices.DeleteFunc(c.CareTeam, func(t cpcds.CareTeam) bool {
			bad := !carin.ValidNPI(t.Get(cpcds.CareTeamProviderNPI))
			if bad {
				a.repair(cpcds.CareTeamProviderNPI, name)
			}
			return bad
		})
	}
	r.diagnoses(a, profile)
	institutional := profile == carin.Inpatient || profile == carin.Outpatient
	if institutional && r.on(repairLeadingZero) {
		if v := c.Get(cpcds.ClaimTypeOfBillCode); len(v) == 3 && allDigits(v) {
			c.Set(cpcds.ClaimTypeOfBillCode, "0"+v)
			a.repair(cpcds.ClaimTypeOfBillCode, repairLeadingZero)
		}
	}
	for i := range c.Lines {
		l := &c.Lines[i]
		if v := l.Get(cpcds.RevenueCenterCode); institutional && len(v) == 3 && allDigits(v) && r.on(repairLeadingZero) {
			l.Set(cpcds.RevenueCenterCode, "0"+v)
			a.repair(cpcds.RevenueCenterCode, repairLeadingZero)
		}
		if name := r.rules.TextServices; institutional && r.on(name) {
			if code := l.Get(cpcds.ProcedureCode); code != "" && carin.ServiceSystem(profile, code, l.Get(cpcds.RevenueCenterCode)) == "" {
				if l.Get(cpcds.ProcedureDescription) == "" {
					l.Set(cpcds.ProcedureDescription, code)
				}
				l.Set(cpcds.ProcedureCode, "")
				a.repair(cpcds.ProcedureCode, name)
			}
		}
	}
}

// diagnoses repairs the diagnoses of a claim.
func (r *repairer) diagnoses(a *assembled, profile carin.Profile) {
	c := &a.claim
	if r.on(repairICDPoint) {
		for i := range c.Diagnoses {
			d := &c.Diagnoses[i]
			code := d.Get(cpcds.DiagnosisCode)
			if len(code) < 4 || strings.IndexByte(code, '.') >= 0 {
				continue
			}
			at, valid := 3, carin.ValidICD10CM
			if d.Get(cpcds.DiagnosisCodeType) == "icd9" {
				valid = carin.ValidICD9CM
				if code[0] == 'E' {
					at = 4
				}
			}
			pointed := strings.ToUpper(code[:at] + "." + code[at:])
			if valid(pointed) {
				d.Set(cpcds.DiagnosisCode, pointed)
				a.repair(cpcds.DiagnosisCode, repairICDPoint)
			}
		}
	}
	if name := r.rules.DropConflictingPOA; r.on(name) {
		c.Problems = slices.DeleteFunc(c.Problems, func(p cpcds.Problem) bool {
			if p.Rule != rulePOAConflict {
				return false
			}
			c.Diagnoses[p.Row].Set(cpcds.PresentOnAdmission, "")
			a.repair(cpcds.PresentOnAdmission, name)
			return true
		})
	}
	unmapped := func(d *cpcds.Diagnosis) bool {
		return d.Get(cpcds.DiagnosisCodeType) == "" && !carin.ValidICD10CM(d.Get(cpcds.DiagnosisCode))
	}
	// If no diagnosis is left the claim keeps them all: it is rejected, and the
	// reject says which codes have no ICD form.
	some := slices.ContainsFunc(c.Diagnoses, func(d cpcds.Diagnosis) bool { return !unmapped(&d) })
	if name := r.rules.DropUnmappedDiagnoses; some && r.on(name) {
		kept := 0
		for i := range c.Diagnoses {
			d := &c.Diagnoses[i]
			if unmapped(d) {
				a.repair(cpcds.DiagnosisCode, name)
				continue
			}
			c.Diagnoses[kept], a.dx[kept] = *d, a.dx[i]
			kept++
		}
		c.Diagnoses, a.dx = c.Diagnoses[:kept], a.dx[:kept]
		a.mergeDiagnoses()
	}
	if name := r.rules.FirstDiagnosisPrincipal; r.on(name) {
		for i := 1; i < len(c.Diagnoses); i++ {
			if c.Diagnoses[i].Get(cpcds.DiagnosisType) == "principal" {
				c.Diagnoses[i].Set(cpcds.DiagnosisType, carin.DiagnosisType(profile, "other", false))
				a.repair(cpcds.DiagnosisType, name)
			}
		}
	}
}

// mergeDiagnoses drops diagnoses that have become the same: a table may map two
// codes of the source to one.
func (a *assembled) mergeDiagnoses() {
	c, kept := &a.claim, 0
	for i := range c.Diagnoses {
		same := false
		for j := range kept {
			same = same || c.Diagnoses[j].Get(cpcds.DiagnosisCode) == c.Diagnoses[i].Get(cpcds.DiagnosisCode) &&
				c.Diagnoses[j].Get(cpcds.DiagnosisType) == c.Diagnoses[i].Get(cpcds.DiagnosisType)
		}
		if !same {
			c.Diagnoses[kept], a.dx[kept] = c.Diagnoses[i], a.dx[i]
			kept++
		}
	}
	c.Diagnoses, a.dx = c.Diagnoses[:kept], a.dx[:kept]
}

func holds(c *cpcds.Claim, when []layouts.Condition) bool {
	for _, w := range when {
		if !slices.Contains(w.Values, c.Get(w.Element)) {
			return false
		}
	}
	return true
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
