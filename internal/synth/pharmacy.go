package synth

import "cpcds2fhir/schemas/cpcds"

// pharmacy makes a fill: one line, or a compound with a line for each
// ingredient.
func (g *generator) pharmacy() {
	d, r := &g.draft, &g.rng
	g.open("pharmacy", "")
	g.statement()
	g.bill(g.place(pharmacy))
	prescriber := g.doctor(pick(r, []string{"primary", "primary", "specialist", "dentist"}))
	g.team(cpcds.Prescribing, prescriber)
	g.refer(0, 300)
	if second := g.doctor("specialist"); second != prescriber && r.chance(20) {
		g.careTeam("prescribing", second)
	}
	reference := g.arena.number("", scramble(d.ordinal)%1e12, 12)
	if r.chance(60) {
		g.compound(reference)
	} else {
		g.fill(reference)
	}
	g.adjudicateClaim(d)
}

func (g *generator) fill(reference string) {
	r := &g.rng
	x := pick(r, g.codes.drugs["retail"])
	l := g.rxLine(reference)
	l.Set(cpcds.NationalDrugCode, x.ndc)
	if r.chance(300) {
		l.Set(cpcds.DrugDescription, x.text)
	}
	l.Set(cpcds.CompoundCode, pick(r, []string{"1", "1", "1", "0"}))
	l.Set(cpcds.QuantityDispensed, x.quantity)
	l.Set(cpcds.QuantityQualifierCode, x.unit)
	l.Set(cpcds.DaysSupply, x.days)
	l.Set(cpcds.PlanReportedBrandGenericCode, x.brand)
	g.charge(x.cents + 950)
}

func (g *generator) compound(reference string) {
	d, r := &g.draft, &g.rng
	d.mark(compound)
	l := g.rxLine(reference)
	l.Set(cpcds.DrugDescription, "Compounded preparation")
	l.Set(cpcds.CompoundCode, "2")
	l.Set(cpcds.QuantityDispensed, "240")
	l.Set(cpcds.QuantityQualifierCode, "ML")
	l.Set(cpcds.DaysSupply, "10")
	l.Set(cpcds.PlanReportedBrandGenericCode, "2")
	parts := g.codes.drugs["ingredient"]
	n, at, cents := r.between(2, 4), r.below(len(parts)), 1500
	for i := range n {
		cents += parts[(at+i)%len(parts)].cents
	}
	g.charge(cents)
	for i := range n {
		x := parts[(at+i)%len(parts)]
		l := g.line()
		l.Set(cpcds.RxServiceReferenceNumber, reference)
		l.Set(cpcds.ServiceFromDate, d.from.String())
		l.Set(cpcds.CompoundParentLineNumber, "1")
		l.Set(cpcds.NationalDrugCode, x.ndc)
		l.Set(cpcds.DrugDescription, x.text)
		l.Set(cpcds.QuantityDispensed, x.quantity)
		l.Set(cpcds.QuantityQualifierCode, x.unit)
	}
}

// rxLine adds the line of a fill with what the prescription says.
func (g *generator) rxLine(reference string) *cpcds.Line {
	r := &g.rng
	l := g.line()
	l.Set(cpcds.RxServiceReferenceNumber, reference)
	l.Set(cpcds.ServiceFromDate, g.draft.from.String())
	refills := r.below(6)
	l.Set(cpcds.RefillsAuthorized, g.small(refills))
	l.Set(cpcds.RefillNumber, g.small(r.below(refills+1)))
	l.Set(cpcds.DawProductSelectionCode, g.code(cpcds.DawProductSelectionCode, 5, "0"))
	l.Set(cpcds.PrescriptionOriginCode, g.code(cpcds.PrescriptionOriginCode, 4, "3"))
	return l
}
