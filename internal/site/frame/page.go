package frame

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

// Shown is what templates get: a *Page, or a struct that embeds one and has more methods.
type Shown interface{ frame() *Page }

func (p *Page) frame() *Page { return p }

// Page is a page around its content.
type Page struct {
	Title       string       // of the window; the content has the same as its only h1
	Description string       // for search engines and previews, "" for none
	Fields      []FieldError // what is wrong in a form
	Notice      string       // what has happened before
	Warning     string       // what somebody must know, above the content
	Content     any

	// Self is a link to the page, which the link to the other language needs; "" is the path with its query. Keep are
	// fields of a form that the link needs too. A page that can be seen once only has no such link.
	Self string
	Keep []string
	Once bool

	Public bool // the same for everybody who has not signed in: browsers keep it, and ask whether it has changed
	Index  bool // search engines may list it

	Scripts []string // static files; pages work without them
	Connect []string // origins that scripts may call, besides the own

	// These are of wide pages.
	Trail    []Link  // the pages above this one, the first one first, without it
	Side     []Group // menu at the side
	Contents []Link  // what is on this page
	Full     bool    // the content needs the whole width: no measure for its lines

	v       *Visit
	heading string // the title without "Error:"
}

// FieldError says what is wrong with a field. ID is that of the element: the summary links to it.
type FieldError struct{ ID, Text string }

// Wrong is a FieldError.
func Wrong(id, text string) FieldError { return FieldError{id, text} }

// Link leads to a page.
type Link struct {
	Text, URL string
	Current   bool // it leads to the page that is shown, or to the part of the site that has it
	Note      string
	Button    bool // it stands out
}

// Group is a part of a menu.
type Group struct {
	Title string
	Links []Link
}

// State is a tag with the state of something. Kind is one of good, bad, warn, wait (for somebody), run (it is being
// done) and idle: colour and mark. The text says it all.
type State struct{ Kind, Text string }

// Step is one of a list of steps. URL may be "".
type Step struct {
	Text, URL, Note string
	Done, Current   bool
}

// Steps are what the template "steps" shows.
type Steps struct {
	List     []Step
	Did, Now string // words for steps that are done, and the one that is being done
}

// Steps are steps for the template "steps".
func (p *Page) Steps(list []Step) Steps {
	return Steps{list, p.T("page.done"), p.T("page.now")}
}

// T is a text in the language of the page.
func (p *Page) T(key string, args ...any) string { return p.v.Text(key, args...) }

// Count is a text for a number of things.
func (p *Page) Count(key string, n int) string { return p.v.Count(key, n) }

// Lang is the language of the page.
func (p *Page) Lang() string { return p.v.Lang }

// Agency is whose pages they are.
func (p *Page) Agency() string { return p.v.f.Agency(p.v.Lang) }

// Heading is the title without the word that says that fields are wrong.
func (p *Page) Heading() string {
	if p.heading != "" {
		return p.heading
	}
	return p.Title
}

// Token is what forms must send back.
func (p *Page) Token() string { return p.v.Token() }

// SignedIn reports whether somebody has.
func (p *Page) SignedIn() bool { return p.v.Session != "" }

// Asset is the address of a static file.
func (p *Page) Asset(name string) string { return p.v.f.Assets.URL(name) }

// Logo is the agency's.
func (p *Page) Logo() Logo { return p.v.f.Assets.logo }

// LogoURL is the address of the logo.
func (p *Page) LogoURL() string { return p.Asset(p.v.f.Assets.logo.name) }

// At reports whether a link leads to this very page.
func (p *Page) At(link string) bool { return p.v.R.URL.Path == link }

// Menu is the menu at the top.
func (p *Page) Menu() []Link {
	if p.v.f.Config.Menu == nil {
		return nil
	}
	return mark(p.v.f.Config.Menu(p.v), p.v.R.URL.Path)
}

