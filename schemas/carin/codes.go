package carin

import (
	"slices"
	"strings"
)

// HasFacility reports whether the profile has a service facility.
func HasFacility(p Profile) bool { return p == Professional || p == Oral }

// DiagnosisType returns the type of a diagnosis as the profile writes it: an institutional claim
// calls other what a professional or oral one calls secondary. An absent type is principal for the
// first diagnosis, and other or secondary for the rest.
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

// ValidNPI reports whether s has ten digits and a valid check digit: Luhn over 80840 and the
// number, as CMS defines it.
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

// NDC returns an NDC as the eleven digits that the guide requires, from eleven digits, or from
// labeler, product and package numbers with hyphens (5-4-2, 4-4-2, 5-3-2, 5-4-1), each padded with
// zeros. All zeros are not an NDC. Anything else is returned as it is: in ten digits without
// hyphens the place of the missing zero is unknown.
func NDC(s string) string {
	if strings.Trim(s, "0-") == "" {
		return ""
	}
	if strings.IndexByte(s, '-') < 0 {
		return s
	}
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return s
	}
	missing := 0
	for i, n := range [3]int{5, 4, 2} {
		if !digits(parts[i]) || len(parts[i]) > n {
			return s
		}
		missing += n - len(parts[i])
		parts[i] = "00000"[:n-len(parts[i])] + parts[i]
	}
	if missing > 1 {
		return s
	}
	return strings.Join(parts, "")
}

// ValidNDC reports whether s is an NDC of eleven digits.
func ValidNDC(s string) bool { return len(s) == 11 && digits(s) }

// validCARC reports whether s has the form of an X12 claim adjustment reason code (list 139).
func validCARC(s string) bool {
	if s != "" && strings.IndexByte("ABPWY", s[0]) >= 0 {
		s = s[1:]
	}
	return digits(s) && len(s) <= 3
}

// validRARC reports whether s has the form of an X12 remittance advice remark code (list 411).
func validRARC(s string) bool {
	for _, prefix := range [3]string{"MA", "M", "N"} {
		if rest, ok := strings.CutPrefix(s, prefix); ok && digits(rest) && len(rest) <= 4 {
			return true
		}
	}
	return false
}

// validRejects reports whether all codes of a list have the form of NCPDP reject codes (511-FB). An
// X12 group code before a number is not one: CO 70 is a single remittance code.
func validRejects(list string) bool {
	codes := strings.Fields(list)
	for i, s := range codes {
		if len(s) != 2 && len(s) != 3 || !alnum(s) {
			return false
		}
		if slices.Contains(groupCodes, s) && i+1 < len(codes) && digits(codes[i+1]) {
			return false
		}
	}
	return true
}

// groupCodes are the claim adjustment group codes of X12.
var groupCodes = []string{"CO", "CR", "OA", "PI", "PR"}

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
