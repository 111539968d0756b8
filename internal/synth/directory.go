package synth

import (
	"fmt"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// practitioner is a person who renders services, with an NPI, the payer's own number or both: an
// atypical provider, such as a personal care attendant, has no NPI.
type practitioner struct {
	npi, id  string
	name     string
	taxonomy string
	listed   bool // whether the providers table has them
	row      cpcds.Provider
}

// organization is a facility, a practice or a payer. Facilities and practices have an NPI, the
// payer's own number or both; payers have payer.
type organization struct {
	npi, id, payer string
	name, address  string
	row            cpcds.Organization
}

// facility is a kind of organization that bills for services.
type facility uint8

const (
	hospital facility = iota
	nursingHome
	clinic
	agency
	ambulance
	carrier   // transports patients who need no ambulance; half have no NPI
	groupHome // where people with home care live; none has an NPI
	optician
	dentalOffice
	pharmacy
	numFacilities
)

// facilityKinds has the names of facilities, the number of claims per facility, and the minimum
// number of facilities.
var facilityKinds = [numFacilities]struct {
	names         []string
	claims, least int
}{
	hospital:     {[]string{"Regional Hospital", "Medical Center", "Memorial Hospital"}, 8000, 6},
	nursingHome:  {[]string{"Nursing Center", "Care & Rehabilitation"}, 20000, 3},
	clinic:       {[]string{"Family Practice", "Health Center", "Medical Group", "Pediatrics, PLLC"}, 2000, 16},
	agency:       {[]string{"Home Health", "Home Care, Inc."}, 15000, 4},
	ambulance:    {[]string{"County EMS", "Ambulance Service"}, 20000, 3},
	carrier:      {[]string{"Transit", `"Door to Door" Rides`}, 20000, 4},
	groupHome:    {[]string{"Group Home", "Residential Living"}, 20000, 3},
	optician:     {[]string{"Eye Care", "Optical"}, 15000, 4},
	dentalOffice: {[]string{"Dental", "Family Dentistry"}, 8000, 6},
	pharmacy:     {[]string{"Pharmacy", "Drug Store"}, 4000, 10},
}

// insurer is a kind of payer.
type insurer uint8

const (
	medicaid    insurer = iota // a state agency: fee for service
	managedCare                // a plan that a state agency pays per member
	medicare                   // pays before Medicaid
	private
	numInsurers
)

var insurerKinds = [numInsurers][]struct{ payer, naic, name, state, city, zip string }{
	medicaid: {
		{"NCMCD", "", "North Carolina Medicaid", "NC", "Raleigh", "27601"},
		{"UTMCD", "", "Utah Medicaid", "UT", "Salt Lake City", "84101"},
	},
	managedCare: {
		{"NCPHP1", "95601", "Piedmont Prepaid Health Plan", "NC", "Charlotte", "28202"},
		{"NCPHP2", "95602", "Blue Ridge Community Health Plan", "NC", "Durham", "27701"},
		{"UTACO1", "95603", "Wasatch Accountable Care", "UT", "Salt Lake City", "84101"},
		{"UTACO2", "95604", "Great Basin Health Plan", "UT", "Provo", "84601"},
	},
	medicare: {{"MCARE", "", "Medicare", "NC", "Raleigh", "27601"}},
	private: {
		{"PRIV01", "95605", "Tarheel Mutual Insurance", "NC", "Greensboro", "27401"},
		{"PRIV02", "95606", "Beehive Benefit Company", "UT", "Ogden", "84401"},
	},
}

// region is a state; people go to providers in their own state.
type region uint8

const (
	northCarolina region = iota
	utah
	numRegions
)

// directory holds all providers and payers of an extract.
type directory struct {
	practitioners [numRegions]map[string][]*practitioner // by group of taxonomy
	facilities    [numRegions][numFacilities][]*organization
	insurers      [numInsurers][]*organization

	people []*practitioner // all, in the order of the providers table
	bodies []*organization // all, in the order of the organizations table
}

// practitionerShares has the number of claims per practitioner of a group, and the minimum number
// of practitioners.
var practitionerShares = []struct {
	group         string
	claims, least int
}{{"primary", 800, 24}, {"specialist", 900, 20}, {"surgeon", 2500, 9}, {"hospital", 2500, 8}, {"dentist", 3000, 9},
	{"optometrist", 8000, 4}, {"attendant", 8000, 4}}

// most limits the directory, so that its memory does not grow with the extract.
const most = 8000

func newDirectory(opt *Options) *directory {
	b := directoryBuilder{codes: loadTables(), dir: &directory{}}
	for r := range numRegions {
		b.dir.practitioners[r] = map[string][]*practitioner{}
	}
	b.rng.start(opt.Seed, directoryStream, 0)
	for _, s := range practitionerShares {
		for i := range min(max(opt.Claims/s.claims, s.least), most) {
			b.practitioner(s.group, region(i%int(numRegions)))
		}
	}
	for f, k := range facilityKinds {
		for i := range min(max(opt.Claims/k.claims, k.least), most) {
			b.facility(facility(f), pick(&b.rng, k.names), region(i%int(numRegions)))
		}
	}
	for i, kinds := range insurerKinds {
		for _, k := range kinds {
			at := place{state: k.state, city: k.city, zip: k.zip}
			o := b.body(k.name, at)
			o.payer = k.payer
			o.row.Set(cpcds.OrganizationsOrganizationPayerIdentifier, k.payer)
			o.row.Set(cpcds.OrganizationsOrganizationNAICCode, k.naic)
			b.dir.insurers[i] = append(b.dir.insurers[i], o)
		}
	}
	return b.dir
}

type directoryBuilder struct {
	rng    rng
	arena  arena
	codes  *codeTables
	dir    *directory
	number int
}

func (b *directoryBuilder) practitioner(group string, in region) {
	b.number++
	d := &b.rng
	kind := pick(d, b.codes.taxonomies[group])
	given := pick(d, b.codes.names[pick(d, []string{"female", "male"})])
	family := pick(d, b.codes.names["family"])
	at := pick(d, b.codes.places[in])
	p := &practitioner{name: given + " " + family, taxonomy: kind.code, listed: d.chance(970)}
	if group == "attendant" {
		p.id, p.listed = fmt.Sprintf("PCA%05d", b.number), true
	} else {
		p.npi = b.arena.npi(b.number)
		if len(b.dir.practitioners[in][group])%2 == 1 {
			p.id = fmt.Sprintf("PRV%05d", b.number)
		}
	}
	p.row.Set(cpcds.ProvidersProviderNPI, p.npi)
	p.row.Set(cpcds.ProvidersProviderID, p.id)
	if p.npi == "" || d.chance(100) {
		p.row.Set(cpcds.ProvidersProviderTaxID, fmt.Sprintf("56-%07d", 9000000+b.number))
	}
	p.row.Set(cpcds.ProvidersProviderFamilyName, family)
	p.row.Set(cpcds.ProvidersProviderGivenName, given)
	p.row.Set(cpcds.ProvidersProviderPrefix, kind.title)
	if strings.HasPrefix(kind.code, "1223") { // dentists
		p.row.Set(cpcds.ProvidersProviderSuffix, "DDS")
	}
	p.row.Set(cpcds.ProvidersProviderTaxonomy, kind.code)
	p.row.Set(cpcds.ProvidersProviderStreetAddress, b.street())
	p.row.Set(cpcds.ProvidersProviderCity, at.city)
	p.row.Set(cpcds.ProvidersProviderState, at.state)
	p.row.Set(cpcds.ProvidersProviderZIPCode, at.zip)
	p.row.Set(cpcds.ProvidersProviderPhone, b.phone())
	p.row.Set(cpcds.ProvidersProviderLastUpdatedDate, b.updated())
	b.dir.practitioners[in][group] = append(b.dir.practitioners[in][group], p)
	b.dir.people = append(b.dir.people, p)
}

func (b *directoryBuilder) facility(f facility, kind string, in region) {
	b.number++
	at := pick(&b.rng, b.codes.places[in])
	o := b.body(at.city+" "+kind, at)
	second := len(b.dir.facilities[in][f])%2 == 1
	switch {
	case f == groupHome || f == carrier && !second:
		o.id = fmt.Sprintf("ATYP%05d", b.number)
	case second:
		o.id = fmt.Sprintf("PRV%05d", b.number)
		fallthrough
	default:
		o.npi = b.arena.npi(b.number)
	}
	o.row.Set(cpcds.OrganizationsOrganizationNPI, o.npi)
	o.row.Set(cpcds.OrganizationsOrganizationID, o.id)
	o.row.Set(cpcds.OrganizationsOrganizationTaxID, fmt.Sprintf("87-%07d", 8000000+b.number))
	b.dir.facilities[in][f] = append(b.dir.facilities[in][f], o)
}

// body makes an organization with the fields that all have.
func (b *directoryBuilder) body(name string, at place) *organization {
	street := b.street()
	o := &organization{name: name, address: street + ", " + at.city + ", " + at.state + " " + at.zip}
	o.row.Set(cpcds.OrganizationsOrganizationName, name)
	o.row.Set(cpcds.OrganizationsOrganizationActive, pick(&b.rng, []string{"true", "true", "true", "", "false"}))
	o.row.Set(cpcds.OrganizationsOrganizationStreetAddress, street)
	o.row.Set(cpcds.OrganizationsOrganizationCity, at.city)
	o.row.Set(cpcds.OrganizationsOrganizationState, at.state)
	o.row.Set(cpcds.OrganizationsOrganizationZIPCode, at.zip)
	o.row.Set(cpcds.OrganizationsOrganizationCountry, "US")
	o.row.Set(cpcds.OrganizationsOrganizationPhone, b.phone())
	o.row.Set(cpcds.OrganizationsOrganizationLastUpdatedDate, b.updated())
	b.dir.bodies = append(b.dir.bodies, o)
	return o
}

func (b *directoryBuilder) street() string {
	return fmt.Sprintf("%d %s %s", b.rng.between(100, 9900), pick(&b.rng, b.codes.names["street"]), pick(&b.rng, []string{"St", "Ave", "Rd", "Blvd"}))
}

// phone makes a number from the range reserved for fiction.
func (b *directoryBuilder) phone() string {
	return fmt.Sprintf("%d-555-01%02d", pick(&b.rng, []int{704, 919, 336, 801, 435}), b.rng.below(100))
}

func (b *directoryBuilder) updated() string {
	return b.arena.instant(date(2015, 1, 1)+day(b.rng.below(3600)), b.rng.below(86400))
}
