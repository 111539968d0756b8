package api_test

import (
	"net/http"
	"os"
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
