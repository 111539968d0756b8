package site

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTexts holds the two languages together: the same keys with the same places for values, and no key that no page
// shows.
func TestTexts(t *testing.T) {
	verb := regexp.MustCompile(`%[a-z]`)
	for key, en := range english {
		es, ok := spanish[key]
		switch {
		case !ok:
			t.Errorf("Spanish lacks %s", key)
		case !slices.Equal(verb.FindAllString(en, -1), verb.FindAllString(es, -1)):
			t.Errorf("%s has other values in Spanish", key)
		case en == es:
			t.Errorf("%s is the same in both languages", key)
		}
		if strings.TrimSpace(en) == "" || strings.TrimSpace(es) == "" {
			t.Errorf("%s is empty", key)
		}
	}
	for key := range spanish {
		if english[key] == "" {
			t.Errorf("English lacks %s", key)
		}
	}

	var code strings.Builder
	for _, pattern := range []string{"*.go", "templates/*.html"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasPrefix(f, "texts") || strings.HasSuffix(f, "_test.go") {
				continue
			}
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(b)
		}
	}
	problem := regexp.MustCompile(`&problemError\{Status: [^,]*, Key: "([a-z]+)"|= frame\.Err(Missing|Fault|Form)\b`)
	used := map[string]bool{}
	for _, m := range problem.FindAllStringSubmatch(code.String(), -1) {
		for _, part := range []string{".title", ".text", ".next"} {
			used[strings.ToLower(m[1]+m[2])+part] = true
		}
	}
	for key := range english {
		name := strings.TrimSuffix(strings.TrimSuffix(key, ".one"), ".many")
		if strings.Contains(code.String(), `"`+key+`"`) || name != key && strings.Contains(code.String(), `"`+name+`"`) {
			used[key] = true
		}
	}
	for key := range used {
		if english[key] == "" {
			t.Errorf("there is no text %s", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(english)) {
		if !used[key] {
			t.Errorf("no page shows %s", key)
		}
	}
	// Keys in templates that no language has.
	site := newWorld(t).site
	for _, m := range regexp.MustCompile(`\$?\.T "([^"]+)"|\.Text\("([^"+]+)"[,)]`).FindAllStringSubmatch(code.String(), -1) {
		if key := m[1] + m[2]; !site.frame.HasText(key) {
			t.Errorf("a page asks for %q, which no language has", key)
		}
	}
}

// TestWords keeps words of the field away from members.
func TestWords(t *testing.T) {
	word := regexp.MustCompile(`(?i)\b(beneficiary|scopes?|tokens?|OAuth|SMART|FHIR|ExplanationOfBenefit|consent|authorize|beneficiario|alcance)\b`)
	for lang, list := range texts {
		for key, text := range list {
			if m := word.FindString(text); m != "" {
				t.Errorf("%s of %s says %q", key, lang, m)
			}
		}
	}
	// One form of address.
	for key, text := range spanish {
		if m := regexp.MustCompile(`(?i)(^|[^a-záéíóúñ])(tú|tu|tus|ti|puedes|tienes|quieres|haz)([^a-záéíóúñ]|$)`).FindString(text); m != "" {
			t.Errorf("%s says tú: %q", key, m)
		}
	}
}

func TestDates(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Zone = time.FixedZone("MST", -7*60*60) })
	try := func(lang string, f func(v *visit)) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/apps?lang="+lang, nil)
		w.site.handle(func(v *visit) error {
			f(v)
			return v.see("/apps")
		}).ServeHTTP(httptest.NewRecorder(), r)
	}
	at := time.Date(2027, 1, 1, 3, 0, 0, 0, time.UTC)
	runs := 0
	try("en", func(v *visit) {
		runs++
		if got, want := v.Date(at), "December 31, 2026"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got, want := v.born("1984-05-17"), "May 17, 1984"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
	try("es", func(v *visit) {
		runs++
		if got, want := v.Date(at), "31 de diciembre de 2026"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got, want := v.born("1984-05"), "1984-05"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got, want := v.howLong(365*day)+", "+v.howLong(day)+", "+v.howLong(90*day), "1 año, 1 día, 90 días"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
	if runs != 2 {
		t.Errorf("%d visits, want 2", runs)
	}
}

func TestDestination(t *testing.T) {
	for text, want := range map[string]place{
		"https://a.example/cb?x=1":    {source: "https://a.example", name: "a.example", web: true},
		"http://127.0.0.1:4321/cb":    {source: "http://127.0.0.1:4321", name: "127.0.0.1:4321", web: true},
		"http://[::1]:4321/cb":        {name: "[::1]:4321", web: true},
		"org.example.app:/cb":         {source: "org.example.app:", name: "org.example.app"},
		"myapp://cb":                  {source: "myapp:", name: "myapp"},
		"javascript:alert(1)":         {bad: true},
		"data:text/html,x":            {bad: true},
		"https://a.example@evil/cb":   {bad: true},
		"https:///cb":                 {bad: true},
		"//evil.example":              {bad: true},
		"https://a.example; x 'y'/cb": {bad: true},
		"":                            {bad: true},
	} {
		if got := destination(text); got != want {
			t.Errorf("%s leads to %+v, want %+v", text, got, want)
		}
	}
}
