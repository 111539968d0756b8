package forms

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// lookalikes are letters of other scripts that look like Latin ones in common fonts, lower and upper case: the part of
// Unicode's list of confusables (UTS 39) that names of apps are imitated with. What NFKC maps already, such as full-width
// and mathematical letters, is not among them, and neither are letters with marks, which lose them.
var lookalikes = pairs(
	// Cyrillic
	"аa", "бb", "вb", "сc", "ԁd", "еe", "ҽe", "ғf", "ԍg", "һh", "нh", "іi", "їi", "јj", "кk", "ӏl", "мm", "ոn", "пn", "оo", "рp", "ԛq", "гr", "ѕs", "тt", "цu", "ѵv",
	"ԝw", "шw", "хx", "уy", "үy", "зz", "ҳx", "ӡz",
	"АA", "ВB", "СC", "ԀD", "ЕE", "НH", "ІI", "ЈJ", "КK", "МM", "ОO", "РP", "ЅS", "ТT", "ѴV", "ԜW", "ХX", "УY", "ҮY", "ӀI", "ԌG", "ЗZ",
	// Greek
	"αa", "βb", "ϲc", "δd", "εe", "ϝf", "ηn", "ιi", "κk", "νv", "μu", "οo", "ρp", "σo", "ςc", "τt", "υu", "ωw", "χx", "γy", "λl", "ϳj",
	"ΑA", "ΒB", "ΕE", "ΖZ", "ΗH", "ΙI", "ΚK", "ΜM", "ΝN", "ΟO", "ΡP", "ΤT", "ΥY", "ΧX", "ϹC", "ͿJ",
	// Armenian, Cherokee, Coptic
	"աw", "օo", "սu", "հh", "ցg", "զq", "քf", "յj", "ՍU", "ՏS", "ՕO", "լl", "ᎪA", "ᏴB", "ᏟC", "ᎠD", "ᎬE", "ᎻH", "ᎫJ", "ᏦK", "ᏞL", "ᎷM", "ᏢP", "ᎡR", "ᏚS", "ᎢT", "ᏙV", "ᎳW", "ᏃZ", "ⲟo", "ⲥc", "ⲣp",
	// Latin letters of their own
	"ıi", "ɩi", "ɑa", "ɡg", "ɪi", "ʀr", "ʟl", "ʏy", "ѡw", "øo", "đd", "łl", "ħh", "ŧt", "ɓb", "ɗd", "ƙk", "ƴy", "ŀl", "ɛe", "ɔc", "ʙb", "ᴀa", "ᴄc", "ᴅd", "ᴇe", "ᴊj", "ᴋk", "ᴍm", "ᴏo", "ᴘp", "ᴛt", "ᴜu", "ᴠv", "ᴡw", "ᴢz", "ꜱs",
	// Digits and signs that stand for letters
	"0o", "1l", "|l", "!l", "3e", "4a", "5s", "$s", "7t", "8b", "@a", "€e", "¢c", "ǀl", "ⅼl", "∣l", "εe", "ºo", "°o",
)

func pairs(list ...string) map[rune]rune {
	m := make(map[rune]rune, len(list))
	for _, p := range list {
		r := []rune(p)
		m[r[0]] = unicode.ToLower(r[1])
	}
	return m
}

// Confusable is the skeleton of a name: names that look alike have the same one. Case, spaces, punctuation, marks and
// characters that show nothing do not count; letters of other scripts, and digits, count as the Latin letters that they
// look like. It is for comparing only.
func Confusable(name string) string {
	return skeleton(name, true)
}

// skeleton is the name without what does not tell it from others; signs that stand for letters are kept only if asked,
// because in words that are taken apart they are punctuation.
func skeleton(name string, signs bool) string {
	var b strings.Builder
	// Letters are mapped before their case is folded, because forms differ by case: Ρ is a P, ρ a p, but Η is an H, η an n.
	runes := []rune(norm.NFD.String(norm.NFKC.String(name)))
	for i, r := range runes {
		// A sign stands for a letter before another one; at the end of a word it is punctuation.
		sign := signs && i+1 < len(runes) && letter(runes[i+1])
		if l, ok := lookalikes[r]; ok && (sign || letter(r)) {
			r = l
		}
		r = unicode.ToLower(r)
		if l, ok := lookalikes[r]; ok && unicode.IsLetter(r) {
			r = l
		}
		switch {
		case r == 'i' || r == 'j':
			r = 'l' // a capital i is a small l
		case !letter(r):
			continue
		}
		b.WriteRune(r)
	}
	out := b.String()
	if out == "" {
		return strings.ToLower(strings.Join(strings.Fields(norm.NFKC.String(name)), ""))
	}
	return strings.NewReplacer("rn", "m", "vv", "w").Replace(out)
}

func letter(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// reserved are words that make an app look like one of the government's. Short ones count as whole words only.
var reserved = []string{
	"medicaid", "medicare", "cms", "chip", "hhs", "official", "oficial", "government", "gobierno", "federal", "department of health", "departamento de salud", "blue button",
	"healthcare.gov", "social security", "seguro social",
}

// Reserved are the words in a name that belong to the government, or to those whose names are given, such as the agency
// and its program; none if there are none. Lookalikes are found too. A reviewer decides what they mean: "for Medicaid
// members" is a fact, "Medicaid" is not this app's name.
func Reserved(name string, own ...string) []string {
	var out []string
	whole, parts := Confusable(name), wordsOf(name)
	for _, word := range slices.Concat(reserved, own) {
		s := Confusable(word)
		if s == "" || slices.Contains(out, word) {
			continue
		}
		if len([]rune(s)) > 4 && strings.Contains(whole, s) || slices.Contains(parts, s) {
			out = append(out, word)
		}
	}
	return out
}

// wordsOf are the skeletons of the words of a name; letters that stand alone, as in C.M.S., make one word.
func wordsOf(name string) []string {
	var out []string
	var single strings.Builder
	flush := func() {
		if single.Len() > 0 {
			out = append(out, skeleton(single.String(), false))
			single.Reset()
		}
	}
	for _, w := range strings.FieldsFunc(norm.NFKC.String(name), func(r rune) bool {
		return !letter(r) && !unicode.IsMark(r) && !unicode.Is(unicode.Cf, r)
	}) {
		if len([]rune(w)) == 1 {
			single.WriteString(w)
			continue
		}
		flush()
		out = append(out, skeleton(w, false))
	}
	flush()
	return out
}
