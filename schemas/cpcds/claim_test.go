package cpcds_test

import (
	"slices"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

// record is what all records of a level can do.
type record interface {
	Get(cpcds.Element) string
	Set(cpcds.Element, string)
}

// TestRecords fills every element of a record and reads it again: two elements that
// shared a place would overwrite each other.
func TestRecords(t *testing.T) {
	for level, r := range map[cpcds.Level]record{
		cpcds.HeaderLevel: &cpcds.Header{}, cpcds.LineLevel: &cpcds.Line{}, cpcds.DiagnosisLevel: &cpcds.Diagnosis{},
		cpcds.ProcedureLevel: &cpcds.Procedure{}, cpcds.CareTeamLevel: &cpcds.CareTeam{}, cpcds.MemberLevel: &cpcds.Member{},
		cpcds.CoverageLevel: &cpcds.Coverage{}, cpcds.ProviderLevel: &cpcds.Provider{}, cpcds.OrganizationLevel: &cpcds.Organization{},
	} {
		var list []cpcds.Element
		for e := range cpcds.NumElements {
			if e.Info().Level == level {
				list = append(list, e)
				r.Set(e, e.Info().Name)
			}
		}
		if len(list) == 0 {
			t.Errorf("level %s has no elements", level)
		}
		for _, e := range list {
			if got := r.Get(e); got != e.Info().Name {
				t.Errorf("%s of level %s holds %q", e, level, got)
			}
		}
	}
}

// TestReset: a claim is used again, and nothing of the last one may show.
func TestReset(t *testing.T) {
	fill := func(c *cpcds.Claim) {
		c.Set(cpcds.ClaimType, "oral")
		c.Lines = append(c.Lines, cpcds.Line{})
		c.Diagnoses = append(c.Diagnoses, cpcds.Diagnosis{})
		c.Procedures = append(c.Procedures, cpcds.Procedure{})
		c.CareTeam = append(c.CareTeam, cpcds.CareTeam{})
		c.Problems = append(c.Problems, cpcds.Problem{Rule: "x"})
		c.Refs.Patient, c.Refs.Payee, c.Refs.Providers[cpcds.Supervisor] = "Patient/p1", "Patient/p1", "Practitioner/r1"
		c.Refs.CareTeam = append(c.Refs.CareTeam, "Practitioner/r1")
	}
	var c cpcds.Claim
	fill(&c)
	c.Reset()
	if c.Header != (cpcds.Header{}) || len(c.Lines)+len(c.Diagnoses)+len(c.Procedures)+len(c.CareTeam)+len(c.Problems)+len(c.Refs.CareTeam) != 0 {
		t.Errorf("records are left: %+v", c)
	}
	if c.Refs.Patient != "" || c.Refs.Payee != "" || c.Refs.Providers != [cpcds.NumRoles]string{} {
		t.Errorf("references are left: %+v", c.Refs)
	}
	if n := testing.AllocsPerRun(10, func() { fill(&c); c.Reset() }); n >= 1 {
		t.Errorf("a claim that is used again allocates %v times", n)
	}
}

func TestRoles(t *testing.T) {
	for r := cpcds.Attending; r < cpcds.NumRoles; r++ {
		if got, ok := cpcds.ParseRole(r.String()); !ok || got != r {
			t.Errorf("ParseRole(%q) = %v, %v", r, got, ok)
		}
	}
	for _, code := range []string{"billing", "servicefacility", "supervising", ""} {
		if _, ok := cpcds.ParseRole(code); ok {
			t.Errorf("%q is accepted as a role of the care team", code)
		}
	}
}

func TestColumn(t *testing.T) {
	c := cpcds.Column{Index: []int32{1, -1, 0, 1}, Values: []string{"a", "b"}}
	for i, want := range []string{"b", "", "a", "b", ""} { // beyond its end a column has nothing
		if got := c.Value(i); got != want {
			t.Errorf("row %d holds %q, want %q", i, got, want)
		}
	}
	c = cpcds.Column{Dict: 7, Bad: []string{"x"}, Repaired: []string{"y"}}
	c.Reset()
	c.AppendPlain("a")
	c.AppendPlain("")
	c.AppendPlain("b")
	if c.Value(0) != "a" || c.Value(1) != "" || c.Value(2) != "b" || c.Index[1] != -1 || len(c.Values) != 2 {
		t.Errorf("appended values became %+v", c)
	}
	if c.Dict != 0 || c.Bad != nil || c.Repaired != nil {
		t.Errorf("Reset left %+v", c)
	}
}

func TestInputRow(t *testing.T) {
	for name, r := range map[string]struct {
		rows cpcds.Rows
		want []int64
	}{
		"flat":     {cpcds.Rows{First: 10, N: 3}, []int64{10, 11, 12}},
		"unfolded": {cpcds.Rows{First: 10, N: 4, Whole: []bool{true, false, true, false}}, []int64{10, 10, 11, 11}},
		"gathered": {cpcds.Rows{First: 10, N: 3, Numbers: []int64{40, 2, 2}}, []int64{40, 2, 2}},
	} {
		var got []int64
		for i := range r.rows.N {
			got = append(got, r.rows.InputRow(i))
		}
		if !slices.Equal(got, r.want) {
			t.Errorf("%s: got %v, want %v", name, got, r.want)
		}
	}
}

func TestBatchColumn(t *testing.T) {
	b := cpcds.Batch{Elements: []cpcds.Element{cpcds.LineNumber, cpcds.ClaimType}, Columns: make([]cpcds.Column, 2)}
	if b.Column(cpcds.ClaimType) != &b.Columns[1] {
		t.Error("a bound element has another column")
	}
	if b.Column(cpcds.ToothNumber) != nil {
		t.Error("an element that is not bound has a column")
	}
}
