package mappers

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// inpatient writes C4BB-ExplanationOfBenefit-Inpatient-Institutional.
func (e *eob) inpatient() {
	c := e.c
	e.careTeam(cpcds.Attending, cpcds.Referring, cpcds.Operating, cpcds.Rendering, cpcds.Primary)

	e.raw(supportingInfoOpen)
	// MapID 18, 19
	e.openInfo()
	e.b = admissionPeriod.Begin(e.b)
	start := c.Get(cpcds.MemberAdmissionDate)
	e.b = fieldStart.Put(e.b, start)
	if end := c.Get(cpcds.MemberDischargeDate); end >= start {
		e.b = fieldEnd.Put(e.b, end)
	}
	e.b[len(e.b)-1] = '}'
	e.raw(`},`)
	e.institutionalInfo()
	e.drg()
	e.b = fhir.CloseArray(e.b)

	e.diagnoses()
	e.procedures()
	e.insurance()
	e.items(e.institutionalItem)
	e.adjudication()
	e.totals()
	e.payment()
	e.processNotes()
}

var drgFragments = map[string]fhir.Wrap{
	carin.SysMSDRG:  infoOf("drg", `"code":{"coding":[{"system":"`+carin.SysMSDRG+`",`, `]}`),
	carin.SysAPDRG:  infoOf("drg", `"code":{"coding":[{"system":"`+carin.SysAPDRG+`",`, `]}`),
	carin.SysAPRDRG: infoOf("drg", `"code":{"coding":[{"system":"`+carin.SysAPRDRG+`",`, `]}`),
}

var (
	codingVersion = fhir.NewStr("version")
	codingCode    = fhir.NewStr("code")
)

// drg writes MapID 32, 33 and 113.
func (e *eob) drg() {
	code, system := e.c.Get(cpcds.DRGCode), carin.DRGSystem(e.c.Get(cpcds.DRGName))
	if code == "" || system == "" {
		return
	}
	f := drgFragments[system]
	e.openInfo()
	e.b = f.Begin(e.b)
	e.b = codingVersion.Put(e.b, e.c.Get(cpcds.DRGVersion))
	e.b = codingCode.Put(e.b, code)
	e.b[len(e.b)-1] = '}'
	e.b = f.End(e.b)
}

// procedures writes MapID 9 to 12, 24 to 27 and 187.
func (e *eob) procedures() {
	if len(e.c.Procedures) == 0 {
		return
	}
	e.raw(`"procedure":[`)
	for i := range e.c.Procedures {
		p := &e.c.Procedures[i]
		e.raw(`{"sequence":`)
		e.b = fhir.AppendInt(e.b, i+1)
		e.raw(`,`)
		typ := p.Get(cpcds.InpatientProcedureType)
		if typ == "" {
			typ = "other"
			if i == 0 {
				typ = "principal"
			}
		}
		e.b = pxType.Put(e.b, typ)
		e.b = payDate.Put(e.b, p.Get(cpcds.InpatientProcedureDate))
		if p.Get(cpcds.InpatientProcedureCodeType) == "icd9" {
			e.b = e.m.coding.pcs9.Put(e.b, p.Get(cpcds.InpatientProcedureCode))
		} else {
			e.b = e.m.coding.pcs10.Put(e.b, p.Get(cpcds.InpatientProcedureCode))
		}
		e.b = fhir.Close(e.b)
	}
	e.b = fhir.CloseArray(e.b)
}

// institutionalItem writes an item of either institutional profile.
func (e *eob) institutionalItem(l *cpcds.Line) {
	// MapID 86
	e.b = revenue.Put(e.b, l.Get(cpcds.RevenueCenterCode))
	e.service(l)
	e.modifiers(l)
	e.serviced(l)
	e.units(l)
}
