package developers

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"

	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/site/desk"
)

// lint looks at a page as a program for accessibility does, and whether a Spanish one is Spanish.
func lint(t testing.TB, d *doc) {
	t.Helper()
	wrong := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: "+format, append([]any{d.path}, args...)...)
	}
	ids, labels, described := map[string]int{}, map[string]bool{}, []string{}
	headings, title := []string{}, ""
	lang := ""
	for n := range d.root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if id := attr(n, "id"); id != "" {
			ids[id]++
		}
		for _, a := range []string{"aria-describedby", "aria-labelledby"} {
			described = append(described, strings.Fields(attr(n, a))...)
		}
		switch n.Data {
		case "html":
			lang = attr(n, "lang")
		case "title":
			title = strings.TrimSpace(text(n))
		case "label":
			labels[attr(n, "for")] = true
		case "h1", "h2", "h3", "h4":
			headings = append(headings, n.Data)
			if strings.TrimSpace(text(n)) == "" {
				wrong("a heading is empty")
			}
		case "img":
			if !has(n, "alt") {
				wrong("a picture has no alt")
			}
		case "a", "button":
			if strings.TrimSpace(text(n)) == "" {
				wrong("a %s has no text: %s", n.Data, attr(n, "href"))
			}
			if href := attr(n, "href"); n.Data == "a" && (href == "" || strings.HasPrefix(strings.ToLower(href), "javascript:") || strings.Contains(href, "ZgotmplZ")) {
				wrong("a link leads to %q", href)
			}
		case "fieldset":
			if c := n.FirstChild; c != nil {
				for c != nil && c.Type != html.ElementNode {
					c = c.NextSibling
				}
				if c == nil || c.Data != "legend" {
					wrong("a fieldset does not begin with its legend")
				}
			}
		case "th":
			if attr(n, "scope") == "" {
				wrong("a heading of a table has no scope: %q", text(n))
			}
		case "script":
			if attr(n, "src") == "" {
				wrong("a script stands in the page")
			}
		}
		if has(n, "style") || has(n, "onclick") {
			wrong("a <%s> has a style or a script of its own", n.Data)
		}
	}
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && (n.Data == "input" || n.Data == "select" || n.Data == "textarea") && attr(n, "type") != "hidden" && !labels[attr(n, "id")] && attr(n, "aria-label") == "" {
			wrong("the field %q has no label", attr(n, "name"))
		}
	}
	for id, n := range ids {
		if n > 1 {
			wrong("the id %s is there %d times", id, n)
		}
	}
	for _, id := range described {
		if ids[id] == 0 {
			wrong("there is no element %s, which describes another", id)
		}
	}
	h1, last := 0, '1'
	for _, h := range headings {
		level := rune(h[1])
		if level == '1' {
			h1++
		}
		if level > last+1 {
			wrong("a heading %s follows one of level %c", h, last)
		}
		last = level
	}
	if h1 != 1 {
		wrong("there are %d main headings", h1)
	}
	if want := d.b.lang; lang != want {
		wrong("the page is in %q, not in %q", lang, want)
	}
	if title == "" {
		wrong("the page has no title")
	}
	if strings.Contains(d.body, "%!") || strings.Contains(d.body, "ZgotmplZ") {
		wrong("a value is not written well")
	}
	if key := shownKey.FindString(d.words()); key != "" {
		wrong("a key is shown instead of its text: %s", key)
	}
	if h := d.header; h.Get("Content-Security-Policy") == "" || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" {
		wrong("headers are missing: %v", h)
	}
	if d.b.lang == "es" {
		spanish(t, d)
	}
}

var shownKey = regexp.MustCompile(`\b(app|application|code|event|state|next|need|done|do|move|guide|org|contact|person|proof|console|requests|credentials|secrets?|directory|phr|track|support|ticket|status)\.[a-z_]+\.?[a-z_.]*\b`)

// englishTexts are sentences that no Spanish page may have.
var englishTexts = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{}
	add := func(en, es string) {
		en = strings.TrimSpace(en)
		if en != strings.TrimSpace(es) && strings.Contains(en, " ") && !strings.Contains(en, "%") {
			all[en] = true
		}
	}
	for _, list := range append(append(texts[:0:0], texts...), desk.Texts...) {
		for key, en := range list["en"] {
			add(en, list["es"][key])
		}
	}
	set, err := forms.Load("")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{forms.Questionnaire, forms.Production, forms.PHR, forms.Support, forms.Contact} {
		f := set.Form(name)
		add(f.Title.EN, f.Title.ES)
		add(f.Intro.EN, f.Intro.ES)
		for _, s := range f.Sections {
			add(s.Title.EN, s.Title.ES)
			add(s.Intro.EN, s.Intro.ES)
			for _, q := range s.Questions {
				add(q.Label.EN, q.Label.ES)
				add(q.Hint.EN, q.Hint.ES)
				add(q.Help.EN, q.Help.ES)
				for _, o := range q.Options {
					add(o.EN, o.ES)
				}
			}
		}
	}
	return all
})

func spanish(t testing.TB, d *doc) {
	t.Helper()
	english := englishTexts()
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.ElementNode && (attr(n, "lang") == "en" || n.Data == "textarea") {
			return
		}
		if n.Type == html.TextNode && english[strings.Join(strings.Fields(n.Data), " ")] {
			t.Errorf("%s: a Spanish page says %q", d.path, strings.TrimSpace(n.Data))
		}
		for c := range n.ChildNodes() {
			walk(c)
		}
	}
	walk(d.root)
}
