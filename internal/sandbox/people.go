package sandbox

import (
	"strconv"
	"time"

	"cpcds2fhir/schemas/cpcds"
)

// person is a member of the sandbox.
type person struct {
	key           string
	family, given string
	gender        string
	birth         string // a date, or "" if born is set
	born          int    // months before the last one, for children who are born in the extract
	street        string
	town          town
	covers        []cover
	pcp           practitioner
	represents    []string
	description   string // of the login; "" for members without one
}

type town struct{ city, county, zip string }

var (
	logan = town{"Logan", "Cache", "84321"}
	provo = town{"Provo", "Utah", "84601"}
	ogden = town{"Ogden", "Weber", "84401"}
)

// cover is a coverage of a member, from some months before the last one until to, 0 if it has not ended.
type cover struct {
	number     string
	payer      organization
	from, to   int
	kind       string // SOPT
	plan, name string
	subscriber string // member_id of the subscriber; "" is the member
	relation   string // to the subscriber
	family     string // of a subscriber who is no member
	first      string
}

func (c *cover) id(member string) string { return member + "-" + c.number }

// coverOn is the coverage in effect on a day.
func (p *person) coverOn(b *book, day time.Time) *cover {
	for i := range p.covers {
		if c := &p.covers[i]; c.to == 0 || day.Before(b.day(c.to, 1)) {
			return c
		}
	}
	return &p.covers[len(p.covers)-1]
}

// Members of the sandbox, by member_id.
const (
	elena  = "SB1001"
	grace  = "SB1002"
	noah   = "SB1003"
	lily   = "SB1004"
	samuel = "SB1005"
	priya  = "SB1006"
	tomas  = "SB1007"
	ruth   = "SB1008"
	jun    = "SB1009"
	hana   = "SB1010"
	omar   = "SB1011"
)

// feeForService is a coverage by the state itself for as long as the extract reaches back.
func feeForService() cover {
	return cover{number: "1", payer: medicaid, from: 48, kind: "2", plan: "FFS", name: "Medicaid fee for service"}
}

func people() []person {
	child := feeForService()
	child.subscriber, child.relation = grace, "child"
	newborn := child
	newborn.from = 20
	spouse := cover{number: "1", payer: riverbend, from: 40, to: 18, kind: "211", plan: "RB-STD", name: "Riverbend Standard",
		subscriber: "RB77120", relation: "spouse", family: "Lindqvist", first: "Erik"}
	later := feeForService()
	later.number, later.from = "2", 18
	managed := cover{number: "1", payer: riverbend, from: 48, to: 14, kind: "211", plan: "RB-STD", name: "Riverbend Standard"}
	state := feeForService()
	state.number, state.from = "2", 14
	recent := feeForService()
	recent.from = 1
	plain := []cover{feeForService()}
	return []person{
		{key: elena, family: "Marsh", given: "Elena", gender: "female", birth: "1979-05-17", street: "214 Canyon Rd", town: logan, covers: []cover{managed, state}, pcp: reyes,
			description: "claims of all six kinds in three years, two coverages, a corrected claim, a reversed fill and denials"},
		{key: grace, family: "Whitfield", given: "Grace", gender: "female", birth: "1991-09-02", street: "88 Maple Ave, Apt 2", town: provo, covers: plain, pcp: lund, represents: []string{noah, lily},
			description: "a pregnancy and a birth; she represents her children Noah and Lily"},
		{key: noah, family: "Whitfield", given: "Noah", gender: "male", birth: "2017-03-11", street: "88 Maple Ave, Apt 2", town: provo, covers: []cover{child}, pcp: lund},
		{key: lily, family: "Whitfield", given: "Lily", gender: "female", born: 20, street: "88 Maple Ave, Apt 2", town: provo, covers: []cover{newborn}, pcp: lund},
		{key: samuel, family: "Boone", given: "Samuel", gender: "male", birth: "1963-12-30", street: "7 Ridge Ln", town: logan, covers: plain, pcp: reyes,
			description: "inpatient claims only: a knee replacement and two stays for heart failure"},
		{key: priya, family: "Raman", given: "Priya", gender: "female", birth: "1986-07-23", street: "1450 Center St", town: ogden, covers: plain, pcp: okafor,
			description: "outpatient claims only: an emergency visit, imaging and physical therapy"},
		{key: tomas, family: "Keller", given: "Tomas", gender: "male", birth: "1995-02-08", street: "31 Mill St", town: ogden, covers: plain, pcp: okafor,
			description: "professional claims only: visits and counseling"},
		{key: ruth, family: "Abara", given: "Ruth", gender: "female", birth: "1968-10-14", street: "902 Temple Rd", town: logan, covers: plain, pcp: reyes,
			description: "pharmacy claims only: medicines for asthma, thyroid and cholesterol"},
		{key: jun, family: "Park", given: "Jun", gender: "male", birth: "2004-04-19", street: "560 Lake St, Apt 9", town: provo, covers: plain, pcp: lund,
			description: "oral claims only: check-ups, a filling and a crown"},
		{key: hana, family: "Lindqvist", given: "Hana", gender: "female", birth: "1974-08-27", street: "12 Cedar Ave", town: provo, covers: []cover{spouse, later}, pcp: lund,
			description: "vision claims only; her first coverage was her husband's, who is no member"},
		{key: omar, family: "Diaz", given: "Omar", gender: "male", birth: "1999-01-05", street: "77 Spring St", town: ogden, covers: []cover{recent},
			description: "a new member who has a coverage and no claims yet"},
	}
}

