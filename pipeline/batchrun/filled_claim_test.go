package batchrun_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// filledClaim is an extract of one claim in which every column that can stand
// beside the others is filled.
type filledClaim struct {
	name    string
	profile carin.Profile
	set     map[string]string // columns of the claims table that differ from the rest
	empty   func(cpcds.Element) bool
	only    func(cpcds.Element) bool // the columns that the case is about; nil: all
}

func headerAmount(e cpcds.Element) bool {
	return slices.ContainsFunc(carin.Amounts[:], func(a carin.Amount) bool { return a.Header == e })
}

func lineAmount(e cpcds.Element) bool {
	return slices.ContainsFunc(carin.Amounts[:], func(a carin.Amount) bool { return a.Line == e })
}

// ownBenefit and lineBenefit are the status of the claim and that of its lines.
func lineBenefit(e cpcds.Element) bool {
	return headerAmount(e) || e == cpcds.ClaimBenefitPaymentStatus
}

// filledClaims: amounts in the header and on the lines, on either alone, and what
// else excludes each other.
var filledClaims = func() []filledClaim {
	var list []filledClaim
	none := func(cpcds.Element) bool { return false }
	for _, k := range []struct {
		name, typ, sub string
		profile        carin.Profile
		set            map[string]string
	}{
		{"inpatient", "institutional", "inpatient", carin.Inpatient, nil},
		{"inpatient-icd9", "institutional", "inpatient", carin.Inpatient, map[string]string{"diagnosis_code_type": "icd9", "diagnosis_code": "250.00",
			"inpatient_procedure_code_type": "icd9", "inpatient_procedure_code": "36.10"}},
		{"newborn", "institutional", "inpatient", carin.Inpatient, map[string]string{"admission_type_code": "4", "point_of_origin_code": "5"}},
		{"outpatient", "institutional", "outpatient", carin.Outpatient, nil},
		{"professional", "professional", "", carin.Professional, nil},
		{"vision", "vision", "", carin.Professional, nil},
		{"pharmacy", "pharmacy", "", carin.Pharmacy, nil},
		{"compound", "pharmacy", "", carin.Pharmacy, map[string]string{"compound_code": "2"}},
		{"oral", "oral", "", carin.Oral, nil},
	} {
		set := map[string]string{"claim_type": k.typ, "claim_sub_type": k.sub}
		maps.Copy(set, k.set)
		list = append(list, filledClaim{k.name, k.profile, set, none, nil})
		if k.name != k.profile.String() {
			continue
		}
		priced := func(e cpcds.Element) bool {
			return headerAmount(e) || lineAmount(e) || e == cpcds.LineBenefitPaymentStatus || e.Info().HasMapID("92")
		}
		list = append(list, filledClaim{k.name + "-priced-by-line", k.profile, set, lineBenefit, priced})
		if k.profile == carin.Inpatient || k.profile == carin.Outpatient {
			list = append(list, filledClaim{k.name + "-priced-by-header", k.profile, set, lineAmount, priced})
		}
		if k.profile == carin.Oral { // an area is the body site of a line without a tooth
			list = append(list, filledClaim{k.name + "-area", k.profile, set, func(e cpcds.Element) bool { return e == cpcds.ToothNumber }, nil})
		}
		// Who is known by the payer's own numbers, and a payer that no table has.
		byID := maps.Clone(set)
		maps.Copy(byID, map[string]string{"coverage_id": "C5", "claim_payer_identifier": "P7", "billing_provider_id": "O1", "service_facility_id": "O2"})
		list = append(list, filledClaim{k.name + "-by-id", k.profile, byID, func(e cpcds.Element) bool {
			return e == cpcds.BillingProviderNPI || e == cpcds.ServiceFacilityNPI || e == cpcds.MembersDateOfDeath || e == cpcds.LineBenefitPaymentStatus || e == cpcds.DiagnosisType
		}, func(e cpcds.Element) bool {
			return e == cpcds.BillingProviderID || e == cpcds.ServiceFacilityID || e == cpcds.ClaimPayerName || e == cpcds.MembersDeceased ||
				e == cpcds.ClaimBenefitPaymentStatus || e == cpcds.IsECode
		}})
	}
	return list
}()

// values are what a column is filled with, and what it is changed to.
type values struct{ a, b string }

// npi makes a valid NPI of a number.
func npi(n int) string {
	for check := range 10 {
		if s := fmt.Sprintf("1%08d%d", n, check); carin.ValidNPI(s) {
			return s
		}
	}
	panic("no check digit fits")
}

