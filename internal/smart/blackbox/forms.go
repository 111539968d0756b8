package blackbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// page is what a browser shows.
type page struct {
	url    *url.URL
	status int
	header http.Header
	root   *html.Node
}

// form is a form of a page, as it would be submitted untouched.
type form struct {
	action *url.URL
	get    bool
	fields url.Values
	login  string // name of the field for the login, "" if the form asks for no password
	secret string // name of the field for the password
	boxes  []box
	button map[string][]string // values of submit buttons by name
}

// box is a check box or a radio button.
type box struct {
	name, value string
	radio       bool
}

// Forms decides by filling in the HTML forms of a server, as a person does whose browser runs no scripts:
//
//   - a form with a password is a login: the first field for text gets the login;
//   - a form with a button named decision is the consent; its values are allow and deny. If there is no such form, one
//     that is posted allows, and a link to abort denies;
//   - check boxes named scope have a scope as their value, those named kind a type of resources or one of personal,
//     coverage, claims and providers, and one named offline is offline_access; what the decision does not allow is
//     cleared;
//   - of radio buttons the one with the id of the member counts, otherwise the one that is chosen, otherwise the first;
//   - a link that has a code or an error in its query is the way back to an app.
func Forms(ctx context.Context, browser *http.Client, at *url.URL, d *Decision) (*url.URL, error) {
	p, back, err := visit(ctx, browser, at)
	signed := false
	for range 10 {
		if err != nil || back != nil {
			return back, err
		}
		f := p.form(d.Deny)
		switch {
		case f == nil:
			return nil, fmt.Errorf("%s (%d) has no form: %s", p.url.Path, p.status, p.words())
		case f.login != "" && signed:
			return nil, fmt.Errorf("the login was not accepted: %s", p.words())
		case f.login != "":
			f.fields.Set(f.login, d.Login)
			f.fields.Set(f.secret, d.Password)
			signed = true
		default:
			if away := f.decide(p, d); away != nil {
				p, back, err = visit(ctx, browser, away)
				continue
			}
		}
		p, back, err = f.submit(ctx, browser, p.url)
	}
	return nil, errors.New("ten pages, and no decision")
}

// visit goes to a page, and follows redirects on the way. back is not nil where they lead to an app.
func visit(ctx context.Context, browser *http.Client, at *url.URL) (p *page, back *url.URL, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	return follow(browser, r)
}

func follow(browser *http.Client, r *http.Request) (p *page, back *url.URL, err error) {
	origin := r.URL.Host
	for range 20 {
		p, err := fetch(browser, r)
		if err != nil {
			return nil, nil, err
		}
		if p.status < 300 || p.status > 399 {
			return p, p.wayBack(), nil
		}
		to, err := r.URL.Parse(p.header.Get("Location"))
		if err != nil {
			return nil, nil, err
		}
		if to.Host != origin || isAnswer(to) {
			return nil, to, nil
		}
		r, err = http.NewRequestWithContext(r.Context(), http.MethodGet, to.String(), http.NoBody)
		if err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, errors.New("20 redirects")
}

func fetch(browser *http.Client, r *http.Request) (*page, error) {
	resp, err := browser.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	root, err := html.Parse(bytes.NewReader(body))
	return &page{url: r.URL, status: resp.StatusCode, header: resp.Header, root: root}, err
}

// isAnswer reports whether a URL has what an authorization server answers an app.
func isAnswer(u *url.URL) bool {
	q := u.Query()
	return q.Has("code") || q.Has("error")
}

// wayBack is a link of a page to an app, with an answer; nil is none.
func (p *page) wayBack() *url.URL {
	for n := range p.root.Descendants() {
		if n.Data == "a" {
			if u, err := p.url.Parse(attribute(n, "href")); err == nil && isAnswer(u) && (u.Host != p.url.Host || u.Query().Has("code")) {
				return u
			}
		}
	}
	return nil
}

// forms are those of a page.
func (p *page) forms() (list []*form) {
	for n := range p.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "form" {
			list = append(list, readForm(p, n))
		}
	}
	return list
}

// form is the one that a person would fill in: a login first, then one with the decision, then one with a choice, then
// any that is posted.
func (p *page) form(deny bool) *form {
	list := p.forms()
	for _, suits := range []func(*form) bool{
		func(f *form) bool { return f.login != "" },
		func(f *form) bool { return deny && slices.Contains(f.button["decision"], "deny") },
		func(f *form) bool { return slices.Contains(f.button["decision"], "allow") },
		func(f *form) bool { return slices.ContainsFunc(f.boxes, func(b box) bool { return b.radio }) },
		func(f *form) bool { return !f.get },
	} {
		if i := slices.IndexFunc(list, suits); i >= 0 {
			return list[i]
		}
	}
	return nil
}