// newBook begins the extract with its members and providers.
func newBook(month time.Time) *book {
	b := &book{end: month, people: map[string]*person{}, count: map[string]int{}}
	began := instant(b.day(1, 1))
	for _, p := range people() {
		b.people[p.key] = &p
		b.member(&p, began)
		for i := range p.covers {
			b.coverage(&p, &p.covers[i])
		}
	}
	for _, p := range practitioners {
		var r cpcds.Provider
		for e, v := range map[cpcds.Element]string{
			cpcds.ProvidersProviderNPI: p.npi, cpcds.ProvidersProviderFamilyName: p.family, cpcds.ProvidersProviderGivenName: p.given,
			cpcds.ProvidersProviderPrefix: p.prefix, cpcds.ProvidersProviderTaxonomy: p.taxonomy, cpcds.ProvidersProviderLastUpdatedDate: instant(b.day(37, 1)),
		} {
			r.Set(e, v)
		}
		b.providers = append(b.providers, r)
	}
	for i, o := range organizations {
		var r cpcds.Organization
		for e, v := range map[cpcds.Element]string{
			cpcds.OrganizationsOrganizationNPI: o.npi, cpcds.OrganizationsOrganizationPayerIdentifier: o.payer, cpcds.OrganizationsOrganizationName: o.name,
			cpcds.OrganizationsOrganizationActive: "true", cpcds.OrganizationsOrganizationStreetAddress: o.street, cpcds.OrganizationsOrganizationCity: o.town.city,
			cpcds.OrganizationsOrganizationState: "UT", cpcds.OrganizationsOrganizationZIPCode: o.town.zip, cpcds.OrganizationsOrganizationCountry: "US",
			cpcds.OrganizationsOrganizationPhone: "435-555-01" + strconv.Itoa(10+i), cpcds.OrganizationsOrganizationLastUpdatedDate: instant(b.day(37, 1)),
		} {
			r.Set(e, v)
		}
		b.organizations = append(b.organizations, r)
	}
	return b
}

func (b *book) member(p *person, updated string) {
	birth, sex := p.birth, "F"
	if birth == "" {
		birth = date(b.day(p.born, 6))
	}
	if p.gender == "male" {
		sex = "M"
	}
	var r cpcds.Member
	for e, v := range map[cpcds.Element]string{
		cpcds.MembersMemberID: p.key, cpcds.MembersMemberFamilyName: p.family, cpcds.MembersMemberGivenName: p.given, cpcds.MembersDateOfBirth: birth,
		cpcds.MembersGenderCode: p.gender, cpcds.MembersBirthSex: sex, cpcds.MembersStreetAddress: p.street, cpcds.MembersCity: p.town.city,
		cpcds.MembersCounty: p.town.county, cpcds.MembersState: "UT", cpcds.MembersCountry: "US", cpcds.MembersZIPCode: p.town.zip,
		cpcds.MembersMemberLastUpdatedDate: updated,
	} {
		r.Set(e, v)
	}
	b.members = append(b.members, r)
}

func (b *book) coverage(p *person, c *cover) {
	subscriber, relation, end, status, updated := p.key, "self", "", "active", b.day(c.from, 1)
	if c.subscriber != "" {
		subscriber, relation = c.subscriber, c.relation
	}
	if c.to > 0 {
		updated = b.day(c.to, 1)
		end, status = date(updated.AddDate(0, 0, -1)), "cancelled"
	}
	var r cpcds.Coverage
	for e, v := range map[cpcds.Element]string{
		cpcds.CoveragesCoverageID: c.id(p.key), cpcds.CoveragesMemberID: p.key, cpcds.CoveragesSubscriberID: subscriber,
		cpcds.CoveragesSubscriberFamilyName: c.family, cpcds.CoveragesSubscriberGivenName: c.first,
		cpcds.CoveragesRelationshipToSubscriber: relation, cpcds.CoveragesPayerIdentifier: c.payer.payer, cpcds.CoveragesCoverageType: c.kind,
		cpcds.CoveragesCoverageStatus: status, cpcds.CoveragesStartDate: date(b.day(c.from, 1)), cpcds.CoveragesEndDate: end,
		cpcds.CoveragesPlanIdentifier: c.plan, cpcds.CoveragesPlanName: c.name, cpcds.CoveragesGroupID: "UT-MED",
		cpcds.CoveragesGroupName: "Anystate Medicaid members", cpcds.CoveragesCoverageLastUpdatedDate: instant(updated),
	} {
		r.Set(e, v)
	}
	b.coverages = append(b.coverages, r)
}
