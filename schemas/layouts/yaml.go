package layouts

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// decoder reads the syntax tree of one YAML file. It is strict, and it reports all faults, not only
// the first.
type decoder struct {
	file     string
	findings []Finding
	anchors  map[string]ast.Node
}

// entry is one key of a mapping with its value.
type entry struct {
	key  string
	node ast.Node // the key's node, where findings about the entry point
	val  ast.Node
}

// at adds a finding at a node.
func (d *decoder) at(n ast.Node, hint, format string, args ...any) {
	f := Finding{File: d.file, Message: fmt.Sprintf(format, args...), Hint: hint}
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key // the token of a block mapping is its first colon
	}
	f.Line, f.Column = position(n.GetToken())
	d.findings = append(d.findings, f)
}

func position(t *token.Token) (line, column int) {
	if t == nil || t.Position == nil {
		return 0, 0
	}
	return t.Position.Line, t.Position.Column
}

// document parses the file and returns its one document, nil if there is none.
func (d *decoder) document(src []byte) ast.Node {
	f, err := parser.ParseBytes(src, 0)
	if err != nil {
		fault := Finding{File: d.file, Message: err.Error()}
		if e, ok := errors.AsType[yaml.Error](err); ok {
			fault.Message = e.GetMessage()
			fault.Line, fault.Column = position(e.GetToken())
		}
		d.findings = append(d.findings, fault)
		return nil
	}
	var body ast.Node
	for _, doc := range f.Docs {
		switch {
		case doc.Body == nil:
		case body != nil:
			d.at(doc.Body, "", "a layout must be one document, this is a second one")
		default:
			body = doc.Body
		}
	}
	if body == nil && len(d.findings) == 0 {
		d.findings = append(d.findings, Finding{File: d.file, Message: "the file is empty"})
	}
	return body
}

// resolve follows anchors, aliases and tags to the value itself.
func (d *decoder) resolve(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		d.anchors[n.Name.GetToken().Value] = n.Value
		return d.resolve(n.Value)
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		if v, ok := d.anchors[name]; ok {
			return d.resolve(v)
		}
		d.at(n, "", "the alias *%s has no anchor before it", name)
		return nil
	case *ast.TagNode:
		d.at(n, "", "tags are not allowed in layouts")
		return nil
	}
	return n
}

// entries returns the keys and values of a mapping, in their order.
func (d *decoder) entries(n ast.Node, what string) []entry {
	var values []*ast.MappingValueNode
	switch m := d.resolve(n).(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		d.at(n, "", "%s must be a mapping of keys to values", what)
		return nil
	}
	out := make([]entry, 0, len(values))
	for _, v := range values {
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			d.at(v.Key, "repeat the keys instead", "merge keys are not allowed in layouts")
			continue
		}
		key, ok := word(v.Key)
		if !ok {
			d.at(v.Key, "", "a key must be plain text")
			continue
		}
		out = append(out, entry{key: key, node: v.Key, val: v.Value})
	}
	return out
}

// fields hands each entry of a mapping to the function that is registered for its
// key. Unknown keys are findings.
func (d *decoder) fields(n ast.Node, what string, known map[string]func(entry)) {
	for _, e := range d.entries(n, what) {
		f, ok := known[e.key]
		if !ok {
			d.unknown(e, "key", what, slices.Sorted(maps.Keys(known)))
			continue
		}
		f(e)
	}
}

// unknown adds the finding that the key of e is not among the candidates.
func (d *decoder) unknown(e entry, kind, what string, candidates []string) {
	hint := meant(e.key, candidates)
	if hint == "" && len(candidates) <= 24 {
		hint = "use one of " + strings.Join(candidates, ", ")
	}
	d.at(e.node, hint, "unknown %s %q in %s", kind, e.key, what)
}

// scalar returns the text of a scalar as the file has it: 007 is "007".
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// word is scalar where null is an ordinary word.
func word(n ast.Node) (string, bool) {
	if null, ok := n.(*ast.NullNode); ok && null.Token.Type != token.ImplicitNullType {
		return null.Token.Value, true
	}
	return scalar(n)
}

// text returns a scalar.
func (d *decoder) text(n ast.Node, what string) string {
	v := d.resolve(n)
	if v == nil {
		return ""
	}
	s, ok := scalar(v)
	if !ok {
		hint := ""
		if _, null := v.(*ast.NullNode); null {
			hint = `write "" for an empty text, or quote ~ and null if they are meant as text`
		}
		d.at(n, hint, "%s must be a single text", what)
	}
	return s
}

// items returns the elements of a list; a single value is a list of one.
func (d *decoder) items(n ast.Node) []ast.Node {
	switch v := d.resolve(n).(type) {
	case nil:
		return nil
	case *ast.SequenceNode:
		return v.Values
	default:
		return []ast.Node{n}
	}
}

// texts returns a list of texts, which must not be empty.
func (d *decoder) texts(n ast.Node, what string) []string {
	items := d.items(n)
	if len(items) == 0 {
		d.at(n, "", "%s must not be empty", what)
	}
	out := make([]string, 0, len(items))
	for _, i := range items {
		out = append(out, d.text(i, "each item of "+what))
	}
	return out
}

// flag returns true or false.
func (d *decoder) flag(n ast.Node, what string) bool {
	if b, ok := d.resolve(n).(*ast.BoolNode); ok {
		return b.Value
	}
	d.at(n, "", "%s must be true or false", what)
	return false
}

// number returns a whole number between low and high.
func (d *decoder) number(n ast.Node, what string, low, high int) int {
	if i, err := strconv.Atoi(d.text(n, what)); err == nil && i >= low && i <= high {
		return i
	}
	d.at(n, "", "%s must be a whole number from %d to %d", what, low, high)
	return low
}
