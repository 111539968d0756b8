package mappers

import (
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

type patientFragments struct {
	open, meta, identifier, unique string
	keyMember, keyUnique           string
}

func newPatientFragments(v *carin.Version, s Systems) patientFragments {
	open, closing := metaFragments(v.Canonical("C4BB-Patient"))
	version := ""
	if v.IdentifierVersion != "" {
		version = `"version":"` + v.IdentifierVersion + `",`
	}
	return patientFragments{
		open:       `{"resourceType":"Patient","id":"`,
		meta:       `",` + open,
		identifier: closing + "\x00" + `"identifier":[{"type":{"coding":[{"system":"` + carin.SysV20203 + `",` + version + `"code":"MB"}]},` + identified(s.Member),
		unique:     `"},{"type":{"coding":[{"system":"` + carin.SysIdentifierType + `","code":"um"}]},` + identified(s.UniqueMember),
		keyMember:  s.Member + "|",
		keyUnique:  s.UniqueMember + "|",
	}
}

// The URLs of the US Core extensions and of the R4 one for absent data.
const (
	extRace      = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
	extEthnicity = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity"
	extBirthSex  = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"
	extAbsent    = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
)

var categoryDisplay = map[string]string{
	"1002-5": "American Indian or Alaska Native", "2028-9": "Asian", "2054-5": "Black or African American",
	"2076-8": "Native Hawaiian or Other Pacific Islander", "2106-3": "White", "2131-1": "Other Race",
	"2135-2": "Hispanic or Latino", "2186-5": "Not Hispanic or Latino",
	"UNK": "Unknown", "ASKU": "Asked but unknown",
}

var (
	fieldFamily  = fhir.NewStr("family")
	fieldGender  = fhir.NewStr("gender")
	fieldBirth   = fhir.NewStr("birthDate")
	fieldCity    = fhir.NewStr("city")
	fieldCounty  = fhir.NewStr("district")
	fieldState   = fhir.NewStr("state")
	fieldZIP     = fhir.NewStr("postalCode")
	fieldCountry = fhir.NewStr("country")
	deceasedDate = fhir.NewStr("deceasedDateTime")
	deceasedFlag = fhir.NewNum("deceasedBoolean")
)

// Patient appends the C4BB-Patient of a member under an id.
func (m *Mapper) Patient(out *fhir.Batch, id string, r *cpcds.Member) {
	f := &m.patient
	updated := r.Get(cpcds.MembersMemberLastUpdatedDate)
	b := out.Begin(fhir.Patient, id, updated, updated)
	b = append(b, f.open...)
	b = append(b, id...)
	b = append(b, f.meta...)
	b = append(b, updated...) // MapID 163, 190
	closing, identifier, _ := strings.Cut(f.identifier, "\x00")
	b = append(b, closing...)
	b = demographics(b, r, m.version)
	b = append(b, identifier...)
	b = append(b, r.Get(cpcds.MembersMemberID)...) // MapID 1, 184
	if v := r.Get(cpcds.MembersUniqueMemberID); v != "" {
		b = append(b, f.unique...) // MapID 191
		b = append(b, v...)
	}
	b = append(b, `"}],`...)
	b = name(b, affixes{}, r.Get(cpcds.MembersMemberFamilyName), r.Get(cpcds.MembersMemberGivenName), r.Get(cpcds.MembersMemberMiddleName)) // MapID 130
	b = fieldGender.Put(b, r.Get(cpcds.MembersGenderCode))                                                                                  // MapID 71
	b = fieldBirth.Put(b, r.Get(cpcds.MembersDateOfBirth))                                                                                  // MapID 70
	if death := r.Get(cpcds.MembersDateOfDeath); death != "" {
		b = deceasedDate.Put(b, death) // MapID 124
	} else {
		b = deceasedFlag.Put(b, r.Get(cpcds.MembersDeceased)) // MapID 150
	}
	b = address(b, addressParts{
		line: r.Get(cpcds.MembersStreetAddress), city: r.Get(cpcds.MembersCity), county: r.Get(cpcds.MembersCounty), // MapID 158, 192, 125
		state: r.Get(cpcds.MembersState), zip: r.Get(cpcds.MembersZIPCode), country: r.Get(cpcds.MembersCountry), // MapID 126, 131, 127
		from: r.Get(cpcds.MembersAddressBeginDate), to: r.Get(cpcds.MembersAddressEndDate), // MapID 193
	})
	out.End(fhir.CloseResource(b))
	out.Key(fhir.ParamIdentifier, f.keyMember, r.Get(cpcds.MembersMemberID))
	if v := r.Get(cpcds.MembersUniqueMemberID); v != "" {
		out.Key(fhir.ParamIdentifier, f.keyUnique, v)
	}
}

// demographics writes MapID 128, 129 and 153 as the US Core extensions.
func demographics(b []byte, r *cpcds.Member, v *carin.Version) []byte {
	from := len(b)
	const open = `"extension":[`
	b = append(b, open...)
	b = categories(b, extRace, r.Get(cpcds.MembersRaceCode), v)
	b = categories(b, extEthnicity, r.Get(cpcds.MembersEthnicity), v)
	if sex := r.Get(cpcds.MembersBirthSex); sex != "" && !v.Lacks(cpcds.MembersBirthSex, sex) {
		b = append(b, `{"url":"`+extBirthSex+`","valueCode":"`...)
		b = append(b, sex...)
		b = append(b, `"},`...)
	}
	return fhir.CloseArrayOrDrop(b, from, len(open))
}

// categories writes a US Core race or ethnicity extension. Not all releases allow null flavors as
// an ethnicity category, so an unknown one is only text; so is a race that the release has no code
// for.
func categories(b []byte, url, list string, v *carin.Version) []byte {
	if list == "" {
		return b
	}
	b = append(b, `{"url":"`...)
	b = append(b, url...)
	b = append(b, `","extension":[`...)
	text := ""
	for code := range strings.FieldsSeq(list) {
		if text != "" {
			text += ", "
		}
		text += categoryDisplay[code]
		if v.Lacks(cpcds.MembersRaceCode, code) {
			continue
		}
		system := carin.SysOMB
		if code == "UNK" || code == "ASKU" {
			if url == extEthnicity {
				continue
			}
			system = carin.SysNullFlavor
		}
		b = append(b, `{"url":"ombCategory","valueCoding":{"system":"`...)
		b = append(b, system...)
		b = append(b, `","code":"`...)
		b = append(b, code...)
		b = append(b, `"}},`...)
	}
	b = append(b, `{"url":"text","valueString":"`...)
	b = append(b, text...)
	return append(b, `"}]},`...)
}

// affixes are the prefix and suffix of a name.
type affixes struct{ prefix, suffix string }

// name writes the one HumanName of a person, with an absent reason if no part of
// it is known.
func name(b []byte, a affixes, family string, given ...string) []byte {
	b = append(b, `"name":[{`...)
	mark := len(b)
	b = fieldFamily.Put(b, family)
	from := len(b)
	const open = `"given":[`
	b = append(b, open...)
	for _, g := range given {
		if g != "" {
			b = append(b, '"')
			b = append(b, g...)
			b = append(b, '"', ',')
		}
	}
	b = fhir.CloseArrayOrDrop(b, from, len(open))
	if a.prefix != "" {
		b = append(b, `"prefix":["`...)
		b = append(b, a.prefix...)
		b = append(b, `"],`...)
	}
	if a.suffix != "" {
		b = append(b, `"suffix":["`...)
		b = append(b, a.suffix...)
		b = append(b, `"],`...)
	}
	if len(b) == mark {
		b = append(b, `"extension":[{"url":"`+extAbsent+`","valueCode":"unknown"}],`...)
	}
	b = fhir.Close(b)
	return fhir.CloseArray(b)
}

type addressParts struct{ line, city, county, state, zip, country, from, to, text string }

// address writes the one address of a resource, nothing if no part is known.
func address(b []byte, a addressParts) []byte {
	if a.line == "" && a.city == "" && a.county == "" && a.state == "" && a.zip == "" && a.country == "" && a.text == "" {
		return b
	}
	b = append(b, `"address":[{`...)
	b = fieldText.Put(b, a.text)
	if a.line != "" {
		b = append(b, `"line":["`...)
		b = append(b, a.line...)
		b = append(b, `"],`...)
	}
	b = fieldCity.Put(b, a.city)
	b = fieldCounty.Put(b, a.county)
	b = fieldState.Put(b, a.state)
	b = fieldZIP.Put(b, a.zip)
	b = fieldCountry.Put(b, a.country)
	if a.to < a.from { // per-1
		a.to = ""
	}
	if a.from != "" || a.to != "" {
		b = append(b, `"period":{`...)
		b = fieldStart.Put(b, a.from)
		b = fieldEnd.Put(b, a.to)
		b = fhir.Close(b)
	}
	b = fhir.Close(b)
	return fhir.CloseArray(b)
}
