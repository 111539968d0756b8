// Package docs is what a developer of apps reads without an account: the landing page, guides, the reference of
// the API and the rules. Pages are Markdown, in English and Spanish; an agency's folder replaces or adds files. The
// reference is made of the documents with which the server describes itself, so that it cannot say anything else.
//
// All pages are made once, by New. What cannot be right (an unknown placeholder, a link to nowhere) is an error there,
// with file and line, and not a page with a hole.
package docs

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"slices"
)

//go:embed content
var builtIn embed.FS

// Languages are those that the pages are in, English first.
var Languages = []string{"en", "es"}

// HomeName is the name of the landing page, which is at / and not below /docs.
const HomeName = "home"

// Config is what the pages are made of.
type Config struct {
	Settings Settings

	// Override has an agency's own pages, as en/NAME.md and es/NAME.md. A file replaces the page of the same name; one
	// with a front matter only replaces that and keeps the text. Other names are added. nil is none.
	Override fs.FS

	Capability []byte // CapabilityStatement of the API
	OpenAPI    []byte // its description in OpenAPI 3.1
	Mapping    []MappingRow
}

// Page is one page in one language. Its fields must not be changed.
type Page struct {
	Name    string // as in its address
	Lang    string // of the text; not the one that was asked for if there is no translation
	Title   string
	Summary string // one sentence, for lists of pages
	Group   string // heading under which lists have it; "" for the landing page
	Order   int

	Actions  template.HTML // links that stand out, of the landing page
	HTML     template.HTML
	Contents []Heading // of the second level

	Previous, Next *Page // in the order of the list; nil at its ends
}

// Heading is an entry of a table of contents.
type Heading struct{ ID, Text string }

// Path is where the page is.
func (p *Page) Path() string {
	if p.Name == HomeName {
		return "/"
	}
	return "/docs/" + p.Name
}

// Library has all pages. It is safe for concurrent use.
type Library struct {
	pages map[string][]*Page // by language, in their order
	names map[string]map[string]*Page

	samples []sample // of all pages
}

// New makes the pages.
func New(c *Config) (*Library, error) {
	known := map[string]*values{}
	for _, lang := range Languages {
		var err error
		if known[lang], err = c.Settings.values(lang); err != nil {
			return nil, err
		}
	}
	api, err := readAPI(c.Capability, c.OpenAPI)
	if err != nil {
		return nil, err
	}
	l := &Library{pages: map[string][]*Page{}, names: map[string]map[string]*Page{}}
	sources := map[string]map[string]*source{}
	for _, lang := range Languages {
		if sources[lang], err = readSources(lang, c.Override); err != nil {
			return nil, err
		}
	}
	var faults []error
	for i, lang := range Languages {
		all := maps.Clone(sources[Languages[1-i]]) // what has no translation is shown as it is
		maps.Copy(all, sources[lang])
		maps.DeleteFunc(all, func(_ string, s *source) bool { return s.hidden || s.needs != "" && known[lang].texts[s.needs] == "" })
		made := map[string]*rendered{}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if name != HomeName && (&Page{Name: name}).Path() == c.Settings.TryPage {
				faults = append(faults, fmt.Errorf("%s: the page that runs examples has this address; choose another name", all[name].file))
				continue
			}
			r, err := all[name].render(known[all[name].lang], func(what string) (string, error) { return generate(what, all[name].lang, api, c.Mapping) })
			if err != nil {
				faults = append(faults, err)
				continue
			}
			made[name] = r
		}
		if len(faults) == 0 {
			l.add(lang, made)
			faults = append(faults, deadLinks(made)...)
		}
	}
	return l, errors.Join(faults...)
}

// add makes the pages of a language of what was rendered.
func (l *Library) add(lang string, made map[string]*rendered) {
	l.names[lang] = map[string]*Page{}
	var list []*Page
	for _, r := range made {
		s := r.source
		p := &Page{Name: s.name, Lang: s.lang, Title: r.title, Summary: r.summary, Group: s.group, Order: s.order, Actions: r.actions, HTML: r.html, Contents: r.contents}
		l.names[lang][p.Name] = p
		if s.lang == lang {
			l.samples = append(l.samples, r.samples...)
		}
		if p.Name != HomeName {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *Page) int { return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Name, b.Name)) })
	first := map[string]int{} // pages of a group stand together, where its first one does
	for i, p := range list {
		if _, ok := first[p.Group]; !ok {
			first[p.Group] = i
		}
	}
	slices.SortStableFunc(list, func(a, b *Page) int { return cmp.Compare(first[a.Group], first[b.Group]) })
	for i, p := range list {
		if i > 0 {
			p.Previous, list[i-1].Next = list[i-1], p
		}
	}
	l.pages[lang] = list
}

// Pages are those of a language, in their order and without the landing page. A language that there is not is English.
func (l *Library) Pages(lang string) []*Page {
	if list, ok := l.pages[lang]; ok {
		return slices.Clone(list)
	}
	return slices.Clone(l.pages["en"])
}

// Page finds a page by its name, nil if there is none.
func (l *Library) Page(lang, name string) *Page {
	if names, ok := l.names[lang]; ok {
		return names[name]
	}
	return l.names["en"][name]
}

// deadLinks complains about links to pages and headings that there are not.
func deadLinks(made map[string]*rendered) (faults []error) {
	for _, name := range slices.Sorted(maps.Keys(made)) {
		r := made[name]
		for _, k := range r.links {
			to, ok := made[k.page]
			switch {
			case !ok:
				faults = append(faults, fmt.Errorf("%s: a link leads to %s.md, which is not there", r.source.at(k.written), k.page))
			case k.anchor != "" && !to.anchors[k.anchor] && to.source.lang == r.source.lang: // a translation may have other headings
				faults = append(faults, fmt.Errorf("%s: a link leads to %s.md#%s, and there is no such heading", r.source.at(k.written), k.page, k.anchor))
			}
		}
	}
	return faults
}
