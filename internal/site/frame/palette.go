package frame

import (
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// palette are custom properties in two schemes: light and dark. What dark lacks is as in light.
type palette struct {
	names       []string // in the order of the file
	light, dark map[string]string
}

var (
	colour = regexp.MustCompile(`^#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})$`)
	// Names of fonts that are on the device: nothing that could load one.
	fonts    = regexp.MustCompile(`^(?:[A-Za-z][A-Za-z0-9 -]*|-apple-system|"[A-Za-z0-9 -]+")(?:, *(?:[A-Za-z][A-Za-z0-9 -]*|-apple-system|"[A-Za-z0-9 -]+"))*$`)
	property = regexp.MustCompile(`^--([a-z][a-z-]*)\s*:\s*(.*)$`)
	darkRule = regexp.MustCompile(`^@media\s*\(\s*prefers-color-scheme\s*:\s*dark\s*\)$`)
)

// readPalette reads a sheet that has custom properties and nothing else. known, unless it is nil, are those that there
// are.
func readPalette(of fs.FS, name string, known *palette) (*palette, error) {
	b, err := fs.ReadFile(of, name)
	if err != nil {
		return nil, err
	}
	p := &palette{light: map[string]string{}, dark: map[string]string{}}
	text, err := withoutComments(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	line, start := 1, 0
	var within []string // selectors of the blocks that are open
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s, line %d: %s", name, line, fmt.Sprintf(format, args...))
	}
	for i, r := range text {
		switch r {
		case '\n':
			line++
		case '{':
			rule := strings.TrimSpace(text[start:i])
			start = i + 1
			switch {
			case rule == ":root" && (len(within) == 0 || len(within) == 1 && within[0] != ":root"):
			case darkRule.MatchString(rule) && len(within) == 0:
			default:
				return nil, fail("%q: there is only :root, by itself or in @media (prefers-color-scheme: dark)", Plain(rule, 60))
			}
			within = append(within, rule)
		case ';', '}':
			statement := strings.TrimSpace(text[start:i])
			start = i + 1
			if statement != "" {
				if len(within) == 0 || within[len(within)-1] != ":root" {
					return nil, fail("%q stands outside of :root", Plain(statement, 60))
				}
				if err := p.set(statement, len(within) > 1, known); err != nil {
					return nil, fail("%s", err)
				}
			}
			if r == '}' {
				if len(within) == 0 {
					return nil, fail("a } too many")
				}
				within = within[:len(within)-1]
			}
		}
	}
	if len(within) > 0 || strings.TrimSpace(text[start:]) != "" {
		return nil, fail("it ends within a rule")
	}
	return p, nil
}

// withoutComments leaves the lines as they are.
func withoutComments(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "/*")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		comment, after, ok := strings.Cut(rest, "*/")
		if !ok {
			return "", fmt.Errorf("a comment does not end")
		}
		b.WriteString(strings.Repeat("\n", strings.Count(comment, "\n")))
		text = after
	}
}

// set takes one declaration.
func (p *palette) set(statement string, dark bool, known *palette) error {
	m := property.FindStringSubmatch(statement)
	if m == nil {
		return fmt.Errorf("%q is not a custom property such as --main: #0b5563", Plain(statement, 60))
	}
	name, value := m[1], strings.TrimSpace(m[2])
	if known != nil && !slices.Contains(known.names, name) {
		return fmt.Errorf("--%s is not there; there are --%s", name, strings.Join(known.names, ", --"))
	}
	switch {
	case name == "font" && !fonts.MatchString(value):
		return fmt.Errorf("--font: %q is not a list of fonts such as \"Public Sans\", Arial, sans-serif", Plain(value, 60))
	case name != "font" && !colour.MatchString(value):
		return fmt.Errorf("--%s: %q is not a colour such as #0b5563", name, Plain(value, 60))
	}
	of := p.light
	if dark {
		of = p.dark
	}
	if _, ok := of[name]; ok {
		return fmt.Errorf("--%s is there twice", name)
	}
	of[name] = value
	if !slices.Contains(p.names, name) {
		p.names = append(p.names, name)
	}
	return nil
}

