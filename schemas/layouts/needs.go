package layouts

import (
	"fmt"
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// need is what rows must have to be loaded: at least one of the elements.
type need struct {
	elements []cpcds.Element
	some     string   // which rows need it, "" if all do
	not      []string // kinds of claims that do not need it
}

// needs are what the rows of each table must have, whatever the source: without them the rules
// reject the row. A layout that cannot fill them loads nothing.
var needs = [cpcds.NumTables][]need{
	cpcds.Members: {
		{elements: []cpcds.Element{cpcds.MembersMemberID}},
		{elements: []cpcds.Element{cpcds.MembersGenderCode}},
		{elements: []cpcds.Element{cpcds.MembersMemberLastUpdatedDate}},
	},
	cpcds.Coverages: {
		{elements: []cpcds.Element{cpcds.CoveragesCoverageID}},
		{elements: []cpcds.Element{cpcds.CoveragesMemberID}},
		{elements: []cpcds.Element{cpcds.CoveragesSubscriberID}},
		{elements: []cpcds.Element{cpcds.CoveragesPayerIdentifier}},
		{elements: []cpcds.Element{cpcds.CoveragesCoverageStatus}},
		{elements: []cpcds.Element{cpcds.CoveragesRelationshipToSubscriber}},
		{elements: []cpcds.Element{cpcds.CoveragesCoverageLastUpdatedDate}},
	},
	cpcds.Providers: {
		{elements: []cpcds.Element{cpcds.ProvidersProviderNPI, cpcds.ProvidersProviderTaxID}},
		{elements: []cpcds.Element{cpcds.ProvidersProviderFamilyName}},
		{elements: []cpcds.Element{cpcds.ProvidersProviderLastUpdatedDate}},
	},
	cpcds.Organizations: {
		{elements: []cpcds.Element{cpcds.OrganizationsOrganizationID, cpcds.OrganizationsOrganizationNPI, cpcds.OrganizationsOrganizationPayerIdentifier}},
		{elements: []cpcds.Element{cpcds.OrganizationsOrganizationName}},
		{elements: []cpcds.Element{cpcds.OrganizationsOrganizationLastUpdatedDate}},
	},
	cpcds.Claims: {
		{elements: []cpcds.Element{cpcds.ClaimUniqueIdentifier}},
		{elements: []cpcds.Element{cpcds.MemberID}},
		{elements: []cpcds.Element{cpcds.ClaimType}},
		{elements: []cpcds.Element{cpcds.ClaimLastUpdatedDate}},
		{elements: []cpcds.Element{cpcds.ClaimProcessingStatusCode}},
		{elements: []cpcds.Element{cpcds.AdjudicationDate}},
		{elements: []cpcds.Element{cpcds.BillingProviderNPI, cpcds.BillingProviderID, cpcds.ServiceFacilityNPI, cpcds.ServiceFacilityID}},
		{elements: []cpcds.Element{cpcds.StatementFromDate}, some: "claims other than pharmacy claims", not: []string{"pharmacy"}},
		{elements: []cpcds.Element{cpcds.ServiceFromDate}, some: "professional, pharmacy and oral claims", not: []string{"inpatient"}},
		{elements: []cpcds.Element{cpcds.LineSubmittedAmount, cpcds.LinePaymentAmount, cpcds.LineEligibleAmount, cpcds.ClaimTotalSubmittedAmount,
			cpcds.ClaimPaymentAmount, cpcds.ClaimTotalEligibleAmount, cpcds.DrugCost}, some: "claims of the financial profiles"},
		{elements: []cpcds.Element{cpcds.ClaimBenefitPaymentStatus, cpcds.LineBenefitPaymentStatus}, some: "claims with amounts"},
		{elements: []cpcds.Element{cpcds.ProcedureCode, cpcds.NationalDrugCode, cpcds.RevenueCenterCode, cpcds.ProcedureDescription}, some: "claims"},
		{elements: []cpcds.Element{cpcds.DiagnosisCode}, some: "claims other than pharmacy and oral claims", not: []string{"pharmacy", "oral"}},
	},
}

// lacks finds what makes a readable layout useless: tables whose rows would all be rejected. It
// warns of tables with some such rows.
func (p *layoutParser) lacks() {
	for _, tab := range p.layout.all() {
		if len(tab.columns) == 0 {
			continue
		}
		node := p.places[tab]
		for _, n := range needs[tab.Table] {
			if slices.Contains(n.not, tab.kind()) {
				continue
			}
			if slices.ContainsFunc(n.elements, func(el cpcds.Element) bool { return tab.column(el) != nil }) || p.sets(n.elements[0]) {
				continue
			}
			what := "nothing is bound to " + n.elements[0].Column()
			if len(n.elements) > 1 {
				what = "nothing is bound to any of " + names(n.elements)
			}
			if n.some != "" {
				p.at(node, "", "table %s: %s, which %s need", tab, what, n.some)
			} else {
				p.at(node, "bind a column, or set a const", "table %s: %s: every row would be rejected", tab, what)
			}
			// Claims can be loaded without a table of their providers: synthea has no NPIs.
			apart := tab.Table == cpcds.Providers || tab.Table == cpcds.Organizations
			p.findings[len(p.findings)-1].Warning = n.some != "" || apart
		}
	}
}

// identified are the elements that become one of the payer's Identifiers, with the key of the
// system in the systems block.
var identified = []struct {
	element cpcds.Element
	key     string
	system  func(*Systems) string
}{
	{cpcds.ClaimUniqueIdentifier, "claim", func(s *Systems) string { return s.Claim }},
	{cpcds.MembersMemberID, "member", func(s *Systems) string { return s.Member }},
	{cpcds.MembersUniqueMemberID, "unique_member", func(s *Systems) string { return s.UniqueMember }},
	{cpcds.CoveragesCoverageID, "coverage", func(s *Systems) string { return s.Coverage }},
	{cpcds.ProvidersProviderID, "provider", func(s *Systems) string { return s.Provider }},
	{cpcds.OrganizationsOrganizationID, "organization", func(s *Systems) string { return s.Organization }},
	{cpcds.OrganizationsOrganizationPayerIdentifier, "payer", func(s *Systems) string { return s.Payer }},
	{cpcds.CoveragesPayerIdentifier, "payer", func(s *Systems) string { return s.Payer }},
	{cpcds.ClaimPayerIdentifier, "payer", func(s *Systems) string { return s.Payer }},
}

// anonymous finds identifiers without a system.
func (p *layoutParser) anonymous() {
	seen := map[string]bool{}
	for _, x := range identified {
		for _, tab := range p.layout.all() {
			if tab.column(x.element) == nil || x.system(&p.layout.Systems) != "" || seen[x.key] {
				continue
			}
			seen[x.key] = true
			p.at(p.places[tab], "add "+x.key+" to systems", "systems has no %s: the identifiers of %s would be written without a system", x.key, x.element.Column())
			f := &p.findings[len(p.findings)-1]
			f.Warning, f.Refused = true, true
		}
	}
}

// kind is the kind of all claims of the table if the layout sets it, else "".
func (t *Table) kind() string {
	for _, el := range []cpcds.Element{cpcds.ClaimSubType, cpcds.ClaimType} {
		if c := t.column(el); t.Table == cpcds.Claims && c != nil && c.origin == fromConst && c.constant != "" {
			return c.constant
		}
	}
	return ""
}

// sets reports whether the claims rules can set an element.
func (p *layoutParser) sets(el cpcds.Element) bool {
	for _, r := range p.layout.Claims.Reclassify {
		if slices.ContainsFunc(r.Set, func(a Assignment) bool { return a.Element == el }) {
			return true
		}
	}
	return false
}

// keyed finds tables without a usable key.
func (p *tableParser) keyed(e entry) {
	t := p.table
	if len(t.columns) == 0 {
		return // already reported
	}
	if len(t.Key) == 0 {
		p.at(e.node, fmt.Sprintf("add key: [%s]", names(tableKeys[t.Table])), "table %s has no key", t)
		return
	}
	if !slices.ContainsFunc(t.Key, func(el cpcds.Element) bool { c := t.column(el); return c == nil || c.origin != fromConst }) {
		p.at(e.node, "", "table %s: the key %s is constant, so all rows would be one record", t, names(t.Key))
	}
}
