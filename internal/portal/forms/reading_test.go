package forms

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadingLevel keeps the form that members fill in readable: Flesch-Kincaid grade 8 at most in English, and 55
// (normal) or more on the scale of Szigriszt-Pazos, INFLESZ, in Spanish.
func TestReadingLevel(t *testing.T) {
	var en, es []string
	member := func(where string, text Text) {
		en, es = append(en, text.EN), append(es, text.ES)
		// Sentences must be readable by themselves; a label of three words says nothing about its level.
		if n := len(word.FindAllString(text.EN, -1)); n >= 8 {
			if g := grade(text.EN); g > 8 {
				t.Errorf("%s is of grade %.1f: %s", where, g, text.EN)
			}
		}
	}
	all := texts(builtIn(t))
	for where, text := range all {
		if strings.HasPrefix(where, Complaint) {
			member(where, text)
		}
	}
	if len(en) < 35 {
		t.Fatalf("only %d texts", len(en))
	}
	slices.Sort(en)
	slices.Sort(es)
	// What is no sentence ends as one here, so that labels do not run together.
	if g := grade(strings.Join(en, ". ")); g > 8 {
		t.Errorf("the form is of grade %.1f", g)
	} else {
		t.Logf("grade %.1f", g)
	}
	if v := inflesz(strings.Join(es, ". ")); v < 55 {
		t.Errorf("in Spanish it has %.1f on the scale INFLESZ", v)
	} else {
		t.Logf("INFLESZ %.1f", v)
	}
	trade := regexp.MustCompile(`(?i)\b(beneficiary|scopes?|tokens?|OAuth|SMART|FHIR|API|authorization|beneficiario|alcance|disclosure)\b`)
	for _, text := range slices.Concat(en, es) {
		if m := trade.FindString(text); m != "" {
			t.Errorf("members read %q in %q", m, text)
		}
	}
	// What members read about privacy is short, and in plain words.
	var seen []string
	for _, c := range builtIn(t).Criteria() {
		if c.Group == Disclosure {
			seen = append(seen, c.Member.EN)
		}
		if m := trade.FindString(c.Member.EN + " " + c.Member.ES); m != "" {
			t.Errorf("members read %q of %s", m, c.Code)
		}
	}
	if g := grade(strings.Join(seen, ". ") + "."); g > 8 {
		t.Errorf("what members read about privacy is of grade %.1f", g)
	} else {
		t.Logf("privacy: grade %.1f", g)
	}
	// The measure itself can tell: this is of grade 12 or more.
	if g := grade("The authorization of unaffiliated organizations necessitates documentation regarding confidentiality obligations."); g < 12 {
		t.Errorf("a hard text is of grade %.1f", g)
	}
	if g := grade("The cat sat on the mat. It was a good day."); g > 2 {
		t.Errorf("an easy text is of grade %.1f", g)
	}
}

var (
	word     = regexp.MustCompile(`[\pL’]+`)
	sentence = regexp.MustCompile(`[.!?:]+(\s|$)`)
	vowels   = regexp.MustCompile(`[aeiouy]+`)
	vocales  = regexp.MustCompile(`(?i)(?:[iuü]?[aeoáéó][iuy]?|[iuü]?[íú]|[aeoáéó][íú]|[iuü]{1,2}|y$)`)
)

// grade is the Flesch-Kincaid grade of an English text.
func grade(text string) float64 {
	words := word.FindAllString(text, -1)
	syllables := 0
	for _, w := range words {
		w = strings.ToLower(w)
		n := len(vowels.FindAllString(w, -1))
		if strings.HasSuffix(w, "e") && !strings.HasSuffix(w, "le") && n > 1 || strings.HasSuffix(w, "ed") && !strings.HasSuffix(w, "ted") && !strings.HasSuffix(w, "ded") && n > 1 {
			n--
		}
		syllables += max(n, 1)
	}
	w, s := float64(len(words)), float64(max(len(sentence.FindAllString(text, -1)), 1))
	return 0.39*w/s + 11.8*float64(syllables)/w - 15.59
}

// inflesz is the readability of a Spanish text by Szigriszt-Pazos.
func inflesz(text string) float64 {
	words := word.FindAllString(text, -1)
	syllables := 0
	for _, w := range words {
		syllables += max(len(vocales.FindAllString(w, -1)), 1)
	}
	w, s := float64(len(words)), float64(max(len(sentence.FindAllString(text, -1)), 1))
	return 206.835 - 62.3*float64(syllables)/w - w/s
}
