package api_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestExamples makes the requests of docs/api.md and compares their status with what is said behind
// them, 200 if nothing is.
func TestExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 3)
	s := w.serve(t, nil)
	own := member(1)
	names := strings.NewReplacer("$BASE", "/fhir", "$MEMBER", own, "$CLAIM", "e"+own+"-1", "$COVERAGE", "c"+own, "$PAYER", "o1", `\$`, "$")
	example := regexp.MustCompile(`^    curl (?:-H '([^:]+): ([^']+)' )?(?:-d "([^"]+)" )?"([^"]+)"(?: +# ([0-9]+))?$`)
	n := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, "    curl ") {
			continue
		}
		m := example.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("the test cannot read %q", line)
			continue
		}
		n++
		q := request{path: names.Replace(m[4]), body: names.Replace(m[3])}
		if q.body != "" {
			q.method = http.MethodPost
		}
		want := http.StatusOK
		if m[1] != "" {
			q.header = map[string]string{m[1]: m[2]}
			if m[1] == "If-None-Match" {
				want = http.StatusNotModified
			}
		}
		if m[5] != "" {
			want, _ = strconv.Atoi(m[5])
		}
		a := do(t, s, q)
		if a.status != want {
			t.Errorf("%s: %d, want %d: %.200s", line, a.status, want, a.body)
		}
		if want == http.StatusOK && a.doc.ResourceType == "Bundle" && len(a.doc.Entry) == 0 && string(a.doc.Total) == "0" {
			t.Errorf("%s finds nothing", line)
		}
	}
	if n < 20 {
		t.Errorf("docs/api.md has %d examples", n)
	}
}

// TestFieldPage proves that docs/api-field.md has each entry once, and that the tests and the groups of checks that it names
// exist. Tests of other packages have the package's name in front.
func TestFieldPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/api-field.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{}
	for pattern, of := range map[string]string{"*_test.go": "", "../verify/strict/*_test.go": "", "../../cmd/cpcds2fhir/serve*_test.go": "", "../smart/*_test.go": "smart.",
		"../smart/authserver/*_test.go": "authserver.", "../smart/blackbox/*.go": "blackbox.", "../accounts/*_test.go": "accounts.", "../identity/*_test.go": "identity.",
		"../site/*_test.go": "site."} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, f := range files {
			source, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			tests[of] += string(source)
		}
	}
	tests["api."] = tests[""]
	row, seen := regexp.MustCompile(`(?m)^\| ([0-9]+)(?:, ([0-9]+))? \| .*$`), map[string]int{}
	name, group := regexp.MustCompile("`([a-z]+\\.)?((?:Test|Fuzz)[A-Za-z0-9]+)`"), regexp.MustCompile("blackbox ((?:`[a-z]+`(?:, )?)+)")
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		seen[m[1]]++
		seen[m[2]]++
		if !name.MatchString(m[0]) && !group.MatchString(m[0]) && !strings.HasSuffix(m[0], "| tests of `internal/sandbox` |") {
			t.Errorf("entry %s has neither a test nor a reason", m[1])
		}
	}
	for n := 1; n <= 90; n++ {
		if got := seen[strconv.Itoa(n)]; got != 1 {
			t.Errorf("entry %d is there %d times", n, got)
		}
	}
	for _, m := range name.FindAllStringSubmatch(string(text), -1) {
		if m[1] == "cmd." {
			m[1] = ""
		}
		if !strings.Contains(tests[m[1]], "func "+m[2]+"(") {
			t.Errorf("there is no %s%s", m[1], m[2])
		}
	}
	for _, m := range group.FindAllStringSubmatch(string(text), -1) {
		for g := range strings.SplitSeq(strings.NewReplacer("`", "", ",", "").Replace(m[1]), " ") {
			if g != "" && !strings.Contains(tests["blackbox."], `{"`+g+`", `) {
				t.Errorf("the black-box suite has no group %s", g)
			}
		}
	}
}
