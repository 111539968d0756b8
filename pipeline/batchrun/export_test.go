package batchrun

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// Seams are what a test puts in the place of an engine's own parts.
type Seams struct {
	Unjudged bool // the rules of the guide judge no claim, to measure what they cost
	InFiles  bool // the directory and referenced-only resources are in files, as if they were many
	Piece    int  // bytes of a piece of a batch
}

// NewWith makes an engine with other parts than its own.
func NewWith(c *Config, s Seams) (*Engine, error) {
	inner := seams{pieceBytes: s.Piece}
	if s.Unjudged {
		inner.rules = noRules{}
	}
	if s.InFiles {
		inner.directoryBytes, inner.mergeBytes = 1, 1
	}
	return newEngine(c, inner)
}

type noRules struct{}

func (noRules) Claim(*cpcds.Claim, *carin.AmountTable, carin.Profile, *carin.Verdict) {}
