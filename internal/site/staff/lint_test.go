package staff

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// lint finds what keeps people from using a page.
func lint(root *html.Node, lang string) (faults []string) {
	fault := func(text ...string) { faults = append(faults, strings.Join(text, " ")) }
	ids, labels := map[string]int{}, map[string]bool{}
	h1, level := 0, 0
	var title string
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if id := attribute(n, "id"); id != "" {
			ids[id]++
		}
		if n.Data == "label" {
			labels[attribute(n, "for")] = true
		}
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		text := inside(n)
		switch n.Data {
		case "html":
			if attribute(n, "lang") != lang {
				fault("the language is", attribute(n, "lang"))
			}
		case "title":
			title = text
		case "h1", "h2", "h3", "h4":
			at := int(n.Data[1] - '0')
			if at == 1 {
				h1++
			}
			if at > level+1 && level > 0 {
				fault("the heading", text, "skips a level")
			}
			if text == "" {
				fault("a heading is empty")
			}
			level = at
		case "input", "select", "textarea":
			t := attribute(n, "type")
			if t != "hidden" && !labels[attribute(n, "id")] {
				fault("the field", attribute(n, "name"), "has no label")
			}
			if attribute(n, "placeholder") != "" {
				fault("a hint is in the field", attribute(n, "name"))
			}
		case "button", "a", "summary", "legend", "caption", "th", "label":
			if text == "" {
				fault("there is no text in", n.Data, attribute(n, "href"))
			}
		case "img":
			if !has(n, "alt") {
				fault("a picture has no text")
			}
		case "fieldset":
			if !slices.ContainsFunc(children(n), func(c *html.Node) bool { return c.Data == "legend" }) {
				fault("a group of fields has no legend")
			}
		case "table":
			if !slices.ContainsFunc(children(n), func(c *html.Node) bool { return c.Data == "caption" }) {
				fault("a table has no caption")
			}
		}
		if n.Data == "th" && attribute(n, "scope") == "" {
			fault("the head", text, "has no scope")
		}
		for _, a := range n.Attr {
			switch a.Key {
			case "aria-describedby", "aria-labelledby":
				for _, id := range strings.Fields(a.Val) {
					if ids[id] != 1 {
						fault(a.Key, "names", id, "which is not there once")
					}
				}
			case "for":
				if ids[a.Val] != 1 {
					fault("a label is for", a.Val, "which is not there once")
				}
			case "style", "onclick", "onload":
				fault("there is the attribute", a.Key)
			case "href":
				if id, ok := strings.CutPrefix(a.Val, "#"); ok && ids[id] != 1 {
					fault("a link leads to", a.Val)
				}
			case "target":
				if attribute(n, "rel") != "noopener noreferrer" {
					fault("a link to others tells them where it comes from")
				}
			}
		}
	}
	for id, n := range ids {
		if n > 1 {
			fault("the id", id, "is there more than once")
		}
	}
	if h1 != 1 {
		fault("it has not one main heading")
	}
	if title == "" {
		fault("it has no title")
	}
	return faults
}

func children(n *html.Node) (list []*html.Node) {
	for c := range n.ChildNodes() {
		list = append(list, c)
	}
	return list
}

func inside(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.TrimSpace(b.String())
}
