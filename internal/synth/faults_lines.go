package synth

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// someLine picks a line that has an element filled; nil if none has.
func (g *generator) someLine(d *draft, e cpcds.Element) *cpcds.Line {
	if len(d.Lines) == 0 {
		return nil
	}
	at := g.luck.below(len(d.Lines))
	for i := range d.Lines {
		if l := &d.Lines[(at+i)%len(d.Lines)]; l.Get(e) != "" {
			return l
		}
	}
	return nil
}

// replaceOnLine sets an element on a line that has it, and reports whether there was one.
func (g *generator) replaceOnLine(d *draft, e cpcds.Element, v string) bool {
	l := g.someLine(d, e)
	if l == nil {
		return false
	}
	l.Set(e, v)
	return true
}

func duplicateLine(g *generator, d *draft) bool {
	l := g.someLine(d, cpcds.LineNumber)
	if l == nil {
		return false
	}
	d.Lines = append(d.Lines, *l)
	return true
}

func missingServiceDate(g *generator, d *draft) bool {
	return d.kind != inpatient && g.replaceOnLine(d, cpcds.ServiceFromDate, "")
}

func malformedDate(g *generator, d *draft) bool {
	l := g.someLine(d, cpcds.ServiceFromDate)
	if l == nil {
		return false
	}
	on := l.Get(cpcds.ServiceFromDate)
	l.Set(cpcds.ServiceFromDate, g.arena.join(on[5:7], "/", on[8:], "/", on[2:4]))
	return true
}

func impossibleDate(g *generator, d *draft) bool {
	return g.replaceOnLine(d, cpcds.ServiceFromDate, "2021-02-30")
}

func futureDate(g *generator, d *draft) bool {
	return g.replaceOnLine(d, cpcds.ServiceFromDate, "2099-01-01")
}

func missingLineAmounts(_ *generator, d *draft) bool {
	if d.kind == inpatient || d.kind == outpatient || len(d.Lines) == 0 {
		return false
	}
	l := &d.Lines[0]
	for _, e := range lineAmounts.all() {
		l.Set(e, "")
	}
	return true
}

func missingPlaceOfService(g *generator, d *draft) bool {
	return g.replaceOnLine(d, cpcds.PlaceOfServiceCode, "")
}

func missingRevenueCode(g *generator, d *draft) bool {
	return d.kind == inpatient && g.replaceOnLine(d, cpcds.RevenueCenterCode, "")
}

// localProcedureCode is a code of the state's own.
func localProcedureCode(g *generator, d *draft) bool {
	return g.replaceOnLine(d, cpcds.ProcedureCode, "ZZ99Q1")
}

// shortDrugCode is an NDC of ten digits without hyphens, so the place of the missing zero is
// unknown.
func shortDrugCode(g *generator, d *draft) bool {
	l := g.someLine(d, cpcds.NationalDrugCode)
	if l == nil {
		return false
	}
	l.Set(cpcds.NationalDrugCode, l.Get(cpcds.NationalDrugCode)[1:])
	return true
}

func missingDaysSupply(g *generator, d *draft) bool { return g.replaceOnLine(d, cpcds.DaysSupply, "") }

func orphanIngredient(g *generator, d *draft) bool {
	return g.replaceOnLine(d, cpcds.CompoundParentLineNumber, "99")
}

func noDiagnosis(_ *generator, d *draft) bool {
	if d.kind == oral || len(d.Diagnoses) == 0 {
		return false
	}
	d.Diagnoses = d.Diagnoses[:0]
	return true
}

// eachDiagnosis changes the codes of a claim and reports whether any changed.
func (d *draft) eachDiagnosis(change func(string) string) bool {
	done := false
	for i := range d.Diagnoses {
		old := d.Diagnoses[i].Get(cpcds.DiagnosisCode)
		if v := change(old); v != old {
			d.Diagnoses[i].Set(cpcds.DiagnosisCode, v)
			done = true
		}
	}
	return done
}

func lowerCaseDiagnosis(_ *generator, d *draft) bool { return d.eachDiagnosis(strings.ToLower) }

func dotlessDiagnosis(_ *generator, d *draft) bool {
	return d.eachDiagnosis(func(s string) string { return strings.Replace(s, ".", "", 1) })
}

func fillerDiagnosis(_ *generator, d *draft) bool {
	if len(d.Diagnoses) < 2 {
		return false
	}
	d.Diagnoses[len(d.Diagnoses)-1].Set(cpcds.DiagnosisCode, "#######")
	return true
}

func unknownDiagnosisType(_ *generator, d *draft) bool {
	if len(d.Diagnoses) < 2 {
		return false
	}
	d.Diagnoses[len(d.Diagnoses)-1].Set(cpcds.DiagnosisType, "D")
	return true
}
