package main

import (
	"net"
	netmail "net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/mail"
)

// portalConfig is the developers' portal of a server.
type portalConfig struct {
	Enabled bool   `yaml:"enabled"`
	Folder  string `yaml:"folder"`
	Uploads string `yaml:"uploads"`
	Sandbox struct {
		Base     string         `yaml:"base"`
		Issuer   string         `yaml:"issuer"`
		Store    string         `yaml:"store"`
		Accounts accountsConfig `yaml:"accounts"`
		Members  string         `yaml:"members"`
	} `yaml:"sandbox"`
	Login   loginConfig         `yaml:"login"`
	Rules   portalRules         `yaml:"rules"`
	Mail    mailConfig          `yaml:"mail"`
	Support portalSupportConfig `yaml:"support"`
	Address string              `yaml:"address_header"`
}

// portalRules are the agency's, see portal.Rules.
type portalRules struct {
	Sandbox   string   `yaml:"sandbox_review"`
	FourEyes  bool     `yaml:"four_eyes"`
	Demo      bool     `yaml:"demonstration"`
	Proof     string   `yaml:"identity_proofing"`
	Levels    []string `yaml:"levels"`
	Evidence  []string `yaml:"evidence"`
	Criteria  []string `yaml:"criteria"`
	Days      int      `yaml:"review_days"`
	Easy      int      `yaml:"sandbox_days"`
	Holidays  []string `yaml:"holidays"`
	Lapse     int      `yaml:"lapse_days"`
	Attest    int      `yaml:"attestation_days"`
	Keep      int      `yaml:"keep_days"`
	Directory bool     `yaml:"directory"`
	Terms     string   `yaml:"terms_version"`
}

// mailConfig is the server that takes mails.
type mailConfig struct {
	Server   string `yaml:"server"`
	From     string `yaml:"from"`
	User     string `yaml:"user"`
	Password secret `yaml:"password"`
	TLS      string `yaml:"tls"`
}

// portalSupportConfig is how developers reach people.
type portalSupportConfig struct {
	Community string `yaml:"community"`
	Desk      string `yaml:"desk"`
	Contact   string `yaml:"contact"`
	Post      string `yaml:"post"`
}

func defaultPortal() (c portalConfig) {
	c.Login.Scopes, c.Login.AnyLevel = []string{"openid", "profile", "email"}, true
	c.Rules = portalRules{Sandbox: "manual", FourEyes: true, Proof: "", Days: 14, Easy: 2, Lapse: 90, Attest: 365, Keep: 730, Directory: true, Terms: "1",
		Evidence: []string{"authorize", "refresh", "revoke", "read", "search"}}
	c.Mail.TLS = mail.StartTLS
	return c
}

// check checks the settings of a portal. s has been checked.
func (c *portalConfig) check(s *serveConfig) error {
	if !c.Enabled {
		return nil
	}
	const key = "portal."
	r := &c.Rules
	switch {
	case !s.Embedded.Enabled:
		return usagef("portal: it registers apps at the authorization server of this program; set authorization_server.enabled")
	case c.Sandbox.Base == "" && s.portal == nil:
		return usagef(key + "sandbox.base: name the public URL of the sandbox's API, such as https://sandbox.example.org/fhir")
	case c.Sandbox.Store == "" && c.Sandbox.Accounts.Database == "" && s.portal == nil:
		return usagef(key + "sandbox: name the store of the sandbox, or the database of its accounts")
	case c.Login.Issuer == "" && !c.Login.Passwords:
		return usagef(key + "login: say how developers sign in: the issuer of an identity service, or passwords: true for accounts of the portal")
	case c.Login.Issuer != "" && c.Login.Client == "":
		return usagef(key + "login.client: the identity service knows this server by a client id")
	case c.Login.Issuer != "" && s.Base == "":
		return usagef("base: the identity service must know where it sends people back to; set the public URL of the API")
	case c.Login.Secret != "" && c.Login.Key != "":
		return usagef(key + "login: use secret or key, not both")
	case c.Login.Rules != "":
		return usagef(key + "login.rules: developers are nobody's members; leave it out")
	case c.Login.Passwords && c.Mail.Server == "" && s.portal == nil:
		return usagef(key + "mail.server: accounts of the portal need mail, which confirms addresses")
	case !slices.Contains([]string{"manual", "automatic"}, r.Sandbox):
		return usagef(key+"rules.sandbox_review %q: use manual or automatic", r.Sandbox)
	case !slices.Contains([]string{"", "claim", "review", "either"}, r.Proof):
		return usagef(key+"rules.identity_proofing %q: use claim, review, either, or leave it empty", r.Proof)
	case (r.Proof == "claim" || r.Proof == "either") && (c.Login.Issuer == "" || len(r.Levels) == 0):
		return usagef(key + "rules.levels: name the levels of the identity service that count as proofed, such as those of IAL2")
	case c.Address != "" && !strings.EqualFold(c.Address, "X-Forwarded-For"):
		return usagef(key+"address_header %q: only X-Forwarded-For is read", c.Address)
	case r.Terms == "":
		return usagef(key + "rules.terms_version: give the portal's terms a version")
	}
	for _, e := range r.Evidence {
		if !slices.Contains(portal.Interactions, e) {
			return usagef(key+"rules.evidence %q: use %s", e, strings.Join(portal.Interactions, ", "))
		}
	}
	for _, d := range r.Holidays {
		if _, err := time.Parse(time.DateOnly, d); err != nil {
			return usagef(key+"rules.holidays %q: use days such as 2027-01-01", d)
		}
	}
	for name, n := range map[string]int{"review_days": r.Days, "sandbox_days": r.Easy, "lapse_days": r.Lapse, "attestation_days": r.Attest, "keep_days": r.Keep} {
		if n < 1 {
			return usagef(key+"rules.%s must be above 0", name)
		}
	}
	if c.Sandbox.Base != "" {
		if u, err := url.Parse(c.Sandbox.Base); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) || u.RawQuery != "" || u.Fragment != "" {
			return usagef(key+"sandbox.base %q: use a URL with https", c.Sandbox.Base)
		}
	}
	if c.Sandbox.Issuer != "" && !isOrigin(c.Sandbox.Issuer) {
		return usagef(key+"sandbox.issuer %q: use an origin such as https://sandbox.example.org", c.Sandbox.Issuer)
	}
	if c.Sandbox.Store != "" && accountsOf(c.Sandbox.Store) == accountsOf(s.Store) {
		return usagef(key + "sandbox.store: the sandbox has a store of its own; members' data have no place in it")
	}
	if err := c.Mail.check(); err != nil {
		return err
	}
	if err := c.Login.Key.check(key + "login.key"); err != nil {
		return err
	}
	if err := c.Login.Secret.check(key + "login.secret"); err != nil {
		return err
	}
	return c.Sandbox.Accounts.check()
}

