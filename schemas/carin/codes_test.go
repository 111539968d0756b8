package carin_test

import (
	"strings"
	"testing"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// forms checks a predicate on codes that have its form and codes that do not.
func forms(t *testing.T, name string, valid func(string) bool, good, bad []string) {
	t.Helper()
	for _, s := range good {
		if !valid(s) {
			t.Errorf("%s refuses %q", name, s)
		}
	}
	for _, s := range bad {
		if valid(s) {
			t.Errorf("%s accepts %q", name, s)
		}
	}
}

func TestNPI(t *testing.T) {
	// 1234567893 is the worked example of the NPI check digit rule.
	forms(t, "ValidNPI", carin.ValidNPI,
		[]string{"1234567893", "1900000013", "1800000014"},
		[]string{"", "1234567890", "1234567894", "1243567893", "123456789", "12345678931", "910000000017", "123456789X", " 234567893"})

	// Of the ten check digits, one is right.
	n := 0
	for _, d := range "0123456789" {
		if carin.ValidNPI("155555555" + string(d)) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d check digits are right, want 1", n)
	}
}

func TestCodeForms(t *testing.T) {
	forms(t, "ValidICD10CM", carin.ValidICD10CM,
		[]string{"I10", "M17.11", "S06.0X1A", "W18.30XA", "C7A.00", "Z3A.01", "U07.1"},
		[]string{"", "I1", "M1711", "M17.", "1I0", "m17.11", "S06.0X1AB", "MX7.1", "M17,1", "73211009", "M17. 1"})
	forms(t, "ValidICD9CM", carin.ValidICD9CM,
		[]string{"715.36", "250", "001.0", "V58.61", "V58", "E885.9", "E885"},
		[]string{"", "71", "71536", "715.", "715.361", "E88.5", "V5.1", "I10", "7A5", "E8859", "715.3X"})
	forms(t, "ValidNDC", carin.ValidNDC,
		[]string{"00093105801"},
		[]string{"", "0093105801", "000931058011", "0009310580X", "0093-1058-01", "00093-1058-01", "314076"})
}

func TestNDC(t *testing.T) {
	for s, want := range map[string]string{
		"00093105801": "00093105801", "00093-1058-01": "00093105801", // 5-4-2
		"0093-1058-01": "00093105801", "60429-112-90": "60429011290", "00093-1058-1": "00093105801", // 4-4-2, 5-3-2, 5-4-1
		"00000000000": "", "00000-0000-00": "", "0000000000": "",
		"0093105801": "0093105801", "093-1058-01": "093-1058-01", "0093-105-01": "0093-105-01", "00093-105801": "00093-105801", "X": "X", "0-0-9-3": "0-0-9-3",
	} {
		if got := carin.NDC(s); got != want {
			t.Errorf("NDC(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestServiceSystem(t *testing.T) {
	for _, test := range []struct {
		profile       carin.Profile
		code, revenue string
		want          string
	}{
		{carin.Professional, "99213", "", carin.SysCPT},
		{carin.Professional, "0001F", "", carin.SysCPT}, // category II
		{carin.Professional, "0042T", "", carin.SysCPT}, // category III
		{carin.Professional, "0001U", "", carin.SysCPT},
		{carin.Professional, "A0428", "", carin.SysHCPCS},
		{carin.Professional, "G0103", "", carin.SysHCPCS},
		{carin.Professional, "1AA11", "", ""}, // HIPPS is institutional
		{carin.Professional, "99213 ", "", ""},
		{carin.Professional, "a0428", "", ""},
		{carin.Professional, "9921", "", ""},
		{carin.Professional, "", "", ""},
		{carin.Inpatient, "27447", "0360", carin.SysCPT},
		{carin.Inpatient, "A0428", "0022", carin.SysHIPPS},
		{carin.Outpatient, "1AA11", "0023", carin.SysHIPPS},
		{carin.Outpatient, "99231", "0023", carin.SysCPT},
		{carin.Outpatient, "AAA00", "", carin.SysHIPPS},
		{carin.Outpatient, "G0103", "0300", carin.SysHCPCS},
		{carin.Oral, "D1110", "", carin.SysCDT},
		{carin.Oral, "99213", "", ""},
		{carin.Oral, "A0428", "", ""},
		{carin.Oral, "D11X0", "", ""},
		{carin.Oral, "D111", "", ""},
	} {
		if got := carin.ServiceSystem(test.profile, test.code, test.revenue); got != test.want {
			t.Errorf("%s code %q under revenue code %q: got %q, want %q", test.profile, test.code, test.revenue, got, test.want)
		}
	}
}

func TestSystemsByForm(t *testing.T) {
	for code, want := range map[string]string{"25": carin.SysCPT, "RT": carin.SysHCPCS, "1P": carin.SysCPT, "E1": carin.SysHCPCS, "X": "", "": "", "RTT": "", "rt": "", "R.": ""} {
		if got := carin.ModifierSystem(code); got != want {
			t.Errorf("modifier %q: got %q, want %q", code, got, want)
		}
	}
	for name, want := range map[string]string{"MS-DRG": carin.SysMSDRG, "AP-DRG": carin.SysAPDRG, "APR-DRG": carin.SysAPRDRG, "": "", "DRG": ""} {
		if got := carin.DRGSystem(name); got != want {
			t.Errorf("grouper %q: got %q, want %q", name, got, want)
		}
	}
	for code, want := range map[string]string{"1": carin.SysTooth, "32": carin.SysTooth, "51": carin.SysTooth, "T": carin.SysTooth, "AS": carin.SysTooth,
		"10": carin.SysTooth, "00": carin.SysOralArea, "02": carin.SysOralArea, "40": carin.SysOralArea, "33": "", "U": "", "": ""} {
		if got := carin.SiteSystem(code); got != want {
			t.Errorf("site %q: got %q, want %q", code, got, want)
		}
	}
}

func TestDiagnosisType(t *testing.T) {
	for _, test := range []struct {
		profile carin.Profile
		typ     string
		first   bool
		want    string
	}{
		{carin.Inpatient, "", true, "principal"},
		{carin.Inpatient, "", false, "other"},
		{carin.Inpatient, "secondary", false, "other"},
		{carin.Outpatient, "other", true, "other"},
		{carin.Outpatient, "patientreasonforvisit", false, "patientreasonforvisit"},
		{carin.Professional, "other", false, "secondary"},
		{carin.Professional, "", false, "secondary"},
		{carin.Oral, "principal", false, "principal"},
	} {
		if got := carin.DiagnosisType(test.profile, test.typ, test.first); got != test.want {
			t.Errorf("%s, type %q, first %v: got %q, want %q", test.profile, test.typ, test.first, got, test.want)
		}
	}
}

func TestProfileOf(t *testing.T) {
	for _, test := range []struct {
		typ, sub string
		want     carin.Profile
		ok       bool
	}{
		{"institutional", "inpatient", carin.Inpatient, true},
		{"institutional", "outpatient", carin.Outpatient, true},
		{"institutional", "", 0, false},
		{"professional", "", carin.Professional, true},
		{"vision", "", carin.Professional, true},
		{"pharmacy", "", carin.Pharmacy, true},
		{"oral", "", carin.Oral, true},
		{"", "inpatient", 0, false},
		{"dental", "", 0, false},
	} {
		var c cpcds.Claim
		c.Set(cpcds.ClaimType, test.typ)
		c.Set(cpcds.ClaimSubType, test.sub)
		if got, ok := carin.ProfileOf(&c); got != test.want || ok != test.ok {
			t.Errorf("%q, %q: got %v, %v, want %v, %v", test.typ, test.sub, got, ok, test.want, test.ok)
		}
	}
}

// TestClaimTypes holds ProfileOf against the value sets of type and sub type.
func TestClaimTypes(t *testing.T) {
	for p := range carin.NumProfiles {
		subs := carin.ValueSet(cpcds.ClaimSubType, p).Codes()
		if len(subs) == 0 {
			subs = []string{""}
		}
		for _, typ := range carin.ValueSet(cpcds.ClaimType, p).Codes() {
			for _, sub := range subs {
				var c cpcds.Claim
				c.Set(cpcds.ClaimType, typ)
				c.Set(cpcds.ClaimSubType, sub)
				if got, ok := carin.ProfileOf(&c); got != p || !ok {
					t.Errorf("%q, %q: got %v, %v, want %v", typ, sub, got, ok, p)
				}
			}
		}
	}
}

func TestValueSets(t *testing.T) {
	for _, test := range []struct {
		element cpcds.Element
		profile carin.Profile
		want    string
	}{
		{cpcds.DiagnosisType, carin.Oral, "principal secondary"},
		{cpcds.DiagnosisType, carin.Pharmacy, ""},       // it has no diagnoses
		{cpcds.PlaceOfServiceCode, carin.Inpatient, ""}, // nor this one a place of service
		{cpcds.ProcedureCode, carin.Professional, ""},   // judged by its form
		{cpcds.MembersGenderCode, 0, "male female other unknown"},
	} {
		if got := strings.Join(carin.ValueSet(test.element, test.profile).Codes(), " "); got != test.want {
			t.Errorf("%s in %s: %q, want %q", test.element, test.profile, got, test.want)
		}
	}
	if !carin.V200.Lacks(cpcds.MembersRaceCode, "2131-1") || carin.V220.Lacks(cpcds.MembersRaceCode, "2131-1") || carin.V200.Lacks(cpcds.MembersRaceCode, "2106-3") {
		t.Error("the releases do not differ in the race that US Core added")
	}
}

func TestVersions(t *testing.T) {
	for _, v := range []*carin.Version{carin.V220, carin.V200} {
		if got, err := carin.ParseVersion(v.Name); err != nil || got != v {
			t.Errorf("ParseVersion(%q) = %v, %v", v.Name, got, err)
		}
	}
	for _, name := range []string{"", "2.1.0", "2.2", "v2.2.0"} {
		if _, err := carin.ParseVersion(name); err == nil {
			t.Errorf("release %q is accepted", name)
		}
	}
	want := "http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-ExplanationOfBenefit-Professional-NonClinician|2.0.0"
	if got := carin.V200.ProfileURL(carin.Professional); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
