package layouts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/cpcds"
)

// formsLayout has claims in three forms, two of which only the name of a file tells
// apart, and coverages in the rows of the members.
const formsLayout = `
layout: forms
tables:
  claims:
    key: [claim_unique_identifier]
    required: [claim_unique_identifier]
    columns:
      claim_unique_identifier: Claim
      member_id: Member
      claim_benefit_payment_status: {const: other}
    ignore: {Batch: of the exporter}
    forms:
      stay:
        files: ["ip*"]
        columns:
          claim_type: {const: institutional}
          member_admission_date: Admitted
      long-stay:
        files: ["lt*"]
        columns:
          claim_type: {const: institutional}
          claim_benefit_payment_status: {const: innetwork}
          member_admission_date: Admitted
          member_discharge_date: Left
      fill:
        headers: [Fill]
        columns:
          claim_type: {const: pharmacy}
          claim_unique_identifier: Fill
          drg_code: Batch
  members:
    key: [member_id]
    required: [member_id]
    columns:
      member_id: Member
      gender_code: Sex
  coverages:
    rows_of: members
    key: [coverage_id]
    required: [coverage_id]
    row_when: [coverage_status]
    columns:
      member_id: Member
    forms:
      a:
        columns:
          coverage_id: {from: [Member], expr: '"a" + value'}
          coverage_status: {from: [A], map: {Y: active, N: ""}}
      b:
        columns:
          coverage_id: {from: [Member], expr: '"b" + value'}
          coverage_status: {from: [B], map: {Y: active, N: ""}}
leave_out:
  "*summary*": counts of the exporter
`

// formsOf compiles a layout that lacks what real claims need.
func formsOf(t *testing.T, yaml string) *Layout {
	t.Helper()
	l, findings := parseText(yaml, nil)
	for _, f := range findings {
		t.Error(f)
	}
	if l == nil {
		t.FailNow()
	}
	return l
}

// TestForms finds the form of each file: by its headers, or by its name.
func TestForms(t *testing.T) {
	l := formsOf(t, formsLayout)
	f := func(file File, want string) {
		t.Helper()
		places, err := l.Assign([]File{file})
		var got string
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "layout forms: ")
		} else {
			var names []string
			for _, x := range places[0].Tables {
				names = append(names, x.String())
			}
			got = strings.Join(names, ", ") + places[0].LeftOut
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", file.Path, d)
		}
	}
	stay := fieldsOf("Claim", "Member", "Admitted", "Left", "Batch")
	f(File{"IP01.csv", stay}, "claims (stay)")
	f(File{"LT01.csv", stay}, "claims (long-stay)")
	f(File{"other.csv", stay}, "claims (long-stay)") // it knows more of the headers
	f(File{"other.csv", fieldsOf("Claim", "Member", "Admitted")},
		"other.csv fits claims (stay) and claims (long-stay) equally well; give the file a name that matches one of them")
	f(File{"rx.csv", fieldsOf("Fill", "Member", "Batch")}, "claims (fill)")
	f(File{"m.csv", fieldsOf("Member", "Sex", "A", "B")}, "members, coverages (a), coverages (b)")
	f(File{"m.csv", fieldsOf("Member", "Sex", "A")}, "members, coverages (a), coverages (b)")
	f(File{"the_summary.csv", fieldsOf("When", "Count")}, "counts of the exporter")
	f(File{"the_summary.csv", fieldsOf("Member", "Sex", "A", "B")}, "members, coverages (a), coverages (b)")
}

// TestFormsBind proves that a form has what its table says for all, but for what it says
// itself, and that replays find a form by its name.
func TestFormsBind(t *testing.T) {
	l := formsOf(t, formsLayout)
	elements := func(table *Table, headers ...string) string {
		t.Helper()
		b, err := table.Bind(fieldsOf(headers...), Options{})
		if err != nil {
			return err.Error()
		}
		var names []string
		for _, el := range b.Elements() {
			names = append(names, el.Column())
		}
		if b.Table() != table {
			t.Errorf("bound to %s", b.Table())
		}
		return strings.Join(names, " ")
	}
	f := func(want, got string) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	}
	f("claim_unique_identifier member_id claim_type claim_benefit_payment_status member_admission_date member_discharge_date",
		elements(l.Form(cpcds.Claims, "long-stay"), "Claim", "Member", "Admitted", "Left"))
	f("claim_unique_identifier member_id claim_type claim_benefit_payment_status drg_code",
		elements(l.Form(cpcds.Claims, "fill"), "Fill", "Member", "Batch"))
	f(`bind table claims of layout forms: no column "Fill"; no column for claim_unique_identifier (CPCDS 35), which is "Fill"`,
		elements(l.Form(cpcds.Claims, "fill"), "Member", "Batch"))
	if l.Form(cpcds.Claims, "none") != nil || l.Table(cpcds.Claims).Form != "stay" || len(l.Forms(cpcds.Claims)) != 3 {
		t.Error("the forms of claims are others")
	}
	f("[Fill]", fmt.Sprint(l.Form(cpcds.Claims, "fill").Absent(fieldsOf("Member"))))
	members := l.Table(cpcds.Members)
	if m := members.Match("m.csv", fieldsOf("Member", "Sex", "A", "B", "C")); !cmp.Equal(m.Unknown, []string{"C"}) || !members.Lends("b") {
		t.Errorf("unknown %q", m.Unknown)
	}
	fit := l.Fit([]File{{"m.csv", fieldsOf("Member", "Sex", "A", "B")}, {"the_summary.csv", fieldsOf("x")}})
	if len(fit.Files[0].Bound) != 8 || len(fit.Files[0].Unknown) != 0 || fit.Files[1].LeftOut == "" || !fit.Fits() {
		t.Errorf("fit %+v", fit.Files)
	}
}

