package synth

import (
	"slices"
	"strings"
	"sync"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// oral makes a claim of a dentist: a checkup or a repair, a part of an
// orthodontic treatment, or a prosthesis.
func (g *generator) oral() {
	d, r := &g.draft, &g.rng
	treatment := r.below(100)
	if treatment < 12 {
		d.thru += day(r.between(20, 30)) // orthodontics is billed by the month
	}
	// Most dentists bill in their own name; release 2.0.0 of the guide allows nothing else.
	dentist := g.doctor("dentist")
	d.later = r.chance(150) || !dentist.listed
	g.open("oral", "")
	g.statement()
	if d.later {
		g.bill(g.place(dentalOffice))
	} else {
		g.billAs(dentist.npi, dentist.id, dentist.name)
	}
	g.perform(dentist)
	g.refer(60, 100)
	if g.due(cpcds.SupervisingProviderNPI, 20) || d.listed {
		g.team(cpcds.Supervisor, g.doctor("dentist"))
	}
	if r.chance(40) || d.listed {
		g.careTeam("purchasedservice", g.doctor("specialist"))
	}
	if r.chance(150) {
		g.serviceFacility(g.place(dentalOffice))
	}
	if r.chance(500) {
		g.diagnose("dental", "principal")
		g.diagnoseMore(r.below(2), "secondary", "dental")
	}
	pos := g.code(cpcds.PlaceOfServiceCode, 4, "11", "11", "11", "22", "50")
	switch {
	case treatment < 12:
		g.orthodontics(pos)
	case treatment < 22:
		g.prosthesis(pos)
	default:
		for range r.between(1, 6) {
			g.dentalLine(pick(r, []string{"clean", "clean", "repair"}), pos)
		}
	}
	g.adjudicateClaim(d)
}

func (g *generator) orthodontics(pos string) {
	d, r := &g.draft, &g.rng
	d.mark(orthodontics)
	d.Set(cpcds.OrthodonticsTreatmentIndicator, "true")
	d.Set(cpcds.OrthodonticsApplianceDate, (d.from - day(r.below(400))).String())
	d.Set(cpcds.OrthodontiaMonths, g.small(r.between(6, 36)))
	d.Set(cpcds.ProsthesisReplacementIndicator, "false")
	l := g.dentalLine("orthodontics", pos)
	l.Set(cpcds.ServiceToDate, d.thru.String())
	l.Set(cpcds.ProcedureDescription, "Orthodontic treatment")
}

func (g *generator) prosthesis(pos string) {
	d, r := &g.draft, &g.rng
	d.mark(prosthesis)
	d.Set(cpcds.OrthodonticsTreatmentIndicator, "false")
	d.Set(cpcds.ProsthesisReplacementIndicator, "true")
	d.Set(cpcds.PriorProsthesisDate, (d.from - day(r.between(1500, 4000))).String())
	d.Set(cpcds.MissingToothNumbers, g.several(cpcds.MissingToothNumbers, r.between(1, 9)))
	g.dentalLine("prosthesis", pos)
	g.dentalLine("clean", pos)
}

func (g *generator) dentalLine(group, pos string) *cpcds.Line {
	d, r := &g.draft, &g.rng
	x := pick(r, g.codes.dental[group])
	l := g.line()
	l.Set(cpcds.ProcedureCode, x.code)
	l.Set(cpcds.ServiceFromDate, d.from.String())
	l.Set(cpcds.PlaceOfServiceCode, pos)
	l.Set(cpcds.NumberOfUnits, "1")
	if r.chance(60) {
		g.modifiers(l, "modifier")
	}
	switch x.site {
	case "tooth":
		l.Set(cpcds.ToothNumber, g.tooth())
	case "teeth":
		more := g.several(cpcds.AdditionalToothNumbers, r.between(1, 4))
		first := g.tooth()
		for slices.Contains(strings.Fields(more), first) {
			first = g.tooth()
		}
		l.Set(cpcds.ToothNumber, first)
		l.Set(cpcds.AdditionalToothNumbers, more)
	case "surface":
		l.Set(cpcds.ToothNumber, g.tooth())
		l.Set(cpcds.ToothSurface, g.nextCode(cpcds.ToothSurface))
	case "surfaces":
		l.Set(cpcds.ToothNumber, g.tooth())
		l.Set(cpcds.ToothSurface, g.several(cpcds.ToothSurface, r.between(2, 4)))
	case "area":
		// Some payers put the area in the tooth's column.
		at := cpcds.OralCavityArea
		if g.due(cpcds.OralCavityArea, 3) {
			at = cpcds.ToothNumber
		}
		l.Set(at, g.nextCode(cpcds.OralCavityArea))
	}
	g.charge(x.cents)
	return l
}

// tooth chooses a tooth that people of the member's age have, and now and then a supernumerary one.
func (g *generator) tooth() string {
	t, teeth, usual := g.rotation(cpcds.ToothNumber), dentitions().adult, 32
	if g.who.age(g.draft.from) < 12 {
		t, teeth, usual = &g.rotations.children, dentitions().child, 20
	}
	if g.due(cpcds.ToothNumber, 3) {
		return g.deal(t, teeth)
	}
	return pick(&g.rng, teeth[:usual])
}

// dentitions are the teeth of children, whose codes begin with a letter, and of
// adults. The supernumerary ones come last.
var dentitions = sync.OnceValue(func() (d struct{ child, adult []string }) {
	for _, tooth := range carin.ValueSet(cpcds.MissingToothNumbers, carin.Oral).Codes() {
		if tooth[0] >= 'A' {
			d.child = append(d.child, tooth)
		} else {
			d.adult = append(d.adult, tooth)
		}
	}
	return d
})
