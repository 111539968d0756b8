package desk

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/rates"
	"cpcds2fhir/internal/site/frame"
)

func newDesk(t *testing.T, edit func(*Config)) *Desk {
	t.Helper()
	c := &Config{Portal: &portal.Portal{}, Frame: frame.Config{Issuer: "https://portal.example", Name: "Example State Medicaid", Key: make([]byte, 32),
		Templates: fstest.MapFS{"hello.html": {Data: []byte(`{{define "content"}}<h1>{{.Heading}}</h1>{{end}}`)}}}}
	if edit != nil {
		edit(c)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestWords has words for each state, move and need of the table.
func TestWords(t *testing.T) {
	d := newDesk(t, nil)
	want := func(key string) {
		t.Helper()
		if !d.HasText(key) {
			t.Errorf("there is no text %s", key)
		}
	}
	for _, m := range lifecycle.Moves {
		want("action." + string(m.Action))
		want("event." + string(m.Action))
		want("state." + string(m.To))
		want("kind." + string(m.Kind))
		for _, n := range m.Needs {
			want("need." + string(n))
		}
	}
	for _, kind := range []lifecycle.Kind{lifecycle.Sandbox, lifecycle.Production} {
		for _, s := range lifecycle.States(kind) {
			want("state." + string(s))
			if kinds[s] == "" {
				t.Errorf("the state %s has no look", s)
			}
			at := 0
			for _, stage := range stages[kind] {
				for _, x := range stage.states {
					if x == s {
						at++
					}
				}
				want("stage." + string(kind) + "." + stage.key)
			}
			if at != 1 {
				t.Errorf("the state %s of %s stands in %d steps", s, kind, at)
			}
		}
	}
	for _, i := range portal.Interactions {
		want("shown." + i)
	}

	// Codes of values that are not accepted, and steps of the history, as the portal writes them.
	files, err := filepath.Glob("../../portal/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no portal: %v", err)
	}
	code := regexp.MustCompile(`(?:InputError\{|bad\()[^"}]*(?:"[a-z_]+"[^",}]*)?, "([a-z_]+)"|\bcode[A-Z]\w+ += "([a-z]+)"`)
	step := regexp.MustCompile(`\bdid[A-Z]\w* += "([a-z_]+)"|Event\{[^}]*Action: "([a-z_]+)"`)
	found := 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range code.FindAllStringSubmatch(string(b), -1) {
			want("code." + m[1] + m[2])
			found++
		}
		for _, m := range step.FindAllStringSubmatch(string(b), -1) {
			want("event." + m[1] + m[2])
			found++
		}
	}
	if found < 60 {
		t.Errorf("only %d codes and steps were found", found)
	}
}

