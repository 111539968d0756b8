package layouts

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/cpcds"
)

func TestInfer(t *testing.T) {
	got := string(Infer("My Extract!", []Sample{
		{
			Path:   "claims_2024.csv",
			Fields: fieldsOf("CLAIM_UNIQUE_IDENTIFYER", "Member ID", "Line Number", "Service From Date", "Line Payment Amount", "Line Copay Amount", "Claim paid date", "WEIRD: \"one\""),
			Values: [][]string{{"1"}, {"~", "M1"}, {"1"}, {"01/31/2024", "12/31/9999"}, {"0001250-", "0000100"}, {"1.5000000001"}, {"03/04/2024"}},
		},
		{Path: "members.csv", Fields: fieldsOf("member_id", "gender_code", "date_of_birth"), Values: [][]string{{"M1"}, {"M", "F"}, {"2024-01-01"}}},
	}))
	want := `# Proposed from the headers and some values. Read it line by line: what is marked
# "guess" is one. Then run "layout check" on it.
layout: my-extract
about: proposed from 2 files
# Texts that were seen where nothing seems to be meant.
null: ["~"]
tables:
  members:
    files: ["members.csv"]
    key: [member_id]
    columns:
      member_id: "member_id"
      date_of_birth: "date_of_birth"
      gender_code: {from: ["gender_code"], map: {M: male, F: female, U: unknown}}
  claims:
    files: ["claims_2024.csv"]
    key: [claim_unique_identifier]
    columns:
      claim_unique_identifier: "CLAIM_UNIQUE_IDENTIFYER" # guess: the header is like claim_unique_identifier
      member_id: "Member ID"
      claim_paid_date: {from: ["Claim paid date"], formats: [MM/DD/YYYY]} # guess: DD/MM/YYYY would fit too
      line_number: "Line Number"
      service_from_date: {from: ["Service From Date"], null: ["12/31/9999"], formats: [MM/DD/YYYY]} # guess: these days mean that there is none
      line_copay_amount: {from: ["Line Copay Amount"], round: 2} # guess: more decimal places than cents
      line_payment_amount: {from: ["Line Payment Amount"], sign: trailing, decimals: 2} # guess: padded digits without a point hold cents
    # Bind these or say why they are not needed.
    ignore:
      "WEIRD: \"one\"": not bound yet, no element looks like it
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	compileText(t, got)
}

// TestInferredLayoutsCompile infers layouts for every folder of the extract and
// binds the files they were made from.
func TestInferredLayoutsCompile(t *testing.T) {
	root := shared(t, "data", "synthea-cpcds")
	dirs, err := filepath.Glob(filepath.Join(root, "dialects", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range append(dirs, filepath.Join(root, "csv")) {
		var samples []Sample
		for _, f := range csvFiles(t, dir) {
			_, rows := readCSV(t, filepath.Join(dir, f.Path))
			s := Sample{Path: f.Path, Fields: f.Fields}
			for i := range f.Fields {
				var values []string
				for row := range min(rows.N, 100) {
					values = append(values, rows.Columns[i].Value(row))
				}
				s.Values = append(s.Values, values)
			}
			samples = append(samples, s)
		}
		yaml := string(Infer(filepath.Base(dir), samples))
		l := compileText(t, yaml)
		for _, s := range samples {
			if strings.Contains(s.Path, "Claims") {
				b, err := l.Bind(cpcds.Claims, s.Fields, Options{})
				if err != nil {
					t.Errorf("%s: %v", filepath.Base(dir), err)
				} else if len(b.Elements()) < 40 {
					t.Errorf("%s: only %d elements of claims are bound", filepath.Base(dir), len(b.Elements()))
				}
			}
		}
	}
}