// take puts the values of another palette over those of this one.
func (p *palette) take(other *palette) {
	for name, value := range other.light {
		p.light[name] = value
	}
	for name, value := range other.dark {
		p.dark[name] = value
	}
}

// css writes the palette. Paper is printed in light.
func (p *palette) css() []byte {
	var b strings.Builder
	write := func(of map[string]string, indent string) {
		b.WriteString(indent + ":root {\n")
		for _, name := range p.names {
			if value, ok := of[name]; ok {
				fmt.Fprintf(&b, "%s  --%s: %s;\n", indent, name, value)
			}
		}
		b.WriteString(indent + "}\n")
	}
	write(p.light, "")
	b.WriteString("@media screen and (prefers-color-scheme: dark) {\n")
	write(p.dark, "  ")
	b.WriteString("}\n")
	return []byte(b.String())
}

// A pair is what the sheets put on what, and the least contrast that WCAG 2.2 wants: 4.5 for text (1.4.3), 3 for the
// edges of fields and the focus (1.4.11).
type pair struct {
	on    string
	ratio float64
	ink   []string
}

var pairs = []pair{
	{"ground", 4.5, []string{"ink", "soft", "main", "main-deep", "bad"}},
	{"paper", 4.5, []string{"ink", "soft", "main", "main-deep", "bad", "good", "warn"}},
	{"wash", 4.5, []string{"ink", "soft", "main", "main-deep"}},
	{"main", 4.5, []string{"main-ink"}},
	{"main-deep", 4.5, []string{"main-ink"}},
	{"bad-wash", 4.5, []string{"ink", "soft", "bad", "main"}},
	{"warn-wash", 4.5, []string{"ink", "soft", "warn", "main"}},
	{"good-wash", 4.5, []string{"ink", "soft", "good", "main"}},
	{"bad", 4.5, []string{"paper"}},
	{"ink", 4.5, []string{"paper"}},
	{"top", 4.5, []string{"top-ink", "top-bright"}},
	{"code", 4.5, []string{"code-ink", "code-soft"}},
	{"ground", 3, []string{"focus", "edge"}},
	{"paper", 3, []string{"focus", "edge"}},
	{"wash", 3, []string{"focus"}},
	{"top", 3, []string{"top-focus"}},
	{"code", 3, []string{"code-focus"}},
}

// legible fails if two colours that meet are too much alike.
func (p *palette) legible() error {
	for _, scheme := range []string{"light", "dark"} {
		get := func(name string) string {
			if value, ok := p.dark[name]; ok && scheme == "dark" {
				return value
			}
			return p.light[name]
		}
		for _, x := range pairs {
			for _, ink := range x.ink {
				if got := contrast(get(ink), get(x.on)); got < x.ratio {
					return fmt.Errorf("--%s (%s) on --%s (%s) has a contrast of %.2f to 1 in the %s scheme; WCAG 2.2 AA needs %g to 1",
						ink, get(ink), x.on, get(x.on), math.Floor(got*100)/100, scheme, x.ratio)
				}
			}
		}
	}
	return nil
}

// contrast is the ratio of two colours (WCAG 2.2, contrast ratio).
func contrast(a, b string) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// luminance is the relative luminance of a colour such as #0b5563 (WCAG 2.2).
func luminance(c string) float64 {
	c = strings.TrimPrefix(c, "#")
	if len(c) == 3 {
		c = string([]byte{c[0], c[0], c[1], c[1], c[2], c[2]})
	}
	n, err := strconv.ParseUint(c, 16, 32)
	if err != nil {
		return 0
	}
	part := func(shift uint) float64 {
		s := float64(n>>shift&0xff) / 255
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}
