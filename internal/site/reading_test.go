package site

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"cpcds2fhir/internal/portal/forms"
)

// What is easy enough for members: English for readers of grade 8, by Flesch and Kincaid, and Spanish of 55 points or
// more on the scale INFLESZ ("normal", such as popular newspapers).
const (
	hardestGrade = 8.0
	leastINFLESZ = 55.0
)

// figures are what both measures need.
type figures struct{ sentences, words, syllables int }

func (f *figures) grade() float64 {
	return 0.39*float64(f.words)/float64(f.sentences) + 11.8*float64(f.syllables)/float64(f.words) - 15.59
}

func (f *figures) inflesz() float64 {
	return 206.835 - 62.3*float64(f.syllables)/float64(f.words) - float64(f.words)/float64(f.sentences)
}

var (
	sentenceEnd = regexp.MustCompile(`[.!?:;]+(\s|”|$)`)
	wordForm    = regexp.MustCompile(`[\pL\pN]+(?:[’'-][\pL\pN]+)*`)
)

// measure counts texts. Each ends its last sentence; values stand for a name of two syllables, or for a number.
func measure(lang string, list ...string) *figures {
	f := &figures{}
	for _, text := range list {
		text = strings.NewReplacer("%s", "Data", "%d", "five").Replace(text)
		for _, sentence := range sentenceEnd.Split(text, -1) {
			words := wordForm.FindAllString(sentence, -1)
			if len(words) == 0 {
				continue
			}
			f.sentences++
			for _, w := range words {
				f.words++
				if lang == "es" {
					f.syllables += spanishSyllables(w)
				} else {
					f.syllables += englishSyllables(w)
				}
			}
		}
	}
	return f
}

// englishSyllables counts groups of vowels, without an e that is silent.
func englishSyllables(word string) int {
	word = strings.ToLower(word)
	if word == strings.ToUpper(word) { // digits
		return 1
	}
	n, before := 0, false
	for _, r := range word {
		vowel := strings.ContainsRune("aeiouyáéíóú", r)
		if vowel && !before {
			n++
		}
		before = vowel
	}
	silent := strings.HasSuffix(word, "e") && !strings.HasSuffix(word, "le") || strings.HasSuffix(word, "ed") && !strings.HasSuffix(word, "ted") && !strings.HasSuffix(word, "ded") ||
		strings.HasSuffix(word, "es") && !regexp.MustCompile(`(s|x|z|ch|sh|c|g|i)es$`).MatchString(word) || strings.HasSuffix(word, "e’s")
	if silent && n > 1 {
		n--
	}
	return max(1, n)
}

// spanishSyllables counts vowels; weak ones without an accent go with a vowel beside them.
func spanishSyllables(word string) int {
	strong := func(r rune) bool { return strings.ContainsRune("aeoáéíóú", r) }
	weak := func(r rune) bool { return strings.ContainsRune("iuü", r) }
	letters := []rune(strings.ToLower(word))
	n := 0
	var last rune // vowel of the syllable that goes on, 0 if none does
	for i, r := range letters {
		if r == 'u' && i > 0 && (letters[i-1] == 'q' || letters[i-1] == 'g') && i+1 < len(letters) && strings.ContainsRune("eiéí", letters[i+1]) {
			continue // it is not heard
		}
		vowel := strong(r) || weak(r) || r == 'y' && i == len(letters)-1
		switch {
		case !vowel:
			last = 0
			continue
		case last == 0 || strong(r) && strong(last):
			n++
		}
		last = r
	}
	return max(1, n)
}

// TestSyllables holds the counters to words that were counted by hand.
func TestSyllables(t *testing.T) {
	for word, want := range map[string]int{"share": 1, "information": 4, "people": 2, "stopped": 1, "wanted": 2, "apps": 1, "health": 1, "HIPAA": 2, "copies": 2, "2026": 1} {
		if got := englishSyllables(word); got != want {
			t.Errorf("%s has %d syllables, want %d", word, got, want)
		}
	}
	for word, want := range map[string]int{"información": 4, "compañía": 4, "ley": 1, "quiere": 2, "guía": 2, "aplicación": 4, "leer": 2, "usted": 2, "ciudad": 2, "país": 2} {
		if got := spanishSyllables(word); got != want {
			t.Errorf("%s has %d syllables, want %d", word, got, want)
		}
	}
}

// TestReadingLevel measures every page of members, in both languages, and every text that is more than a line.
func TestReadingLevel(t *testing.T) {
	pages := map[string][]string{}
	for key := range english {
		page, _, _ := strings.Cut(key, ".")
		switch {
		case slices.Contains([]string{"kind", "days", "years", "hours", "minutes"}, page):
			page = "consent"
		case page == "read" || page == "language":
			page = "apps"
		case english[page+".next"] != "" && english[page+".title"] != "":
			page = "problem"
		}
		pages[page] = append(pages[page], key)
	}
	for _, page := range slices.Sorted(maps.Keys(pages)) {
		for lang, texts := range texts {
			var list []string
			for _, key := range pages[page] {
				list = append(list, texts[key])
				readable(t, lang, key, 20, texts[key])
			}
			readable(t, lang, "the page "+page, 0, list...)
		}
	}
}

// TestPromisesAreReadable measures what members read of the answers of apps.
func TestPromisesAreReadable(t *testing.T) {
	set := loadForms(t)
	var en, es []string
	for _, c := range set.Criteria() {
		if !c.Member.Empty() {
			en, es = append(en, c.Member.EN), append(es, c.Member.ES)
		}
	}
	if len(en) < 6 {
		t.Fatalf("members read of %d criteria", len(en))
	}
	readable(t, "en", "the promises", 0, en...)
	readable(t, "es", "the promises", 0, es...)
	f := set.Form(forms.Complaint)
	for _, lang := range forms.Languages {
		list := []string{f.Title.In(lang), f.Intro.In(lang)}
		for _, s := range f.Sections {
			list = append(list, s.Title.In(lang), s.Intro.In(lang))
		}
		for _, q := range f.Questions() {
			list = append(list, q.Label.In(lang), q.Hint.In(lang), q.Help.In(lang))
			for _, o := range q.Options {
				list = append(list, o.In(lang))
			}
		}
		readable(t, lang, "the form for complaints", 0, list...)
	}
}

// readable fails if texts of at least some words are too hard together.
func readable(t *testing.T, lang, what string, least int, list ...string) {
	t.Helper()
	f := measure(lang, list...)
	if f.words < max(1, least) {
		return
	}
	if grade := f.grade(); lang == "en" && grade > hardestGrade {
		t.Errorf("%s is for grade %.1f, want at most %.0f", what, grade, hardestGrade)
	}
	if points := f.inflesz(); lang == "es" && points < leastINFLESZ {
		t.Errorf("%s has %.0f points in Spanish, want %.0f or more", what, points, leastINFLESZ)
	}
}

// TestReadingLevelFinds holds the measures to texts that are too hard.
func TestReadingLevelFinds(t *testing.T) {
	en := "Authorization of the disclosure of individually identifiable health information to the aforementioned application constitutes acknowledgement of applicable limitations."
	if g := measure("en", en).grade(); g < 15 {
		t.Errorf("grade %.1f for a text of lawyers", g)
	}
	es := "La autorización para la divulgación de información médica individualmente identificable implica el reconocimiento de las limitaciones correspondientes."
	if p := measure("es", es).inflesz(); p > 40 {
		t.Errorf("%.0f points for a text of lawyers", p)
	}
	for _, list := range texts {
		for key, text := range list {
			if strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%s has a control character", key)
			}
		}
	}
}
