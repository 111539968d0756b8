package synth

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// turns counts choices that are not left to dice. Rare codes and columns would miss
// from a small extract, and which ones would change with the seed. So of every so
// many choices one takes the next code of the whole value set, by profile and
// element, and each comes up once there are enough claims. Claims that release 2.0.0
// of the guide rejects take no turns: there, too, everything is to come up.
type turns struct {
	of       [carin.NumProfiles][cpcds.NumElements]turn
	newborns [carin.NumProfiles]turn // points of origin of newborns
	children turn                    // teeth of children
}

type turn struct {
	asked int // how often it could have been its turn
	dealt int // codes dealt
}

// kindProfiles says which profile the claims of a kind have.
var kindProfiles = [numKinds]carin.Profile{inpatient: carin.Inpatient, outpatient: carin.Outpatient, professional: carin.Professional,
	vision: carin.Professional, pharmacyClaim: carin.Pharmacy, oral: carin.Oral}

func (d *draft) profile() carin.Profile { return kindProfiles[d.kind] }

func (g *generator) turn(e cpcds.Element) *turn { return &g.turns.of[g.draft.profile()][e] }

// due is true once in so many calls for an element.
func (g *generator) due(e cpcds.Element, every int) bool {
	if g.draft.later {
		return false
	}
	t := g.turn(e)
	t.asked++
	return t.asked%every == 0
}

// deal returns the next of some codes.
func (g *generator) deal(t *turn, codes []string) string {
	if g.draft.later {
		return pick(&g.dice, codes)
	}
	t.dealt++
	return codes[t.dealt%len(codes)]
}

// nextCode returns the next code of the value set of an element.
func (g *generator) nextCode(e cpcds.Element) string {
	return g.deal(g.turn(e), carin.ValueSet(e, g.draft.profile()).Codes())
}

// several joins the next n codes of an element by spaces.
func (g *generator) several(e cpcds.Element, n int) string {
	text := g.nextCode(e)
	for range n - 1 {
		text = g.arena.join(text, " ", g.nextCode(e))
	}
	return text
}

// code chooses one of the usual codes of an element, and once in so many calls the
// next one of its value set.
func (g *generator) code(e cpcds.Element, every int, usual ...string) string {
	if g.due(e, every) {
		return g.nextCode(e)
	}
	return pick(&g.dice, usual)
}

// inTurn is for members, who are made one by one and by their number alone: it
// returns the next code of an element for one in so many numbers, else "".
func inTurn(e cpcds.Element, number, every uint64) string {
	if number%every != 0 {
		return ""
	}
	codes := carin.ValueSet(e, 0).Codes()
	return codes[number/every%uint64(len(codes))]
}
