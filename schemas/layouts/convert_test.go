package layouts

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/cpcds"
)

const testLayout = `
layout: test
null: ["~"]
tables:
  claims:
    key: [claim_unique_identifier]
    columns:
      claim_unique_identifier: Claim
      claim_sub_type: {from: [Type, Kind], map: {IP: inpatient, OP: outpatient}, else: ""}
      claim_type: {from: [Class], map: {I: institutional}, else: bad}
      claim_source_version: {const: "7"}
      claim_processing_status_code: {from: [Status], default: active}
      claim_received_date: {from: [Received], formats: [DD-Mon-YYYY, YYYYMMDD], null: ["99991231"]}
      claim_paid_date: {from: [Paid], invalid: null, repair: paid-date-dropped}
      claim_last_updated_date: Updated
      claim_type_of_bill_code:
        all: [Facility, [Class 2, Classification], Frequency]
        expr: '"0" + values[0] + values[1] + values[2]'
      claim_total_submitted_amount: Submitted
      claim_payment_amount: {from: [Payment], decimals: 2, sign: trailing}
      copay_amount: {from: [Copay], round: 2}
      claim_payee_name: {from: [Payee], expr: 'value.split(",")[1]'}
      billing_provider_name: Biller
      claim_benefit_payment_status:
        from: [Benefit]
        lenient: {repair: benefit-from-network, from: [Network], map: {in: innetwork}}
      orthodontics_treatment_indicator: Ortho
      claim_payment_denial_code: Denials
      line_number: Line
      number_of_units: Units
      procedure_code: {from: [Service], lenient: {repair: codes-mapped, map: {X1: A0425}}}
      procedure_modifier_code_1: {from: [Modifier], lenient: {repair: upper-case, expr: value.upperAscii()}}
      diagnosis_code: {each: [Dx1, Dx2, [Dx3, Third]]}
      present_on_admission: {each: [Poa1, Poa2, Poa3], expr: value.upperAscii()}
`

