package pipeline

import (
	"slices"
	"strings"

	"cpcds2fhir/schemas/layouts"
)

// The engine's own repairs; a layout names the others.
const (
	RepairFacilityBills = "facility-bills"         // the service facility stands in for a billing provider without a valid NPI
	RepairICDPoint      = "icd-point-inserted"     // S060X1A becomes S06.0X1A
	RepairLeadingZero   = "leading-zero-restored"  // revenue code 450 becomes 0450, place of service 2 becomes 02
	RepairDuplicateLine = "duplicate-line-dropped" // a line that is a copy of another of the same number is left out
	RepairOptional      = "optional-value-dropped" // a value that breaks a rule is left out, where the resource is valid and right without it

	engineRepairs = "facility-bills icd-point-inserted leading-zero-restored duplicate-line-dropped optional-value-dropped"
)

// KnownRepairs lists the names of all repairs that lenient mode can apply with a layout.
func KnownRepairs(l *layouts.Layout) []string {
	names := append(strings.Fields(engineRepairs), l.Repairs()...)
	slices.Sort(names)
	return slices.Compact(names)
}

// Repairs says which repairs are on. The zero value is strict mode: all are off. It must not be
// changed while it is used.
type Repairs struct {
	Lenient bool
	Off     map[string]bool // of lenient mode, those that are switched off
}

// On reports whether a repair is on. An empty name means that the layout does not have it.
func (r Repairs) On(name string) bool { return r.Lenient && name != "" && !r.Off[name] }
