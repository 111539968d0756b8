package mappers

import (
	"iter"
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// infoOf is one kind of supportingInfo, from after its sequence.
func infoOf(category, open, closing string) fhir.Wrap {
	return fhir.NewWrap(`,`+fhir.NewCoded("category", carin.SysSupportingInfo, "").With(category)+open, closing+`},`)
}

func infoCode(category, system string) fhir.Wrap {
	return infoOf(category, fhir.NewCoded("code", system, "").With("")[:len(`"code":{"coding":[{"system":"","code":"`)+len(system)], `"}]}`)
}

func infoString(category string) fhir.Wrap { return infoOf(category, `"valueString":"`, `"`) }

func infoQuantity(category, rest string) fhir.Wrap {
	return infoOf(category, `"valueQuantity":{"value":`, rest+`}`)
}

var (
	admissionPeriod = infoOf("admissionperiod", `"timingPeriod":{`, `}`)
	receivedDate    = infoOf("clmrecvddate", `"timingDate":"`, `"`)
	typeOfBill      = infoCode("typeofbill", carin.SysBill)
	pointOfOrigin   = infoCode("pointoforigin", carin.SysOrigin)
	newbornOrigin   = infoCode("pointoforigin", carin.SysNewborn)
	admissionType   = infoCode("admtype", carin.SysPriority)
	discharge       = infoCode("discharge-status", carin.SysDischarge)
	recordNumber    = infoString("medicalrecordnumber")
	accountNumber   = infoString("patientaccountnumber")
	facility        = infoOf("servicefacility", `"valueReference":{"reference":"`, `"}`)

	daysSupply    = infoQuantity("dayssupply", "")
	dawCode       = infoCode("dawcode", carin.SysDAW)
	refillNumber  = infoQuantity("refillnum", "")
	refillsAuth   = infoQuantity("refillsauthorized", "")
	brandGeneric  = infoCode("brandgenericindicator", carin.SysBrandGeneric)
	rxOrigin      = infoCode("rxorigincode", carin.SysRxOrigin)
	compoundCode  = infoCode("compoundcode", carin.SysCompoundCode)
	missingTooth  = infoCode("missingtoothnumber", carin.SysTooth)
	extraTooth    = infoCode("additionalbodysite", carin.SysTooth)
	extraArea     = infoCode("additionalbodysite", carin.SysOralArea)
	orthoCategory = infoOf("orthodontics", "", "")
	prosthesis    = infoOf("prosthesis", "", "")
)

// perLine are the kinds of supportingInfo that belong to service lines: the
// transport ones (EOB-prof-all-transportation-supportinginfo-linked-to-line).
var perLine = []struct {
	element cpcds.Element
	info    fhir.Wrap
}{
	{cpcds.PatientWeight, infoQuantity("patientweight", `,"unit":"[lb_av]","system":"`+carin.SysUCUM+`"`)},
	{cpcds.AmbulanceTransportReasonCode, infoOf("ambulancetransportreason", `"reason":{"system":"`+carin.SysTransport+`","code":"`, `"}`)},
	{cpcds.TransportationDistance, infoQuantity("transportationdistance", `,"unit":"[mi_i]","system":"`+carin.SysUCUM+`"`)},
	{cpcds.RoundTripPurpose, infoString("roudtrippurpose")}, // misspelt in the guide
	{cpcds.StretcherPurpose, infoString("stretcherpurpose")},
	{cpcds.PickupLocation, infoString("pickuplocation")},
	{cpcds.DropoffLocation, infoString("dropofflocation")},
}

// The categories of additional body sites in scratch.infos; those of perLine are
// their index.
const (
	furtherTooth = -1
	furtherArea  = -2
)

const supportingInfoOpen = `"supportingInfo":[`

// openInfo begins a supportingInfo and gives it the next sequence.
func (e *eob) openInfo() {
	e.info++
	e.raw(`{"sequence":`)
	e.b = fhir.AppendInt(e.b, e.info)
}

// put writes one supportingInfo, nothing if v is empty.
func (e *eob) put(i *fhir.Wrap, v string) {
	if v == "" {
		return
	}
	e.openInfo()
	e.b = i.Put(e.b, v)
}

// institutionalInfo writes what the two institutional profiles share: MapID 88,
// 17, 13, 14, 117, 110 and 109.
func (e *eob) institutionalInfo() {
	c := e.c
	e.put(&receivedDate, c.Get(cpcds.ClaimReceivedDate))
	e.put(&typeOfBill, c.Get(cpcds.ClaimTypeOfBillCode))
	if c.Get(cpcds.AdmissionTypeCode) == "4" {
		e.put(&newbornOrigin, c.Get(cpcds.PointOfOriginCode))
	} else {
		e.put(&pointOfOrigin, c.Get(cpcds.PointOfOriginCode))
	}
	e.put(&admissionType, c.Get(cpcds.AdmissionTypeCode))
	e.put(&discharge, c.Get(cpcds.PatientDischargeStatusCode))
	e.numbersInfo()
}

// numbersInfo writes MapID 110 and 109.
func (e *eob) numbersInfo() {
	e.put(&recordNumber, e.c.Get(cpcds.MedicalRecordNumber))
	e.put(&accountNumber, e.c.Get(cpcds.PatientAccountNumber))
}

// lineInfos writes the supportingInfo that belongs to lines. Lines with the same value share one.
func (e *eob) lineInfos() {
	for i := range e.c.Lines {
		l := &e.c.Lines[i]
		if e.profile == carin.Oral {
			e.furtherSites(l)
			continue
		}
		for k := range perLine {
			if v := l.Get(perLine[k].element); v != "" && e.sequenceOf(k, v) == 0 {
				e.put(&perLine[k].info, v)
				e.s.infos = append(e.s.infos, lineInfo{k, v, e.info})
			}
		}
	}
}

// furtherSites writes MapID 204.
func (e *eob) furtherSites(l *cpcds.Line) {
	for category, site := range furtherSites(l) {
		if e.sequenceOf(category, site) != 0 {
			continue
		}
		if category == furtherTooth {
			e.put(&extraTooth, site)
		} else {
			e.put(&extraArea, site)
		}
		e.s.infos = append(e.s.infos, lineInfo{category, site, e.info})
	}
}

// furtherSites are the body sites of a line after its first.
func furtherSites(l *cpcds.Line) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for site := range strings.FieldsSeq(l.Get(cpcds.AdditionalToothNumbers)) {
			category := furtherArea
			if carin.SiteSystem(site) == carin.SysTooth {
				category = furtherTooth
			}
			if !yield(category, site) {
				return
			}
		}
		if tooth, area := bodySites(l); tooth != "" && area != "" {
			yield(furtherArea, area)
		}
	}
}

// sequenceOf finds the supportingInfo of a line's fact, 0 if there is none.
func (e *eob) sequenceOf(category int, value string) int {
	for i := range e.s.infos {
		if n := &e.s.infos[i]; n.category == category && n.value == value {
			return n.sequence
		}
	}
	return 0
}

// informationSequence links an item to its supportingInfo.
func (e *eob) informationSequence(l *cpcds.Line) {
	if len(e.s.infos) == 0 {
		return
	}
	from := len(e.b)
	const open = `"informationSequence":[`
	e.raw(open)
	link := func(category int, value string) {
		if n := e.sequenceOf(category, value); n != 0 {
			e.b = fhir.AppendInt(e.b, n)
			e.raw(`,`)
		}
	}
	if e.profile == carin.Oral {
		for category, site := range furtherSites(l) {
			link(category, site)
		}
	} else {
		for k := range perLine {
			if v := l.Get(perLine[k].element); v != "" {
				link(k, v)
			}
		}
	}
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(open))
}
