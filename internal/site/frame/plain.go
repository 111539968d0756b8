package frame

import (
	"net/url"
	"strings"
)

// Plain is a text of somebody else as a page may show it: on one line, without characters that change how the text
// around them reads (CVE-2021-42574), and not longer than most, in letters.
func Plain(text string, longest int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029:
			return ' '
		case r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff || r == 0x200b || r == 0xfffd:
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return text
}

// WebLink is a URL that a page may link to: http or https, and no other scheme, since links of other schemes run
// scripts or open programs. "" is no link.
func WebLink(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}
