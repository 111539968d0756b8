package docs

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	tags     = regexp.MustCompile(`<[^>]*>`)
	breaks   = regexp.MustCompile(`</(p|li|td|th)>`)
	sentence = regexp.MustCompile(`[.!?]+(\s|$)`)
	spans    = regexp.MustCompile(`<span class="new">[^<]*</span>|<h[1-6][^>]*>.*?</h[1-6]>`)
)

// prose is the text of a page without headings, with a full stop at the end of each block.
func prose(html string) string {
	html = spans.ReplaceAllString(html, "")
	html = breaks.ReplaceAllString(html, ". ")
	return tags.ReplaceAllString(html, "")
}

// syllables counts those of a word: English by groups of vowels without a silent e, Spanish by vowels without
// diphthongs.
func syllables(word, lang string) (n int) {
	word = strings.ToLower(word)
	vowels, strong := "aeiouyáéíóúü", "aeoáéíóú"
	var before rune
	for _, r := range word {
		v := strings.ContainsRune(vowels, r)
		was := strings.ContainsRune(vowels, before)
		switch {
		case v && !was:
			n++
		case v && lang == "es" && strings.ContainsRune(strong, r) && strings.ContainsRune(strong, before):
			n++
		}
		before = r
	}
	if lang == "en" && n > 1 && strings.HasSuffix(word, "e") && !strings.HasSuffix(word, "le") {
		n--
	}
	return max(n, 1)
}

func measure(text, lang string) (words, sentences, parts float64) {
	for _, s := range sentence.Split(text, -1) {
		some := false
		for _, w := range strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && r != '\'' }) {
			words++
			parts += float64(syllables(w, lang))
			some = true
		}
		if some {
			sentences++
		}
	}
	return words, sentences, parts
}

// TestMembersPage measures the page for members: at most grade 8 of Flesch and Kincaid in English, and at least 55 of INFLESZ
// ("normal") in Spanish. The measure itself is tried on a sentence that is hard.
func TestMembersPage(t *testing.T) {
	grade := func(text string) float64 {
		w, s, p := measure(text, "en")
		return 0.39*w/s + 11.8*p/w - 15.59
	}
	if g := grade("Notwithstanding the aforementioned confidentiality considerations, beneficiaries authorizing interoperable applications relinquish statutory protections."); g < 16 {
		t.Errorf("a hard sentence has the grade %.1f", g)
	}
	l := newLibrary(t)
	text := prose(string(l.Page("en", "members").HTML))
	if g := grade(text); g > 8 || len(text) < 2000 {
		t.Errorf("the page for members has the grade %.1f", g)
	} else {
		t.Logf("English: grade %.1f", g)
	}
	w, s, p := measure(prose(string(l.Page("es", "members").HTML)), "es")
	if ease := 206.835 - 62.3*p/w - w/s; ease < 55 {
		t.Errorf("the Spanish page for members has %.0f of INFLESZ", ease)
	} else {
		t.Logf("Spanish: INFLESZ %.0f", ease)
	}
	for _, word := range []string{"beneficiary", "scope", "token", "API", "OAuth"} {
		if strings.Contains(text, word) {
			t.Errorf("the page for members says %q", word)
		}
	}
}
