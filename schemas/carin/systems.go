package carin

// Code systems that are the same in all releases.
const (
	SysAdjudication     = "http://terminology.hl7.org/CodeSystem/adjudication"
	SysC4BBAdjudication = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication"
	SysDiscriminator    = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudicationDiscriminator"
	SysAdjStatus        = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBPayerAdjudicationStatus"
	SysCareTeamRole     = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBClaimCareTeamRole"
	SysClaimTeamRole    = "http://terminology.hl7.org/CodeSystem/claimcareteamrole"
	SysClaimType        = "http://terminology.hl7.org/CodeSystem/claim-type"
	SysSubType          = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBInstitutionalClaimSubType"
	SysIdentifierType   = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBIdentifierType"
	SysV20203           = "http://terminology.hl7.org/CodeSystem/v2-0203"
	SysSupportingInfo   = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBSupportingInfoType"
	SysDiagnosisType    = "http://terminology.hl7.org/CodeSystem/ex-diagnosistype"
	SysC4BBDiagnosis    = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBClaimDiagnosisType"
	SysProcedureType    = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBClaimProcedureType"
	SysRelationship     = "http://terminology.hl7.org/CodeSystem/ex-relatedclaimrelationship"
	SysC4BBRelated      = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBRelatedClaimRelationshipCodes"
	SysPayeeType        = "http://terminology.hl7.org/CodeSystem/payeetype"
	SysC4BBPayeeType    = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBPayeeType"
	SysCompound         = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBCompoundLiteral"
	SysAbsent           = "http://terminology.hl7.org/CodeSystem/data-absent-reason"

	SysICD10CM   = "http://hl7.org/fhir/sid/icd-10-cm"
	SysICD10PCS  = "http://www.cms.gov/Medicare/Coding/ICD10"
	SysCPT       = "http://www.ama-assn.org/go/cpt"
	SysHCPCS     = "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
	SysHIPPS     = "https://www.cms.gov/Medicare/Medicare-Fee-for-Service-Payment/ProspMedicareFeeSvcPmtGen/HIPPSCodes"
	SysCDT       = "http://www.ada.org/cdt"
	SysNDC       = "http://hl7.org/fhir/sid/ndc"
	SysPOS       = "https://www.cms.gov/Medicare/Coding/place-of-service-codes/Place_of_Service_Code_Set"
	SysRevenue   = "https://www.nubc.org/CodeSystem/RevenueCodes"
	SysBill      = "https://www.nubc.org/CodeSystem/TypeOfBill"
	SysOrigin    = "https://www.nubc.org/CodeSystem/PointOfOrigin"
	SysNewborn   = "https://www.nubc.org/CodeSystem/PointOfOriginNewborn"
	SysPriority  = "https://www.nubc.org/CodeSystem/PriorityTypeOfAdmitOrVisit"
	SysDischarge = "https://www.nubc.org/CodeSystem/PatDischargeStatus"
	SysMSDRG     = "https://www.cms.gov/Medicare/Medicare-Fee-for-Service-Payment/AcuteInpatientPPS/MS-DRG-Classifications-and-Software"
	SysAPDRG     = "http://uri.hddaccess.com/cs/apdrg"
	SysAPRDRG    = "http://uri.hddaccess.com/cs/aprdrg"
	SysCARC      = "https://x12.org/codes/claim-adjustment-reason-codes"
	SysRARC      = "https://x12.org/codes/remittance-advice-remark-codes"
	SysTransport = "https://x12.org/codesystem.x12.org/ambulance-transport-reason-codes"
	SysTaxonomy  = "http://nucc.org/provider-taxonomy"
	SysTooth     = "http://terminology.hl7.org/CodeSystem/ADAUniversalToothDesignationSystem"
	SysOralArea  = "http://terminology.hl7.org/CodeSystem/ADAAreaOralCavitySystem"

	SysDAW          = "http://terminology.hl7.org/CodeSystem/NCPDPDispensedAsWrittenOrProductSelectionCode"
	SysBrandGeneric = "http://terminology.hl7.org/CodeSystem/NCPDPBrandGenericIndicator"
	SysRxOrigin     = "http://terminology.hl7.org/CodeSystem/NCPDPPrescriptionOriginCode"
	SysCompoundCode = "http://terminology.hl7.org/CodeSystem/NCPDPCompoundCode"
	SysRejectCode   = "http://terminology.hl7.org/CodeSystem/NCPDPRejectCode"

	SysSubscriber    = "http://terminology.hl7.org/CodeSystem/subscriber-relationship"
	SysCoverageClass = "http://terminology.hl7.org/CodeSystem/coverage-class"
	SysActCode       = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
	SysPaymentType   = "https://nahdo.org/sopt"
	SysOMB           = "urn:oid:2.16.840.1.113883.6.238"
	SysNullFlavor    = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
	SysRoleCode      = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
	SysUCUM          = "http://unitsofmeasure.org"

	SysNPI  = "http://hl7.org/fhir/sid/us-npi"
	SysTax  = "urn:oid:2.16.840.1.113883.4.4"
	SysNAIC = "urn:oid:2.16.840.1.113883.6.300"
)

// ServiceSystem returns the code system of a service code by its form, "" if the profile allows
// none of that form. revenue is the line's revenue code: 0022 to 0024 announce a HIPPS rate code,
// which is never all digits.
func ServiceSystem(p Profile, code, revenue string) string {
	if len(code) != 5 {
		return ""
	}
	digits := 0
	for i := range 5 {
		switch ch := code[i]; {
		case ch >= '0' && ch <= '9':
			digits++
		case ch < 'A' || ch > 'Z':
			return ""
		}
	}
	letterFirst := code[0] >= 'A' && digits == 4
	if p == Oral {
		if letterFirst && code[0] == 'D' {
			return SysCDT
		}
		return ""
	}
	institutional := p == Inpatient || p == Outpatient
	if institutional && digits < 5 && (revenue == "0022" || revenue == "0023" || revenue == "0024") {
		return SysHIPPS
	}
	switch {
	case digits == 5:
		return SysCPT
	case digits == 4 && code[4] >= 'A': // category II and III, and U codes
		return SysCPT
	case letterFirst:
		return SysHCPCS
	case institutional:
		return SysHIPPS
	}
	return ""
}

// ModifierSystem returns the code system of a modifier by its form: CPT's begin
// with a digit, those of HCPCS level II with a letter; "" if it is neither.
func ModifierSystem(code string) string {
	if len(code) != 2 || !alnum(code) {
		return ""
	}
	if code[0] <= '9' {
		return SysCPT
	}
	return SysHCPCS
}

// DRGSystem returns the code system of a grouper's name; "" if it has none.
func DRGSystem(name string) string {
	switch name {
	case "MS-DRG":
		return SysMSDRG
	case "APR-DRG":
		return SysAPRDRG
	case "AP-DRG":
		return SysAPDRG
	}
	return ""
}

// validDRG reports whether a DRG has the form of its grouper: three digits, and a fourth
// for the severity of an APR-DRG.
func validDRG(code, name string) bool {
	return digits(code) && (len(code) == 3 || len(code) == 4 && name != "MS-DRG" && name != "AP-DRG")
}

// SiteSystem returns the code system of a tooth or an area of the oral cavity, "" if the code is
// neither. The quadrants 10, 20 and 30 are also teeth; where a tooth is allowed, the tooth is
// meant.
func SiteSystem(code string) string {
	switch {
	case toothCodes.Has(code):
		return SysTooth
	case oralAreas.Has(code):
		return SysOralArea
	}
	return ""
}
