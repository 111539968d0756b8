package layouts

import (
	"maps"
	"slices"
	"time"

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
	Claims  ClaimRules // rules about whole claims

	// Zone is the time zone of the source's dates and times; nil if the layout does not set it. An
	// instant becomes the date that it is in this zone.
	Zone *time.Location

	// Constants are rows that the layout itself adds to a table, in canonical text: payers that no
	// file names. A row of a file with the same key takes precedence.
	Constants map[cpcds.Table][]map[cpcds.Element]string

	tables  [cpcds.NumTables][]*Table // the forms of each table
	leftOut []leftOut
	sources []source  // the YAML file first, then its code maps
	lacking []Finding // why no row of a table can be loaded
}

// Systems are the URIs of the source's identifier systems, "" where the layout has
// none.
type Systems struct {
	Claim, Member, UniqueMember, Provider, Organization, Payer, Coverage string
}

// CSVOptions says how the text files of a layout are written.
type CSVOptions struct {
	Delimiter rune   // 0: the one that the header has most of
	Quote     rune   // 0: nothing is quoted
	Encoding  string // one of csvEncodings
	ShortRows bool   // rows may have fewer fields than the header; the rest is absent

	Escape      rune // a backslash, or the quote if quotes are only doubled; 0: a backslash before a quote is refused
	Trim        bool // blanks next to quotes are skipped
	ExcelGuards bool // ="00123" means 00123
	NullMark    bool // \N means no value in every column that is read
}

// Table is what a layout says about one table, or about one form of it: files that hold the same
// table in different columns. All forms of a table have the same key, split and collapse.
type Table struct {
	Table    cpcds.Table
	Form     string          // "" if the table has no forms
	RowsOf   []cpcds.Table   // the tables whose files it is read from; none if it has files of its own
	Files    []string        // name patterns of its files, a hint only
	Headers  []string        // headers that a file must have, whatever is read from them
	Required []cpcds.Element // elements whose column must exist
	Key      []cpcds.Element // identifies its records; an absent part counts as part of the key
	LineWhen []cpcds.Element // claims: a row is a service line if one of these is filled
	RowWhen  []cpcds.Element // small tables: a row is a record if one of these is filled; none: always
	Split    *Split          // claims: nil if claims are not split
	Collapse *Collapse       // small tables: nil if rows are not collapsed

	layout  string // name
	columns []*column
	ignored []ignored
	refused map[string]string // folded header -> reason
	lent    map[string]bool   // folded headers that tables reading these rows use
}

// String names the table and its form.
func (t *Table) String() string {
	if t.Form == "" {
		return t.Table.String()
	}
	return t.Table.String() + " (" + t.Form + ")"
}

// leftOut is a pattern of names of files that hold no table of the layout, with the reason.
type leftOut struct{ pattern, reason string }

// Split makes a separate claim for each value of a line element: fills that are listed among the
// lines of other claims. It is a repair.
type Split struct {
	Element   cpcds.Element
	ClaimType string // the claim_type of the new claims
	Repair    string
}

// Collapse merges all rows that agree in some elements into one record. References to any of their
// keys mean that record. It is a repair.
type Collapse struct {
	By     []cpcds.Element
	Repair string
}

// ignored is a header, or a prefix of headers, that a layout ignores on purpose.
type ignored struct {
	header string // folded, without the asterisk
	prefix bool
	reason string
}

// Table returns the layout's table, nil if it has no such table. If the table has forms it is the
// first, which has the key, split and collapse of all.
func (l *Layout) Table(t cpcds.Table) *Table {
	if len(l.tables[t]) == 0 {
		return nil
	}
	return l.tables[t][0]
}

// Forms returns the forms of a table. It must not be changed.
func (l *Layout) Forms(t cpcds.Table) []*Table { return l.tables[t] }

// Form returns the form of a table by name, nil if there is none.
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
	f := cpcds.FoldHeader(header)
	for _, i := range t.ignored {
		if i.matches(f) {
			return i.reason
		}
	}
	return ""
}

// Lends reports whether a header is used by another table that reads this table's rows.
func (t *Table) Lends(header string) bool { return t.lent[cpcds.FoldHeader(header)] }

func (i ignored) matches(folded string) bool {
	if i.prefix {
		return len(folded) >= len(i.header) && folded[:len(i.header)] == i.header
	}
	return folded == i.header
}
