package claims

import (
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// repairer repairs claims in lenient mode, before their references are resolved. Every change is
// counted under its name.
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
		c.CareTeam, a.team = keep(a, cpcds.CareTeamLevel, c.CareTeam, a.team, func(t *cpcds.CareTeam) bool {
			good := carin.ValidNPI(t.Get(cpcds.CareTeamProviderNPI))
			if !good {
				a.repair(cpcds.CareTeamProviderNPI, name)
			}
			return good
		})
	}
	if r.on(pipeline.RepairLeadingZero) {
		a.restoreZeros(profile)
	}
	r.diagnoses(a, profile)
	institutional := profile == carin.Inpatient || profile == carin.Outpatient
	for i := range c.Lines {
		l := &c.Lines[i]
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
	if r.on(pipeline.RepairICDPoint) {
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
				a.repair(cpcds.DiagnosisCode, pipeline.RepairICDPoint)
			}
		}
	}
	if name := r.rules.DropConflictingPOA; r.on(name) {
		c.Problems = slices.DeleteFunc(c.Problems, func(p cpcds.Problem) bool {
			if p.Rule != pipeline.RulePOAConflict {
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
	// If no diagnosis would be left, the claim keeps them all: it is rejected, and the reject says
	// which codes have no ICD form.
	some := slices.ContainsFunc(c.Diagnoses, func(d cpcds.Diagnosis) bool { return !unmapped(&d) })
	if name := r.rules.DropUnmappedDiagnoses; some && r.on(name) {
		c.Diagnoses, a.dx = keep(a, cpcds.DiagnosisLevel, c.Diagnoses, a.dx, func(d *cpcds.Diagnosis) bool {
			if unmapped(d) {
				a.repair(cpcds.DiagnosisCode, name)
				return false
			}
			return true
		})
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

// mergeDiagnoses drops diagnoses that have become equal: a code map may map two codes of the source
// to one.
func (a *assembled) mergeDiagnoses() {
	type diagnosis struct{ code, typ string }
	have := map[diagnosis]bool{}
	c := &a.claim
	c.Diagnoses, a.dx = keep(a, cpcds.DiagnosisLevel, c.Diagnoses, a.dx, func(d *cpcds.Diagnosis) bool {
		x := diagnosis{d.Get(cpcds.DiagnosisCode), d.Get(cpcds.DiagnosisType)}
		first := !have[x]
		have[x] = true
		return first
	})
}

func holds(c *cpcds.Claim, when []layouts.Condition) bool {
	for _, w := range when {
		if !slices.Contains(w.Values, c.Get(w.Element)) {
			return false
		}
	}
	return true
}
