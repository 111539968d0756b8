package layouts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/schemas/cpcds"
)

// csvFiles returns the files of a folder by their columns.
func csvFiles(t testing.TB, dir string) []File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no CSV files: %v", err)
	}
	var out []File
	for _, p := range paths {
		fields, _ := readCSV(t, p)
		out = append(out, File{Path: filepath.Base(p), Fields: fields})
	}
	return out
}

// TestDialects recognises every form that the exporter has had, or says why not.
func TestDialects(t *testing.T) {
	root := shared(t, "data", "synthea-cpcds")
	f := func(dir string, want map[string]cpcds.Table) {
		t.Helper()
		files := csvFiles(t, filepath.Join(root, dir))
		r, err := Recognise(Builtins(), files)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			return
		}
		if r.Layout.Name != "synthea" || r.Why == "" {
			t.Errorf("%s is taken for %s", dir, r.Layout.Name)
		}
		got := map[string]cpcds.Table{}
		for i, x := range files {
			got[x.Path] = r.Files[i].Tables[0].Table
			m := r.Layout.Match(r.Files[i].Tables[0].Table, x.Path, x.Fields)
			if !m.NameHint || len(m.Unknown) > 0 {
				t.Errorf("%s/%s: name hint %v, unknown columns %q", dir, x.Path, m.NameHint, m.Unknown)
			}
			if _, err := r.Layout.Bind(r.Files[i].Tables[0].Table, x.Fields, Options{Lenient: true}); err != nil {
				t.Errorf("%s/%s: %v", dir, x.Path, err)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", dir, d)
		}
	}
	current := map[string]cpcds.Table{"CPCDS_Claims.csv": cpcds.Claims, "CPCDS_Coverages.csv": cpcds.Coverages,
		"CPCDS_Members.csv": cpcds.Members, "Organizations.csv": cpcds.Organizations, "PractitionerRoles.csv": cpcds.Providers}
	f("csv", current)
	f("dialects/engine-2.7.0", current)
	f("dialects/engine-3.1.0", current)
	f("dialects/cpcds-2020-07-fork", current)
	f("dialects/cpcds-2020-09-fork", map[string]cpcds.Table{"CPCDS_Claims.csv": cpcds.Claims, "CPCDS_Coverages.csv": cpcds.Coverages,
		"CPCDS_Members.csv": cpcds.Members, "Organizations.csv": cpcds.Organizations, "Practitioners.csv": cpcds.Providers})

	refused := func(dir, why string) {
		t.Helper()
		if _, err := Recognise(Builtins(), csvFiles(t, filepath.Join(root, dir))); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	refused("dialects/cpcds-2019-11", `refused because of the column "Claim sub type"`)
	refused("dialects/cpcds-2020-02", `refused because of the column "Claim type code"`)
	refused("dialects/cpcds-2020-04", `refused because of the column "Claim type code"`)

	// Bind says all that is wrong.
	l, err := Open("synthea")
	if err != nil {
		t.Fatal(err)
	}
	fields, _ := readCSV(t, filepath.Join(root, "dialects/cpcds-2020-02/CPCDS_Coverages.csv"))
	_, err = l.Bind(cpcds.Coverages, fields, Options{})
	for _, want := range []string{`no column for coverage_id, which is "Coverage id"`, "no column for member_id (CPCDS 1)", `the closest is`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("coverages of 2020-02: %v does not say %s", err, want)
		}
	}
}

// TestParquetBinds binds the columns of every Parquet file, the nested one too.
func TestParquetBinds(t *testing.T) {
	dir := shared(t, "data", "synthea-cpcds", "parquet")
	paths, err := filepath.Glob(filepath.Join(dir, "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	var files []File
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		pf, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true))
		if err != nil {
			t.Fatal(err)
		}
		file := File{Path: filepath.Base(p)}
		for _, c := range pf.Schema().Columns() {
			field := cpcds.Field{Name: c[len(c)-1]}
			if len(c) > 1 {
				field.Group = c[0]
			}
			file.Fields = append(file.Fields, field)
		}
		files = append(files, file)
		f.Close()
	}
	r, err := Recognise(Builtins(), files)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		want := cpcds.Claims
		for name, table := range map[string]cpcds.Table{"members": cpcds.Members, "coverages": cpcds.Coverages, "organizations": cpcds.Organizations, "practitioner_roles": cpcds.Providers} {
			if strings.HasPrefix(f.Path, name) {
				want = table
			}
		}
		if got := r.Files[i].Tables[0].Table; got != want {
			t.Errorf("%s is taken for %s", f.Path, got)
		}
		if m := r.Layout.Match(want, f.Path, f.Fields); !m.Fits || len(m.Unknown) > 0 {
			t.Errorf("%s: %+v", f.Path, m)
		}
	}
}

