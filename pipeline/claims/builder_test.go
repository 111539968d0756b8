package claims_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/mappers"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/claims"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// header is a file of which only the columns are known: the rows are given to the builder
// without one.
type header []cpcds.Field

func (h header) Fields() []cpcds.Field                          { return h }
func (h header) Spans(context.Context) ([]pipeline.Span, error) { return nil, nil }
func (h header) Close() error                                   { return nil }
func (h header) Open(context.Context, int64, int64, pipeline.Columns) (pipeline.Source, error) {
	return nil, errors.New("there is no file")
}

const columns = "claim_unique_identifier,claim_source_version,claim_last_updated_date,member_id,coverage_id,claim_type,claim_processing_status_code," +
	"statement_from_date,adjudication_date,billing_provider_npi,line_number,service_from_date,procedure_code,place_of_service_code," +
	"line_benefit_payment_status,line_submitted_amount,diagnosis_code"

// bench is a builder with one member and coverage in its directory, and rows without a file.
type bench struct {
	input   *rowbatch.Input
	builder *claims.Builder
}

func newBench(t *testing.T, voider pipeline.Voider) *bench {
	t.Helper()
	layout, err := layouts.Open("cpcds")
	if err != nil {
		t.Fatal(err)
	}
	var fields header
	for _, c := range strings.Split(columns, ",") {
		fields = append(fields, cpcds.Field{Name: c, Type: "string"})
	}
	in := &rowbatch.Input{Path: "claims", Table: cpcds.Claims, File: fields}
	if in.Binding, err = layout.Bind(cpcds.Claims, fields, layouts.Options{}); err != nil {
		t.Fatal(err)
	}
	in.Place(0, nil)

	known, err := directory.Open(t.TempDir(), t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(known.Close)
	identity := fhir.NewIdentity([]byte("a key for tests only"))
	keys := directory.NewKeys(identity, layout)
	for _, table := range []cpcds.Table{cpcds.Members, cpcds.Coverages} {
		x, err := known.Index(table)
		if err != nil {
			t.Fatal(err)
		}
		member, coverage := keys.Raw(fhir.Patient, "M1"), keys.Raw(fhir.Coverage, "C1")
		if table == cpcds.Members {
			err = x.AddMember(member, directory.Stamp{})
		} else {
			c := directory.NewCoverage(coverage, keys.Raw(fhir.Organization, directory.ByPayer, "P"), member, false, "active", "", "", directory.Stamp{})
			err = x.AddCoverage([]fhir.Raw{coverage}, keys.MemberPayer("M1", "P"), c)
		}
		if err != nil {
			t.Fatal(err)
		}
		next, winners, err := x.Done()
		if err != nil {
			t.Fatal(err)
		}
		winners.Close()
		known = next
	}
	s := layout.Systems
	cfg := &claims.Config{Layout: layout, Version: carin.V220, Rules: carin.NewChecker(carin.V220), Identity: identity, Voider: voider,
		Mapper: mappers.New(carin.V220, mappers.Systems{Claim: s.Claim, Member: s.Member, Payer: s.Payer, Provider: s.Provider})}
	return &bench{in, claims.NewBuilder(cfg, known, nil)}
}

// build makes the claim of rows, and returns its JSON, what became of it and the account.
func (b *bench) build(t *testing.T, rows ...string) (string, claims.Result, *pipeline.Account) {
	t.Helper()
	g := b.input.Gather()
	for i, row := range rows {
		g.Add(int64(i), true, strings.Split(row, ","))
	}
	var out fhir.Batch
	account := new(pipeline.Account)
	r := *b.builder.Build(t.Context(), &out, account, "C", []rowbatch.Segment{{Batch: g.Batch(), To: len(rows)}})
	if err := b.builder.Err(); err != nil {
		t.Fatal(err)
	}
	text := ""
	if out.Len() > 0 {
		text = string(out.Lines(0, out.Len()))
	}
	return text, r, account
}

func line(version, number, amount string) string {
	return "C," + version + ",2024-03-01T00:00:00Z,M1,C1,professional,active,2024-02-01,2024-02-20,1234567893," + number + ",2024-02-01,99213,11,innetwork," + amount + ",Z23"
}

// TestBuilder builds a claim of rows that no engine has read: in any order they make the same
// resource and account.
func TestBuilder(t *testing.T) {
	b := newBench(t, nil)
	rows := []string{line("2", "1", "10.00"), line("2", "2", "20.00"), line("2", "3", "30.00"), line("1", "1", "9.00")}
	want, result, account := b.build(t, rows...)
	if result.Fate != claims.Accepted || result.Reject != nil || !strings.Contains(want, `"value":60.00`) {
		t.Fatalf("fate %d, reject %+v, %s", result.Fate, result.Reject, want)
	}
	if len(result.Referenced) != 1 { // the billing provider, whom no table has
		t.Errorf("referenced-only: %+v", result.Referenced)
	}
	n := account.Rows[cpcds.Claims]
	if n.Read != 4 || n.InClaims != 3 || n.Skipped != 1 || account.Skips[pipeline.RuleSuperseded] != 1 {
		t.Errorf("account %+v", account)
	}
	for range 20 {
		rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		got, _, again := b.build(t, rows...)
		if got != want {
			t.Fatalf("in another order it is another claim:\n%s\n%s", want, got)
		}
		if diff := cmp.Diff(account, again); diff != "" {
			t.Fatalf("in another order it is another account (-want +got):\n%s", diff)
		}
	}
}

// TestBuilderRejects builds a claim that is at fault in one row.
func TestBuilderRejects(t *testing.T) {
	b := newBench(t, nil)
	got, result, account := b.build(t, line("1", "1", "10.00"), line("1", "2", "ten"))
	if got != "" || result.Fate != claims.Rejected || result.Reject == nil {
		t.Fatalf("fate %d, %s", result.Fate, got)
	}
	want := []pipeline.RejectProblem{{Rule: "value-money", Element: "line_submitted_amount", Columns: []string{"line_submitted_amount"}, Input: "claims", Row: 2}}
	if diff := cmp.Diff(want, result.Reject.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if account.Claims.Rejected != 1 || account.Rows[cpcds.Claims].Rejected != 2 || account.Rejects["value-money"] != 1 {
		t.Errorf("account %+v", account)
	}
}

// voider is a target that has the claim of a patient.
type voider struct{ patient string }

func (v voider) Void(_ context.Context, out *fhir.Batch, resource, patient, lastUpdated, version string) (bool, error) {
	if patient != v.patient {
		return false, pipeline.ErrOtherPatient
	}
	t, id, err := fhir.SplitReference(resource)
	out.Add(&fhir.Resource{Type: t, ID: id, LastUpdated: lastUpdated, SourceVersion: version, JSON: []byte(`{}`)})
	return true, err
}

// TestBuilderVoids builds a void without lines where the target has the claim, has that of
// another member, and has none.
func TestBuilderVoids(t *testing.T) {
	void := strings.Replace(strings.Replace(line("3", "", ""), "active", "cancelled", 1), ",2024-02-01,99213,11,innetwork,", ",,,,,", 1)
	layout, err := layouts.Open("cpcds")
	if err != nil {
		t.Fatal(err)
	}
	keys := directory.NewKeys(fhir.NewIdentity([]byte("a key for tests only")), layout)
	for _, c := range []struct {
		voider pipeline.Voider
		rule   string // by which it is rejected, "" if it is not
	}{
		{voider{keys.Raw(fhir.Patient, "M1").Reference(fhir.Patient)}, ""},
		{voider{keys.Raw(fhir.Patient, "M2").Reference(fhir.Patient)}, pipeline.RuleVoidOfOther},
		{nil, pipeline.RuleVoid},
	} {
		_, result, account := newBench(t, c.voider).build(t, void)
		switch {
		case c.rule == "" && (result.Fate != claims.Accepted || !result.Voided):
			t.Errorf("fate %d, reject %+v", result.Fate, result.Reject)
		case c.rule != "" && (result.Fate != claims.Rejected || account.Rejects[c.rule] != 1 ||
			!slices.ContainsFunc(result.Reject.Problems, func(p pipeline.RejectProblem) bool { return p.Rule == c.rule })):
			t.Errorf("want %s, got fate %d, %+v", c.rule, result.Fate, result.Reject)
		}
	}
}
