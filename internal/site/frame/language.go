package frame

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// languages are named each in itself. The first one is for those who prefer none of them.
var languages = []struct{ tag, name string }{{"en", "English"}, {"es", "Español"}}

// Languages are the tags of the languages that pages have.
func Languages() (list []string) {
	for _, l := range languages {
		list = append(list, l.tag)
	}
	return list
}

func known(tag string) bool { return slices.Contains(Languages(), tag) }

// language is that of a visit: what the reader has chosen, or what the browser prefers.
func (v *Visit) language() string {
	if l := v.R.URL.Query().Get("lang"); known(l) {
		v.SetCookie("lang", l, 365*24*60*60)
		return l
	}
	if c, err := v.R.Cookie(v.f.CookieName("lang")); err == nil && known(c.Value) {
		return c.Value
	}
	return preferred(v.R.Header.Get("Accept-Language"))
}

// preferred reads Accept-Language (RFC 9110, 12.5.4). Without a language that there is it is English.
func preferred(header string) string {
	best, lang := 0.0, languages[0].tag
	for part := range strings.SplitSeq(header, ",") {
		tag, params, _ := strings.Cut(part, ";")
		q := 1.0
		if text, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		primary, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		if known(primary) && q > best {
			best, lang = q, primary
		}
	}
	return lang
}

// Texts are what readers read: by language, then by key. They are whole sentences, with verbs of fmt for values.
type Texts map[string]map[string]string

var verb = regexp.MustCompile(`%(\[\d+\])?[a-z%]`)

// merge makes one of many. Keys are once in all of them, and in every language with as many values.
func merge(list []Texts) (Texts, error) {
	all := Texts{}
	for _, lang := range Languages() {
		all[lang] = map[string]string{}
		for _, texts := range list {
			for key, text := range texts[lang] {
				if _, ok := all[lang][key]; ok {
					return nil, fmt.Errorf("text %s (%s) is given twice", key, lang)
				}
				all[lang][key] = text
			}
		}
	}
	for _, lang := range Languages() {
		for key, text := range own[lang] {
			if _, ok := all[lang][key]; !ok {
				all[lang][key] = text
			}
		}
	}
	for _, texts := range list {
		for lang := range texts {
			if !known(lang) {
				return nil, fmt.Errorf("texts are in %q, which is no language of the pages", lang)
			}
		}
	}
	first := all[languages[0].tag]
	for _, lang := range Languages()[1:] {
		for _, key := range slices.Sorted(maps.Keys(first)) {
			text, ok := all[lang][key]
			if !ok || strings.TrimSpace(text) == "" {
				return nil, fmt.Errorf("text %s is missing in %q", key, lang)
			}
			if len(verb.FindAllString(text, -1)) != len(verb.FindAllString(first[key], -1)) {
				return nil, fmt.Errorf("text %s has other values in %q", key, lang)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(all[lang])) {
			if _, ok := first[key]; !ok {
				return nil, fmt.Errorf("text %s is missing in %q", key, languages[0].tag)
			}
		}
	}
	return all, nil
}

// Text is a text in a language. A key that is missing shows itself.
func (f *Frame) Text(lang, key string, args ...any) string {
	t, ok := f.texts[lang][key]
	if !ok {
		return key
	}
	if len(args) > 0 {
		return fmt.Sprintf(t, args...)
	}
	return t
}

// HasText reports whether there is a text of a key.
func (f *Frame) HasText(key string) bool {
	_, ok := f.texts[languages[0].tag][key]
	return ok
}

// Text is a text in the language of the visit.
func (v *Visit) Text(key string, args ...any) string { return v.f.Text(v.Lang, key, args...) }

// Count is a text for a number of things: KEY.one or KEY.many.
func (v *Visit) Count(key string, n int) string {
	if n == 1 {
		return v.Text(key + ".one")
	}
	return v.Text(key+".many", n)
}

var spanishMonths = []string{"enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"}

// Date writes the day of a moment, in the agency's zone.
func (v *Visit) Date(t time.Time) string { return v.Day(t.In(v.f.Zone)) }

// Day writes the day of a time as it is, in its own zone.
func (v *Visit) Day(t time.Time) string {
	if v.Lang == "es" {
		return fmt.Sprintf("%d de %s de %d", t.Day(), spanishMonths[t.Month()-1], t.Year())
	}
	return t.Format("January 2, 2006")
}

// DateTime writes a moment, in the agency's zone.
func (v *Visit) DateTime(t time.Time) string {
	t = t.In(v.f.Zone)
	if v.Lang == "es" {
		return v.Day(t) + t.Format(", 15:04 MST")
	}
	return v.Day(t) + t.Format(", 3:04 PM MST")
}
