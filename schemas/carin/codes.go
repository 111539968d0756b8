package carin

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
