package layouts

import (
	"os"
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
	want := `# Proposed from the headers and some values. Review every line, above all those marked
# "guess". Then run "layout check" on it.
layout: my-extract
about: proposed from 2 files
# Examples: replace them with your own, because apps tell identifiers apart by them.
systems:
  claim: https://example.org/my-extract/claim
  member: https://example.org/my-extract/member
  unique_member: https://example.org/my-extract/unique-member
  payer: https://example.org/my-extract/payer
# Texts that seem to mean a missing value.
null: ["~"]
tables:
  members:
    files: ["members.csv"]
    required: [member_id]
    key: [member_id]
    # Still to be bound, or set with const: member_last_updated_date.
    columns:
      member_id: "member_id"
      date_of_birth: "date_of_birth"
      gender_code: {from: ["gender_code"], map: {M: male, F: female, U: unknown}}
  claims:
    files: ["claims_2024.csv"]
    required: [claim_unique_identifier, member_id]
    key: [claim_unique_identifier]
    # Still to be bound, or set with const: claim_type, claim_last_updated_date, claim_processing_status_code, adjudication_date, billing_provider_npi, statement_from_date, claim_benefit_payment_status, procedure_code, diagnosis_code.
    columns:
      claim_unique_identifier: "CLAIM_UNIQUE_IDENTIFYER" # guess
      member_id: "Member ID"
      claim_paid_date: {from: ["Claim paid date"], formats: [MM/DD/YYYY]} # guess: DD/MM/YYYY would fit too
      line_number: "Line Number"
      service_from_date: {from: ["Service From Date"], null: ["12/31/9999"], formats: [MM/DD/YYYY]} # guess: these dates mean a missing value
      line_copay_amount: {from: ["Line Copay Amount"], round: 2} # guess: more decimal places than cents
      line_payment_amount: {from: ["Line Payment Amount"], sign: trailing, decimals: 2} # guess: padded digits without a point hold cents
    # Bind these, or say why they are not needed.
    ignore:
      "WEIRD: \"one\"": "not bound yet: no values seen"
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
		if strings.Contains(yaml, "No column looks like the key") {
			// The coverages of 2019 and 2020 have neither an id nor a member.
			if l, _ := parseText(yaml, nil); l != nil {
				t.Errorf("%s: a table without a key compiles", filepath.Base(dir))
			}
			continue
		}
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

// fileOf makes a sample of a header and rows with pipes between.
func fileOf(path string, lines ...string) Sample {
	s := Sample{Path: path, Delimiter: "|", Fields: fieldsOf(strings.Split(lines[0], "|")...)}
	s.Values = make([][]string, len(s.Fields))
	for _, row := range lines[1:] {
		for i, v := range strings.Split(row, "|") {
			if v != "" {
				s.Values[i] = append(s.Values[i], v)
			}
		}
	}
	return s
}

// TestInferAbbreviations reads the headers of a Medicaid system.
func TestInferAbbreviations(t *testing.T) {
	got := string(Infer("mmis", []Sample{
		fileOf("members.txt", "Member ID|First Name|Last Name|DOB|Sex|Zip|Last Updated",
			"M1|Ann|Doe|01/31/1970|F|01730|03/21/2024"),
		fileOf("eligibility.txt", "Coverage ID|Member ID|Subscriber ID|Payer|Coverage Status|Relationship|Start Date|End Date|Last Updated",
			"C1|M1|M1|P1|A|self|01/21/2020|12/31/9999|03/21/2024"),
		fileOf("claims.txt", "Claim Unique ID|Recip ID|Cov ID|Clm Type|Stmt From Dt|Billing NPI|Line No|Svc From Dt|POS|Proc Code|Mod 1|Mod 2|Chrg Amt|Paid Amt|Dx 1|Dx 2|Clerk|Keyed",
			"2024001|M1|C1|P|03/21/2024|1234567893|1|03/21/2024|11|99213|25||0012500|0008000|J06.9|~|A7|03/22/2024",
			"2024002|M1|C1|P|03/22/2024|1234567893|1|03/22/2024|11|99214|25||0012500|0001000-|J06.9|Z23|A8|03/22/2024",
			"2024002|M1|C1|P|13/22/2024|1234567893|2|03/22/2024|11|99214|25||0012500|0001000-|J06.9|Z23|A8|03/22/2024"),
	}))
	want := `# Proposed from the headers and some values. Review every line, above all those marked
# "guess". Then run "layout check" on it.
layout: mmis
about: proposed from 3 files
# Examples: replace them with your own, because apps tell identifiers apart by them.
systems:
  claim: https://example.org/mmis/claim
  member: https://example.org/mmis/member
  unique_member: https://example.org/mmis/unique-member
  coverage: https://example.org/mmis/coverage
  payer: https://example.org/mmis/payer
csv: {delimiter: "|"}
# Texts that seem to mean a missing value.
null: ["~"]
tables:
  members:
    files: ["members.txt"]
    required: [member_id]
    key: [member_id]
    columns:
      member_id: "Member ID"
      member_family_name: "Last Name" # guess
      member_given_name: "First Name" # guess
      date_of_birth: {from: ["DOB"], formats: [MM/DD/YYYY]} # guess
      gender_code: {from: ["Sex"], map: {M: male, F: female, U: unknown}} # guess
      zip_code: "Zip"
      member_last_updated_date: {from: ["Last Updated"], formats: [MM/DD/YYYY]} # guess
  coverages:
    files: ["eligibility.txt"]
    required: [coverage_id, member_id]
    key: [coverage_id]
    columns:
      coverage_id: "Coverage ID"
      member_id: "Member ID"
      subscriber_id: "Subscriber ID"
      payer_identifier: "Payer"
      coverage_status: "Coverage Status" # its codes differ: add a map to active, cancelled, draft, entered-in-error
      start_date: {from: ["Start Date"], formats: [MM/DD/YYYY]}
      end_date: {from: ["End Date"], null: ["12/31/9999"], formats: [MM/DD/YYYY]} # guess: these dates mean a missing value
      relationship_to_subscriber: "Relationship" # guess
      coverage_last_updated_date: {from: ["Last Updated"], formats: [MM/DD/YYYY]} # guess
  claims:
    files: ["claims.txt"]
    required: [claim_unique_identifier, member_id, coverage_id]
    key: [claim_unique_identifier]
    # Still to be bound, or set with const: claim_last_updated_date, claim_processing_status_code, adjudication_date, claim_benefit_payment_status.
    columns:
      claim_unique_identifier: "Claim Unique ID" # guess
      member_id: "Recip ID" # guess
      coverage_id: "Cov ID" # guess
      claim_type: "Clm Type" # guess; its codes differ: add a map to institutional, professional, vision, pharmacy, oral
      statement_from_date: {from: ["Stmt From Dt"], formats: [MM/DD/YYYY]} # guess; 1 of 3 values do not fit
      billing_provider_npi: "Billing NPI" # guess
      line_number: "Line No" # guess
      service_from_date: {from: ["Svc From Dt"], formats: [MM/DD/YYYY]} # guess
      procedure_code: "Proc Code" # guess
      procedure_modifier_code_1: "Mod 1" # guess
      procedure_modifier_code_2: "Mod 2" # guess; no values seen
      place_of_service_code: "POS" # guess
      line_submitted_amount: {from: ["Chrg Amt"], decimals: 2} # guess: or claim_total_submitted_amount; padded digits without a point hold cents
      line_payment_amount: {from: ["Paid Amt"], sign: trailing, decimals: 2} # guess; padded digits without a point hold cents
      diagnosis_code: {each: ["Dx 1", "Dx 2"]} # guess
    # Bind these, or say why they are not needed.
    ignore:
      "Clerk": "not bound yet: codes, 2 distinct"
      "Keyed": "not bound yet: dates MM/DD/YYYY"
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	compileText(t, got)
}

