package main

import (
	"context"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/sandbox"
	"cpcds2fhir/internal/site/developers"
)

// sandboxPortal is who can sign in to the portal of a sandbox.
type sandboxPortal struct{ people []sandbox.Developer }

// demo are the logins that the sign-in page shows, none outside of a sandbox.
func (s *sandboxPortal) demo() (list []developers.Demo) {
	if s == nil {
		return nil
	}
	for _, p := range s.people {
		list = append(list, developers.Demo{Email: p.Email, Password: p.Password, Note: p.Description, Code: func() string { return portal.FactorCode(p.Key, time.Now()) }})
	}
	return list
}

// seed makes the accounts of the portal what they are in every sandbox, whatever they were.
func (s *sandboxPortal) seed(ctx context.Context, p *portal.Portal) (list []sandboxDeveloper, err error) {
	operator := p.Operator("sandbox")
	for _, d := range s.people {
		who := &portal.Person{Email: d.Email, Name: d.Name, Language: "en", Staff: portal.StaffRole(d.Staff)}
		if _, err := operator.PutPerson(ctx, who, d.Password, d.Key); err != nil {
			return nil, err
		}
		list = append(list, sandboxDeveloper{d.Email, d.Password, d.Key, d.Staff, d.Description})
	}
	return list, nil
}

// portalOf sets the portal of a sandbox: the sandbox is its own production too, so that the whole way can be tried.
func (c *serveConfig) portalOf() {
	c.portal = &sandboxPortal{sandbox.Developers()}
	own := &c.Portal
	own.Enabled, own.Login.Passwords = true, true
	own.Rules.FourEyes = false // there is one reviewer
	own.Rules.Evidence = []string{"authorize", "read", "search"}
	c.Embedded.RequestLog = 600
}

// sandboxDeveloper is a login of the portal in a sandbox.json.
type sandboxDeveloper struct {
	Email       string `json:"email"`
	Password    string `json:"password"`
	Key         string `json:"totp_key"`
	Staff       string `json:"staff,omitempty"`
	Description string `json:"description"`
}
