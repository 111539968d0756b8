package claims

import (
	"errors"
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// mostPasses is how often a claim is rebuilt without what breaks its rules.
const mostPasses = 3

// part makes the resource of one part of a claim. In lenient mode it rebuilds the part without the
// values that break its rules, if these may be left out.
func (b *Builder) part(key string, p *part) Fate {
	var without [][]leftOut
	for {
		profile, known, skip := b.judge(key, p, without)
		if skip != "" {
			pipeline.Count(&b.account.Skips, skip, rowbatch.InputRows(p.rows))
			return Skipped
		}
		if b.verdict.OK() {
			return b.accept(profile)
		}
		more := b.canLeaveOut(known)
		if more == nil || len(without) == mostPasses {
			if len(without) > 0 {
				b.judge(key, p, nil) // the reject describes the claim as it came
			}
			if b.isVoid() {
				return b.void(p)
			}
			return b.rejectPart(p)
		}
		without = append(without, more)
	}
}

// judge makes the claim of a part, without some values, and checks it. known says that it has a
// profile; skip is the rule that skips it.
func (b *Builder) judge(key string, p *part, without [][]leftOut) (profile carin.Profile, known bool, skip string) {
	b.verdict.Reset()
	b.resolver.Reset()
	b.assemble(p)
	b.lap(pipeline.StageAssemble)
	defer b.lap(pipeline.StageRules)
	a := &b.asm
	if p.key == "" && b.split.several() && len(a.claim.Lines) == 0 && !b.skips(&a.claim) {
		return profile, false, pipeline.RuleSplitRest
	}
	if b.Repairs.Lenient {
		b.repairer.claim(a)
	}
	for _, list := range without {
		a.leaveOut(list)
	}
	if b.refer(key, p.key) {
		return profile, false, b.Layout.Claims.SkipPayers.Rule
	}
	profile, known = carin.ProfileOf(&a.claim)
	switch {
	case len(b.newest.problems) > 0: // it is unknown which rows are the claim
		b.verdict.Errors = append(b.verdict.Errors, b.newest.problems...)
	case !known:
		b.verdict.Errors = append(append(b.verdict.Errors, a.claim.Problems...), cpcds.Problem{Rule: pipeline.RuleClaimType, Element: cpcds.ClaimType, Row: -1})
	default:
		a.forget(profile)
		b.amounts.Fill(&a.claim, profile)
		b.Rules.Claim(&a.claim, &b.amounts, profile, &b.verdict)
	}
	b.verdict.Warnings = append(append(b.verdict.Warnings, a.warnings...), b.newest.warnings...)
	if len(a.claim.Undivided) > 0 {
		b.verdict.Warnings = append(b.verdict.Warnings, cpcds.Problem{Rule: pipeline.RuleUndivided, Element: a.claim.Undivided[0], Row: -1})
	}
	return profile, known, ""
}

// assemble makes the claim of a part, which has only some of the rows if the claim was split.
func (b *Builder) assemble(p *part) {
	a := &b.asm
	a.assemble(p.rows, b.split.diagnosesOfFills(p)...)
	if p.key != "" {
		by := b.splitter()
		a.claim.Set(cpcds.ClaimType, by.ClaimType)
		a.claim.Set(cpcds.ClaimSubType, "")
		a.repair(cpcds.RxServiceReferenceNumber, by.Repair)
	}
	if b.split.several() {
		b.unprice()
	}
	if b.newest.void != nil {
		b.cancel()
	}
}

// isVoid reports whether the checked record cancels a claim and has no lines itself.
func (b *Builder) isVoid() bool {
	c := &b.asm.claim
	return b.newest.void != nil || c.Get(cpcds.ClaimProcessingStatusCode) == "cancelled" && len(c.Lines) == 0
}

// void cancels the target's claim, as the checked record says: the record is only a header, which
// makes no resource, or the record that it voids is itself at fault.
func (b *Builder) void(p *part) Fate {
	c := &b.asm.claim
	rule := pipeline.RuleVoid
	other := slices.ContainsFunc(b.verdict.Errors, func(p cpcds.Problem) bool { return p.Rule == pipeline.RuleVoidOfOther })
	if v := b.Voider; v != nil && !other && c.Get(cpcds.ClaimLastUpdatedDate) != "" && c.Refs.Claim != "" {
		patient := ""
		if member := c.Get(cpcds.MemberID); member != "" {
			patient = b.resolver.Raw(fhir.Patient, member).Reference(fhir.Patient)
		}
		found, err := v.Void(b.ctx, b.out, fhir.Reference(fhir.ExplanationOfBenefit, c.Refs.Claim), patient, c.Get(cpcds.ClaimLastUpdatedDate), c.Version())
		switch {
		case errors.Is(err, pipeline.ErrOtherPatient):
			rule = pipeline.RuleVoidOfOther
		case err != nil && b.err == nil:
			b.err = err
		case found:
			b.result.Voided = true
			return Accepted
		}
	}
	if b.newest.void == nil { // its only other problem is that it has no lines
		b.verdict.Reset()
	}
	b.verdict.Errors = append(b.verdict.Errors, cpcds.Problem{Rule: rule, Element: cpcds.ClaimProcessingStatusCode, Row: -1})
	return b.rejectPart(p)
}

// cancel makes the claim that a void without lines results in: the voided record, cancelled, and as
// new as the void.
func (b *Builder) cancel() {
	c := &b.asm.claim
	eachVoid := func(e cpcds.Element, f func(v string)) {
		eachHeader(e, b.newest.void, func(r rowbatch.Row, col *cpcds.Column) {
			if v := col.Value(int(r.Index)); v != "" {
				f(v)
			}
		})
	}
	for _, e := range [2]cpcds.Element{cpcds.ClaimLastUpdatedDate, cpcds.ClaimSourceVersion} {
		c.Set(e, "")
		eachVoid(e, func(v string) {
			if order, ok := fhir.CompareVersions(v, c.Get(e)); c.Get(e) == "" || ok && order > 0 {
				c.Set(e, v)
			}
		})
	}
	c.Set(cpcds.ClaimProcessingStatusCode, "cancelled")
	others := false
	eachVoid(cpcds.MemberID, func(v string) { others = others || v != c.Get(cpcds.MemberID) })
	if others {
		c.Problems = append(c.Problems, cpcds.Problem{Rule: pipeline.RuleVoidOfOther, Element: cpcds.MemberID, Row: -1})
	}
}

// rejectPart records the errors of the checked part.
func (b *Builder) rejectPart(p *part) Fate {
	pipeline.CountRules(&b.account.Warnings, b.verdict.Warnings)
	pipeline.CountRules(&b.account.Rejects, b.verdict.Errors)
	b.account.Resources[fhir.ExplanationOfBenefit].Rejected++
	b.note(p.key, b.verdict.Errors, p.rows)
	return Rejected
}

// accept maps the checked part.
func (b *Builder) accept(profile carin.Profile) Fate {
	a := &b.asm
	pipeline.CountRules(&b.account.Warnings, b.verdict.Warnings)
	for fix, n := range a.fixes {
		if carin.Uses(profile, fix.element) {
			pipeline.Count(&b.account.Repairs, fix.name, n)
		}
	}
	if b.split.several() {
		ref := fhir.Reference(fhir.ExplanationOfBenefit, a.claim.Refs.Claim)
		b.loaded = append(b.loaded, ref)
		if b.Present[ref] {
			return Accepted
		}
	}
	b.Mapper.Map(b.out, &a.claim, &b.amounts)
	b.lap(pipeline.StageMap)
	b.result.Referenced = append(b.result.Referenced, b.resolver.Referenced()...)
	return Accepted
}

// canLeaveOut returns what must be left out of a claim so that it breaks no rule; nil if something
// at fault cannot be left out.
func (b *Builder) canLeaveOut(known bool) []leftOut {
	if !known || !b.Repairs.On(pipeline.RepairOptional) || len(b.newest.problems) > 0 || !carin.LeavesOutAll(b.verdict.Errors, cpcds.Claims) {
		return nil
	}
	return slices.Clone(b.verdict.Errors)
}

// forget drops problems of elements that the profile does not have.
func (a *assembled) forget(p carin.Profile) {
	kept := a.claim.Problems[:0]
	for _, x := range a.claim.Problems {
		if x.Rule == pipeline.RulePOAConflict && p != carin.Inpatient {
			continue
		}
		kept = append(kept, x)
	}
	a.claim.Problems = kept
}
