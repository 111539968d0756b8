package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"cpcds2fhir/mappers"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Rules of the small tables that the engine knows.
const (
	ruleDuplicateKey  = "duplicate-key"            // another row of the table, newer or first, has the same key
	ruleNoRecord      = "no-record"                // the row has none of what makes it a record of the table
	ruleUnknownMember = "coverages-unknown-member" // a coverage must name a member
)

// tableOrder is the order in which the small tables are loaded, so that
// references point backwards.
var tableOrder = []cpcds.Table{cpcds.Organizations, cpcds.Providers, cpcds.Members, cpcds.Coverages}

// learned is a small table that the directory knows, ready to be loaded.
type learned struct {
	table   cpcds.Table
	sources []tableSource
	winners *winners
}

// learnTables reads the small tables into the directory, in the order of tableOrder,
// and gives each of them to out, which it closes.
func (r *Run) learnTables(ctx context.Context, out chan<- learned) error {
	defer close(out)
	for _, t := range tableOrder {
		if r.Layout.Table(t) == nil {
			continue
		}
		sources := r.tableSources(t)
		if len(sources) == 0 {
			continue
		}
		winners, err := r.learn(ctx, t, sources)
		if err != nil {
			return err
		}
		select {
		case out <- learned{t, sources, winners}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// loadTables loads the small tables, which are read twice: first to learn which rows
// there are, which of several rows of one key is the newest and what claims can refer
// to; then to load them. The directory is complete afterwards even if the tables were
// loaded by an earlier, interrupted call. One goroutine loads, in the order of
// tableOrder, what another has learned: a table refers to those before it only.
func (r *Run) loadTables(ctx context.Context, tables <-chan learned, total *Account) error {
	for l := range tables {
		for _, s := range l.sources {
			// Of the organizations that a layout knows only those are written that
			// something refers to: they are mentions. A replay finds the other rows
			// of the layout in the target.
			if s.input == nil && (l.table == cpcds.Organizations || r.Replay) {
				continue
			}
			account, err := r.loadTable(ctx, l.table, s, l.winners)
			if err != nil {
				return err
			}
			total.Add(account)
		}
		l.winners.close()
	}
	return nil
}

// resourceOf is the type that a row of a small table becomes.
var resourceOf = [cpcds.NumTables]fhir.Type{cpcds.Members: fhir.Patient, cpcds.Coverages: fhir.Coverage,
	cpcds.Providers: fhir.Practitioner, cpcds.Organizations: fhir.Organization, cpcds.Claims: fhir.ExplanationOfBenefit}

// tableSource is an input of a small table, or the layout's own rows (input nil).
type tableSource struct {
	index int // of the input; -1 for the layout's rows
	input *Input
}

func (r *Run) tableSources(t cpcds.Table) []tableSource {
	var list []tableSource
	for i, in := range r.Inputs {
		if in.Table == t {
			list = append(list, tableSource{i, in})
		}
	}
	if len(r.Layout.Constants[t]) > 0 {
		list = append(list, tableSource{index: -1})
	}
	return list
}

// each reads the rows of a source from a row on, slab by slab.
func (r *Run) each(ctx context.Context, t cpcds.Table, s tableSource, from int64, f func(b *bound, i int, row int64) error) error {
	if s.input == nil {
		b := constantRows(t, r.Layout.Constants[t])
		for i := int(from); i < b.batch.N; i++ {
			if err := f(b, i, int64(i)); err != nil {
				return err
			}
		}
		return nil
	}
	var end int64
	for _, sp := range s.input.spans {
		end = sp.First + sp.Rows
	}
	src, err := s.input.File.Open(ctx, from, end, s.input.columns())
	if err != nil {
		return err
	}
	defer src.Close()
	binding := s.input.Binding.Clone()
	b := &bound{input: s.input}
	for {
		err := src.Next(ctx, &b.rows)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		binding.Convert(&b.batch, &b.rows)
		for i := range b.batch.N {
			if err := f(b, i, b.rows.First+int64(i)); err != nil {
				return err
			}
		}
	}
}

// isRecord reports whether row i is a record of the small table that it is read for.
func (b *bound) isRecord(i int) bool {
	if b.input == nil {
		return true
	}
	when := b.input.Binding.Table().RowWhen
	if len(when) == 0 {
		return true
	}
	for c, e := range b.batch.Elements {
		if slices.Contains(when, e) {
			col := &b.batch.Columns[c]
			k := col.Index[i]
			if k >= 0 && (col.Values[k] != "" || col.Bad != nil && col.Bad[k] != "") {
				return true
			}
		}
	}
	return false
}

// constantRows makes a slab of the rows that a layout itself has.
func constantRows(t cpcds.Table, rows []map[cpcds.Element]string) *bound {
	b := &bound{}
	b.batch.Table, b.batch.N = t, len(rows)
	b.batch.Elements = cpcds.Columns(t)
	b.batch.Columns = make([]cpcds.Column, len(b.batch.Elements))
	for _, row := range rows {
		for i, e := range b.batch.Elements {
			b.batch.Columns[i].AppendPlain(row[e])
		}
	}
	return b
}

// tableRow is one row of a small table and what it is worth.
type tableRow struct {
	get     func(cpcds.Element) string
	key     fhir.Raw   // what its resource's id is made of
	aliases []fhir.Raw // further keys by which it is known
	updated string
	skip    string // rule by which it is skipped
	merged  bool   // its key is not its own but that of equal rows
}

// read judges row i of a slab. Without problems the row is good.
func (r *Run) read(t cpcds.Table, id *fhir.Identity, b *bound, i int, v *carin.Verdict) tableRow {
	if b.columns == nil {
		b.columns = map[cpcds.Element]int{}
		for c, e := range b.batch.Elements {
			b.columns[e] = c
		}
	}
	row := tableRow{get: func(e cpcds.Element) string {
		if c, ok := b.columns[e]; ok {
			return b.batch.Columns[c].Value(i)
		}
		return ""
	}}
	for c, e := range b.batch.Elements {
		col := &b.batch.Columns[c]
		if k := col.Index[i]; k >= 0 && col.Bad != nil && col.Bad[k] != "" {
			v.Errors = append(v.Errors, cpcds.Problem{Rule: col.Bad[k], Element: e, Row: -1})
		}
	}
	raw := func(t fhir.Type, parts ...string) fhir.Raw {
		return id.Raw(t, append([]string{r.Layout.Source}, parts...)...)
	}
	get := row.get
	switch t {
	case cpcds.Members:
		if id := get(cpcds.MembersMemberID); id != "" {
			row.key = raw(fhir.Patient, id)
		}
		row.updated = get(cpcds.MembersMemberLastUpdatedDate)
	case cpcds.Providers:
		row.aliases = known(raw, fhir.Practitioner, byNPI, get(cpcds.ProvidersProviderNPI), byID, get(cpcds.ProvidersProviderID),
			byTax, get(cpcds.ProvidersProviderTaxID))
		row.updated = get(cpcds.ProvidersProviderLastUpdatedDate)
	case cpcds.Organizations:
		row.aliases = known(raw, fhir.Organization, byNPI, get(cpcds.OrganizationsOrganizationNPI), byPayer, get(cpcds.OrganizationsOrganizationPayerIdentifier),
			byID, get(cpcds.OrganizationsOrganizationID))
		row.updated = get(cpcds.OrganizationsOrganizationLastUpdatedDate)
	case cpcds.Coverages:
		if id := get(cpcds.CoveragesCoverageID); id != "" {
			row.key = raw(fhir.Coverage, id)
		}
		row.aliases = []fhir.Raw{row.key}
		row.updated = get(cpcds.CoveragesCoverageLastUpdatedDate)
		if c := r.Layout.Table(t).Collapse; c != nil && r.repairs(c.Repair) {
			parts := []string{"collapsed"}
			for _, e := range c.By {
				parts = append(parts, get(e))
			}
			row.key, row.merged = raw(fhir.Coverage, parts...), true
		}
		if p := r.Layout.Claims.SkipPayers; p != nil && slices.Contains(p.Payers, get(cpcds.CoveragesPayerIdentifier)) {
			row.skip = p.Rule
		}
		if member := get(cpcds.CoveragesMemberID); member != "" && !r.dir.hasMember(raw(fhir.Patient, member)) {
			v.Errors = append(v.Errors, cpcds.Problem{Rule: ruleUnknownMember, Element: cpcds.CoveragesMemberID, Row: -1})
		}
	}
	if len(row.aliases) > 0 && t != cpcds.Coverages {
		row.key = row.aliases[0]
	}
	r.checker.Row(t, get, v)
	return row
}

// known makes the keys of the identifiers that are there, from pairs of kind and
// value. The first is the one that makes the id.
func known(raw func(fhir.Type, ...string) fhir.Raw, t fhir.Type, pairs ...string) []fhir.Raw {
	var keys []fhir.Raw
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			keys = append(keys, raw(t, pairs[i], pairs[i+1]))
		}
	}
	return keys
}

// insurer is the Organization of a payer: a row of the organizations table, or one
// that is mentioned only.
func (r *Run) insurer(payer fhir.Raw) fhir.Raw {
	if e, ok := r.dir.providers[payer]; ok {
		return e.id
	}
	return payer
}

// loadTable loads a source of a small table.
func (r *Run) loadTable(ctx context.Context, t cpcds.Table, s tableSource, winners *winners) (*Account, error) {
	lane := t.String() + "-layout"
	if s.input != nil {
		lane = fmt.Sprintf("%s-%03d", t, s.index)
	}
	w, err := r.newWorker(ctx, lane, s.index)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if w.done {
		return &w.base, nil
	}
	id := r.Identity.Clone()
	err = r.each(ctx, t, s, w.row, func(b *bound, i int, n int64) error {
		w.tableRow(t, s, id, b, i, n, winners)
		w.row++
		w.fresh++
		return w.flushIfFull(ctx)
	})
	if err != nil {
		return nil, err
	}
	return &w.base, w.finish(ctx)
}

// tableRow loads one row of a small table and accounts for it. The layout's own
// rows are no rows of the extract, so they are not counted.
func (w *worker) tableRow(t cpcds.Table, s tableSource, id *fhir.Identity, b *bound, i int, n int64, winners *winners) {
	count := &w.delta.Rows[t]
	if s.input == nil {
		count = new(RowCount)
	}
	count.Read++
	if !b.isRecord(i) {
		count.Skipped++
		Count(&w.delta.Skips, t.String()+"-"+ruleNoRecord, 1)
		return
	}
	w.verdict.Reset()
	row := w.run.read(t, id, b, i, &w.verdict)
	countRules(&w.delta.Warnings, w.verdict.Warnings)
	if !w.verdict.OK() {
		count.Rejected++
		if s.input != nil {
			countRules(&w.delta.Rejects, w.verdict.Errors)
			w.delta.Resources[resourceOf[t]].Rejected++
			w.rejects.row(b, i, &row, w.verdict.Errors)
		}
		return
	}
	if row.skip != "" {
		count.Skipped++
		Count(&w.delta.Skips, row.skip, 1)
		return
	}
	for c := range b.batch.Columns {
		col := &b.batch.Columns[c]
		if k := col.Index[i]; k >= 0 && col.Repaired != nil && col.Repaired[k] != "" {
			Count(&w.delta.Repairs, col.Repaired[k], 1)
		}
	}
	if !winners.has(row.key, s.index, n) {
		if row.merged {
			count.InClaims++
			Count(&w.delta.Repairs, w.run.Layout.Table(t).Collapse.Repair, 1)
			return
		}
		count.Skipped++
		if s.input != nil {
			Count(&w.delta.Skips, t.String()+"-"+ruleDuplicateKey, 1)
		}
		return
	}
	count.InClaims++
	w.mentions.drop()
	w.mapRow(t, &row, id)
	w.mentions.accept()
}

// mapRow appends the resources of a row of a small table.
func (w *worker) mapRow(t cpcds.Table, row *tableRow, id *fhir.Identity) {
	m, out := w.run.mapper, &w.out
	switch t {
	case cpcds.Members:
		var x cpcds.Member
		fill(t, row.get, x.Set)
		m.Patient(out, row.key.ID(fhir.Patient), &x)
	case cpcds.Providers:
		var x cpcds.Provider
		fill(t, row.get, x.Set)
		m.Practitioner(out, row.key.ID(fhir.Practitioner), &x)
	case cpcds.Organizations:
		var x cpcds.Organization
		fill(t, row.get, x.Set)
		m.Organization(out, row.key.ID(fhir.Organization), &x)
	case cpcds.Coverages:
		var x cpcds.Coverage
		fill(t, row.get, x.Set)
		w.mapCoverage(row, id, &x)
	}
}

func fill(t cpcds.Table, get func(cpcds.Element) string, set func(cpcds.Element, string)) {
	for _, e := range cpcds.Columns(t) {
		set(e, get(e))
	}
}

// mapCoverage appends a coverage, mentions its payer if no table has it, and
// mentions its subscriber if that is another person with a name.
func (w *worker) mapCoverage(row *tableRow, id *fhir.Identity, x *cpcds.Coverage) {
	refs := mappers.CoverageRefs{
		Beneficiary: w.resolve.patient(x.Get(cpcds.CoveragesMemberID)),
		Payor:       w.resolve.payer(x.Get(cpcds.CoveragesPayerIdentifier), ""),
	}
	family, given := x.Get(cpcds.CoveragesSubscriberFamilyName), x.Get(cpcds.CoveragesSubscriberGivenName)
	subscriber := x.Get(cpcds.CoveragesSubscriberID)
	switch {
	case x.Get(cpcds.CoveragesRelationshipToSubscriber) == "self":
		refs.Subscriber = refs.Beneficiary
	case w.resolve.patient(subscriber) != "":
		refs.Subscriber = w.resolve.patient(subscriber)
	case family != "" || given != "":
		name := family
		if given != "" {
			name += ", " + given
		}
		mn := mention{Kind: mentionRelated, Key: subscriber, Name: name, Patient: refs.Beneficiary}
		mn.ID = id.ID(fhir.RelatedPerson, w.run.Layout.Source, x.Get(cpcds.CoveragesMemberID), subscriber, name)
		w.mentions.add(mn)
		refs.Subscriber = fhir.Reference(fhir.RelatedPerson, mn.ID)
	}
	w.run.mapper.Coverage(&w.out, row.key.ID(fhir.Coverage), x, refs)
}