func readForm(p *page, n *html.Node) *form {
	f := &form{action: p.url, get: !strings.EqualFold(attribute(n, "method"), "post"), fields: url.Values{}, button: map[string][]string{}}
	if u, err := p.url.Parse(attribute(n, "action")); err == nil && attribute(n, "action") != "" {
		f.action = u
	}
	text := ""
	for c := range n.Descendants() {
		name, value := attribute(c, "name"), attribute(c, "value")
		switch {
		case c.Data == "button" && c.Type == html.ElementNode && !strings.EqualFold(attribute(c, "type"), "button"):
			f.button[name] = append(f.button[name], value)
		case c.Data == "textarea" && c.Type == html.ElementNode:
			f.fields.Add(name, "")
		case c.Data != "input" || name == "":
		default:
			switch strings.ToLower(attribute(c, "type")) {
			case "submit":
				f.button[name] = append(f.button[name], value)
			case "password":
				f.secret = name
				f.login = text
			case "checkbox", "radio":
				f.boxes = append(f.boxes, box{name, value, attribute(c, "type") == "radio"})
				if has(c, "checked") {
					f.fields.Add(name, value)
				}
			case "hidden":
				f.fields.Add(name, value)
			case "", "text", "email":
				if text == "" {
					text = name
				}
				f.fields.Add(name, value)
			default:
				f.fields.Add(name, value)
			}
		}
	}
	return f
}

// decide fills in a consent. It returns where a link to abort leads, if that is how this page is denied.
func (f *form) decide(p *page, d *Decision) *url.URL {
	if d.Deny && !slices.Contains(f.button["decision"], "deny") {
		for n := range p.root.Descendants() {
			if text := strings.ToLower(words(n)); n.Data == "a" && (strings.Contains(text, "cancel") || strings.Contains(text, "abort")) {
				if u, err := p.url.Parse(attribute(n, "href")); err == nil {
					return u
				}
			}
		}
	}
	if f.button["decision"] != nil {
		f.fields.Set("decision", "allow")
		if d.Deny {
			f.fields.Set("decision", "deny")
		}
	}
	for _, b := range f.boxes {
		switch {
		case b.radio && (b.value == d.Patient || !f.fields.Has(b.name)):
			f.fields.Set(b.name, b.value)
		case b.radio:
		case d.Scopes != nil && !b.allowed(d.Scopes):
			f.fields[b.name] = slices.DeleteFunc(f.fields[b.name], func(v string) bool { return v == b.value })
		case !slices.Contains(f.fields[b.name], b.value):
			f.fields.Add(b.name, b.value)
		}
	}
	return nil
}

// kinds are what check boxes may call resources.
var kinds = map[string][]string{"personal": {"Patient"}, "coverage": {"Coverage"}, "claims": {"ExplanationOfBenefit"}, "providers": {"Organization", "Practitioner"}}

// allowed reports whether what a check box stands for is among scopes.
func (b *box) allowed(scopes []string) bool {
	switch {
	case b.name == "scope":
		return slices.Contains(scopes, b.value)
	case b.name == "offline":
		return slices.Contains(scopes, "offline_access")
	}
	for _, kind := range append(kinds[b.value], b.value) {
		if slices.ContainsFunc(scopes, func(s string) bool { return strings.Contains(s, "/"+kind+".") || strings.Contains(s, "/*.") }) {
			return true
		}
	}
	return false
}

// submit sends a form as a browser does.
func (f *form) submit(ctx context.Context, browser *http.Client, from *url.URL) (*page, *url.URL, error) {
	to, body, method := *f.action, f.fields.Encode(), http.MethodPost
	if f.get {
		to.RawQuery, body, method = body, "", http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, to.String(), strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if !f.get {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", from.Scheme+"://"+from.Host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if from.Host != to.Host {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
	}
	return follow(browser, r)
}

// words is the text of a page, for messages.
func (p *page) words() string {
	text := words(p.root)
	return text[:min(len(text), 300)]
}

func words(n *html.Node) string {
	if n.Type == html.ElementNode && (n.Data == "script" || n.Data == "style") {
		return ""
	}
	if n.Type == html.TextNode {
		return strings.Join(strings.Fields(n.Data), " ")
	}
	var parts []string
	for c := range n.ChildNodes() {
		if w := words(c); w != "" {
			parts = append(parts, w)
		}
	}
	return strings.Join(parts, " ")
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
