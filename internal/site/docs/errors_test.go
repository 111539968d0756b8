package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sources are the texts of the files of a package, without its tests.
func sources(t *testing.T, folder string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(list) == 0 {
		t.Fatal(folder, err)
	}
	var b strings.Builder
	for _, file := range list {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()
}

func found(text string, patterns ...string) (list []string) {
	for _, p := range patterns {
		for _, m := range regexp.MustCompile(p).FindAllStringSubmatch(text, -1) {
			if x := m[len(m)-1]; !slices.Contains(list, x) {
				list = append(list, x)
			}
		}
	}
	slices.Sort(list)
	return list
}

// part is a part of a page, from a heading with an anchor to the next one.
func part(t *testing.T, page, anchor string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "{#"+anchor+"}")
	if !ok {
		t.Fatalf("there is no part %s", anchor)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

// TestErrorCatalogue proves that the catalogue has each code that the programs of the API and of the authorization server
// can write, and no other.
func TestErrorCatalogue(t *testing.T) {
	page := files(t, "en")["errors.md"]
	status := map[string]string{"StatusBadRequest": "400", "StatusUnauthorized": "401", "StatusForbidden": "403", "StatusNotFound": "404", "StatusMethodNotAllowed": "405",
		"StatusNotAcceptable": "406", "StatusGone": "410", "StatusPreconditionFailed": "412", "StatusRequestEntityTooLarge": "413", "StatusRequestURITooLong": "414",
		"StatusUnsupportedMediaType": "415", "StatusTooManyRequests": "429", "StatusInternalServerError": "500", "StatusServiceUnavailable": "503"}

	text := sources(t, "../../api") + sources(t, "../../smart") + sources(t, "../../smart/authserver")
	var made []string
	for _, m := range regexp.MustCompile(`Error\{Status: http\.(\w+), Code: "([a-z-]+)"`).FindAllStringSubmatch(text, -1) {
		if status[m[1]] == "" {
			t.Errorf("the status %s is new", m[1])
		}
		made = append(made, status[m[1]]+" "+m[2])
	}
	if n := strings.Count(text, "Error{Status:"); n != len(made) {
		t.Errorf("%d errors are written in another form, which this test does not read", n-len(made))
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| ([0-9]{3}) \\| `([a-z-]+)` \\|").FindAllStringSubmatch(part(t, page, "api"), -1) {
		told = append(told, m[1]+" "+m[2])
	}
	slices.Sort(made)
	slices.Sort(told)
	if made = slices.Compact(made); !slices.Equal(made, told) {
		t.Errorf("the API makes the errors\n%v, the catalogue has\n%v", made, told)
	}

	// Errors of OAuth: those of each endpoint are in its part.
	first := "(?m)^\\| `([a-z_]+)` \\|"
	const folder = "../../smart/authserver/"
	read := func(names ...string) (all string) {
		for _, name := range names {
			text, err := os.ReadFile(folder + name)
			if err != nil {
				t.Fatal(err)
			}
			all += string(text)
		}
		return all
	}
	codes := []string{`(?:invalid|refused)\("([a-z_]+)"`, `code: "([a-z_]+)"`, `code :?= "([a-z_]+)"`, `"error": \{"([a-z_]+)"\}`}
	all := found(sources(t, folder), codes...)
	var catalogue []string
	for _, anchor := range []string{"authorize", "page", "token", "registration"} {
		catalogue = append(catalogue, found(part(t, page, anchor), first)...)
	}
	slices.Sort(catalogue)
	if catalogue = slices.Compact(catalogue); !slices.Equal(all, catalogue) {
		t.Errorf("the authorization server makes the errors\n%v, the catalogue has\n%v", all, catalogue)
	}
	for anchor, want := range map[string][]string{
		"registration": append(found(read("register.go"), codes...), "temporarily_unavailable"),
		"token":        slices.Concat(found(read("token.go", "client.go", "params.go", "tokeninfo.go", "limits.go"), codes...), []string{"invalid_client"}),
	} {
		slices.Sort(want)
		if got := found(part(t, page, anchor), first); !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("part %s has %v, want %v", anchor, got, want)
		}
	}
}
