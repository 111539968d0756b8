package forms

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Kinds of what Scan finds.
const (
	Secret     = "secret"      // a client secret, a token, a password
	PrivateKey = "private_key" // a key that signs or decrypts
	SSN        = "ssn"         // looks like a Social Security number
	Medicare   = "medicare"    // looks like a Medicare number (MBI)
	MemberID   = "member_id"   // looks like a Medicaid or member number
	BirthDate  = "birth_date"  // a date that is called somebody's birth
)

// Finding says what kind of thing a text seems to hold, and in which line; never the thing itself.
type Finding struct {
	Kind string
	Line int // from 1
}

// patterns find what has no place in free text. They are meant to warn: a text that they find may be harmless, and one
// that they do not find need not be.
var patterns = []struct {
	kind string
	re   *regexp.Regexp
	is   func(found string) bool // nil: what was found is enough
}{
	{PrivateKey, regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY`), nil},
	{PrivateKey, regexp.MustCompile(`"(?:d|dp|dq|qi)"\s*:\s*"[A-Za-z0-9_-]{16,}`), nil}, // of a JSON Web Key
	{Secret, regexp.MustCompile(`(?i)\bcfh_(?:test|live)_[A-Za-z0-9_-]{6,}`), nil},      // of this program
	{Secret, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`), nil},      // a JSON Web Token
	{Secret, regexp.MustCompile(`(?i)\bauthorization["']?\s*:\s*["']?(?:basic|bearer)\s+[A-Za-z0-9+/=._~-]{8,}`), nil},
	{Secret, regexp.MustCompile(`(?i)\b(?:client_?secret|secret|password|passwd|contraseña|access_?token|refresh_?token|client_assertion|code_verifier)["']?\s*(?:[:=]|\bis\b|\bes\b)\s*["']?[^\s"'&<>{}]{6,}`), telling},
	{Secret, regexp.MustCompile(`[A-Za-z0-9+/_-]{40,}={0,2}`), random},
	{Secret, regexp.MustCompile(`\b(?:[0-9a-f]{40,}|[0-9A-F]{40,})\b`), random},
	{SSN, regexp.MustCompile(`\b\d{3}[- ]\d{2}[- ]\d{4}\b`), ssn},
	{SSN, regexp.MustCompile(`(?i)(?:\bssn\b|social security|seguro social)[^0-9\n]{0,30}\d{3}[- ]?\d{2}[- ]?\d{4}\b`), nil},
	{Medicare, regexp.MustCompile(`(?i)\b[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9][0-9]-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9][0-9]-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y][0-9][0-9]\b`), nil},
	{MemberID, regexp.MustCompile(`\b\d{9}[A-Z]\b`), nil}, // a state's number and its check letter
	{MemberID, regexp.MustCompile(`(?i)\b(?:medicaid|chip|member|recipient|beneficiary|subscriber|patient|miembro|afiliad[oa]|beneficiari[oa]|paciente)\b[^0-9\n]{0,25}\b[A-Z]{0,3}\d[\d -]{6,15}\d[A-Z]?\b`), digits},
	{BirthDate, regexp.MustCompile(`(?i)(?:\bdob\b|\bd\.o\.b\b|\bbirth ?da(?:te|y)\b|\bdate of birth\b|\bborn\b|\bnacimiento\b|\bnaci(?:ó|(?:o|do|da)\b))[^0-9\n]{0,25}` +
		`(?:\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}|\d{4}-\d{2}-\d{2}|\d{8}\b|\d{1,2}(?:st|nd|rd|th)?,?\s+(?:de\s+)?\pL+,?\s+(?:de\s+)?\d{4})`), nil},
	{BirthDate, regexp.MustCompile(`(?i)(?:\bdob\b|\bbirth ?da(?:te|y)\b|\bdate of birth\b|\bborn\b)[^0-9\n]{0,25}\s(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?\s+\d{1,2}(?:st|nd|rd|th)?,?\s+\d{4}`), nil},
}

var (
	placeholder = regexp.MustCompile(`^(?:[<{\[*x.…_-]|your|my_|example)`)
	webAddress  = regexp.MustCompile(`https?://[^\s?#"'<>]*`)
)

// Scan looks in free text for secrets and for numbers that stand for a person. It returns kinds and lines, each once,
// never a value. It is safe for concurrent use.
func Scan(text string) []Finding {
	var out []Finding
	for i, line := range strings.Split(text, "\n") {
		if line == "" {
			continue
		}
		line = norm.NFKC.String(strings.Map(func(r rune) rune {
			if unicode.Is(unicode.Cf, r) {
				return -1
			}
			return r
		}, line))
		line = strings.NewReplacer("‐", "-", "‑", "-", "–", "-").Replace(line)
		// The path of an address is long and no secret; its query may have one.
		before := len(out)
		bare := webAddress.ReplaceAllString(line, " ")
		for _, p := range patterns {
			f := Finding{Kind: p.kind, Line: i + 1}
			if slices.Contains(out[before:], f) {
				continue
			}
			for _, found := range p.re.FindAllString(bare, -1) {
				if p.is == nil || p.is(found) {
					out = append(out, f)
					break
				}
			}
		}
	}
	return out
}

// telling reports whether what stands behind the name of a secret is one, and neither a word nor a placeholder.
func telling(found string) bool {
	i := strings.LastIndexAny(found, "=: \"'")
	value := strings.ToLower(found[i+1:])
	return !placeholder.MatchString(value) && (strings.ContainsAny(value, "0123456789") || strings.ContainsAny(value, "!$%*+/^~") || len(value) > 20)
}

// random reports whether a run of characters looks like one that a machine made: letters and digits mixed, in hexadecimal
// or in base 64, and not words joined by hyphens.
func random(found string) bool {
	var upper, lower, number, other int
	for _, r := range found {
		switch {
		case r >= '0' && r <= '9':
			number++
		case r >= 'A' && r <= 'Z':
			upper++
		case r >= 'a' && r <= 'z':
			lower++
		default:
			other++
		}
	}
	if other == 0 && (upper == 0 || lower == 0) {
		return number >= 4 && upper+lower >= 4
	}
	return number >= 3 && upper >= 3 && lower >= 3
}

// ssn reports whether three groups of digits can be a number of the Social Security Administration.
func ssn(found string) bool {
	area, group, serial := found[:3], found[4:6], found[7:]
	return area != "000" && area != "666" && area[0] != '9' && group != "00" && serial != "0000"
}

// digits reports whether there are enough digits for a number of a person, and not those of a date alone.
func digits(found string) bool {
	n := 0
	for _, r := range found {
		if r >= '0' && r <= '9' {
			n++
		}
	}
	return n >= 8 && !isoDate.MatchString(found)
}

var isoDate = regexp.MustCompile(`\b(?:19|20)\d\d-\d\d-\d\d\b`)

// Warnings says for which answers in free text Scan finds something, at most once for each question and kind.
func (f *Form) Warnings(a Answers) []Problem {
	var out []Problem
	for _, q := range f.Visible(a) {
		if q.Kind != Plain && q.Kind != Paragraph && q.Kind != URL {
			continue
		}
		for _, v := range a[q.ID] {
			var kinds []string
			for _, found := range Scan(v) {
				if !slices.Contains(kinds, found.Kind) {
					kinds = append(kinds, found.Kind)
					out = append(out, Problem{Question: q.ID, Key: "scan_" + found.Kind, Text: f.words.text("scan." + found.Kind)})
				}
			}
		}
	}
	return out
}
