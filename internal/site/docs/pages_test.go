package docs

import (
	"errors"
	"fmt"
	"html"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"cpcds2fhir/internal/sandbox"
)

// files are the built-in pages of a language.
func files(t *testing.T, lang string) map[string]string {
	t.Helper()
	entries, err := fs.ReadDir(builtIn, "content/"+lang)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		text, err := fs.ReadFile(builtIn, "content/"+lang+"/"+e.Name())
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}

var (
	fences    = regexp.MustCompile("(?ms)^```.*?^```$")
	headings  = regexp.MustCompile(`(?m)^#+ `)
	anchors   = regexp.MustCompile(`\{[.#a-z -]*#([a-z-]+)\}`)
	linkForms = regexp.MustCompile(`\]\(([^)]*)\)`)
	rows      = regexp.MustCompile(`(?m)^\|`)
	points    = regexp.MustCompile(`(?m)^(- |[0-9]+\. )`)
	order     = regexp.MustCompile(`(?m)^(order|needs): .*$`)
)

// TestTranslations proves that a page and its translation have the same parts: headings and their anchors, programs,
// placeholders, links, rows of tables and points of lists.
func TestTranslations(t *testing.T) {
	en, es := files(t, "en"), files(t, "es")
	if !slices.Equal(slices.Sorted(maps.Keys(en)), slices.Sorted(maps.Keys(es))) {
		t.Errorf("English has the pages %v, Spanish %v", slices.Sorted(maps.Keys(en)), slices.Sorted(maps.Keys(es)))
	}
	if len(en) < 18 {
		t.Errorf("there are %d pages", len(en))
	}
	sorted := func(list []string) []string { slices.Sort(list); return list }
	for name, text := range en {
		other := es[name]
		for what, find := range map[string]func(string) []string{
			"blocks of code": func(s string) []string { return fences.FindAllString(s, -1) },
			"headings":       func(s string) []string { return headings.FindAllString(fences.ReplaceAllString(s, ""), -1) },
			"anchors":        func(s string) []string { return anchors.FindAllString(s, -1) },
			"placeholders":   func(s string) []string { return sorted(placeholder.FindAllString(s, -1)) },
			"links":          func(s string) []string { return sorted(linkForms.FindAllString(s, -1)) },
			"rows":           func(s string) []string { return rows.FindAllString(s, -1) },
			"points":         func(s string) []string { return points.FindAllString(fences.ReplaceAllString(s, ""), -1) },
			"front matter":   func(s string) []string { return order.FindAllString(s, -1) },
		} {
			if a, b := find(text), find(other); !slices.Equal(a, b) {
				t.Errorf("%s: English and Spanish have other %s:\n%q\n%q", name, what, a, b)
			}
		}
		if strings.ContainsAny(other, "\u201c\u201d") || regexp.MustCompile(`(?i)\b(tú|tus?|tienes|puedes|debes|vosotros)\b`).MatchString(other) {
			t.Errorf("es/%s is not in the form of address, or with the quotation marks, of the others", name)
		}
	}
}

// TestReferenceWords proves that the Spanish reference has no English: whatever the server says about itself has a
// translation.
func TestReferenceWords(t *testing.T) {
	statement, description := documents(t)
	d, err := readAPI(statement, description)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, r := range d.capability.Rest[0].Resource {
		for _, p := range r.SearchParam {
			want[p.Documentation] = true
		}
		for _, o := range r.Operation {
			want[o.Documentation] = true
		}
		for _, i := range r.Interaction {
			want["does:"+i.Code] = true
			if interactions[i.Code] == "" {
				t.Errorf("the reference does not say how %s is called", i.Code)
			}
		}
		for _, p := range slices.Concat(d.openAPI.Paths["/"+r.Type]["get"].Parameters, d.openAPI.Paths["/"+r.Type+"/{id}"]["get"].Parameters, d.openAPI.Paths["/"+r.Type+"/{id}/$everything"]["get"].Parameters) {
			if p.Description != "" {
				want[p.Description] = true
			}
		}
	}
	for _, path := range d.openAPI.Paths {
		for _, op := range path {
			for status, r := range op.Responses {
				if status != "200" {
					want[r.Description] = true
				}
			}
		}
	}
	for key := range referenceEN {
		want[key] = true
	}
	if len(want) < 60 {
		t.Errorf("only %d texts", len(want))
	}
	for text := range want {
		if referenceES[text] == "" {
			t.Errorf("there is no Spanish for %q", text)
		}
	}
	for lang, of := range words {
		if !slices.Equal(slices.Sorted(maps.Keys(of)), slices.Sorted(maps.Keys(words["en"]))) {
			t.Errorf("the words of %s are others than the English ones", lang)
		}
	}
}

