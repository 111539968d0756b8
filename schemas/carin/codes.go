package carin

import "strings"

// CodeSet is a closed set of codes. The zero value is empty.
type CodeSet struct{ m map[string]struct{} }

func codes(list string) CodeSet {
	m := map[string]struct{}{}
	for f := range strings.FieldsSeq(list) {
		m[f] = struct{}{}
	}
	return CodeSet{m}
}

// Has reports whether the set has the code.
func (s CodeSet) Has(code string) bool {
	_, ok := s.m[code]
	return ok
}

// The closed value sets of the profiles, and code systems small enough to list.
var (
	eobStatus     = codes("active cancelled draft entered-in-error")
	fmStatus      = codes("active cancelled draft entered-in-error")
	genders       = codes("male female other unknown")
	birthSexes    = codes("M F UNK")
	relationships = codes("child parent spouse common other self injured")
	payeeTypes    = codes("beneficiary subscriber provider other")
	payStatus     = codes("paid denied partiallypaid")
	benefitStatus = codes("innetwork outofnetwork other")
	networkStatus = codes("innetwork outofnetwork")
	procTypes     = codes("principal other")
	poaCodes      = codes("Y N U W 1")
	admTypes      = codes("1 2 3 4 5 9")
	originCodes   = codes("1 2 4 5 6 8 9 D E F G")
	newbornOrigin = codes("5 6 9")
	dawCodes      = codes("0 1 2 3 4 5 6 7 8 9")
	rxOrigins     = codes("0 1 2 3 4 5")
	compoundCodes = codes("0 1 2")
	races         = codes("1002-5 2028-9 2054-5 2076-8 2106-3 UNK ASKU")
	ethnicities   = codes("2135-2 2186-5 UNK ASKU")
	drgNames      = codes("MS-DRG AP-DRG APR-DRG")

	// coverageKinds are the ActCoverageTypeCodes of HL7's v3-ActCode.
	coverageKinds = codes("HMO PPO POS EHCPOL HIP HSAPOL MCPOL LTC DENTAL VISPOL DRUGPOL MENTPOL SUBPOL DISEASE AUTOPOL COL UNINSMOT " +
		"PUBLICPOL DENTPRG DISEASEPRG CANPRG ENDRENAL HIVAIDS MANDPOL MENTPRG SAFNET SUBPRG SUBSIDIZ SUBSIDMC SUBSUPP WCBPOL " +
		"DIS EWB FLEXP LIFE ANNU TLIFE ULIFE PNC REI SURPL UMBRL CHAR CRIME EAP GOVEMP HIRISK IND MILITARY RETIRE SOCIAL VET")

	posCodes = codes("01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 " +
		"31 32 33 34 41 42 49 50 51 52 53 54 55 56 57 58 60 61 62 65 66 71 72 81 99")
	toothCodes = codes("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 " +
		"51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 " +
		"A B C D E F G H I J K L M N O P Q R S T AS BS CS DS ES FS GS IS JS")
	oralAreas    = codes("00 01 02 10 20 30 40")
	surfaceCodes = codes("M O I D B F L")

	diagnosisTypes = [NumProfiles]CodeSet{
		Inpatient:    codes("principal admitting other externalcauseofinjury"),
		Outpatient:   codes("principal other externalcauseofinjury patientreasonforvisit"),
		Professional: codes("principal secondary"),
		Pharmacy:     {},
		Oral:         codes("principal secondary"),
	}
	roles = [NumProfiles]CodeSet{
		Inpatient:    codes("attending referring operating otheroperating rendering primary"),
		Outpatient:   codes("attending referring operating otheroperating rendering primary"),
		Professional: codes("rendering purchasedservice referring primary supervisor"),
		Pharmacy:     codes("primary prescribing"),
		Oral:         codes("rendering purchasedservice referring primary supervisor"),
	}
)

// CoverageKind reports whether a type of coverage is one of HL7's v3-ActCode.
func CoverageKind(code string) bool { return coverageKinds.Has(code) }

// HasRole reports whether the profile's value set of care team roles has a role.
func HasRole(p Profile, role string) bool { return roles[p].Has(role) }

// HasFacility reports whether the profile has the service facility.
func HasFacility(p Profile) bool { return p == Professional || p == Oral }

// DiagnosisType returns the type of a diagnosis as the profile writes it: what an
// institutional claim calls other, a professional or oral one calls secondary.
// An absent type is principal for the first diagnosis and that one for the rest.
func DiagnosisType(p Profile, typ string, first bool) string {
	rest := "secondary"
	if p == Inpatient || p == Outpatient {
		rest = "other"
	}
	switch typ {
	case "":
		if first {
			return "principal"
		}
		return rest
	case "other", "secondary":
		return rest
	}
	return typ
}

// ValidNPI reports whether s has ten digits and a right check digit: Luhn over
// 80840 and the number, as CMS defines it.
func ValidNPI(s string) bool {
	if len(s) != 10 {
		return false
	}
	sum := 24 // the Luhn sum of the prefix 80840
	for i := range 10 {
		d := int(s[i]) - '0'
		if d < 0 || d > 9 {
			return false
		}
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// ValidICD10CM reports whether s has the form of an ICD-10-CM code with its
// decimal point.
func ValidICD10CM(s string) bool {
	if len(s) < 3 || len(s) > 8 || s[0] < 'A' || s[0] > 'Z' || !digit(s[1]) || !alnum(s[2:3]) {
		return false
	}
	return len(s) == 3 || len(s) > 4 && s[3] == '.' && alnum(s[4:])
}

// ValidICD9CM reports whether s has the form of an ICD-9-CM diagnosis with its
// decimal point.
func ValidICD9CM(s string) bool {
	n := 3
	if s != "" && s[0] == 'E' {
		n = 4
	}
	if len(s) < n || !digit(s[0]) && s[0] != 'E' && s[0] != 'V' || !digits(s[1:n]) {
		return false
	}
	return len(s) == n || len(s) > n+1 && len(s) <= n+3 && s[n] == '.' && digits(s[n+1:])
}

// ValidNDC reports whether s is an NDC: 11 digits, or 10 or 11 with two hyphens.
func ValidNDC(s string) bool {
	n, hyphens := 0, 0
	for i := range len(s) {
		switch {
		case digit(s[i]):
			n++
		case s[i] == '-' && i > 0 && i < len(s)-1:
			hyphens++
		default:
			return false
		}
	}
	return hyphens == 0 && n == 11 || hyphens == 2 && (n == 10 || n == 11)
}

func validICD10PCS(s string) bool { return len(s) == 7 && alnum(s) }

func validICD9PCS(s string) bool {
	return len(s) == 2 && digits(s) || len(s) >= 4 && len(s) <= 5 && digits(s[:2]) && s[2] == '.' && digits(s[3:])
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func digits(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return s != ""
}

func alnum(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) && (s[i] < 'A' || s[i] > 'Z') {
			return false
		}
	}
	return s != ""
}
