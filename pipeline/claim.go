package pipeline

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// part is the rows of one claim, or of one fill of it.
type part struct {
	key      string
	segments []segment
	fate     fate
}

// keyless rejects rows without a claim key.
func (w *worker) keyless(s segment) {
	rows := s.b.inputRows(s.from, s.to)
	w.delta.Rows[cpcds.Claims].Read += rows
	w.delta.Rows[cpcds.Claims].Rejected += rows
	problem := []cpcds.Problem{{Rule: ruleNoKey, Element: cpcds.ClaimUniqueIdentifier, Row: -1}}
	w.asm.claim.Reset()
	w.rejects.claim(&w.asm, "", problem, []segment{s})
	Count(&w.delta.Rejects, ruleNoKey, 1)
}

// fate is what became of a part of a claim.
type fate uint8

const (
	accepted fate = iota
	rejected
	skipped
)

// claim makes the resources of one claim key and accounts for its rows.
func (w *worker) claim(key string, segments []segment) {
	d := &w.delta
	d.Claims.Seen++
	rows := &d.Rows[cpcds.Claims]
	var read int64
	for _, s := range segments {
		read += s.b.inputRows(s.from, s.to)
	}
	rows.Read += read
	segments, old := newest(segments)
	if old > 0 {
		rows.Skipped += old
		Count(&d.Skips, ruleSuperseded, old)
	}
	w.split(segments)
	if len(w.parts) > 1 {
		w.divide(segments)
	}
	from := w.out.Len()
	var fates [3]int
	var counted [3]int64
	for i := range w.parts {
		p := &w.parts[i]
		f := w.part(key, p)
		p.fate = f
		fates[f]++
		for _, s := range p.segments {
			counted[f] += s.b.inputRows(s.from, s.to)
		}
	}
	if len(w.parts) > 1 && unfolded(segments) {
		counted = w.sharedRows()
	}
	rows.InClaims += counted[accepted]
	rows.Rejected += counted[rejected]
	rows.Skipped += counted[skipped]
	switch best(fates) {
	case accepted:
		p := pendingClaim{from: from, to: w.out.Len(), partly: fates[rejected] > 0}
		if w.run.Replay {
			p.replayed = replayedReject(segments[0].b, segments[0].from)
		}
		w.pending = append(w.pending, p)
	case rejected:
		d.Claims.Rejected++
	case skipped:
		d.Claims.Skipped++
	}
}

// unfolded reports whether an input row of the claim became several rows.
func unfolded(segments []segment) bool {
	for _, s := range segments {
		for i := s.from; i < s.to; i++ {
			if !s.b.begins(i) {
				return true
			}
		}
	}
	return false
}

// sharedRows counts input rows by fate where the parts of a claim share them: a
// nested row is in a claim if one of its parts is.
func (w *worker) sharedRows() (counted [3]int64) {
	type row struct {
		input *Input
		n     int64
	}
	fates := map[row]fate{}
	for i := range w.parts {
		p := &w.parts[i]
		for _, s := range p.segments {
			for i := s.from; i < s.to; i++ {
				r := row{s.b.input, s.b.rows.InputRow(i)}
				if f, ok := fates[r]; !ok || p.fate < f {
					fates[r] = p.fate
				}
			}
		}
	}
	for _, f := range fates {
		counted[f]++
	}
	return counted
}

func best(fates [3]int) fate {
	for f, n := range fates {
		if n > 0 {
			return fate(f)
		}
	}
	return skipped
}

// split divides the rows of a claim into its parts: one per value of the element
// that the layout splits by, and the rest.
func (w *worker) split(segments []segment) {
	for i := range w.parts {
		w.parts[i].segments = w.parts[i].segments[:0]
	}
	w.parts = w.parts[:0]
	by := w.splitter()
	if by == nil {
		w.add("", segments...)
		return
	}
	for _, s := range segments {
		column := s.b.plan.split
		for i := s.from; i < s.to; i++ {
			value := ""
			if column >= 0 {
				value = s.b.batch.Columns[column].Value(i)
			}
			w.add(value, segment{s.b, i, i + 1})
		}
	}
}

func (w *worker) splitter() *layouts.Split {
	if s := w.run.Layout.Table(cpcds.Claims).Split; s != nil && w.run.repairs(s.Repair) {
		return s
	}
	return nil
}

// add gives rows to the part of a key.
func (w *worker) add(key string, segments ...segment) {
	var p *part
	for i := range w.parts {
		if w.parts[i].key == key {
			p = &w.parts[i]
		}
	}
	if p == nil {
		if len(w.parts) < cap(w.parts) {
			w.parts = w.parts[:len(w.parts)+1]
		} else {
			w.parts = append(w.parts, part{})
		}
		p = &w.parts[len(w.parts)-1]
		p.key = key
	}
	for _, s := range segments {
		if n := len(p.segments); n > 0 && p.segments[n-1].b == s.b && p.segments[n-1].to == s.from {
			p.segments[n-1].to = s.to
		} else {
			p.segments = append(p.segments, s)
		}
	}
}

