package blackbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// idToken are the claims of an ID token, and how it was signed.
type idToken struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience any    `json:"aud"`
	Party    string `json:"azp"`
	Nonce    string `json:"nonce"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	AuthTime int64  `json:"auth_time"`
	FHIRUser string `json:"fhirUser"`

	alg, kid string
}

// idToken checks the signature of an ID token by the published keys, and reads it.
func (t *trial) idToken(text string) *idToken {
	t.Helper()
	if text == "" {
		t.Fatal("there is no id_token")
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(t.get(t.metadata.JWKS).body, &set); err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.RS384, jose.PS256, jose.EdDSA})
	if err != nil {
		t.Fatalf("the id_token is no JWT that is signed as it should be: %v", err)
	}
	header := signed.Signatures[0].Header
	keys := set.Key(header.KeyID)
	if len(keys) != 1 {
		t.Fatalf("%d published keys have the kid of the id_token", len(keys))
	}
	claims, err := signed.Verify(keys[0])
	if err != nil {
		t.Fatalf("the signature of the id_token is not valid: %v", err)
	}
	id := &idToken{alg: header.Algorithm, kid: header.KeyID}
	if err := json.Unmarshal(claims, id); err != nil {
		t.Fatalf("the claims of the id_token are not as they should be: %v", err)
	}
	if keys[0].Algorithm != "" && keys[0].Algorithm != id.alg {
		t.Errorf("the key is for %s, the signature is %s", keys[0].Algorithm, id.alg)
	}
	return id
}

// isFor reports whether a client is the audience.
func (id *idToken) isFor(client string) bool {
	switch a := id.Audience.(type) {
	case string:
		return a == client
	case []any:
		return slices.Contains(a, any(client)) && (len(a) == 1 || id.Party == client)
	}
	return false
}

// withOpenID is a grant with an ID token.
func (t *trial) withOpenID() *grant {
	t.Helper()
	return t.grant(t.app(), "launch/patient openid fhirUser offline_access patient/Patient.rs")
}

var identities = []check{
	{"signed by a published key, with the claims of OpenID Connect", func(t *trial) {
		g := t.withOpenID()
		id, now := t.idToken(g.ID), time.Now().Unix()
		if id.Issuer != t.Issuer {
			t.Errorf("iss is %q, not exactly %q", id.Issuer, t.Issuer)
		}
		if !id.isFor(g.client.ID) {
			t.Errorf("aud is %v, not %q", id.Audience, g.client.ID)
		}
		if id.Nonce != g.query.Get("nonce") {
			t.Errorf("nonce is %q, not that of the request", id.Nonce)
		}
		if id.Subject == "" || len(id.Subject) > 255 {
			t.Errorf("sub is %q", id.Subject)
		}
		if id.Issued > now+60 || id.Issued < now-300 || id.Expires <= now || id.Expires <= id.Issued {
			t.Errorf("iat is %d and exp %d, now is %d", id.Issued, id.Expires, now)
		}
		if len(t.openidAlgs()) > 0 && !slices.Contains(t.openidAlgs(), id.alg) {
			t.Errorf("it is signed with %s, announced are %v", id.alg, t.openidAlgs())
		}
	}},
	{"each client gets the algorithm that it is registered for", func(t *trial) {
		seen := map[string]bool{}
		for _, c := range t.clientsWithRedirects() {
			if c == t.Utah || !strings.Contains(c.scope(), "openid") {
				continue
			}
			id := t.idToken(t.grant(c, "launch/patient openid fhirUser patient/Patient.rs").ID)
			if c.IDTokenAlg != "" && id.alg != c.IDTokenAlg {
				t.Errorf("%s got %s, it is registered for %s", c.ID, id.alg, c.IDTokenAlg)
			}
			if !id.isFor(c.ID) {
				t.Errorf("aud is %v, not %q", id.Audience, c.ID)
			}
			seen[id.alg] = true
		}
		t.Logf("algorithms: %v", seen)
	}},
	{"fhirUser is an absolute URL that the token opens", func(t *trial) {
		g := t.withOpenID()
		id := t.idToken(g.ID)
		u, err := url.Parse(id.FHIRUser)
		base := strings.TrimRight(t.FHIRBase, "/") + "/"
		if err != nil || !strings.HasPrefix(id.FHIRUser, base) || u.RawQuery != "" || strings.Contains(id.FHIRUser, "_history") {
			t.Fatalf("fhirUser is %q, not an URL below %s", id.FHIRUser, base)
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(id.FHIRUser, base), "/")
		if !slices.Contains([]string{"Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Person"}, kind) {
			t.Errorf("fhirUser is a %s", kind)
		}
		t.wantStatus(t.fhir(g.Access, strings.TrimPrefix(id.FHIRUser, base)), http.StatusOK)
	}},
	{"no fhirUser where it was not asked for", func(t *trial) {
		if id := t.idToken(t.grant(t.app(), "launch/patient openid patient/Patient.rs").ID); id.FHIRUser != "" {
			t.Errorf("fhirUser is %q", id.FHIRUser)
		}
	}},
	{"no nonce where none went", func(t *trial) {
		a := t.attempt(t.app(), "launch/patient openid patient/Patient.rs").set("nonce", "")
		if id := t.idToken(t.redeem(a, t.code(a)).ID); id.Nonce != "" {
			t.Errorf("nonce is %q", id.Nonce)
		}
	}},
	{"auth_time where max_age was asked for", func(t *trial) {
		a := t.attempt(t.app(), "launch/patient openid patient/Patient.rs").set("max_age", "3600")
		id := t.idToken(t.redeem(a, t.code(a)).ID)
		if now := time.Now().Unix(); id.AuthTime > now+60 || id.AuthTime < now-3600 {
			t.Errorf("auth_time is %d, now is %d", id.AuthTime, now)
		}
	}},
	{"sub is the same for a person, and another for another", func(t *trial) {
		one, again := t.idToken(t.withOpenID().ID), t.idToken(t.withOpenID().ID)
		if one.Subject != again.Subject {
			t.Error("sub changes")
		}
		other := t.idToken(t.grantOf(t.app(), "launch/patient openid patient/Patient.rs", &Decision{Member: t.second()}).ID)
		if other.Subject == one.Subject {
			t.Error("two people have the same sub")
		}
	}},
	{"an ID token of a refresh is about the same person", func(t *trial) {
		g := t.withOpenID()
		next := t.refresh(g, "")
		if next.ID == "" {
			t.Skip("a refresh gives no ID token")
		}
		one, two := t.idToken(g.ID), t.idToken(next.ID)
		if one.Subject != two.Subject || one.Issuer != two.Issuer || !two.isFor(g.client.ID) {
			t.Error("iss, sub or aud differ (OpenID Connect Core, 12.2)")
		}
	}},
	{"an ID token opens nothing", func(t *trial) {
		g := t.withOpenID()
		t.wantStatus(t.fhir(g.ID, "Patient/"+g.Patient), http.StatusUnauthorized)
	}},
}

func (t *trial) openidAlgs() []string { return t.metadata.openid(t).IDTokenAlgs }