// convertFile converts a whole file and returns, for each element, how often each
// rule was broken and each repair was made, and the values.
func convertFile(t testing.TB, table cpcds.Table, file string, o Options) (counts map[string]int, batch *cpcds.Batch) {
	t.Helper()
	l, err := Open("synthea")
	if err != nil {
		t.Fatal(err)
	}
	fields, rows := readCSV(t, file)
	b, err := l.Bind(table, fields, o)
	if err != nil {
		t.Fatal(err)
	}
	batch, counts = &cpcds.Batch{}, map[string]int{}
	b.Convert(batch, pick(encoded(rows, 1), b.Source()))
	for i, el := range batch.Elements {
		c := &batch.Columns[i]
		for _, k := range c.Index {
			if k < 0 {
				continue
			}
			if c.Bad != nil && c.Bad[k] != "" {
				counts[el.Column()+" "+c.Bad[k]]++
			}
			if c.Repaired != nil && c.Repaired[k] != "" {
				counts[el.Column()+" "+c.Repaired[k]]++
			}
		}
	}
	return counts, batch
}

// TestSyntheaClaims converts all rows of the extract. The numbers are those that
// were counted in it by other means.
func TestSyntheaClaims(t *testing.T) {
	file := filepath.Join(shared(t, "data", "synthea-cpcds", "csv"), "CPCDS_Claims.csv")
	counts, _ := convertFile(t, cpcds.Claims, file, Options{})
	if len(counts) != 0 {
		t.Errorf("strict reading broke rules or repaired: %v", counts)
	}
	counts, batch := convertFile(t, cpcds.Claims, file, Options{Lenient: true})
	want := map[string]int{
		"admission_type_code codes-mapped":                     6165,
		"patient_discharge_status_code codes-mapped":           6165,
		"point_of_origin_code origin-dropped":                  6165,
		"claim_benefit_payment_status benefit-from-network":    6165,
		"line_benefit_payment_status benefit-from-network":     6165,
		"claim_payment_status_code payment-status-from-amount": 6165,
		"national_drug_code rxnorm-as-text":                    1200,
		"diagnosis_code codes-mapped":                          counts["diagnosis_code codes-mapped"],
		"procedure_code codes-mapped":                          counts["procedure_code codes-mapped"],
	}
	if d := cmp.Diff(want, counts); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	share := func(el cpcds.Element, value string) int {
		n := 0
		c := batch.Column(el)
		for i := range batch.N {
			if c.Value(i) == value {
				n++
			}
		}
		return n
	}
	for _, x := range []struct {
		el    cpcds.Element
		value string
		rows  int
	}{
		{cpcds.ClaimType, "institutional", 4652 + 1042},
		{cpcds.ClaimType, "pharmacy", 356},
		{cpcds.ClaimSubType, "outpatient", 1042},
		{cpcds.ClaimSubType, "", 356 + 115},
		{cpcds.ClaimTypeOfBillCode, "0852", 2149},
		{cpcds.ServiceToDate, "1970-01-01", 0},
		{cpcds.ServiceToDate, "", 6165 - 3577},
		{cpcds.NationalDrugCode, "", 6165},
		{cpcds.DrugDescription, "", 6165 - 1200},
		{cpcds.PlanReportedBrandGenericCode, "G", 619},
		{cpcds.ClaimPaymentStatusCode, "paid", 6165 - 280},
		{cpcds.DiagnosisCodeType, "", 6165},
		{cpcds.BillingProviderNetworkStatus, "innetwork", 2905},
		{cpcds.ClaimTotalDiscountAmount, "0.00", 6165},
	} {
		if got := share(x.el, x.value); got != x.rows {
			t.Errorf("%s is %q on %d rows, not %d", x.el, x.value, got, x.rows)
		}
	}
}