// part makes the resource of one part of a claim.
func (w *worker) part(key string, p *part) fate {
	a, d, stages := &w.asm, &w.delta, w.run.Stages
	began := stages.Now()
	a.assemble(p.segments)
	began = stages.Since(StageAssemble, began)
	var rows int64
	for _, s := range p.segments {
		rows += s.b.inputRows(s.from, s.to)
	}
	if p.key != "" {
		by := w.splitter()
		a.claim.Set(cpcds.ClaimType, by.ClaimType)
		a.claim.Set(cpcds.ClaimSubType, "")
		if len(w.parts) > 1 {
			w.unprice()
		}
		a.repair(cpcds.RxServiceReferenceNumber, by.Repair)
	} else if len(w.parts) > 1 && len(a.claim.Lines) == 0 && !w.resolve.skips(&a.claim) {
		Count(&d.Skips, ruleSplitRest, rows)
		return skipped
	} else if len(w.parts) > 1 {
		w.unprice()
		w.diagnosesOfFills()
	}
	if w.run.Lenient {
		w.repair.claim(a)
	}
	w.mentions.drop()
	if w.resolve.claim(a, key, p.key) {
		Count(&d.Skips, w.run.Layout.Claims.SkipPayers.Rule, rows)
		return skipped
	}
	w.verdict.Reset()
	profile, ok := carin.ProfileOf(&a.claim)
	if !ok {
		w.verdict.Errors = append(append(w.verdict.Errors, a.claim.Problems...), cpcds.Problem{Rule: ruleClaimType, Element: cpcds.ClaimType, Row: -1})
	} else {
		a.forget(profile)
		w.amounts.Fill(&a.claim)
		if !w.run.unchecked {
			w.run.checker.Claim(&a.claim, &w.amounts, profile, &w.verdict)
		}
	}
	began = stages.Since(StageRules, began)
	w.verdict.Warnings = append(w.verdict.Warnings, a.warnings...)
	if len(a.claim.Undivided) > 0 {
		w.verdict.Warnings = append(w.verdict.Warnings, cpcds.Problem{Rule: ruleUndivided, Element: a.claim.Undivided[0], Row: -1})
	}
	countRules(&d.Warnings, w.verdict.Warnings)
	if !w.verdict.OK() {
		countRules(&d.Rejects, w.verdict.Errors)
		d.Resources[fhir.ExplanationOfBenefit].Rejected++
		w.rejects.claim(a, p.key, w.verdict.Errors, p.segments)
		return rejected
	}
	for fix, n := range a.fixes {
		if carin.Uses(profile, fix.element) {
			Count(&d.Repairs, fix.name, n)
		}
	}
	w.run.mapper.Map(&w.out, &a.claim, &w.amounts)
	stages.Since(StageMap, began)
	w.mentions.accept()
	return accepted
}

// diagnosesOfFills gives the rest of a claim the diagnoses that stand on the rows
// of its fills: they are diagnoses of the claim.
func (w *worker) diagnosesOfFills() {
	for i := range w.parts {
		if w.parts[i].key == "" {
			continue
		}
		for _, s := range w.parts[i].segments {
			for i := s.from; i < s.to; i++ {
				w.asm.diagnoses(s.b, i)
			}
		}
	}
}

// divide finds the amounts of a claim's header that cannot be divided among its
// parts: the lines do not add up to them.
func (w *worker) divide(segments []segment) {
	w.undivided = w.undivided[:0]
	w.asm.assemble(segments)
	c := &w.asm.claim
	for i := range w.run.Version.KnownAmounts().All {
		a := &carin.Amounts[i]
		var lines cpcds.Sum
		for j := range c.Lines {
			lines.Add(c.Lines[j].Get(a.Line))
		}
		if header := c.Get(a.Header); header != "" && !lines.Equal(header) {
			w.undivided = append(w.undivided, a.Header)
		}
	}
}

// unprice forgets the amounts of the header: they are those of the whole claim,
// and a part has its own lines'. Where these do not add up to the header's, the
// part has no total.
func (w *worker) unprice() {
	c := &w.asm.claim
	for i := range carin.Amounts {
		c.Set(carin.Amounts[i].Header, "")
	}
	c.Undivided = append(c.Undivided, w.undivided...)
}

// ruleUndivided warns of header amounts that are lost because the claim was split.
const ruleUndivided = "amount-not-divided"

// ruleClaimType: claim_type and claim_sub_type must name a profile.
const ruleClaimType = "code-claim_type"

// forget drops problems of elements that the profile does not have.
func (a *assembled) forget(p carin.Profile) {
	kept := a.claim.Problems[:0]
	for _, x := range a.claim.Problems {
		if x.Rule == rulePOAConflict && p != carin.Inpatient {
			continue
		}
		kept = append(kept, x)
	}
	a.claim.Problems = kept
}

// countRules counts each rule of the problems once.
func countRules(m *map[string]int64, problems []cpcds.Problem) {
	for i, p := range problems {
		first := true
		for _, q := range problems[:i] {
			first = first && q.Rule != p.Rule
		}
		if first {
			Count(m, p.Rule, 1)
		}
	}
}