func (c *mailConfig) check() error {
	const key = "portal.mail."
	if c.Server == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Server)
	switch {
	case err != nil:
		return usagef(key+"server %q: use host:port, such as smtp.example.org:587", c.Server)
	case !slices.Contains([]string{mail.StartTLS, mail.Implicit, mail.None}, c.TLS):
		return usagef(key+"tls %q: use starttls, implicit or none", c.TLS)
	case c.TLS == mail.None && !isLoopback(host):
		return usagef(key + "tls: none is for servers on a loopback address")
	}
	if _, err := netmail.ParseAddress(c.From); err != nil {
		return usagef(key + "from: say who the mails are from, such as \"Medicaid Connect <no-reply@example.org>\"")
	}
	if (c.User == "") != (c.Password == "") {
		return usagef(key + "user and password belong together")
	}
	return c.Password.check(key + "password")
}

// fullPortalConfig is the part of a serve.yaml.
const fullPortalConfig = `portal:                       # the developers' portal (docs/portal.md); it needs the authorization server above
  enabled: false
  folder: ""                  # of the agency: name, colours, logo, pages, forms and letters that differ from ours
  uploads: ""                 # folder of documents that developers send; empty: in that of the accounts
  sandbox:                    # where developers try their apps: another server of this program, with made-up members
    base: ""                  # public URL of its API, such as https://sandbox.example.org/fhir
    issuer: ""                # origin of its authorization server; empty: that of base
    store: ""                 # its store, whose accounts stand beside it; or
    accounts: {database: "", seal: ""}   # its accounts, as above
    members: ""               # file with the logins of its members that developers are shown: a sandbox.json
  login:                      # how developers and staff sign in
    passwords: false          # true: accounts of the portal, with an e-mail address and a second factor
    issuer: ""                # the identity service of the state (OpenID Connect)
    client: ""
    secret: ""                # env:NAME or file:PATH; or
    key: ""                   # env:NAME or file:PATH of a private key in PEM
    key_id: ""
    scopes: [openid, profile, email]
    level_claim: ""           # claim that says how well a person was identified; empty: acr
    userinfo: false
  rules:
    sandbox_review: manual    # automatic: complete questionnaires are approved at once
    four_eyes: true           # who decides is not who proposed it
    demonstration: false      # true: an app must be shown before it is approved
    identity_proofing: ""     # claim (of the identity service), review (by staff) or either; empty: none
    levels: []                # levels of the identity service that count as proofed
    evidence: [authorize, refresh, revoke, read, search]   # what an app must have done in the sandbox; also paging, denied, limited, unauthorized
    criteria: []              # codes of grounds for refusing; empty: ours
    sandbox_days: 2           # business days in which a questionnaire is decided
    review_days: 14           # and an application for production
    holidays: []              # of the state, such as 2027-01-01
    lapse_days: 90            # drafts and questions without an answer
    attestation_days: 365     # how long attestations hold
    keep_days: 730            # how long what is closed is kept
    directory: true           # the public list of approved apps
    terms_version: "1"        # of the portal's terms; a new one must be accepted again
  mail: {server: "", from: "", user: "", password: "", tls: starttls}   # SMTP; empty: mail is off, and staff see what would be sent
  support: {community: "", desk: "", contact: "", post: ""}   # shown to developers
  address_header: ""          # X-Forwarded-For: a proxy in front sets it, and limits count the address that it has; empty: there is no proxy

`
