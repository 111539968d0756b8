package layouts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/cpcds"
)

func columnsOf(els ...cpcds.Element) []cpcds.Field {
	var headers []string
	for _, el := range els {
		headers = append(headers, el.Column())
	}
	return fieldsOf(headers...)
}

// levelColumns returns the canonical columns of one level of claims with the key.
func levelColumns(level cpcds.Level) []cpcds.Field {
	els := []cpcds.Element{cpcds.ClaimUniqueIdentifier}
	for _, el := range cpcds.Columns(cpcds.Claims) {
		if el.Info().Level == level && el != cpcds.ClaimUniqueIdentifier {
			els = append(els, el)
		}
	}
	return columnsOf(els...)
}

// TestRecogniseNormalised recognises an extract in our own format that has a file
// per level.
func TestRecogniseNormalised(t *testing.T) {
	files := []File{
		{"claim_headers.parquet", levelColumns(cpcds.HeaderLevel)},
		{"claim_lines.parquet", levelColumns(cpcds.LineLevel)},
		{"claim_diagnoses.parquet", levelColumns(cpcds.DiagnosisLevel)},
		{"claim_procedures.parquet", levelColumns(cpcds.ProcedureLevel)},
		{"claim_care_team.parquet", levelColumns(cpcds.CareTeamLevel)},
		{"members.csv", columnsOf(cpcds.Columns(cpcds.Members)...)},
		{"coverages.csv", columnsOf(cpcds.Columns(cpcds.Coverages)...)},
		{"providers.csv", columnsOf(cpcds.Columns(cpcds.Providers)...)},
		{"organizations.csv", columnsOf(cpcds.Columns(cpcds.Organizations)...)},
	}
	r, err := Recognise(Builtins(), files)
	if err != nil {
		t.Fatal(err)
	}
	want := []cpcds.Table{cpcds.Claims, cpcds.Claims, cpcds.Claims, cpcds.Claims, cpcds.Claims,
		cpcds.Members, cpcds.Coverages, cpcds.Providers, cpcds.Organizations}
	if d := cmp.Diff(want, tablesOf(r.Files)); d != "" || r.Layout.Name != "cpcds" {
		t.Errorf("layout %s\n-want +got\n%s", r.Layout.Name, d)
	}
}

func TestRecogniseErrors(t *testing.T) {
	f := func(ls []*Layout, files []File, want ...string) {
		t.Helper()
		_, err := Recognise(ls, files)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%v does not say %q", err, w)
			}
		}
	}
	own := compileText(t, "layout: own\ntables: {members: {key: [member_id], columns: canonical}}")
	members := columnsOf(cpcds.Columns(cpcds.Members)...)
	f(append(Builtins(), own), []File{{"m.csv", members}}, "cpcds and own fit equally well")
	f(Builtins(), []File{{"m.csv", fieldsOf("SUBJECT", "SEX", "CLM_NO")}}, "no layout fits", "layout cpcds: m.csv fits no table", "no column for", "layout synthea is a worse match: it fits 0 of 1 file")
	f(Builtins(), nil, "no files")
	// A few equal names do not make a file one of the layout's.
	f([]*Layout{own}, []File{{"m.csv", fieldsOf("member_id", "A", "B", "C")}}, "3 of 4 columns are unknown")
	if tables, err := own.Assign([]File{{"m.csv", fieldsOf("member_id", "A", "B", "C")}}); err != nil || tables[0].Tables[0].Table != cpcds.Members {
		t.Errorf("a layout that is named by the user must take the file: %v", err)
	}
}

func TestBindErrors(t *testing.T) {
	l := compileText(t, `
layout: x
tables:
  members:
    required: [date_of_birth]
    key: [member_id]
    columns:
      member_id: [Member id, Beneficiary id]
      date_of_birth: Birth date
      gender_code: Sex
    refuse: {Version 1: it is too old}
`)
	f := func(fields []cpcds.Field, want string) {
		t.Helper()
		_, err := l.Bind(cpcds.Members, fields, Options{})
		if got := strings.TrimPrefix(err.Error(), "bind table members of layout x: "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(fieldsOf("MEMBER-ID", "Birth dat"), `no column for date_of_birth (CPCDS 70), which is "Birth date"; the closest is "Birth dat"`)
	f(fieldsOf("Member id", "beneficiary_id", "birth date"), `the columns "Member id" and "beneficiary_id" both mean member_id`)
	f(fieldsOf("Member id", "birth date", "sex", "sex"), `there are two columns "sex"`)
	f(fieldsOf("birth date"), `no column for the key member_id`)
	f(fieldsOf("member id", "birth date", "version_1"), `refused because of the column "version_1": it is too old`)
	if _, err := l.Bind(cpcds.Claims, nil, Options{}); err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("a table that is not there: %v", err)
	}
	if m := l.Match(cpcds.Claims, "x", nil); m.Fits || m.Bound != 0 {
		t.Errorf("a table that is not there fits: %+v", m)
	}
}

// TestRepairsAreListed proves that every repair of a layout can be named by a user.
func TestRepairsAreListed(t *testing.T) {
	l, err := Open("synthea")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"benefit-from-network", "codes-mapped", "coverages-collapsed", "diagnosis-unmapped-dropped", "fills-split",
		"first-diagnosis-principal", "npi-malformed-dropped", "origin-dropped", "payment-status-from-amount", "poa-conflict-dropped",
		"reclassified-by-bill-type", "rxnorm-as-text", "service-code-as-text"}
	if d := cmp.Diff(want, l.Repairs()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// tablesOf returns the own table of each file.
func tablesOf(places []Placement) (out []cpcds.Table) {
	for _, p := range places {
		out = append(out, p.Tables[0].Table)
	}
	return out
}

// TestHint: the folder that counts is the nearest one that is no partition.
func TestHint(t *testing.T) {
	tab := &Table{Files: []string{"*claim*"}}
	for file, want := range map[string]bool{
		"x/Claims.csv":                              true,
		"x/claims/part-0.parquet":                   true,
		"x/claims/year=2024/month=1/part-0.parquet": true,
		"claims/year=2024/part-0.parquet":           true,
		"x/members/claim=1/part-0.parquet":          false,
		"claims/members/year=1/part-0.parquet":      false,
		"year=2024/part-0.parquet":                  false,
		"=/part-0.parquet":                          false,
		"part-0.parquet":                            false,
	} {
		if got := tab.hint(file); got != want {
			t.Errorf("%s: %t, want %t", file, got, want)
		}
	}
}
