package carin

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// roleColumns are the columns that name the provider of a role.
var roleColumns = [cpcds.NumRoles]cpcds.Element{
	cpcds.Attending: cpcds.AttendingProviderNPI, cpcds.Referring: cpcds.ReferringProviderNPI, cpcds.Operating: cpcds.OperatingProviderNPI,
	cpcds.Rendering: cpcds.PerformingProviderNPI, cpcds.Prescribing: cpcds.PrescribingProviderNPI, cpcds.Primary: cpcds.PCPNPI,
	cpcds.Supervisor: cpcds.SupervisingProviderNPI,
}

// headerRules check what occurs once in a claim.
func headerRules(v *Version) []Rule {
	origins := valueSets[cpcds.PointOfOriginCode]
	rules := []Rule{
		required(all, cpcds.ClaimLastUpdatedDate, "it becomes meta.lastUpdated, which must be the system of record's date"),
		required(all, cpcds.ClaimProcessingStatusCode, "it becomes status"),
		code(all, cpcds.ClaimProcessingStatusCode, "active, cancelled, draft or entered-in-error", oneOf(cpcds.ClaimProcessingStatusCode)),
		required(all, cpcds.AdjudicationDate, "it becomes created"),
		required(allButRx, cpcds.StatementFromDate, "it becomes billablePeriod.start"),
		required([]Profile{Inpatient}, cpcds.MemberAdmissionDate, "the profile requires the admission period"),
		required([]Profile{Oral}, cpcds.PerformingProviderNetworkStatus, "the profile requires the rendering network status"),
		code(all, cpcds.ClaimPaymentStatusCode, "paid, denied or partiallypaid", oneOf(cpcds.ClaimPaymentStatusCode)),
		code(all, cpcds.ClaimBenefitPaymentStatus, "innetwork, outofnetwork or other", oneOf(cpcds.ClaimBenefitPaymentStatus)),
		code(all, cpcds.ClaimPayeeTypeCode, "beneficiary, subscriber, provider or other", oneOf(cpcds.ClaimPayeeTypeCode)),
		code(all, cpcds.BillingProviderNetworkStatus, "innetwork or outofnetwork", oneOf(cpcds.BillingProviderNetworkStatus)),
		code(byLine, cpcds.PerformingProviderNetworkStatus, "innetwork or outofnetwork", oneOf(cpcds.PerformingProviderNetworkStatus)),
		code(institutional, cpcds.ClaimTypeOfBillCode, "four characters, the first of them 0", func(s string) bool { return len(s) == 4 && s[0] == '0' && alnum(s) }),
		code(institutional, cpcds.AdmissionTypeCode, "an NUBC priority (type) of admission", oneOf(cpcds.AdmissionTypeCode)),
		code(institutional, cpcds.PatientDischargeStatusCode, "an NUBC discharge status of two digits", func(s string) bool { return len(s) == 2 && digits(s) }),
		code([]Profile{Inpatient}, cpcds.DRGName, "MS-DRG, AP-DRG or APR-DRG", oneOf(cpcds.DRGName)),
		claimRule("code-drg_code", []Profile{Inpatient}, cpcds.DRGCode, "drg_code must be three digits; an APR-DRG may have a fourth for its severity",
			func(c *cpcds.Claim, r *report) {
				if v := c.Get(cpcds.DRGCode); v != "" && !validDRG(v, c.Get(cpcds.DRGName)) {
					r.fail(-1)
				}
			}),
		warning(claimRule("drg-without-name", []Profile{Inpatient}, cpcds.DRGName,
			"a DRG has a meaning only in the code system of its grouper: without drg_name it is left out",
			func(c *cpcds.Claim, r *report) {
				if c.Get(cpcds.DRGCode) != "" && c.Get(cpcds.DRGName) == "" {
					r.fail(-1)
				}
			})),
		code(allButRx, cpcds.ClaimPaymentDenialCode, "X12 claim adjustment reason codes: one to three digits, or A, B, P, W or Y and digits, without a group code", each(validCARC)),
		code(allButRx, cpcds.ClaimRemittanceRemarkCode, "X12 remittance advice remark codes: M, MA or N and digits", each(validRARC)),
		warning(claimRule("own-prior", all, cpcds.ClaimAdjustedFromIdentifier, "a claim cannot adjust itself, or be adjusted by itself; the relation is left out",
			func(c *cpcds.Claim, r *report) {
				for _, e := range [2]cpcds.Element{cpcds.ClaimAdjustedFromIdentifier, cpcds.ClaimAdjustedToIdentifier} {
					if v := c.Get(e); v != "" && v == c.Get(cpcds.ClaimUniqueIdentifier) {
						r.failAt(e, -1)
					}
				}
			})),
		code([]Profile{Outpatient, Professional, Oral}, cpcds.PerformingProviderTaxonomy, "an NUCC taxonomy code of ten characters", func(s string) bool { return len(s) == 10 && alnum(s) }),
		code([]Profile{Oral}, cpcds.MissingToothNumbers, "ADA universal tooth designations", each(oneOf(cpcds.MissingToothNumbers))),

		claimRule("unknown-member", all, cpcds.MemberID, "member_id must name a member of the members table",
			func(c *cpcds.Claim, r *report) {
				if c.Refs.Patient == "" {
					r.fail(-1)
				}
			}),
		claimRule("unknown-coverage", all, cpcds.CoverageID, "the coverage of the claim must be in the coverages table",
			func(c *cpcds.Claim, r *report) {
				if c.Refs.Coverage == "" {
					r.fail(-1)
				}
			}),
		warning(claimRule("unknown-other-coverage", all, cpcds.OtherCoverageID, "the coverage of another payer must be in the coverages table and differ from the claim's own; otherwise it is left out",
			func(c *cpcds.Claim, r *report) {
				if c.Get(cpcds.OtherCoverageID) != "" && c.Refs.OtherCoverage == "" {
					r.fail(-1)
				}
			})),
		claimRule("unknown-payer", all, cpcds.ClaimPayerIdentifier, "the payer of the claim or of its coverage must be known: it becomes insurer",
			func(c *cpcds.Claim, r *report) {
				if c.Refs.Insurer == "" {
					r.fail(-1)
				}
			}),
		claimRule("insurer-is-payor", all, cpcds.ClaimPayerIdentifier, "the payer of the claim must be the payer of its coverage: insurer and the payor of the focal coverage must be the same",
			func(c *cpcds.Claim, r *report) {
				if f := &c.Refs; f.Insurer != "" && f.Payor != "" && f.Insurer != f.Payor {
					r.fail(-1)
				}
			}),
		claimRule("unknown-billing-provider", all, cpcds.BillingProviderNPI, "the billing provider, or otherwise the service facility, must have a valid NPI or be in a table: it becomes provider",
			func(c *cpcds.Claim, r *report) {
				if c.Refs.Providers[cpcds.Billing] == "" {
					r.fail(-1)
				}
			}),
		claimRule("payee-other-party", all, cpcds.ClaimPayee, "a payee of type other must be named (EOB-payee-other-type-requires-party)",
			func(c *cpcds.Claim, r *report) {
				if c.Get(cpcds.ClaimPayeeTypeCode) == "other" && c.Refs.Payee == "" {
					r.fail(-1)
				}
			}),
		warning(claimRule("unknown-payee", all, cpcds.ClaimPayee,
			"claim_payee must name the claim's member if the payee is the beneficiary; a member if the payee is the subscriber, unless there is a name; a provider by a table's key or an NPI if the payee is a provider; otherwise the payee has no party",
			func(c *cpcds.Claim, r *report) {
				if c.Get(cpcds.ClaimPayee) != "" && c.Get(cpcds.ClaimPayeeTypeCode) != "" && c.Refs.Payee == "" {
					r.fail(-1)
				}
			})),
		warning(claimRule("payee-without-type", all, cpcds.ClaimPayeeTypeCode, "a payee must have a type (payee.type 1..1); without one it is left out",
			func(c *cpcds.Claim, r *report) {
				if c.Get(cpcds.ClaimPayeeTypeCode) == "" &&
					(c.Get(cpcds.ClaimPayee) != "" || c.Get(cpcds.ClaimPayeeName) != "" || c.Get(cpcds.ClaimPayeeRelationship) != "") {
					r.fail(-1)
				}
			})),
		warning(claimRule("payee-name-unused", all, cpcds.ClaimPayeeName,
			"a payee's name and relationship are only for a payee who is neither member nor provider; otherwise they are left out",
			func(c *cpcds.Claim, r *report) {
				if c.Get(cpcds.ClaimPayeeTypeCode) == "" {
					return
				}
				switch typ, _, _ := strings.Cut(c.Refs.Payee, "/"); typ {
				case "", "Patient", "Practitioner", "Organization":
				default:
					return
				}
				for _, e := range [2]cpcds.Element{cpcds.ClaimPayeeName, cpcds.ClaimPayeeRelationship} {
					if c.Get(e) != "" {
						r.failAt(e, -1)
					}
				}
			})),
		claimRule("point-of-origin", institutional, cpcds.PointOfOriginCode,
			"a newborn admission (type 4) must have a point of origin for newborns, and no other admission may have one (EOB-inst-pointoforigin, both directions)",
			func(c *cpcds.Claim, r *report) {
				origin := c.Get(cpcds.PointOfOriginCode)
				set := origins
				if c.Get(cpcds.AdmissionTypeCode) == "4" {
					set = newbornOrigin
				}
				if origin != "" && !set.Has(origin) {
					r.fail(-1)
				}
			}),
		warning(claimRule("statement-dates", all, cpcds.StatementThruDate, "statement_thru_date must not be before statement_from_date",
			func(c *cpcds.Claim, r *report) {
				if d := c.Get(cpcds.StatementThruDate); d != "" && d < c.Get(cpcds.StatementFromDate) {
					r.fail(-1)
				}
			})),
		warning(claimRule("admission-dates", []Profile{Inpatient}, cpcds.MemberDischargeDate, "member_discharge_date must not be before member_admission_date; otherwise it is left out",
			func(c *cpcds.Claim, r *report) {
				if d := c.Get(cpcds.MemberDischargeDate); d != "" && d < c.Get(cpcds.MemberAdmissionDate) {
					r.fail(-1)
				}
			})),
		claimRule("care-team-practitioner", all, cpcds.AttendingProviderNPI,
			"the NPI of a person's role must not be an organization's (EOB-inst-, EOB-prof- and EOB-pharm-careTeam-practitioner)",
			func(c *cpcds.Claim, r *report) {
				for role := cpcds.Attending; role < cpcds.NumRoles; role++ {
					if role == cpcds.Rendering && (r.profile == Inpatient || r.profile == Outpatient) {
						continue
					}
					if ref := c.Refs.Providers[role]; len(ref) > 0 && ref[0] == 'O' && HasRole(r.profile, role) {
						r.failAt(roleColumns[role], -1)
					}
				}
				for i, ref := range c.Refs.CareTeam {
					if role := c.CareTeam[i].Get(cpcds.CareTeamRole); len(ref) > 0 && ref[0] == 'O' && role != "rendering" {
						r.failAt(cpcds.CareTeamProviderNPI, i)
					}
				}
			}),
		claimRule("provider-type", []Profile{Inpatient, Outpatient, Oral}, cpcds.BillingProviderNPI,
			"before release 2.1, the billing provider of an institutional claim must be an organization, and that of an oral claim a person",
			func(c *cpcds.Claim, r *report) {
				want := byte('O')
				if r.profile == Oral {
					want = 'P'
				}
				if ref := c.Refs.Providers[cpcds.Billing]; r.version == V200 && ref != "" && ref[0] != want {
					r.fail(-1)
				}
			}),
		warning(claimRule("rendering-needs-taxonomy", []Profile{Outpatient}, cpcds.PerformingProviderTaxonomy,
			"the rendering provider of an outpatient claim must have a taxonomy code (EOB-careteam-qualification); without one the provider is left out",
			func(c *cpcds.Claim, r *report) {
				if c.Get(cpcds.PerformingProviderNPI) != "" && c.Get(cpcds.PerformingProviderTaxonomy) == "" {
					r.fail(-1)
				}
			})),
	}
	for _, e := range []cpcds.Element{cpcds.BillingProviderNPI, cpcds.AttendingProviderNPI, cpcds.PerformingProviderNPI, cpcds.PCPNPI,
		cpcds.ReferringProviderNPI, cpcds.OperatingProviderNPI, cpcds.SupervisingProviderNPI, cpcds.PrescribingProviderNPI, cpcds.ServiceFacilityNPI} {
		var profiles []Profile
		for p := range NumProfiles {
			if Uses(p, e) {
				profiles = append(profiles, p)
			}
		}
		rules = append(rules, code(profiles, e, "ten digits with a valid check digit (us-core-16, us-core-17)", ValidNPI))
	}
	return rules
}

