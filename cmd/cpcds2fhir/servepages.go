package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/audit"
	upstream "cpcds2fhir/internal/identity" // identity is this program's key of ids
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/site"
	"cpcds2fhir/internal/store"
)

// servePages makes the pages of the authorization server, and lets it explain its refusals by them.
func (e *embedded) servePages(ctx context.Context, c *serveConfig, st store.Handle, read *readings, status *serveStatus, log *zap.Logger) error {
	own := &c.Embedded
	zone, err := time.LoadLocation(own.Agency.Zone) // "" is UTC
	if err != nil {
		return usagef("authorization_server.agency.zone %q: use a name such as America/Denver", own.Agency.Zone)
	}
	config := &site.Config{
		Accounts: e.accounts, Pages: e.server, Issuer: c.issuer(), Name: c.agencyName(), Contact: own.Agency.Contact, Phone: own.Agency.Phone, TTY: own.Agency.TTY, Policy: own.Agency.Policy,
		Passwords: own.Login.Passwords, Demo: c.demo, Idle: own.Life.Idle, Absolute: own.Life.Session,
		Member: func(ctx context.Context, patient string) (name, born string, err error) {
			return memberNamed(ctx, st, patient)
		},
		Read: func(_ context.Context, user, client, patient string) (time.Time, map[string]int, error) {
			return read.of(client, user, patient)
		},
		Access: own.Life.Access, Notices: own.Agency.Notices, Zone: zone, Assets: e.assets,
		Events: site.Events{
			SignedIn: func(user, level string) {
				status.decided("login", "")
				log.Info("signed in", zap.String("user", user), zap.String("level", level))
			},
			SignedOut: func(user string) { log.Info("signed out", zap.String("user", user)) },
			Refused: func(reason string) {
				if !slices.Contains([]string{"password", "locked", "csrf"}, reason) {
					return // of the identity provider: upstream tells more
				}
				status.decided("login-refused", reason)
				log.Info("refused a login", zap.String("reason", reason))
			},
			Revoked: func(user, client, patient, grant string) {
				status.decided("disconnect", "")
				if err := read.log.Append(&audit.Record{Action: "revoke", Client: client, User: user, Members: []string{patient}, Type: "grant", ID: grant}); err != nil {
					log.Error("audit", zap.String("error", message(err)))
				}
			},
			Fault: func(path string, err error) {
				log.Error("failed", zap.String("page", path), zap.String("error", message(err)))
			},
		},
	}
	if p := e.portal; p != nil {
		config.Forms = p.Forms
		config.Complain = func(ctx context.Context, client, _ string, answers map[string][]string, language string, confirmed bool) (string, error) {
			t, err := p.File(ctx, forms.Complaint, answers, "", client, language, confirmed)
			if err != nil {
				return "", err
			}
			return t.ID, nil
		}
		if p.Rules.Directory {
			config.Directory = "/apps-directory"
		}
	}
	login, err := c.upstream(ctx, e.accounts, st, read.log, status, log)
	if err != nil {
		return err
	}
	if login != nil {
		config.Upstream = login
	}
	s, err := site.New(config)
	if err != nil {
		return usagef("authorization_server: %s", err)
	}
	e.server.Explain = s.Explain
	pages := s.Handler()
	for _, path := range []string{"/login", "/login/", "/consent", "/apps", "/apps/", "/choose-an-app", "/logout", "/static/"} {
		e.pages[path] = pages
	}
	return nil
}

// upstream makes the login at the identity provider, nil if there is none.
func (c *serveConfig) upstream(ctx context.Context, a *accounts.Accounts, st store.Handle, l *audit.Log, status *serveStatus, log *zap.Logger) (*upstream.Login, error) {
	own := &c.Embedded.Login
	if own.Issuer == "" {
		return nil, nil
	}
	rules, err := readRules(own.Rules)
	if err != nil {
		return nil, err
	}
	note := func(r *audit.Record) {
		if err := l.Append(r); err != nil {
			log.Error("audit", zap.String("error", message(err)))
		}
	}
	config := own.upstreamConfig(c.issuer()+"/login/callback", rules)
	config.Events = upstream.Events{
		Refused: func(code, rule, user string) {
			status.decided("login-refused", code)
			log.Info("refused a login", zap.String("reason", code), zap.String("rule", rule), zap.String("user", user))
			if user != "" { // anybody can send an answer that no login waits for
				note(&audit.Record{Action: "login-refused", User: user, Note: strings.TrimSpace(code + " " + rule)})
			}
		},
		Linked: func(user, patient, role, rule string) {
			note(&audit.Record{Action: "member-link", User: user, Members: []string{patient}, Note: role + " by the rule " + rule})
		},
		Unlinked: func(user, patient string) {
			note(&audit.Record{Action: "member-unlink", User: user, Members: []string{patient}, Note: "no rule finds the member any more"})
		},
		Passed: func(code, rule, user string) {
			log.Info("a rule has found nobody to represent", zap.String("reason", code), zap.String("rule", rule), zap.String("user", user))
		},
		Fetched: func(what string, err error) {
			if err != nil {
				log.Warn("the identity provider does not answer", zap.String("for", what), zap.String("error", message(err)))
			}
		},
	}
	members := &storeMembers{store: st, life: ctx}
	login, err := upstream.New(config, a, members)
	if err != nil {
		return nil, usagef("authorization_server.login: %s", err)
	}
	if slices.ContainsFunc(rules, func(r upstream.Rule) bool { return r.Find.Identifier == "" }) {
		go members.learn(ctx, log)
	}
	return login, nil
}

