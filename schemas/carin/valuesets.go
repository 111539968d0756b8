package carin

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// CodeSet is a closed set of codes. The zero value is empty.
type CodeSet struct {
	m     map[string]struct{}
	short *[1 << 14 / 64]uint64 // a bit for each code of one or two ASCII characters
	list  []string
}

func codes(list string) CodeSet {
	s := CodeSet{m: map[string]struct{}{}, short: new([1 << 14 / 64]uint64)}
	for f := range strings.FieldsSeq(list) {
		if !s.Has(f) {
			s.m[f] = struct{}{}
			if at, ok := shortCode(f); ok {
				s.short[at/64] |= 1 << (at % 64)
			}
			s.list = append(s.list, f)
		}
	}
	return s
}

// Has reports whether the set has the code.
func (s CodeSet) Has(code string) bool {
	// Most codes are short, and map lookups took a sixth of the time of mapping a dental claim.
	if at, ok := shortCode(code); ok {
		return s.short != nil && s.short[at/64]&(1<<(at%64)) != 0
	}
	_, ok := s.m[code]
	return ok
}

// shortCode is the place of a code of one or two ASCII characters. A NUL as the first character
// would look like a code of one character.
func shortCode(code string) (at uint, ok bool) {
	switch len(code) {
	case 1:
		return uint(code[0]), code[0] < 0x80
	case 2:
		return uint(code[0])<<7 | uint(code[1]), code[0] < 0x80 && code[0] > 0 && code[1] < 0x80
	}
	return 0, false
}

// Codes lists the set, in the order of its source. The slice is shared and must
// not be changed.
func (s CodeSet) Codes() []string { return s.list }

// Value sets that several columns are bound to, or that are used by name.
var (
	fmStatus      = codes("active cancelled draft entered-in-error")
	benefitStatus = codes("innetwork outofnetwork other")
	networkStatus = codes("innetwork outofnetwork")
	newbornOrigin = codes("5 6 9")
	toothCodes    = codes("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 " +
		"51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 " +
		"A B C D E F G H I J K L M N O P Q R S T AS BS CS DS ES FS GS IS JS")
	oralAreas = codes("00 01 02 10 20 30 40")
	oralSites = codes(strings.Join(append(toothCodes.Codes(), oralAreas.Codes()...), " "))

	// coverageKinds are the ActCoverageTypeCodes of HL7's v3-ActCode.
	coverageKinds = codes("HMO PPO POS EHCPOL HIP HSAPOL MCPOL LTC DENTAL VISPOL DRUGPOL MENTPOL SUBPOL DISEASE AUTOPOL COL UNINSMOT " +
		"PUBLICPOL DENTPRG DISEASEPRG CANPRG ENDRENAL HIVAIDS MANDPOL MENTPRG SAFNET SUBPRG SUBSIDIZ SUBSIDMC SUBSUPP WCBPOL " +
		"DIS EWB FLEXP LIFE ANNU TLIFE ULIFE PNC REI SURPL UMBRL CHAR CRIME EAP GOVEMP HIRISK IND MILITARY RETIRE SOCIAL VET")

	roles = [NumProfiles]CodeSet{
		Inpatient:    codes("attending referring operating otheroperating rendering primary"),
		Outpatient:   codes("attending referring operating otheroperating rendering primary"),
		Professional: codes("rendering purchasedservice referring primary supervisor"),
		Pharmacy:     codes("primary prescribing"),
		Oral:         codes("rendering purchasedservice referring primary supervisor"),
	}
)

