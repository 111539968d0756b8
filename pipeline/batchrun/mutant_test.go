package batchrun_test

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// Kinds of mutants.
const (
	kindBlank     = "blanked"
	kindUnknown   = "unknown code or text"
	kindForm      = "wrong form"
	kindAmount    = "spoiled amount or number"
	kindControl   = "control characters"
	kindBeyond    = "beyond the BMP"
	kindReference = "wrong reference"
	kindDates     = "swapped dates"
	kindTwice     = "duplicated row"
	kindRemoved   = "removed row"
	kindLayout    = "claims of another layout"
)

// Outcomes of mutants.
const (
	isRejected = "rejected"
	isOther    = "loaded as something else"
	isSame     = "loaded as if nothing had happened"
	isGone     = "gone with its only row"
)

// TestMutants spoils claims in which every column is filled, under both releases:
// every value in every way, references that lead elsewhere, dates that changed
// places, rows that come twice or not at all. Each mutant must be rejected with a rule
// that names what was changed, or become a resource that a strict reader accepts; and
// what it says must not be lost without a warning. MUTANTS_OUT=DIR keeps the resources
// that come of them, for a validator.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("the mutants take a while")
	}
	collectLess(t)
	var y tally
	t.Run("claims", func(t *testing.T) {
		for _, v := range []*carin.Version{carin.V220, carin.V200} {
			for _, f := range filledClaims {
				if f.only != nil {
					continue
				}
				name := f.name + "-" + v.Name
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					c := newCase(t, name, f.golden(t, v, nil))
					if c.claims[0].json == "" {
						t.Fatalf("the claim with everything filled is rejected: %v", c.claims[0].problems)
					}
					var list []*mutant
					list = append(list, c.spoil(c.claims[0], always)...)
					list = append(list, c.misreference(c.claims[0])...)
					list = append(list, c.changeRows(c.claims[0])...)
					c.judge(t, &y, list)

					ordered := newCase(t, name+"-dates", f.golden(t, v, inOrder))
					ordered.judge(t, &y, ordered.swapDates(ordered.claims[0]))
				})
			}
		}
	})
	both := []string{isRejected, isOther}
	y.report(t, map[string][]string{kindBlank: both, kindUnknown: both, kindForm: both, kindAmount: both, kindControl: {isRejected}, kindBeyond: both,
		kindReference: both, kindDates: {isOther}, kindTwice: {isRejected}, kindRemoved: {isGone}})
}

// TestGoldenMutants does the same to the rows of the golden claims, whatever their
// layout, mode, release and grain. Not every value is tried in every cell, unless
// MUTANTS_OUT is set.
func TestGoldenMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("the mutants take a while")
	}
	collectLess(t)
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "claims", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	var y tally
	t.Run("claims", func(t *testing.T) {
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".txtar")
			switch name {
			case "voids", "lapsed-coverage", "lost-zeros":
				// The header of a record that is voided says nothing, a claim that names its payer
				// has the coverage that another one names, and lenient mode counts what it leaves
				// out as repairs.
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := newCase(t, "golden-"+name, readGolden(t, file))
				var list []*mutant
				for _, b := range c.claims {
					list = append(list, c.spoil(b, sometimes(name))...)
					list = append(list, c.misreference(b)...)
					list = append(list, c.swapDates(b)...)
					list = append(list, c.changeRows(b)...)
				}
				c.judge(t, &y, list)
			})
		}
	})
	both := []string{isRejected, isOther, isSame}
	y.report(t, map[string][]string{kindBlank: both, kindUnknown: both, kindForm: both, kindAmount: both, kindControl: {isRejected}, kindBeyond: both,
		kindReference: both, kindDates: {isOther}, kindTwice: {isRejected, isSame}, kindRemoved: {isRejected, isOther, isGone},
		kindLayout: {isRejected, isOther}})
}