// memberNamed reads who a member is, as the API shows the Patient.
func memberNamed(ctx context.Context, st store.Handle, patient string) (name, born string, err error) {
	if !api.IsID(patient) {
		return "", "", errors.New("this is no id of a Patient")
	}
	found := false
	l := &api.Local{Store: st}
	err = l.Each(ctx, "Patient?_id="+patient, func(text []byte) error {
		var p struct {
			Name []struct {
				Text   string
				Family string
				Given  []string
			}
			BirthDate string
		}
		if json.Unmarshal(text, &p) != nil {
			return errors.New("a Patient of the store cannot be read")
		}
		found, born = true, p.BirthDate
		if len(p.Name) > 0 {
			if name = p.Name[0].Text; name == "" {
				name = strings.TrimSpace(strings.Join(append(p.Name[0].Given, p.Name[0].Family), " "))
			}
		}
		return nil
	})
	if err == nil && !found {
		err = errors.New("the member is not in the store")
	}
	return name, born, err
}

// readings count what apps have read of members, as the audit has it. It is safe for concurrent use.
type readings struct {
	log *audit.Log

	mu     sync.Mutex
	by     map[readBy]*reading // nil if nobody asks
	ready  bool                // what was read before is counted
	failed error               // why it cannot be
}

// readBy is who reads, by whose leave, of which member.
type readBy struct{ client, user, patient string }

// reading is what an app has read of a member.
type reading struct {
	last   time.Time
	counts map[string]int // resources by type, each time that they are read
}

// readingsMax is how many are remembered, of some 300 bytes each. With more, nothing can be said.
const readingsMax = 500_000

var errReadings = errors.New("what apps have read is not counted: there are too many members and apps")

// newReadings counts what the log in dir has until now, beside what comes; a large log takes a while, until which nothing is
// said. What other servers of the store answer meanwhile is counted at the next start.
func newReadings(ctx context.Context, l *audit.Log, dir string, shown bool, log *zap.Logger) *readings {
	r := &readings{log: l}
	if !shown { // nobody would look
		return r
	}
	r.by = map[readBy]*reading{}
	upTo, _ := l.Head()
	go func() {
		var failed error
		for x, err := range audit.All(dir) {
			if err != nil {
				log.Warn("what apps have read before cannot be counted", zap.String("error", message(err)))
				failed = errors.New("the audit log cannot be read")
				break
			}
			if x.Number > upTo || ctx.Err() != nil {
				break
			}
			r.add(x)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ready, r.failed = true, cmp.Or(r.failed, failed)
	}()
	return r
}

func (r *readings) add(x *audit.Record) {
	if x.Client == "" || x.Operator || x.Status != 200 || len(x.Resources) == 0 {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, x.At)
	if err != nil {
		at = time.Now()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil || r.failed != nil {
		return
	}
	for _, m := range x.Members {
		key := readBy{x.Client, x.User, m}
		g := r.by[key]
		if g == nil {
			if len(r.by) >= readingsMax {
				r.by, r.failed = map[readBy]*reading{}, errReadings
				return
			}
			g = &reading{counts: map[string]int{}}
			r.by[key] = g
		}
		if at.After(g.last) {
			g.last = at
		}
		for _, ref := range x.Resources {
			name, _, _ := strings.Cut(ref, "/")
			g.counts[name]++
		}
	}
}

// of returns what an app has read of a member by somebody's leave.
func (r *readings) of(client, user, patient string) (last time.Time, counts map[string]int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch g := r.by[readBy{client, user, patient}]; {
	case r.failed != nil:
		return last, nil, r.failed
	case !r.ready:
		return last, nil, errors.New("the audit log is still being read")
	case g == nil:
		return last, nil, nil
	default:
		return g.last, maps.Clone(g.counts), nil
	}
}
