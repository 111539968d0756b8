package docs

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"

	"cpcds2fhir/internal/site/frame"
)

//go:embed templates/*.html
var templateFiles embed.FS

// texts are what readers read around the pages.
var texts = frame.Texts{
	"en": {
		"docs.title":        "Documentation",
		"docs.lead":         "Everything about the Patient Access API, for those who make apps. You need no account to read it.",
		"docs.home":         "Home",
		"docs.pager":        "From page to page",
		"docs.previous":     "Previous page",
		"docs.next":         "Next page",
		"docs.untranslated": "This page has not been translated yet.",
	},
	"es": textsES,
}

// Group is the pages under one heading.
type Group struct {
	Title string
	Pages []*Page
}

// Groups are the pages of a language, without the landing page, by their groups.
func (l *Library) Groups(lang string) (list []Group) {
	for _, p := range l.Pages(lang) {
		if len(list) == 0 || list[len(list)-1].Title != p.Group {
			list = append(list, Group{Title: p.Group})
		}
		g := &list[len(list)-1]
		g.Pages = append(g.Pages, p)
	}
	return list
}

// Handler serves the landing page at /, the list of pages at /docs, and each page at /docs/NAME, to everybody. The
// configuration is that of the whole server: its origin, agency, key, menu and assets. Templates and Wide are set here, and
// texts are added. Browsers keep pages, and ask whether they have changed.
func (l *Library) Handler(c *frame.Config) (http.Handler, error) {
	mine := *c
	mine.Wide = true
	mine.Texts = append([]frame.Texts{texts}, c.Texts...)
	var err error
	if mine.Templates, err = fs.Sub(templateFiles, "templates"); err != nil {
		return nil, fmt.Errorf("documentation: %w", err)
	}
	f, err := frame.New(&mine)
	if err != nil {
		return nil, fmt.Errorf("documentation: %w", err)
	}
	m := http.NewServeMux()
	m.Handle("GET /{$}", f.Handle(l.home))
	m.Handle("GET /docs", f.Handle(l.index))
	m.Handle("GET /docs/{$}", http.RedirectHandler("/docs", http.StatusMovedPermanently))
	m.Handle("GET /docs/{page}", f.Handle(l.page))
	m.Handle("/", f.Missing())
	return m, nil
}

func (l *Library) home(v *frame.Visit) error {
	p := l.Page(v.Lang, HomeName)
	if p == nil { // an agency has one of its own elsewhere
		return v.See("/docs")
	}
	return v.Show(http.StatusOK, "home", &frame.Page{Title: p.Title, Description: p.Summary, Content: p, Public: true, Index: true, Full: true})
}

func (l *Library) index(v *frame.Visit) error {
	return v.Show(http.StatusOK, "index", &frame.Page{Title: v.Text("docs.title"), Description: v.Text("docs.lead"), Content: l.Groups(v.Lang),
		Public: true, Index: true, Full: true})
}

// fewHeadings is how many headings a page has that needs no table of contents.
const fewHeadings = 2

func (l *Library) page(v *frame.Visit) error {
	p := l.Page(v.Lang, v.R.PathValue("page"))
	if p == nil || p.Name == HomeName {
		return frame.ErrMissing
	}
	shown := &frame.Page{Title: p.Title, Description: p.Summary, Content: p, Public: true, Index: true,
		Trail: []frame.Link{{Text: v.Text("docs.home"), URL: "/"}, {Text: v.Text("docs.title"), URL: "/docs"}}}
	for _, g := range l.Groups(v.Lang) {
		side := frame.Group{Title: g.Title}
		for _, other := range g.Pages {
			side.Links = append(side.Links, frame.Link{Text: other.Title, URL: other.Path(), Current: other.Name == p.Name})
		}
		shown.Side = append(shown.Side, side)
	}
	if len(p.Contents) > fewHeadings {
		for _, h := range p.Contents {
			shown.Contents = append(shown.Contents, frame.Link{Text: h.Text, URL: "#" + h.ID})
		}
	}
	return v.Show(http.StatusOK, "page", shown)
}