func TestConvertValues(t *testing.T) {
	l := compileText(t, testLayout)
	lenient := Options{Lenient: true}
	f := func(el cpcds.Element, header, value string, o Options, want result) {
		t.Helper()
		if got := convertOne(t, l, cpcds.Claims, el, header, value, o); got != want {
			t.Errorf("%s of %q: got %+v, want %+v", el, value, got, want)
		}
	}
	ok := func(el cpcds.Element, header, value, want string) {
		t.Helper()
		f(el, header, value, Options{}, result{text: want})
	}
	bad := func(el cpcds.Element, header, value, rule string) {
		t.Helper()
		f(el, header, value, Options{}, result{bad: rule})
	}

	ok(cpcds.ClaimUniqueIdentifier, "CLAIM", " a b\u00a0", "a b")
	ok(cpcds.ClaimUniqueIdentifier, "claim", "~", "")
	ok(cpcds.ClaimUniqueIdentifier, "claim", `a"b\c`, `a\"b\\c`)
	bad(cpcds.ClaimUniqueIdentifier, "claim", "a\tb", RuleText)
	bad(cpcds.ClaimUniqueIdentifier, "claim", "a\xffb", RuleText)
	bad(cpcds.ClaimUniqueIdentifier, "claim", "a\x00b", RuleText)

	ok(cpcds.ClaimSubType, "kind", "IP", "inpatient")
	ok(cpcds.ClaimSubType, "type", "OTHER", "")
	ok(cpcds.ClaimType, "class", "I", "institutional")
	bad(cpcds.ClaimType, "class", "J", RuleUnmapped)

	ok(cpcds.ClaimProcessingStatusCode, "status", "", "active")
	ok(cpcds.ClaimProcessingStatusCode, "status", "~", "active")
	ok(cpcds.ClaimProcessingStatusCode, "status", "draft", "draft")

	ok(cpcds.ClaimReceivedDate, "received", "29-FEB-2024", "2024-02-29")
	ok(cpcds.ClaimReceivedDate, "received", "20240131", "2024-01-31")
	ok(cpcds.ClaimReceivedDate, "received", "99991231", "")
	bad(cpcds.ClaimReceivedDate, "received", "29-FEB-2023", RuleDate)
	bad(cpcds.ClaimReceivedDate, "received", "2024-01-31", RuleDate)

	ok(cpcds.ClaimPaidDate, "paid", "2024-01-31T23:59:59-05:00", "2024-01-31")
	ok(cpcds.ClaimPaidDate, "paid", "2024-01-31 00:00:00.000", "2024-01-31")
	bad(cpcds.ClaimPaidDate, "paid", "31690708-07-05", RuleDate)
	bad(cpcds.ClaimPaidDate, "paid", "2024-00-10", RuleDate)
	bad(cpcds.ClaimPaidDate, "paid", "0000-01-10", RuleDate)
	bad(cpcds.ClaimPaidDate, "paid", "2024-01-31 24:00:00", RuleDate)
	f(cpcds.ClaimPaidDate, "paid", "31690708-07-05", lenient, result{repaired: "paid-date-dropped"})
	f(cpcds.ClaimPaidDate, "paid", "31690708-07-05", Options{Lenient: true, NoRepair: map[string]bool{"paid-date-dropped": true}}, result{bad: RuleDate})

	ok(cpcds.ClaimLastUpdatedDate, "updated", "2024-01-31", "2024-01-31T00:00:00Z")
	ok(cpcds.ClaimLastUpdatedDate, "updated", "2024-01-31T10:00", "2024-01-31T10:00:00Z")
	ok(cpcds.ClaimLastUpdatedDate, "updated", "2024-01-31T10:00:00.123+05:30", "2024-01-31T04:30:00.123Z")
	ok(cpcds.ClaimLastUpdatedDate, "updated", "2024-01-31T10:00:00.120000000Z", "2024-01-31T10:00:00.12Z")
	ok(cpcds.ClaimLastUpdatedDate, "updated", "2024-01-31 10:00:00.000", "2024-01-31T10:00:00Z")
	ok(cpcds.ClaimLastUpdatedDate, "updated", "2024-01-31T10:00:01Z", "2024-01-31T10:00:01Z")
	bad(cpcds.ClaimLastUpdatedDate, "updated", "2024-01-31T10:00:00+25:00", RuleInstant)

	ok(cpcds.ClaimTotalSubmittedAmount, "submitted", "0", "0.00")
	ok(cpcds.ClaimTotalSubmittedAmount, "submitted", "-0.0", "0.00")
	ok(cpcds.ClaimTotalSubmittedAmount, "submitted", "+007.5", "7.50")
	ok(cpcds.ClaimTotalSubmittedAmount, "submitted", ".5", "0.50")
	ok(cpcds.ClaimTotalSubmittedAmount, "submitted", "12.345", "12.345")
	ok(cpcds.ClaimTotalSubmittedAmount, "submitted", "12.34000", "12.34")
	ok(cpcds.ClaimTotalSubmittedAmount, "submitted", "999999999999999.99", "999999999999999.99")
	for _, v := range []string{"1,234.50", "12,34", "1e3", "$5", "1.2.3", "-", ".", "5-", "1000000000000000", "NaN", "1 2"} {
		bad(cpcds.ClaimTotalSubmittedAmount, "submitted", v, RuleMoney)
	}
	ok(cpcds.ClaimPaymentAmount, "payment", "0001250-", "-12.50")
	ok(cpcds.ClaimPaymentAmount, "payment", "5", "0.05")
	ok(cpcds.ClaimPaymentAmount, "payment", "0-", "0.00")
	bad(cpcds.ClaimPaymentAmount, "payment", "12.50", RuleMoney)
	ok(cpcds.CopayAmount, "copay", "17.489999999999995", "17.49")
	ok(cpcds.CopayAmount, "copay", "5.6843418860808015E-14", "0.00")
	ok(cpcds.CopayAmount, "copay", "-2.8421709430404007E-14", "0.00")
	ok(cpcds.CopayAmount, "copay", "1.005", "1.01")
	ok(cpcds.CopayAmount, "copay", "-0.995", "-1.00")
	ok(cpcds.CopayAmount, "copay", "99.995", "100.00")
	ok(cpcds.CopayAmount, "copay", "1.5e3", "1500.00")
	bad(cpcds.CopayAmount, "copay", "1e300", RuleMoney)

	ok(cpcds.ClaimPayeeName, "payee", "Doe,Jane", "Jane")
	bad(cpcds.ClaimPayeeName, "payee", "Jane Doe", RuleExpression)
	ok(cpcds.BillingProviderName, "biller", "a \r\n\tb\n\"c\"", `a b \"c\"`)
	ok(cpcds.BillingProviderName, "biller", "Ångström", "Ångström")

	ok(cpcds.OrthodonticsTreatmentIndicator, "ortho", "Y", "true")
	ok(cpcds.OrthodonticsTreatmentIndicator, "ortho", "False", "false")
	ok(cpcds.OrthodonticsTreatmentIndicator, "ortho", "0", "false")
	bad(cpcds.OrthodonticsTreatmentIndicator, "ortho", "2", RuleFlag)
	ok(cpcds.ClaimPaymentDenialCode, "denials", "45   253", "45 253")
	ok(cpcds.NumberOfUnits, "units", "2.50", "2.5")
	ok(cpcds.NumberOfUnits, "units", "30.000", "30")
	ok(cpcds.NumberOfUnits, "units", "100", "100")
	bad(cpcds.NumberOfUnits, "units", "two", RuleQuantity)

	ok(cpcds.ProcedureCode, "service", "X1", "X1")
	bad(cpcds.ProcedureCode, "service", "X 1", RuleCode)
	f(cpcds.ProcedureCode, "service", "X1", lenient, result{text: "A0425", repaired: "codes-mapped"})
	f(cpcds.ProcedureCode, "service", "X2", lenient, result{text: "X2"})
	f(cpcds.ProcedureModifierCode1, "modifier", "aa", lenient, result{text: "AA", repaired: "upper-case"})
	f(cpcds.ProcedureModifierCode1, "modifier", "AA", lenient, result{text: "AA"}) // nothing was repaired
	ok(cpcds.ClaimSourceVersion, "units", "1", "7")
}

