package synth

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// oral makes a claim of a dentist: a checkup or a repair, a part of an
// orthodontic treatment, or a prosthesis.
func (g *generator) oral() {
	d, r := &g.draft, &g.dice
	g.open("oral", "")
	g.statement()
	dentist := g.doctor("dentist")
	g.bill(g.place(dentalOffice))
	g.perform(dentist)
	g.refer(60, 100)
	if r.chance(40) {
		g.careTeam("purchasedservice", g.doctor("specialist"))
	}
	if r.chance(150) {
		g.serviceFacility(g.place(dentalOffice))
	}
	if r.chance(500) {
		g.diagnose("dental", "principal")
		g.diagnoseMore(r.below(2), "secondary", "dental")
	}
	switch k := r.below(100); {
	case k < 12:
		g.orthodontics()
	case k < 22:
		g.prosthesis()
	default:
		for range r.between(1, 6) {
			g.dentalLine(pick(r, []string{"clean", "clean", "repair"}))
		}
	}
	g.settle(d)
}

func (g *generator) orthodontics() {
	d, r := &g.draft, &g.dice
	d.mark(orthodontics)
	d.Set(cpcds.OrthodonticsTreatmentIndicator, "true")
	d.Set(cpcds.OrthodonticsApplianceDate, (d.from - day(r.below(400))).String())
	d.Set(cpcds.OrthodontiaMonths, g.small(r.between(6, 36)))
	d.Set(cpcds.ProsthesisReplacementIndicator, "false")
	g.dentalLine("orthodontics")
}

func (g *generator) prosthesis() {
	d, r := &g.draft, &g.dice
	d.mark(prosthesis)
	d.Set(cpcds.OrthodonticsTreatmentIndicator, "false")
	d.Set(cpcds.ProsthesisReplacementIndicator, "true")
	d.Set(cpcds.PriorProsthesisDate, (d.from - day(r.between(1500, 4000))).String())
	d.Set(cpcds.MissingToothNumbers, g.several("adult tooth", r.between(1, 9)))
	g.dentalLine("prosthesis")
	g.dentalLine("clean")
}

// several joins n neighbours of a list of codes by spaces.
func (g *generator) several(list string, n int) string {
	codes := g.codes.codes[list]
	at := g.dice.below(len(codes))
	text := codes[at]
	for i := 1; i < n; i++ {
		text = g.arena.join(text, " ", codes[(at+i)%len(codes)])
	}
	return text
}

func (g *generator) dentalLine(group string) {
	d, r := &g.draft, &g.dice
	x := pick(r, g.codes.dental[group])
	l := g.line()
	l.Set(cpcds.ProcedureCode, x.code)
	l.Set(cpcds.ServiceFromDate, d.from.String())
	l.Set(cpcds.PlaceOfServiceCode, pick(r, []string{"11", "11", "11", "22", "50"}))
	l.Set(cpcds.NumberOfUnits, "1")
	if r.chance(20) {
		g.modifiers(l, "modifier")
	}
	teeth := "adult tooth"
	if g.who.age(d.from) < 12 {
		teeth = "child tooth"
	}
	if r.chance(10) {
		teeth = "extra tooth"
	}
	switch x.site {
	case "tooth":
		l.Set(cpcds.ToothNumber, pick(r, g.codes.codes[teeth]))
	case "teeth":
		first, rest, _ := strings.Cut(g.several(teeth, r.between(2, 5)), " ")
		l.Set(cpcds.ToothNumber, first)
		l.Set(cpcds.AdditionalToothNumbers, rest)
	case "surface":
		l.Set(cpcds.ToothNumber, pick(r, g.codes.codes[teeth]))
		l.Set(cpcds.ToothSurface, pick(r, g.codes.codes["surface"]))
	case "surfaces":
		l.Set(cpcds.ToothNumber, pick(r, g.codes.codes[teeth]))
		l.Set(cpcds.ToothSurface, g.several("surface", r.between(2, 4)))
	case "area":
		l.Set(cpcds.OralCavityArea, pick(r, g.codes.codes["area"]))
	}
	g.charge(x.cents)
}
