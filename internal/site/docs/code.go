package docs

import (
	"bytes"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark/ast"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/util"
)

// span writes a word of code. In tables it may be broken where an address or a path has a joint, so that its column does
// not push others away.
func (w *writer) span(b util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	text := html.EscapeString(w.plain(n))
	for p := n.Parent(); p != nil; p = p.Parent() {
		if p.Kind() == east.KindTableCell {
			text = joints.ReplaceAllString(text, "$0<wbr>")
		}
	}
	fmt.Fprint(b, "<code>"+text+"</code>")
	return ast.WalkSkipChildren, nil
}

var joints = regexp.MustCompile(`[A-Za-z0-9\]}][/.?]|_`)

// code writes a block of code. Behind its language may be file=NAME, how it is saved, and run=NAME, if it is a program
// that a reader can run as it is.
func (w *writer) code(b util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	f := n.(*ast.FencedCodeBlock)
	var code bytes.Buffer
	for i := range f.Lines().Len() {
		line := f.Lines().At(i)
		code.Write(line.Value(w.text))
	}
	s := sample{page: w.source.name, lang: w.source.lang, code: w.values.plain(code.String())}
	file := ""
	if f.Info != nil {
		for i, word := range strings.Fields(string(f.Info.Value(w.text))) {
			name, value, _ := strings.Cut(word, "=")
			switch {
			case i == 0:
				s.kind = word
			case name == "run":
				s.run = value
			case name == "file":
				file = value
			default:
				w.fault(word, "a block of code has a language, file= and run=")
			}
		}
	}
	if s.run != "" {
		w.samples = append(w.samples, s)
	}
	label := codeNames[s.kind]
	if label == "" {
		w.fault("```"+s.kind, "a block of code needs a language that is known")
	}
	if file != "" {
		label += ", " + file
	}
	fmt.Fprintf(b, "<figure class=\"sample\"><figcaption>%s</figcaption><pre tabindex=\"0\" role=\"group\" aria-label=\"%s\"><code translate=\"no\">%s</code></pre>%s</figure>\n",
		html.EscapeString(label), html.EscapeString(word(w.source.lang, "code")+": "+label), html.EscapeString(code.String()), w.running(&s))
	return ast.WalkSkipChildren, nil
}

// running are the links that run the requests of a block of code, "" if there are none or no page that does it.
func (w *writer) running(s *sample) string {
	page := w.values.texts["try_page"]
	list := requests(s, w.values.texts["sandbox_base"])
	if page == "" || len(list) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(`<div class="act">`)
	for _, r := range list {
		name := `<span class="unseen">: ` + html.EscapeString(r) + `</span>`
		if len(list) > 1 {
			name = ": " + html.EscapeString(r)
		}
		fmt.Fprintf(&b, `<a class="button second" href="%s">%s%s</a>`, html.EscapeString(page+"?request="+url.QueryEscape(r)), html.EscapeString(word(w.source.lang, "run")), name)
	}
	b.WriteString("</div>")
	return b.String()
}

// requests are those of a program that a page can make by itself, below the base: lines that read something with curl, and
// need no more than a token, the id of the member, and the id of a resource.
func requests(s *sample, base string) (list []string) {
	if s.kind != "sh" || s.run == "" {
		return nil
	}
	for line := range strings.Lines(s.code) {
		m := readsWithCurl.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		path, ok := strings.CutPrefix(m[1], base+"/")
		if !ok || slices.ContainsFunc(inShell.FindAllString(path, -1), func(v string) bool { return v != "$ID" && v != "$PATIENT" && v[0] != '\\' }) {
			continue
		}
		list = append(list, strings.ReplaceAll(path, `\$`, "$"))
	}
	return list
}

var (
	readsWithCurl = regexp.MustCompile(`^curl (?:-H "Authorization: Bearer \$ACCESS" )?"([^"\s]+)"$`)
	inShell       = regexp.MustCompile(`\\?\$[A-Za-z_{(]*`)
)

// codeNames are the languages of blocks of code, as readers see them.
var codeNames = map[string]string{"sh": "curl", "js": "JavaScript", "html": "HTML", "python": "Python", "json": "JSON", "http": "HTTP", "text": "Text"}

func (w *writer) table(b util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		fmt.Fprint(b, "</table></div>\n")
		return ast.WalkContinue, nil
	}
	for h := n.FirstChild().FirstChild(); h != nil; h = h.NextSibling() {
		h.SetAttributeString("scope", []byte("col"))
		if w.plain(h) == "" {
			w.fault("", "the table below "+string(w.last)+" has a column without a heading")
		}
	}
	label := word(w.source.lang, "table") + ": " + string(w.last)
	fmt.Fprintf(b, "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"%s\"><table>\n", html.EscapeString(label))
	return ast.WalkContinue, nil
}