// TestLenientColumn reads an element from another column, in lenient mode only.
func TestLenientColumn(t *testing.T) {
	l := compileText(t, testLayout)
	fields := fieldsOf("Claim", "Benefit", "Network")
	for _, c := range []struct {
		o    Options
		row  []string
		want result
	}{
		{Options{}, []string{"1", "ar001", "in"}, result{text: "ar001"}},
		{Options{Lenient: true}, []string{"1", "ar001", "in"}, result{text: "innetwork", repaired: "benefit-from-network"}},
		{Options{Lenient: true}, []string{"1", "ar001", ""}, result{}},
		{Options{Lenient: true, NoRepair: map[string]bool{"benefit-from-network": true}}, []string{"1", "ar001", "in"}, result{text: "ar001"}},
	} {
		b, err := l.Bind(cpcds.Claims, fields, c.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := convertRow(t, b, cpcds.ClaimBenefitPaymentStatus, c.row); got != c.want {
			t.Errorf("%v with %+v: got %+v, want %+v", c.row, c.o, got, c.want)
		}
	}
	// Without the other column the plain reading stays.
	b, err := l.Bind(cpcds.Claims, fieldsOf("Claim", "Benefit"), Options{Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := convertRow(t, b, cpcds.ClaimBenefitPaymentStatus, []string{"1", "ar001"}); got.text != "ar001" || got.repaired != "" {
		t.Errorf("without the other column: %+v", got)
	}
}

func TestJoinedColumns(t *testing.T) {
	l := compileText(t, testLayout)
	b, err := l.Bind(cpcds.Claims, fieldsOf("Frequency", "Claim", "Classification", "Facility"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	rows := rowsOf(4,
		[]string{"2", "a", "5", "8"}, []string{"2", "a", "5", "8"}, []string{"1", "b", "1", "1"},
		[]string{"", "c", "", ""}, []string{"2", "d", " 5 ", "8"}, []string{"", "e", "1", "1"})
	for _, src := range []*cpcds.Rows{rows, encoded(rows, 1), rows} {
		var dst cpcds.Batch
		b.Convert(&dst, pick(src, b.Source()))
		c := dst.Column(cpcds.ClaimTypeOfBillCode)
		var got []string
		for i := range dst.N {
			got = append(got, c.Value(i))
		}
		if d := cmp.Diff([]string{"0852", "0852", "0111", "", "0852", "011"}, got); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	}
	// All parts must be there.
	b, err = l.Bind(cpcds.Claims, fieldsOf("Frequency", "Claim", "Facility"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(b.Elements(), cpcds.ClaimTypeOfBillCode) {
		t.Error("two of three columns were joined")
	}
}

// TestRepetitions binds an element several times and keeps the numbers even where
// a repetition is missing.
func TestRepetitions(t *testing.T) {
	l := compileText(t, testLayout)
	b, err := l.Bind(cpcds.Claims, fieldsOf("Claim", "dx1", "third", "poa1", "poa2"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, el := range b.Elements() {
		if b.Reps()[i] >= 0 {
			got = append(got, fmt.Sprintf("%s %d", el, b.Reps()[i]))
		}
	}
	want := []string{"diagnosis_code 0", "diagnosis_code 2", "present_on_admission 0", "present_on_admission 1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if d := cmp.Diff([]string{"dx1", "third"}, b.Columns(cpcds.DiagnosisCode)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	var dst cpcds.Batch
	src := rowsOf(5, []string{"1", "I10", "E11.9", "y", "n"})
	b.Convert(&dst, pick(src, b.Source()))
	var values []string
	for i := range dst.Columns {
		if b.Reps()[i] >= 0 {
			values = append(values, dst.Columns[i].Value(0))
		}
	}
	if d := cmp.Diff([]string{"I10", "E11.9", "Y", "N"}, values); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestDictionaryIsConvertedOnce proves that a dictionary that keeps its number is
// neither read again nor pointed into.
func TestDictionaryIsConvertedOnce(t *testing.T) {
	l := compileText(t, testLayout)
	b, err := l.Bind(cpcds.Claims, fieldsOf("Claim"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	src := &cpcds.Rows{N: 2, Columns: []cpcds.Column{{Index: []int32{0, 1}, Values: []string{"a", "b"}, Dict: 9}}}
	var dst cpcds.Batch
	b.Convert(&dst, src)
	first := dst.Column(cpcds.ClaimUniqueIdentifier).Dict
	src.Columns[0].Values[0] = "changed"
	src.Columns[0].Index = []int32{1, 0, -1}
	src.N = 3
	b.Convert(&dst, src)
	c := dst.Column(cpcds.ClaimUniqueIdentifier)
	if c.Value(0) != "b" || c.Value(1) != "a" || c.Value(2) != "" || c.Dict != first || first == 0 {
		t.Errorf("got %q %q %q, dictionary %d after %d", c.Value(0), c.Value(1), c.Value(2), c.Dict, first)
	}
	src.Columns[0].Dict = 10
	b.Convert(&dst, src)
	if c = dst.Column(cpcds.ClaimUniqueIdentifier); c.Value(1) != "changed" || c.Dict == first {
		t.Error("a new number did not make a new dictionary")
	}
	src.Columns[0].Dict = 0
	src.Columns[0].Values[0] = "plain"
	b.Convert(&dst, src)
	if c = dst.Column(cpcds.ClaimUniqueIdentifier); c.Value(1) != "plain" || c.Dict != 0 {
		t.Error("a plain column after a dictionary was not read")
	}
}

// TestNotesStayWithTheirValues mixes good, bad and repaired values in one row batch, and
// then a row batch without any.
func TestNotesStayWithTheirValues(t *testing.T) {
	l := compileText(t, testLayout)
	b, err := l.Bind(cpcds.Claims, fieldsOf("Claim", "Service", "Submitted"), Options{Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	rows := rowsOf(3, []string{"1", "A1", "1.00"}, []string{"2", "X1", "x"}, []string{"3", "A 1", "2"}, []string{"4", "X1", "2"})
	for range 2 {
		for _, src := range []*cpcds.Rows{rows, encoded(rows, 1)} {
			var dst cpcds.Batch
			b.Convert(&dst, pick(src, b.Source()))
			service, amount := dst.Column(cpcds.ProcedureCode), dst.Column(cpcds.ClaimTotalSubmittedAmount)
			at := func(notes []string, c *cpcds.Column, row int) string {
				if notes == nil {
					return ""
				}
				return notes[c.Index[row]]
			}
			var got []string
			for i := range dst.N {
				got = append(got, strings.Join([]string{service.Value(i), at(service.Bad, service, i), at(service.Repaired, service, i),
					amount.Value(i), at(amount.Bad, amount, i)}, "|"))
			}
			want := []string{"A1|||1.00|", "A0425||codes-mapped||value-money", "|value-code||2.00|", "A0425||codes-mapped|2.00|"}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if len(service.Bad) != len(service.Values) || len(service.Repaired) != len(service.Values) {
				t.Errorf("%d values, %d notes of rules, %d of repairs", len(service.Values), len(service.Bad), len(service.Repaired))
			}
			if amount.Repaired != nil {
				t.Error("a column without repairs has notes of them")
			}
		}
	}
}

func TestClonesAreIndependent(t *testing.T) {
	l := compileText(t, testLayout)
	b, err := l.Bind(cpcds.Claims, fieldsOf("Claim", "Payee", "Facility", "Class 2", "Frequency"), Options{Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			own := b.Clone()
			var dst cpcds.Batch
			for i := range 50 {
				name := fmt.Sprintf("n%d", n*1000+i)
				src := rowsOf(5, []string{name, "x," + name, "8", "5", "2"}, []string{name, "", "", "", ""})
				own.Convert(&dst, pick(src, own.Source()))
				if dst.Column(cpcds.ClaimPayeeName).Value(0) != name || dst.Column(cpcds.ClaimTypeOfBillCode).Value(0) != "0852" {
					t.Error("clones disturb each other")
				}
			}
		})
	}
	wg.Wait()
}
