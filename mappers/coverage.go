package mappers

import (
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

type coverageFragments struct {
	open, meta, closing, identifier, member string
	keyCoverage, keyMember                  string
}

func newCoverageFragments(v *carin.Version, s Systems) coverageFragments {
	open, closing := metaFragments(v.Canonical("C4BB-Coverage"))
	return coverageFragments{
		open:        `{"resourceType":"Coverage","id":"`,
		meta:        `",` + open,
		closing:     closing,
		identifier:  `"identifier":[{"type":{"coding":[{"system":"` + carin.SysV20203 + `","code":"MB"}]},` + identified(s.Member),
		member:      `"},{` + identified(s.Coverage),
		keyCoverage: s.Coverage + "|",
		keyMember:   s.Member + "|",
	}
}

var (
	fieldStatus     = fhir.NewStr("status")
	coverageType    = fhir.NewCoded("type", carin.SysPaymentType, "")
	coverageKind    = fhir.NewCoded("type", carin.SysActCode, "")
	fieldSubscriber = fhir.NewStr("subscriberId")
	fieldDependent  = fhir.NewStr("dependent")
	relationship    = fhir.NewCoded("relationship", carin.SysSubscriber, "")
	classGroup      = `{` + fhir.NewCoded("type", carin.SysCoverageClass, "").With("group")
	classPlan       = `{` + fhir.NewCoded("type", carin.SysCoverageClass, "").With("plan")
	fieldValue      = fhir.NewStr("value")
	fieldName       = fhir.NewStr("name")
)

// CoverageRefs are the resources that a Coverage refers to; Subscriber may be empty.
type CoverageRefs struct{ Beneficiary, Payor, Subscriber string }

// Coverage appends the C4BB-Coverage of a row of the coverages table under an id.
func (m *Mapper) Coverage(out *fhir.Batch, id string, r *cpcds.Coverage, refs CoverageRefs) {
	f := &m.coverage
	updated := r.Get(cpcds.CoveragesCoverageLastUpdatedDate)
	b := out.Begin(fhir.Coverage, id, updated, updated)
	b = append(b, f.open...)
	b = append(b, id...)
	b = append(b, f.meta...)
	b = append(b, updated...) // MapID 163, 190
	b = append(b, f.closing...)
	b = append(b, f.identifier...)
	b = append(b, r.Get(cpcds.CoveragesMemberID)...)
	b = append(b, f.member...)
	b = append(b, r.Get(cpcds.CoveragesCoverageID)...)
	b = append(b, `"}],`...)
	b = fieldStatus.Put(b, r.Get(cpcds.CoveragesCoverageStatus)) // MapID 133
	b = typeOfCoverage(b, r.Get(cpcds.CoveragesCoverageType))    // MapID 3
	if refs.Subscriber != "" {
		b = append(b, `"subscriber":{"reference":"`...)
		b = append(b, refs.Subscriber...)
		b = append(b, `"},`...)
	}
	b = fieldSubscriber.Put(b, r.Get(cpcds.CoveragesSubscriberID)) // MapID 132
	b = append(b, `"beneficiary":{"reference":"`...)               // MapID 1
	b = append(b, refs.Beneficiary...)
	b = append(b, `"},`...)
	b = fieldDependent.Put(b, r.Get(cpcds.CoveragesDependentNumber))
	b = relationship.Put(b, r.Get(cpcds.CoveragesRelationshipToSubscriber)) // MapID 72
	if start, end := r.Get(cpcds.CoveragesStartDate), r.Get(cpcds.CoveragesEndDate); start != "" || end != "" {
		b = append(b, `"period":{`...) // MapID 74, 75
		b = fieldStart.Put(b, start)
		b = fieldEnd.Put(b, end)
		b = fhir.Close(b)
	}
	b = append(b, `"payor":[{"reference":"`...) // MapID 2
	b = append(b, refs.Payor...)
	b = append(b, `"}],`...)
	from := len(b)
	const open = `"class":[`
	b = append(b, open...)
	b = class(b, classGroup, r.Get(cpcds.CoveragesGroupID), r.Get(cpcds.CoveragesGroupName))      // MapID 134, 135
	b = class(b, classPlan, r.Get(cpcds.CoveragesPlanIdentifier), r.Get(cpcds.CoveragesPlanName)) // MapID 154, 155
	b = fhir.CloseArrayOrDrop(b, from, len(open))
	out.End(fhir.CloseResource(b))
	out.Key(fhir.ParamPatient, refs.Beneficiary)
	out.Key(fhir.ParamIdentifier, f.keyCoverage, r.Get(cpcds.CoveragesCoverageID))
	out.Key(fhir.ParamIdentifier, f.keyMember, r.Get(cpcds.CoveragesMemberID))
	out.Key(fhir.ParamPayor, refs.Payor)
}

// typeOfCoverage writes a code of the source of payment typology, which begins
// with a digit, or one of HL7's kinds of coverage; any other word is text.
func typeOfCoverage(b []byte, v string) []byte {
	switch {
	case v == "" || strings.IndexByte("0123456789", v[0]) >= 0:
		return coverageType.Put(b, v)
	case carin.CoverageKind(v):
		return coverageKind.Put(b, v)
	}
	b = append(b, `"type":{"text":"`...)
	b = append(b, v...)
	return append(b, `"},`...)
}

// class writes one class of the coverage, or nothing without a value or name; a name alone is also
// the value.
func class(b []byte, open, value, name string) []byte {
	if value == "" {
		if name == "" {
			return b
		}
		value = name
	}
	b = append(b, open...)
	b = fieldValue.Put(b, value)
	b = fieldName.Put(b, name)
	return fhir.Close(b)
}
