package portal

import (
	"bufio"
	_ "embed"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of passwords (NIST SP 800-63B): length counts, and there are no rules of composition.
const (
	passwordLeast = 12   // characters
	passwordMost  = 1024 // bytes
)

//go:embed common_passwords.txt
var commonText string

// common are passwords that many people have, as plainly writes them.
var common = func() map[string]bool {
	all := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(commonText))
	for lines.Scan() {
		if line := lines.Text(); line != "" && line[0] != '#' {
			all[plainly(line)], all[plainly(core(line))] = true, true
		}
	}
	delete(all, "") // the core of a row of digits
	return all
}()

// passwordForm is a password as it is hashed: what looks the same on another keyboard is the same.
func passwordForm(password string) string { return norm.NFKC.String(password) }

// passwordOf is a password as it is hashed: what looks the same on another keyboard is the same. It fails with *InputError: short,
// long, common (many people have it, or it is a row or a repetition), or personal (it has the address or the agency's name in it, and little else).
func passwordOf(password string, words ...string) (string, error) {
	if !utf8.ValidString(password) || len(password) > passwordMost {
		return "", &InputError{"password", codeLong}
	}
	password = passwordForm(password)
	if utf8.RuneCountInString(password) < passwordLeast {
		return "", &InputError{"password", "short"}
	}
	plain := plainly(password)
	if common[plain] || common[plainly(core(password))] || dull(password) {
		return "", &InputError{"password", "common"}
	}
	for _, w := range words {
		local, domain, _ := strings.Cut(w, "@")
		for _, part := range append(strings.FieldsFunc(domain, func(r rune) bool { return r == '.' }), local, strings.ReplaceAll(w, "@", "")) {
			part = plainly(part)
			if len(part) >= 4 && utf8.RuneCountInString(plain)-utf8.RuneCountInString(part) < 6 && strings.Contains(plain, part) {
				return "", &InputError{"password", "personal"}
			}
		}
	}
	return password, nil
}

// core is a password without digits and signs at its ends.
func core(password string) string {
	return strings.TrimFunc(password, func(r rune) bool { return !unicode.IsLetter(r) })
}

// plainly is a password without what people add to a common one to make it look otherwise.
func plainly(password string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '@', '4':
			return 'a'
		case '3':
			return 'e'
		case '1', '!', '|':
			return 'i'
		case '0':
			return 'o'
		case '5', '$':
			return 's'
		case '7':
			return 't'
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, password)
}

// dull reports whether a password is a short piece that repeats itself, or a row of neighbours such as abcdefghijkl.
func dull(password string) bool {
	runes := []rune(strings.ToLower(password))
	for piece := 1; piece <= 4; piece++ {
		same := true
		for i := piece; i < len(runes) && same; i++ {
			same = runes[i] == runes[i-piece]
		}
		if same {
			return true
		}
	}
	for _, by := range []rune{1, -1} {
		row := 0
		for i := 1; i < len(runes); i++ {
			if runes[i]-runes[i-1] == by || runes[i-1] == '9' && runes[i] == '0' || runes[i-1] == '0' && runes[i] == '9' {
				row++
			}
		}
		if row >= len(runes)-2 {
			return true
		}
	}
	return false
}
