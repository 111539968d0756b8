// Package claims makes claims: the rows of one key go in; resources, a reject, warnings and what
// they count come out. Which rows are the newest record, splitting, totals, repairs, references,
// rules and mapping are decided only here. The package does no I/O, reads no clock and does not
// depend on the engine: batch runs use it, and so can any caller with the rows of one claim. What
// it needs from other tables it looks up in a directory.
package claims

import (
	"context"
	"errors"

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

// Config is what builders of a run have in common. It must not be changed while they are
// used.
type Config struct {
	Layout   *layouts.Layout
	Version  *carin.Version
	Rules    Rules
	Mapper   *mappers.Mapper
	Repairs  pipeline.Repairs
	Identity *fhir.Identity

	// Voider can cancel claims that the target has; nil is none.
	Voider pipeline.Voider

	// Present are resources of parts of claims that need not be made, because the target has them
	// and cannot change them.
	Present map[string]bool
}

// Rules check claims. *carin.Checker implements it.
type Rules interface {
	// Claim adds to v what is wrong with a claim. It is safe for concurrent use.
	Claim(c *cpcds.Claim, amounts *carin.AmountTable, p carin.Profile, v *carin.Verdict)
}

// Builder makes claims, one after the other. It belongs to one goroutine, and keeps its
// memory from claim to claim.
type Builder struct {
	*Config
	resolver *directory.Resolver
	dir      directory.Lookup
	repairer repairer
	lap      func(pipeline.Stage)
	err      error // of the target

	// State of the current claim.
	ctx     context.Context
	newest  record
	split   split
	asm     assembled
	amounts carin.AmountTable
	verdict carin.Verdict
	out     *fhir.Batch
	account *pipeline.Account
	reject  pipeline.Reject
	loaded  []string // resources of accepted parts, if there are several parts
	result  Result

	unresolved []directory.Unresolved // by the parts
}

// Result is the outcome of the rows of a key. It is valid until the next claim.
type Result struct {
	Fate   Fate
	Partly bool // some parts were rejected, whatever the fate of the best one
	Voided bool // a record without lines cancels what the target has

	// Reject says why parts were rejected; nil if none was. Its rows are all rows of the key.
	Reject *pipeline.Reject

	// Referenced are the referenced-only resources of the accepted parts. Their strings may
	// be views.
	Referenced []referenced.Resource
}

// Fate is the outcome of a claim or a part of it. The claim has the best fate of its parts.
type Fate uint8

// The fates, the best first.
const (
	Accepted Fate = iota
	Rejected
	Skipped
	numFates
)

// NewBuilder returns a builder. dir is what claims can refer to. lap, if not nil, is called
// at the end of each stage of the work.
func NewBuilder(cfg *Config, dir directory.Lookup, lap func(pipeline.Stage)) *Builder {
	if lap == nil {
		lap = func(pipeline.Stage) {}
	}
	b := &Builder{Config: cfg, dir: dir, lap: lap, repairer: repairer{&cfg.Layout.Claims, cfg.Repairs.On}}
	b.resolver = directory.NewResolver(dir, directory.NewKeys(cfg.Identity, cfg.Layout), cfg.Layout)
	b.asm.dropCopies, b.asm.bySource = cfg.Repairs.On(pipeline.RepairDuplicateLine), cfg.Layout.Claims.BySource
	return b
}

// Err returns errors of the directory or the target. It must be checked before loading anything
// that was built.
func (b *Builder) Err() error { return errors.Join(b.dir.Err(), b.err) }

// Unresolved returns the keys that the last claim refers to and that a Live directory does not have
// yet. It is valid until the next claim.
func (b *Builder) Unresolved() []directory.Unresolved { return b.unresolved }

// Use lets the builder look into another directory: builders are large, so that a few for many lanes
// stay in the caches of the CPUs.
func (b *Builder) Use(dir directory.Lookup) {
	b.dir, b.err = dir, nil
	b.resolver.Use(dir)
}

// Forget forgets what was found in the directory, because it has changed.
func (b *Builder) Forget() { b.resolver.Forget() }

// Build makes the resources of the claim with a key, appends them to out, and adds the outcome of
// the rows to account, except what the target does with the resources. The rows are all that the
// extract has for the key. ctx is for requests to the target.
func (b *Builder) Build(ctx context.Context, out *fhir.Batch, account *pipeline.Account, key string, all []rowbatch.Segment) *Result {
	b.ctx = ctx
	b.out, b.account, b.reject, b.loaded = out, account, pipeline.Reject{}, nil
	b.result = Result{Referenced: b.result.Referenced[:0]}
	b.unresolved = b.unresolved[:0]
	account.Claims.Seen++
	rows := &account.Rows[cpcds.Claims]
	rows.Read += rowbatch.InputRows(all)
	b.choose(all)
	b.split.rows(b.newest.rows, b.splitter() != nil)
	if b.split.several() {
		b.divide()
	}
	var fates [numFates]int
	var counted [numFates]int64
	for i := range b.split.parts {
		p := &b.split.parts[i]
		p.fate = b.part(key, p)
		b.unresolved = append(b.unresolved, b.resolver.Unresolved()...)
		fates[p.fate]++
		counted[p.fate] += rowbatch.InputRows(p.rows)
	}
	if b.split.several() && rowbatch.Unfolded(b.newest.rows) {
		counted = b.split.sharedRows()
	}
	counted[best(fates)] += rowbatch.InputRows(b.newest.void)
	rows.InClaims += counted[Accepted]
	rows.Rejected += counted[Rejected]
	rows.Skipped += counted[Skipped]
	b.result.Fate, b.result.Partly = best(fates), fates[Rejected] > 0
	switch b.result.Fate {
	case Rejected:
		account.Claims.Rejected++
	case Skipped:
		account.Claims.Skipped++
	}
	if b.result.Partly {
		b.reject.Table, b.reject.Claim, b.reject.Loaded = cpcds.Claims.String(), key, b.loaded
		b.result.Reject = &b.reject
	}
	return &b.result
}

func best(fates [numFates]int) Fate {
	for f, n := range fates {
		if n > 0 {
			return Fate(f)
		}
	}
	return Skipped
}

// choose finds the newest record among the rows, and accounts for those of older ones.
func (b *Builder) choose(all []rowbatch.Segment) {
	b.newest = newest(all, b.Layout.Claims.OlderLines)
	b.asm.decidedBy = b.newest.at
	old := rowbatch.InputRows(b.newest.old)
	switch {
	case len(b.newest.problems) > 0:
		b.account.Rows[cpcds.Claims].Rejected += old
	case old > 0:
		b.account.Rows[cpcds.Claims].Skipped += old
		pipeline.Count(&b.account.Skips, pipeline.RuleSuperseded, old)
	}
}

// Keyless rejects rows that have no claim key.
func (b *Builder) Keyless(account *pipeline.Account, s rowbatch.Segment) *Result {
	n := s.Batch.InputRows(s.From, s.To)
	account.Rows[cpcds.Claims].Read += n
	account.Rows[cpcds.Claims].Rejected += n
	pipeline.Count(&account.Rejects, pipeline.RuleNoKey, 1)
	b.asm.claim.Reset()
	b.reject = pipeline.Reject{Table: cpcds.Claims.String()}
	b.note("", []cpcds.Problem{{Rule: pipeline.RuleNoKey, Element: cpcds.ClaimUniqueIdentifier, Row: -1}}, []rowbatch.Segment{s})
	b.result = Result{Fate: Rejected, Reject: &b.reject}
	return &b.result
}
