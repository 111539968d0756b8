package lifecycle_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"cpcds2fhir/internal/portal/lifecycle"
)

var update = flag.Bool("update", false, "write the tables into docs/portal.md")

// TestDocs holds docs/portal.md to the table of moves: 'go test ./internal/portal/lifecycle -update' writes it.
func TestDocs(t *testing.T) {
	const path = "../../../docs/portal.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, kind := range []lifecycle.Kind{lifecycle.Sandbox, lifecycle.Production} {
		begin, end := "<!-- lifecycle: "+string(kind)+" -->\n", "<!-- end -->\n"
		before, rest, ok := strings.Cut(page, begin)
		_, after, ended := strings.Cut(rest, end)
		if !ok || !ended {
			t.Fatalf("%s has no place for the table of %s", path, kind)
		}
		page = before + begin + "\n" + lifecycle.Diagram(kind) + "\n" + end + after
	}
	if page == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the table says; run the test with -update", path)
	}
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil { //nolint:gosec // a page of the documentation
		t.Fatal(err)
	}
}
