package blackbox_test

import (
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/internal/smart/blackbox"
)

// target is the server that a file tells of: the sandbox.json of a sandbox, or one of the same form for any other.
func target(t *testing.T) *blackbox.Target {
	t.Helper()
	path := os.Getenv("BLACKBOX_TARGET")
	if path == "" {
		t.Skip("set BLACKBOX_TARGET to a file such as the sandbox.json of a sandbox that runs")
	}
	b, err := blackbox.FromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTarget runs the suite. With BLACKBOX_FAULT the server seems to have that fault.
func TestTarget(t *testing.T) {
	b := target(t)
	if name := os.Getenv("BLACKBOX_FAULT"); name != "" {
		f, ok := faults[name]
		if !ok {
			t.Fatalf("there is no fault %q", name)
		}
		b.HTTP = &http.Client{Transport: &faulty{fault: f, target: b, next: http.DefaultTransport.(*http.Transport).Clone()}}
	}
	blackbox.Run(t, b)
}

// TestSeesFaults gives the server one fault after another, by changing what goes to it and what comes from it, and
// demands that the checks that are about it fail.
func TestSeesFaults(t *testing.T) {
	target(t)
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		f := faults[name]
		t.Run(name, func(t *testing.T) {
			for _, check := range f.seen {
				c := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run", "^TestTarget$/"+pattern(check))
				c.Env = append(os.Environ(), "BLACKBOX_FAULT="+name)
				out, err := c.CombinedOutput()
				path := "TestTarget/" + strings.ReplaceAll(check, " ", "_")
				switch {
				case strings.Contains(string(out), "--- SKIP: "+path):
					t.Logf("the target cannot be asked: %s", check)
				case err == nil || !strings.Contains(string(out), "--- FAIL: "+path):
					t.Errorf("%q did not see it:\n%s", check, out)
				}
			}
		})
	}
}

// pattern selects a check by its group and its name. The last group looks at what its others were answered.
func pattern(check string) string {
	group, name, _ := strings.Cut(strings.ReplaceAll(check, " ", "_"), "/")
	if group == "errors" {
		name = ".*"
	} else {
		name = regexp.QuoteMeta(name)
	}
	return "^" + group + "$/^" + name + "$"
}
