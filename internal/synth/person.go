package synth

import (
	"cmp"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// The extract covers claims for services of these years. ICD-10 replaced ICD-9
// on icd10Day.
var (
	historyBegin = date(2014, 1, 1)
	historyEnd   = date(2024, 12, 31)
	icd10Day     = date(2015, 10, 1)
)

// person is a member with their coverages. Everything about a person is a function of seed and
// number.
type person struct {
	number     uint64
	birth      day
	begin, end day // services are between these days
	female     bool
	home       region
	place      place
	row        cpcds.Member

	primary []span // Medicaid or a plan that it pays; consecutive, without gaps
	other   *span  // of another payer, for the whole time; mostly nil
	others  [1]span
	primed  [3]span
	pcp     *practitioner
}

// span is a coverage with its first and last day.
type span struct {
	from, thru day
	payer      *organization
	row        cpcds.Coverage
}

// covered is the primary coverage in effect on a day between begin and end.
func (p *person) covered(on day) *span {
	for i := range p.primary {
		if on <= p.primary[i].thru {
			return &p.primary[i]
		}
	}
	return &p.primary[len(p.primary)-1]
}

// age is the age in full years on a day.
func (p *person) age(on day) int { return int(on-p.birth) * 100 / 36525 }

// person makes member number n. The texts are valid until the arena is reset.
func (g *generator) person(n uint64) {
	d, p := &g.rng, &g.who
	d.start(g.opt.Seed, personStream, n)
	*p = person{number: n, home: region(d.below(int(numRegions)))}
	p.place = pick(d, g.codes.places[p.home])

	switch age := d.below(100); {
	case age < 12:
		p.birth = historyBegin + day(d.below(3900)) // born on Medicaid
	case age < 45:
		p.birth = historyEnd - day(d.between(11*365, 21*365))
	case age < 88:
		p.birth = historyEnd - day(d.between(21*365, 62*365))
	default:
		p.birth = historyEnd - day(d.between(66*365, 95*365))
	}
	p.begin = max(p.birth, historyBegin+day(d.below(400)))
	p.end = historyEnd - day(d.below(60))
	dies := n%50 == 10
	if (d.chance(150) || dies) && p.end-p.begin > 800 {
		p.end -= day(d.between(50, 700))
	}
	p.female = d.chance(540)

	sex := "male"
	if p.female {
		sex = "female"
	}
	set := p.row.Set
	id := g.arena.join(g.arena.number("", 100000000+n*524287%900000000, 9), letters[n%20:n%20+1])
	set(cpcds.MembersMemberID, id)
	set(cpcds.MembersUniqueMemberID, g.arena.number("P", scramble(n)%1e4*1e8+n, 12))
	set(cpcds.MembersMemberFamilyName, pick(d, g.codes.names["family"]))
	set(cpcds.MembersMemberGivenName, pick(d, g.codes.names[sex]))
	if d.chance(400) {
		set(cpcds.MembersMemberMiddleName, pick(d, g.codes.names[sex]))
	}
	set(cpcds.MembersDateOfBirth, p.birth.String())
	g.demographics(sex)
	g.address()

	if dies && p.end < historyEnd-100 {
		set(cpcds.MembersDeceased, "true")
		if d.chance(850) {
			// Stays and home care that began by p.end have ended by then.
			set(cpcds.MembersDateOfDeath, (p.end + 45).String())
		}
	} else if d.chance(300) {
		set(cpcds.MembersDeceased, "false")
	}
	set(cpcds.MembersMemberLastUpdatedDate, g.arena.instant(p.end+day(d.between(46, 80)), d.below(86400)))

	p.pcp = pick(d, g.dir.practitioners[p.home]["primary"])
	g.coverages()
}

const letters = "ABCDEFGHKLMNPRSTVWXYZ"

func (g *generator) demographics(sex string) {
	d, set := &g.rng, g.who.row.Set
	birthSex := "M"
	if sex == "female" {
		birthSex = "F"
	}
	// A member whose turn it is to be male or female stays what they are.
	n := g.who.number
	if code := inTurn(cpcds.MembersGenderCode, n, 20); code == "other" || code == "unknown" {
		sex = code
	}
	set(cpcds.MembersGenderCode, sex)
	if code := inTurn(cpcds.MembersBirthSex, n, 24); len(code) > 1 {
		set(cpcds.MembersBirthSex, code)
	} else if d.chance(900) {
		set(cpcds.MembersBirthSex, birthSex)
	}
	race := cmp.Or(inTurn(cpcds.MembersRaceCode, n, 8), pick(d, g.codes.codes["race"]))
	if d.chance(50) && race[0] <= '9' {
		if second := pick(d, g.codes.codes["race"]); second[0] <= '9' && second != race {
			race = g.arena.join(race, " ", second)
		}
	}
	set(cpcds.MembersRaceCode, race)
	set(cpcds.MembersEthnicity, cmp.Or(inTurn(cpcds.MembersEthnicity, n, 12), pick(d, g.codes.codes["ethnicity"])))
}

func (g *generator) address() {
	d, p := &g.rng, &g.who
	set := p.row.Set
	set(cpcds.MembersStreetAddress, g.arena.join(g.arena.number("", uint64(d.between(100, 9999)), 1), " ", pick(d, g.codes.names["street"]),
		pick(d, []string{" St", " Ave", " Rd", " Ln", " St, Apt 2", " Rd Lot #14"})))
	set(cpcds.MembersCity, p.place.city)
	set(cpcds.MembersCounty, p.place.county)
	set(cpcds.MembersState, p.place.state)
	set(cpcds.MembersCountry, "US")
	zip := p.place.zip
	if d.chance(250) {
		zip = g.arena.number(g.arena.join(zip, "-"), uint64(d.between(1000, 9999)), 4)
	}
	set(cpcds.MembersZIPCode, zip)
	set(cpcds.MembersAddressBeginDate, (p.begin + day(d.below(max(1, int(p.end-p.begin)/2)))).String())
	if d.chance(60) {
		set(cpcds.MembersAddressEndDate, (p.end + day(d.between(1, 200))).String())
	}
}

// One in this many members has a private insurer, whose coverage types are taken in turn.
const privately = 6

// coverages gives the person one to three consecutive coverages, and some people another payer:
// Medicare for the old and the disabled, or a private insurer.
func (g *generator) coverages() {
	d, p := &g.rng, &g.who
	spans := 1 + d.below(3)
	if p.end-p.begin < 800 {
		spans = 1
	}
	length := (p.end - p.begin + 1) / day(spans)
	p.primary = p.primed[:spans]
	for i := range p.primary {
		s := &p.primary[i]
		s.from, s.thru = p.begin+day(i)*length, p.begin+day(i+1)*length-1
		if i == spans-1 {
			s.thru = p.end
		}
		g.primaryCoverage(s, i)
	}
	old := p.age(historyEnd) >= 65
	switch {
	case p.number%privately == 0:
		p.other = &p.others[0]
		g.privateCoverage(p.other)
	case old && d.chance(800) || d.chance(40):
		p.other = &p.others[0]
		g.medicareCoverage(p.other)
	}
}

func (g *generator) primaryCoverage(s *span, i int) {
	d, p := &g.rng, &g.who
	s.payer = g.dir.insurers[medicaid][p.home]
	set := s.row.Set
	if d.chance(650) {
		s.payer = g.dir.insurers[managedCare][d.below(2)+2*int(p.home)]
		set(cpcds.CoveragesCoverageType, pick(d, []string{"21", "211", "HMO"}))
		set(cpcds.CoveragesPlanIdentifier, g.arena.join(s.payer.payer, "-STD"))
		set(cpcds.CoveragesPlanName, "Standard Plan")
	} else {
		set(cpcds.CoveragesCoverageType, pick(d, []string{"2", "22", "23"}))
	}
	g.coverage(s, i)
	set(cpcds.CoveragesStartDate, s.from.String())
	if s.thru < historyEnd-60 {
		set(cpcds.CoveragesEndDate, s.thru.String())
	}
	if p.age(s.thru) < 19 && d.chance(200) {
		set(cpcds.CoveragesRelationshipToSubscriber, "child")
		g.subscriber(s)
		return
	}
	set(cpcds.CoveragesRelationshipToSubscriber, "self")
	set(cpcds.CoveragesSubscriberID, p.row.Get(cpcds.MembersMemberID))
}

func (g *generator) medicareCoverage(s *span) {
	d, p := &g.rng, &g.who
	*s = span{from: p.begin, thru: p.end, payer: g.dir.insurers[medicare][0]}
	g.coverage(s, 8)
	set := s.row.Set
	set(cpcds.CoveragesCoverageType, pick(d, []string{"1", "11", "12", "121"}))
	set(cpcds.CoveragesStartDate, s.from.String())
	set(cpcds.CoveragesPlanIdentifier, pick(d, []string{"PARTA", "PARTB", "PARTD"}))
	set(cpcds.CoveragesRelationshipToSubscriber, "self")
	set(cpcds.CoveragesSubscriberID, g.arena.number("1EG", scramble(p.number)%1e8, 8))
}

func (g *generator) privateCoverage(s *span) {
	d, p := &g.rng, &g.who
	*s = span{from: p.begin, thru: p.end, payer: pick(d, g.dir.insurers[private])}
	g.coverage(s, 9)
	set := s.row.Set
	kinds, others := carin.ValueSet(cpcds.CoveragesCoverageType, 0).Codes(), g.codes.codes["commercial"]
	if turn := int(p.number / privately % uint64(len(kinds)+len(others))); turn < len(kinds) {
		set(cpcds.CoveragesCoverageType, kinds[turn])
	} else {
		set(cpcds.CoveragesCoverageType, others[turn-len(kinds)])
	}
	set(cpcds.CoveragesStartDate, s.from.String())
	set(cpcds.CoveragesGroupID, g.arena.number("GRP", uint64(d.between(1000, 9999)), 4))
	set(cpcds.CoveragesGroupName, pick(d, []string{"Carolina Textile Mills", "Wasatch School District", "Piedmont Logistics, Inc.", "County of Iron"}))
	set(cpcds.CoveragesPlanIdentifier, pick(d, []string{"GOLD-1", "SILVER-2", "HDHP-3"}))
	set(cpcds.CoveragesPlanName, pick(d, []string{"Gold", "Silver Select", "High Deductible"}))
	relationship := inTurn(cpcds.CoveragesRelationshipToSubscriber, p.number, privately)
	set(cpcds.CoveragesRelationshipToSubscriber, relationship)
	if relationship == "self" {
		set(cpcds.CoveragesSubscriberID, p.row.Get(cpcds.MembersMemberID))
		return
	}
	g.subscriber(s)
}

// coverage fills what all coverages have.
func (g *generator) coverage(s *span, i int) {
	d, p := &g.rng, &g.who
	set := s.row.Set
	set(cpcds.CoveragesCoverageID, g.arena.number("CV", p.number*10+uint64(i), 9))
	set(cpcds.CoveragesMemberID, p.row.Get(cpcds.MembersMemberID))
	set(cpcds.CoveragesPayerIdentifier, s.payer.payer)
	status := "active"
	if s.thru < historyEnd-400 && d.chance(400) {
		status = "cancelled"
	}
	set(cpcds.CoveragesCoverageStatus, cmp.Or(inTurn(cpcds.CoveragesCoverageStatus, p.number+uint64(i), 25), status))
	set(cpcds.CoveragesCoverageLastUpdatedDate, g.arena.instant(s.from+day(d.below(int(s.thru-s.from)+1)), d.below(86400)))
}

// subscriber names another person as the subscriber.
func (g *generator) subscriber(s *span) {
	d, p := &g.rng, &g.who
	set := s.row.Set
	set(cpcds.CoveragesSubscriberID, g.arena.number("S", scramble(p.number+7)%1e9, 9))
	set(cpcds.CoveragesSubscriberFamilyName, p.row.Get(cpcds.MembersMemberFamilyName))
	set(cpcds.CoveragesSubscriberGivenName, pick(d, g.codes.names[pick(d, []string{"female", "male"})]))
	set(cpcds.CoveragesDependentNumber, g.arena.number("", uint64(d.between(1, 5)), 2))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
