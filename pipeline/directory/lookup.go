package directory

import (
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Lookup finds what claims and rows can refer to. *Directory is a snapshot of an extract, *Live
// changes while claims flow.
type Lookup interface {
	// HasMember reports whether there is a member.
	HasMember(member fhir.Raw) bool

	// Coverage returns the coverage that is known by a key.
	Coverage(key fhir.Raw) (Coverage, bool)

	// CoverageOn returns the coverage of a member and payer on a day, as Directory.CoverageOn does.
	CoverageOn(memberPayer fhir.Raw, day string) (Coverage, bool)

	// Provider returns the practitioner or organization that is known by a key.
	Provider(key fhir.Raw) (Provider, bool)

	// Err returns the first error of a lookup. It must be checked before loading anything that
	// depends on lookups.
	Err() error
}

// Changes takes the rows of a small table into a directory. *Index and *Live implement it.
type Changes interface {
	// Outdated reports whether the directory has a newer row for a key.
	Outdated(t cpcds.Table, key fhir.Raw, st Stamp) bool

	// Add adds a row by its key, its stamp, the number of its input and its own number there.
	Add(key fhir.Raw, st Stamp, source int, row int64) error

	// AddMember adds a member, AddProvider a practitioner or an organization by the keys that it is
	// known by, AddCoverage a coverage by the keys that it is known by, and by its member and payer.
	AddMember(key fhir.Raw, st Stamp) error
	AddProvider(keys []fhir.Raw, p Provider)
	AddCoverage(keys []fhir.Raw, memberPayer fhir.Raw, e *Coverage) error
}

var (
	_ Lookup  = (*Directory)(nil)
	_ Lookup  = (*Live)(nil)
	_ Changes = (*Index)(nil)
	_ Changes = (*Live)(nil)
)