// TestInferInventsNothing proposes no column that is not there, and does not call the
// result good.
func TestInferInventsNothing(t *testing.T) {
	got := string(Infer("x", []Sample{fileOf("notes.txt", "colour|shape", "red|round")}))
	if strings.Contains(got, "claim_unique_identifier:") || !strings.Contains(got, "columns: {}") {
		t.Errorf("got %s", got)
	}
	if l, _ := parseText(got, nil); l != nil {
		t.Error("a layout without columns compiles")
	}
}

// TestGuessTakesNoColumnTwice and no element twice, whatever the headers are.
func TestGuessTakesNoColumnTwice(t *testing.T) {
	for table, v := range vocabularies() {
		var cols []seen
		for _, p := range v.phrases {
			cols = append(cols, seen{header: p.name})
		}
		used := map[int]bool{}
		for el, p := range guess(v, cols).bound {
			if len(p.columns) > 1 && !repeats(el) {
				t.Errorf("%s: %s has %d columns", cpcds.Table(table), el, len(p.columns))
			}
			for _, i := range p.columns {
				if used[i] {
					t.Errorf("%s: %q is bound twice", cpcds.Table(table), cols[i].header)
				}
				used[i] = true
			}
		}
	}
}

// TestInferRIF counts what is bound of the headers of Medicare's extracts.
func TestInferRIF(t *testing.T) {
	dir := shared(t, "data", "bfd-rif", "rif-synthea")
	for file, want := range map[string]int{"carrier.csv": 57, "inpatient.csv": 175, "pde.csv": 17} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitN(string(b), "\n", 200)
		s := fileOf(file, lines[:min(len(lines), 199)]...)
		if got := guessTable(s); got != cpcds.Claims {
			t.Errorf("%s is taken for %s", file, got)
		}
		g := guess(vocabularies()[cpcds.Claims], columnsOfSample(s))
		if len(g.used) < want {
			t.Errorf("%s: %d of %d columns are bound, it was %d", file, len(g.used), len(s.Fields), want)
		}
		if p := g.bound[cpcds.LineNumber]; p != nil && !strings.Contains(s.Fields[p.columns[0]].Name, "LINE_NUM") {
			t.Errorf("%s: line_number is %s", file, s.Fields[p.columns[0]].Name)
		}
	}
}