// golden is the extract of the filled claim as a case, with dates of its own.
func (f *filledClaim) golden(t *testing.T, v *carin.Version, dates map[cpcds.Element]string) *golden {
	t.Helper()
	layout, err := layouts.Open("cpcds")
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{archive: &txtar.Archive{}, layout: layout, version: v, key: "a key for tests only"}
	c := &mutantCase{golden: g}
	add := func(table cpcds.Table, rows [][]string) {
		var header []string
		for _, e := range cpcds.Columns(table) {
			header = append(header, e.Column())
		}
		g.archive.Files = append(g.archive.Files, txtar.File{Name: table.String() + ".csv", Data: c.write(header, rows)})
	}
	for table := range cpcds.Claims {
		rows := f.smallRows(table, cpcds.NoElement)
		if table == cpcds.Coverages { // of another member
			other := slices.Clone(rows[1])
			other[slices.Index(cpcds.Columns(table), cpcds.CoveragesCoverageID)] = "C6"
			other[slices.Index(cpcds.Columns(table), cpcds.CoveragesMemberID)] = "M2"
			rows = append(rows, other)
		}
		add(table, rows)
	}
	add(cpcds.Claims, f.lines(func(e cpcds.Element, old values) string {
		if d, ok := dates[e]; ok {
			return d
		}
		// Before release 2.1 a person bills an oral claim.
		if e == cpcds.BillingProviderNPI && v == carin.V200 && f.profile == carin.Oral {
			return npi(90001)
		}
		return old.a
	}))
	return g
}

// spoiled are the values that a column is given, by its kind; the first is none.
func spoiled(kind cpcds.Kind) []string {
	list := []string{"", "no such value", "ZZZ9", "a\x01b", "𝒜 😀 \u202e", `quote " and \ back`, strings.Repeat("long ", 100)}
	switch kind {
	case cpcds.DateKind, cpcds.InstantKind:
		return append(list, "2023-13-45", "2024-02-30", "20240101", "0001-01-01", "9999-12-31", "31690708-07-05", "2024-01-01T25:00:00Z")
	case cpcds.MoneyKind, cpcds.QuantityKind:
		return append(list, "-1.00", "12,34", "1e5", "123456789012345678901234567890.12", "0", "00012", "1.23456789", "NaN")
	case cpcds.NPIKind:
		return append(list, "1234567890", "123456789", "12345678901", "123456789X")
	case cpcds.FlagKind:
		return append(list, "maybe", "2")
	case cpcds.CodeKind, cpcds.CodesKind:
		return append(list, "0", "99", "A", "x", "12345", "A1 B2 C3", "<script>")
	}
	return append(list, "0", " padded ", "two\nlines")
}

// kindOf sorts spoiled values.
func kindOf(value string, kind cpcds.Kind) string {
	switch {
	case value == "":
		return kindBlank
	case strings.ContainsAny(value, "\x01\n"):
		return kindControl
	case strings.ContainsRune(value, '😀'):
		return kindBeyond
	}
	switch kind {
	case cpcds.MoneyKind, cpcds.QuantityKind:
		return kindAmount
	case cpcds.DateKind, cpcds.InstantKind, cpcds.NPIKind, cpcds.FlagKind:
		return kindForm
	}
	return kindUnknown
}

// always and sometimes say whether a spoiled value is tried in a cell.
func always(int, int, int) bool { return true }

func sometimes(name string) func(row, column, value int) bool {
	if os.Getenv("MUTANTS_OUT") != "" {
		return always
	}
	return func(row, column, value int) bool {
		h := fnv.New32a()
		fmt.Fprintf(h, "%s %d %d", name, row, column)
		return value == 0 || (value+int(h.Sum32()%5))%5 == 0
	}
}

// elementOf is the element of a column of a claims file, NoElement if the layout
// gives columns other names.
func (c *mutantCase) elementOf(f, column int) cpcds.Element {
	if e, ok := cpcds.Lookup(cpcds.Claims, c.files[f].header[column]); ok && c.layout.Name == "cpcds" {
		return e
	}
	return cpcds.NoElement
}

// change copies the rows of a claim with one cell changed.
func (b *baseClaim) change(f, row, column int, value string) [][][]string {
	rows := slices.Clone(b.rows)
	rows[f] = slices.Clone(rows[f])
	rows[f][row] = slices.Clone(rows[f][row])
	rows[f][row][column] = value
	return rows
}

