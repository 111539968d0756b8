package site

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// languages are named each in itself.
var languages = map[string]string{"en": "English", "es": "Español"}

// language is that of a visit: what the member has chosen, or what the browser prefers.
func (v *visit) language() string {
	if l := v.r.URL.Query().Get("lang"); languages[l] != "" {
		v.setCookie("lang", l, 365*24*60*60)
		return l
	}
	if c, err := v.r.Cookie(v.cookieName("lang")); err == nil && languages[c.Value] != "" {
		return c.Value
	}
	return preferred(v.r.Header.Get("Accept-Language"))
}

// preferred reads Accept-Language (RFC 9110, 12.5.4). Without a language that there is it is English.
func preferred(header string) string {
	best, lang := 0.0, "en"
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
		if languages[primary] != "" && q > best {
			best, lang = q, primary
		}
	}
	return lang
}

// text is a text in the language of the visit. A key that is missing shows itself; a test knows all of them.
func (v *visit) text(key string, args ...any) string {
	t, ok := texts[v.lang][key]
	if !ok {
		return key
	}
	if len(args) > 0 {
		return fmt.Sprintf(t, args...)
	}
	return t
}

// count is a text for a number of things: key.one or key.many.
func (v *visit) count(key string, n int) string {
	if n == 1 {
		return v.text(key + ".one")
	}
	return v.text(key+".many", n)
}

var spanishMonths = []string{"enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"}

// date writes a day.
func (v *visit) date(t time.Time) string {
	return v.day(t.In(v.Zone))
}

func (v *visit) day(t time.Time) string {
	if v.lang == "es" {
		return fmt.Sprintf("%d de %s de %d", t.Day(), spanishMonths[t.Month()-1], t.Year())
	}
	return t.Format("January 2, 2006")
}

// born writes a FHIR date, which may lack the day or the month.
func (v *visit) born(text string) string {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return v.day(t)
	}
	return plain(text, 20)
}

// about writes how long an access token is good for: in hours, or in minutes below two hours unless it is one hour.
func (v *visit) about(d time.Duration) string {
	if d < 2*time.Hour && d != time.Hour {
		return v.count("minutes", max(1, int(d.Round(time.Minute)/time.Minute)))
	}
	return v.count("hours", int(d.Round(time.Hour)/time.Hour))
}

// howLong writes how long an app is allowed.
func (v *visit) howLong(d time.Duration) string {
	if d%(365*day) == 0 {
		return v.count("years", int(d/(365*day)))
	}
	return v.count("days", int(d/day))
}