// TestRepeat numbers the sets of repeat blocks, after the repetitions of each.
func TestRepeat(t *testing.T) {
	l := compileText(t, `
layout: x
tables:
  claims:
    key: [claim_unique_identifier]
    columns:
      claim_unique_identifier: Claim
      member_id: Member
      claim_type: {const: pharmacy}
      claim_last_updated_date: Day
      claim_processing_status_code: {const: active}
      adjudication_date: Day
      billing_provider_npi: Biller
      service_from_date: Day
      drug_cost: Cost
      claim_benefit_payment_status: {const: other}
      national_drug_code: Drug
      diagnosis_code: {each: [First, Second]}
    repeat:
      - n: 1..3
        columns:
          diagnosis_code: {all: ["Dx{n}", "Ver{n}"], expr: 'values[0] + "." + values[1]'}
          diagnosis_type: {const: other}
      - columns:
          diagnosis_code: Cause
          diagnosis_type: {const: externalcauseofinjury}
      - columns: {care_team_role: {from: [Helper], expr: '"primary"'}, care_team_provider_npi: Helper}
`)
	b, err := l.Bind(cpcds.Claims, fieldsOf("Claim", "Second", "Dx1", "Ver1", "Dx3", "Ver3", "Cause", "Helper"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var dst cpcds.Batch
	b.Convert(&dst, pick(rowsOf(8, []string{"1", "I10", "E11", "9", "J06", "8", "W18", "1234"}), b.Source()))
	var got []string
	for i, el := range b.Elements() {
		if b.Reps()[i] >= 0 {
			got = append(got, fmt.Sprintf("%d %s %s", b.Reps()[i], el, dst.Columns[i].Value(0)))
		}
	}
	want := []string{
		"1 diagnosis_code I10", "2 diagnosis_code E11.9", "4 diagnosis_code J06.8", "5 diagnosis_code W18",
		"2 diagnosis_type other", "3 diagnosis_type other", "4 diagnosis_type other", "5 diagnosis_type externalcauseofinjury",
		"0 care_team_role primary", "0 care_team_provider_npi 1234",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestFormFindings proves that faults of forms, sets and left-out files are found, each
// at its place.
func TestFormFindings(t *testing.T) {
	f := func(yaml string, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, findingsOf(strings.TrimPrefix(yaml, "\n"), nil)); d != "" {
			t.Errorf("%s\n-want +got\n%s", yaml, d)
		}
	}
	const head = "layout: x\ntables:\n  claims:\n    key: [claim_unique_identifier]\n    columns:\n      claim_unique_identifier: Id\n"
	f(head+"    forms: {}\n", "7:5: forms must not be empty")
	f(head+"    forms:\n      A b: {columns: {drg_code: D}}\n      c: {key: [drg_code], colums: {}}\n",
		"8:7: the name of a form must consist of lower-case letters, digits, hyphens and dots",
		`9:11: unknown key "key" in form c; use one of columns, files, headers, ignore, line_when, refuse, repeat, required, row_when, rows_of`,
		`9:28: unknown key "colums" in form c; did you mean "columns"?`)
	f(head+"    forms:\n      a: {required: [drg_code]}\n      b: {columns: {drg_cod: D}, ignore: {Id: why}}\n",
		"8:7: table claims (a) has no column for drg_code",
		`9:7: header "Id" of claim_unique_identifier is also under ignore`,
		`9:21: unknown element "drg_cod" in table claims; did you mean "drg_code"?`)
	f(head+"    rows_of: members\n    row_when: [drg_code]\n",
		"3:3: table claims has no column for drg_code",
		"3:3: table claims has the rows of members, which does not have its own files",
		"7:5: rows_of is not allowed in table claims",
		"8:5: row_when is not allowed in table claims")
	f(strings.ReplaceAll(strings.ReplaceAll(head, "claims", "members"), "claim_unique_identifier", "member_id")+"    rows_of: members\n",
		"7:14: rows_of must name other tables")
	f(head+"    repeat:\n      - {n: 3..1, columns: {diagnosis_code: \"D{n}\"}}\n      - {n: 1..2, columns: {diagnosis_code: D}}\n      - columns: {diagnosis_code: \"E{n}\"}\n      - {n: 1..2}\n",
		"8:13: n must be a range like 1..25",
		"9:9: no header of the set has {n}",
		"10:9: the headers have {n}, so the set needs n, such as n: 1..25",
		"11:9: repeat needs columns")
	f(head+"    repeat:\n      - columns:\n          drg_code: D\n          diagnosis_code: {each: [A, B]}\n          care_team_role: R\n          care_team_rol: R\n",
		"9:11: drg_code is of level header: only diagnosis, procedure and care_team elements repeat in a row",
		"10:11: diagnosis_code is of level diagnosis, the set is of level header; put it in its own set",
		"11:11: care_team_role is of level care_team, the set is of level header; put it in its own set",
		`12:11: unknown element "care_team_rol" in table claims; did you mean "care_team_role"?`)
	f(head+"leave_out: {\"*\": all, \"a[\": broken, \"b*\": \"\"}\n",
		`7:13: "*" is not a pattern of file names`, `7:23: "a[" is not a pattern of file names`, `7:37: say why "b*" is left out`)
	f(head+"claims: {provider_ids: some}\n", "7:24: provider_ids must be listed or mentioned")
}

// TestRecogniseRIF recognises Medicare's files, and what comes along with them.
func TestRecogniseRIF(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(shared(t, "data", "bfd-rif", "rif-synthea"), "*.csv"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files: %v", err)
	}
	var files []File
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(string(text), "\n")
		files = append(files, File{filepath.Base(p), fieldsOf(strings.Split(strings.TrimSpace(header), "|")...)})
	}
	r, err := Recognise(Builtins(), files)
	if err != nil {
		t.Fatal(err)
	}
	if r.Layout.Name != "rif" {
		t.Fatalf("taken for %s", r.Layout.Name)
	}
	got := map[string]string{}
	for i, f := range files {
		got[f.Path] = r.Files[i].LeftOut
		for _, x := range r.Files[i].Tables {
			got[f.Path] += x.String() + " "
		}
		if tables := r.Files[i].Tables; tables != nil {
			if m := tables[0].Match(f.Path, f.Fields); len(m.Unknown) > 0 {
				t.Errorf("%s: unknown columns %q", f.Path, m.Unknown)
			}
		}
	}
	want := map[string]string{
		"beneficiary_history.csv": r.Layout.leftOut[0].reason, "export_summary.csv": r.Layout.leftOut[1].reason,
	}
	for _, form := range []string{"carrier", "dme", "hha", "hospice", "inpatient", "outpatient", "pde", "snf"} {
		want[form+".csv"] = "claims (" + form + ") "
	}
	for year := 2011; year <= 2021; year++ {
		want[fmt.Sprintf("beneficiary_%d.csv", year)] = "members coverages (part-a) coverages (part-b) coverages (part-d) "
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestFilesOfRowsOf reads a table with the rows of another in the form whose names a file
// has.
func TestFilesOfRowsOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	yaml := `layout: x
tables:
  members: {key: [member_id], columns: {member_id: Id, gender_code: Sex, member_last_updated_date: {const: "2009-12-31"}}}
  coverages:
    rows_of: members
    key: [coverage_id]
    columns: {coverage_id: Id, member_id: Id, subscriber_id: Id, payer_identifier: {const: P}, coverage_status: {const: active}, relationship_to_subscriber: {const: self}}
    forms:
      y2008: {files: ["*_2008*"], columns: {coverage_last_updated_date: {const: "2008-12-31"}}}
      y2009: {files: ["*_2009*"], columns: {coverage_last_updated_date: {const: "2009-12-31"}}}
      all: {columns: {coverage_last_updated_date: {const: "2010-12-31"}}}
`
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	l, findings := Check(file)
	if l == nil {
		t.Fatal(findings)
	}
	fields := []cpcds.Field{{Name: "Id"}, {Name: "Sex"}}
	for name, want := range map[string]string{"bene_2008.csv": "members coverages (y2008) coverages (all)", "bene_2009.csv": "members coverages (y2009) coverages (all)",
		"bene.csv": "members coverages (y2008) coverages (y2009) coverages (all)"} {
		places, err := l.Assign([]File{{Path: name, Fields: fields}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, tab := range places[0].Tables {
			got = append(got, tab.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s is read as %s, want %s", name, s, want)
		}
	}
}
