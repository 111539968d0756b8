package docs

import (
	"fmt"
	"html"
	"net/url"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/util"
)

func (w *writer) link(b util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	l := n.(*ast.Link)
	if entering {
		class := ""
		if x, ok := l.AttributeString("class"); ok {
			class = string(x.([]byte))
		}
		w.open(b, string(l.Destination), class)
	} else {
		w.close(b, string(l.Destination))
	}
	return ast.WalkContinue, nil
}

func (w *writer) autoLink(b util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		a := n.(*ast.AutoLink)
		to := string(a.URL(w.text))
		w.open(b, to, "")
		fmt.Fprint(b, html.EscapeString(string(a.Label(w.text))))
		w.close(b, to)
	}
	return ast.WalkContinue, nil
}

// open begins a link. Links to other pages are written as page.md#anchor, so that editors follow them too.
func (w *writer) open(b util.BufWriter, written, class string) {
	to := w.values.plain(written)
	u, err := url.Parse(to)
	switch {
	case err != nil:
		w.fault(written, "a link cannot be read")
	case u.Scheme == "" && strings.HasSuffix(u.Path, ".md"):
		name := strings.TrimSuffix(u.Path, ".md")
		w.links = append(w.links, internalLink{name, u.Fragment, written})
		to = (&Page{Name: name}).Path()
		if u.Fragment != "" {
			to += "#" + u.Fragment
		}
	case u.Scheme == "" && u.Host == "" && (strings.HasPrefix(to, "/") || strings.HasPrefix(to, "#")):
		if strings.HasPrefix(to, "#") {
			w.links = append(w.links, internalLink{w.source.name, u.Fragment, written})
		}
	case u.Scheme == "mailto" || u.Scheme == "tel" || u.Scheme == "https" || u.Scheme == "http":
	default:
		w.fault(written, "a link leads neither to a page, as NAME.md, nor to an address of the web")
	}
	fmt.Fprintf(b, `<a href="%s"`, html.EscapeString(to))
	if class != "" {
		fmt.Fprintf(b, ` class="%s"`, class)
	}
	if w.leaves(to) {
		if written == to {
			w.external = append(w.external, to)
		}
		fmt.Fprint(b, ` target="_blank" rel="noopener noreferrer"`)
	}
	fmt.Fprint(b, ">")
}

func (w *writer) close(b util.BufWriter, written string) {
	if w.leaves(w.values.plain(written)) {
		fmt.Fprint(b, ` <span class="new">`+html.EscapeString(word(w.source.lang, "newtab"))+"</span>")
	}
	fmt.Fprint(b, "</a>")
}

// leaves reports whether a link leads to another site.
func (w *writer) leaves(to string) bool {
	u, err := url.Parse(to)
	return err == nil && u.Host != "" && u.Scheme+"://"+u.Host != w.values.texts["portal"]
}