// valueSets has the closed value sets that columns are bound to, and code systems small enough to
// list. A list of codes may have several of them. A coverage type may also be a code of the Source
// of Payment Typology, or a word.
var valueSets = map[cpcds.Element]CodeSet{
	cpcds.ClaimProcessingStatusCode:       codes("active cancelled draft entered-in-error"),
	cpcds.ClaimPaymentStatusCode:          codes("paid denied partiallypaid"),
	cpcds.ClaimBenefitPaymentStatus:       benefitStatus,
	cpcds.LineBenefitPaymentStatus:        benefitStatus,
	cpcds.ClaimPayeeTypeCode:              codes("beneficiary subscriber provider other"),
	cpcds.BillingProviderNetworkStatus:    networkStatus,
	cpcds.PerformingProviderNetworkStatus: networkStatus,
	cpcds.AdmissionTypeCode:               codes("1 2 3 4 5 9"),
	cpcds.PointOfOriginCode:               codes("1 2 4 5 6 8 9 D E F G"),
	cpcds.DRGName:                         codes("MS-DRG AP-DRG APR-DRG"),
	cpcds.PresentOnAdmission:              codes("Y N U W 1"),
	cpcds.DiagnosisCodeType:               codes("icd10 icd9 masked"),
	cpcds.InpatientProcedureCodeType:      codes("icd10 icd9"),
	cpcds.InpatientProcedureType:          codes("principal other"),
	cpcds.PlaceOfServiceCode: codes("01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 " +
		"31 32 33 34 41 42 49 50 51 52 53 54 55 56 57 58 60 61 62 65 66 71 72 81 99"),
	cpcds.DawProductSelectionCode: codes("0 1 2 3 4 5 6 7 8 9"),
	cpcds.PrescriptionOriginCode:  codes("0 1 2 3 4 5"),
	cpcds.CompoundCode:            codes("0 1 2"),
	cpcds.ToothNumber:             oralSites,
	cpcds.AdditionalToothNumbers:  oralSites,
	cpcds.MissingToothNumbers:     toothCodes,
	cpcds.ToothSurface:            codes("M O I D B F L"),
	cpcds.OralCavityArea:          oralAreas,

	cpcds.MembersGenderCode:                 codes("male female other unknown"),
	cpcds.MembersBirthSex:                   codes("M F UNK ASKU OTH"),
	cpcds.MembersRaceCode:                   codes("1002-5 2028-9 2054-5 2076-8 2106-3 2131-1 UNK ASKU"),
	cpcds.MembersEthnicity:                  codes("2135-2 2186-5 UNK ASKU"),
	cpcds.CoveragesCoverageStatus:           fmStatus,
	cpcds.CoveragesCoverageType:             coverageKinds,
	cpcds.CoveragesRelationshipToSubscriber: codes("child parent spouse common other self injured"),
}

// profileSets has the value sets that differ between profiles.
var profileSets = map[cpcds.Element][NumProfiles]CodeSet{
	cpcds.ClaimType: {
		Inpatient: codes("institutional"), Outpatient: codes("institutional"), Professional: codes("professional vision"),
		Pharmacy: codes("pharmacy"), Oral: codes("oral"),
	},
	cpcds.ClaimSubType: {Inpatient: codes("inpatient"), Outpatient: codes("outpatient")},
	cpcds.DiagnosisType: {
		Inpatient:    codes("principal admitting other externalcauseofinjury"),
		Outpatient:   codes("principal other externalcauseofinjury patientreasonforvisit"),
		Professional: codes("principal secondary"),
		Oral:         codes("principal secondary"),
	},
	cpcds.CareTeamRole: roles,
}

// lacking200 are the codes that a release after 2.0.0 added, some of them through its release of US
// Core.
var lacking200 = map[cpcds.Element]CodeSet{
	cpcds.DiagnosisCodeType: codes("masked"),
	cpcds.MembersBirthSex:   codes("ASKU OTH"),
	cpcds.MembersRaceCode:   codes("2131-1"),
}

// ValueSet returns the closed set of codes of an element in the resource of a profile; for the
// small tables the profile does not matter. It is empty if the profile has no place for the
// element, or if codes are checked only by their form.
func ValueSet(e cpcds.Element, p Profile) CodeSet {
	if e.Info().Level.Table() == cpcds.Claims && !Uses(p, e) {
		return CodeSet{}
	}
	if sets, ok := profileSets[e]; ok {
		return sets[p]
	}
	return valueSets[e]
}

// NewbornOrigins are the points of origin of newborn admissions, which have their own code system.
func NewbornOrigins() CodeSet { return newbornOrigin }

// Lacks reports whether a code of an element's value set is unknown to the release.
func (v *Version) Lacks(e cpcds.Element, code string) bool { return v.lacking[e].Has(code) }

// oneOf accepts the codes of the value set of an element.
func oneOf(e cpcds.Element) func(string) bool {
	s, ok := valueSets[e]
	if !ok {
		panic(e.Column() + " has no value set")
	}
	return s.Has
}

// CoverageKind reports whether a type of coverage is one of HL7's v3-ActCode.
func CoverageKind(code string) bool { return coverageKinds.Has(code) }

// HasRole reports whether the profile's value set of care team roles has a role.
func HasRole(p Profile, role cpcds.Role) bool { return hasRole[p][role] }

// hasRole is roles by number, because it is needed for every role of every claim.
var hasRole = func() (has [NumProfiles][cpcds.NumRoles]bool) {
	for p := range has {
		for r := range cpcds.NumRoles {
			has[p][r] = roles[p].Has(r.String())
		}
	}
	return has
}()
