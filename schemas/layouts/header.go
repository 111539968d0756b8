package layouts

import "strings"

// fold makes headers comparable: case is ignored, and runs of spaces, hyphens and
// underscores are one underscore, none at the ends.
func fold(header string) string {
	var b strings.Builder
	b.Grow(len(header))
	gap := false
	for _, r := range strings.ToLower(header) {
		switch r {
		case ' ', '-', '_', '\t', '\u00a0', '\ufeff':
			gap = b.Len() > 0
			continue
		}
		if gap {
			b.WriteByte('_')
			gap = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
