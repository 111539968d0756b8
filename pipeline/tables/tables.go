// Package tables makes the resources of the small tables: a row of the members, coverages,
// providers or organizations goes in; resources, a reject, warnings and what they count come out.
// It does no I/O and reads no clock. Of several rows with one key it uses the one that an index of
// the directory has selected.
package tables

import (
	"slices"

	"cpcds2fhir/mappers"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/referenced"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// Order is the order in which the small tables are loaded, so that references point
// backwards.
var Order = []cpcds.Table{cpcds.Organizations, cpcds.Providers, cpcds.Members, cpcds.Coverages}

// ResourceOf is the type that a record of a table becomes.
var ResourceOf = [cpcds.NumTables]fhir.Type{cpcds.Members: fhir.Patient, cpcds.Coverages: fhir.Coverage,
	cpcds.Providers: fhir.Practitioner, cpcds.Organizations: fhir.Organization, cpcds.Claims: fhir.ExplanationOfBenefit}

// Config is what builders of a run have in common. It must not be changed while they are
// used.
type Config struct {
	Layout   *layouts.Layout
	Rules    Rules
	Mapper   *mappers.Mapper
	Repairs  pipeline.Repairs
	Identity *fhir.Identity

	// Replay says that rows are rejects of earlier loads: one stays as it is if the directory has a
	// newer row. Present are resources that the target has and cannot change.
	Replay  bool
	Present map[string]bool
}

// Rules check rows. *carin.Checker implements it.
type Rules interface {
	// Row adds to v what is wrong with a row of a small table. It is safe for concurrent use.
	Row(t cpcds.Table, get func(cpcds.Element) string, v *carin.Verdict)
}

// Winners knows which of several rows with one key is used. *directory.Winners implements it.
type Winners interface {
	Has(key fhir.Raw, source int, row int64) bool
}

// Builder makes the resources of one table. It belongs to one goroutine.
type Builder struct {
	*Config
	table    cpcds.Table
	dir      directory.Lookup
	resolver *directory.Resolver
	verdict  carin.Verdict
}

// NewBuilder returns a builder. dir is what rows can refer to.
func NewBuilder(cfg *Config, dir directory.Lookup, t cpcds.Table) *Builder {
	return &Builder{Config: cfg, table: t, dir: dir,
		resolver: directory.NewResolver(dir, directory.NewKeys(cfg.Identity, cfg.Layout), cfg.Layout)}
}

// Unresolved returns the keys that the last row refers to and that a Live directory does not have yet.
// It is valid until the next row.
func (b *Builder) Unresolved() []directory.Unresolved { return b.resolver.Unresolved() }

// Use lets the builder look into another directory.
func (b *Builder) Use(dir directory.Lookup) {
	b.dir = dir
	b.resolver.Use(dir)
}

// Forget forgets what was found in the directory, because it has changed.
func (b *Builder) Forget() { b.resolver.Forget() }

// Identify returns the resource that row i makes, "" if it has no key, and its source version.
func (b *Builder) Identify(batch *rowbatch.Batch, i int) (resource, version string) {
	r := b.judge(batch, i)
	if r.key == (fhir.Raw{}) {
		return "", ""
	}
	return r.key.Reference(ResourceOf[b.table]), r.updated
}

// IsRecord reports whether row i is a record of the table that it is read for.
func IsRecord(b *rowbatch.Batch, i int) bool {
	if b.Input == nil {
		return true
	}
	when := b.Input.Binding.Table().RowWhen
	if len(when) == 0 {
		return true
	}
	for c, e := range b.Elements() {
		if slices.Contains(when, e) && b.Written([]int{c}, i) {
			return true
		}
	}
	return false
}

// Index adds row i to an index of the directory, if the row is valid. source is the number of its
// input, -1 for a row of the layout; n is its number there.
func (b *Builder) Index(x directory.Changes, batch *rowbatch.Batch, i, source int, n int64) error {
	if !IsRecord(batch, i) {
		return nil
	}
	row := b.judge(batch, i)
	if !b.verdict.OK() {
		return nil
	}
	st := directory.StampOf(row.updated, batch, i)
	if b.Replay && len(row.aliases) > 0 && x.Outdated(b.table, row.aliases[0], st) {
		return nil
	}
	if err := x.Add(row.key, st, source, n); err != nil {
		return err
	}
	switch b.table {
	case cpcds.Members:
		return x.AddMember(row.key, st)
	case cpcds.Providers, cpcds.Organizations:
		p := directory.Provider{ID: row.key, Practitioner: b.table == cpcds.Providers, Stamp: st}
		if source < 0 && b.table == cpcds.Organizations {
			p.Constant = int32(n) + 1
		}
		x.AddProvider(row.aliases, p)
	case cpcds.Coverages:
		member, payer := row.get(cpcds.CoveragesMemberID), row.get(cpcds.CoveragesPayerIdentifier)
		insurer := b.resolver.Raw(fhir.Organization, directory.ByPayer, payer) // in the organizations table, or only referred to
		if p, ok := b.dir.Provider(insurer); ok {
			insurer = p.ID
		}
		c := directory.NewCoverage(row.key, insurer, b.resolver.Raw(fhir.Patient, member), row.skip != "", row.get(cpcds.CoveragesCoverageStatus),
			row.get(cpcds.CoveragesStartDate), row.get(cpcds.CoveragesEndDate), st)
		return x.AddCoverage(row.aliases, b.resolver.MemberPayer(member, payer), c)
	}
	return nil
}

// Build makes the resources of row i, appends them to out, and adds the outcome of the row to
// account. It returns the referenced-only resources, and the reject, nil if there is none; both are
// valid until the next row. The layout's own rows are not part of the extract, so they are not
// counted.
func (b *Builder) Build(out *fhir.Batch, account *pipeline.Account, batch *rowbatch.Batch, i, source int, n int64, winners Winners) ([]referenced.Resource, *pipeline.Reject) {
	t := b.table
	count := &account.Rows[t]
	if batch.Input == nil {
		count = new(pipeline.RowCount)
	}
	count.Read++
	if !IsRecord(batch, i) {
		count.Skipped++
		pipeline.Count(&account.Skips, t.String()+pipeline.RuleNoRecord, 1)
		return nil, nil
	}
	row := b.judge(batch, i)
	pipeline.CountRules(&account.Warnings, b.verdict.Warnings)
	if b.verdict.OK() && row.skip == "" && b.Present[row.key.Reference(ResourceOf[t])] && winners.Has(row.key, source, n) {
		b.verdict.Errors = append(b.verdict.Errors, cpcds.Problem{Rule: pipeline.RuleCannotChange, Row: -1})
	}
	if !b.verdict.OK() {
		count.Rejected++
		if batch.Input == nil {
			return nil, nil
		}
		pipeline.CountRules(&account.Rejects, b.verdict.Errors)
		account.Resources[ResourceOf[t]].Rejected++
		return nil, b.reject(batch, i, row)
	}
	if row.skip != "" {
		count.Skipped++
		pipeline.Count(&account.Skips, row.skip, 1)
		return nil, nil
	}
	b.countRepairs(account, batch, i, row)
	if !winners.Has(row.key, source, n) {
		switch {
		case row.merged:
			count.InClaims++
			pipeline.Count(&account.Repairs, b.Layout.Table(t).Collapse.Repair, 1)
		default:
			count.Skipped++
			if batch.Input != nil {
				pipeline.Count(&account.Skips, t.String()+pipeline.RuleDuplicateKey, 1)
			}
		}
		return nil, nil
	}
	count.InClaims++
	b.mapRow(out, row)
	return b.resolver.Referenced(), nil
}

func (b *Builder) countRepairs(account *pipeline.Account, batch *rowbatch.Batch, i int, row *row) {
	for c := range batch.Elements() {
		col := batch.Column(c)
		if k := col.Index[i]; k >= 0 && col.Repaired != nil && col.Repaired[k] != "" {
			pipeline.Count(&account.Repairs, col.Repaired[k], 1)
		}
	}
	if b.Repairs.On(pipeline.RepairLeadingZero) {
		for _, e := range zipCodes {
			if c, ok := batch.Place(e); ok && row.get(e) != batch.Column(c).Value(i) && row.get(e) != "" {
				pipeline.Count(&account.Repairs, pipeline.RepairLeadingZero, 1)
			}
		}
	}
	if n := int64(len(row.leftOut)); n > 0 {
		pipeline.Count(&account.Repairs, pipeline.RepairOptional, n)
	}
}

// reject says why row i was rejected.
func (b *Builder) reject(batch *rowbatch.Batch, i int, row *row) *pipeline.Reject {
	r := &pipeline.Reject{Table: b.table.String(), Version: row.updated}
	if row.key != (fhir.Raw{}) {
		r.Resources = []string{row.key.Reference(ResourceOf[b.table])}
	}
	for _, p := range b.verdict.Errors {
		x := pipeline.RejectProblem{Rule: p.Rule, Input: batch.Input.Path, Row: batch.InputRow(i) + 1}
		if p.Element != cpcds.NoElement {
			x.Element, x.Columns = p.Element.Column(), batch.Input.ColumnsOf(p.Element)
		}
		r.Problems = append(r.Problems, x)
	}
	return r
}

// mapRow appends the resources of a row.
func (b *Builder) mapRow(out *fhir.Batch, row *row) {
	switch b.table {
	case cpcds.Members:
		var x cpcds.Member
		b.fill(row, x.Set)
		b.Mapper.Patient(out, row.key.ID(fhir.Patient), &x)
	case cpcds.Providers:
		var x cpcds.Provider
		b.fill(row, x.Set)
		b.Mapper.Practitioner(out, row.key.ID(fhir.Practitioner), &x)
	case cpcds.Organizations:
		var x cpcds.Organization
		b.fill(row, x.Set)
		b.Mapper.Organization(out, row.key.ID(fhir.Organization), &x)
	case cpcds.Coverages:
		var x cpcds.Coverage
		b.fill(row, x.Set)
		b.Mapper.Coverage(out, row.key.ID(fhir.Coverage), &x, b.coverageRefs(&x))
	}
}

func (b *Builder) fill(row *row, set func(cpcds.Element, string)) {
	for _, e := range cpcds.Columns(b.table) {
		set(e, row.get(e))
	}
}

// coverageRefs finds what a coverage refers to: its payer, even if no table has it, and its
// subscriber, even if it is another person with a name.
func (b *Builder) coverageRefs(x *cpcds.Coverage) mappers.CoverageRefs {
	r := b.resolver
	refs := mappers.CoverageRefs{
		Beneficiary: r.Patient(x.Get(cpcds.CoveragesMemberID)),
		Payor:       r.Payer(x.Get(cpcds.CoveragesPayerIdentifier), ""),
	}
	family, given := x.Get(cpcds.CoveragesSubscriberFamilyName), x.Get(cpcds.CoveragesSubscriberGivenName)
	subscriber := x.Get(cpcds.CoveragesSubscriberID)
	switch {
	case x.Get(cpcds.CoveragesRelationshipToSubscriber) == "self":
		refs.Subscriber = refs.Beneficiary
	case r.Patient(subscriber) != "":
		refs.Subscriber = r.Patient(subscriber)
	case family != "" || given != "":
		name := family
		if given != "" {
			name += ", " + given
		}
		refs.Subscriber = r.RelatedPerson(x.Get(cpcds.CoveragesMemberID), refs.Beneficiary, subscriber, name, "")
	}
	return refs
}
