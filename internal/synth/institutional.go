package synth

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// inpatient makes a stay in a hospital or a nursing home.
func (g *generator) inpatient() {
	d, r := &g.draft, &g.rng
	group := pick(r, []string{"medical", "medical", "surgical"})
	age := g.who.age(d.from)
	switch {
	case g.who.birth >= g.who.begin && !g.born:
		group, d.from, g.born = "newborn", g.who.birth, true
		d.mark(newborn)
	case g.who.female && age >= 16 && age < 45 && r.chance(350):
		group = "delivery"
		d.mark(delivery)
	}
	days := r.between(1, 7)
	if r.chance(100) {
		days += r.between(5, 30)
	}
	d.thru = d.from + day(days)
	d.headerPriced = r.chance(350)
	if d.headerPriced {
		d.mark(headerPriced)
	}
	g.open("institutional", "inpatient")
	g.admission(days)
	g.bill(g.place(g.billFacility()))
	g.attend(group)
	g.stayDiagnoses(group, age)
	g.stayProcedures(group)
	g.groupStay(group)
	g.stayLines(group, days)
	g.adjudicateClaim(d)
}

// billFacility is the kind of facility that the type of bill names.
func (g *generator) billFacility() facility {
	if g.draft.Get(cpcds.ClaimTypeOfBillCode)[1] == '2' {
		return nursingHome
	}
	return hospital
}

// admission fills dates, type of bill and the codes of admission and discharge. A continuing stay
// is billed in parts: it has no discharge date and discharge status 30.
func (g *generator) admission(days int) {
	d, r := &g.draft, &g.rng
	g.statement()
	admitted := d.from
	bill, status, discharged := "0111", pick(r, g.codes.codes["discharge"]), true
	if !d.has(newborn) && !d.has(delivery) {
		switch k := r.below(100); {
		case k < 4:
			bill, discharged = "0112", false
		case k < 8:
			bill, discharged = "0113", false
			admitted -= day(days)
		case k < 11:
			bill = "0114"
			admitted -= day(days)
		case k < 18:
			bill = "0211"
		}
	}
	if bill[3] != '1' {
		d.mark(interim)
	}
	d.Set(cpcds.ClaimTypeOfBillCode, bill)
	d.Set(cpcds.MemberAdmissionDate, admitted.String())
	if discharged {
		d.Set(cpcds.MemberDischargeDate, d.thru.String())
		d.Set(cpcds.PatientDischargeStatusCode, status)
	} else {
		d.Set(cpcds.PatientDischargeStatusCode, "30")
	}
	g.arrival(d.has(newborn))
}

// newbornType is the type of admission that has its own points of origin.
const newbornType = "4"

// arrival says how urgent the admission or visit was and where the patient came
// from.
func (g *generator) arrival(justBorn bool) {
	d := &g.draft
	if justBorn {
		d.Set(cpcds.AdmissionTypeCode, newbornType)
		d.Set(cpcds.PointOfOriginCode, g.deal(&g.rotations.newborns[d.profile()], carin.NewbornOrigins().Codes()))
		return
	}
	typ := g.code(cpcds.AdmissionTypeCode, 4, g.codes.codes["admission"]...)
	if typ == newbornType {
		typ = g.nextCode(cpcds.AdmissionTypeCode)
	}
	d.Set(cpcds.AdmissionTypeCode, typ)
	d.Set(cpcds.PointOfOriginCode, g.code(cpcds.PointOfOriginCode, 3, g.codes.codes["origin"]...))
}

// attend names the providers of an institutional claim.
func (g *generator) attend(group string) {
	d, r := &g.draft, &g.rng
	g.team(cpcds.Attending, g.doctor("hospital"))
	if group == "surgical" || group == "delivery" || r.chance(50) || d.listed {
		surgeon := g.doctor("surgeon")
		g.team(cpcds.Operating, surgeon)
		if second := g.doctor("surgeon"); second != surgeon && (r.chance(300) || d.listed) {
			g.careTeam("otheroperating", second)
		}
	}
	if r.chance(200) {
		g.perform(g.doctor("specialist"))
	}
	g.refer(150, 200)
	if r.chance(150) {
		g.careTeam("rendering", g.doctor("hospital"))
	}
}

