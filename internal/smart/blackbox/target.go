package blackbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// FromFile reads a target from a JSON file such as a sandbox leaves:
//
//	fhir_base, issuer
//	members        list of login, password, patient_id
//	clients        public, confidential, asymmetric, native, backend, utah, disabled: each with id, secret,
//	               redirect_uris, scope or scopes, jwk or jwks (private keys), any_port, id_token_alg
//	code_seconds, access_seconds, refresh_grace_seconds, capabilities, audience_optional
//
// Clients of any other name are Others. A public client with any_port is the native one too, if there is no other.
//
// any_port is true unless it is given, if all redirects of a client are http ones to a loopback address.
func FromFile(path string) (*Target, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f struct {
		FHIRBase string `json:"fhir_base"`
		Issuer   string `json:"issuer"`
		Members  []struct {
			Login    string `json:"login"`
			Password string `json:"password"`
			Patient  string `json:"patient_id"`
		} `json:"members"`
		Clients          map[string]*fileClient `json:"clients"`
		CodeSeconds      float64                `json:"code_seconds"`
		AccessSeconds    float64                `json:"access_seconds"`
		GraceSeconds     float64                `json:"refresh_grace_seconds"`
		Capabilities     []string               `json:"capabilities"`
		AudienceOptional bool                   `json:"audience_optional"`
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if f.FHIRBase == "" || f.Issuer == "" || len(f.Members) == 0 {
		return nil, fmt.Errorf("%s: %w", path, errors.New("it must have fhir_base, issuer and members"))
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	t := &Target{
		FHIRBase: f.FHIRBase, Issuer: f.Issuer, Capabilities: f.Capabilities, AudienceOptional: f.AudienceOptional,
		CodeLife: seconds(f.CodeSeconds), AccessLife: seconds(f.AccessSeconds), RefreshGrace: seconds(f.GraceSeconds),
	}
	for _, m := range f.Members {
		t.Members = append(t.Members, Member{m.Login, m.Password, m.Patient})
	}
	for name, to := range map[string]**Client{
		"public": &t.Public, "confidential": &t.Confidential, "asymmetric": &t.Asymmetric, "native": &t.Native,
		"backend": &t.Backend, "utah": &t.Utah, "disabled": &t.Disabled,
	} {
		if c := f.Clients[name]; c != nil {
			*to = c.client()
			delete(f.Clients, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Clients)) {
		t.Others = append(t.Others, f.Clients[name].client())
	}
	if t.Native == nil && t.Public != nil && t.Public.AnyPort {
		t.Native = t.Public
	}
	return t, nil
}

// fileClient is a client in a file.
type fileClient struct {
	ID           string              `json:"id"`
	Secret       string              `json:"secret"`
	RedirectURIs []string            `json:"redirect_uris"`
	Scopes       []string            `json:"scopes"`
	JWK          *jose.JSONWebKey    `json:"jwk"`
	JWKS         *jose.JSONWebKeySet `json:"jwks"`
	AnyPort      *bool               `json:"any_port"`
	IDTokenAlg   string              `json:"id_token_alg"`
}

func (f *fileClient) client() *Client {
	c := &Client{ID: f.ID, Secret: f.Secret, RedirectURIs: f.RedirectURIs, Scopes: f.Scopes, IDTokenAlg: f.IDTokenAlg}
	if f.JWK != nil {
		c.Keys = append(c.Keys, *f.JWK)
	}
	if f.JWKS != nil {
		c.Keys = append(c.Keys, f.JWKS.Keys...)
	}
	if f.AnyPort != nil {
		c.AnyPort = *f.AnyPort
		return c
	}
	c.AnyPort = len(c.RedirectURIs) > 0
	for _, r := range c.RedirectURIs {
		if u, err := url.Parse(r); err != nil || u.Scheme != "http" || !loopback(u.Hostname()) {
			c.AnyPort = false
		}
	}
	return c
}
