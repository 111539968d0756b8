package mappers

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

var (
	revenue      = fhir.NewCoded("revenue", carin.SysRevenue, "")
	serviceCPT   = fhir.NewCoded("productOrService", carin.SysCPT, "")
	serviceHCPCS = fhir.NewCoded("productOrService", carin.SysHCPCS, "")
	serviceHIPPS = fhir.NewCoded("productOrService", carin.SysHIPPS, "")
	serviceCDT   = fhir.NewCoded("productOrService", carin.SysCDT, "")
	modCPT       = fhir.NewCodedItem(carin.SysCPT, "")
	modHCPCS     = fhir.NewCodedItem(carin.SysHCPCS, "")
	place        = fhir.NewCoded("locationCodeableConcept", carin.SysPOS, "")
	servedDate   = fhir.NewStr("servicedDate")
	quantity     = fhir.NewNum("value")
	unit         = fhir.NewStr("unit")
)

// served returns the first and last day of a service as the profile writes them: outpatient and
// pharmacy items have only a date, inpatient ones need none.
func (e *eob) served(l *cpcds.Line) (from, to string) {
	from = l.Get(cpcds.ServiceFromDate)
	if from == "" || e.profile == carin.Outpatient || e.profile == carin.Pharmacy {
		return from, ""
	}
	if to = l.Get(cpcds.ServiceToDate); to <= from {
		to = ""
	}
	return from, to
}

// items writes the service lines. body writes what a profile has between the sequence and the
// adjudication.
func (e *eob) items(body func(l *cpcds.Line)) {
	byNumber := e.numbered()
	clear(e.s.sums[:])
	e.raw(`"item":[`)
	for i := range e.c.Lines {
		l := &e.c.Lines[i]
		if carin.Ingredient(e.profile, l) {
			continue
		}
		// MapID 36
		e.raw(`{"sequence":`)
		if byNumber {
			e.raw(lineSequence(l))
		} else {
			e.b = fhir.AppendInt(e.b, i+1)
		}
		e.raw(`,`)
		e.informationSequence(l)
		body(l)
		if l.Get(cpcds.PaymentMemberExplanation) != "" {
			e.notes++
			e.raw(`"noteNumber":[`)
			e.b = fhir.AppendInt(e.b, e.notes)
			e.raw(`],`)
		}
		e.lineAdjudication(l, &e.amounts.Lines[i])
		if e.profile == carin.Pharmacy {
			e.ingredients(l)
		}
		e.b = fhir.Close(e.b)
	}
	e.b = fhir.CloseArray(e.b)
}

// numbered reports whether the source's line numbers can be the sequences of the items: positive
// and unique. If not, lines are counted.
func (e *eob) numbered() bool {
	last := ""
	for i := range e.c.Lines {
		n := lineSequence(&e.c.Lines[i])
		if n == "" {
			return false
		}
		// Nearly all claims number their lines in order.
		if len(n) > len(last) || len(n) == len(last) && n > last {
			last = n
			continue
		}
		for j := range i {
			if lineSequence(&e.c.Lines[j]) == n {
				return false
			}
		}
	}
	return true
}

// lineSequence is the line number without leading zeros, "" if it is not a positive number of at
// most nine digits.
func lineSequence(l *cpcds.Line) string {
	n := l.Get(cpcds.LineNumber)
	for len(n) > 0 && n[0] == '0' {
		n = n[1:]
	}
	if len(n) > 9 {
		return ""
	}
	for i := range len(n) {
		if n[i] < '0' || n[i] > '9' {
			return ""
		}
	}
	return n
}

// service writes MapID 40 and 194. A line without a code becomes not-applicable with the source's
// text: the profiles allow that only on institutional and vision claims, and the rules reject other
// lines.
func (e *eob) service(l *cpcds.Line) {
	code, text := l.Get(cpcds.ProcedureCode), l.Get(cpcds.ProcedureDescription)
	if code == "" {
		if text == "" {
			e.raw(e.m.coding.notService)
			return
		}
		e.raw(e.m.coding.notServiceTx)
		e.raw(text)
		e.raw(`"},`)
		return
	}
	switch carin.ServiceSystem(e.profile, code, l.Get(cpcds.RevenueCenterCode)) {
	case carin.SysCPT:
		e.b = serviceCPT.PutText(e.b, code, text)
	case carin.SysHIPPS:
		e.b = serviceHIPPS.PutText(e.b, code, text)
	case carin.SysCDT:
		e.b = serviceCDT.PutText(e.b, code, text)
	default:
		e.b = serviceHCPCS.PutText(e.b, code, text)
	}
}

// modifiers writes MapID 41 and 195.
func (e *eob) modifiers(l *cpcds.Line) {
	from := len(e.b)
	const open = `"modifier":[`
	for m := cpcds.ProcedureModifierCode1; m <= cpcds.ProcedureModifierCode4; m++ {
		code := l.Get(m)
		if code == "" {
			continue
		}
		if len(e.b) == from {
			e.raw(open)
		}
		if carin.ModifierSystem(code) == carin.SysCPT {
			e.b = modCPT.Put(e.b, code)
		} else {
			e.b = modHCPCS.Put(e.b, code)
		}
	}
	if len(e.b) > from {
		e.b = fhir.CloseArray(e.b)
	}
}

// serviced writes MapID 90, 118 and 119.
func (e *eob) serviced(l *cpcds.Line) {
	from, to := e.served(l)
	if to == "" {
		e.b = servedDate.Put(e.b, from)
		return
	}
	e.raw(`"servicedPeriod":{"start":"`)
	e.raw(from)
	e.raw(`","end":"`)
	e.raw(to)
	e.raw(`"},`)
}

// units writes MapID 42.
func (e *eob) units(l *cpcds.Line) {
	if n := l.Get(cpcds.NumberOfUnits); n != "" {
		e.raw(`"quantity":{"value":`)
		e.raw(n)
		e.raw(`},`)
	}
}
