package layouts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/cpcds"
)

func TestFit(t *testing.T) {
	l := compileText(t, `
layout: x
tables:
  claims:
    required: [claim_unique_identifier, member_id]
    key: [claim_unique_identifier]
    columns:
      claim_unique_identifier: Claim
      member_id: Member
      drg_code: Group
      diagnosis_code: {each: [Dx 1, Dx 2, Dx 3]}
    ignore: {Clerk: not ours}
`)
	got := l.Fit([]File{
		{"a.csv", fieldsOf("Claim", "Member", "Dx 1", "Dx 2", "Grup", "Clerk", "Proc Code")},
		{"b.csv", fieldsOf("Claim", "Membr", "Dx 1")},
	})
	want := &Fit{
		Files: []FileFit{
			{
				Path: "a.csv", Table: cpcds.Claims, Columns: 7,
				Bound: []BoundColumn{
					{cpcds.Claims, cpcds.ClaimUniqueIdentifier, []string{"Claim"}}, {cpcds.Claims, cpcds.MemberID, []string{"Member"}},
					{cpcds.Claims, cpcds.DiagnosisCode, []string{"Dx 1", "Dx 2"}},
				},
				Ignored: []string{"Clerk"},
				Unknown: []UnknownHeader{{"Grup", "Group", cpcds.DRGCode, true}, {"Proc Code", "", cpcds.ProcedureCode, true}},
			},
			{
				Path: "b.csv", Table: cpcds.Claims, Columns: 3,
				Fault:   `b.csv fits no table; the closest is claims: no column for member_id (CPCDS 1), which is "Member"; the closest is "Membr"`,
				Bound:   []BoundColumn{{cpcds.Claims, cpcds.ClaimUniqueIdentifier, []string{"Claim"}}, {cpcds.Claims, cpcds.DiagnosisCode, []string{"Dx 1"}}},
				Missing: []AbsentColumn{{cpcds.Claims, cpcds.MemberID, []string{"Member"}}},
				Unknown: []UnknownHeader{{"Membr", "Member", cpcds.MemberID, true}},
			},
		},
		Absent: []AbsentColumn{{cpcds.Claims, cpcds.DRGCode, []string{"Group"}}, {cpcds.Claims, cpcds.DiagnosisCode, []string{"Dx 3"}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if got.Fits() {
		t.Error("a file without a required column fits")
	}
}

// TestForeignFile proves that a file which has nothing to do with the others is named
// with the way to leave it out.
func TestForeignFile(t *testing.T) {
	members := File{"in/members.csv", columnsOf(cpcds.Columns(cpcds.Members)...)}
	notes := File{"in/notes.csv", fieldsOf("when", "who")}
	_, err := Recognise(Builtins(), []File{members, notes})
	want := `recognise layout: no layout fits
layout cpcds: in/notes.csv fits no table; the closest is members: no column for member_id (CPCDS 1, 184), which is "member_id"
in/notes.csv: to leave it out, name the other files instead of the folder
layout synthea is a worse match: it fits 0 of 2 files
layout rif is a worse match: it fits 0 of 2 files`
	if d := cmp.Diff(want, err.Error()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	l, err := Open("cpcds")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Assign([]File{members, notes}); err == nil || !strings.Contains(err.Error(), "to leave it out") {
		t.Errorf("a layout that is named: %v", err)
	}
}
