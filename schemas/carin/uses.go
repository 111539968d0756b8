package carin

import (
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// only lists the elements of claims that some profiles lack, with those that have
// them.
var only = map[cpcds.Element][]Profile{
	cpcds.PresentOnAdmission:           {Inpatient},
	cpcds.MemberAdmissionDate:          {Inpatient},
	cpcds.MemberDischargeDate:          {Inpatient},
	cpcds.DRGCode:                      {Inpatient},
	cpcds.DRGName:                      {Inpatient},
	cpcds.DRGVersion:                   {Inpatient},
	cpcds.ClaimTypeOfBillCode:          institutional,
	cpcds.PointOfOriginCode:            institutional,
	cpcds.AdmissionTypeCode:            institutional,
	cpcds.PatientDischargeStatusCode:   institutional,
	cpcds.RevenueCenterCode:            institutional,
	cpcds.AttendingProviderNPI:         institutional,
	cpcds.OperatingProviderNPI:         institutional,
	cpcds.PerformingProviderNPI:        allButRx,
	cpcds.ReferringProviderNPI:         allButRx,
	cpcds.SupervisingProviderNPI:       byLine,
	cpcds.PrescribingProviderNPI:       {Pharmacy},
	cpcds.PlaceOfServiceCode:           byLine,
	cpcds.ProcedureCode:                allButRx,
	cpcds.ProcedureDescription:         allButRx,
	cpcds.ProcedureModifierCode1:       allButRx,
	cpcds.ProcedureModifierCode2:       allButRx,
	cpcds.ProcedureModifierCode3:       allButRx,
	cpcds.ProcedureModifierCode4:       allButRx,
	cpcds.ServiceToDate:                {Inpatient, Professional, Oral},
	cpcds.NumberOfUnits:                allButRx,
	cpcds.AllowedNumberOfUnits:         allButRx,
	cpcds.RxServiceReferenceNumber:     {Pharmacy},
	cpcds.NationalDrugCode:             {Pharmacy},
	cpcds.DrugDescription:              {Pharmacy},
	cpcds.CompoundCode:                 {Pharmacy},
	cpcds.QuantityDispensed:            {Pharmacy},
	cpcds.QuantityQualifierCode:        {Pharmacy},
	cpcds.DaysSupply:                   {Pharmacy},
	cpcds.DawProductSelectionCode:      {Pharmacy},
	cpcds.RefillNumber:                 {Pharmacy},
	cpcds.RefillsAuthorized:            {Pharmacy},
	cpcds.PrescriptionOriginCode:       {Pharmacy},
	cpcds.PlanReportedBrandGenericCode: {Pharmacy},
}

// Uses reports whether the resource of a profile can say anything of an element.
func Uses(p Profile, e cpcds.Element) bool {
	list, limited := only[e]
	if !limited {
		switch e.Info().Level {
		case cpcds.DiagnosisLevel:
			list, limited = allButRx, true
		case cpcds.ProcedureLevel:
			list, limited = []Profile{Inpatient}, true
		}
	}
	return !limited || slices.Contains(list, p)
}
