package pipeline_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// TestMutants spoils one value of a good claim at a time, in every column and every
// way. Each mutant must be rejected with a rule that names the column, or become a
// resource that a strict reader accepts; and what it says must not be lost without a
// warning that names the column. MUTANTS_OUT=DIR keeps the resources of the accepted
// ones, for a validator.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("the mutants take a while")
	}
	for _, f := range filledClaims {
		if f.only != nil {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var n, rejected, valid int
			for _, e := range cpcds.Columns(cpcds.Claims) {
				m := f.mutate(t, e)
				n, rejected, valid = n+len(m.values), rejected+m.rejected, valid+m.valid
			}
			t.Logf("%d mutants: %d rejected, %d valid", n, rejected, valid)
			if rejected == 0 || valid == 0 {
				t.Error("mutants that are all alike test nothing")
			}
		})
	}
}

// spoiled are the values that a column is given, by its kind; the first is none.
func spoiled(e cpcds.Element) []string {
	list := []string{"", "no such value", "ZZZ9", "a\x01b", "𝒜 😀 \u202e", `quote " and \ back`, strings.Repeat("long ", 100)}
	switch e.Info().Kind {
	case cpcds.DateKind, cpcds.InstantKind:
		return append(list, "2023-13-45", "2024-02-30", "20240101", "0001-01-01", "9999-12-31", "31690708-07-05", "2024-01-01T25:00:00Z")
	case cpcds.MoneyKind, cpcds.QuantityKind:
		return append(list, "-1.00", "12,34", "1e5", "123456789012345678901234567890.12", "0", "00012", "1.23456789", "NaN")
	case cpcds.NPIKind:
		return append(list, "1234567890", "123456789", "12345678901", "123456789X")
	case cpcds.FlagKind:
		return append(list, "maybe", "2")
	case cpcds.CodeKind, cpcds.CodesKind:
		return append(list, "0", "99", "A", "x", "12345", "A1 B2 C3", "<script>")
	}
	return append(list, "0", " padded ", "two\nlines")
}

// blamed are the elements whose rules may notice that another one is wrong.
var blamed = map[cpcds.Element][]cpcds.Element{
	cpcds.CoverageID:                 {cpcds.ClaimPayerIdentifier},
	cpcds.ClaimPayerIdentifier:       {cpcds.CoverageID},
	cpcds.ClaimSubType:               {cpcds.ClaimType},
	cpcds.MemberID:                   {cpcds.CoverageID},
	cpcds.AdmissionTypeCode:          {cpcds.PointOfOriginCode},
	cpcds.DiagnosisCodeType:          {cpcds.DiagnosisCode},
	cpcds.InpatientProcedureCodeType: {cpcds.InpatientProcedureCode},
	cpcds.ToothNumber:                {cpcds.ToothSurface},
	cpcds.OralCavityArea:             {cpcds.ToothSurface},
	cpcds.AdditionalToothNumbers:     {cpcds.ToothSurface},
	cpcds.CompoundCode:               {cpcds.NationalDrugCode},
	cpcds.ClaimPayeeTypeCode:         {cpcds.ClaimPayee},
	cpcds.ClaimPayeeName:             {cpcds.ClaimPayee},
	cpcds.BillingProviderID:          {cpcds.BillingProviderNPI},
	cpcds.LineNumber:                 {cpcds.CompoundParentLineNumber, cpcds.ServiceFromDate}, // the ingredient is the first line then
}

// keys are columns that lead to a row of a small table, or order records: where
// another key leads there too they make no difference.
var keys = []cpcds.Element{cpcds.ClaimSourceVersion, cpcds.BillingProviderID, cpcds.ServiceFacilityID}

// mutants are what became of the spoiled values of one column.
type mutants struct {
	values          []string
	rejected, valid int
}

