package blackbox

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// variant is a redirect that looks like a registered one.
type variant struct{ name, uri string }

// ownPort is the variant with the port that a scheme has anyway. Where any port goes it is no variant.
const ownPort = "the port that is meant anyway"

// variants are redirects that a server must not take for a registered one (RFC 9700, 2.1: exact comparison).
func variants(registered string) []variant {
	u, err := url.Parse(registered)
	if err != nil {
		return nil
	}
	with := func(edit func(v *url.URL)) string {
		v := *u
		edit(&v)
		return v.String()
	}
	host, port := u.Hostname(), u.Port()
	authority := strings.TrimPrefix(registered, u.Scheme+"://")
	_, rest, _ := strings.Cut(authority, "/")
	list := []variant{
		{"a foreign host", "https://evil.example/" + rest},
		{"path in capitals", with(func(v *url.URL) { v.Path += "X"; v.RawPath = "" })},
		{"slash at the end", toggleSlash(registered)},
		{"two slashes", with(func(v *url.URL) { v.Path = "/" + v.Path })},
		{"a query", with(func(v *url.URL) { v.RawQuery = strings.TrimPrefix(v.RawQuery+"&x=1", "&") })},
		{"an empty query", with(func(v *url.URL) { v.ForceQuery = true })},
		{"a fragment", registered + "#x"},
		{"an empty fragment", registered + "#"},
		{"a way up", with(func(v *url.URL) { v.Path = strings.TrimRight(v.Path, "/") + "/../x" })},
		{"a way up and back", with(func(v *url.URL) { v.Path = "/x/.." + v.Path })},
		{"a dot", with(func(v *url.URL) { v.Path = "/." + v.Path })},
		{"a percent form of the path", u.Scheme + "://" + u.Host + percentForm(u.EscapedPath())},
		{"a percent form of a slash", u.Scheme + "://" + u.Host + "%2f" + rest},
		{"a user", with(func(v *url.URL) { v.User = url.User("x") })},
		{"our host as a user", u.Scheme + "://" + u.Host + "@evil.example/" + rest},
		{"our host and a backslash", u.Scheme + "://evil.example\\@" + u.Host + "/" + rest},
		{"our host as a label", u.Scheme + "://" + host + ".evil.example/" + rest},
		{"a dot after the host", u.Scheme + "://" + net.JoinHostPort(host+".", orPort(port, u.Scheme)) + "/" + rest},
		{"a space before", " " + registered},
		{"a space after", registered + " "},
		{"a line", registered + "\r\nX-Injected: 1"},
		{"a tab in the scheme", strings.Replace(registered, "://", "\t://", 1)},
		{"a NUL", registered + "\x00"},
		{"javascript", "javascript:alert(1)//" + registered},
		{"data", "data:text/html,x"},
		{"no scheme", "//" + authority},
		{"a path alone", "/" + rest},
		{"another scheme", swapScheme(registered)},
	}
	if up := strings.ToUpper(u.Scheme) + strings.TrimPrefix(registered, u.Scheme); up != registered {
		list = append(list, variant{"the scheme in capitals", up})
	}
	if up := strings.ToUpper(host); up != host {
		list = append(list, variant{"the host in capitals", strings.Replace(registered, host, up, 1)})
	}
	if up := strings.ToUpper(u.Path); up != u.Path {
		list[1].uri = with(func(v *url.URL) { v.Path = up; v.RawPath = "" })
	}
	if port == "" && u.Host != "" {
		list = append(list, variant{ownPort, u.Scheme + "://" + net.JoinHostPort(host, orPort("", u.Scheme)) + "/" + rest})
	}
	return slices.DeleteFunc(list, func(v variant) bool { return v.uri == registered })
}

func toggleSlash(uri string) string {
	if strings.HasSuffix(uri, "/") {
		return strings.TrimSuffix(uri, "/")
	}
	return uri + "/"
}