// spoil spoils the cells of a claim.
func (c *mutantCase) spoil(b *baseClaim, try func(row, column, value int) bool) []*mutant {
	var list []*mutant
	for f, rows := range b.rows {
		for r, row := range rows {
			for x := range row {
				if x == c.files[f].key {
					continue
				}
				e, kind := c.elementOf(f, x), cpcds.CodeKind
				if e != cpcds.NoElement {
					kind = e.Info().Kind
				}
				var blank *mutant
				for i, v := range spoiled(kind) {
					if v == row[x] || !try(r, x, i) {
						continue
					}
					m := &mutant{kind: kindOf(v, kind), claim: b, rows: b.change(f, r, x, v), columns: []string{c.files[f].header[x]}, element: e, value: v, was: row[x], blank: blank}
					if v == "" {
						blank = m
					}
					list = append(list, m)
				}
			}
		}
	}
	return list
}

// references are the columns that name something else, and what they name.
var references = map[cpcds.Element]struct {
	table cpcds.Table
	key   string
}{
	cpcds.MemberID: {cpcds.Members, "member_id"}, cpcds.CoverageID: {cpcds.Coverages, "coverage_id"}, cpcds.OtherCoverageID: {cpcds.Coverages, "coverage_id"},
	cpcds.ClaimPayerIdentifier: {cpcds.Organizations, "organization_payer_identifier"}, cpcds.BillingProviderNPI: {cpcds.Organizations, "organization_npi"},
	cpcds.BillingProviderID: {cpcds.Organizations, "organization_id"}, cpcds.ServiceFacilityID: {cpcds.Organizations, "organization_id"},
	cpcds.ServiceFacilityNPI: {cpcds.Providers, "provider_npi"}, cpcds.AttendingProviderNPI: {cpcds.Organizations, "organization_npi"},
	cpcds.PerformingProviderNPI: {cpcds.Organizations, "organization_npi"}, cpcds.PrescribingProviderNPI: {cpcds.Organizations, "organization_npi"},
	cpcds.CareTeamProviderNPI: {cpcds.Organizations, "organization_npi"}, cpcds.ReferringProviderNPI: {cpcds.Providers, "provider_npi"},
	cpcds.ClaimPayee: {cpcds.Members, "member_id"}, cpcds.ClaimAdjustedFromIdentifier: {cpcds.Claims, "claim_unique_identifier"},
	cpcds.ClaimAdjustedToIdentifier: {cpcds.Claims, "claim_unique_identifier"}, cpcds.CompoundParentLineNumber: {cpcds.Claims, "line_number"},
}

// misreference lets the references of a claim lead elsewhere: to whatever else the
// extract has, to nothing that it has, and claims to themselves.
func (c *mutantCase) misreference(b *baseClaim) []*mutant {
	var list []*mutant
	for f, rows := range b.rows {
		for r, row := range rows {
			for x := range row {
				e := c.elementOf(f, x)
				to, ok := references[e]
				if !ok {
					continue
				}
				targets := []string{"nobody", npi(77001)}
				for _, file := range c.files {
					if at := slices.Index(file.header, to.key); at >= 0 && file.table == to.table {
						for _, other := range file.rows {
							targets = append(targets, other[at])
						}
					}
				}
				slices.Sort(targets)
				blank := &mutant{kind: kindReference, claim: b, rows: b.change(f, r, x, ""), columns: []string{c.files[f].header[x]}, element: e}
				if row[x] == "" {
					blank = nil
				} else {
					list = append(list, blank)
				}
				for _, v := range slices.Compact(targets) {
					if v != "" && v != row[x] {
						list = append(list, &mutant{kind: kindReference, claim: b, rows: b.change(f, r, x, v), columns: []string{c.files[f].header[x]}, element: e, value: v, blank: blank})
					}
				}
			}
		}
	}
	return list
}