// mutate loads a claim for each spoiled value of a column.
func (f *filledClaim) mutate(t *testing.T, e cpcds.Element) mutants {
	t.Helper()
	m := mutants{values: spoiled(e)}
	dir, state := t.TempDir(), t.TempDir()
	for table := range cpcds.Claims {
		writeTable(t, dir, table, f.smallRows(table, cpcds.NoElement))
	}
	name := func(i int) string { return "mutant-" + string(rune('a'+i)) }
	var rows [][]string
	for i, v := range m.values {
		rows = append(rows, f.lines(func(x cpcds.Element, old values) string {
			switch x {
			case e:
				return v
			case cpcds.ClaimUniqueIdentifier:
				return name(i)
			}
			return old.a
		})...)
	}
	writeTable(t, dir, cpcds.Claims, rows)
	target := newMemory()
	account, err := openRun(t, dir, "cpcds", state, false, target).Load(t.Context())
	if err != nil {
		t.Fatalf("%s of %s: %v", e, f.name, err)
	}
	if !account.Balanced() {
		t.Errorf("%s of %s: the account does not balance: %+v", e, f.name, account)
	}
	checkClaims(t, target)
	keepMutants(t, target, f.name+"-"+e.Column())

	rejects := map[string][]pipeline.RejectProblem{}
	store, err := pipeline.OpenRejects(state)
	if err != nil {
		t.Fatal(err)
	}
	if runs, err := store.Runs(); err != nil {
		t.Fatal(err)
	} else if len(runs) > 0 {
		err := store.Each(runs[0], func(r *pipeline.Reject) error {
			rejects[r.Claim] = r.Problems
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	resources := eobs(t, target)
	if e == cpcds.ClaimUniqueIdentifier { // each mutant has a name of its own
		m.rejected, m.valid = len(rejects), len(resources)
		return m
	}
	warned := int64(0)
	for _, r := range carin.NewChecker(carin.V220).Rules() {
		if r.Element == e && r.Severity == carin.Warning {
			warned += account.Warnings[r.ID]
		}
	}
	lost := int64(0)
	for i, v := range m.values {
		problems, isRejected := rejects[name(i)]
		resource, isValid := resources[name(i)]
		switch {
		case isRejected && isValid:
			t.Errorf("%s of %s, mutant %d: it was rejected and loaded", e, f.name, i)
		case isRejected:
			m.rejected++
			if !blames(problems, e) {
				t.Errorf("%s of %s, mutant %d: the reject blames %+v", e, f.name, i, problems)
			}
		case isValid:
			m.valid++
			if blank, ok := resources[name(0)]; i > 0 && strings.TrimSpace(v) != "" && ok && reflect.DeepEqual(resource, blank) {
				lost++
			}
		default:
			t.Errorf("%s of %s, mutant %d: it is neither loaded nor rejected", e, f.name, i)
		}
	}
	if lost > warned && inEOB(f.profile, e) && !slices.Contains(keys, e) {
		t.Errorf("%s of %s: %d values make no difference, %d warnings name the column", e, f.name, lost, warned)
	}
	return m
}

// strictReader is a strict reader of FHIR that this project did not write.
var strictReader = sync.OnceValues(func() (*jsonformat.Unmarshaller, error) { return jsonformat.NewUnmarshaller("UTC", fhirversion.R4) })

// checkClaims reads the ExplanationOfBenefits with it. The other resources are those
// of the claim that is not spoiled.
func checkClaims(t *testing.T, target *memory) {
	t.Helper()
	reader, err := strictReader()
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range target.references(fhir.ExplanationOfBenefit) {
		data := target.resources[ref].json
		if _, err := reader.Unmarshal(data); err != nil {
			t.Errorf("%s: a strict FHIR reader refuses it: %v", ref, err)
		}
		for _, to := range referencesIn(t, data) {
			if _, ok := target.resources[to]; !ok {
				t.Errorf("%s refers to %s, which was not loaded", ref, to)
			}
		}
	}
}

func blames(problems []pipeline.RejectProblem, e cpcds.Element) bool {
	return slices.ContainsFunc(problems, func(p pipeline.RejectProblem) bool {
		return p.Element == e.Column() || slices.ContainsFunc(blamed[e], func(x cpcds.Element) bool { return p.Element == x.Column() })
	})
}

// inEOB reports whether the mapping says that the column changes the claim's own
// resource, or nothing at all: a name of a provider stands in another one.
func inEOB(p carin.Profile, e cpcds.Element) bool {
	for _, m := range carin.Mapping() {
		if m.Element == e && m.Profile == p.String() {
			return len(m.Paths) == 0 || slices.ContainsFunc(m.Paths, func(path string) bool { return strings.HasPrefix(path, "ExplanationOfBenefit.") })
		}
	}
	return false
}

// eobs are the ExplanationOfBenefits by the number of their claim, without what
// tells one claim from another.
func eobs(t *testing.T, target *memory) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for _, ref := range target.references(fhir.ExplanationOfBenefit) {
		var v map[string]any
		if err := json.Unmarshal(target.resources[ref].json, &v); err != nil {
			t.Fatal(err)
		}
		list := v["identifier"].([]any)
		number := list[len(list)-1].(map[string]any)["value"].(string)
		delete(v, "id")
		delete(list[len(list)-1].(map[string]any), "value")
		out[number] = v
	}
	return out
}

// keepMutants writes all resources for a validator.
func keepMutants(t *testing.T, target *memory, name string) {
	t.Helper()
	dir := os.Getenv("MUTANTS_OUT")
	if dir == "" {
		return
	}
	var b bytes.Buffer
	for _, ref := range slices.Sorted(maps.Keys(target.resources)) {
		if strings.HasPrefix(ref, fhir.ExplanationOfBenefit.String()) {
			b.Write(append(target.resources[ref].json, '\n'))
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".ndjson"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
