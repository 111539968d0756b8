package mappers

import (
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// related writes MapID 111 and 112: the numbers of the claims before and after this one. A claim's
// own number is ignored.
func (e *eob) related() {
	c := e.c
	prior, next := c.Get(cpcds.ClaimAdjustedFromIdentifier), c.Get(cpcds.ClaimAdjustedToIdentifier)
	own := c.Get(cpcds.ClaimUniqueIdentifier)
	if prior == own {
		prior = ""
	}
	if next == own {
		next = ""
	}
	if prior != "" || next != "" {
		e.raw(`"related":[`)
		for i, v := range [2]string{prior, next} {
			if v != "" {
				e.raw(e.f.related[i])
				e.raw(v)
				e.raw(`"}},`)
			}
		}
		e.b = fhir.CloseArray(e.b)
	}
}
