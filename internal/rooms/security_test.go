package rooms_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testFolders are the packages whose tests docs/security.md names.
var testFolders = map[string]string{
	"accounts": "internal/accounts", "api": "internal/api", "identity": "internal/identity", "site": "internal/site",
	"smart": "internal/smart", "cmd": "cmd/cpcds2fhir", "database": "internal/database", "outbound": "internal/outbound",
	"portal": "internal/portal", "forms": "internal/portal/forms", "lifecycle": "internal/portal/lifecycle", "mail": "internal/portal/mail",
	"frame": "internal/site/frame", "desk": "internal/site/desk", "developers": "internal/site/developers", "staff": "internal/site/staff",
	"docs": "internal/site/docs",
}

// TestSecurityPage demands that the tests and checks that docs/security.md names exist, and that each row says what
// shows it.
func TestSecurityPage(t *testing.T) {
	page := read(t, filepath.Join(root(t), "docs", "security.md"))
	sources := map[string]string{"blackbox": sourceOf(t, "internal/smart/blackbox", "*.go")}
	for name, folder := range testFolders {
		sources[name] = sourceOf(t, folder, "*_test.go")
	}
	named := regexp.MustCompile("`([a-z]+)\\.(Test[A-Za-z]+)`").FindAllStringSubmatch(page, -1)
	for _, m := range named {
		if source, ok := sources[m[1]]; !ok || !strings.Contains(source, "\nfunc "+m[2]+"(") {
			t.Errorf("docs/security.md names %s.%s, which is no test", m[1], m[2])
		}
	}
	checks := regexp.MustCompile("`blackbox \"([^`]+)\"`").FindAllStringSubmatch(page, -1)
	for _, m := range checks {
		if !strings.Contains(sources["blackbox"], `"`+m[1]+`"`) {
			t.Errorf("docs/security.md names the check %q, which there is not", m[1])
		}
	}
	rows := regexp.MustCompile(`(?m)^\| (?:[0-9]+\.|[CT][0-9]+ \|).*$`).FindAllString(page, -1)
	for _, row := range rows {
		cells := strings.Split(row, " | ")
		shown := strings.TrimSpace(strings.Trim(cells[len(cells)-1], " |"))
		if len(cells) != 4 && !strings.HasSuffix(row, " | |") || shown == "" && !strings.Contains(row, "not met") && !strings.Contains(row, "not applicable") {
			t.Errorf("docs/security.md: no test and no reason: %.60s", row)
		}
	}
	if len(named) < 300 || len(checks) < 40 || len(rows) < 200 {
		t.Errorf("docs/security.md is not read as it is written: %d tests, %d checks, %d rows", len(named), len(checks), len(rows))
	}
}

func sourceOf(t *testing.T, folder, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), folder, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()
}