// TestReference proves that the page has every type, interaction, parameter, include and operation.
func TestReference(t *testing.T) {
	l := newLibrary(t)
	statement, description := documents(t)
	d, err := readAPI(statement, description)
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range Languages {
		page := html.UnescapeString(strings.ReplaceAll(string(l.Page(lang, "api").HTML), "<wbr>", ""))
		n := 0
		wants := func(text string) {
			n++
			if !strings.Contains(page, "<code>"+text+"</code>") {
				t.Errorf("the reference (%s) does not have %s", lang, text)
			}
		}
		for _, r := range d.capability.Rest[0].Resource {
			if !strings.Contains(page, fmt.Sprintf(`<h2 id="%s">%s `, strings.ToLower(r.Type), r.Type)) {
				t.Errorf("the reference (%s) does not have %s", lang, r.Type)
			}
			for _, p := range r.SearchParam {
				wants(p.Name)
			}
			for _, i := range r.Interaction {
				wants(i.Code)
			}
			for _, x := range slices.Concat(r.SearchInclude, r.SearchRevInclude, r.SupportedProfile) {
				wants(x)
			}
			for _, p := range d.openAPI.Paths["/"+r.Type]["get"].Parameters {
				wants(p.Name)
			}
		}
		if n < 100 || len(d.capability.Rest[0].Resource) < 6 {
			t.Errorf("only %d parts", n)
		}
	}
}

// TestMapping proves that the table has every column.
func TestMapping(t *testing.T) {
	page := strings.ReplaceAll(string(newLibrary(t).Page("en", "mapping").HTML), "<wbr>", "")
	rows := mappingRows()
	for _, r := range rows {
		if !strings.Contains(page, "<code>"+r.Column+"</code>") {
			t.Errorf("the table does not have %s", r.Column)
		}
		for _, p := range r.Paths {
			if !strings.Contains(page, "<code>"+html.EscapeString(p)+"</code>") {
				t.Errorf("the table does not have %s", p)
			}
		}
	}
	if len(rows) < 200 {
		t.Errorf("only %d rows", len(rows))
	}
}

// TestExternalLinks proves that links to other sites are of https, of the list, and that none of the list is unused.
func TestExternalLinks(t *testing.T) {
	text, err := os.ReadFile("testdata/external-links.txt")
	if err != nil {
		t.Fatal(err)
	}
	allowed := strings.Fields(string(text))
	if !slices.IsSorted(allowed) {
		t.Error("testdata/external-links.txt is not sorted")
	}
	used := map[string]bool{}
	for _, lang := range Languages {
		for name, page := range files(t, lang) {
			for _, m := range linkForms.FindAllStringSubmatch(page, -1) {
				if !strings.Contains(m[1], "://") {
					continue
				}
				used[m[1]] = true
				if !strings.HasPrefix(m[1], "https://") || !slices.Contains(allowed, m[1]) {
					t.Errorf("%s/%s: %s is not in testdata/external-links.txt", lang, name, m[1])
				}
			}
		}
	}
	for _, u := range allowed {
		if !used[u] {
			t.Errorf("no page links to %s", u)
		}
	}
	l := newLibrary(t)
	for _, c := range []struct{ lang, text string }{{"en", "(opens in a new tab)"}, {"es", "(se abre en una pestaña nueva)"}} {
		page := string(l.Page(c.lang, "links").HTML)
		if a, b := strings.Count(page, `target="_blank" rel="noopener noreferrer"`), strings.Count(page, c.text); a < 20 || a != b {
			t.Errorf("%s: %d links open a tab, and %d say so", c.lang, a, b)
		}
	}
}

// TestCodeIsPlain proves that no block of code has quotes that a shell does not know, a blank behind a backslash at the end
// of a line, or a secret that looks real.
func TestCodeIsPlain(t *testing.T) {
	for _, lang := range Languages {
		for name, page := range files(t, lang) {
			for _, code := range fences.FindAllString(page, -1) {
				if strings.ContainsAny(code, "\u201c\u201d\u2018\u2019\u00a0") || regexp.MustCompile(`\\[ \t]+\n`).MatchString(code) {
					t.Errorf("%s/%s has quotes or blanks that do not belong into code:\n%s", lang, name, code)
				}
				if m := regexp.MustCompile(`c2f[ar]_[A-Za-z0-9_-]{20,}|[0-9a-f]{32,}|eyJ[A-Za-z0-9_-]{10,}|AKIA`).FindString(code); m != "" {
					t.Errorf("%s/%s: %q looks like a secret", lang, name, m)
				}
			}
		}
	}
}

