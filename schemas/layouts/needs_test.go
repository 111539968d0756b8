package layouts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// TestNeedsAreThoseOfTheRules proves that what every row of a table needs is what the
// rules demand of every row.
func TestNeedsAreThoseOfTheRules(t *testing.T) {
	// The engine needs these; the rules see claims and references that it has made.
	known := map[cpcds.Element]bool{cpcds.ClaimUniqueIdentifier: true, cpcds.MemberID: true, cpcds.ClaimType: true, cpcds.BillingProviderNPI: true,
		cpcds.ProvidersProviderNPI: true, cpcds.OrganizationsOrganizationID: true}
	for _, r := range carin.NewChecker(carin.V220).Rules() {
		if strings.Contains(r.ID, "required-"+r.Element.Column()) && (r.Profiles == nil || len(r.Profiles) == int(carin.NumProfiles)) {
			known[r.Element] = true
		}
	}
	for table := range needs {
		for _, n := range needs[table] {
			if n.some != "" {
				continue
			}
			if !known[n.elements[0]] {
				t.Errorf("no rule demands %s of every row", n.elements[0])
			}
			delete(known, n.elements[0])
		}
	}
	for el := range known {
		t.Errorf("every row needs %s, and layouts do not say so", el)
	}
}

func TestCheckFindsUselessLayouts(t *testing.T) {
	f := func(yaml string, want ...string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		l, findings := Check(file)
		var got []string
		for _, f := range findings {
			if !f.Refused { // TestAnonymousIdentifiers is about those
				got = append(got, strings.TrimPrefix(f.String(), file+":"))
			}
		}
		if l != nil {
			got = append(got, "compiled")
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s\n-want +got\n%s", yaml, d)
		}
	}
	f("layout: x\ntables:\n  members: {columns: {member_id: Id}}\n",
		"3:3: table members has no key; add key: [member_id]")
	f("layout: x\ntables:\n  members: {key: [member_id], columns: {member_id: {const: a}}}\n",
		"3:3: table members: the key member_id is constant, so all rows would be one record")
	f("layout: x\ntables:\n  members: {key: [member_id], columns: {member_id: Id, gender_code: Sex}}\n",
		"3:3: table members: nothing is bound to member_last_updated_date: every row would be rejected; bind a column, or set a const")
	const claims = "layout: x\ntables:\n  claims:\n    key: [claim_unique_identifier]\n    columns:\n" +
		"      claim_unique_identifier: Id\n      member_id: M\n      claim_last_updated_date: D\n      adjudication_date: D\n" +
		"      service_from_date: D\n      statement_from_date: D\n      line_submitted_amount: A\n      procedure_code: P\n" +
		"      claim_benefit_payment_status: {const: other}\n      billing_provider_npi: B\n"
	f(claims+"      claim_processing_status_code: {from: [S], map: {F: actve}}\n",
		`16:58: "actve" is not a code of claim_processing_status_code; did you mean "active"?`)
	f(claims+"      claim_processing_status_code: {const: active}\n",
		"3:3: table claims: nothing is bound to claim_type: every row would be rejected; bind a column, or set a const",
		"3:3: warning: table claims: nothing is bound to diagnosis_code, which claims other than pharmacy and oral claims need")
	f(claims+"      claim_processing_status_code: {const: active}\n      claim_type: T\n",
		"3:3: warning: table claims: nothing is bound to diagnosis_code, which claims other than pharmacy and oral claims need",
		"compiled")
	f(claims+"      claim_processing_status_code: {const: active}\n      claim_type: {from: [T], else: profesional}\n      diagnosis_code: D1\n",
		`17:37: "profesional" is not a code of claim_type; did you mean "professional"?`)
}

// TestAnonymousIdentifiers finds identifiers that would have no system: a check refuses the
// layout, and it can be used all the same.
func TestAnonymousIdentifiers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	yaml := "layout: x\nsystems: {claim: \"https://x/claim\"}\ntables:\n  members: {key: [member_id], columns: {member_id: Id, gender_code: Sex, member_last_updated_date: D}}\n"
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	l, findings := Check(file)
	if l == nil || len(findings) != 1 || !findings[0].Refused || !strings.Contains(findings[0].String(), "systems has no member") {
		t.Errorf("findings %v, compiled %v", findings, l != nil)
	}
}

// TestCopiesOfBuiltins: a built-in layout is the starting point of a user's own.
func TestCopiesOfBuiltins(t *testing.T) {
	for _, l := range Builtins() {
		src, err := builtin.ReadFile("builtin/" + l.Name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), l.Name+".yaml")
		if err := os.WriteFile(file, src, 0o600); err != nil {
			t.Fatal(err)
		}
		_, findings := Check(file)
		for _, f := range findings {
			if !f.Warning {
				t.Errorf("%s: %s", l.Name, f)
			}
		}
		if _, err := Open(file); err != nil {
			t.Errorf("a copy of %s: %v", l.Name, err)
		}
	}
}
