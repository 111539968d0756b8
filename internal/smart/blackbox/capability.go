package blackbox

import (
	"net/http"
	"slices"
	"strings"
)

// capable is a check of a capability, for servers that announce it.
func capable(name string, test func(t *trial)) check {
	return check{name, func(t *trial) {
		if !slices.Contains(t.metadata.Capabilities, name) {
			t.Skip("the server does not announce it")
		}
		test(t)
	}}
}

// capabilities has a check for each that a server for members' apps may announce. What others may is not for
// members (launch-ehr and its context), so a server that announces it must have tests of its own.
var capabilities = []check{
	capable("launch-standalone", func(t *trial) {
		c := t.app()
		t.wantOpens(t.grant(c, c.scope()), true, "after a standalone launch")
	}),
	capable("authorize-post", func(t *trial) {
		c, browser := t.app(), t.browser()
		a := t.attempt(c, c.scope())
		first := t.do(&call{method: http.MethodPost, url: t.metadata.Authorize, form: a.query, client: browser})
		t.wantOpens(t.redeem(a, t.decideAt(browser, first, t.member()).Query().Get("code")), true, "after a POST")
	}),
	capable("client-public", func(t *trial) {
		c := t.need(t.Public, "public")
		t.wantOpens(t.grant(c, c.scope()), true, "of a public client")
	}),
	capable("client-confidential-symmetric", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		t.wantOpens(t.grant(c, c.scope()), true, "of a client with a secret")
	}),
	capable("client-confidential-asymmetric", func(t *trial) {
		for _, alg := range []string{"RS384", "ES384"} {
			if m := t.metadata; !slices.Contains(m.AuthAlgs, alg) {
				t.Errorf("token_endpoint_auth_signing_alg_values_supported has no %s", alg)
			}
		}
		if !slices.Contains(t.metadata.AuthMethods, "private_key_jwt") {
			t.Error("token_endpoint_auth_methods_supported has no private_key_jwt")
		}
		c := t.need(t.Asymmetric, "asymmetric")
		for i := range c.Keys {
			one := *c
			one.Keys = c.Keys[i : i+1]
			t.wantOpens(t.grant(&one, c.scope()), true, "of a client that signs assertions")
		}
	}),
	capable("sso-openid-connect", func(t *trial) {
		if id := t.idToken(t.withOpenID().ID); id.FHIRUser == "" {
			t.Error("the ID token has no fhirUser")
		}
	}),
	capable("context-standalone-patient", func(t *trial) {
		if g := t.grant(t.app(), "launch/patient patient/Patient.rs"); g.Patient != t.Members[0].Patient {
			t.Errorf("patient is %q, want %q", g.Patient, t.Members[0].Patient)
		}
	}),
	capable("permission-offline", func(t *trial) {
		g := t.renewable(t.app())
		if !slices.Contains(strings.Fields(g.Scope), "offline_access") {
			t.Errorf("scope is %q, without offline_access", g.Scope)
		}
		t.wantOpens(t.refresh(g, ""), true, "after a refresh")
	}),
	capable("permission-patient", func(t *trial) {
		g := t.grant(t.app(), "launch/patient patient/Patient.rs patient/ExplanationOfBenefit.rs")
		t.wantStatus(t.fhir(g.Access, "ExplanationOfBenefit?_count=1"), http.StatusOK)
	}),
	capable("permission-user", func(t *trial) {
		g := t.grant(t.app(), "launch/patient openid fhirUser user/Patient.rs user/ExplanationOfBenefit.rs")
		t.wantStatus(t.fhir(g.Access, "ExplanationOfBenefit?_count=1"), http.StatusOK)
	}),
	capable("permission-v1", func(t *trial) {
		g := t.grant(t.app(), "launch/patient patient/Patient.read patient/ExplanationOfBenefit.read")
		t.wantStatus(t.fhir(g.Access, "ExplanationOfBenefit?_count=1"), http.StatusOK)
		t.wantStatus(t.fhir(g.Access, "Coverage?_count=1"), http.StatusForbidden)
	}),
	capable("permission-v2", func(t *trial) {
		g := t.grant(t.app(), "launch/patient patient/Patient.rs patient/ExplanationOfBenefit.rs")
		t.wantStatus(t.fhir(g.Access, "ExplanationOfBenefit?_count=1"), http.StatusOK)
		t.wantStatus(t.fhir(g.Access, "Coverage?_count=1"), http.StatusForbidden)
	}),
	{"each that is announced is tested above", func(t *trial) {
		for _, c := range t.metadata.Capabilities {
			switch c {
			case "launch-ehr", "context-banner", "context-style", "context-ehr-patient", "context-ehr-encounter", "context-standalone-encounter", "permission-online", "smart-app-state":
				t.Errorf("%s is announced, and nothing here tests it", c)
			}
		}
	}},
}
