package forms

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestLimits breaks the limit of every question of every form, and keeps it.
func TestLimits(t *testing.T) {
	s := builtIn(t)
	tried := map[string]int{}
	for _, name := range names {
		f := s.Form(name)
		for _, q := range f.Questions() {
			lead := f.lead(q, Answers{})
			problem := func(values ...string) string {
				a := maps.Clone(lead)
				a[q.ID] = values
				for _, p := range f.Check(a, false) {
					if p.Question == q.ID {
						if p.Text.EN == "" || p.Text.ES == "" || strings.Contains(p.Text.EN+p.Text.ES, "%!") {
							t.Errorf("%s.%s: %s says %q", name, q.ID, p.Key, p.Text)
						}
						return p.Key
					}
				}
				return ""
			}
			want := func(key string, values ...string) {
				t.Helper()
				tried[key]++
				if got := problem(values...); got != key {
					t.Errorf("%s.%s: %q, want %q", name, q.ID, got, key)
				}
			}
			want("", good(q))
			want("control", "a\x00b")
			want("control", "a"+string(refused))
			if q.Kind != Choices && q.Kind != Document {
				want("several", good(q), "x")
			}
			if q.Kind != Paragraph {
				want("control", "a\nb")
			}
			switch n := q.Length(); q.Kind {
			case Plain, Paragraph:
				want("", strings.Repeat("ñ", n))
				want("length", strings.Repeat("ñ", n+1))
			case URL:
				want("length", "https://example.org/"+strings.Repeat("x", n))
				want("url", "http://example.org/")
			case Email:
				want("length", strings.Repeat("x", n)+"@example.org")
				want("email", "nobody")
			case Phone:
				want("phone", "call me")
			case Date:
				want("date", "2027-02-30")
			case Number:
				want("number", "many")
				if from := q.Limits.From; from != nil && *from == 0 {
					want("from", "-1")
				}
				if q.Limits.To != nil {
					want("to", "999999999999999")
				}
			case Choice, YesNo, Attest:
				want("option", "perhaps")
			case Choices:
				want("option", q.Options[0].Value, q.Options[0].Value)
				want("option", q.Options[0].Value, "perhaps")
			case Document:
				want("file", "../../etc")
				want("count", slices.Repeat([]string{"u"}, q.Limits.Count+1)...)
			}
		}
	}
	for _, key := range []string{"length", "url", "email", "phone", "date", "number", "from", "to", "option", "file", "count", "several"} {
		if tried[key] == 0 {
			t.Errorf("nothing was tried with %s", key)
		}
	}
	if n := s.Form(App).Question("about_es").Length(); n != 415 {
		t.Errorf("the text for members has at most %d characters", n)
	}
}

func TestAddresses(t *testing.T) {
	for v, want := range map[string]bool{
		"https://example.org": true, "https://example.org:8443/a?b=c#d": true, "https://salud.example.org/política": true, "https://niños.example.org/": true, "https://xn--nios-hqa.example.org/": true,
		"https://example": false, "https://localhost/x": false, "https://a.localhost": false, "https://10.0.0.1/": false, "https://[::1]/": false, "https://127.1/": false, "https://2130706433/": false, "https://0x7f.0.0.1/": false,
		"https://u:p@example.org": false, "https://u@example.org": false, "http://example.org": false, "ftp://example.org": false, "javascript:alert(1)": false, "//example.org": false, "https:example.org": false,
		"https://exa mple.org": false, "https://example.org/a b": false, "https://example.org/\"x": false, "https://-a.example.org": false, "https://example..org": false, "https://example.org:0": false,
		"https://example.org:99999": false, "https://printer.local": false, "https://db.internal": false, "https://" + strings.Repeat("a", 64) + ".org": false, "": false, "https://": false, "https://a_b.example.org": false, "https://example.org\\@evil.org": false,
	} {
		if got := isURL(v); got != want {
			t.Errorf("%s is an address: %t", v, got)
		}
	}
	for v, want := range map[string]bool{
		"a@example.org": true, "first.last+tag@mail.example.org": true, "o’brien@example.org": false, "o'brien@example.org": true,
		"a@b@example.org": false, "@example.org": false, "a@": false, "a@localhost": false, "a b@example.org": false, ".a@example.org": false, "a..b@example.org": false, "a@[127.0.0.1]": false,
		"a@example.org\nBcc: b@example.org": false, "A <a@example.org>": false, strings.Repeat("a", 65) + "@example.org": false,
	} {
		if got := isEmail(v); got != want {
			t.Errorf("%s is an address of e-mail: %t", v, got)
		}
	}
	for v, want := range map[string]bool{"2026-12-31": true, "2024-02-29": true, "2026-02-29": false, "2026-2-3": false, "12/31/2026": false, "1899-12-31": false, "2200-01-01": false, "0000-00-00": false, "2026-12-31T00:00": false} {
		if got := isDate(v); got != want {
			t.Errorf("%s is a date: %t", v, got)
		}
	}
	f := builtIn(t).Form(Contact)
	for v, want := range map[string]bool{"555-010-0123": true, "+52 55 5010 0123": true, "(555) 010.0123 x12": true, "5550100123": true, "711": false, "12": false, "+": false, "555-CALL-NOW": false, "1234567890123456789012": false, "555-010-0123; rm": false} {
		if got := f.check(f.Question("phone"), []string{v}) == nil; got != want {
			t.Errorf("%s is a phone number: %t", v, got)
		}
	}
}

