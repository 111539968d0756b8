package developers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// ConsolePath is where the sandbox sends browsers back to that have signed in for the console: the only redirect URI
// of its client is the issuer with this path.
const ConsolePath = "/developers/console"

// TryPath is the page on which everybody tries requests in the sandbox, without an account. Links to it may have the
// request in the query, as "request".
const TryPath = "/docs/try"

// consoleContent is the content of the page on which calls are tried in the sandbox. It and the page for everybody are the only ones with a script:
// the token is in the memory of the page, and nowhere else. It uses a client of its own, so that what is tried here is
// no evidence of what the app can do, and the app's secret is typed into no page.
type consoleContent struct {
	App      *portal.App
	Why      string // why it cannot be used, "" if it can
	Settings string // for the script, as JSON
	Members  []portal.TestMember
}

// consoleSettings are what the script works with.
type consoleSettings struct {
	Client   string            `json:"client"`
	Base     string            `json:"base"`
	Redirect string            `json:"redirect"`
	Request  string            `json:"request"` // to begin with; sent once a test member has signed in. "" is none
	Scope    string            `json:"scope"`
	Words    map[string]string `json:"words"`
}

// consoleWords are the texts of the script.
var consoleWords = []string{
	"console.working", "console.ready", "console.failed", "console.notoken", "console.denied", "console.state", "console.signed", "console.unreachable", "console.copied",
	"console.uncopied", "console.sent", "console.none", "console.first", "console.noid",
}

func (s *Site) console(v *desk.Visit) error {
	a, _, err := s.ownApp(v)
	if err != nil {
		return err
	}
	c := consoleContent{App: a, Members: s.Portal.TestMembers}
	p := &frame.Page{Title: v.Text("console.title"), Full: true, Trail: s.appTrail(v, a), Side: s.side(v, a)}
	var scopes []string
	for _, x := range a.Settings.Scopes {
		scopes = append(scopes, x.Scope)
	}
	if c.Settings, err = s.withConsole(v, p, scopes, ""); err != nil {
		return err
	}
	if c.Settings == "" {
		c.Why = v.Text("console.nobase")
	}
	p.Content = c
	return v.Render(http.StatusOK, "console", p)
}

// withConsole lets a page run the console's script, and returns what the script works with: "" if there is no sandbox.
func (s *Site) withConsole(v *desk.Visit, p *frame.Page, scopes []string, request string) (string, error) {
	base, err := url.Parse(s.Portal.Sandbox.FHIRBase)
	if err != nil {
		return "", fmt.Errorf("base of the sandbox: %w", err)
	}
	if base.Host == "" || s.Console == "" {
		return "", nil
	}
	words := map[string]string{}
	for _, w := range consoleWords {
		words[strings.TrimPrefix(w, "console.")] = v.Text(w)
	}
	asked := []string{"launch/patient"}
	for _, x := range scopes {
		if x != "launch/patient" && !strings.HasPrefix(x, "system/") {
			asked = append(asked, x)
		}
	}
	if len(asked) == 1 {
		asked = s.Scopes
	}
	b, err := json.Marshal(consoleSettings{Client: s.Console, Base: s.sandboxBase(), Redirect: s.Frame.Issuer + ConsolePath, Request: request, Scope: strings.Join(asked, " "), Words: words})
	if err != nil {
		return "", err
	}
	s.script(p, base)
	return string(b), nil
}

func (s *Site) sandboxBase() string { return strings.TrimSuffix(s.Portal.Sandbox.FHIRBase, "/") }

// tryContent is the content of the page on which everybody tries requests.
type tryContent struct {
	Settings string             // for the script, as JSON; "" if there is no sandbox
	Command  string             // what does the same without a script
	Member   *portal.TestMember // who can sign in; nil if none is known
}

// firstTry is the request that the page begins with if the link to it has none.
const firstTry = "Patient/$PATIENT"

// tryForm is the form of a request below the base of the API, such that a shell finds nothing in it but the places for
// ids: others write such links too, and readers copy what the page makes of them.
var tryForm = regexp.MustCompile(`^[A-Za-z0-9$][A-Za-z0-9/_$.~=&?%:|,+*@;()-]{0,999}$`)

// tryRequest is the request of the query, or the first one.
func tryRequest(v *desk.Visit) string {
	request := v.R.URL.Query().Get("request")
	path, _, _ := strings.Cut(request, "?")
	if !tryForm.MatchString(request) || strings.Contains(path, ":") || slices.Contains(strings.Split(path, "/"), "..") {
		return firstTry
	}
	return request
}

var (
	tryPlace = regexp.MustCompile(`\$(ID|PATIENT)\b`)
	tryMark  = strings.NewReplacer("$", `\$`)
)

// tryCommand is a request as a command of the shell, in which the variables are those of the documentation.
func tryCommand(base, request string) string {
	var b strings.Builder
	at := 0
	for _, m := range tryPlace.FindAllStringIndex(request, -1) {
		b.WriteString(tryMark.Replace(request[at:m[0]]) + request[m[0]:m[1]])
		at = m[1]
	}
	b.WriteString(tryMark.Replace(request[at:]))
	return `curl -H "Authorization: Bearer $ACCESS" -H "Accept: application/fhir+json" "` + base + "/" + b.String() + `"`
}

// try is the page on which everybody tries requests in the sandbox.
func (s *Site) try(v *desk.Visit) error {
	request := tryRequest(v)
	p := &frame.Page{Title: v.Text("try.title"), Full: true}
	if len(s.Documentation) > 0 {
		p.Trail = []frame.Link{{Text: v.Text("menu.documentation"), URL: s.Documentation[0].URL}}
	}
	settings, err := s.withConsole(v, p, s.Scopes, request)
	if err != nil {
		return err
	}
	c := tryContent{Settings: settings, Command: tryCommand(s.sandboxBase(), request)}
	if len(s.Portal.TestMembers) > 0 {
		c.Member = &s.Portal.TestMembers[0] // the one whom the documentation names too
	}
	p.Content = c
	return v.Render(http.StatusOK, "try", p)
}

// script lets a page run the console's script, and call the sandbox.
func (s *Site) script(p *frame.Page, base *url.URL) {
	p.Scripts = []string{consoleScript}
	p.Connect = []string{base.Scheme + "://" + base.Host}
	if issuer, err := url.Parse(s.Portal.Sandbox.Issuer); err == nil && issuer.Host != "" && issuer.Host != base.Host {
		p.Connect = append(p.Connect, issuer.Scheme+"://"+issuer.Host)
	}
}

// consoleBack is where the sandbox sends the browser back to: the script goes on to the console that has begun.
func (s *Site) consoleBack(v *desk.Visit) error {
	p := &frame.Page{Title: v.Text("console.title"), Self: ConsolePath, Content: struct{}{}, Scripts: []string{consoleScript}}
	return v.Render(http.StatusOK, "consoleback", p)
}
