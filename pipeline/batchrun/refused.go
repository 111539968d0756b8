package batchrun

import (
	"maps"
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// A target that refuses resources says so when a batch is sealed. Until then the batch keeps the rows
// of its claims and of its rows of small tables. What is refused goes into a second file of rejects,
// because the lane already writes those of the next batch into the first one.

// refusedLog follows the name of a lane in that of its second file of rejects.
const refusedLog = "-refused"

// refusedEnd is the length in bytes and the number of rejects of a lane's second file of rejects.
type refusedEnd struct{ size, count int64 }

// tableReferenced is what a reject has as its table that comes from no row of an input: that of a
// referenced-only resource, or of a layout's own row.
const tableReferenced = "referenced"

// refusable is a claim or a row of a small table that the target may refuse.
type refusable struct {
	table    cpcds.Table
	from, to int                // its resources in the batch
	reject   *pipeline.Reject   // as far as it is known; it has problems if a part of the claim is rejected anyway
	rows     []rowbatch.Segment // copies, of the batch
	inClaims int64              // rows that count as being in a resource
	repairs  map[string]int64
}

// counting returns the account of the next claim or row. If the target may refuse it, that is one of its
// own, so that it can be taken back.
func (a *lane) counting() *pipeline.Account {
	if a.refusals == nil {
		return &a.next.account
	}
	a.own = pipeline.Account{}
	return &a.own
}

// counted adds the account of a claim or row to that of the batch.
func (a *lane) counted() {
	if a.refusals != nil {
		a.next.account.Add(&a.own)
	}
}

// reject writes a reject.
func (a *lane) reject(r *pipeline.Reject, rows ...rowbatch.Segment) {
	if !a.surveying {
		a.rejects.Add(r, rows...)
	}
}

// refusable keeps a claim or row that has the resources of the batch from an index on.
func (a *lane) refusable(t cpcds.Table, from int, r *pipeline.Reject, rows ...rowbatch.Segment) {
	n := &a.next
	n.records = append(n.records, refusable{table: t, from: from, to: n.out.Len(), reject: r, rows: n.kept.Add(rows),
		inClaims: a.own.Rows[t].InClaims, repairs: a.own.Repairs})
}

// anyRefused reports whether the target has refused one of the resources [from, to), and says why.
func anyRefused(outcomes []pipeline.Outcome, refusals pipeline.Refusals, from, to int) bool {
	for i := from; i < to && len(refusals) > 0; i++ {
		if outcomes[i] == pipeline.Refused && refusals[i] != nil {
			return true
		}
	}
	return false
}

// rejectRefused rejects what the target has refused, and adds it to the checkpoint of the batch. It may be
// called again, with other outcomes.
func (a *lane) rejectRefused(f *inFlight, outcomes []pipeline.Outcome, refusals pipeline.Refusals) error {
	cp := &f.checkpoint
	if a.refusals.Count() != a.refused.count {
		if err := a.refusals.Rewind(a.refused.size, a.refused.count); err != nil {
			return err
		}
	}
	said := refusedBatch{outcomes: outcomes, refusals: refusals}
	if len(refusals) > 0 {
		for _, r := range f.out.All() {
			said.resources = append(said.resources, fhir.Reference(r.Type, r.ID))
			said.versions = append(said.versions, r.SourceVersion)
		}
	}
	next := 0
	for i := range f.records {
		x := &f.records[i]
		a.rejectWithoutRows(&cp.Account, &said, next, x.from)
		next = x.to
		a.rejectRecord(&cp.Account, &said, x)
	}
	a.rejectWithoutRows(&cp.Account, &said, next, f.out.Len())
	var err error
	if cp.Refused, err = a.refusals.Flush(); err != nil {
		return err
	}
	cp.RefusedCount = a.refusals.Count()
	return a.refusals.Sync()
}

// refusedBatch is what the target says of a batch. The names of the resources are there only if it says
// something.
type refusedBatch struct {
	outcomes  []pipeline.Outcome
	refusals  pipeline.Refusals
	resources []string // Type/id
	versions  []string // of the source
}

// problems are the reasons for which resources of [from, to) were refused.
func (b *refusedBatch) problems(from, to int) (list []pipeline.RejectProblem) {
	for i := from; i < to; i++ {
		if anyRefused(b.outcomes, b.refusals, i, i+1) {
			list = append(list, b.refusals[i].Problem(b.resources[i]))
		}
	}
	return list
}

// rejectRecord rejects a claim or row if the target has refused one of its resources. The reject of a part
// of a claim is written in any case.
func (a *lane) rejectRecord(account *pipeline.Account, said *refusedBatch, x *refusable) {
	problems := said.problems(x.from, x.to)
	if len(problems) == 0 && len(x.reject.Problems) == 0 {
		return
	}
	r := *x.reject
	r.Problems = slices.Concat(problems, r.Problems)
	if len(problems) > 0 {
		r.Resources, r.Loaded = slices.Clone(r.Resources), nil
		for i := x.from; i < x.to; i++ {
			if said.outcomes[i] == pipeline.Refused {
				r.Resources = append(r.Resources, said.resources[i])
			} else {
				r.Loaded = append(r.Loaded, said.resources[i])
			}
			if r.Version == "" {
				r.Version = said.versions[i]
			}
		}
		x.takeBack(account)
		countRules(account, problems)
	}
	a.refusals.Add(&r, x.rows...)
}

// takeBack takes a claim or row back from what is in resources.
func (x *refusable) takeBack(account *pipeline.Account) {
	rows := &account.Rows[x.table]
	rows.InClaims -= x.inClaims
	rows.Rejected += x.inClaims
	for name, n := range x.repairs {
		if account.Repairs[name] -= n; account.Repairs[name] == 0 {
			delete(account.Repairs, name)
		}
	}
}

// countRules counts each rule of the problems of a record once.
func countRules(account *pipeline.Account, problems []pipeline.RejectProblem) {
	rules := map[string]bool{}
	for _, p := range problems {
		rules[p.Rule] = true
	}
	for rule := range maps.Keys(rules) {
		pipeline.Count(&account.Rejects, rule, 1)
	}
}

// rejectWithoutRows rejects those of the resources [from, to) that the target has refused, and that come
// from no row of an input.
func (a *lane) rejectWithoutRows(account *pipeline.Account, said *refusedBatch, from, to int) {
	for i := from; i < to; i++ {
		problems := said.problems(i, i+1)
		if len(problems) == 0 {
			continue
		}
		countRules(account, problems)
		a.refusals.Add(&pipeline.Reject{Table: tableReferenced, Resources: []string{said.resources[i]}, Version: said.versions[i], Problems: problems})
	}
}
