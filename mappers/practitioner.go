package mappers

import (
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

type practitionerFragments struct {
	open, meta, closing      string
	npi, tax, local          string
	keyNPI, keyTax, keyLocal string
	related                  [2]string // of RelatedPerson: up to lastUpdated, and after it up to the patient
}

func newPractitionerFragments(v *carin.Version, s Systems) practitionerFragments {
	open, closing := metaFragments(v.Canonical("C4BB-Practitioner"))
	relOpen, relClosing := metaFragments(v.Canonical("C4BB-RelatedPerson"))
	return practitionerFragments{
		open:    `{"resourceType":"Practitioner","id":"`,
		meta:    `",` + open,
		closing: closing,
		npi:     typedIdentifier(v, "NPI", carin.SysNPI),
		tax:     typedIdentifier(v, "TAX", carin.SysTax),
		local:   `{` + identified(s.Provider),
		keyNPI:  carin.SysNPI + "|", keyTax: carin.SysTax + "|", keyLocal: s.Provider + "|",
		related: [2]string{`",` + relOpen, relClosing + `"active":true,"patient":{"reference":"`},
	}
}

// Practitioner appends the C4BB-Practitioner of a row of the providers table
// under an id.
func (m *Mapper) Practitioner(out *fhir.Batch, id string, r *cpcds.Provider) {
	f := &m.practitioner
	b := m.openPractitioner(out, id, r.Get(cpcds.ProvidersProviderLastUpdatedDate))
	from := len(b)
	const open = `"identifier":[`
	b = append(b, open...)
	b = identifier(b, f.npi, r.Get(cpcds.ProvidersProviderNPI)) // MapID 93, 95, 185
	b = identifier(b, f.tax, r.Get(cpcds.ProvidersProviderTaxID))
	b = identifier(b, f.local, r.Get(cpcds.ProvidersProviderID))
	b = fhir.CloseArrayOrDrop(b, from, len(open))
	// MapID 166, 168, 169, 171, 172, 174, 182
	b = name(b, affixes{r.Get(cpcds.ProvidersProviderPrefix), r.Get(cpcds.ProvidersProviderSuffix)},
		r.Get(cpcds.ProvidersProviderFamilyName), r.Get(cpcds.ProvidersProviderGivenName))
	b = phone(b, r.Get(cpcds.ProvidersProviderPhone))
	b = address(b, addressParts{
		line: r.Get(cpcds.ProvidersProviderStreetAddress), city: r.Get(cpcds.ProvidersProviderCity),
		state: r.Get(cpcds.ProvidersProviderState), zip: r.Get(cpcds.ProvidersProviderZIPCode),
	})
	if code := r.Get(cpcds.ProvidersProviderTaxonomy); code != "" { // MapID 47
		b = append(b, qualificationOpen...)
		b = append(b, code...)
		b = append(b, `"}]}}],`...)
	}
	out.End(fhir.CloseResource(b))
	key(out, f.keyNPI, r.Get(cpcds.ProvidersProviderNPI))
	key(out, f.keyTax, r.Get(cpcds.ProvidersProviderTaxID))
	key(out, f.keyLocal, r.Get(cpcds.ProvidersProviderID))
}

const qualificationOpen = `"qualification":[{"code":{"coding":[{"system":"` + carin.SysTaxonomy + `","code":"`

// NamedPractitioner appends a Practitioner with only an NPI and perhaps a name, because claims
// mention the person but no table does. It is a pure function of its arguments.
func (m *Mapper) NamedPractitioner(out *fhir.Batch, id, updated, npi, fullName string) {
	b := m.openPractitioner(out, id, updated)
	b = append(b, `"identifier":[`...)
	b = identifier(b, m.practitioner.npi, npi)
	b = fhir.CloseArray(b)
	if fullName == "" {
		b = append(b, `"name":[{"_family":{"extension":[{"url":"`+extAbsent+`","valueCode":"unknown"}]}}],`...)
	} else {
		b = append(b, `"name":[{"text":"`...)
		b = append(b, fullName...)
		b = append(b, `","family":"`...)
		b = append(b, familyName(fullName)...)
		b = append(b, `"}],`...)
	}
	out.End(fhir.CloseResource(b))
	key(out, m.practitioner.keyNPI, npi)
}

// familyName is the part of "Family, Given" before the comma, or the last word.
func familyName(full string) string {
	last := 0
	for i := range len(full) {
		switch full[i] {
		case ',':
			if i > 0 {
				return full[:i]
			}
		case ' ':
			last = i + 1
		}
	}
	return full[last:]
}

func (m *Mapper) openPractitioner(out *fhir.Batch, id, updated string) []byte {
	b := out.Begin(fhir.Practitioner, id, updated, updated)
	b = append(b, m.practitioner.open...)
	b = append(b, id...)
	b = append(b, m.practitioner.meta...)
	b = append(b, updated...) // MapID 163, 190
	return append(b, m.practitioner.closing...)
}

// Related is a person who is neither member nor provider: a payee, or the subscriber of someone
// else's coverage.
type Related struct {
	ID, LastUpdated, Patient string
	Relationship             string // v3 RoleCode, "" if unknown
	Name                     string // "Family, Given", or a full name
}

var relatedCode = fhir.NewCodedItem(carin.SysRoleCode, "")

// RelatedPerson appends a C4BB-RelatedPerson. It is a pure function of r.
func (m *Mapper) RelatedPerson(out *fhir.Batch, r *Related) {
	b := out.Begin(fhir.RelatedPerson, r.ID, r.LastUpdated, r.LastUpdated)
	b = append(b, `{"resourceType":"RelatedPerson","id":"`...)
	b = append(b, r.ID...)
	b = append(b, m.practitioner.related[0]...)
	b = append(b, r.LastUpdated...)
	b = append(b, m.practitioner.related[1]...)
	b = append(b, r.Patient...)
	b = append(b, `"},`...)
	if r.Relationship != "" {
		b = append(b, `"relationship":[`...)
		b = relatedCode.Put(b, r.Relationship)
		b = fhir.CloseArray(b)
	}
	if family, given, ok := strings.Cut(r.Name, ", "); ok {
		b = name(b, affixes{}, family, given)
	} else {
		b = append(b, `"name":[{"text":"`...)
		b = append(b, r.Name...)
		b = append(b, `","family":"`...)
		b = append(b, familyName(r.Name)...)
		b = append(b, `"}],`...)
	}
	out.End(fhir.CloseResource(b))
	out.Key(fhir.ParamPatient, r.Patient)
}
