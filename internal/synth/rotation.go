package synth

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// rotations count choices that are not left to rng. A small extract would lack rare codes and
// columns, and the seed would decide which ones. So at regular intervals a choice takes the next
// code of the whole value set, by profile and element, and every code occurs once there are enough
// claims. Claims that release 2.0.0 of the guide rejects do not count, so that every code also
// occurs for that release.
type rotations struct {
	of       [carin.NumProfiles][cpcds.NumElements]rotation
	newborns [carin.NumProfiles]rotation // points of origin of newborns
	children rotation                    // teeth of children
}

type rotation struct {
	asked int // how often it was asked for
	dealt int // codes dealt
}

// kindProfiles says which profile the claims of a kind have.
var kindProfiles = [numKinds]carin.Profile{inpatient: carin.Inpatient, outpatient: carin.Outpatient, professional: carin.Professional,
	vision: carin.Professional, pharmacyClaim: carin.Pharmacy, oral: carin.Oral}

func (d *draft) profile() carin.Profile { return kindProfiles[d.kind] }

func (g *generator) rotation(e cpcds.Element) *rotation { return &g.rotations.of[g.draft.profile()][e] }

// due is true once per 'every' calls for an element.
func (g *generator) due(e cpcds.Element, every int) bool {
	if g.draft.later {
		return false
	}
	t := g.rotation(e)
	t.asked++
	return t.asked%every == 0
}

// deal returns the next of some codes.
func (g *generator) deal(t *rotation, codes []string) string {
	if g.draft.later {
		return pick(&g.rng, codes)
	}
	t.dealt++
	return codes[t.dealt%len(codes)]
}

// nextCode returns the next code of the value set of an element.
func (g *generator) nextCode(e cpcds.Element) string {
	return g.deal(g.rotation(e), carin.ValueSet(e, g.draft.profile()).Codes())
}

// several joins the next n codes of an element by spaces.
func (g *generator) several(e cpcds.Element, n int) string {
	text := g.nextCode(e)
	for range n - 1 {
		text = g.arena.join(text, " ", g.nextCode(e))
	}
	return text
}

// code chooses one of the usual codes of an element, and once per 'every' calls the next one of its
// value set.
func (g *generator) code(e cpcds.Element, every int, usual ...string) string {
	if g.due(e, every) {
		return g.nextCode(e)
	}
	return pick(&g.rng, usual)
}

// inTurn is for members, who are made one by one and only from their number: it returns the next
// code of an element for one number in 'every', else "".
func inTurn(e cpcds.Element, number, every uint64) string {
	if number%every != 0 {
		return ""
	}
	codes := carin.ValueSet(e, 0).Codes()
	return codes[number/every%uint64(len(codes))]
}
