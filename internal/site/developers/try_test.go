package developers

import (
	"encoding/json"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"cpcds2fhir/internal/portal"
)

// TestTry proves that everybody can open the page that tries requests, that it may call the sandbox and nobody else, and
// that a request which others have put into a link can do nothing in a shell.
func TestTry(t *testing.T) {
	w := newWorld(t, func(pc *portal.Config, c *Config) {
		pc.Sandbox.FHIRBase, pc.Sandbox.Issuer = "https://sandbox.example/fhir/", "https://login.example"
		pc.TestMembers = []portal.TestMember{{Login: "elena", Password: "elena-sandbox"}, {Login: "grace", Password: "grace-sandbox"}}
		c.Console = "portal-console"
	})
	b := w.browser("en")
	open := func(request string) (*doc, consoleSettings, string) {
		t.Helper()
		d := b.get(TryPath+"?request="+url.QueryEscape(request)).want(200, "elena-sandbox")
		var set consoleSettings
		command := ""
		for n := range d.root.Descendants() {
			if attr(n, "id") == "console" {
				w.must(json.Unmarshal([]byte(attr(n, "data-settings")), &set))
			}
			if n.Type == html.ElementNode && n.Data == "noscript" {
				command = text(n) // without scripts it is parsed otherwise than here: as a text
			}
		}
		_, command, _ = strings.Cut(command, `<code translate="no">`)
		command, _, _ = strings.Cut(command, "</code>")
		return d, set, html.UnescapeString(command)
	}
	d, set, command := open("ExplanationOfBenefit?patient=$PATIENT&_count=10")
	if set.Request != "ExplanationOfBenefit?patient=$PATIENT&_count=10" || set.Client != "portal-console" || set.Base != "https://sandbox.example/fhir" ||
		set.Redirect != w.site.Frame.Issuer+ConsolePath || !strings.Contains(set.Scope, "patient/Patient.rs") || strings.Contains(set.Scope, "system/") {
		t.Errorf("the script gets %+v", set)
	}
	for _, x := range consoleWords {
		if set.Words[strings.TrimPrefix(x, "console.")] == "" {
			t.Errorf("the script has no word for %s", x)
		}
	}
	if command != `curl -H "Authorization: Bearer $ACCESS" -H "Accept: application/fhir+json" "https://sandbox.example/fhir/ExplanationOfBenefit?patient=$PATIENT&_count=10"` {
		t.Errorf("the command is %s", command)
	}
	if p := d.header.Get("Content-Security-Policy"); !strings.Contains(p, "script-src 'self';") || !strings.Contains(p, "connect-src 'self' https://sandbox.example https://login.example;") {
		t.Errorf("the policy is %q", p)
	}
	if strings.Contains(d.body, "grace") {
		t.Error("it shows members that the documentation does not")
	}
	if _, set, _ = open("Coverage/$ID/$everything"); set.Request != "Coverage/$ID/$everything" {
		t.Errorf("an operation becomes %q", set.Request)
	}
	for _, bad := range []string{"", "Patient/`id`", "Patient/\"; id; \"", "Patient/'x'", "../admin", "Patient/../../x", "//evil.example/x", "https://evil.example/", "Patient/a b", "Patient\n", "Patient/x!!", `a\b`, strings.Repeat("a", 1001)} {
		if _, set, _ = open(bad); set.Request != firstTry {
			t.Errorf("%q is taken: %q", bad, set.Request)
		}
	}

	// A shell takes the command as it is meant: an argument, in which nothing but ids is replaced.
	for request, want := range map[string]string{
		"Patient/$ID":                            "https://sandbox.example/fhir/Patient/i1",
		"Coverage?patient=$PATIENT&x=$HOME":      "https://sandbox.example/fhir/Coverage?patient=p1&x=$HOME",
		"Patient/$(touch)$IDS$$ID/$everything;x": "https://sandbox.example/fhir/Patient/$(touch)$IDS$i1/$everything;x",
	} {
		_, set, command = open(request)
		out, err := exec.Command("sh", "-c", `ID=i1; PATIENT=p1; IDS=no; curl() { for x; do :; done; printf %s "$x"; }; `+command).CombinedOutput()
		if err != nil || string(out) != want || set.Request != request {
			t.Errorf("%s: %s, %v", command, out, err)
		}
	}

	// Without a sandbox the page says so, and has no script.
	w = newWorld(t, func(pc *portal.Config, c *Config) { c.Console, pc.Sandbox.FHIRBase = "", "" })
	d = w.browser("es").get(TryPath).want(200, "El operador no configuró un entorno de pruebas.")
	if strings.Contains(d.body, "<script") {
		t.Error("there is a script")
	}
}
