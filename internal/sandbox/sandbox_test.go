package sandbox

import (
	"net/url"
	"testing"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/smart/clientrules"
)

// TestLogins demands what documentation and scripts rely on.
func TestLogins(t *testing.T) {
	seen, families := map[string]bool{}, 0
	for _, l := range Logins() {
		if l.Login == "" || len(l.Password) < 8 || l.Member == "" || l.Name == "" || l.Description == "" || seen[l.Login] {
			t.Errorf("%+v is not complete, or there twice", l)
		}
		seen[l.Login] = true
		if len(l.Represents) >= 2 {
			families++
		}
	}
	if len(seen) != 9 || families != 1 || Logins()[0].Login != "elena" {
		t.Errorf("there are %d logins, and %d of a parent; the first is %s", len(seen), families, Logins()[0].Login)
	}
}

// TestClients demands one client of each kind, and that only the marked one has Utah's dialect.
func TestClients(t *testing.T) {
	for _, c := range Clients("http://127.0.0.1:8080") {
		if err := clientrules.Check(&c.Client); err != nil {
			t.Errorf("%s: %v", c.ID, err)
		}
		if c.Status != accounts.Active || c.Owner != "sandbox" || c.Name == "" {
			t.Errorf("%+v is not ready", c)
		}
		if (c.Auth == "none") != (c.Secret == "") {
			t.Errorf("%s has the authentication %q, and a secret of %d bytes", c.ID, c.Auth, len(c.Secret))
		}
		if c.Utah != (c.ID == UtahClient) || c.Utah && c.Secret == "" {
			t.Errorf("%s: Utah's dialect is %t", c.ID, c.Utah)
		}
		for _, uri := range c.RedirectURIs {
			u, err := url.Parse(uri)
			if err != nil {
				t.Fatal(err)
			}
			if c.ID == ExampleClient {
				if uri != "http://127.0.0.1:8080/app/" || c.Native {
					t.Errorf("the example app is sent to %s", uri)
				}
			} else if !c.Native || u.Port() != "" || u.Scheme != "http" {
				t.Errorf("%s takes %s, whose port is not left open", c.ID, uri)
			}
		}
	}
}
