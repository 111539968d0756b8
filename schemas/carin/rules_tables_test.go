package carin_test

import (
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// goodRows are rows of the small tables that satisfy all rules.
var goodRows = map[cpcds.Table]map[cpcds.Element]string{
	cpcds.Members: {
		cpcds.MembersMemberID: "M1", cpcds.MembersMemberLastUpdatedDate: "2025-01-01T00:00:00Z", cpcds.MembersGenderCode: "female",
		cpcds.MembersRaceCode: "2106-3 2028-9", cpcds.MembersState: "CA",
	},
	cpcds.Coverages: {
		cpcds.CoveragesCoverageID: "C1", cpcds.CoveragesMemberID: "M1", cpcds.CoveragesPayerIdentifier: "STATE", cpcds.CoveragesSubscriberID: "S1",
		cpcds.CoveragesCoverageStatus: "active", cpcds.CoveragesRelationshipToSubscriber: "self", cpcds.CoveragesStartDate: "2025-01-01",
		cpcds.CoveragesEndDate: "2025-12-31", cpcds.CoveragesCoverageLastUpdatedDate: "2025-01-01T00:00:00Z",
	},
	cpcds.Providers: {
		cpcds.ProvidersProviderNPI: "1800000014", cpcds.ProvidersProviderFamilyName: "Okafor", cpcds.ProvidersProviderLastUpdatedDate: "2025-01-01T00:00:00Z",
	},
	cpcds.Organizations: {
		cpcds.OrganizationsOrganizationNPI: "1900000013", cpcds.OrganizationsOrganizationName: "General Hospital",
		cpcds.OrganizationsOrganizationLastUpdatedDate: "2025-01-01T00:00:00Z", cpcds.OrganizationsOrganizationNAICCode: "12345",
	},
}

// judgeRow returns the rules of a release that a good row with changes breaks.
func judgeRow(release *carin.Version, t cpcds.Table, changes map[cpcds.Element]string) (errors, warnings []string) {
	var v carin.Verdict
	carin.NewChecker(release).Row(t, func(e cpcds.Element) string {
		if x, ok := changes[e]; ok {
			return x
		}
		return goodRows[t][e]
	}, &v)
	return ids(v.Errors), ids(v.Warnings)
}

func TestGoodRowsPass(t *testing.T) {
	for table := range goodRows {
		if errors, warnings := judgeRow(carin.V220, table, nil); len(errors)+len(warnings) > 0 {
			t.Errorf("%s: errors %v, warnings %v", table, errors, warnings)
		}
	}
}

// rowBreaks says how a good row is made to break a rule that does not demand one
// element or code.
var rowBreaks = map[string]map[cpcds.Element]string{
	"members-code-race_code":                    {cpcds.MembersRaceCode: "2106-3 UNK"},
	"members-address-dates":                     {cpcds.MembersAddressBeginDate: "2024-12-31", cpcds.MembersAddressEndDate: "2024-12-30"},
	"members-deceased":                          {cpcds.MembersDateOfDeath: "2024-12-31", cpcds.MembersDeceased: "false"},
	"members-death-date":                        {cpcds.MembersDateOfDeath: "9999-12-31"},
	"members-birth-sex-unknown":                 {cpcds.MembersBirthSex: "OTH"},
	"coverages-period-order":                    {cpcds.CoveragesEndDate: "2024-12-31"},
	"providers-required-provider-identifier":    {cpcds.ProvidersProviderNPI: ""},
	"organizations-required-organization-key":   {cpcds.OrganizationsOrganizationNPI: ""},
	"organizations-code-organization_naic_code": {cpcds.OrganizationsOrganizationNAICCode: "1234"},
}

// TestEveryRowRule breaks each rule of the small tables, and nothing else must
// notice.
func TestEveryRowRule(t *testing.T) {
	for _, r := range carin.NewChecker(carin.V220).Rules() {
		if len(r.Profiles) > 0 {
			continue
		}
		changes := rowBreaks[r.ID]
		switch {
		case changes != nil:
		case strings.Contains(r.ID, "-required-"):
			changes = map[cpcds.Element]string{r.Element: ""}
		case strings.Contains(r.ID, "-code-"):
			changes = map[cpcds.Element]string{r.Element: "no code"}
		default:
			t.Errorf("%s: no row of this test breaks it", r.ID)
			continue
		}
		release := carin.V220
		if slices.Contains(onlyBefore22, r.ID) {
			if errors, warnings := judgeRow(release, r.Table, changes); len(errors)+len(warnings) > 0 {
				t.Errorf("%s in release %s: errors %v, warnings %v", r.ID, release.Name, errors, warnings)
			}
			release = carin.V200
		}
		errors, warnings := judgeRow(release, r.Table, changes)
		want := [2][]string{{r.ID}, nil}
		if r.Severity == carin.Warning {
			want = [2][]string{nil, {r.ID}}
		}
		if !slices.Equal(errors, want[0]) || !slices.Equal(warnings, want[1]) {
			t.Errorf("%s: errors %v, warnings %v", r.ID, errors, warnings)
		}
	}
}

func TestAllowedRows(t *testing.T) {
	for _, test := range []struct {
		name    string
		table   cpcds.Table
		changes map[cpcds.Element]string
	}{
		{"race asked but unknown", cpcds.Members, map[cpcds.Element]string{cpcds.MembersRaceCode: "ASKU"}},
		{"coverage without an end", cpcds.Coverages, map[cpcds.Element]string{cpcds.CoveragesEndDate: ""}},
		{"coverage of one day", cpcds.Coverages, map[cpcds.Element]string{cpcds.CoveragesEndDate: "2025-01-01"}},
		{"practitioner with a tax id alone", cpcds.Providers, map[cpcds.Element]string{cpcds.ProvidersProviderNPI: "", cpcds.ProvidersProviderTaxID: "1"}},
		{"payer without an NPI", cpcds.Organizations, map[cpcds.Element]string{cpcds.OrganizationsOrganizationNPI: "", cpcds.OrganizationsOrganizationPayerIdentifier: "STATE"}},
	} {
		if errors, warnings := judgeRow(carin.V220, test.table, test.changes); len(errors)+len(warnings) > 0 {
			t.Errorf("%s: errors %v, warnings %v", test.name, errors, warnings)
		}
	}
}