// refer names a referring and a primary care provider with these chances per thousand; a list of
// providers always has them.
func (g *generator) refer(referring, primary int) {
	r, listed := &g.rng, g.draft.listed
	if r.chance(referring) || listed {
		g.team(cpcds.Referring, g.doctor("primary"))
	}
	if r.chance(primary) || listed {
		g.team(cpcds.Primary, g.who.pcp)
	}
}

func (g *generator) stayDiagnoses(group string, age int) {
	r := &g.rng
	switch group {
	case "newborn":
		g.diagnose("newborn", "principal")
		g.diagnoseMore(r.below(3), "other", "newborn")
		return
	case "delivery":
		g.diagnose("maternity", "admitting")
		g.diagnose("maternity", "principal")
		g.diagnoseMore(r.between(1, 3), "other", "maternity", "chronic", "mental")
		return
	}
	principal := pick(r, []string{"acute", "acute", "acute", "mental", "injury"})
	g.diagnose(pick(r, []string{"symptom", principal}), "admitting")
	g.diagnose(principal, "principal")
	g.diagnoseMore(r.between(2, 10), "other", "chronic", "chronic", "mental", "acute")
	if principal == "injury" {
		g.diagnoseMore(2, "externalcauseofinjury", "external")
	}
}

func (g *generator) stayProcedures(group string) {
	d, r := &g.draft, &g.rng
	n := r.below(3)
	if group != "medical" {
		n++
	}
	for i := range n {
		typ := "other"
		if i == 0 {
			typ = "principal"
		}
		g.inpatientProcedure(group, typ, d.from+day(r.below(int(d.thru-d.from)+1)))
	}
}

func (g *generator) inpatientProcedure(group, typ string, on day) {
	d := &g.draft
	system := "icd10"
	if !d.icd10 {
		system = "icd9"
	}
	c := pick(&g.rng, g.codes.procedures[g.arena.join(group, " ", system)])
	for i := range d.Procedures {
		if d.Procedures[i].Get(cpcds.InpatientProcedureCode) == c.code {
			return
		}
	}
	var p cpcds.Procedure
	p.Set(cpcds.InpatientProcedureCode, c.code)
	p.Set(cpcds.InpatientProcedureType, typ)
	p.Set(cpcds.InpatientProcedureDate, on.String())
	if system == "icd9" || g.rng.chance(700) {
		p.Set(cpcds.InpatientProcedureCodeType, system)
	}
	d.Procedures = append(d.Procedures, p)
}

// groupStay assigns the diagnosis related group. The versions of MS-DRG follow
// the federal fiscal years.
func (g *generator) groupStay(group string) {
	d, r := &g.draft, &g.rng
	if d.Get(cpcds.ClaimTypeOfBillCode)[1] == '2' {
		return
	}
	grouper := g.code(cpcds.DRGName, 4, "MS-DRG", "MS-DRG", "APR-DRG")
	x := pick(r, g.codes.drgs[g.arena.join(group, " ", grouper)])
	d.Set(cpcds.DRGName, x.grouper)
	d.Set(cpcds.DRGCode, x.code)
	switch grouper {
	case "MS-DRG":
		d.Set(cpcds.DRGVersion, g.small(d.thru.fiscalYear()-1983))
	case "APR-DRG":
		d.Set(cpcds.DRGVersion, g.small(d.thru.fiscalYear()-1984))
	default:
		d.Set(cpcds.DRGVersion, "21.0")
	}
}

// stayLines bills room and board by the day and the other services of the stay.
func (g *generator) stayLines(group string, days int) {
	d, r := &g.draft, &g.rng
	room := "room"
	switch {
	case group == "newborn":
		room = "nursery"
	case len(d.Diagnoses) > 1 && d.Diagnoses[1].Get(cpcds.DiagnosisCode)[0] == 'F':
		room = "psychiatric"
	}
	l := g.revenueLine(pick(r, g.codes.revenues[room]), days, d.from)
	l.Set(cpcds.ServiceToDate, d.thru.String())
	l.Set(cpcds.ProcedureDescription, "Room and board")
	for range r.between(4, 26) {
		from := "ancillary"
		if group == "surgical" && r.chance(150) {
			from = "surgery"
		} else if group == "delivery" && r.chance(120) {
			from = "delivery"
		}
		x := pick(r, g.codes.revenues[from])
		g.revenueLine(x, r.between(1, x.units), d.from+day(r.below(days)))
	}
}