// TestSyntheaSmallTables converts the small tables of all dialects that bind.
func TestSyntheaSmallTables(t *testing.T) {
	root := shared(t, "data", "synthea-cpcds")
	for _, dir := range []string{"csv", "dialects/engine-2.7.0", "dialects/engine-3.1.0", "dialects/cpcds-2020-07-fork", "dialects/cpcds-2020-09-fork"} {
		r, err := Recognise(Builtins(), csvFiles(t, filepath.Join(root, dir)))
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range csvFiles(t, filepath.Join(root, dir)) {
			counts, batch := convertFile(t, r.Files[i].Tables[0].Table, filepath.Join(root, dir, f.Path), Options{})
			if len(counts) > 0 {
				t.Errorf("%s/%s: %v", dir, f.Path, counts)
			}
			closed := map[cpcds.Element][]string{
				cpcds.MembersGenderCode:       {"male", "female"},
				cpcds.MembersState:            {"UT", "MA"},
				cpcds.MembersEthnicity:        {"2135-2", "2186-5"},
				cpcds.MembersRaceCode:         {"2106-3", "2054-5", "2028-9", "1002-5", "2076-8", "UNK"},
				cpcds.CoveragesCoverageStatus: {"active", "cancelled"},
			}
			for j, el := range batch.Elements {
				for row := range batch.N {
					v := batch.Columns[j].Value(row)
					if allowed := closed[el]; allowed != nil && !slices.Contains(allowed, v) {
						t.Errorf("%s/%s, row %d: %s is not in its value set", dir, f.Path, row+1, el)
					}
					if el == cpcds.MembersMemberFamilyName && (v == "" || strings.Contains(v, " ")) {
						t.Errorf("%s/%s, row %d: the family name is not one word", dir, f.Path, row+1)
					}
				}
			}
		}
	}
}

// withoutEquivalent are codes of the diagnosis columns that are no diagnosis:
// procedures that one old dialect writes there, employment, education, referrals
// and suspicions, which no ICD-10-CM code means.
var withoutEquivalent = strings.Fields(`103697008 160903007 160904001 224299000 741062008 5251000175109 423315002
	266948004 424393004 160968000 446654005 162573006
	76601001 430193006 274474001 312681000 19490002 288086009 399208008 301807007 169553002`)

// TestDiagnosesAreMapped holds the table to 95 of 100 diagnosis rows.
func TestDiagnosesAreMapped(t *testing.T) {
	root := shared(t, "data", "synthea-cpcds")
	src, err := builtin.ReadFile("builtin/snomed_icd10cm.csv")
	if err != nil {
		t.Fatal(err)
	}
	table, findings := readCodeMap("snomed_icd10cm.csv", src)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	for from, to := range table {
		if len(to) < 3 || to[0] < 'A' || to[0] > 'Z' || len(to) > 3 && (to[3] != '.' || len(to) < 5 || len(to) > 8) || slices.Contains(withoutEquivalent, from) {
			t.Errorf("%s is mapped to %q", from, to)
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "*", "*Claims.csv"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(root, "dialects", "*", "*Claims.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, mapped := 0, 0
	for _, file := range append(files, more...) {
		fields, r := readCSV(t, file)
		for i, f := range fields {
			switch f.Name {
			case "Diagnosis code", "Diagnosis code - 1", "Diagnosis code - 2":
			default:
				continue
			}
			for row := range r.N {
				v := r.Columns[i].Value(row)
				if v == "" || slices.Contains(withoutEquivalent, v) {
					continue
				}
				rows++
				if _, ok := table[v]; ok {
					mapped++
				}
			}
		}
	}
	t.Logf("%d of %d diagnosis rows are mapped", mapped, rows)
	if rows == 0 || mapped*100 < rows*95 {
		t.Errorf("only %d of %d diagnosis rows are mapped", mapped, rows)
	}
}

// TestPayersAreNamed compares the constants with the list of payers.
func TestPayersAreNamed(t *testing.T) {
	fields, rows := readCSV(t, filepath.Join(shared(t, "data", "synthea-cpcds"), "payers.csv"))
	if fields[0].Name != "Id" || fields[1].Name != "NAME" {
		t.Fatalf("payers.csv has the columns %v", fields)
	}
	l, err := Open("synthea")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, row := range l.Constants[cpcds.Organizations] {
		names[row[cpcds.OrganizationsOrganizationPayerIdentifier]] = row[cpcds.OrganizationsOrganizationName]
	}
	for i := range rows.N {
		if id, want := rows.Columns[0].Value(i), rows.Columns[1].Value(i); names[id] != want {
			t.Errorf("payer in row %d is called %q, not %q", i+1, names[id], want)
		}
	}
}
