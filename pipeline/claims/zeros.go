package claims

import (
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// Fixed-width numeric codes lose their leading zeros in spreadsheets and number columns. The zeros
// are restored where the code cannot be a different one.

// widths are the widths of numeric codes. least is how many digits must be left.
var widths = []struct {
	element      cpcds.Element
	width, least int
	profiles     []carin.Profile
}{
	{cpcds.ClaimTypeOfBillCode, 4, 3, institutional},
	{cpcds.PatientDischargeStatusCode, 2, 1, institutional},
	{cpcds.DRGCode, 3, 1, institutional},
	{cpcds.RevenueCenterCode, 4, 1, institutional},
	{cpcds.PlaceOfServiceCode, 2, 1, []carin.Profile{carin.Professional, carin.Oral, carin.Pharmacy}},
	{cpcds.OralCavityArea, 2, 1, []carin.Profile{carin.Oral}},
}

var institutional = []carin.Profile{carin.Inpatient, carin.Outpatient}

// restoreZeros restores the leading zeros of the claim's codes.
func (a *assembled) restoreZeros(profile carin.Profile) {
	c := &a.claim
	for _, x := range widths {
		if !slices.Contains(x.profiles, profile) {
			continue
		}
		if x.element.Info().Level == cpcds.HeaderLevel {
			c.Set(x.element, a.padded(x.element, c.Get(x.element), x.width, x.least))
			continue
		}
		for i := range c.Lines {
			c.Lines[i].Set(x.element, a.padded(x.element, c.Lines[i].Get(x.element), x.width, x.least))
		}
	}
	for i := range c.Lines {
		l := &c.Lines[i]
		// Only anesthesia codes of CPT begin with zeros: 00100 to 01999.
		if code := l.Get(cpcds.ProcedureCode); len(code) == 3 || len(code) == 4 && code[0] == '1' {
			l.Set(cpcds.ProcedureCode, a.padded(cpcds.ProcedureCode, code, 5, 3))
		}
	}
	for i := range c.Procedures {
		p := &c.Procedures[i]
		if p.Get(cpcds.InpatientProcedureCodeType) != "icd9" {
			p.Set(cpcds.InpatientProcedureCode, a.padded(cpcds.InpatientProcedureCode, p.Get(cpcds.InpatientProcedureCode), 7, 4))
		} else {
			p.Set(cpcds.InpatientProcedureCode, a.paddedBeforePoint(cpcds.InpatientProcedureCode, p.Get(cpcds.InpatientProcedureCode), 2))
		}
	}
	for i := range c.Diagnoses {
		if d := &c.Diagnoses[i]; d.Get(cpcds.DiagnosisCodeType) == "icd9" {
			d.Set(cpcds.DiagnosisCode, a.paddedBeforePoint(cpcds.DiagnosisCode, d.Get(cpcds.DiagnosisCode), 3))
		}
	}
}

// padded returns a numeric code padded to its width, if enough digits are left.
func (a *assembled) padded(e cpcds.Element, code string, width, least int) string {
	if len(code) < least || len(code) >= width || !cpcds.AllDigits(code) {
		return code
	}
	a.repair(e, pipeline.RepairLeadingZero)
	return "0000000"[:width-len(code)] + code
}

// paddedBeforePoint is padded for the digits before the point of a code.
func (a *assembled) paddedBeforePoint(e cpcds.Element, code string, width int) string {
	whole, rest, ok := strings.Cut(code, ".")
	if !ok || rest == "" {
		return code
	}
	return a.padded(e, whole, width, 1) + "." + rest
}
