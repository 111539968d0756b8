package developers

import (
	"bytes"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// browser keeps cookies. Every page that it gets is looked at by lint.
type browser struct {
	w    *world
	http *http.Client
	lang string
}

func (w *world) browser(lang string) *browser {
	jar, err := cookiejar.New(nil)
	w.must(err)
	c := *w.server.Client()
	c.Jar = jar
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{w: w, http: &c, lang: lang}
}

// signIn signs somebody in who was made by person.
func (b *browser) signIn(email string) *doc {
	b.w.t.Helper()
	b.w.pass(31 * time.Second) // a code is good once
	d := b.get("/developers/sign-in")
	d = b.send(d.form("/developers/sign-in").set("email", email).set("password", goodPassword))
	d = b.send(d.form("/developers/factor").set("factor", b.w.code(staffKey)))
	if d.path != "/developers" {
		b.w.t.Fatalf("%s did not come in: %s", email, d.words())
	}
	return d
}

// prove proves who somebody is, on the page that asks for it.
func (b *browser) prove(d *doc) *doc {
	b.w.t.Helper()
	b.w.pass(31 * time.Second)
	return b.send(d.form("/developers/reauth").set("password", goodPassword).set("factor", b.w.code(staffKey)))
}

// doc is a page.
type doc struct {
	b      *browser
	status int
	header http.Header
	path   string
	body   string
	root   *html.Node
}

// get opens a page, and follows where it leads.
func (b *browser) get(path string) *doc {
	b.w.t.Helper()
	r, err := http.NewRequestWithContext(b.w.t.Context(), http.MethodGet, b.w.server.URL+path, nil)
	b.w.must(err)
	return b.do(r)
}

func (b *browser) do(r *http.Request) *doc {
	b.w.t.Helper()
	for range 8 {
		r.Header.Set("Accept-Language", b.lang)
		resp, err := b.http.Do(r)
		b.w.must(err)
		body, err := io.ReadAll(resp.Body)
		b.w.must(err)
		b.w.must(resp.Body.Close())
		if to := resp.Header.Get("Location"); resp.StatusCode == http.StatusSeeOther && to != "" {
			u, err := r.URL.Parse(to)
			b.w.must(err)
			r, err = http.NewRequestWithContext(b.w.t.Context(), http.MethodGet, u.String(), nil)
			b.w.must(err)
			continue
		}
		d := &doc{b: b, status: resp.StatusCode, header: resp.Header, path: r.URL.Path, body: string(body)}
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			d.root, err = html.Parse(bytes.NewReader(body))
			b.w.must(err)
			lint(b.w.t, d)
		}
		return d
	}
	b.w.t.Fatal("the pages lead in circles")
	return nil
}

// send sends a form.
func (b *browser) send(f *form) *doc {
	b.w.t.Helper()
	var body io.Reader = strings.NewReader(f.values.Encode())
	kind := "application/x-www-form-urlencoded"
	if f.multipart {
		var buf bytes.Buffer
		m := multipart.NewWriter(&buf)
		for _, k := range slices.SortedFunc(maps.Keys(f.values), func(a, b string) int { return strings.Compare(b, a) }) { // the token first, as in the page
			for _, v := range f.values[k] {
				b.w.must(m.WriteField(k, v))
			}
		}
		for k, data := range f.files {
			h := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + k + `"; filename="../policy.pdf"`}, "Content-Type": {"application/octet-stream"}}
			p, err := m.CreatePart(h)
			b.w.must(err)
			_, err = p.Write(data)
			b.w.must(err)
		}
		b.w.must(m.Close())
		body, kind = &buf, m.FormDataContentType()
	}
	r, err := http.NewRequestWithContext(b.w.t.Context(), http.MethodPost, b.w.server.URL+f.action, body)
	b.w.must(err)
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Origin", "null")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

// form is a form of a page, as it would be sent untouched.
type form struct {
	doc       *doc
	action    string
	values    url.Values
	multipart bool
	files     map[string][]byte
	kinds     map[string]string // types of inputs by name
	node      *html.Node
}

// forms are those of a page.
func (d *doc) forms() (list []*form) {
	if d.root == nil {
		return nil
	}
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "form" {
			list = append(list, readForm(d, n))
		}
	}
	return list
}

// form is the form that is sent to a path.
func (d *doc) form(action string) *form {
	d.b.w.t.Helper()
	for _, f := range d.forms() {
		if f.action == action {
			return f
		}
	}
	d.b.w.t.Fatalf("%s (%d) has no form for %s: %s", d.path, d.status, action, d.words())
	return nil
}

func readForm(d *doc, n *html.Node) *form {
	f := &form{doc: d, action: attr(n, "action"), values: url.Values{}, multipart: attr(n, "enctype") == "multipart/form-data", files: map[string][]byte{}, kinds: map[string]string{}, node: n}
	for c := range n.Descendants() {
		if c.Type != html.ElementNode {
			continue
		}
		name := attr(c, "name")
		switch c.Data {
		case "textarea":
			f.values.Set(name, strings.TrimPrefix(text(c), "\n"))
			f.kinds[name] = "textarea"
		case "select":
			f.kinds[name] = "select"
			for o := range c.Descendants() {
				if o.Data == "option" && has(o, "selected") {
					f.values.Set(name, attr(o, "value"))
				}
			}
		case "input":
			kind := attr(c, "type")
			f.kinds[name] = kind
			switch kind {
			case "radio", "checkbox":
				if has(c, "checked") {
					f.values.Add(name, attr(c, "value"))
				}
			case "file":
			default:
				f.values.Add(name, attr(c, "value"))
			}
		}
	}
	return f
}

func (f *form) set(name string, values ...string) *form {
	f.doc.b.w.t.Helper()
	if _, ok := f.kinds[name]; !ok && !strings.HasPrefix(name, "_") {
		f.doc.b.w.t.Fatalf("the form for %s has no field %s", f.action, name)
	}
	f.values[name] = values
	return f
}

func (f *form) file(name string, data []byte) *form {
	f.files[name] = data
	return f
}

func (d *doc) want(status int, words ...string) *doc {
	d.b.w.t.Helper()
	if d.status != status {
		d.b.w.t.Fatalf("%s: %d, want %d: %s", d.path, d.status, status, d.words())
	}
	for _, w := range words {
		if !strings.Contains(d.words(), w) {
			d.b.w.t.Errorf("%s does not say %q: %s", d.path, w, d.words())
		}
	}
	return d
}

// words is the text of a page's main part.
func (d *doc) words() string {
	if d.root == nil {
		return d.body
	}
	for n := range d.root.Descendants() {
		if n.Data == "main" {
			return strings.Join(strings.Fields(text(n)), " ")
		}
	}
	return strings.Join(strings.Fields(text(d.root)), " ")
}

// link is the address of the first link whose text has some words.
func (d *doc) link(words string) string {
	d.b.w.t.Helper()
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "a" && strings.Contains(strings.Join(strings.Fields(text(n)), " "), words) {
			return attr(n, "href")
		}
	}
	d.b.w.t.Fatalf("%s has no link %q: %s", d.path, words, d.words())
	return ""
}

func text(n *html.Node) string {
	if n.Type == html.TextNode {
		return n.Data
	}
	var b strings.Builder
	for c := range n.ChildNodes() {
		b.WriteString(text(c))
		if c.Type == html.ElementNode {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func attr(n *html.Node, name string) string {
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

// proved proves who somebody is if the page asks for it.
func (b *browser) proved(d *doc) *doc {
	b.w.t.Helper()
	if d.path == "/developers/reauth" {
		return b.prove(d)
	}
	return d
}