func percentForm(path string) string {
	for i, c := range path {
		if c >= 'a' && c <= 'z' {
			return path[:i] + fmt.Sprintf("%%%02X", c) + path[i+1:]
		}
	}
	return path + "%20"
}

func orPort(port, scheme string) string {
	switch {
	case port != "":
		return port
	case scheme == "http":
		return "80"
	}
	return "443"
}

func swapScheme(uri string) string {
	if rest, ok := strings.CutPrefix(uri, "http://"); ok {
		return "https://" + rest
	}
	if rest, ok := strings.CutPrefix(uri, "https://"); ok {
		return "http://" + rest
	}
	return "http://127.0.0.1:9/callback"
}

// clientsWithRedirects are all of the target's.
func (t *trial) clientsWithRedirects() (list []*Client) {
	for _, c := range append([]*Client{t.Public, t.Confidential, t.Asymmetric, t.Native, t.Utah}, t.Others...) {
		if c != nil && len(c.RedirectURIs) > 0 && !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		t.Skip("the target has no client with redirects")
	}
	return list
}

// wantNowhere fails a check unless a request with a redirect that is not registered ends in a page.
func (t *trial) wantNowhere(c *Client, v variant) {
	t.Helper()
	a := t.attempt(c, c.scope()).set("redirect_uri", v.uri)
	for _, response := range []*answer{
		t.ask(t.browser(), a),
		t.do(&call{method: http.MethodPost, url: t.metadata.Authorize, form: a.query, client: t.browser()}),
	} {
		if response.err != nil || response.status < 400 || response.status > 499 || response.header.Get("Location") != "" {
			t.Errorf("%s (%q) for %s: got %s, want a page with a status of 4xx", v.name, v.uri, c.ID, response)
		}
		if response.err == nil && response.header.Get("X-Injected") != "" {
			t.Errorf("%s wrote a header", v.name)
		}
	}
	// The same holds where the request is wrong in another way too.
	a.set("response_type", "token")
	if response := t.ask(t.browser(), a); response.location() != nil {
		t.Errorf("%s for %s, with a wrong response type: got %s, want a page", v.name, c.ID, response)
	}
}