func (g *generator) revenueLine(x revenue, units int, on day) *cpcds.Line {
	l := g.line()
	l.Set(cpcds.RevenueCenterCode, x.code)
	l.Set(cpcds.ServiceFromDate, on.String())
	l.Set(cpcds.NumberOfUnits, g.small(units))
	if x.code == "0636" {
		l.Set(cpcds.ProcedureCode, "J1885")
		g.modifiers(l, "modifier")
	}
	g.charge(x.cents * units)
	return l
}

// charge sets about what the provider submits for the last line.
func (g *generator) charge(cents int) {
	d := &g.draft
	d.prices[len(d.prices)-1].submitted = cents * g.rng.between(85, 115) / 100
}

// outpatient makes a visit to a facility without a stay.
func (g *generator) outpatient() {
	d, r := &g.draft, &g.rng
	d.headerPriced = r.chance(250)
	if d.headerPriced {
		d.mark(headerPriced)
	}
	k := r.below(100)
	switch {
	case g.who.birth >= g.who.begin && !g.seen:
		d.from, g.seen = g.who.birth+day(r.below(10)), true
		d.thru = d.from
		d.mark(newborn)
		g.visit("0131", hospital, "clinic")
	case k < 50:
		g.visit("0131", hospital, "outpatient")
	case k < 80:
		g.visit(pick(r, []string{"0711", "0771"}), clinic, "clinic")
	case k < 90:
		g.visit(pick(r, []string{"0831", "0851"}), hospital, "outpatient")
	default:
		d.thru += day(r.between(10, 29))
		g.visit("0329", agency, "homehealth")
	}
}

func (g *generator) visit(bill string, at facility, group string) {
	d, r := &g.draft, &g.rng
	g.open("institutional", "outpatient")
	g.statement()
	d.Set(cpcds.ClaimTypeOfBillCode, bill)
	g.arrival(d.has(newborn))
	d.Set(cpcds.PatientDischargeStatusCode, pick(r, g.codes.codes["discharge"]))
	g.bill(g.place(at))
	g.attend("medical")

	principal := pick(r, []string{"acute", "chronic", "injury", "wellness"})
	switch {
	case d.has(newborn):
		principal = "newborn"
	case group == "homehealth":
		principal = "homecare"
		g.hipps()
	}
	g.diagnose(principal, "principal")
	g.diagnoseMore(r.below(4), "other", "chronic", "mental")
	if principal == "injury" {
		g.diagnose("external", "externalcauseofinjury")
	}
	if group == "outpatient" && r.chance(600) {
		g.diagnoseMore(r.between(1, 3), "patientreasonforvisit", "symptom")
	}
	for range r.between(2, 17) {
		x := pick(r, g.codes.services[group])
		g.serviceLine(x, d.from+day(r.below(int(d.thru-d.from)+1)))
	}
	g.adjudicateClaim(d)
}

// hipps adds the line with the rate code of a home health period. It has no charge.
func (g *generator) hipps() {
	l := g.line()
	l.Set(cpcds.RevenueCenterCode, "0023")
	l.Set(cpcds.ProcedureCode, pick(&g.rng, g.codes.codes["hipps"]))
	l.Set(cpcds.ServiceFromDate, g.draft.from.String())
	l.Set(cpcds.NumberOfUnits, "1")
	l.Set(cpcds.ProcedureDescription, "Home health period")
}

// serviceLine adds a line of a CPT or HCPCS service.
func (g *generator) serviceLine(x service, on day) *cpcds.Line {
	l := g.line()
	units := g.rng.between(1, x.units)
	l.Set(cpcds.RevenueCenterCode, x.revenue)
	l.Set(cpcds.ProcedureCode, x.code)
	l.Set(cpcds.ServiceFromDate, on.String())
	l.Set(cpcds.NumberOfUnits, g.small(units))
	if g.draft.has(transport) {
		g.modifiers(l, "transport modifier")
	} else {
		g.modifiers(l, "modifier")
	}
	g.charge(x.cents * units)
	return l
}
