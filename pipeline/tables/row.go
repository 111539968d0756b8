package tables

import (
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// row is one row of a small table with the result of its checks.
type row struct {
	get     func(cpcds.Element) string
	key     fhir.Raw   // the key of its resource's id
	aliases []fhir.Raw // all keys by which it is known
	updated string
	skip    string // rule that skips it
	merged  bool   // its key is that of rows it was merged with

	leftOut []cpcds.Element // what lenient mode leaves out of it
}

// openEnded are ends that may be open.
var openEnded = []cpcds.Element{cpcds.CoveragesEndDate, cpcds.MembersAddressEndDate}

// zipCodes have five digits, or nine; shorter ones have lost their leading zeros.
var zipCodes = []cpcds.Element{cpcds.MembersZIPCode, cpcds.ProvidersProviderZIPCode, cpcds.OrganizationsOrganizationZIPCode}

// restoredZIP restores the leading zeros of a ZIP code. The lowest is 00501, so fewer than three
// digits are not one; codes of other countries have other widths.
func restoredZIP(zip string) string {
	switch n := len(zip); {
	case !cpcds.AllDigits(zip):
		return zip
	case n == 3 || n == 4:
		return "00"[:5-n] + zip
	case n == 7 || n == 8:
		return "00"[:9-n] + zip
	}
	return zip
}

// judge checks row i. Without errors in the verdict the row is valid.
func (b *Builder) judge(batch *rowbatch.Batch, i int) *row {
	v := &b.verdict
	v.Reset()
	b.resolver.Reset()
	r := new(row)
	r.get = func(e cpcds.Element) string {
		c, ok := batch.Place(e)
		if !ok || slices.Contains(r.leftOut, e) {
			return ""
		}
		value := batch.Column(c).Value(i)
		switch {
		case cpcds.OpenEnd(value) && slices.Contains(openEnded, e):
			return ""
		case b.Repairs.On(pipeline.RepairLeadingZero) && slices.Contains(zipCodes, e):
			return restoredZIP(value)
		}
		return value
	}
	for c, e := range batch.Elements() {
		col := batch.Column(c)
		if k := col.Index[i]; k >= 0 && col.Bad != nil && col.Bad[k] != "" {
			v.Errors = append(v.Errors, cpcds.Problem{Rule: col.Bad[k], Element: e, Row: -1})
		}
	}
	b.identify(r)
	b.Rules.Row(b.table, r.get, v)
	for _, e := range openEnded {
		if c, ok := batch.Place(e); ok && cpcds.OpenEnd(batch.Column(c).Value(i)) {
			v.Warnings = append(v.Warnings, cpcds.Problem{Rule: pipeline.RuleOpenEnd, Element: e, Row: -1})
		}
	}
	b.leaveOut(r)
	return r
}

// identify finds the keys of a row, and what depends on them.
func (b *Builder) identify(r *row) {
	get, raw := r.get, b.resolver.Raw
	switch b.table {
	case cpcds.Members:
		if id := get(cpcds.MembersMemberID); id != "" {
			r.key = raw(fhir.Patient, id)
			r.aliases = []fhir.Raw{r.key}
		}
		r.updated = get(cpcds.MembersMemberLastUpdatedDate)
	case cpcds.Providers:
		b.known(r, fhir.Practitioner, directory.ByNPI, get(cpcds.ProvidersProviderNPI), directory.ByID, get(cpcds.ProvidersProviderID),
			directory.ByTax, get(cpcds.ProvidersProviderTaxID))
		r.updated = get(cpcds.ProvidersProviderLastUpdatedDate)
	case cpcds.Organizations:
		b.known(r, fhir.Organization, directory.ByNPI, get(cpcds.OrganizationsOrganizationNPI),
			directory.ByPayer, get(cpcds.OrganizationsOrganizationPayerIdentifier), directory.ByID, get(cpcds.OrganizationsOrganizationID))
		r.updated = get(cpcds.OrganizationsOrganizationLastUpdatedDate)
	case cpcds.Coverages:
		b.identifyCoverage(r)
	}
}

// known gives a row the keys of its identifiers, from pairs of kind and value. The first one makes
// the id.
func (b *Builder) known(r *row, t fhir.Type, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			r.aliases = append(r.aliases, b.resolver.Raw(t, pairs[i], pairs[i+1]))
		}
	}
	if len(r.aliases) > 0 {
		r.key = r.aliases[0]
	}
}

func (b *Builder) identifyCoverage(r *row) {
	get, raw := r.get, b.resolver.Raw
	if id := get(cpcds.CoveragesCoverageID); id != "" {
		r.key = raw(fhir.Coverage, id)
	}
	r.aliases = []fhir.Raw{r.key}
	r.updated = get(cpcds.CoveragesCoverageLastUpdatedDate)
	if c := b.Layout.Table(b.table).Collapse; c != nil && b.Repairs.On(c.Repair) {
		parts := []string{"collapsed"}
		for _, e := range c.By {
			parts = append(parts, get(e))
		}
		r.key, r.merged = raw(fhir.Coverage, parts...), true
	}
	if p := b.Layout.Claims.SkipPayers; p != nil && slices.Contains(p.Payers, get(cpcds.CoveragesPayerIdentifier)) {
		r.skip = p.Rule
	}
	if member := get(cpcds.CoveragesMemberID); member != "" && b.resolver.Patient(member) == "" {
		b.verdict.Errors = append(b.verdict.Errors, cpcds.Problem{Rule: pipeline.RuleUnknownMember, Element: cpcds.CoveragesMemberID, Row: -1})
	}
}

// leaveOut makes a row valid by leaving values out, if possible: get no longer returns them.
func (b *Builder) leaveOut(r *row) {
	v := &b.verdict
	if v.OK() || !b.Repairs.On(pipeline.RepairOptional) || !carin.LeavesOutAll(v.Errors, b.table) {
		return
	}
	errors, warnings := slices.Clone(v.Errors), slices.Clone(v.Warnings)
	for _, x := range errors {
		r.leftOut = append(r.leftOut, x.Element)
	}
	v.Reset()
	b.Rules.Row(b.table, r.get, v)
	if !v.OK() { // still invalid without them
		v.Errors, v.Warnings, r.leftOut = errors, warnings, nil
		return
	}
	for _, w := range warnings {
		if w.Rule == pipeline.RuleOpenEnd {
			v.Warnings = append(v.Warnings, w)
		}
	}
}
