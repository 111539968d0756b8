package mappers

import (
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// professional writes C4BB-ExplanationOfBenefit-Professional-NonClinician, vision
// and transportation included.
func (e *eob) professional() {
	e.careTeam(cpcds.Rendering, cpcds.Referring, cpcds.Supervisor, cpcds.Primary)

	from := len(e.b)
	e.raw(supportingInfoOpen)
	e.put(&receivedDate, e.c.Get(cpcds.ClaimReceivedDate))
	// MapID 97, 170, 176
	e.put(&facility, e.c.Refs.Providers[cpcds.ServiceFacility])
	e.numbersInfo()
	e.lineInfos()
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(supportingInfoOpen))

	e.diagnoses()
	e.insurance()
	e.items(func(l *cpcds.Line) {
		e.service(l)
		e.modifiers(l)
		e.serviced(l)
		// MapID 46
		e.b = place.Put(e.b, l.Get(cpcds.PlaceOfServiceCode))
		e.units(l)
	})
	e.adjudication()
	e.totals()
	e.payment()
	e.processNotes()
}
