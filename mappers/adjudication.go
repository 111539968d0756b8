package mappers

import (
	"slices"
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// headerPriced reports whether an institutional claim has its amounts in the
// header: the profiles want them there or on the lines, not on both. Amounts on
// any line win, and the header's are then totals only.
func (e *eob) headerPriced() bool {
	if e.profile != carin.Inpatient && e.profile != carin.Outpatient {
		return false
	}
	for i := range e.c.Lines {
		if carin.LineHasAdjudication(&e.c.Lines[i], e.m.version) {
			return false
		}
	}
	return true
}

// lineAdjudication writes the adjudication of an item.
func (e *eob) lineAdjudication(l *cpcds.Line, header bool) {
	institutional := e.profile == carin.Inpatient || e.profile == carin.Outpatient
	if institutional && (header || !carin.LineHasAdjudication(l, e.m.version)) {
		// Without an amount no other adjudication may stand here; its reasons are
		// written in the header.
		return
	}
	from := len(e.b)
	const open = `"adjudication":[`
	e.raw(open)
	// MapID 142
	if e.profile == carin.Professional || e.profile == carin.Oral {
		status := l.Get(cpcds.LineBenefitPaymentStatus)
		if status == "" {
			status = e.c.Get(cpcds.ClaimBenefitPaymentStatus)
		}
		e.reason(benefitStatus, reasonStatus, status)
	}
	// MapID 92
	if e.profile == carin.Pharmacy {
		e.itemReasons(rejectReason, codingReject, l.Get(cpcds.LinePaymentDenialCode), "")
	} else {
		e.itemReasons(adjReason, codingCARC, l.Get(cpcds.LinePaymentDenialCode), l.Get(cpcds.LineRemittanceRemarkCode))
		// MapID 149
		if n := l.Get(cpcds.AllowedNumberOfUnits); n != "" {
			e.raw(allowedUnits)
			e.raw(n)
			e.raw(`},`)
		}
	}
	// MapID 20, 188
	for i := range carin.Amounts {
		a := &carin.Amounts[i]
		if v := l.Get(a.Line); v != "" && a.Known(e.m.version) {
			e.raw(amountOpen[i])
			e.raw(v)
			e.raw(amountClose)
		}
	}
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(open))
}

// adjudication writes the header's: network and benefit statuses, reasons, and
// the amounts of a claim that is priced in the header.
func (e *eob) adjudication() {
	c, from := e.c, len(e.b)
	const open = `"adjudication":[`
	e.raw(open)
	// MapID 101
	e.reason(billingStatus, reasonStatus, c.Get(cpcds.BillingProviderNetworkStatus))
	if e.profile == carin.Professional || e.profile == carin.Oral {
		e.reason(renderStatus, reasonStatus, c.Get(cpcds.PerformingProviderNetworkStatus))
	}
	// MapID 142
	if e.profile != carin.Professional {
		e.reason(benefitStatus, reasonStatus, e.benefit())
	}
	if e.profile != carin.Pharmacy {
		// MapID 92
		e.reasons(adjReason, reasonCARC, c.Get(cpcds.ClaimPaymentDenialCode))
		e.reasons(adjReason, reasonRARC, c.Get(cpcds.ClaimRemittanceRemarkCode))
	}
	header := e.headerPriced()
	if e.profile == carin.Inpatient || e.profile == carin.Outpatient {
		for i := range c.Lines {
			if l := &c.Lines[i]; header || !carin.LineHasAdjudication(l, e.m.version) {
				e.reasons(adjReason, reasonCARC, l.Get(cpcds.LinePaymentDenialCode))
				e.reasons(adjReason, reasonRARC, l.Get(cpcds.LineRemittanceRemarkCode))
			}
		}
	}
	if header {
		for i := range carin.Amounts {
			a := &carin.Amounts[i]
			if v := c.Get(a.Header); v != "" && a.Known(e.m.version) {
				e.raw(amountOpen[i])
				e.raw(v)
				e.raw(amountClose)
			}
		}
	}
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(open))
}

// benefit is the status of the claim as a whole: its own, or that of its lines,
// which is other where they differ.
func (e *eob) benefit() string {
	if s := e.c.Get(cpcds.ClaimBenefitPaymentStatus); s != "" {
		return s
	}
	status := ""
	for i := range e.c.Lines {
		s := e.c.Lines[i].Get(cpcds.LineBenefitPaymentStatus)
		if s == "" {
			continue
		}
		if status != "" && s != status {
			return "other"
		}
		status = s
	}
	return status
}

// totals writes MapID 148: the header's amount of each category or, where the
// header has none, the sum of the lines. What an ingredient costs is part of what
// its compound costs.
func (e *eob) totals() {
	from := len(e.b)
	const open = `"total":[`
	e.raw(open)
	for i := range carin.Amounts {
		a := &carin.Amounts[i]
		if !a.Known(e.m.version) {
			continue
		}
		v := e.c.Get(a.Header)
		if v == "" {
			if slices.Contains(e.c.Undivided, a.Header) {
				continue
			}
			var sum cpcds.Sum
			for j := range e.c.Lines {
				if l := &e.c.Lines[j]; !carin.Ingredient(e.profile, l) {
					sum.Add(l.Get(a.Line))
				}
			}
			if sum.Empty() {
				continue
			}
			e.raw(amountOpen[i])
			e.b = sum.Append(e.b)
			e.raw(amountClose)
			continue
		}
		e.raw(amountOpen[i])
		e.raw(v)
		e.raw(amountClose)
	}
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(open))
}

// reason writes one adjudication that has a reason, nothing if code is empty.
func (e *eob) reason(category string, reason fhir.Coded, code string) {
	if code == "" {
		return
	}
	e.raw(category)
	e.b = reason.Put(e.b, code)
	e.b = fhir.Close(e.b)
}

// itemReasons writes the reasons of a line, one adjudication each. Before release
// 2.2 most items have room for one: it then has all codes as its codings.
func (e *eob) itemReasons(category string, coding fhir.Str, list, remarks string) {
	if !e.m.version.OneReason {
		concept := reasonCARC
		if e.profile == carin.Pharmacy {
			concept = reasonReject
		}
		e.reasons(category, concept, list)
		e.reasons(category, reasonRARC, remarks)
		return
	}
	if list == "" && remarks == "" {
		return
	}
	e.raw(category)
	e.raw(`"reason":{"coding":[`)
	for code := range strings.FieldsSeq(list) {
		e.raw(`{`)
		e.b = coding.Put(e.b, code)
		e.b = fhir.Close(e.b)
	}
	for code := range strings.FieldsSeq(remarks) {
		e.raw(`{`)
		e.b = codingRARC.Put(e.b, code)
		e.b = fhir.Close(e.b)
	}
	e.b = fhir.CloseArray(e.b)
	e.b = fhir.Close(e.b)
	e.b = fhir.Close(e.b)
}

// The codings of reasons, from the system to the code.
var (
	codingCARC   = fhir.NewStr(`system":"` + carin.SysCARC + `","code`)
	codingRARC   = fhir.NewStr(`system":"` + carin.SysRARC + `","code`)
	codingReject = fhir.NewStr(`system":"` + carin.SysRejectCode + `","code`)
)

// reasons writes one adjudication for each code of a list.
func (e *eob) reasons(category string, reason fhir.Coded, list string) {
	for list != "" {
		code, rest, _ := strings.Cut(list, " ")
		e.reason(category, reason, code)
		list = rest
	}
}