// filling says how the columns of the profiles are filled where their kind alone
// does not say.
func filling(p carin.Profile) map[string]values {
	v := map[string]values{
		"claim_type": {}, "claim_sub_type": {},
		"member_id": {"M1", ""}, "coverage_id": {"C1", "C2"}, "other_coverage_id": {"C3", "C4"}, "claim_payer_identifier": {"P1", ""},
		"claim_type_of_bill_code": {"0111", "0131"}, "claim_processing_status_code": {"active", "cancelled"},
		"statement_from_date": {"2024-03-01", "2024-03-02"}, "statement_thru_date": {"2024-03-20", "2024-03-21"},
		"adjudication_date": {"2024-03-25", "2024-03-26"}, "claim_received_date": {"2024-03-22", "2024-03-23"}, "claim_paid_date": {"2024-03-28", "2024-03-29"},
		"member_admission_date": {"2024-03-03", "2024-03-04"}, "member_discharge_date": {"2024-03-18", "2024-03-19"},
		"service_from_date": {"2024-03-05", "2024-03-06"}, "service_to_date": {"2024-03-15", "2024-03-16"},
		"inpatient_procedure_date": {"2024-03-07", "2024-03-08"}, "orthodontics_appliance_date": {"2024-01-07", "2024-01-08"}, "prior_prosthesis_date": {"2020-01-07", "2020-01-08"},
		"claim_payment_status_code": {"paid", "denied"}, "claim_payment_denial_code": {"45", "96"}, "claim_remittance_remark_code": {"N130", "M15"},
		"line_payment_denial_code": {"50", "97"}, "line_remittance_remark_code": {"N115", "M20"},
		"claim_benefit_payment_status": {"innetwork", "other"}, "line_benefit_payment_status": {"outofnetwork", "innetwork"},
		"claim_payee_type_code": {"other", "subscriber"}, "claim_payee": {"PAYEE-1", "PAYEE-2"}, "claim_payee_relationship": {"SPS", "CHILD"},
		"point_of_origin_code": {"1", "2"}, "admission_type_code": {"1", "2"}, "patient_discharge_status_code": {"01", "20"},
		"drg_code": {"470", "471"}, "drg_version": {"v41", "v42"}, "drg_name": {"MS-DRG", "APR-DRG"},
		"billing_provider_network_status": {"innetwork", "outofnetwork"}, "performing_provider_network_status": {"innetwork", "outofnetwork"},
		"performing_provider_taxonomy": {"207R00000X", "208D00000X"}, "care_team_provider_taxonomy": {"363L00000X", "367A00000X"},
		"orthodontics_treatment_indicator": {"true", "false"}, "prosthesis_replacement_indicator": {"true", "false"},
		"missing_tooth_numbers": {"3", "4"}, "line_number": {"1", "11"}, "revenue_center_code": {"0450", "0250"},
		"procedure_code": {"99213", "A0428"}, "procedure_modifier_code_1": {"25", "GT"}, "procedure_modifier_code_2": {"26", "LT"},
		"procedure_modifier_code_3": {"59", "RT"}, "procedure_modifier_code_4": {"76", "TC"}, "place_of_service_code": {"11", "22"},
		"national_drug_code": {"00093105801", "00093105805"}, "compound_code": {"0", "1"}, "compound_parent_line_number": {}, "quantity_qualifier_code": {"EA", "ML"},
		"daw_product_selection_code": {"0", "1"}, "prescription_origin_code": {"1", "2"}, "plan_reported_brand_generic_code": {"B", "G"},
		"tooth_number": {"14", "15"}, "oral_cavity_area": {"10", "20"}, "tooth_surface": {"M", "O"}, "additional_tooth_numbers": {"12", "13"}, "ambulance_transport_reason_code": {"A", "B"},
		"diagnosis_code": {"E11.9", "I10"}, "diagnosis_code_type": {"icd10", "masked"}, "diagnosis_type": {"principal", "other"}, "present_on_admission": {"Y", "N"},
		"is_e_code": {"true", "false"}, "inpatient_procedure_code": {"0SRC0J9", "0SRD0J9"}, "inpatient_procedure_code_type": {"icd10", "icd9"}, "inpatient_procedure_type": {"principal", "other"},
		"care_team_role": {"otheroperating", "attending"},
	}
	switch p {
	case carin.Professional, carin.Oral:
		v["care_team_role"] = values{"purchasedservice", "referring"}
		v["diagnosis_type"] = values{"secondary", "principal"}
	case carin.Pharmacy:
		v["care_team_role"] = values{"prescribing", "primary"}
		v["line_payment_denial_code"] = values{"70", "75"}
	}
	if p == carin.Oral {
		v["procedure_code"] = values{"D2740", "D1110"}
	}
	return v
}

