package mappers

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

var (
	drugNDC  = fhir.NewCoded("productOrService", carin.SysNDC, "")
	compound = fhir.NewCoded("productOrService", carin.SysCompound, "")
)

// pharmacy writes C4BB-ExplanationOfBenefit-Pharmacy. What the profile has once is on the lines in
// practice; the first line that has it counts.
func (e *eob) pharmacy() {
	c := e.c
	e.careTeam(cpcds.Prescribing, cpcds.Primary)

	e.raw(supportingInfoOpen)
	e.put(&daysSupply, c.FillFact(cpcds.DaysSupply))                     // MapID 77
	e.put(&dawCode, c.FillFact(cpcds.DawProductSelectionCode))           // MapID 79
	e.put(&refillNumber, c.FillFact(cpcds.RefillNumber))                 // MapID 137
	e.put(&refillsAuth, c.FillFact(cpcds.RefillsAuthorized))             // no MapID
	e.put(&brandGeneric, c.FillFact(cpcds.PlanReportedBrandGenericCode)) // MapID 144
	e.put(&rxOrigin, c.FillFact(cpcds.PrescriptionOriginCode))           // MapID 143
	e.put(&receivedDate, c.Get(cpcds.ClaimReceivedDate))                 // MapID 88
	e.put(&compoundCode, c.FillFact(cpcds.CompoundCode))                 // MapID 78
	e.b = fhir.CloseArray(e.b)

	e.insurance()
	e.items(func(l *cpcds.Line) {
		// MapID 38, 78
		text := l.Get(cpcds.DrugDescription)
		if l.Get(cpcds.CompoundCode) == "2" {
			e.b = compound.PutText(e.b, "compound", text)
		} else {
			e.b = drugNDC.PutText(e.b, l.Get(cpcds.NationalDrugCode), text)
		}
		// MapID 90
		e.serviced(l)
		e.dispensed(l)
	})
	e.adjudication()
	e.totals()
	e.payment()
	e.processNotes()
}

// dispensed writes MapID 39 and 151.
func (e *eob) dispensed(l *cpcds.Line) {
	n := l.Get(cpcds.QuantityDispensed)
	if n == "" {
		return
	}
	e.raw(`"quantity":{`)
	e.b = quantity.Put(e.b, n)
	e.b = unit.Put(e.b, l.Get(cpcds.QuantityQualifierCode))
	e.b = fhir.Close(e.b)
}

// ingredients writes the ingredients of a compound as details of its item.
func (e *eob) ingredients(parent *cpcds.Line) {
	n := 0
	for i := range e.c.Lines {
		l := &e.c.Lines[i]
		if of := l.Get(cpcds.CompoundParentLineNumber); of == "" || of != parent.Get(cpcds.LineNumber) {
			continue
		}
		if n++; n == 1 {
			e.raw(`"detail":[`)
		}
		e.raw(`{"sequence":`)
		e.b = fhir.AppendInt(e.b, n)
		e.raw(`,`)
		e.b = drugNDC.PutText(e.b, l.Get(cpcds.NationalDrugCode), l.Get(cpcds.DrugDescription))
		e.dispensed(l)
		e.b = fhir.Close(e.b)
	}
	if n > 0 {
		e.b = fhir.CloseArray(e.b)
	}
}
