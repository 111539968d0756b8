package blackbox

import (
	"net/http"
	"slices"
	"strings"
)

// granted is a check of what is given for what is asked for. want must all be there, and never must not.
func grants(name, ask string, want, never []string) check {
	return check{name, func(t *trial) {
		c := t.app()
		g := t.grant(c, ask)
		got := strings.Fields(g.Scope)
		for _, s := range want {
			if !slices.Contains(got, s) {
				t.Errorf("asked for %q, got %q, without %s", ask, g.Scope, s)
			}
		}
		for _, s := range got {
			if slices.Contains(never, s) || !slices.Contains(strings.Fields(ask), s) && !slices.ContainsFunc(strings.Fields(ask), func(a string) bool { return withoutWriting(a) == s }) {
				t.Errorf("asked for %q, got %q, with %s", ask, g.Scope, s)
			}
		}
	}}
}

// withoutWriting is a scope without the letters of SMART 2 that are about writing: a server may grant less than was asked for.
func withoutWriting(scope string) string {
	i := strings.LastIndexByte(scope, '.')
	return scope[:i+1] + strings.NewReplacer("c", "", "u", "", "d", "").Replace(scope[i+1:])
}

var scopes = []check{
	grants("v1 is echoed as it was written", "launch/patient patient/Patient.read patient/Coverage.read patient/ExplanationOfBenefit.read",
		[]string{"patient/Patient.read", "patient/Coverage.read", "patient/ExplanationOfBenefit.read"}, nil),
	grants("v2 is echoed as it was written", "launch/patient patient/Patient.rs patient/Coverage.rs patient/ExplanationOfBenefit.rs",
		[]string{"patient/Patient.rs", "patient/Coverage.rs", "patient/ExplanationOfBenefit.rs"}, nil),
	grants("r and s by themselves are echoed", "launch/patient patient/Patient.r patient/ExplanationOfBenefit.r patient/ExplanationOfBenefit.s",
		[]string{"patient/Patient.r", "patient/ExplanationOfBenefit.r", "patient/ExplanationOfBenefit.s"}, nil),
	grants("v1 and v2 mixed", "launch/patient patient/Patient.read patient/Coverage.rs", []string{"patient/Patient.read", "patient/Coverage.rs"}, nil),
	grants("wildcard of v1", "launch/patient patient/*.read", []string{"patient/*.read"}, nil),
	grants("wildcard of v2", "launch/patient patient/*.rs", []string{"patient/*.rs"}, nil),
	grants("user scopes", "launch/patient user/Patient.read user/ExplanationOfBenefit.rs user/Coverage.rs", []string{"user/ExplanationOfBenefit.rs"}, nil),
	grants("unknown ones are left out", "launch/patient patient/Patient.rs nonsense patient/Nothing.rs profile email patient/Patient.xyz patient/.rs /Patient.rs patient/Patient http://x",
		[]string{"patient/Patient.rs"}, []string{"nonsense", "patient/Nothing.rs", "patient/Patient.xyz", "patient/.rs", "/Patient.rs", "patient/Patient", "http://x"}),
	grants("writing is left out", "launch/patient patient/Patient.rs patient/Patient.write patient/Coverage.cruds patient/*.c patient/ExplanationOfBenefit.d",
		[]string{"patient/Patient.rs"}, []string{"patient/Patient.write", "patient/Coverage.cruds", "patient/*.c", "patient/*.", "patient/ExplanationOfBenefit.d", "patient/ExplanationOfBenefit."}),
	grants("system scopes are left out", "launch/patient patient/Patient.rs system/*.rs system/Patient.read", []string{"patient/Patient.rs"}, []string{"system/*.rs", "system/Patient.read"}),
	grants("one that is there twice", "launch/patient patient/Patient.rs patient/Patient.rs", []string{"patient/Patient.rs"}, nil),
	grants("letters in another order or case are not ours", "launch/patient patient/Patient.rs patient/Coverage.sr PATIENT/Coverage.rs patient/coverage.rs",
		[]string{"patient/Patient.rs"}, []string{"patient/Coverage.sr", "PATIENT/Coverage.rs", "patient/coverage.rs"}),
	{"a search within a scope opens no more than it says", func(t *trial) {
		const narrow = "patient/ExplanationOfBenefit.rs?type=http://terminology.hl7.org/CodeSystem/claim-type|pharmacy"
		c := t.app()
		a := t.attempt(c, "launch/patient patient/Patient.rs "+narrow)
		g := t.redeem(a, t.code(a))
		all := t.fhir(g.Access, "ExplanationOfBenefit?_count=200")
		if !slices.Contains(strings.Fields(g.Scope), narrow) {
			t.wantStatus(all, http.StatusForbidden, http.StatusUnauthorized)
			return
		}
		if all.status == http.StatusOK && strings.Contains(string(all.body), `"institutional"`) {
			t.Error("a scope for pharmacy claims opens institutional ones")
		}
	}},
	{"nothing that the server knows is refused, or gives nothing", func(t *trial) {
		c := t.app()
		for _, scope := range []string{"nonsense", "system/*.rs", "patient/Nothing.rs"} {
			a := t.attempt(c, scope)
			response := t.ask(t.browser(), a)
			if to := response.location(); to != nil && isAnswer(to) {
				t.wantRefusal(a, to, "invalid_scope")
				continue
			}
			back := t.decideAt(t.browser(), response, t.member())
			if code := back.Query().Get("code"); code != "" {
				if g := t.redeem(a, code); g.Scope != "" {
					t.Errorf("asked for %q, got %q", scope, g.Scope)
				}
			}
		}
	}},
	{"an empty scope is refused, or the answer says what was given", func(t *trial) {
		c := t.app()
		for _, scope := range []string{"", " "} {
			a := t.attempt(c, scope)
			response := t.ask(t.browser(), a)
			if to := response.location(); to != nil && isAnswer(to) {
				t.wantRefusal(a, to, "invalid_scope", "invalid_request")
				continue
			}
			if g := t.redeem(a, t.code(a)); g.Scope == "" {
				t.Error("the token response does not say what was given (RFC 6749, 3.3)")
			}
		}
	}},
	{"characters that no scope has are refused or left out", func(t *trial) {
		c := t.app()
		for _, scope := range []string{`launch/patient patient/Patient.rs "x"`, "launch/patient patient/Patient.rs\tx\\y", "launch/patient patient/Patient.rs ünï"} {
			a := t.attempt(c, scope)
			response := t.ask(t.browser(), a)
			if to := response.location(); to != nil && isAnswer(to) {
				t.wantRefusal(a, to, "invalid_scope", "invalid_request")
				continue
			}
			t.wantStatus(response, http.StatusOK, http.StatusFound, http.StatusSeeOther)
		}
	}},
	{"patient scopes without launch/patient open the member's data too", func(t *trial) {
		c := t.app()
		g := t.grant(c, "patient/Patient.rs patient/ExplanationOfBenefit.rs")
		if g.Patient != t.Members[0].Patient {
			t.Errorf("patient is %q, want %q", g.Patient, t.Members[0].Patient)
		}
		t.wantOpens(g, true, "without launch/patient")
	}},
	{"v1 and v2 open what they say, and nothing else", func(t *trial) {
		c := t.app()
		for _, scope := range []string{"launch/patient patient/Patient.read", "launch/patient patient/Patient.rs"} {
			g := t.grant(c, scope)
			t.wantOpens(g, true, scope)
			t.wantStatus(t.fhir(g.Access, "Coverage?_count=1"), http.StatusForbidden)
			t.wantStatus(t.fhir(g.Access, "ExplanationOfBenefit?_count=1"), http.StatusForbidden)
		}
	}},
	{"r reads, s searches", func(t *trial) {
		c := t.app()
		g := t.grant(c, "launch/patient patient/Patient.r")
		t.wantOpens(g, true, "patient/Patient.r")
		t.wantStatus(t.fhir(g.Access, "Patient?_id="+g.Patient), http.StatusForbidden)
		g = t.grant(c, "launch/patient patient/Patient.s")
		t.wantStatus(t.fhir(g.Access, "Patient?_id="+g.Patient), http.StatusOK)
		t.wantStatus(t.fhir(g.Access, "Patient/"+g.Patient), http.StatusForbidden)
	}},
}
