package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/developers"
	"cpcds2fhir/internal/site/docs"
	"cpcds2fhir/schemas/carin"
)

// documentation makes the public pages.
func (c *serveConfig) documentation(members []portal.TestMember) (*docs.Library, error) {
	own, agency, life := &c.Portal, &c.Embedded.Agency, &c.Embedded.Life
	production, sandbox := c.environments()
	s := docs.Settings{
		Agency: c.agencyName(), Portal: c.issuer(),
		Production: docs.Embedded(production.FHIRBase, production.Issuer), Sandbox: docs.Embedded(sandbox.FHIRBase, sandbox.Issuer),
		SignUp: "/developers/sign-up", SignIn: "/developers/sign-in", TryPage: developers.TryPath, PHRForm: "/phr", Status: "/status", Complaint: "/apps/complain",
		Support: c.issuer() + "/support", Contact: cmp.Or(own.Support.Contact, agency.Contact, c.issuer()+"/support/contact"), Community: own.Support.Community, Phone: agency.Phone,
		TTY: agency.TTY, Address: strings.Join(strings.Fields(own.Support.Post), " "), Policy: agency.Policy, Notices: agency.Notices,
		SandboxDays: own.Rules.Easy, ReviewDays: own.Rules.Days, LogDays: 30, KeepYears: max(1, own.Rules.Keep/365),
		Times:  docs.Times{Code: life.Code, Request: life.Request, Access: life.Access, Service: life.Service, Grace: life.Grace},
		Limits: docs.Limits{Client: c.Limits.Client, Member: c.Limits.Member, Rows: c.Limits.Rows, Included: c.Limits.Included, Parallel: c.Limits.Parallel, Time: c.Limits.Time},
	}
	if own.Rules.Directory {
		s.Directory = "/apps-directory"
	}
	if len(members) > 0 {
		s.Try.Login, s.Try.Password = members[0].Login, members[0].Password
	}
	if !own.Login.Passwords { // the identity service has the accounts
		s.SignUp = "/developers/sign-in"
	}
	config := &docs.Config{Settings: s}
	var err error
	if config.Capability, config.OpenAPI, err = api.Describe(&api.Config{Base: c.Base, Release: c.CARIN, Software: toolVersion()}); err != nil {
		return nil, err
	}
	if dir := c.agencyFolder("pages"); dir != "" {
		config.Override = os.DirFS(dir)
	}
	for _, m := range carin.Mapping() {
		row := docs.MappingRow{MapIDs: mapIDs(m.Element), Table: m.Element.Info().Level.Table().String(), Column: m.Element.Column(), Profile: m.Profile, Paths: m.Paths}
		if len(m.Paths) == 0 {
			row.Unused = carin.WhyUnused(m.Element)
		}
		config.Mapping = append(config.Mapping, row)
	}
	return docs.New(config)
}

// guides are the pages that the portal links to by their subject, as far as an agency has not taken them away.
func guides(l *docs.Library) map[string]string {
	list := map[string]string{}
	for subject, name := range map[string]string{"start": "getting-started", "production": "production", "credentials": "credentials", "errors": "errors",
		"redirects": "smart", "scopes": "smart", "terms": "privacy"} {
		if p := l.Page("en", name); p != nil {
			list[subject] = p.Path()
		}
	}
	return list
}

// services says what works.
func (e *embedded) services(ctx context.Context, c *serveConfig, login *developersLogin, status *serveStatus) []developers.Service {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	database := e.accounts.Check(ctx) == nil
	list := []developers.Service{{Key: "api", Up: status.ready() == ""}, {Key: "portal", Up: database}}
	if login == nil {
		list = append(list, developers.Service{Key: "sign_in", Up: database})
	} else {
		_, err := login.Check(ctx)
		list = append(list, developers.Service{Key: "sign_in", Up: err == nil})
	}
	if c.Portal.Sandbox.Base != "" {
		list = append(list, developers.Service{Key: "sandbox", Up: answers(ctx, strings.TrimSuffix(c.Portal.Sandbox.Base, "/")+"/metadata")})
	}
	return slices.Clip(list)
}

// answers reports whether a GET of a URL succeeds.
func answers(ctx context.Context, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	return errors.Join(resp.Body.Close()) == nil && resp.StatusCode == http.StatusOK
}
