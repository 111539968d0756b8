package carin

import "cpcds2fhir/schemas/cpcds"

// rowRules check the rows of the small tables.
func rowRules(v *Version) []Rule {
	type get = func(cpcds.Element) string
	races := each(oneOf(cpcds.MembersRaceCode))
	states := func(s string) bool { return len(s) == 2 && s[0] >= 'A' && s[1] >= 'A' && alnum(s) }
	return []Rule{
		requiredRow(cpcds.Members, cpcds.MembersMemberID, "it is the key of the table"),
		requiredRow(cpcds.Members, cpcds.MembersMemberLastUpdatedDate, "it becomes meta.lastUpdated, which must be the system of record's date"),
		requiredRow(cpcds.Members, cpcds.MembersGenderCode, "Patient.gender is required"),
		codeRow(cpcds.Members, cpcds.MembersGenderCode, "male, female, other or unknown", oneOf(cpcds.MembersGenderCode)),
		codeRow(cpcds.Members, cpcds.MembersBirthSex, "M, F, UNK, ASKU or OTH", oneOf(cpcds.MembersBirthSex)),
		codeRow(cpcds.Members, cpcds.MembersRaceCode, "OMB race categories; ASKU or UNK must be the only code (us-core-23)", func(s string) bool {
			return races(s) && (len(s) <= 4 || !hasWord(s, "UNK") && !hasWord(s, "ASKU"))
		}),
		codeRow(cpcds.Members, cpcds.MembersEthnicity, "an OMB ethnicity category", oneOf(cpcds.MembersEthnicity)),
		warning(rowRule("birth-sex-unknown", cpcds.Members, cpcds.MembersBirthSex, "this release has no code for a birth sex of ASKU or OTH; it is left out", func(get get) bool {
			return !v.Lacks(cpcds.MembersBirthSex, get(cpcds.MembersBirthSex))
		})),
		warning(codeRow(cpcds.Members, cpcds.MembersState, "a USPS state abbreviation", states)),
		warning(rowRule("address-dates", cpcds.Members, cpcds.MembersAddressEndDate, "address_end_date must not be before address_begin_date (per-1); otherwise it is left out", func(get get) bool {
			end := get(cpcds.MembersAddressEndDate)
			return end == "" || end >= get(cpcds.MembersAddressBeginDate)
		})),
		rowRule("death-date", cpcds.Members, cpcds.MembersDateOfDeath, "date_of_death must not be before date_of_birth, nor in the year 2200 or later, such as 9999-12-31", func(get get) bool {
			death := get(cpcds.MembersDateOfDeath)
			return death == "" || death >= get(cpcds.MembersDateOfBirth) && death < "2200"
		}),
		warning(rowRule("deceased", cpcds.Members, cpcds.MembersDeceased, "deceased must not be false if there is a date_of_death; the date counts", func(get get) bool {
			return get(cpcds.MembersDeceased) != "false" || get(cpcds.MembersDateOfDeath) == ""
		})),

		requiredRow(cpcds.Coverages, cpcds.CoveragesCoverageID, "it is the key of the table"),
		requiredRow(cpcds.Coverages, cpcds.CoveragesMemberID, "it becomes beneficiary"),
		requiredRow(cpcds.Coverages, cpcds.CoveragesPayerIdentifier, "it becomes payor"),
		requiredRow(cpcds.Coverages, cpcds.CoveragesSubscriberID, "Coverage.subscriberId is required"),
		requiredRow(cpcds.Coverages, cpcds.CoveragesCoverageStatus, "Coverage.status is required"),
		codeRow(cpcds.Coverages, cpcds.CoveragesCoverageStatus, "active, cancelled, draft or entered-in-error", oneOf(cpcds.CoveragesCoverageStatus)),
		requiredRow(cpcds.Coverages, cpcds.CoveragesRelationshipToSubscriber, "Coverage.relationship is required"),
		codeRow(cpcds.Coverages, cpcds.CoveragesRelationshipToSubscriber, "a subscriber relationship", oneOf(cpcds.CoveragesRelationshipToSubscriber)),
		requiredRow(cpcds.Coverages, cpcds.CoveragesCoverageLastUpdatedDate, "it becomes meta.lastUpdated, which must be the system of record's date"),
		rowRule("period-order", cpcds.Coverages, cpcds.CoveragesEndDate, "end_date must not be before start_date (per-1)", func(get get) bool {
			end := get(cpcds.CoveragesEndDate)
			return end == "" || end >= get(cpcds.CoveragesStartDate)
		}),

		rowRule("required-provider-identifier", cpcds.Providers, cpcds.ProvidersProviderNPI,
			"a practitioner must have an NPI or a tax id (Practitioner-identifier)", func(get get) bool {
				return get(cpcds.ProvidersProviderNPI) != "" || get(cpcds.ProvidersProviderTaxID) != ""
			}),
		codeRow(cpcds.Providers, cpcds.ProvidersProviderNPI, "ten digits with a valid check digit (us-core-16, us-core-17)", ValidNPI),
		requiredRow(cpcds.Providers, cpcds.ProvidersProviderFamilyName, "Practitioner.name.family is required"),
		requiredRow(cpcds.Providers, cpcds.ProvidersProviderLastUpdatedDate, "it becomes meta.lastUpdated, which must be the system of record's date"),

		rowRule("required-organization-key", cpcds.Organizations, cpcds.OrganizationsOrganizationID,
			"an organization must have an id, an NPI or a payer identifier", func(get get) bool {
				return get(cpcds.OrganizationsOrganizationID) != "" || get(cpcds.OrganizationsOrganizationNPI) != "" || get(cpcds.OrganizationsOrganizationPayerIdentifier) != ""
			}),
		codeRow(cpcds.Organizations, cpcds.OrganizationsOrganizationNPI, "ten digits with a valid check digit (us-core-16, us-core-17)", ValidNPI),
		codeRow(cpcds.Organizations, cpcds.OrganizationsOrganizationNAICCode, "five digits (us-core-19)", func(s string) bool { return len(s) == 5 && digits(s) }),
		requiredRow(cpcds.Organizations, cpcds.OrganizationsOrganizationName, "Organization.name is required"),
		requiredRow(cpcds.Organizations, cpcds.OrganizationsOrganizationLastUpdatedDate, "it becomes meta.lastUpdated, which must be the system of record's date"),
	}
}

func hasWord(list, word string) bool {
	return !each(func(s string) bool { return s != word })(list)
}
