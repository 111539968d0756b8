package staff

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"cpcds2fhir/internal/portal"
)

// A browser has a session, and fills in forms as they are on pages.
type browser struct {
	w    *world
	id   string
	lang string
	name string
}

func (w *world) signIn(name string, role portal.StaffRole) *browser {
	return &browser{w: w, id: w.session(name, role).ID, name: name}
}

// reply is a page.
type reply struct {
	t      testing.TB
	b      *browser
	path   string
	status int
	header http.Header
	body   string
	root   *html.Node
}

func (b *browser) do(method, path, body string) *reply {
	b.w.t.Helper()
	r := httptest.NewRequest(method, origin+path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.id != "" {
		r.AddCookie(&http.Cookie{Name: "__Host-developer", Value: b.id})
	}
	if b.lang != "" {
		r.AddCookie(&http.Cookie{Name: "__Host-lang", Value: b.lang})
	}
	rec := httptest.NewRecorder()
	b.w.server.ServeHTTP(rec, r)
	p := &reply{t: b.w.t, b: b, path: path, status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	if strings.HasPrefix(p.header.Get("Content-Type"), "text/html") {
		root, err := html.Parse(strings.NewReader(p.body))
		ok(b.w.t, err)
		p.root = root
	}
	return p
}

func (b *browser) get(path string) *reply { b.w.t.Helper(); return b.do(http.MethodGet, path, "") }

// see wants a page with texts.
func (b *browser) see(path string, texts ...string) *reply {
	b.w.t.Helper()
	return b.get(path).want(http.StatusOK, texts...)
}

func (p *reply) want(status int, texts ...string) *reply {
	p.t.Helper()
	if p.status != status {
		p.t.Fatalf("%s by %s: %d, want %d; to %s: %s", p.path, p.b.name, p.status, status, p.header.Get("Location"), p.words())
	}
	for _, text := range texts {
		if !strings.Contains(p.words(), text) {
			p.t.Errorf("%s by %s lacks %q: %s", p.path, p.b.name, text, p.words())
		}
	}
	return p
}

func (p *reply) lacks(texts ...string) *reply {
	p.t.Helper()
	for _, text := range texts {
		if strings.Contains(p.words(), text) {
			p.t.Errorf("%s by %s has %q", p.path, p.b.name, text)
		}
	}
	return p
}

// words are the text of the page, with single blanks.
func (p *reply) words() string {
	if p.root == nil {
		return p.body
	}
	var b strings.Builder
	for n := range p.root.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// rows are the words of the bodies of tables.
func (p *reply) rows() string {
	var b strings.Builder
	for n := range p.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "tbody" {
			for c := range n.Descendants() {
				if c.Type == html.TextNode {
					b.WriteString(c.Data + " ")
				}
			}
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// follow goes to where an answer leads, after it was done.
func (p *reply) follow(texts ...string) *reply {
	p.t.Helper()
	p.want(http.StatusSeeOther)
	return p.b.see(p.header.Get("Location"), texts...)
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// form is a form of a page as it would be sent untouched.
type form struct {
	p      *reply
	action string
	fields url.Values
	names  []string // of all its fields
}

// form finds the form that is posted to a path.
func (p *reply) form(action string) *form {
	p.t.Helper()
	if p.root == nil {
		p.t.Fatalf("%s is no page: %d", p.path, p.status)
	}
	for n := range p.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "form" && attribute(n, "action") == action && attribute(n, "method") == "post" {
			f := &form{p: p, action: action, fields: url.Values{}}
			for x := range n.Descendants() {
				f.read(x)
			}
			return f
		}
	}
	p.t.Fatalf("%s by %s has no form to %s: %s", p.path, p.b.name, action, p.words())
	return nil
}

func (f *form) read(n *html.Node) {
	name := attribute(n, "name")
	if n.Type != html.ElementNode || name == "" {
		return
	}
	f.names = append(f.names, name)
	switch n.Data {
	case "input":
		if t := attribute(n, "type"); t == "radio" || t == "checkbox" {
			if has(n, "checked") {
				f.fields.Add(name, attribute(n, "value"))
			}
			return
		}
		f.fields.Add(name, attribute(n, "value"))
	case "textarea":
		text := ""
		if n.FirstChild != nil {
			text = n.FirstChild.Data
		}
		f.fields.Add(name, strings.TrimPrefix(text, "\n"))
	case "select":
		value := ""
		for o := range n.Descendants() {
			if o.Data == "option" && has(o, "selected") {
				value = attribute(o, "value")
			}
		}
		f.fields.Add(name, value)
	}
}

// fill types into fields that are on the page.
func (f *form) fill(pairs ...string) *form {
	f.p.t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		if !slices.Contains(f.names, pairs[i]) {
			f.p.t.Fatalf("the form to %s has no field %s, but %v", f.action, pairs[i], f.names)
		}
		f.fields.Set(pairs[i], pairs[i+1])
	}
	return f
}

func (f *form) send() *reply {
	f.p.t.Helper()
	return f.p.b.do(http.MethodPost, f.action, f.fields.Encode())
}

// links are the addresses of the page that stay on the site.
func (p *reply) links() (list []string) {
	for n := range p.root.Descendants() {
		if n.Type == html.ElementNode && (n.Data == "a" || n.Data == "img") {
			href := attribute(n, "href") + attribute(n, "src")
			if strings.HasPrefix(href, "/staff") && !slices.Contains(list, href) {
				list = append(list, href)
			}
		}
	}
	return list
}
