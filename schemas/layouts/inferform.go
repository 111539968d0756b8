package layouts

import (
	"fmt"
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// anySentinels are texts that mean no value in columns of any kind.
var anySentinels = []string{"~", "NULL", "null", "N/A", "NA", `\N`, "?"}

// dateSentinels are days that mean "not known" or "not ended".
var dateSentinels = []string{"0", "00000000", "88888888", "99999999", "99991231", "18000101", "19000101", "00010101",
	"0000-00-00", "0001-01-01", "1900-01-01", "9999-12-31", "12/31/9999", "01/01/1900", "01/01/0001", "31-Dec-9999", "31-DEC-9999"}

// commonFormats are the date formats to try, the likelier first.
var commonFormats = []string{"YYYYMMDD", "MM/DD/YYYY", "M/D/YYYY", "DD/MM/YYYY", "DD-Mon-YYYY", "D-Mon-YYYY", "DDMonYYYY",
	"YYYY/MM/DD", "MM-DD-YYYY", "DD.MM.YYYY", "MMDDYYYY", "MM/DD/YYYY hh:mm:ss", "YYYYMMDDhhmmss"}

// valueKind says what the values of a column look like.
type valueKind uint8

const (
	noForm    valueKind = iota // no values
	nullForm                   // only sentinels
	dateForm                   // days
	moneyForm                  // numbers with two decimal places
	centsForm                  // padded digits, as amounts with implied decimals are
	wholeForm                  // digits
	otherForm                  // other numbers
	npiForm                    // ten digits
	codeForm                   // words without spaces
	textForm                   // anything
)

// valueForm is what the values of a column look like.
type valueForm struct {
	kind   valueKind
	date   string // dates: the format; ISO needs none in the layout
	misses int    // dates: values that the format does not fit
	either bool   // dates: day and month could be swapped
	values []string
	nulls  []string // sentinels that are days, sorted
}

const isoDate = "YYYY-MM-DD"

// formOf looks at the values of a column.
func formOf(values []string) valueForm {
	var f valueForm
	marked := false // there are sentinels of all kinds
	for _, v := range values {
		v = strings.TrimSpace(v)
		switch {
		case v == "":
		case slices.Contains(anySentinels, v):
			marked = true
		case slices.Contains(dateSentinels, v):
			f.nulls = append(f.nulls, v)
		default:
			f.values = append(f.values, v)
		}
	}
	slices.Sort(f.nulls)
	if f.dates() {
		f.nulls = slices.Compact(f.nulls)
		return f
	}
	f.values = append(f.values, f.nulls...) // 0 is also a number
	f.nulls = nil
	switch {
	case len(f.values) == 0 && marked:
		f.kind = nullForm
	case len(f.values) > 0:
		f.kind = kindOf(f.values)
	}
	return f
}

// dates reports whether the values are days, and finds their format. A column of only sentinels
// counts as days in their format, unless they could be plain numbers.
func (f *valueForm) dates() bool {
	values := f.values
	if len(values) == 0 {
		values = f.nulls
	}
	if len(values) == 0 {
		return false
	}
	best, found := len(values), []string(nil)
	for _, pattern := range append([]string{isoDate}, commonFormats...) {
		misses := 0
		format, _ := parseFormat(pattern)
		for _, v := range values {
			if !fitsDate(format, v) {
				misses++
			}
		}
		switch {
		case misses < best:
			best, found = misses, []string{pattern}
		case misses == best && found != nil:
			found = append(found, pattern)
		}
	}
	if found == nil || 3*best > len(values) {
		return false
	}
	f.kind, f.date, f.misses = dateForm, found[0], best
	f.either = found[0] != "DD/MM/YYYY" && slices.Contains(found, "DD/MM/YYYY")
	return true
}

// fitsDate reports whether a text is a day in a format, with or without a time after it. Digits
// alone are a day only if the year is one that claims can have.
func fitsDate(f dateFormat, v string) bool {
	if day, _, ok := splitISO(v); ok {
		v = day
	}
	day, _, ok := f.parse(v)
	if _, digits := number(v); digits && !slices.Contains(dateSentinels, v) {
		return ok && day > "1850" && day < "2100"
	}
	return ok
}

func kindOf(values []string) valueKind {
	every := func(ok func(string) bool) bool {
		return !slices.ContainsFunc(values, func(v string) bool { return !ok(v) })
	}
	bare := func(v string) string { return strings.Trim(v, "+-") }
	digits := func(v string) bool { _, ok := number(bare(v)); return ok }
	switch {
	case every(func(v string) bool { return len(v) == 10 && digits(v) && v[0] != '0' && v[0] != '-' }):
		return npiForm
	case every(func(v string) bool { return digits(v) && len(bare(v)) > 4 && bare(v)[0] == '0' }):
		return centsForm
	case every(digits):
		return wholeForm
	case every(func(v string) bool {
		whole, fraction, _ := strings.Cut(bare(v), ".")
		return digits(whole) && (fraction == "" || len(fraction) == 2 && digits(fraction))
	}):
		return moneyForm
	case every(func(v string) bool {
		out, _ := (&form{kind: cpcds.QuantityKind, round: 6}).read(v)
		return out != ""
	}):
		return otherForm
	case every(func(v string) bool { return len(v) <= 15 && !strings.ContainsAny(v, " \t") }):
		return codeForm
	}
	return textForm
}

// numeric reports whether the values are numbers.
func (f *valueForm) numeric() bool {
	switch f.kind {
	case noForm, nullForm, moneyForm, centsForm, wholeForm, otherForm, npiForm:
		return true
	}
	return false
}

// String says what the values look like, without showing any.
func (f *valueForm) String() string {
	switch f.kind {
	case noForm, nullForm:
		return "no values seen"
	case dateForm:
		return "dates " + f.date
	case moneyForm:
		return "numbers with two decimal places"
	case centsForm:
		return "padded digits, perhaps money with two implied decimals"
	case wholeForm:
		return "whole numbers, " + f.different()
	case otherForm:
		return "numbers"
	case npiForm:
		return "ten-digit numbers, like NPIs"
	case codeForm:
		return "codes, " + f.different()
	}
	return "texts, " + f.different()
}

func (f *valueForm) different() string {
	distinct := map[string]bool{}
	for _, v := range f.values {
		distinct[v] = true
	}
	if len(distinct) > 50 {
		return "more than 50 distinct"
	}
	return fmt.Sprintf("%d distinct", len(distinct))
}

// inferForm returns the options that a column's values suggest, and notes.
func inferForm(el cpcds.Element, f *valueForm) (options, notes []string) {
	if f.kind == noForm || f.kind == nullForm {
		return nil, []string{"no values seen"}
	}
	switch el.Info().Kind {
	case cpcds.DateKind, cpcds.InstantKind:
		return inferDate(f)
	case cpcds.MoneyKind:
		return inferMoney(f.values)
	case cpcds.QuantityKind:
		if slices.ContainsFunc(f.values, manyPlaces) {
			return []string{"round: 3"}, []string{"guess: more decimal places than a quantity has"}
		}
	}
	if el == cpcds.MembersGenderCode && slices.ContainsFunc(f.values, func(v string) bool { return v == "M" || v == "F" }) {
		return []string{"map: {M: male, F: female, U: unknown}"}, nil
	}
	if codes := Codes(el); codes != nil && slices.ContainsFunc(f.values, func(v string) bool { return foreign(el, v) != "" }) {
		notes = append(notes, "its codes differ: add a map to "+strings.Join(codes, ", "))
	}
	return nil, notes
}

func inferDate(f *valueForm) (options, notes []string) {
	if len(f.nulls) > 0 {
		options = append(options, fmt.Sprintf("null: [%s]", quoteAll(f.nulls)))
		notes = append(notes, "guess: these dates mean a missing value")
	}
	switch {
	case f.date == "":
		return options, append(notes, "no known date format fits: add formats")
	case f.date != isoDate:
		options = append(options, "formats: ["+f.date+"]")
	}
	if f.misses > 0 {
		notes = append(notes, fmt.Sprintf("%d of %d values do not fit", f.misses, max(len(f.values), len(f.nulls))))
	}
	if f.either {
		notes = append(notes, "guess: DD/MM/YYYY would fit too")
	}
	return options, notes
}

func inferMoney(seen []string) (options, notes []string) {
	digits, padded := true, true
	for _, v := range seen {
		bare := strings.Trim(v, "+-")
		if _, ok := number(bare); !ok {
			digits = false
		}
		padded = padded && len(bare) > 4 && bare[0] == '0'
	}
	if slices.ContainsFunc(seen, func(v string) bool { return strings.HasSuffix(v, "-") || strings.HasSuffix(v, "+") }) {
		options = append(options, "sign: trailing")
	}
	switch {
	case digits && padded:
		options = append(options, "decimals: 2")
		notes = append(notes, "guess: padded digits without a point hold cents")
	case digits:
		notes = append(notes, "whole numbers: add decimals: 2 if the last two digits are cents")
	case slices.ContainsFunc(seen, manyPlaces):
		options = append(options, "round: 2")
		notes = append(notes, "guess: more decimal places than cents")
	}
	return options, notes
}

// manyPlaces reports whether a number has an exponent or more than three decimals.
func manyPlaces(v string) bool {
	_, fraction, _ := strings.Cut(v, ".")
	return len(fraction) > 3 || strings.ContainsAny(v, "eE")
}
