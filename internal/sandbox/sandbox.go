// Package sandbox is what a sandbox of the Patient Access API has in it: a small synthetic extract of members whose
// histories one can read, the logins of these members, registered apps of each kind, and an example app.
//
// Nothing in it is secret. Logins and secrets are the same in every sandbox, and are in the documentation: they must
// never be added to a server that has data of real people.
package sandbox

import (
	"strings"

	"cpcds2fhir/internal/accounts"
)

// Login is somebody who can sign in to a sandbox.
type Login struct {
	Login    string
	Password string

	// Member is the member_id of the person in the extract, and the value of an identifier of their Patient.
	Member string

	// Represents are the member_ids of others that the person speaks for, such as their children.
	Represents []string

	Name        string // of the person
	Description string // what there is to see, in one sentence
}

// Logins lists who can sign in: first the member with everything, then the family, then one member for each kind of
// claim, and a member without claims. The slice is the caller's.
func Logins() []Login {
	var out []Login
	for _, p := range people() {
		if p.description == "" {
			continue // a child, who has no login
		}
		l := Login{Member: p.key, Name: p.given + " " + p.family, Description: p.description, Represents: p.represents}
		l.Login = strings.ToLower(p.given)
		l.Password = l.Login + "-sandbox"
		out = append(out, l)
	}
	return out
}

// Client is an app that is registered in every sandbox.
type Client struct {
	accounts.Client
	Secret string // "" if it has none
}

// Ids of the clients of a sandbox.
const (
	ExampleClient      = "example-app"
	PublicClient       = "sandbox-public"
	ConfidentialClient = "sandbox-confidential"
	UtahClient         = "sandbox-utah"
)

// Clients lists the apps of a sandbox whose pages are at origin, such as http://127.0.0.1:8080: the example app, and
// one client of each kind for a developer's own program. Those take redirects to any port and any of two paths of
// the loopback addresses; the port is left open because they are native (RFC 8252, 7.3).
func Clients(origin string) []Client {
	grants := []string{"authorization_code", "refresh_token"}
	loopback := []string{
		"http://127.0.0.1/callback", "http://127.0.0.1/", "http://[::1]/callback", "http://[::1]/",
		"http://localhost/callback", "http://localhost/",
	}
	own := func(id, name, auth, secret string, utah bool) Client {
		return Client{accounts.Client{
			ID: id, Name: name, Status: accounts.Active, Auth: auth, Native: true, Grants: grants, RedirectURIs: loopback,
			IDTokenAlg: "RS256", Utah: utah, Owner: "sandbox",
		}, secret}
	}
	return []Client{
		{accounts.Client{
			ID: ExampleClient, Name: "My Claims", Status: accounts.Active, Auth: "none", Grants: grants,
			RedirectURIs: []string{origin + "/app/"}, IDTokenAlg: "RS256", Owner: "sandbox",
			Homepage: origin + "/app/", Policy: origin + "/app/privacy.html",
		}, ""},
		own(PublicClient, "Your app (public)", "none", "", false),
		own(ConfidentialClient, "Your app (confidential)", "client_secret", "sandbox-confidential-secret", false),
		own(UtahClient, "Your app (Utah's dialect)", "client_secret", "sandbox-utah-secret", true),
	}
}
