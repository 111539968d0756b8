package layouts

import (
	"strings"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

// TestHeaderless: where a row stands in the place of the header, nothing repeats it.
func TestHeaderless(t *testing.T) {
	own, err := Open("cpcds")
	if err != nil {
		t.Fatal(err)
	}
	rows := [][]cpcds.Field{
		fieldsOf("M-Secret", "Smith Secret", "1980-01-31"),
		fieldsOf("membr_ids", "Smith Secret", "Smith Secret"), // near a header by chance
		{{Name: "M-Secret"}, {Name: "column 2", Fault: cpcds.Unnamed}},
	}
	for _, fields := range rows {
		files := []File{{"in/members.csv", fields}}
		if !Headerless(fields) {
			t.Errorf("%v is taken for a header", fields)
		}
		_, recognised := Recognise(Builtins(), files)
		_, assigned := own.Assign(files)
		_, bound := own.Bind(cpcds.Members, fields, Options{})
		for _, err := range []error{recognised, assigned, bound} {
			if err == nil || strings.Contains(err.Error(), "Secret") || strings.Contains(err.Error(), "membr_ids") {
				t.Errorf("got %v", err)
			} else if !strings.Contains(err.Error(), "the first line of the file does not look like a header") {
				t.Errorf("it is not said that there may be no header: %v", err)
			}
		}
		for i, u := range own.Fit(files).Files[0].Unknown {
			if want := []string{"column 1", "column 2", "column 3"}[i]; u.Header != want || u.Nearest != "" {
				t.Errorf("got %+v, want %s", u, want)
			}
		}
	}
	for _, names := range [][]string{
		{"C77001", "M99812", "M99812", "STATE", "active", "self", "2024-03-20"},
		{"9TT0FK0XX01", "DOE", "JANE", "City", "F", "12 ELM ST", "County", "Zip"},
		{"JANEDOE", "SMITHSON", "FEMALE", "NAME"},
		{"member_id", "member_id"},
	} {
		if KnowsHeader(fieldsOf(names...)) {
			t.Errorf("%q is taken for a header", names)
		}
	}
	for _, names := range [][]string{
		{"member_id", "last_name", "first_name"},
		{"DESYNPUF_ID", "BENE_BIRTH_DT", "BENE_DEATH_DT", "SP_STATE_CODE", "SP_ALZHDMTA"},
		{"Member", "Date of birth", "Gender", "x", "y"},
	} {
		if !KnowsHeader(fieldsOf(names...)) {
			t.Errorf("%q is taken for a row", names)
		}
	}
	known := fieldsOf("member_id", "x", "x")
	if Headerless(known) {
		t.Error("a header with a column that is known is none")
	}
	_, err = own.Bind(cpcds.Members, fieldsOf("member_id", "member_id"), Options{})
	if err == nil || !strings.Contains(err.Error(), `there are two columns "member_id"`) {
		t.Errorf("got %v", err)
	}
}