// TestDraft takes what is unfinished, and not what is wrong.
func TestDraft(t *testing.T) {
	f := builtIn(t).Form(PHR)
	a := Answers{"name": {"Health Budget"}, "contact_email": {"nobody"}, "unknown": {"x"}}
	if got := f.Check(a, false); len(got) != 1 || got[0].Question != "contact_email" || got[0].Key != "email" {
		t.Errorf("a draft has %+v", got)
	}
	if got := f.Check(a, true); len(got) < 10 {
		t.Errorf("the final form has only %d problems", len(got))
	}
	done := filled(f)
	delete(done, "security_tls")
	if got := f.Check(done, true); len(got) != 1 || got[0].Key != "required_attest" {
		t.Errorf("without an attestation: %+v", got)
	}
	delete(done, "security_tls")
	for _, q := range f.Questions() {
		if q.Group == Disclosure && q.Required {
			t.Errorf("%s is about privacy, and the form demands it", q.ID)
		}
	}
}

func TestNotYet(t *testing.T) {
	f := builtIn(t).Form(Production)
	a := Answers{"signer_date": {"2027-01-02"}, "launch": {"2030-01-01"}, "pentest": {"none"}, "pentest_date": {"2030-01-01"}}
	if got := f.NotYet(a, "2027-01-02"); len(got) > 0 {
		t.Errorf("today is a problem: %+v", got)
	}
	if got := f.NotYet(a, "2027-01-01"); len(got) != 1 || got[0].Question != "signer_date" || got[0].Key != "future" {
		t.Errorf("tomorrow: %+v", got)
	}
}

// TestContradictions makes every rule of every form fire, and keeps it from firing by one other answer.
func TestContradictions(t *testing.T) {
	s := builtIn(t)
	rules := 0
	for _, name := range names {
		f := s.Form(name)
		fires := func(id string, a Answers) bool {
			for _, c := range f.Contradictions(a) {
				if c.Rule == id {
					if len(c.Questions) == 0 || c.Text.Empty() {
						t.Errorf("%s: %s says nothing", name, id)
					}
					return true
				}
			}
			return false
		}
		for _, r := range f.Checks {
			rules++
			a := Answers{}
			set := func(id, value string) {
				b := f.lead(f.Question(id), a)
				if b == nil {
					t.Fatalf("%s: the conditions of %s exclude one another at %s", name, r.ID, id)
				}
				a = maps.Clone(b)
				if has := a[id]; len(has) > 0 && f.Question(id).Kind != Choices && !slices.Contains(has, value) {
					t.Fatalf("%s: %s needs two answers to %s", name, r.ID, id)
				}
				a[id] = []string{value}
			}
			for _, id := range slices.Sorted(maps.Keys(r.If)) {
				set(id, r.If[id][0])
			}
			compared := slices.Concat(r.Same, r.Hosts, r.More)
			value := func(id string, i int, apart bool) string {
				n := map[bool]string{true: string(rune('0' + i)), false: "1"}[apart]
				switch f.Question(id).Kind {
				case URL:
					return "https://www.site" + n + ".example/Page"
				case Email:
					return "a@site" + n + ".example"
				case Number:
					return map[bool]string{true: string(rune('9' - i)), false: "1"}[apart]
				}
				return "text " + n
			}
			for i, id := range compared {
				set(id, value(id, i, len(r.Same) == 0))
			}
			if !fires(r.ID, a) {
				t.Errorf("%s: %s does not fire for %v", name, r.ID, a)
			}
			for _, id := range slices.Sorted(maps.Keys(r.If)) {
				b := maps.Clone(a)
				delete(b, id)
				if fires(r.ID, b) {
					t.Errorf("%s: %s fires without %s", name, r.ID, id)
				}
			}
			for i, id := range compared {
				b := maps.Clone(a)
				delete(b, id)
				if fires(r.ID, b) {
					t.Errorf("%s: %s fires without %s", name, r.ID, id)
				}
				a[id] = []string{value(id, i, len(r.Same) > 0)}
			}
			if len(compared) > 0 && fires(r.ID, a) {
				t.Errorf("%s: %s fires for %v", name, r.ID, a)
			}
		}
	}
	if rules < 25 {
		t.Errorf("there are only %d rules", rules)
	}
}

func TestCompare(t *testing.T) {
	r := &Rule{Same: []string{"a", "b"}}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"https://example.org/p", "https://www.EXAMPLE.org/p/#", true}, {"https://example.org/p#privacy", "https://example.org/p#terms", false}, {"https://example.org/p", "https://example.org/q", false}, {"Some  text", "some text", true}, {"", "", false},
	} {
		if got := r.fires(Answers{"a": {c.a}, "b": {c.b}}); got != c.want {
			t.Errorf("%q and %q are the same: %t", c.a, c.b, got)
		}
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"example.org", "example.org", true}, {"app.example.org", "example.org", true}, {"app.example.org", "legal.example.org", true}, {"example.org", "example.com", false},
		{"a.org", "b.org", false}, {"badexample.org", "example.org", false},
	} {
		if got := related(c.a, c.b); got != c.want {
			t.Errorf("%s and %s are related: %t", c.a, c.b, got)
		}
	}
}
