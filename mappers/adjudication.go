package mappers

import (
	"slices"
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// isHeaderPriced reports whether an institutional claim has its amounts in the header: the profiles
// want them there or on the lines, not both. Amounts on any line win; then the header's are only
// totals.
func (e *eob) isHeaderPriced() bool {
	if e.profile != carin.Inpatient && e.profile != carin.Outpatient {
		return false
	}
	for i := range e.amounts.Lines {
		if e.amounts.Lines[i].HaveAdjudication(e.m.version) {
			return false
		}
	}
	return true
}

// lineAdjudication writes the adjudication of an item. amounts are those of its line; they are
// added to the totals.
func (e *eob) lineAdjudication(l *cpcds.Line, amounts *carin.AmountRecord) {
	institutional := e.profile == carin.Inpatient || e.profile == carin.Outpatient
	if institutional && !amounts.HaveAdjudication(e.m.version) {
		// Without an amount no other adjudication is allowed here; its reasons are written in the
		// header.
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
		e.b = benefitStatus.Put(e.b, status)
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
	first := true
	for i := range (amounts.Filled & e.m.amounts).All {
		e.beginAmount(i, &first)
		e.raw(l.Get(carin.Amounts[i].Line))
		if amounts.Summed&(1<<i) != 0 {
			e.s.sums[i] += amounts.Units[i]
		}
	}
	e.endAmounts(first)
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(open))
}

// beginAmount writes what precedes the value of an amount, endAmounts what follows the last one.
func (e *eob) beginAmount(i int, first *bool) {
	if *first {
		*first = false
		e.raw(firstAmount[i])
	} else {
		e.raw(nextAmount[i])
	}
}

func (e *eob) endAmounts(none bool) {
	if !none {
		e.raw(amountEnd)
	}
}

// adjudication writes the header's: network and benefit statuses, reasons, and
// the amounts of a claim that is priced in the header.
func (e *eob) adjudication() {
	c, from := e.c, len(e.b)
	const open = `"adjudication":[`
	e.raw(open)
	// MapID 101
	e.b = billingStatus.Put(e.b, c.Get(cpcds.BillingProviderNetworkStatus))
	if e.profile == carin.Professional || e.profile == carin.Oral {
		e.b = renderStatus.Put(e.b, c.Get(cpcds.PerformingProviderNetworkStatus))
	}
	// MapID 142
	if e.profile != carin.Professional {
		e.b = benefitStatus.Put(e.b, e.benefit())
	}
	if e.profile != carin.Pharmacy {
		// MapID 92
		e.reasons(adjReasonCARC, c.Get(cpcds.ClaimPaymentDenialCode))
		e.reasons(adjReasonRARC, c.Get(cpcds.ClaimRemittanceRemarkCode))
	}
	if e.profile == carin.Inpatient || e.profile == carin.Outpatient {
		for i := range c.Lines {
			if l := &c.Lines[i]; !e.amounts.Lines[i].HaveAdjudication(e.m.version) {
				e.reasons(adjReasonCARC, l.Get(cpcds.LinePaymentDenialCode))
				e.reasons(adjReasonRARC, l.Get(cpcds.LineRemittanceRemarkCode))
			}
		}
	}
	if e.headerPriced {
		first := true
		for i := range (e.amounts.Header.Filled & e.m.amounts).All {
			e.beginAmount(i, &first)
			e.raw(c.Get(carin.Amounts[i].Header))
		}
		e.endAmounts(first)
	}
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(open))
}

// benefit is the status of the claim as a whole: its own, or that of its lines, which is "other" if
// they differ.
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

// totals writes MapID 148: the header's amount of each category or, if the header has none, the sum
// of the lines that count.
func (e *eob) totals() {
	from := len(e.b)
	const open = `"total":[`
	e.raw(open)
	header, lines := e.amounts.Header.Filled, carin.AmountSet(0)
	for j := range e.amounts.Lines {
		lines |= e.amounts.Lines[j].Summed
	}
	first := true
	for i := range ((header | lines) & e.m.amounts).All {
		a := &carin.Amounts[i]
		switch {
		case header&(1<<i) != 0:
			e.beginAmount(i, &first)
			e.raw(e.c.Get(a.Header))
		case slices.Contains(e.c.Undivided, a.Header):
		case e.amounts.Inexact || e.amounts.Fine:
			e.beginAmount(i, &first)
			e.sumOfLines(i)
		default:
			e.beginAmount(i, &first)
			e.b = cpcds.AppendUnits(e.b, e.s.sums[i])
		}
	}
	e.endAmounts(first)
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(open))
}

// sumOfLines writes a sum with as many decimals as its amounts have, of any length.
func (e *eob) sumOfLines(amount int) {
	var sum cpcds.Sum
	for j := range e.c.Lines {
		if e.amounts.Lines[j].Summed&(1<<amount) != 0 {
			sum.Add(e.c.Lines[j].Get(carin.Amounts[amount].Line))
		}
	}
	e.b = sum.Append(e.b)
}

// itemReasons writes the reasons of a line, one adjudication each. Before release 2.2 most items
// have room for only one, which then has all codes as codings.
func (e *eob) itemReasons(category string, coding fhir.Str, list, remarks string) {
	if !e.m.version.OneReason {
		if e.profile == carin.Pharmacy {
			e.reasons(rejectReasonIs, list)
		} else {
			e.reasons(adjReasonCARC, list)
		}
		e.reasons(adjReasonRARC, remarks)
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
func (e *eob) reasons(adjudication fhir.Wrap, list string) {
	for list != "" {
		code, rest, _ := strings.Cut(list, " ")
		e.b = adjudication.Put(e.b, code)
		list = rest
	}
}