// TestOverride proves that an agency's file replaces a page, that one with a front matter alone keeps the text, that other
// names are added, and that a page can be taken out. A page without a translation is shown as it is.
func TestOverride(t *testing.T) {
	l := newLibrary(t, func(c *Config) {
		c.Override = fstest.MapFS{
			"en/support.md": {Data: []byte("---\ntitle: Ask us\ngroup: Help\norder: 410\n---\n\nCall {{phone}} <now & then>.\n\n## When {#when}\n")},
			"es/faq.md":     {Data: []byte("---\ntitle: Dudas\norder: 5\n---\n")},
			"en/rates.md":   {Data: []byte("---\ntitle: Rates\ngroup: Ours\norder: 1\n---\nSee [help](support.md#when).\n")},
			"en/utah.md":    {Data: []byte("---\nhidden: true\n---\n")},
			"es/utah.md":    {Data: []byte("---\nhidden: true\n---\n")},
			"notes.txt":     {Data: []byte("not a page")},
		}
		c.Settings.Phone = "<1-800 & more>"
	})
	if p := l.Page("en", "support"); p.Title != "Ask us" || !strings.Contains(string(p.HTML), "Call &lt;1-800 &amp; more&gt; &lt;now &amp; then&gt;.") {
		t.Errorf("the page of support is %q: %s", p.Title, p.HTML)
	}
	if p := l.Page("es", "support"); p.Title != "Ayuda" {
		t.Errorf("the Spanish page of support is %q", p.Title)
	}
	if p := l.Page("es", "faq"); p.Title != "Dudas" || p.Order != 5 || p.Group != "Ayuda" || !strings.Contains(string(p.HTML), "Nada. Ni la documenta") {
		t.Errorf("the front matter alone makes %q, %d, %q", p.Title, p.Order, p.Group)
	}
	if p := l.Page("es", "rates"); p == nil || p.Lang != "en" || l.Pages("en")[0].Name != "rates" {
		t.Errorf("the page that is added is %+v, and the first one is %s", p, l.Pages("en")[0].Name)
	}
	if l.Page("en", "utah") != nil || l.Page("es", "utah") != nil {
		t.Error("a hidden page is there")
	}
	list := l.Pages("en")
	for i, p := range list {
		if i > 0 && p.Previous != list[i-1] || i < len(list)-1 && p.Next != list[i+1] || p.Previous == nil != (i == 0) {
			t.Errorf("%s does not stand between its neighbours", p.Name)
		}
	}
}

// TestFaults proves that what is wrong in a page is an error that names file and line.
func TestFaults(t *testing.T) {
	page := func(body string) fs.FS {
		return fstest.MapFS{"en/more.md": {Data: []byte("---\ntitle: More\ngroup: Help\n---\n" + body)}}
	}
	for want, o := range map[string]fs.FS{
		`en/more.md:6: there is no placeholder "nothing"`:              page("a\n{{nothing}}\n"),
		`en/more.md:5: there is no placeholder "nothing"`:              page("{{?nothing}}a\n"),
		"en/more.md:5: a link leads to nowhere.md":                     page("[a](nowhere.md)\n"),
		"en/more.md:6: a link leads to faq.md#nowhere":                 page("\n[a](faq.md#nowhere)\n"),
		"en/more.md:5: a link leads neither":                           page("[a](faq)\n"),
		"en/more.md:5: a link leads neither to a page, ":               page("[a](javascript:alert)\n"),
		"en/more.md:7: there is HTML":                                  page("a\n\n<script>x</script>\n"),
		"there is HTML, which":                                         page("a <b>c</b>\n"),
		"there is an image":                                            page("![a](b.png)\n"),
		"en/more.md:5: a heading of the first level":                   page("# Big\n"),
		"en/more.md:5: a block of code needs a language":               page("```cobol\nx\n```\n"),
		"en/more.md:5: a block of code has a language, file= and run=": page("```sh rnu=x\nx\n```\n"),
		"the table below Rates has a column without a heading":         page("## Rates\n\n| a | |\n| --- | --- |\n| b | c |\n"),
		"there is code without a fence":                                page("a\n\n    code\n"),
		`en/more.md:5: nothing generates "more"`:                       page("{{generated:more}}\n"),
		"private use area":                                             page("\uE001\n"),
		"en/a.md:2: \"titel\" is not known here":                       fstest.MapFS{"en/a.md": {Data: []byte("---\ntitel: A\n---\n")}},
		"en/a.md:1: the front matter has no end":                       fstest.MapFS{"en/a.md": {Data: []byte("---\ntitle: A\n")}},
		"en/a.md:1: the front matter must have a title and a group":    fstest.MapFS{"en/a.md": {Data: []byte("text\n")}},
		"en/a.md:3: order is a whole number":                           fstest.MapFS{"en/a.md": {Data: []byte("---\ntitle: A\norder: first\n---\n")}},
		"en/A b.md: names of pages have small letters":                 fstest.MapFS{"en/A b.md": {Data: []byte("text\n")}},
	} {
		c := testConfig(t)
		c.Override = o
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %s", err, want)
		}
	}
}

