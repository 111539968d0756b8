package batchrun_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// TestTableMutants spoils rows of the small tables: every value of a row with every
// column filled, dates that change places, and rows that come twice, come again newer
// or not at all, in the golden claims. What refers to a row that is gone must be
// rejected with the column that names it, or do without.
func TestTableMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("the mutants take a while")
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "claims", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	var y tally
	t.Run("tables", func(t *testing.T) {
		f := &filledClaims[0]
		for _, v := range []*carin.Version{carin.V220, carin.V200} {
			for table := range cpcds.Claims {
				name := table.String() + "-" + v.Name
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					newCase(t, "table-"+name, f.golden(t, v, nil)).spoilTable(t, &y, table)
				})
			}
		}
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".txtar")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if g := readGolden(t, file); g.layout.Name == "cpcds" {
					newCase(t, "table-"+name, g).changeTables(t, &y)
				}
			})
		}
	})
	both := []string{isRejected, isOther}
	y.report(t, map[string][]string{kindBlank: both, kindUnknown: both, kindForm: both, kindControl: {isRejected}, kindBeyond: both,
		kindDates: both, kindTwice: {isSame}, kindNewer: {isOther}, kindRemoved: {isRejected, isSame}})
}

// kindNewer is a second row of a key that was updated later.
const kindNewer = "duplicated row, newer"

// kindCopy is a row that has nothing of its own but its keys.
const kindCopy = "copied row"

// rowKeys are the columns that are a row's own: each mutant has its own of them.
var rowKeys = map[cpcds.Table][]cpcds.Element{
	cpcds.Members:   {cpcds.MembersMemberID, cpcds.MembersUniqueMemberID},
	cpcds.Coverages: {cpcds.CoveragesCoverageID},
	cpcds.Providers: {cpcds.ProvidersProviderID, cpcds.ProvidersProviderNPI, cpcds.ProvidersProviderTaxID},
	cpcds.Organizations: {cpcds.OrganizationsOrganizationID, cpcds.OrganizationsOrganizationNPI, cpcds.OrganizationsOrganizationPayerIdentifier,
		cpcds.OrganizationsOrganizationTaxID},
}

// tablePairs are the periods of the small tables, with the rule about their order.
var tablePairs = map[cpcds.Table][3]string{
	cpcds.Members:   {"address_begin_date", "address_end_date", "members-address-dates"},
	cpcds.Coverages: {"start_date", "end_date", "coverages-period-order"},
}

// spoilTable adds a row for each spoiled value to a table, under keys of its own.
func (c *mutantCase) spoilTable(t *testing.T, y *tally, table cpcds.Table) {
	t.Helper()
	at := slices.IndexFunc(c.files, func(f mutantFile) bool { return f.table == table })
	file := &c.files[at]
	base := len(file.rows)
	type rowMutant struct {
		kind string
		e    cpcds.Element
		v    string
		keys []string
	}
	var list []rowMutant
	add := func(m rowMutant, change func(row []string)) {
		row := slices.Clone(file.rows[0])
		for k, e := range rowKeys[table] {
			key := fmt.Sprintf("key-%d-%d-", len(list), k)
			if e.Info().Kind == cpcds.NPIKind {
				key = npi(40000 + len(list))
			}
			row[slices.Index(file.header, e.Column())] = key
			m.keys = append(m.keys, key)
		}
		change(row)
		list, file.rows = append(list, m), append(file.rows, row)
	}
	add(rowMutant{kind: kindCopy, e: cpcds.NoElement}, func([]string) {})
	for x, e := range cpcds.Columns(table) {
		for _, v := range spoiled(e.Info().Kind) {
			add(rowMutant{kind: kindOf(v, e.Info().Kind), e: e, v: v}, func(row []string) { row[x] = v })
		}
	}
	pair, dated := tablePairs[table]
	if dated {
		add(rowMutant{kind: kindDates, e: cpcds.NoElement}, func(row []string) {
			a, b := slices.Index(file.header, pair[0]), slices.Index(file.header, pair[1])
			row[a], row[b] = row[b], row[a]
		})
	}
	g := *c.golden
	g.archive = c.archiveOf(func(f int) [][]string { return c.files[f].rows })
	o := g.run(t, 1)
	if !o.account.Balanced() {
		t.Errorf("the account does not balance: %+v", o.account)
	}
	readStrictly(t, o.target)
	keepMutants(t, o.target, c.version.Name, c.name)

	rejects := map[int64][]pipeline.RejectProblem{}
	for _, r := range o.rejects {
		rejects[r.Rows[0].Row] = r.Problems
	}
	whole := "" // what becomes of the row under other keys
	lost, blank := map[cpcds.Element]int64{}, map[cpcds.Element]string{}
	for i, m := range list {
		problems := rejects[int64(base+i+1)]
		data := ""
		for _, ref := range slices.Sorted(maps.Keys(o.target.resources)) {
			raw := neutral(o.target.resources[ref].json, ref)
			if strings.HasPrefix(raw, `{"resourceType":"`+tableResource[table]) && slices.ContainsFunc(m.keys, func(k string) bool { return strings.Contains(raw, `"`+k+`"`) }) {
				for k, key := range m.keys {
					raw = strings.ReplaceAll(raw, key, fmt.Sprint("key", k))
				}
				data = raw
			}
		}
		where := fmt.Sprintf("%s, %s", c.name, m.kind)
		if m.e != cpcds.NoElement {
			where += " " + m.e.Column()
		}
		switch {
		case problems != nil && data != "":
			t.Errorf("%s: it was rejected and loaded", where)
		case problems != nil:
			y.add(m.kind, isRejected)
			if m.e != cpcds.NoElement && !slices.ContainsFunc(problems, func(p pipeline.RejectProblem) bool {
				return p.Element == m.e.Column() || slices.ContainsFunc(blamed[m.e], func(e cpcds.Element) bool { return p.Element == e.Column() })
			}) {
				t.Errorf("%s: the reject blames %+v", where, problems)
			}
		case data == "" && !slices.Contains(rowKeys[table], m.e):
			t.Errorf("%s: it is neither loaded nor rejected", where)
		default:
			y.add(m.kind, isOther)
			switch {
			case m.kind == kindCopy:
				whole = data
			case m.v == "" && m.e != cpcds.NoElement:
				blank[m.e] = data
				for x, v := range file.rows[base+i] {
					if len(v) > 1 && says(whole, v) && !says(data, v) {
						t.Errorf("%s: %s is lost with it", where, file.header[x])
					}
				}
			case strings.TrimSpace(m.v) != "" && data == blank[m.e] && !slices.Contains(rowKeys[table], m.e):
				lost[m.e]++
			}
		}
	}
	for e, n := range lost {
		warned := int64(0)
		if e == cpcds.CoveragesEndDate || e == cpcds.MembersAddressEndDate {
			warned = o.account.Warnings["open-end"]
		}
		for _, r := range carin.NewChecker(c.version).Rules() {
			if r.Element == e {
				warned += o.account.Warnings[r.ID]
			}
		}
		if warned < n {
			t.Errorf("%s, %s: %d values make no difference, %d warnings name the column", c.name, e.Column(), n, warned)
		}
	}
	if dated && o.account.Warnings[pair[2]]+o.account.Rejects[pair[2]] == 0 {
		t.Errorf("%s: nothing comes of %s", c.name, pair[2])
	}
}