// datePairs are dates of which the first does not come after the second, with the
// rule that notices when it does.
var datePairs = []struct {
	first, second cpcds.Element
	rule          string
}{
	{cpcds.StatementFromDate, cpcds.StatementThruDate, "statement-dates"},
	{cpcds.MemberAdmissionDate, cpcds.MemberDischargeDate, "admission-dates"},
	{cpcds.ServiceFromDate, cpcds.ServiceToDate, "service-dates"},
	{cpcds.ServiceFromDate, cpcds.StatementThruDate, "service-outside-statement"},
	{cpcds.StatementFromDate, cpcds.ClaimReceivedDate, "received-before-service"},
	{cpcds.AdjudicationDate, cpcds.ClaimPaidDate, "paid-before-adjudication"},
}

// inOrder are dates of a filled claim that are as they should be.
var inOrder = map[cpcds.Element]string{cpcds.StatementFromDate: "2024-02-01", cpcds.StatementThruDate: "2024-02-10", cpcds.MemberAdmissionDate: "2024-02-01",
	cpcds.MemberDischargeDate: "2024-02-10", cpcds.ServiceFromDate: "2024-02-02", cpcds.ServiceToDate: "2024-02-04", cpcds.ClaimReceivedDate: "2024-02-20",
	cpcds.AdjudicationDate: "2024-03-01", cpcds.ClaimPaidDate: "2024-03-05"}

// swapDates lets two dates that belong together change places on all rows of a claim.
func (c *mutantCase) swapDates(b *baseClaim) []*mutant {
	var list []*mutant
	for _, p := range datePairs {
		rows := make([][][]string, len(b.rows))
		find := func(e cpcds.Element) string {
			for f := range b.rows {
				if x := slices.Index(c.files[f].header, e.Column()); x >= 0 {
					for _, row := range b.rows[f] {
						if row[x] != "" {
							return row[x]
						}
					}
				}
			}
			return ""
		}
		first, second := find(p.first), find(p.second)
		if c.layout.Name != "cpcds" || first == "" || second == "" || first >= second {
			continue
		}
		for f := range b.rows {
			for _, row := range b.rows[f] {
				row = slices.Clone(row)
				for x, name := range c.files[f].header {
					switch {
					case row[x] == "":
					case name == p.first.Column():
						row[x] = second
					case name == p.second.Column():
						row[x] = first
					}
				}
				rows[f] = append(rows[f], row)
			}
		}
		list = append(list, &mutant{kind: kindDates, claim: b, rows: rows, columns: []string{p.first.Column(), p.second.Column()}, element: cpcds.NoElement, value: p.rule})
	}
	return list
}

// changeRows repeats and removes each row of a claim.
func (c *mutantCase) changeRows(b *baseClaim) []*mutant {
	var list []*mutant
	for f := range b.rows {
		for r, row := range b.rows[f] {
			twice, without := slices.Clone(b.rows), slices.Clone(b.rows)
			twice[f] = slices.Insert(slices.Clone(b.rows[f]), r, row)
			without[f] = slices.Delete(slices.Clone(b.rows[f]), r, r+1)
			var filled []string
			for x, v := range row {
				if v != "" {
					filled = append(filled, c.files[f].header[x])
				}
			}
			list = append(list,
				&mutant{kind: kindTwice, claim: b, rows: twice, columns: []string{cpcds.LineNumber.Column()}, element: cpcds.NoElement},
				&mutant{kind: kindRemoved, claim: b, rows: without, columns: filled, element: cpcds.NoElement})
		}
	}
	return list
}

// names reports whether a problem of a reject names what was changed, or an element
// that may notice that.
func (m *mutant) names(p pipeline.RejectProblem) bool {
	// What is on the row makes it a service, or another one than its copy.
	if p.Rule == "line-without-number" || p.Rule == "duplicate-line" {
		return true
	}
	if m.element == cpcds.ClaimSourceVersion || m.element == cpcds.ClaimLastUpdatedDate {
		return true // the other rows are an older record then
	}
	if slices.Contains(m.columns, p.Element) || slices.ContainsFunc(p.Columns, func(x string) bool { return slices.Contains(m.columns, x) }) {
		return true
	}
	return slices.ContainsFunc(blamed[m.element], func(e cpcds.Element) bool { return p.Element == e.Column() })
}
