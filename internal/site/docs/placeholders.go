package docs

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
)

// values are the texts of placeholders. One that has no value is "".
type values struct {
	names []string // sorted; the place of a name in it is its mark
	texts map[string]string
}

// Marks stand for placeholders while Markdown is read, so that no character of a value can be taken for markup. They
// are of the private use area, and are replaced in what was rendered.
const (
	firstMark = '\uE000'
	lastMark  = '\uE7FF'
)

var (
	placeholder = regexp.MustCompile(`\{\{[^{}]*\}\}`)
	condition   = regexp.MustCompile(`^(\s*(?:[-*] |[0-9]+\. |\| )?)\{\{([?!])([a-z0-9_]+)\}\} ?`)
	generated   = regexp.MustCompile(`^\{\{generated:([a-z]+)\}\}$`)
)

// mark replaces the placeholders of a page by marks, leaves out what has a condition that does not hold, and puts in what is
// generated. An unknown placeholder, and one without a value, is an error.
//
// A line that begins with {{?name}} is there if name has a value, one that begins with {{!name}} if it has none. If such a
// condition stands alone on its line, it is about all lines up to one with {{end}}.
func (v *values) mark(s *source, generate func(what string) (string, error)) (string, error) {
	var b strings.Builder
	left := false // lines are left out until the end of a block
	for i, line := range strings.Split(s.body, "\n") {
		where := fmt.Sprintf("%s:%d", s.file, s.first+i)
		if strings.ContainsFunc(line, isMark) {
			return "", fmt.Errorf("%s: there is a character of the private use area", where)
		}
		if line == "{{end}}" {
			left = false
			continue
		}
		if m := condition.FindStringSubmatch(line); m != nil {
			text, ok := v.texts[m[3]]
			if !ok {
				return "", v.unknown(where, m[3])
			}
			holds := (text != "") == (m[2] == "?")
			rest := line[len(m[0]):]
			if m[1] == "" && rest == "" {
				left = !holds
				continue
			}
			if !holds {
				continue
			}
			line = m[1] + rest
		}
		if left {
			continue
		}
		if m := generated.FindStringSubmatch(line); m != nil {
			text, err := generate(m[1])
			if err != nil {
				return "", fmt.Errorf("%s: %w", where, err)
			}
			line = strings.TrimSuffix(text, "\n")
		}
		line, err := v.expand(where, line)
		if err != nil {
			return "", err
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// expand replaces the placeholders of a text.
func (v *values) expand(where, text string) (string, error) {
	var err error
	text = placeholder.ReplaceAllStringFunc(text, func(p string) string {
		name := strings.TrimSpace(p[2 : len(p)-2])
		at, ok := slices.BinarySearch(v.names, name)
		switch {
		case err != nil:
		case !ok:
			err = v.unknown(where, name)
		case v.texts[name] == "":
			err = fmt.Errorf("%s: the setting %s is empty; begin the line with {{?%s}} if it may be", where, name, name)
		}
		return string(firstMark + rune(at))
	})
	return text, err
}

func (v *values) unknown(where, name string) error {
	return fmt.Errorf("%s: there is no placeholder %q; there are %s", where, name, strings.Join(v.names, ", "))
}

func isMark(r rune) bool { return r >= firstMark && r <= lastMark }

// replace puts values in the place of marks.
func (v *values) replace(text string, escape func(string) string) string {
	if !strings.ContainsFunc(text, isMark) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if i := int(r - firstMark); isMark(r) && i < len(v.names) {
			b.WriteString(escape(v.texts[v.names[i]]))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (v *values) plain(text string) string {
	return v.replace(text, func(s string) string { return s })
}
func (v *values) html(text string) string { return v.replace(text, html.EscapeString) }