// fill returns how a column is filled and what it is changed to.
func (f *filledClaim) fill(e cpcds.Element, special map[string]values) values {
	name, n := e.Column(), int(e)
	if v, ok := f.set[name]; ok {
		// What has no other value here would change what else is valid.
		other := map[string]string{"250.00": "401.9", "36.10": "36.11", "5": "6", "O1": "O3", "O2": "O4"}[v]
		return values{v, other}
	}
	if v, ok := special[name]; ok {
		return v
	}
	switch e.Info().Kind {
	case cpcds.NPIKind:
		return values{npi(n), npi(n + 5000)}
	case cpcds.MoneyKind:
		return values{fmt.Sprintf("%d.11", 100+n), fmt.Sprintf("%d.22", 100+n)}
	case cpcds.QuantityKind:
		return values{strconv.Itoa(1000 + n), strconv.Itoa(3000 + n)}
	case cpcds.InstantKind:
		return values{"2024-04-01T08:00:00Z", "2024-04-02T09:00:00Z"}
	case cpcds.DateKind:
		return values{"2024-02-01", "2024-02-02"}
	case cpcds.FlagKind:
		return values{"true", "false"}
	}
	return values{"of " + name, "other " + name}
}

// small are the rows of the small tables. The first row of each is changed.
func small(t cpcds.Table) []map[string]values {
	const day, later = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"
	member := func(id string) map[string]values {
		return map[string]values{"member_id": {id, ""}, "member_family_name": {"Family " + id, "Other"}, "member_last_updated_date": {day, later}, "gender_code": {"female", "male"}}
	}
	coverage := func(id, payer string) map[string]values {
		return map[string]values{"coverage_id": {id, ""}, "member_id": {"M1", ""}, "payer_identifier": {payer, ""}, "subscriber_id": {"S-" + id, "S2"},
			"coverage_status": {"active", "cancelled"}, "relationship_to_subscriber": {"child", "spouse"}, "coverage_last_updated_date": {day, later}}
	}
	payer := func(id string) map[string]values {
		return map[string]values{"organization_payer_identifier": {id, ""}, "organization_name": {"Payer " + id, "Other"}, "organization_last_updated_date": {day, later}}
	}
	var rows []map[string]values
	switch t {
	case cpcds.Members:
		first := member("M1")
		maps.Copy(first, map[string]values{"date_of_birth": {"1970-01-02", "1970-01-03"}, "date_of_death": {"2024-05-01", "2024-05-02"}, "deceased": {"true", "false"}, "birth_sex": {"F", "M"},
			"race_code": {"2106-3", "2054-5"}, "ethnicity": {"2186-5", "2135-2"}, "state": {"NC", "UT"}, "zip_code": {"27601", "84101"}, "country": {"US", "CA"},
			"address_begin_date": {"2020-01-01", "2020-01-02"}, "address_end_date": {"2030-01-01", "2030-01-02"}, "unique_member_id": {"U1", "U2"}})
		rows = []map[string]values{first, member("M2")}
	case cpcds.Coverages:
		first := coverage("C1", "P1")
		maps.Copy(first, map[string]values{"start_date": {"2020-01-01", "2020-01-02"}, "end_date": {"2030-01-01", "2030-01-02"}, "coverage_type": {"2", "21"}, "dependent_number": {"01", "02"}})
		rows = []map[string]values{first, coverage("C2", "P1"), coverage("C3", "P2"), coverage("C4", "P3"), coverage("C5", "P7")}
	case cpcds.Providers:
		rows = []map[string]values{{"provider_npi": {npi(90001), npi(90002)}, "provider_taxonomy": {"207R00000X", "208D00000X"}, "provider_state": {"NC", "UT"},
			"provider_last_updated_date": {day, later}, "provider_tax_id": {"123456789", "123456780"}}}
	case cpcds.Organizations:
		facility := map[string]values{"organization_npi": {npi(91001), npi(91002)}, "organization_last_updated_date": {day, later}, "organization_active": {"true", "false"},
			"organization_naic_code": {"12345", "12346"}, "organization_state": {"NC", "UT"}, "organization_payer_identifier": {"P9", "P8"}, "organization_country": {"US", "CA"}}
		rows = []map[string]values{facility, payer("P1"), payer("P2"), payer("P3")}
		for _, id := range []string{"O1", "O2", "O3", "O4"} {
			rows = append(rows, map[string]values{"organization_id": {id, ""}, "organization_name": {"Organization " + id, ""}, "organization_last_updated_date": {day, later}})
		}
	}
	for _, e := range cpcds.Columns(t) {
		if _, ok := rows[0][e.Column()]; !ok {
			rows[0][e.Column()] = (&filledClaim{}).fill(e, nil)
		}
	}
	return rows
}