// mark marks the link that fits the path best, if none is marked yet.
func mark(list []Link, path string) []Link {
	best, at := 0, -1
	for i, l := range list {
		if l.Current {
			return list
		}
		whole, below := path == l.URL, l.URL != "/" && strings.HasPrefix(path, strings.TrimSuffix(l.URL, "/")+"/")
		if (whole || below) && len(l.URL) > best {
			best, at = len(l.URL), i
		}
	}
	if at >= 0 {
		list[at].Current = true
	}
	return list
}

// Policy and Notices are links of the agency, "" for none.
func (p *Page) Policy() string { return WebLink(p.v.f.Config.Policy) }

// Notices is the link to the agency's notices.
func (p *Page) Notices() string { return WebLink(p.v.f.Config.Notices) }

// Contact is a link to the agency's support, "" if there is none.
func (p *Page) Contact() string {
	if c := p.v.f.Config.Contact; strings.Contains(c, "@") && !strings.Contains(c, ":") {
		return "mailto:" + c
	}
	return WebLink(p.v.f.Config.Contact)
}

// ContactText is how the support is written.
func (p *Page) ContactText() string {
	c := strings.TrimPrefix(p.v.f.Config.Contact, "mailto:")
	return strings.TrimSuffix(strings.TrimPrefix(c, "https://"), "/")
}

// Phone and TTY are links that call the agency's support; their text is "" if there is none.
func (p *Page) Phone() Call { return call(p.v.f.Config.Phone) }

// TTY is the link for people who are deaf or hard of hearing.
func (p *Page) TTY() Call { return call(p.v.f.Config.TTY) }

// Call is a phone number.
type Call struct {
	Text string
	URL  template.URL // of the scheme tel, which templates would not let through as a text
}

func call(number string) Call {
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, number)
	if digits == "" {
		return Call{}
	}
	if strings.HasPrefix(strings.TrimSpace(number), "+") {
		digits = "+" + digits
	}
	return Call{Text: Plain(number, 40), URL: template.URL("tel:" + digits)} // nothing but digits
}

// Error is what is wrong with a field, "" if nothing is.
func (p *Page) Error(id string) string {
	for _, f := range p.Fields {
		if f.ID == id {
			return f.Text
		}
	}
	return ""
}

// Describe are the attributes of a field that tie it to its hint (element ID-hint), if it has one, and to its error
// (element ID-error), if there is one.
func (p *Page) Describe(id string, hint bool) template.HTMLAttr {
	var by []string
	if hint {
		by = append(by, id+"-hint")
	}
	wrong := p.Error(id) != ""
	if wrong {
		by = append(by, id+"-error")
	}
	if len(by) == 0 {
		return ""
	}
	text := `aria-describedby="` + template.HTMLEscapeString(strings.Join(by, " ")) + `"`
	if wrong {
		text += ` aria-invalid="true"`
	}
	return template.HTMLAttr(text)
}

// Languages are the other languages, each with a link to this page in it.
func (p *Page) Languages() (list []struct{ Lang, Name, URL string }) {
	if p.Once {
		return nil
	}
	self := p.self()
	for _, l := range languages {
		if l.tag == p.v.Lang {
			continue
		}
		u := self + "?lang=" + l.tag
		if strings.Contains(self, "?") {
			u = self + "&lang=" + l.tag
		}
		list = append(list, struct{ Lang, Name, URL string }{l.tag, l.name, u})
	}
	return list
}

func (p *Page) self() string {
	if p.Self != "" {
		return p.Self
	}
	r := p.v.R
	q := r.URL.Query()
	q.Del("lang")
	for _, k := range p.Keep {
		if value := r.FormValue(k); value != "" {
			q.Set(k, value)
		}
	}
	path := (&url.URL{Path: r.URL.Path}).EscapedPath()
	if r.Method != http.MethodGet && r.Method != http.MethodHead && len(p.Keep) == 0 || len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
