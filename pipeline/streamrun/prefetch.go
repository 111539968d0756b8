package streamrun

import (
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// lookups are the columns of a claim's header that name what is looked up for it, and the keys that
// they are looked up by first.
var lookups = []struct {
	element cpcds.Element
	typ     fhir.Type
	by      string
}{
	{cpcds.MemberID, fhir.Patient, ""},
	{cpcds.CoverageID, fhir.Coverage, ""},
	{cpcds.ClaimPayerIdentifier, fhir.Organization, directory.ByPayer},
	{cpcds.BillingProviderNPI, fhir.Organization, directory.ByNPI},
	{cpcds.BillingProviderID, fhir.Organization, directory.ByID},
	{cpcds.ServiceFacilityNPI, fhir.Organization, directory.ByNPI},
	{cpcds.ServiceFacilityID, fhir.Organization, directory.ByID},
	{cpcds.AttendingProviderNPI, fhir.Practitioner, directory.ByNPI},
	{cpcds.PerformingProviderNPI, fhir.Practitioner, directory.ByNPI},
	{cpcds.PCPNPI, fhir.Practitioner, directory.ByNPI},
	{cpcds.ReferringProviderNPI, fhir.Practitioner, directory.ByNPI},
	{cpcds.OperatingProviderNPI, fhir.Practitioner, directory.ByNPI},
	{cpcds.SupervisingProviderNPI, fhir.Practitioner, directory.ByNPI},
	{cpcds.PrescribingProviderNPI, fhir.Practitioner, directory.ByNPI},
	{cpcds.CareTeamProviderNPI, fhir.Practitioner, directory.ByNPI},
}

// lookup is something that is looked up, by what names it.
type lookup struct {
	column int // of lookups
	value  string
}

// prefetch reads together what the claims among these items will look up, or nearly all of it: that is
// most of what a stream reads of its target. What it leaves out is read when it is looked up.
func (m *maker) prefetch(items []item) {
	m.names = m.names[:0]
	clear(m.looked)
	for i := range items {
		it := &items[i]
		if it.fault != nil || it.Value == nil || it.table != cpcds.Claims {
			continue
		}
		rows := m.kit.readers[cpcds.Claims].batch(it.place.Group)
		key := rows.Key(it.place.From)
		if key == "" {
			continue
		}
		raw := m.raw.Raw(fhir.ExplanationOfBenefit, key)
		m.names = append(m.names, queueSpace+string(raw[:]), lastSpace+string(record(fhir.ExplanationOfBenefit, raw)))
		m.lookAhead(rows, it.place.From)
	}
	m.dir.Prefetch(m.names)
}

// lookAhead adds the names of what is looked up for the first row of a claim.
func (m *maker) lookAhead(rows *rowbatch.Batch, row int) {
	for i := range lookups {
		c := rows.ColumnOf(lookups[i].element)
		if c == nil {
			continue
		}
		value := c.Value(row)
		if value == "" {
			continue
		}
		x := lookup{i, value}
		if m.looked[x] {
			continue
		}
		m.looked[x] = true // the rows are there until the items are made
		var u directory.Unresolved
		u.Type = lookups[i].typ
		if by := lookups[i].by; by != "" {
			u.Key = m.raw.Raw(u.Type, by, value)
		} else {
			u.Key = m.raw.Raw(u.Type, value)
		}
		m.names = append(m.names, u.Names()[0])
	}
}
