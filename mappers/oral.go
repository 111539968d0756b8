package mappers

import (
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

var (
	siteTooth = fhir.NewCoded("bodySite", carin.SysTooth, "")
	siteArea  = fhir.NewCoded("bodySite", carin.SysOralArea, "")
)

// oral writes C4BB-ExplanationOfBenefit-Oral.
func (e *eob) oral() {
	c := e.c
	e.careTeam(cpcds.Rendering, cpcds.Referring, cpcds.Supervisor, cpcds.Primary)

	from := len(e.b)
	e.raw(supportingInfoOpen)
	e.put(&receivedDate, c.Get(cpcds.ClaimReceivedDate))
	// MapID 97, 170, 176
	e.put(&facility, c.Refs.Providers[cpcds.ServiceFacility])
	// MapID 199 to 201: the slice needs the months
	if months := c.Get(cpcds.OrthodontiaMonths); months != "" && c.Get(cpcds.OrthodonticsTreatmentIndicator) != "false" {
		e.openInfo()
		e.b = orthoCategory.Begin(e.b)
		e.b = timingDate.Put(e.b, c.Get(cpcds.OrthodonticsApplianceDate))
		e.raw(`"valueQuantity":{"value":`)
		e.raw(months)
		e.raw(`}`)
		e.b = orthoCategory.End(e.b)
	}
	// MapID 202, 203
	if flag := c.Get(cpcds.ProsthesisReplacementIndicator); flag != "" {
		e.openInfo()
		e.b = prosthesis.Begin(e.b)
		e.b = timingDate.Put(e.b, c.Get(cpcds.PriorProsthesisDate))
		e.raw(`"valueBoolean":`)
		e.raw(flag)
		e.b = prosthesis.End(e.b)
	}
	// MapID 198, 205
	for tooth := range strings.FieldsSeq(c.Get(cpcds.MissingToothNumbers)) {
		e.put(&missingTooth, tooth)
	}
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
		// MapID 196, 197
		tooth, area := bodySites(l)
		e.b = siteTooth.Put(e.b, tooth)
		if tooth == "" {
			e.b = siteArea.Put(e.b, area)
		}
		e.surfaces(l)
	})
	e.adjudication()
	e.totals()
	e.payment()
	e.processNotes()
}

// bodySites are the first tooth and the area of the oral cavity of a line. An item has one body
// site: if a line has a tooth, its area is an additional one.
func bodySites(l *cpcds.Line) (tooth, area string) {
	tooth, area = l.Get(cpcds.ToothNumber), l.Get(cpcds.OralCavityArea)
	if carin.SiteSystem(tooth) == carin.SysTooth {
		return tooth, area
	}
	if area == "" {
		area = tooth
	}
	return "", area
}

var timingDate = fhir.NewStr("timingDate")

func (e *eob) surfaces(l *cpcds.Line) {
	list := l.Get(cpcds.ToothSurface)
	if list == "" {
		return
	}
	e.raw(`"subSite":[`)
	for s := range strings.FieldsSeq(list) {
		e.b = e.m.coding.surface.Put(e.b, s)
	}
	e.b = fhir.CloseArray(e.b)
}