// TestInside keeps browsers on the portal's own pages.
func TestInside(t *testing.T) {
	for next, want := range map[string]string{
		"/developers": "/developers", "/developers/apps/x?where=sandbox": "/developers/apps/x?where=sandbox", "/staff": "/staff", "/staff/audit": "/staff/audit",
		"": "", "/": "", "//evil.example/developers": "", "https://evil.example/developers": "", "/\\evil.example": "", "/developersx": "", "/developers\\..": "",
		"javascript:alert(1)": "", "/apps": "", "/developers\r\nLocation: x": "", "//developers": "",
	} {
		if got := Inside(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

// TestAddress takes the address of the connection, and that of a proxy only if it is told to.
func TestAddress(t *testing.T) {
	for _, c := range []struct {
		remote, header string
		forwarded      bool
		want           string
	}{
		{"192.0.2.7:1234", "", false, "192.0.2.7"},
		{"192.0.2.7:1234", "198.51.100.1", false, "192.0.2.7"},
		{"192.0.2.7:1234", "203.0.113.9, 198.51.100.1", true, "198.51.100.1"},
		{"192.0.2.7:1234", "", true, "192.0.2.7"},
		{"[2001:db8:1:2:3:4:5:6]:1", "", false, "2001:db8:1:2::/64"},
		{"[::ffff:192.0.2.7]:1", "", false, "192.0.2.7"},
		{"192.0.2.7:1234", "nonsense", true, "unknown"},
	} {
		d := newDesk(t, func(x *Config) { x.Forwarded = c.forwarded })
		r := httptest.NewRequest(http.MethodGet, "/developers", nil)
		r.RemoteAddr = c.remote
		if c.header != "" {
			r.Header.Set("X-Forwarded-For", c.header)
		}
		var got string
		d.Handle(Anybody, func(v *Visit) error { got = v.Address(); return nil }).ServeHTTP(httptest.NewRecorder(), r)
		if got != c.want {
			t.Errorf("%s, %q: %s, want %s", c.remote, c.header, got, c.want)
		}
	}
}

// TestLimit answers 429 with the time to wait.
func TestLimit(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.Limits = &Limits{SignUp: rates.New(0.001, 2)} })
	h := d.Handle(Anybody, func(v *Visit) error {
		if err := v.Limit(SignUp, v.R.URL.Query().Get("about")); err != nil {
			return err
		}
		return v.Render(200, "hello", &frame.Page{Title: "Hello"})
	})
	get := func(from, about string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/developers?about="+about, nil)
		r.RemoteAddr = from + ":1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for i, c := range []struct {
		from, about string
		want        int
	}{
		{"192.0.2.1", "a", 200}, {"192.0.2.1", "b", 200}, {"192.0.2.1", "c", 429}, {"192.0.2.2", "a", 200}, {"192.0.2.3", "A", 429}, {"192.0.2.3", "", 200},
	} {
		w := get(c.from, c.about)
		if w.Code != c.want {
			t.Errorf("%d: %d, want %d: %s", i, w.Code, c.want, w.Body)
		}
		if c.want == 429 && w.Header().Get("Retry-After") == "" {
			t.Error("it does not say how long to wait")
		}
	}
}

// TestGuards keep out whoever has not signed in.
func TestGuards(t *testing.T) {
	d := newDesk(t, nil)
	for _, g := range []Guard{Person, Proved, Staff(portal.Support), Staff(portal.Administrator).Freshly()} {
		w := httptest.NewRecorder()
		d.Handle(g, func(*Visit) error { t.Error("the page was made"); return nil }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/developers/x?y=1&lang=es", nil))
		if got, want := w.Header().Get("Location"), SignInPath+"?next=%2Fdevelopers%2Fx%3Fy%3D1"; w.Code != 303 || got != want {
			t.Errorf("%+v: %d to %s", g, w.Code, got)
		}
	}
}

// TestRefusals reports what somebody tried that is not theirs, with their id and nothing else.
func TestRefusals(t *testing.T) {
	var got []string
	d := newDesk(t, func(c *Config) { c.Refused = func(reason, person string) { got = append(got, reason+" "+person) } })
	somebody := &portal.Actor{Portal: d.Config.Portal, Person: &portal.Person{ID: "p1", Name: "Canary", Email: "canary@dev.example"}}
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{&portal.DeniedError{Why: "no"}, http.StatusForbidden, "denied p1"},
		{&lifecycle.RoleError{}, http.StatusForbidden, "denied p1"},
		{accounts.ErrNotFound, http.StatusNotFound, "missing p1"},
		{frame.ErrForm, http.StatusForbidden, "csrf p1"},
		{portal.ErrStale, http.StatusConflict, ""},
		{nil, http.StatusNotFound, "staff p1"},
	} {
		got = nil
		w := httptest.NewRecorder()
		d.Handle(Anybody, func(v *Visit) error {
			v.Actor, v.Login = somebody, &portal.Session{Kind: portal.Full}
			if c.err == nil {
				return v.admit(Staff(portal.Support))
			}
			return c.err
		}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/developers", nil))
		if w.Code != c.status || strings.Join(got, ", ") != c.want {
			t.Errorf("%v: %d and %q, want %d and %q", c.err, w.Code, got, c.status, c.want)
		}
	}
	got = nil
	d.Handle(Anybody, func(*Visit) error { return accounts.ErrNotFound }).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/developers", nil))
	if len(got) != 1 || got[0] != "missing " {
		t.Errorf("by nobody: %q", got)
	}
}

// TestByAgency says agency staff of moves that nobody else makes, and of no other: a colleague who has left is not staff.
func TestByAgency(t *testing.T) {
	for action, want := range map[string]bool{"approve": true, "suspend": true, "overturn": true, "submit": false, "go_live": false, "retire": false, "app_added": false, "": false} {
		if got := byAgency(action); got != want {
			t.Errorf("%q: %v", action, got)
		}
	}
}
