package mappers

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

type organizationFragments struct {
	open, meta, closing                       string
	npi, tax, naic, payer, local              string
	keyNPI, keyTax, keyNAIC, keyPay, keyLocal string
}

func newOrganizationFragments(v *carin.Version, s Systems) organizationFragments {
	open, closing := metaFragments(v.Canonical("C4BB-Organization"))
	return organizationFragments{
		open:    `{"resourceType":"Organization","id":"`,
		meta:    `",` + open,
		closing: closing,
		npi:     typedIdentifier(v, "NPI", carin.SysNPI),
		tax:     typedIdentifier(v, "TAX", carin.SysTax),
		naic:    naicIdentifier(v),
		payer:   `{"type":{"coding":[{"system":"` + carin.SysIdentifierType + `","code":"payerid"}]},` + identified(s.Payer),
		local:   `{` + identified(s.Organization),
		keyNPI:  carin.SysNPI + "|", keyTax: carin.SysTax + "|", keyNAIC: carin.SysNAIC + "|", keyPay: s.Payer + "|", keyLocal: s.Organization + "|",
	}
}

// typedIdentifier is an identifier with a type of v2-0203, up to its value.
func typedIdentifier(v *carin.Version, code, system string) string {
	version := ""
	if v.IdentifierVersion != "" {
		version = `"version":"` + v.IdentifierVersion + `",`
	}
	return `{"type":{"coding":[{"system":"` + carin.SysV20203 + `",` + version + `"code":"` + code + `"}]},"system":"` + system + `","value":"`
}

func naicIdentifier(v *carin.Version) string {
	return `{"type":{"coding":[{"system":"` + carin.SysIdentifierType + `","code":"naiccode"}]},"system":"` + carin.SysNAIC + `","value":"`
}

var fieldActive = fhir.NewNum("active")

// Organization appends the C4BB-Organization of a row of the organizations table
// under an id.
func (m *Mapper) Organization(out *fhir.Batch, id string, r *cpcds.Organization) {
	f := &m.organization
	updated := r.Get(cpcds.OrganizationsOrganizationLastUpdatedDate)
	b := m.openOrganization(out, id, updated)
	from := len(b)
	const open = `"identifier":[`
	b = append(b, open...)
	b = identifier(b, f.npi, r.Get(cpcds.OrganizationsOrganizationNPI))               // MapID 94, 97, 186
	b = identifier(b, f.payer, r.Get(cpcds.OrganizationsOrganizationPayerIdentifier)) // MapID 2
	b = identifier(b, f.naic, r.Get(cpcds.OrganizationsOrganizationNAICCode))         // MapID 2
	b = identifier(b, f.tax, r.Get(cpcds.OrganizationsOrganizationTaxID))
	b = identifier(b, f.local, r.Get(cpcds.OrganizationsOrganizationID))
	b = fhir.CloseArrayOrDrop(b, from, len(open))
	active := r.Get(cpcds.OrganizationsOrganizationActive)
	if active == "" {
		active = "true"
	}
	b = fieldActive.Put(b, active)
	b = fieldName.Put(b, r.Get(cpcds.OrganizationsOrganizationName)) // MapID 167, 170, 175
	b = phone(b, r.Get(cpcds.OrganizationsOrganizationPhone))
	b = address(b, addressParts{ // MapID 176
		line: r.Get(cpcds.OrganizationsOrganizationStreetAddress), city: r.Get(cpcds.OrganizationsOrganizationCity),
		state: r.Get(cpcds.OrganizationsOrganizationState), zip: r.Get(cpcds.OrganizationsOrganizationZIPCode),
		country: r.Get(cpcds.OrganizationsOrganizationCountry),
	})
	out.End(fhir.CloseResource(b))
	key(out, f.keyNPI, r.Get(cpcds.OrganizationsOrganizationNPI))
	key(out, f.keyPay, r.Get(cpcds.OrganizationsOrganizationPayerIdentifier))
	key(out, f.keyNAIC, r.Get(cpcds.OrganizationsOrganizationNAICCode))
	key(out, f.keyTax, r.Get(cpcds.OrganizationsOrganizationTaxID))
	key(out, f.keyLocal, r.Get(cpcds.OrganizationsOrganizationID))
}

// NamedOrganization appends an Organization with only an NPI and perhaps a name and a one-line
// address, because claims mention it but no table has it. It is a pure function of its arguments.
func (m *Mapper) NamedOrganization(out *fhir.Batch, id, updated, npi, orgName, addressText string) {
	f := &m.organization
	m.referencedOnly(out, id, updated, f.npi, npi, orgName, addressText)
	key(out, f.keyNPI, npi)
}

// LocalOrganization is NamedOrganization with the payer's own identifier instead of an NPI.
func (m *Mapper) LocalOrganization(out *fhir.Batch, id, updated, local, orgName, addressText string) {
	f := &m.organization
	m.referencedOnly(out, id, updated, f.local, local, orgName, addressText)
	key(out, f.keyLocal, local)
}

// referencedOnly appends an Organization that has one identifier.
func (m *Mapper) referencedOnly(out *fhir.Batch, id, updated, open, value, orgName, addressText string) {
	b := m.openOrganization(out, id, updated)
	b = append(b, `"identifier":[`...)
	b = identifier(b, open, value)
	b = fhir.CloseArray(b)
	b = append(b, `"active":true,`...)
	if orgName == "" {
		b = append(b, absentName...)
	}
	b = fieldName.Put(b, orgName)
	b = address(b, addressParts{text: addressText})
	out.End(fhir.CloseResource(b))
}

// PayerOrganization is NamedOrganization for a payer.
func (m *Mapper) PayerOrganization(out *fhir.Batch, id, updated, payer, orgName string) {
	f := &m.organization
	m.referencedOnly(out, id, updated, f.payer, payer, orgName, "")
	key(out, f.keyPay, payer)
}

const absentName = `"_name":{"extension":[{"url":"` + extAbsent + `","valueCode":"unknown"}]},`

func (m *Mapper) openOrganization(out *fhir.Batch, id, updated string) []byte {
	b := out.Begin(fhir.Organization, id, updated, updated)
	b = append(b, m.organization.open...)
	b = append(b, id...)
	b = append(b, m.organization.meta...)
	b = append(b, updated...) // MapID 163, 190
	return append(b, m.organization.closing...)
}

func identifier(b []byte, open, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, open...)
	b = append(b, value...)
	return append(b, `"},`...)
}

func key(out *fhir.Batch, system, value string) {
	if value != "" {
		out.Key(fhir.ParamIdentifier, system, value)
	}
}

func phone(b []byte, number string) []byte {
	if number == "" {
		return b
	}
	b = append(b, `"telecom":[{"system":"phone","value":"`...)
	b = append(b, number...)
	return append(b, `"}],`...)
}
