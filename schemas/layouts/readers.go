package layouts

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cpcds2fhir/schemas/cpcds"
)

// The rules that a value can break when it is read: what Column.Bad holds.
const (
	RuleText       = "value-text"       // not UTF-8, or with control characters
	RuleCode       = "value-code"       // a code with a space inside
	RuleDate       = "value-date"       // not a valid date in the layout's form
	RuleInstant    = "value-instant"    // not a point in time in the layout's form
	RuleMoney      = "value-money"      // not an amount in the layout's form
	RuleQuantity   = "value-quantity"   // not a number in the layout's form
	RuleFlag       = "value-flag"       // not true or false in any known spelling
	RuleUnmapped   = "value-unmapped"   // not in a map whose else is bad
	RuleExpression = "value-expression" // the layout's expression fails on it
)

// ValueRules returns the ids of all rules that a value can break when it is read.
func ValueRules() []string {
	return []string{RuleText, RuleCode, RuleDate, RuleInstant, RuleMoney, RuleQuantity, RuleFlag, RuleUnmapped, RuleExpression}
}

// ValueRuleText is the text of a rule of ValueRules.
func ValueRuleText(id string) string { return valueTexts[id] }

var valueTexts = map[string]string{
	RuleText:       "UTF-8 without control characters",
	RuleCode:       "a code without spaces inside",
	RuleDate:       "a valid date in the layout's format",
	RuleInstant:    "a date and time in the layout's format",
	RuleMoney:      "an amount in the layout's format",
	RuleQuantity:   "a number in the layout's format",
	RuleFlag:       "true or false, 1 or 0, y or n",
	RuleUnmapped:   "a code in the layout's map",
	RuleExpression: "a value that the layout's expression can handle",
}

// form says how the values of one column are written. It is immutable and safe for
// concurrent use.
type form struct {
	kind     cpcds.Kind
	formats  []dateFormat
	decimals int  // implied decimal places; 0: the point is written
	round    int  // decimal places to round to; -1: not rounded
	trailing bool // the sign may stand at the end

	// zone is the layout's time zone: an instant becomes its day in that zone. Without one it
	// becomes the day as written.
	zone *time.Location
}

// plain reports whether s is already canonical, by a look at its bytes. False means only that read
// must decide.
func (f *form) plain(s string) bool {
	switch f.kind {
	case cpcds.DateKind:
		return f.formats == nil && plainDate(s)
	case cpcds.InstantKind:
		return f.formats == nil && plainInstant(s)
	case cpcds.MoneyKind:
		return f.decimals == 0 && plainDecimal(s, 2, f.places())
	case cpcds.QuantityKind:
		return f.decimals == 0 && plainDecimal(s, 0, f.places())
	case cpcds.FlagKind:
		return s == "true" || s == "false"
	case cpcds.CodeKind:
		return plainText(s, '!')
	case cpcds.CodesKind:
		return plainText(s, '!') && !strings.ContainsFunc(s, separatesCodes)
	}
	return plainText(s, ' ')
}

// places is the maximum number of decimal places of a canonical number of the form.
func (f *form) places() int {
	if f.round >= 0 {
		return f.round
	}
	return maxFraction
}

// plainText reports whether s has only printable ASCII from lowest on that JSON
// need not escape, and no space at its ends.
func plainText(s string, lowest byte) bool {
	for i := range len(s) {
		if c := s[i]; c < lowest || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && s[0] != ' ' && s[len(s)-1] != ' '
}

// separatesCodes reports whether r separates the codes of a list: no code has a comma, semicolon or
// bar.
func separatesCodes(r rune) bool { return unicode.IsSpace(r) || r == ',' || r == ';' || r == '|' }

// read makes canonical text from a trimmed, non-empty text. The second result is the rule that it
// breaks, "" if it breaks none.
func (f *form) read(s string) (string, string) {
	switch f.kind {
	case cpcds.DateKind:
		if day, c, ok := f.day(s); ok {
			return dayIn(f.zone, day, c), ""
		}
		return "", RuleDate
	case cpcds.InstantKind:
		if day, c, ok := f.day(s); ok {
			return instant(f.zone, day, c), ""
		}
		return "", RuleInstant
	case cpcds.MoneyKind:
		return f.number(s, 2, RuleMoney)
	case cpcds.QuantityKind:
		return f.number(s, 0, RuleQuantity)
	case cpcds.FlagKind:
		switch strings.ToLower(s) {
		case "true", "1", "y":
			return "true", ""
		case "false", "0", "n":
			return "false", ""
		}
		return "", RuleFlag
	case cpcds.CodeKind:
		if strings.ContainsFunc(s, unicode.IsSpace) {
			return "", RuleCode
		}
		return clean(s, false)
	case cpcds.CodesKind:
		if utf8.ValidString(s) {
			s = strings.Join(strings.FieldsFunc(s, separatesCodes), " ") // separators alone are not a code
		}
		return clean(s, false)
	case cpcds.TextKind:
		return clean(s, true)
	}
	return clean(s, false)
}

// day reads a date, with its clock if it has one.
func (f *form) day(s string) (string, clock, bool) {
	if f.formats == nil {
		return splitISO(s)
	}
	for _, p := range f.formats {
		if day, c, ok := p.parse(s); ok {
			return day, c, true
		}
	}
	return "", clock{}, false
}

func (f *form) number(s string, places int, rule string) (string, string) {
	d, ok := parseDecimal(s, f.trailing, f.round >= 0)
	if !ok || f.decimals > 0 && strings.ContainsAny(s, ".eE") {
		return "", rule
	}
	if f.decimals > 0 && d.n > 0 {
		d.point -= f.decimals
	}
	if f.round >= 0 {
		d.round(f.round)
	}
	if !d.fits() {
		return "", rule
	}
	var buf [2*maxInteger + 4]byte
	return string(d.append(buf[:0], places)), ""
}

// clean escapes what JSON must escape. Line breaks and tabs become one space if lines is set;
// otherwise they are bad, like all other control characters.
func clean(s string, lines bool) (string, string) {
	if !utf8.ValidString(s) {
		return "", RuleText
	}
	escape, breaks := false, false
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			escape = true
		case lines && (r == '\n' || r == '\r' || r == '\t' || r == '\u0085'):
			breaks = true
		case unicode.IsControl(r):
			return "", RuleText
		}
	}
	if !escape && !breaks {
		return s, ""
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	gap, last := false, ' '
	for _, r := range s {
		switch r {
		case '\n', '\r', '\t', '\u0085':
			gap = true
			continue
		case ' ':
			if gap {
				continue
			}
		}
		if gap && last != ' ' {
			b.WriteByte(' ')
		}
		if r == '"' || r == '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		gap, last = false, r
	}
	return b.String(), ""
}
