package synth

import "cpcds2fhir/schemas/cpcds"

// professional makes a claim of a clinician, a therapist, a home care agency or a patient
// transport.
func (g *generator) professional() {
	switch k := g.rng.below(100); {
	case k < 63:
		g.officeVisit()
	case k < 77:
		g.therapy()
	case k < 90:
		g.homeCare()
	default:
		g.transport()
	}
}

// openProfessional fills what all professional claims have. Some practitioners
// bill in their own name.
func (g *generator) openProfessional(at facility, by *practitioner) {
	d, r := &g.draft, &g.rng
	g.open("professional", "")
	g.statement()
	if by != nil && r.chance(120) {
		g.billAs(by.npi, by.id, by.name)
	} else {
		g.bill(g.place(at))
	}
	if by != nil && by.npi != "" {
		g.perform(by)
	} else {
		d.Set(cpcds.PerformingProviderNetworkStatus, d.Get(cpcds.BillingProviderNetworkStatus))
	}
}

func (g *generator) officeVisit() {
	d, r := &g.draft, &g.rng
	g.openProfessional(clinic, g.doctor(pick(r, []string{"primary", "primary", "specialist"})))
	g.refer(200, 400)
	if r.chance(60) || d.listed {
		g.team(cpcds.Supervisor, g.doctor("primary"))
	}
	if r.chance(50) || d.listed {
		g.careTeam("purchasedservice", g.doctor("specialist"))
	}
	if r.chance(250) {
		g.serviceFacility(g.place(pick(r, []facility{clinic, hospital})))
	}
	groups := []string{"acute", "chronic", "wellness", "mental"}
	switch age := g.who.age(d.from); {
	case age < 18:
		groups = []string{"child", "wellness", "acute"}
	case g.who.female && age < 45 && r.chance(200):
		groups = []string{"prenatal"}
	}
	g.diagnose(pick(r, groups), "principal")
	g.diagnoseMore(r.below(4), "secondary", groups...)

	pos := g.code(cpcds.PlaceOfServiceCode, 5, g.codes.codes["pos"]...)
	g.placed(g.serviceLine(pick(r, g.codes.services["visit"]), d.from), pos)
	for range r.between(1, 10) {
		g.placed(g.serviceLine(pick(r, g.codes.services["ancillary"]), d.from), pos)
	}
	g.adjudicateClaim(d)
}

// placed says where the service of a line took place.
func (g *generator) placed(l *cpcds.Line, pos string) *cpcds.Line {
	l.Set(cpcds.PlaceOfServiceCode, pos)
	return l
}

func (g *generator) therapy() {
	d, r := &g.draft, &g.rng
	weeks := r.between(1, 5)
	d.thru += day(weeks * 7)
	g.openProfessional(clinic, g.doctor("specialist"))
	g.refer(500, 300)
	if r.chance(100) {
		g.careTeam("rendering", g.doctor("specialist"))
	}
	group := pick(r, []string{"mental", "mental", "child", "injury"})
	g.diagnose(group, "principal")
	g.diagnoseMore(r.below(3), "secondary", group)
	x := pick(r, g.codes.services["therapy"])
	pos := pick(r, []string{"11", "10", "53", "03", "49"})
	for i := range r.between(weeks, weeks*2) {
		g.placed(g.serviceLine(x, d.from+day(i*7/2)), pos)
	}
	g.adjudicateClaim(d)
}

// homeCare makes a month of daily services by an aide or a nurse.
func (g *generator) homeCare() {
	d, r := &g.draft, &g.rng
	d.mark(homeHealth)
	days := r.between(8, 27)
	d.thru += day(days)
	var aide *practitioner
	if r.chance(300) {
		aide = g.doctor("attendant")
	}
	g.openProfessional(agency, aide)
	g.refer(300, 500)
	if r.chance(200) {
		g.serviceFacility(g.place(groupHome))
	}
	g.diagnose("homecare", "principal")
	g.diagnoseMore(r.below(3), "secondary", "homecare", "chronic")
	x := pick(r, g.codes.services["homecare"])
	for i := range days {
		l := g.placed(g.serviceLine(x, d.from+day(i)), "12")
		if r.chance(150) {
			l.Set(cpcds.ServiceToDate, (d.from + day(i) + 1).String())
		}
	}
	g.adjudicateClaim(d)
}

// transport makes a trip by ambulance or by someone who drives patients to care.
func (g *generator) transport() {
	d, r := &g.draft, &g.rng
	d.mark(transport)
	by := pick(r, []facility{ambulance, ambulance, carrier})
	g.openProfessional(by, nil)
	g.diagnose("transport", "principal")
	g.diagnoseMore(r.below(2), "secondary", "transport", "chronic")

	trip, mileage := pick(r, g.codes.services["transport"][:4]), g.codes.services["mileage"][0]
	pos := "41"
	if by == carrier {
		trip, mileage, pos = g.codes.services["transport"][4], g.codes.services["mileage"][1], "99"
	}
	round := r.chance(400)
	home := g.who.row.Get(cpcds.MembersCity)
	to := g.place(hospital)
	for leg := range 1 + b2i(round) {
		miles := r.between(2, 60)
		l := g.placed(g.serviceLine(trip, d.from), pos)
		l.Set(cpcds.PickupLocation, g.arena.join("Residence, ", home))
		l.Set(cpcds.DropoffLocation, to.name)
		if leg == 1 {
			l.Set(cpcds.PickupLocation, to.name)
			l.Set(cpcds.DropoffLocation, g.arena.join("Residence, ", home))
		}
		l.Set(cpcds.TransportationDistance, g.small(miles))
		if by == ambulance {
			l.Set(cpcds.PatientWeight, g.small(r.between(90, 320)))
			l.Set(cpcds.AmbulanceTransportReasonCode, pick(r, g.codes.codes["transport reason"]))
			if r.chance(400) {
				l.Set(cpcds.StretcherPurpose, "Patient is confined to bed")
			}
		}
		if round && leg == 0 {
			l.Set(cpcds.RoundTripPurpose, "Dialysis and back home")
		}
		m := g.placed(g.serviceLine(mileage, d.from), pos)
		m.Set(cpcds.NumberOfUnits, g.small(miles))
		g.charge(mileage.cents * miles)
	}
	g.adjudicateClaim(d)
}

// vision makes a claim of an optometrist. Some lines have a text instead of a code, which only
// vision claims may have.
func (g *generator) vision() {
	d, r := &g.draft, &g.rng
	g.openProfessional(optician, g.doctor("optometrist"))
	d.Set(cpcds.ClaimType, "vision")
	g.diagnose("vision", "principal")
	g.diagnoseMore(r.below(2), "secondary", "vision")
	for range r.between(1, 5) {
		l := g.placed(g.serviceLine(pick(r, g.codes.services["vision"]), d.from), "11")
		if r.chance(120) {
			l.Set(cpcds.ProcedureCode, "")
			l.Set(cpcds.ProcedureDescription, "Scratch resistant coating")
			for e := cpcds.ProcedureModifierCode1; e <= cpcds.ProcedureModifierCode4; e++ {
				l.Set(e, "")
			}
		}
	}
	g.adjudicateClaim(d)
}
