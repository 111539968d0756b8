package mappers

import (
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// outpatient writes C4BB-ExplanationOfBenefit-Outpatient-Institutional.
func (e *eob) outpatient() {
	e.careTeam(cpcds.Attending, cpcds.Referring, cpcds.Operating, cpcds.Rendering, cpcds.Primary)

	from := len(e.b)
	e.raw(supportingInfoOpen)
	e.institutionalInfo()
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(supportingInfoOpen))

	e.diagnoses()
	e.insurance()
	e.items(e.institutionalItem)
	e.adjudication()
	e.totals()
	e.payment()
	e.processNotes()
}