// tableResource is what a row of a small table becomes.
var tableResource = map[cpcds.Table]string{cpcds.Members: "Patient", cpcds.Coverages: "Coverage", cpcds.Providers: "Practitioner", cpcds.Organizations: "Organization"}

// refersTo are the columns of claims that name a row of a small table, and those of
// coverages.
var refersTo = map[cpcds.Table][]string{
	cpcds.Members:       {"member_id", "coverage_id", "other_coverage_id", "claim_payer_identifier", "claim_payee"},
	cpcds.Coverages:     {"coverage_id", "claim_payer_identifier"},
	cpcds.Providers:     {"billing_provider_npi", "claim_payee"},
	cpcds.Organizations: {"billing_provider_npi", "claim_payee"},
}

// changeTables repeats and removes each row of the small tables.
func (c *mutantCase) changeTables(t *testing.T, y *tally) {
	t.Helper()
	try := sometimes(c.name)
	base := c.run(t, 1)
	_, was := byNumber(t, base, suffixed)
	for f := range c.files {
		file := c.files[f]
		if file.table == cpcds.Claims {
			continue
		}
		for r, row := range file.rows {
			if !try(f, r, 1) && !try(f, r, 2) {
				continue
			}
			load := func(rows [][]string) *outcome {
				g := *c.golden
				g.archive = &txtar.Archive{}
				for i, other := range c.files {
					if i == f {
						other.rows = rows
					}
					g.archive.Files = append(g.archive.Files, txtar.File{Name: other.name, Data: c.write(other.header, other.rows)})
				}
				o := g.run(t, 1)
				if !o.account.Balanced() {
					t.Errorf("%s, row %d: the account does not balance", file.name, r+1)
				}
				readStrictly(t, o.target)
				return o
			}
			same := func(o *outcome) bool {
				return maps.EqualFunc(base.target.resources, o.target.resources, sameResource)
			}
			noticed := func(o *outcome) bool {
				rule := file.table.String() + "-duplicate-key"
				return o.account.Skips[rule] > base.account.Skips[rule] || len(o.rejects) > len(base.rejects)
			}
			twice := load(slices.Insert(slices.Clone(file.rows), r, row))
			y.add(kindTwice, isSame)
			if !same(twice) || !noticed(twice) {
				t.Errorf("%s, row %d twice: other resources come of it, or nothing is counted", file.name, r+1)
			}
			newer := slices.Clone(row)
			for x, name := range file.header {
				if strings.HasSuffix(name, "_last_updated_date") && newer[x] != "" {
					newer[x] = "2031-01-01T00:00:00Z"
				}
			}
			again := load(append(slices.Clone(file.rows), newer))
			y.add(kindNewer, isOther)
			if !noticed(again) || len(again.rejects) == len(base.rejects) && same(again) {
				t.Errorf("%s, row %d again and newer: it does not count, or the older one is not counted", file.name, r+1)
			}
			without := load(slices.Delete(slices.Clone(file.rows), r, r+1))
			outcome := isSame
			for _, reject := range without.rejects {
				if reject.Table != cpcds.Claims.String() {
					continue
				}
				outcome = isRejected
				if len(was[reject.Claim]) == 0 && !slices.ContainsFunc(reject.Problems, func(p pipeline.RejectProblem) bool { return slices.Contains(refersTo[file.table], p.Element) }) {
					t.Errorf("%s without row %d: the reject blames %+v", file.name, r+1, reject.Problems)
				}
			}
			y.add(kindRemoved, outcome)
		}
	}
}