// RuleRequiredLine is broken by a claim without a service line. The layout says which elements make
// a row a service line.
const RuleRequiredLine = "required-line"

// lineRules check the service lines.
func lineRules() []Rule {
	rx := []Profile{Pharmacy}
	return []Rule{
		claimRule(RuleRequiredLine, all, cpcds.LineNumber, "a claim must have a service line (item 1..*)",
			func(c *cpcds.Claim, r *report) {
				if len(c.Lines) == 0 {
					r.fail(-1)
				}
			}),
		requiredLine([]Profile{Inpatient}, cpcds.RevenueCenterCode, "item.revenue is required on inpatient claims"),
		codeLine(institutional, cpcds.RevenueCenterCode, "four digits", func(s string) bool { return len(s) == 4 && digits(s) }),
		requiredLine([]Profile{Outpatient, Professional, Oral, Pharmacy}, cpcds.ServiceFromDate, "it becomes item.serviced"),
		requiredLine(byLine, cpcds.PlaceOfServiceCode, "the profile requires the place of service on every line"),
		codeLine(byLine, cpcds.PlaceOfServiceCode, "a CMS place of service", oneOf(cpcds.PlaceOfServiceCode)),
		claimRule("required-procedure_code", byLine, cpcds.ProcedureCode,
			"procedure_code must be filled on every line, except on vision claims (EOB-vision-item-productorservice)",
			func(c *cpcds.Claim, r *report) {
				if c.Get(cpcds.ClaimType) == "vision" {
					return
				}
				for i := range c.Lines {
					if c.Lines[i].Get(cpcds.ProcedureCode) == "" {
						r.fail(i)
					}
				}
			}),
		claimRule("code-procedure_code", allButRx, cpcds.ProcedureCode,
			"procedure_code must be CPT or HCPCS (or HIPPS on institutional claims), and CDT on oral claims",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					l := &c.Lines[i]
					if v := l.Get(cpcds.ProcedureCode); v != "" && ServiceSystem(r.profile, v, l.Get(cpcds.RevenueCenterCode)) == "" {
						r.fail(i)
					}
				}
			}),
		claimRule("code-procedure_modifier", allButRx, cpcds.ProcedureModifierCode1, "a modifier must be a two-character CPT or HCPCS code",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					for e := cpcds.ProcedureModifierCode1; e <= cpcds.ProcedureModifierCode4; e++ {
						if v := c.Lines[i].Get(e); v != "" && ModifierSystem(v) == "" {
							r.failAt(e, i)
						}
					}
				}
			}),
		codeLine(allButRx, cpcds.LinePaymentDenialCode, "X12 claim adjustment reason codes: one to three digits, or A, B, P, W or Y and digits, without a group code", each(validCARC)),
		claimRule("code-reject_code", rx, cpcds.LinePaymentDenialCode, "the denial codes of a pharmacy line must be NCPDP reject codes: two or three letters or digits, without a group code",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					if v := c.Lines[i].Get(cpcds.LinePaymentDenialCode); v != "" && !validRejects(v) {
						r.fail(i)
					}
				}
			}),
		codeLine(allButRx, cpcds.LineRemittanceRemarkCode, "X12 remittance advice remark codes: M, MA or N and digits", each(validRARC)),
		warning(claimRule("line-renumbered", all, cpcds.LineNumber,
			"item.sequence must be a whole number above zero: if a line number is anything else or missing, the items of the claim are numbered in the order of their lines",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					if n := c.Lines[i].Get(cpcds.LineNumber); n == "0" || n != "" && !digits(n) || len(n) > 9 {
						r.fail(i)
						return
					}
				}
			})),
		warning(claimRule("revenue-total-line", institutional, cpcds.RevenueCenterCode,
			"a line with revenue code 0001 is the total of the others: its amounts are not added to theirs",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					if x := &r.amounts.Lines[i]; x.Summed != x.Filled && TotalLine(r.profile, &c.Lines[i]) {
						r.fail(i)
					}
				}
			})),
		codeLine(all, cpcds.LineBenefitPaymentStatus, "innetwork, outofnetwork or other", oneOf(cpcds.LineBenefitPaymentStatus)),
		claimRule("required-benefit-status", all, cpcds.ClaimBenefitPaymentStatus,
			"the benefit payment status must be filled, for the claim or for every line",
			func(c *cpcds.Claim, r *report) {
				if c.Get(cpcds.ClaimBenefitPaymentStatus) != "" {
					return
				}
				missing, some := -1, false
				for i := range c.Lines {
					has := c.Lines[i].Get(cpcds.LineBenefitPaymentStatus) != ""
					if some = some || has; !has && missing < 0 && !Ingredient(r.profile, &c.Lines[i]) {
						missing = i
					}
				}
				switch {
				case missing < 0:
				case some: // the source has it per line
					r.failAt(cpcds.LineBenefitPaymentStatus, missing)
				default:
					r.fail(-1)
				}
			}),
		warning(claimRule("service-dates", []Profile{Inpatient, Professional, Oral}, cpcds.ServiceToDate, "service_to_date must not be before service_from_date; otherwise it is left out",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					if d := c.Lines[i].Get(cpcds.ServiceToDate); d != "" && d < c.Lines[i].Get(cpcds.ServiceFromDate) {
						r.fail(i)
					}
				}
			})),

		claimRule("required-days_supply", rx, cpcds.DaysSupply, "days_supply must be filled (supportingInfo:dayssupply 1..1)", rxRequired(cpcds.DaysSupply)),
		claimRule("required-daw_product_selection_code", rx, cpcds.DawProductSelectionCode,
			"daw_product_selection_code must be filled (supportingInfo:dawcode 1..1)", rxRequired(cpcds.DawProductSelectionCode)),
		claimRule("required-refill_number", rx, cpcds.RefillNumber, "refill_number must be filled (supportingInfo:refillNum 1..1)", rxRequired(cpcds.RefillNumber)),
		claimRule("required-refills_authorized", rx, cpcds.RefillsAuthorized,
			"refills_authorized must be filled before release 2.2 (supportingInfo:refillsAuthorized 1..1)",
			func(c *cpcds.Claim, r *report) {
				if r.version.RefillsAuthorized {
					rxRequired(cpcds.RefillsAuthorized)(c, r)
				}
			}),
		codeLine(rx, cpcds.DawProductSelectionCode, "one digit (NCPDP 408-D8)", oneOf(cpcds.DawProductSelectionCode)),
		codeLine(rx, cpcds.PrescriptionOriginCode, "0 to 5 (NCPDP 419-DJ)", oneOf(cpcds.PrescriptionOriginCode)),
		codeLine(rx, cpcds.CompoundCode, "0, 1 or 2 (NCPDP 406-D6)", oneOf(cpcds.CompoundCode)),
		claimRule("code-national_drug_code", rx, cpcds.NationalDrugCode,
			"national_drug_code must be an NDC of 11 digits, unless compound_code is 2 (FDANDCOrCompound)",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					l := &c.Lines[i]
					if compound := l.Get(cpcds.CompoundCode) == "2" && l.Get(cpcds.CompoundParentLineNumber) == ""; !compound && !ValidNDC(l.Get(cpcds.NationalDrugCode)) {
						r.fail(i)
					}
				}
			}),
		claimRule("compound-parent", rx, cpcds.CompoundParentLineNumber, "an ingredient must name the line of its compound",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					parent := c.Lines[i].Get(cpcds.CompoundParentLineNumber)
					if parent == "" {
						continue
					}
					found := false
					for j := range c.Lines {
						found = found || c.Lines[j].Get(cpcds.LineNumber) == parent && c.Lines[j].Get(cpcds.CompoundParentLineNumber) == ""
					}
					if !found {
						r.fail(i)
					}
				}
			}),

		claimRule("code-tooth_number", []Profile{Oral}, cpcds.ToothNumber, "tooth_number must be an ADA tooth designation or area of the oral cavity",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					if v := c.Lines[i].Get(cpcds.ToothNumber); v != "" && SiteSystem(v) == "" {
						r.fail(i)
					}
				}
			}),
		codeLine([]Profile{Oral}, cpcds.AdditionalToothNumbers, "ADA tooth designations or areas of the oral cavity", each(oneOf(cpcds.AdditionalToothNumbers))),
		codeLine([]Profile{Oral}, cpcds.ToothSurface, "ADA tooth surfaces", each(oneOf(cpcds.ToothSurface))),
		claimRule("surface-needs-tooth", []Profile{Oral}, cpcds.ToothSurface,
			"a line with a surface must name a tooth, and one with additional teeth its first tooth or area (Oral-EOB-surface-subsite-requires-tooth-number, Oral-line-item-with-linked-additionalbody-site-requires-bodysite)",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					l := &c.Lines[i]
					first, further := l.Get(cpcds.ToothNumber), l.Get(cpcds.AdditionalToothNumbers)
					tooth := SiteSystem(first) == SysTooth
					for site := range strings.FieldsSeq(further) {
						tooth = tooth || SiteSystem(site) == SysTooth
					}
					if l.Get(cpcds.ToothSurface) != "" && !tooth || further != "" && first == "" && l.Get(cpcds.OralCavityArea) == "" {
						r.fail(i)
					}
				}
			}),
		codeLine([]Profile{Oral}, cpcds.OralCavityArea, "an ADA area of the oral cavity: 00, 01, 02, 10, 20, 30 or 40", oneOf(cpcds.OralCavityArea)),
	}
}

// rxRequired requires an element on some line of a pharmacy claim: in practice these facts are on
// the lines, in the profile they occur once.
func rxRequired(e cpcds.Element) func(c *cpcds.Claim, r *report) {
	return func(c *cpcds.Claim, r *report) {
		if len(c.Lines) > 0 && c.FillFact(e) == "" {
			r.fail(0)
		}
	}
}