var redirects = []check{
	{"each registered redirect gets the answer", func(t *trial) {
		for _, c := range t.clientsWithRedirects() {
			if c == t.Utah {
				continue
			}
			for _, uri := range c.RedirectURIs {
				a := t.attempt(c, c.scope()).set("redirect_uri", uri)
				back := t.decide(a, t.member())
				if !strings.HasPrefix(back.String(), uri) {
					t.Errorf("%s got its answer at %s", uri, withoutQuery(back))
				}
				t.redeem(a, back.Query().Get("code"))
			}
		}
	}},
	{"what looks like a registered redirect gets nothing", func(t *trial) {
		for _, c := range t.clientsWithRedirects() {
			for _, v := range variants(c.RedirectURIs[0]) {
				if !slices.Contains(c.RedirectURIs, v.uri) && !(c.AnyPort && v.name == ownPort) {
					t.wantNowhere(c, v)
				}
			}
		}
	}},
	{"the redirect of another client gets nothing", func(t *trial) {
		list := t.clientsWithRedirects()
		tried := false
		for _, c := range list {
			for _, other := range list {
				uri := other.RedirectURIs[0]
				u, err := url.Parse(uri)
				if slices.Contains(c.RedirectURIs, uri) || err != nil || c.AnyPort && loopback(u.Hostname()) {
					continue
				}
				tried = true
				t.wantNowhere(c, variant{"another client's redirect", uri})
			}
		}
		if !tried {
			t.Skip("all clients of the target have the same redirects")
		}
	}},
	{"no redirect gets a page, unless only one is registered", func(t *trial) {
		c := t.app()
		response := t.ask(t.browser(), t.attempt(c, c.scope()).set("redirect_uri", ""))
		if to := response.location(); to != nil && isAnswer(to) && !slices.Contains(c.RedirectURIs, withoutQuery(to)) {
			t.Errorf("got %s", response)
		} else if response.err != nil || response.status >= 500 {
			t.Errorf("got %s", response)
		}
	}},
	{"two redirects get a page", func(t *trial) {
		c := t.app()
		for _, order := range [][]string{{c.RedirectURIs[0], "https://evil.example/"}, {"https://evil.example/", c.RedirectURIs[0]}} {
			a := t.attempt(c, c.scope())
			a.query["redirect_uri"] = order
			t.wantPage(t.ask(t.browser(), a))
		}
	}},
	{"one in the query and one in the body get a page, or the body counts", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		response := t.do(&call{method: http.MethodPost, url: withQuery(t.metadata.Authorize, "redirect_uri=https%3A%2F%2Fevil.example%2F"), form: a.query, client: t.browser()})
		if to := response.location(); response.err != nil || response.status >= 500 || to != nil && to.Host == "evil.example" {
			t.Errorf("got %s", response)
		}
	}},
	{"a loopback redirect of an app on a device has any port", func(t *trial) {
		c := t.need(t.Native, "native")
		for _, uri := range c.RedirectURIs {
			u, err := url.Parse(uri)
			if err != nil || !loopback(u.Hostname()) || u.Scheme != "http" {
				continue
			}
			for _, port := range []string{"49152", "8123", "1024"} {
				u.Host = net.JoinHostPort(u.Hostname(), port)
				a := t.attempt(c, c.scope()).set("redirect_uri", u.String())
				t.redeem(a, t.code(a))
			}
			return
		}
		t.Skip("the native client has no loopback redirect")
	}},
	{"and nothing else of it differs", func(t *trial) {
		c := t.need(t.Native, "native")
		for _, uri := range c.RedirectURIs {
			u, err := url.Parse(uri)
			if err != nil || !loopback(u.Hostname()) || u.Scheme != "http" {
				continue
			}
			u.Host = net.JoinHostPort(u.Hostname(), "49152")
			for _, v := range variants(u.String()) {
				t.wantNowhere(c, v)
			}
			for _, host := range []string{"127.0.0.2", "0.0.0.0", "[::1]", "localhost", "127.1", "2130706433"} {
				if host != u.Hostname() && !slices.Contains(c.RedirectURIs, "http://"+host+u.Path) {
					t.wantNowhere(c, variant{"another loopback address", "http://" + host + ":49152" + u.Path})
				}
			}
			for _, port := range []string{"0", "65536", "-1", "x", "80:80"} {
				a := t.attempt(c, c.scope()).set("redirect_uri", "http://"+u.Hostname()+":"+port+u.Path)
				if response := t.ask(t.browser(), a); port != "0" && (response.location() != nil || response.status >= 500) {
					t.Errorf("port %s: got %s", port, response)
				}
			}
			return
		}
		t.Skip("the native client has no loopback redirect")
	}},
	{"a redirect of any other client has its port", func(t *trial) {
		tried := false
		for _, c := range t.clientsWithRedirects() {
			u, err := url.Parse(c.RedirectURIs[0])
			if err != nil || c.AnyPort || u.Host == "" {
				continue
			}
			tried = true
			for _, port := range []string{"49152", "8443", "1"} {
				v := *u
				if v.Host = net.JoinHostPort(u.Hostname(), port); v.String() != u.String() {
					t.wantNowhere(c, variant{"another port", v.String()})
				}
			}
		}
		if !tried {
			t.Skip("each client of the target may have any port")
		}
	}},
	{"the redirect at the token endpoint is the one of the request", func(t *trial) {
		c := t.app()
		for _, v := range variants(c.RedirectURIs[0])[:6] {
			a := t.attempt(c, c.scope())
			r := t.exchange(a, t.code(a))
			r.form.Set("redirect_uri", v.uri)
			t.wantError(t.do(r), http.StatusBadRequest, "invalid_grant", "invalid_request")
		}
	}},
}