// TestSettings proves that pages have no hole if an agency has little, and that what is needed is said.
func TestSettings(t *testing.T) {
	l := newLibrary(t, func(c *Config) {
		full := c.Settings
		c.Settings = Settings{Agency: full.Agency, Portal: full.Portal, SignUp: full.SignUp, Support: full.Support, Contact: full.Contact,
			Production: Endpoints{FHIRBase: "https://a.example/fhir", Authorize: "https://a.example/a", Token: "https://a.example/t", SMART: "https://a.example/s"},
			Sandbox:    full.Sandbox}
	})
	if l.Page("en", "utah") != nil {
		t.Error("the dialect of Utah has a page, and no address")
	}
	for _, lang := range Languages {
		for _, p := range append(l.Pages(lang), l.Page(lang, HomeName)) {
			if m := regexp.MustCompile(`\{\{|href=""|[\x{E000}-\x{F8FF}]|<code></code>|<li></li>`).FindString(string(p.Actions + p.HTML)); m != "" {
				t.Errorf("%s (%s) has %q", p.Name, lang, m)
			}
		}
	}
	for what, edit := range map[string]func(*Settings){
		"needs the setting agency":  func(s *Settings) { s.Agency = "" },
		"needs the setting token":   func(s *Settings) { s.Production.Token = "" },
		"needs the setting support": func(s *Settings) { s.Support = "" },
		"status":                    func(s *Settings) { s.Status = "ftp://state.example/" },
		"do not belong into a text": func(s *Settings) { s.Phone = "1\n2" },
	} {
		c := testConfig(t)
		edit(&c.Settings)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("the error is %v, want %s", err, what)
		}
	}
	c := testConfig(t)
	c.Capability = []byte(`{"resourceType":"Patient"}`)
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "CapabilityStatement") {
		t.Errorf("another document is taken for a CapabilityStatement: %v", err)
	}
}

// TestSandboxPage proves that the page of the sandbox has its members, and their passwords are as it says. Another sandbox
// shows none of them.
func TestSandboxPage(t *testing.T) {
	l, other := newLibrary(t), newLibrary(t, func(c *Config) { c.Settings.Try.Login = "somebody" })
	for _, lang := range Languages {
		page := string(l.Page(lang, "sandbox").HTML)
		for _, who := range sandbox.Logins() {
			if !strings.Contains(page, "<td><code>"+who.Login+"</code></td>") || who.Password != who.Login+"-sandbox" {
				t.Errorf("the page (%s) does not have %s", lang, who.Login)
			}
		}
		if n := strings.Count(page, "<td><code>"); n < len(sandbox.Logins()) {
			t.Errorf("only %d rows", n)
		}
		if page := string(other.Page(lang, "sandbox").HTML); strings.Contains(page, "grace") || !strings.Contains(page, "somebody") {
			t.Errorf("another sandbox has the members of this one (%s)", lang)
		}
	}
	for _, c := range sandbox.Clients("http://127.0.0.1:8080") {
		if c.ID != sandbox.ExampleClient && !strings.Contains(string(l.Page("en", "sandbox").HTML), c.ID) {
			t.Errorf("the page does not have the client %s", c.ID)
		}
	}
}

// TestFilesOfPages proves that there is nothing in the folders that no page is made of.
func TestFilesOfPages(t *testing.T) {
	err := filepath.WalkDir("content", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(path) != ".md" {
			err = errors.New(path + " is no page")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
