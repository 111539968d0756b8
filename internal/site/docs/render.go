package docs

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"html/template"
	"strconv"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// rendered is a page as HTML, and what was found in it.
type rendered struct {
	source         *source
	title, summary string
	actions        template.HTML // of the landing page: its first paragraph, if it is one of links
	html           template.HTML
	contents       []Heading
	anchors        map[string]bool
	links          []internalLink
	external       []string
	samples        []sample
}

// internalLink is a link to another page, as page.md#anchor.
type internalLink struct{ page, anchor, written string }

// sample is a program in a page that a reader can run.
type sample struct {
	page, lang string
	kind       string // sh, js or python
	run        string // its name, "" if nobody should run it
	code       string
}

// render makes HTML of the Markdown of a page. It fails if there is HTML in it, an image, or a heading of the first level,
// which is the title's.
func (s *source) render(v *values, generate func(what string) (string, error)) (*rendered, error) {
	body, err := v.mark(s, generate)
	if err != nil {
		return nil, err
	}
	r := &rendered{source: s, anchors: map[string]bool{}}
	for _, of := range []struct {
		to   *string
		from string
	}{{&r.title, s.title}, {&r.summary, s.summary}} {
		line, err := v.mark(&source{file: s.file, body: of.from, first: 1}, generate)
		if err != nil {
			return nil, err
		}
		*of.to = v.plain(strings.TrimSpace(line))
	}
	w := &writer{rendered: r, values: v, text: []byte(body), last: []byte(s.title)}
	md := goldmark.New(goldmark.WithExtensions(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignNone))), goldmark.WithParserOptions(parser.WithAttribute()),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(w, 100))))
	doc := md.Parser().Parse(text.NewReader(w.text))
	var b, first bytes.Buffer
	look := ""
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		to := &b
		if s.name == HomeName {
			if asActions(n, w.text) && n.PreviousSibling() == nil {
				to = &first
			}
			look = w.arrange(n, look)
		}
		if err := md.Renderer().Render(to, w.text, n); err != nil {
			return nil, err
		}
	}
	if len(w.faults) > 0 {
		return nil, errors.Join(w.faults...)
	}
	r.actions = template.HTML(v.html(first.String())) //nolint:gosec // as below
	r.html = template.HTML(v.html(b.String()))        //nolint:gosec // it is made of Markdown here; values are escaped
	return r, nil
}

// writer writes what this package writes otherwise than goldmark.
type writer struct {
	*rendered
	values *values
	text   []byte
	last   []byte // heading before, as a name of tables
	faults []error
}

// RegisterFuncs implements renderer.NodeRenderer.
func (w *writer) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindHeading, w.heading)
	r.Register(ast.KindLink, w.link)
	r.Register(ast.KindAutoLink, w.autoLink)
	r.Register(ast.KindCodeSpan, w.span)
	r.Register(ast.KindFencedCodeBlock, w.code)
	r.Register(ast.KindHTMLBlock, w.refuse("HTML"))
	r.Register(ast.KindRawHTML, w.refuse("HTML"))
	r.Register(ast.KindImage, w.refuse("an image"))
	r.Register(ast.KindCodeBlock, w.refuse("code without a fence"))
	r.Register(east.KindTable, w.table)
}

func (w *writer) refuse(what string) renderer.NodeRendererFunc {
	return func(_ util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			found := ""
			if lines := linesOf(n); lines != nil && lines.Len() > 0 {
				at := lines.At(0)
				found, _, _ = strings.Cut(string(at.Value(w.text)), "\n")
			}
			w.fault(strings.TrimSpace(found), "there is "+what+", which pages do not have")
		}
		return ast.WalkSkipChildren, nil
	}
}

func linesOf(n ast.Node) *text.Segments {
	switch n := n.(type) {
	case *ast.RawHTML:
		return n.Segments
	case *ast.HTMLBlock, *ast.CodeBlock:
		return n.Lines()
	}
	return nil
}

func (w *writer) fault(found, text string) {
	where := w.source.file
	if found != "" {
		where = w.source.at(found)
	}
	w.faults = append(w.faults, fmt.Errorf("%s: %s", where, text))
}

