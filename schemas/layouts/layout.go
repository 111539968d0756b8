package layouts

import (
	"maps"
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// Layout is one compiled layout. It is immutable and safe for concurrent use.
type Layout struct {
	Name    string
	About   string     // what the layout is for, in a sentence
	Source  string     // namespace of the source's keys when resource ids are made
	Hash    string     // hex SHA-256 of the YAML file and of its code maps
	Systems Systems    // Identifier.system of the source's identifiers
	CSV     CSVOptions // how its text files are written
	Claims  ClaimRules // what is done with whole claims

	// Constants are rows that the layout itself adds to a table, in canonical text:
	// payers that no file names. A row of a file with the same key is worth more.
	Constants map[cpcds.Table][]map[cpcds.Element]string

	tables  [cpcds.NumTables][]*Table // the forms of each table
	leftOut []leftOut
	sources []source  // the YAML file first, then its code maps
	lacking []Finding // why rows of a table cannot be loaded, whatever they hold
}

// Systems are the URIs of the source's identifier systems, "" where the layout has
// none.
type Systems struct {
	Claim, Member, UniqueMember, Provider, Organization, Payer, Coverage string
}

// CSVOptions says how the text files of a layout are written.
type CSVOptions struct {
	Delimiter rune
	Quote     rune   // 0: nothing is quoted
	Encoding  string // utf-8, windows-1252 or iso-8859-1
	ShortRows bool   // rows may have fewer fields than the header; the rest is absent
}

// Table is what a layout says of one table, or of one form of it: files that hold
// the same table in different columns. All forms of a table have the same key, split
// and collapse.
type Table struct {
	Table    cpcds.Table
	Form     string          // "" if the table has no forms
	RowsOf   []cpcds.Table   // the tables whose files it is read from; none if it has files of its own
	Files    []string        // name patterns of its files, a hint only
	Headers  []string        // headers that a file must have, whatever is read from them
	Required []cpcds.Element // elements whose column must exist
	Key      []cpcds.Element // what tells its records apart; an absent part is part of the key
	LineWhen []cpcds.Element // claims: a row is a service line if one of these is filled
	RowWhen  []cpcds.Element // small tables: a row is a record if one of these is filled; none: always
	Split    *Split          // claims: nil if claims are not split
	Collapse *Collapse       // small tables: nil if rows are not collapsed

	layout  string // name
	columns []*column
	ignored []ignored
	refused map[string]string // folded header -> reason
	lent    map[string]bool   // folded headers that tables with the rows of this one read
}

// String names the table and its form.
func (t *Table) String() string {
	if t.Form == "" {
		return t.Table.String()
	}
	return t.Table.String() + " (" + t.Form + ")"
}

// leftOut is a pattern of names of files that hold no table of the layout.
type leftOut struct{ pattern, reason string }

// Split makes a claim of its own of each value of a line element: the fills that
// stand among the lines of other claims. It is a repair.
type Split struct {
	Element   cpcds.Element
	ClaimType string // the claim_type of the new claims
	Repair    string
}

// Collapse makes one record of all rows that agree in some elements. References to
// any of their keys mean that record. It is a repair.
type Collapse struct {
	By     []cpcds.Element
	Repair string
}

// ignored is a header, or a header's beginning, that a layout leaves out knowingly.
type ignored struct {
	header string // folded, without the asterisk
	prefix bool
	reason string
}

// Table returns what the layout says of a table, nil if it has no such table. If the
// table has forms it is the first, which has the key, split and collapse of all.
func (l *Layout) Table(t cpcds.Table) *Table {
	if len(l.tables[t]) == 0 {
		return nil
	}
	return l.tables[t][0]
}

// Forms returns the forms of a table. It must not be changed.
func (l *Layout) Forms(t cpcds.Table) []*Table { return l.tables[t] }

// Form returns the form of a table that has a name, nil if there is none.
func (l *Layout) Form(t cpcds.Table, name string) *Table {
	for _, f := range l.tables[t] {
		if f.Form == name {
			return f
		}
	}
	return nil
}

// all returns the forms of all tables.
func (l *Layout) all() []*Table { return slices.Concat(l.tables[:]...) }

// Repairs returns the names of all repairs that the layout can apply, sorted: of
// its columns, of its tables and of its claims.
func (l *Layout) Repairs() []string {
	names := map[string]bool{}
	for _, t := range l.all() {
		if t.Split != nil {
			names[t.Split.Repair] = true
		}
		if t.Collapse != nil {
			names[t.Collapse.Repair] = true
		}
		for _, c := range t.columns {
			if c.invalid != "" {
				names[c.invalid] = true
			}
			if c.lenient != nil {
				names[c.lenient.repair] = true
			}
		}
	}
	for _, r := range l.Claims.repairs() {
		names[r] = true
	}
	delete(names, "")
	return slices.Sorted(maps.Keys(names))
}

// Reason returns why the layout leaves out a header, "" if it does not.
func (t *Table) Reason(header string) string {
	f := fold(header)
	for _, i := range t.ignored {
		if i.matches(f) {
			return i.reason
		}
	}
	return ""
}

// Lends reports whether a header is read for another table that has the rows of this
// one.
func (t *Table) Lends(header string) bool { return t.lent[fold(header)] }

func (i ignored) matches(folded string) bool {
	if i.prefix {
		return len(folded) >= len(i.header) && folded[:len(i.header)] == i.header
	}
	return folded == i.header
}
