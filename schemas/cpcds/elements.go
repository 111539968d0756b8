// Package cpcds is the vocabulary of the program: the elements of the Common Payer Consumer Data
// Set, the columns of text in which they travel, and the flat claim that mappers and rules read.
//
// CPCDS is a logical model without a row format. elements.csv is ours: one row
// per canonical column, with the MapIDs it stands for. The Element constants are
// generated from it.
package cpcds

import (
	"fmt"
	"strings"
)

//go:generate go run gen.go

// Element is one canonical column of one level. Elements of a level are
// consecutive, so that a record of that level is an array indexed by Slot.
type Element uint16

// Level says how often an element occurs: once per claim (header), once per
// line, and so on; or once per row of one of the small tables.
type Level uint8

// The levels. The first five are levels of the claims table.
const (
	HeaderLevel Level = iota
	LineLevel
	DiagnosisLevel
	ProcedureLevel
	CareTeamLevel
	MemberLevel
	CoverageLevel
	ProviderLevel
	OrganizationLevel
	NumLevels // how many there are
)

var levelNames = [NumLevels]string{"header", "line", "diagnosis", "procedure", "care_team", "member", "coverage", "provider", "organization"}

func (l Level) String() string { return levelNames[l] }

// Kind is the form of an element's canonical text.
type Kind uint8

// The kinds. Canonical text is JSON-safe: what JSON must escape is escaped, and
// there are no control characters and no space at either end. Empty means absent.
const (
	IDKind       Kind = iota // an identifier as the source writes it
	CodeKind                 // one code, as its code system writes it
	CodesKind                // codes separated by one space
	DateKind                 // YYYY-MM-DD
	InstantKind              // YYYY-MM-DDThh:mm:ssZ, or with an offset
	MoneyKind                // a decimal with at least two places: -12.50
	QuantityKind             // a decimal without trailing zeros: 2.5
	NPIKind                  // an NPI; the rules check its form
	TextKind                 // any text
	FlagKind                 // true or false
	numKinds
)

var kindNames = [numKinds]string{"id", "code", "codes", "date", "instant", "money", "quantity", "npi", "text", "flag"}

func (k Kind) String() string { return kindNames[k] }

// Table is one of the tables of an extract.
type Table uint8

// The tables.
const (
	Members       Table = 0
	Coverages     Table = 1
	Providers     Table = 2
	Organizations Table = 3
	Claims        Table = 4

	NumTables Table = 5
)

var tableNames = [NumTables]string{"members", "coverages", "providers", "organizations", "claims"}

func (t Table) String() string { return tableNames[t] }

// ParseTable returns the table of a name.
func ParseTable(name string) (Table, bool) {
	for t, n := range tableNames {
		if n == name {
			return Table(t), true
		}
	}
	return 0, false
}

// Table returns the table that has elements of this level.
func (l Level) Table() Table {
	switch l {
	case MemberLevel:
		return Members
	case CoverageLevel:
		return Coverages
	case ProviderLevel:
		return Providers
	case OrganizationLevel:
		return Organizations
	}
	return Claims
}

// Info is the row of an element in elements.csv.
type Info struct {
	Name       string // Go name of the constant
	Column     string // canonical column name
	MapIDs     string // CPCDS MapIDs, separated by semicolons; empty for our own columns
	Level      Level
	Kind       Kind
	Definition string
}

// Info returns the element's row of elements.csv.
func (e Element) Info() *Info { return &infos[e] }

// Column returns the canonical column name.
func (e Element) Column() string { return infos[e].Column }

func (e Element) String() string { return infos[e].Column }

var firsts = [NumLevels]Element{firstHeader, firstLine, firstDiagnosis, firstProcedure, firstCareTeam, firstMember, firstCoverage, firstProvider, firstOrganization}

// Slot is the place of the element in a record of its level.
func (e Element) Slot() int { return int(e - firsts[infos[e].Level]) }

// Lookup finds the element of a canonical column of a table.
func Lookup(t Table, column string) (Element, bool) {
	for e := range infos {
		if infos[e].Column == column && infos[e].Level.Table() == t {
			return Element(e), true
		}
	}
	return 0, false
}

// Columns lists the canonical columns of a table, in the order of elements.csv.
func Columns(t Table) []Element {
	var out []Element
	for e := range infos {
		if infos[e].Level.Table() == t {
			out = append(out, Element(e))
		}
	}
	return out
}

// HasMapID reports whether the element stands for the CPCDS MapID id.
func (i *Info) HasMapID(id string) bool {
	for m := range strings.SplitSeq(i.MapIDs, ";") {
		if m == id {
			return true
		}
	}
	return false
}

// Describe returns "column (MapID 35)" for messages.
func (e Element) Describe() string {
	if infos[e].MapIDs == "" {
		return infos[e].Column
	}
	return fmt.Sprintf("%s (CPCDS %s)", infos[e].Column, strings.ReplaceAll(infos[e].MapIDs, ";", ", "))
}
