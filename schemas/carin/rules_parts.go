package carin

import "cpcds2fhir/schemas/cpcds"

// partRules check diagnoses, procedures and the care team.
func partRules() []Rule {
	diagnosed := []Profile{Inpatient, Outpatient, Professional}
	types, onAdmission := profileSets[cpcds.DiagnosisType], oneOf(cpcds.PresentOnAdmission)
	procedureSystem, procedureType := oneOf(cpcds.InpatientProcedureCodeType), oneOf(cpcds.InpatientProcedureType)
	return []Rule{
		claimRule("required-diagnosis", diagnosed, cpcds.DiagnosisCode, "the claim must have a diagnosis (diagnosis 1..*)",
			func(c *cpcds.Claim, r *report) {
				if len(c.Diagnoses) == 0 {
					r.fail(-1)
				}
			}),
		claimRule("code-diagnosis_code", allButRx, cpcds.DiagnosisCode,
			"diagnosis_code must have the form of ICD-10-CM, or of ICD-9-CM if diagnosis_code_type is icd9, with its decimal point",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Diagnoses {
					d := &c.Diagnoses[i]
					var ok bool
					switch d.Get(cpcds.DiagnosisCodeType) {
					case "", "icd10":
						ok = ValidICD10CM(d.Get(cpcds.DiagnosisCode))
					case "icd9":
						ok = ValidICD9CM(d.Get(cpcds.DiagnosisCode))
					case "masked":
						ok = !r.version.Lacks(cpcds.DiagnosisCodeType, "masked")
					default:
						ok = false
					}
					if !ok {
						r.fail(i)
					}
				}
			}),
		warning(claimRule("masked-with-code", allButRx, cpcds.DiagnosisCode, "a masked diagnosis must not have a code; the code is left out",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Diagnoses {
					if d := &c.Diagnoses[i]; d.Get(cpcds.DiagnosisCodeType) == "masked" && d.Get(cpcds.DiagnosisCode) != "" {
						r.fail(i)
					}
				}
			})),
		claimRule("code-diagnosis_type", allButRx, cpcds.DiagnosisType, "diagnosis_type must be one that the profile allows",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Diagnoses {
					if !types[r.profile].Has(DiagnosisType(r.profile, c.Diagnoses[i].Get(cpcds.DiagnosisType), i == 0)) {
						r.fail(i)
					}
				}
			}),
		claimRule("code-present_on_admission", []Profile{Inpatient}, cpcds.PresentOnAdmission, "present_on_admission must be Y, N, U, W or 1",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Diagnoses {
					if v := c.Diagnoses[i].Get(cpcds.PresentOnAdmission); v != "" && !onAdmission(v) {
						r.fail(i)
					}
				}
			}),
		warning(claimRule("one-principal", allButRx, cpcds.DiagnosisType, "a claim should have one principal diagnosis",
			func(c *cpcds.Claim, r *report) {
				n := 0
				for i := range c.Diagnoses {
					if DiagnosisType(r.profile, c.Diagnoses[i].Get(cpcds.DiagnosisType), i == 0) == "principal" {
						if n++; n == 2 {
							r.fail(i)
						}
					}
				}
			})),
		claimRule("code-inpatient_procedure_code", []Profile{Inpatient}, cpcds.InpatientProcedureCode,
			"inpatient_procedure_code must have the form of ICD-10-PCS, or of ICD-9-CM volume 3 if its type is icd9",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Procedures {
					p := &c.Procedures[i]
					ok := validICD10PCS
					if p.Get(cpcds.InpatientProcedureCodeType) == "icd9" {
						ok = validICD9PCS
					}
					if !ok(p.Get(cpcds.InpatientProcedureCode)) {
						r.fail(i)
					}
				}
			}),
		claimRule("code-inpatient_procedure_code_type", []Profile{Inpatient}, cpcds.InpatientProcedureCodeType, "inpatient_procedure_code_type must be icd10 or icd9; the default is icd10",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Procedures {
					if v := c.Procedures[i].Get(cpcds.InpatientProcedureCodeType); v != "" && !procedureSystem(v) {
						r.fail(i)
					}
				}
			}),
		claimRule("code-inpatient_procedure_type", []Profile{Inpatient}, cpcds.InpatientProcedureType, "inpatient_procedure_type must be principal or other",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Procedures {
					if v := c.Procedures[i].Get(cpcds.InpatientProcedureType); v != "" && !procedureType(v) {
						r.fail(i)
					}
				}
			}),
		claimRule("code-care_team_role", all, cpcds.CareTeamRole, "care_team_role must be one that the profile allows",
			func(c *cpcds.Claim, r *report) {
				for i := range c.CareTeam {
					if !roles[r.profile].Has(c.CareTeam[i].Get(cpcds.CareTeamRole)) {
						r.fail(i)
					}
				}
			}),
		claimRule("code-care_team_provider_npi", all, cpcds.CareTeamProviderNPI, "care_team_provider_npi must be filled, with ten digits and a valid check digit",
			func(c *cpcds.Claim, r *report) {
				for i := range c.CareTeam {
					if !ValidNPI(c.CareTeam[i].Get(cpcds.CareTeamProviderNPI)) {
						r.fail(i)
					}
				}
			}),
	}
}
