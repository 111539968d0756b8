package portal

import (
	"time"

	"cpcds2fhir/internal/accounts"
)

// App is an app of an organisation, in the sandbox and perhaps in production.
type App struct {
	ID, Org    string
	Version    int
	Settings   Settings  // of the sandbox client, and what an application for production asks for
	Approved   *Settings // what the production client is, nil before it is approved
	Asked      *Settings // a change under review, nil if there is none
	Sandbox    string    // client id, "" before the first credentials
	Production string    // client id, "" before it has credentials
	Logo       string    // id of the PNG that we have written anew, "" for none
	Created    time.Time
	Retired    time.Time
}

// Settings are what a client is made of. A change of any of them reopens the review of an app that is live, but for
// About and Platforms: members read those as the app's own words.
type Settings struct {
	Name         string
	Kind         string // web, native or service
	Auth         string // none, client_secret or private_key_jwt
	RedirectURIs []string
	Scopes       []Scope
	JWKS         string // public keys as JSON, or
	JWKSURI      string // where they are
	Offline      bool   // it reads while nobody uses it: refresh tokens
	Category     string // one_time, months_13 or research
	Homepage     string
	Policy       string
	Terms        string
	Support      string            // URL or e-mail address
	About        map[string]string // what members read, by language, at most 415 characters
	Platforms    []string
	Audience     string // adults, teens or children (COPPA)
	Utah         bool   // asks for the dialect of Utah; a reviewer must approve it
	Logo         string // id of the PNG; the portal sets it, in what was approved or asked for
}

// Scope is one that an app asks for, and why.
type Scope struct{ Scope, Reason string }

// Where says which client of an app is meant.
type Where string

// Environments of apps.
const (
	InSandbox    Where = "sandbox"
	InProduction Where = "production"
)

// Credential is a client with what opens it. Secret is shown once, and not kept.
type Credential struct {
	Client  string
	Secret  string // "" for public clients and those with keys
	Secrets []*accounts.Secret
}

// Shown is an interaction that an app has shown in the sandbox, by the log.
type Shown struct {
	Interaction string // one of Interactions
	At          time.Time
	Count       int
}

// Interactions that can be asked for as evidence: authorize (a token for a code), refresh, revoke, read, search, paging,
// denied (went on after a 403), limited (went on after a 429), unauthorized (renewed after a 401).
var Interactions = []string{"authorize", "refresh", "revoke", "read", "search", "paging", "denied", "limited", "unauthorized"}

// PublicApp is an app in the public directory.
type PublicApp struct {
	ID, Name, Publisher, Domain, Homepage, Policy, Terms, Support, About string
	Attested                                                             time.Time // zero: not attested
	Platforms                                                            []string
	Logo                                                                 string
}