// renamed are keys of the small tables: to change one is to rename it in all tables.
var renamed = map[cpcds.Element]string{cpcds.MembersMemberID: "M1", cpcds.CoveragesMemberID: "M1", cpcds.CoveragesCoverageID: "C1",
	cpcds.CoveragesPayerIdentifier: "P1", cpcds.ClaimPayerIdentifier: "P1", cpcds.MemberID: "M1"}

// untried are columns that no experiment changes alone, as another profile or
// another claim would come of it.
var untried = map[string]string{
	"claims,claim_type,inpatient":                               "ExplanationOfBenefit.meta.profile ExplanationOfBenefit.type.coding.code",
	"claims,claim_type,outpatient":                              "ExplanationOfBenefit.meta.profile ExplanationOfBenefit.type.coding.code",
	"claims,claim_type,professional":                            "ExplanationOfBenefit.meta.profile ExplanationOfBenefit.type.coding.code",
	"claims,claim_type,pharmacy":                                "ExplanationOfBenefit.meta.profile ExplanationOfBenefit.type.coding.code",
	"claims,claim_type,oral":                                    "ExplanationOfBenefit.meta.profile ExplanationOfBenefit.type.coding.code",
	"claims,claim_sub_type,inpatient":                           "ExplanationOfBenefit.meta.profile ExplanationOfBenefit.subType.coding.code",
	"claims,claim_sub_type,outpatient":                          "ExplanationOfBenefit.meta.profile ExplanationOfBenefit.subType.coding.code",
	"claims,compound_parent_line_number,pharmacy":               "ExplanationOfBenefit.item.detail",
	"claims,inpatient_procedure_code_type,inpatient":            "ExplanationOfBenefit.procedure.procedureCodeableConcept.coding.system",
	"organizations,organization_payer_identifier,organizations": "Organization.id Organization.identifier[payerid].value",
}

// extract writes the tables with one value changed.
func (f *filledClaim) extract(t *testing.T, changed cpcds.Element) string {
	t.Helper()
	dir := t.TempDir()
	write := func(table cpcds.Table, rows [][]string) {
		for _, row := range rows {
			for i := range row {
				if old := renamed[changed]; old != "" && row[i] == old {
					row[i] += "-renamed"
				}
			}
		}
		writeTable(t, dir, table, rows)
	}
	for table := range cpcds.Claims {
		write(table, f.smallRows(table, changed))
	}
	write(cpcds.Claims, f.lines(func(e cpcds.Element, v values) string {
		if e == changed && renamed[e] == "" {
			return v.b
		}
		return v.a
	}))
	return dir
}

// smallRows are the rows of a small table, with one value changed.
func (f *filledClaim) smallRows(table cpcds.Table, changed cpcds.Element) [][]string {
	var rows [][]string
	for i, row := range small(table) {
		var cells []string
		for _, e := range cpcds.Columns(table) {
			v := row[e.Column()]
			if i == 0 && f.empty(e) {
				v.a = ""
			}
			if i == 0 && e == changed && renamed[e] == "" {
				v.a = v.b
			}
			cells = append(cells, v.a)
		}
		rows = append(rows, cells)
	}
	return rows
}

// writeTable writes a table as CSV with its canonical header.
func writeTable(t *testing.T, dir string, table cpcds.Table, rows [][]string) {
	t.Helper()
	var header []string
	for _, e := range cpcds.Columns(table) {
		header = append(header, e.Column())
	}
	var b bytes.Buffer
	if err := csv.NewWriter(&b).WriteAll(append([][]string{header}, rows...)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, table.String()+".csv"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lines are the rows of the claim, each column with the value that choose gives.
func (f *filledClaim) lines(choose func(e cpcds.Element, v values) string) [][]string {
	special := filling(f.profile)
	var line, second []string
	number := ""
	for _, e := range cpcds.Columns(cpcds.Claims) {
		v := f.fill(e, special)
		if f.empty(e) {
			v = values{}
		}
		cell := choose(e, v)
		line = append(line, cell)
		switch {
		case e.Info().Level == cpcds.HeaderLevel:
		case e == cpcds.LineNumber:
			number, cell = cell, "2"
		case e == cpcds.CompoundParentLineNumber:
			cell = number
		case e == cpcds.NationalDrugCode, e == cpcds.QuantityDispensed, e == cpcds.QuantityQualifierCode, e == cpcds.DrugDescription:
		default:
			cell = ""
		}
		second = append(second, cell)
	}
	if f.name == "compound" {
		return [][]string{line, second}
	}
	return [][]string{line}
}
