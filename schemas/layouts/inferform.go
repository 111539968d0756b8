package layouts

import (
	"fmt"
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// anySentinels are texts that mean nothing in columns of all kinds.
var anySentinels = []string{"~", "NULL", "null", "N/A", "NA", `\N`, "?"}

// dateSentinels are days that mean "not known" or "not ended".
var dateSentinels = []string{"0", "00000000", "88888888", "99999999", "99991231", "18000101", "19000101", "00010101",
	"0000-00-00", "0001-01-01", "1900-01-01", "9999-12-31", "12/31/9999", "01/01/1900", "01/01/0001", "31-Dec-9999", "31-DEC-9999"}

// commonFormats are the forms of dates that are tried, the likelier first.
var commonFormats = []string{"YYYYMMDD", "MM/DD/YYYY", "M/D/YYYY", "DD/MM/YYYY", "DD-Mon-YYYY", "D-Mon-YYYY", "DDMonYYYY",
	"YYYY/MM/DD", "MM-DD-YYYY", "DD.MM.YYYY", "MMDDYYYY", "MM/DD/YYYY hh:mm:ss", "YYYYMMDDhhmmss"}

// inferForm returns the options of a column that its values ask for, and notes.
func inferForm(el cpcds.Element, values []string) (options, notes []string) {
	var seen []string
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" && !slices.Contains(anySentinels, v) {
			seen = append(seen, v)
		}
	}
	if len(seen) == 0 {
		return nil, []string{"no value was seen"}
	}
	switch el.Info().Kind {
	case cpcds.DateKind, cpcds.InstantKind:
		return inferDate(seen)
	case cpcds.MoneyKind:
		return inferMoney(seen)
	case cpcds.QuantityKind:
		if slices.ContainsFunc(seen, manyPlaces) {
			return []string{"round: 3"}, []string{"guess: more decimal places than a quantity has"}
		}
	}
	if el == cpcds.MembersGenderCode && slices.ContainsFunc(seen, func(v string) bool { return v == "M" || v == "F" }) {
		return []string{"map: {M: male, F: female, U: unknown}"}, nil
	}
	return nil, nil
}

func inferDate(seen []string) (options, notes []string) {
	var days, sentinels []string
	for _, v := range seen {
		switch {
		case !slices.Contains(dateSentinels, v):
			days = append(days, v)
		case !slices.Contains(sentinels, v):
			sentinels = append(sentinels, v)
		}
	}
	if len(sentinels) > 0 {
		slices.Sort(sentinels)
		options = append(options, fmt.Sprintf("null: [%s]", quoteAll(sentinels)))
		notes = append(notes, "guess: these days mean that there is none")
	}
	all := func(ok func(string) bool) bool {
		return !slices.ContainsFunc(days, func(v string) bool { return !ok(v) })
	}
	if all(func(v string) bool { _, _, ok := splitISO(v); return ok }) {
		return options, notes
	}
	var fit []string
	for _, pattern := range commonFormats {
		f, err := parseFormat(pattern)
		if err == nil && all(func(v string) bool { _, _, ok := f.parse(v); return ok }) {
			fit = append(fit, pattern)
		}
	}
	switch {
	case len(fit) == 0:
		notes = append(notes, "no known date format fits: add formats")
	default:
		options = append(options, "formats: ["+fit[0]+"]")
		if slices.Contains(fit, "DD/MM/YYYY") && fit[0] != "DD/MM/YYYY" {
			notes = append(notes, "guess: DD/MM/YYYY would fit too")
		}
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
