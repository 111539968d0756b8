package frame

import (
	"strings"
	"testing"
)

func TestPreferred(t *testing.T) {
	for header, want := range map[string]string{
		"": "en", "es": "es", "es-MX,es;q=0.9,en;q=0.8": "es", "en-US,en;q=0.9,es;q=0.8": "en", "fr, es;q=0.3": "es", "de": "en",
		"en;q=0.1, ES-us;q=0.2": "es", "es;q=0": "en", "es;q=x": "en", "*": "en", ",,;q=": "en",
	} {
		if got := preferred(header); got != want {
			t.Errorf("%q is %s, want %s", header, got, want)
		}
	}
}

// TestPlain keeps texts of apps from changing the page around them.
func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		" Health\n\tBudget ":    "Health Budget",
		"abc\u202edef\u2066":    "abcdef",
		"a\u200bb\ufeffc":       "abc",
		"\x1b[31mred":           "[31mred",
		strings.Repeat("x", 12): "xxxxxxxxxx…",
	} {
		if got := Plain(text, 10); got != want && Plain(text, 80) != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"https://a.example/p": "https://a.example/p", "http://a.example": "http://a.example", "javascript:alert(1)": "", "https:evil": "", "//evil": "", "": "", "data:x": "", "https://u:p@a.example": "",
	} {
		if got := WebLink(text); got != want {
			t.Errorf("the link of %q is %q, want %q", text, got, want)
		}
	}
}