// plain is the text of a node.
func (w *writer) plain(n ast.Node) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Value(w.text))
			if t.SoftLineBreak() {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return w.values.plain(b.String())
}

// identify gives a heading its id: the one that is written behind it as {#id}, or one made of its text.
func (w *writer) identify(h *ast.Heading) (id string) {
	if x, ok := h.AttributeString("id"); ok {
		id = string(x.([]byte))
		w.anchors[id] = true
		return id
	}
	plain := w.plain(h)
	base := strings.Trim(strings.Join(strings.FieldsFunc(strings.ToLower(plain), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), "-"), "-")
	for i := 1; ; i++ {
		id = base
		if i > 1 {
			id += "-" + strconv.Itoa(i)
		}
		if !w.anchors[id] {
			break
		}
	}
	w.anchors[id] = true
	h.SetAttributeString("id", []byte(id))
	return id
}

func (w *writer) heading(b util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	h := n.(*ast.Heading)
	tag := "h" + strconv.Itoa(h.Level)
	if !entering {
		if id := w.identify(h); w.source.name != HomeName {
			fmt.Fprintf(b, ` <a class="anchor" href="#%s" aria-hidden="true" tabindex="-1">#</a>`, html.EscapeString(id))
		}
		fmt.Fprintf(b, "</%s>\n", tag)
		return ast.WalkContinue, nil
	}
	plain := w.plain(h)
	if h.Level == 1 {
		w.fault(plain, "a heading of the first level is the title, in the front matter")
	}
	id := w.identify(h)
	w.last = []byte(plain)
	if h.Level == 2 {
		w.contents = append(w.contents, Heading{id, plain})
	}
	fmt.Fprintf(b, `<%s id="%s">`, tag, html.EscapeString(id))
	return ast.WalkContinue, nil
}

// arrange gives the lists of the landing page the look that is written behind the heading before, as {.steps} or
// {.cards}: columns, each with the words in bold as its heading. It returns the look of what follows.
func (w *writer) arrange(n ast.Node, look string) string {
	if h, ok := n.(*ast.Heading); ok {
		class, ok := h.AttributeString("class")
		if !ok {
			return ""
		}
		h.SetAttributeString("class", nil)
		return string(class.([]byte))
	}
	list, ok := n.(*ast.List)
	if !ok || look == "" {
		return look
	}
	classes := map[string]string{"steps": "grid numbered", "cards": "grid"}
	if classes[look] == "" {
		w.fault("{."+look, "lists look like .steps or .cards")
	}
	list.SetAttributeString("class", []byte(classes[look]))
	for item := list.FirstChild(); item != nil; item = item.NextSibling() {
		item.SetAttributeString("class", []byte("topic"))
		block := item.FirstChild()
		strong, ok := block.FirstChild().(*ast.Emphasis)
		if !ok {
			continue
		}
		heading, rest := ast.NewHeading(3), ast.NewParagraph()
		for c := strong.FirstChild(); c != nil; c = strong.FirstChild() {
			heading.AppendChild(heading, c)
		}
		block.RemoveChild(block, strong)
		for c := block.FirstChild(); c != nil; c = block.FirstChild() {
			rest.AppendChild(rest, c)
		}
		item.ReplaceChild(item, block, heading)
		item.InsertAfter(item, heading, rest)
	}
	return look
}

// asActions makes buttons of a paragraph of links alone, and reports whether it was one.
func asActions(n ast.Node, source []byte) bool {
	p, ok := n.(*ast.Paragraph)
	if !ok {
		return false
	}
	for c := p.FirstChild(); c != nil; c = c.NextSibling() {
		t, blank := c.(*ast.Text)
		_, isLink := c.(*ast.Link)
		if !isLink && (!blank || len(bytes.TrimSpace(t.Value(source))) > 0) {
			return false
		}
	}
	class := "button"
	for c := p.FirstChild(); c != nil; c = c.NextSibling() {
		if l, ok := c.(*ast.Link); ok {
			l.SetAttributeString("class", []byte(class))
			class = "button second"
		}
	}
	p.SetAttributeString("class", []byte("act"))
	return true
}
