package layouts

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

// csvEncodings are the encodings of text files.
var csvEncodings = []string{"utf-8", "windows-1252", "iso-8859-1", "utf-16", "utf-16le", "utf-16be"}

// csv reads the csv block: how text files are written.
func (p *layoutParser) csv(n ast.Node) {
	c := &p.layout.CSV
	nodes := map[string]ast.Node{}
	one := func(to *rune, none bool) func(entry) {
		return func(e entry) { *to, nodes[e.key] = p.character(e, none), e.val }
	}
	p.fields(n, "csv", map[string]func(entry){
		"delimiter": one(&c.Delimiter, false),
		"quote":     one(&c.Quote, true),
		"escape":    one(&c.Escape, false),
		"encoding": func(e entry) {
			if c.Encoding = strings.ToLower(p.text(e.val, e.key)); !slices.Contains(csvEncodings, c.Encoding) {
				p.at(e.val, "", "encoding must be one of %s", strings.Join(csvEncodings, ", "))
			}
		},
		"short_rows":   func(e entry) { c.ShortRows = p.flag(e.val, e.key) },
		"trim":         func(e entry) { c.Trim = p.flag(e.val, e.key) },
		"excel_guards": func(e entry) { c.ExcelGuards = p.flag(e.val, e.key) },
	})
	p.csvAgrees(n, nodes)
}

// character returns the one character of a csv key, 0 if it is not one character.
func (p *layoutParser) character(e entry, none bool) rune {
	s := p.text(e.val, e.key)
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case s == "" && none:
		return 0
	case s == `\t` || strings.EqualFold(s, "tab"):
		return '\t'
	case size != len(s) || s == "" || r == utf8.RuneError:
		p.at(e.val, "", "%s must be one character", e.key)
		return 0
	case r == '\n' || r == '\r' || r == 0:
		p.at(e.val, "", "%s cannot be a line end or NUL", e.key)
		return 0
	}
	return r
}

// csvAgrees finds characters that the encoding does not have, or that have two meanings.
func (p *layoutParser) csvAgrees(n ast.Node, nodes map[string]ast.Node) {
	c := &p.layout.CSV
	for _, key := range []string{"delimiter", "quote"} {
		r := c.Delimiter
		if key == "quote" {
			r = c.Quote
		}
		// From U+00A0 up, characters are the same bytes in both single-byte encodings.
		perByte := c.Encoding == "windows-1252" || c.Encoding == "iso-8859-1"
		if r >= utf8.RuneSelf && (!perByte || r < 0xa0 || r > 0xff) {
			p.at(nodes[key], "", "%s must be an ASCII character", key)
		}
	}
	place := func(key string) ast.Node {
		if nodes[key] != nil {
			return nodes[key]
		}
		return n
	}
	switch {
	case c.Delimiter != 0 && c.Delimiter == c.Quote:
		p.at(place("delimiter"), "", "delimiter and quote are the same character")
	case c.Escape != 0 && c.Escape != '\\' && c.Escape != cmp.Or(c.Quote, '"'): // even without quotes, a backslash may be text
		p.at(place("escape"), "", `escape must be \, or the quote character if quotes are only doubled`)
	case c.Delimiter == '\\' && c.Escape == '\\', c.Quote == '\\':
		p.at(place("escape"), "", `an escaping \ cannot be the delimiter or the quote`)
	}
}
