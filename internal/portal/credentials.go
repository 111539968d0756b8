package portal

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/smart/clientrules"
)

// Limits of secrets.
const (
	secretsMost = 2
	overlapMost = 168 * time.Hour
)

// place is a client of an app, and where it is.
type place struct {
	app    *App
	where  Where
	in     *accounts.Accounts
	client string // "" if there is none yet
}

// inPlace finds the client of an app that the actor may see.
func (a *Actor) inPlace(ctx context.Context, id string, where Where) (*place, error) {
	app, err := a.seeApp(ctx, a.db, id)
	if err != nil {
		return nil, err
	}
	switch where {
	case InSandbox:
		return &place{app, where, a.sandboxAccounts(), app.Sandbox}, nil
	case InProduction:
		return &place{app, where, a.production(), app.Production}, nil
	}
	return nil, &InputError{"where", "where"}
}

// mayHandle fails unless the actor may change what opens a client: owners in production, developers too in the sandbox.
func (a *Actor) mayHandle(c *place, fresh bool) error {
	roles := []OrgRole{Owner}
	if c.where == InSandbox {
		roles = append(roles, Developer)
	}
	if err := a.mayAct(c.app.Org, roles...); err != nil {
		return err
	}
	if fresh {
		return a.needFresh()
	}
	return nil
}

// Issue makes the sandbox client of an app, or returns it, with a first secret if it has none. Production credentials come
// by the move lifecycle.Issue, and this shows them: an owner with a fresh session, else ErrFresh.
func (a *Actor) Issue(ctx context.Context, app string, where Where) (*Credential, error) {
	c, err := a.inPlace(ctx, app, where)
	if err != nil {
		return nil, err
	}
	if err := a.mayHandle(c, where == InProduction); err != nil {
		return nil, err
	}
	if where == InSandbox {
		if err := a.makeSandbox(ctx, c); err != nil {
			return nil, err
		}
	}
	if c.client == "" {
		return nil, accounts.ErrNotFound
	}
	out, err := a.credential(ctx, c)
	if err != nil || !c.hasSecrets() || len(out.Secrets) > 0 {
		return out, err
	}
	return a.addSecret(ctx, c, time.Time{}, 1)
}

// hasSecrets reports whether the client is opened by secrets.
func (c *place) hasSecrets() bool {
	if c.where == InProduction {
		return c.app.Approved != nil && c.app.Approved.Auth == "client_secret"
	}
	return c.app.Settings.Auth == "client_secret"
}

// makeSandbox gives an app its sandbox client, if it has none, and sees to it that the client is there.
func (a *Actor) makeSandbox(ctx context.Context, c *place) error {
	open, err := a.opened(ctx, a.db, c.app.Org)
	if err != nil {
		return err
	}
	if !open {
		return &NeedError{Need: lifecycle.SandboxAccess}
	}
	if c.client != "" {
		if _, err := c.in.Client(ctx, c.client); err == nil || !errors.Is(err, accounts.ErrNotFound) || !c.app.Settings.ready() {
			return ignoreNotFound(err)
		}
	}
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		app, err := a.app(ctx, tx, c.app.ID)
		if err != nil {
			return err
		}
		made := app.Sandbox == ""
		if made {
			app.Sandbox = newClientID(InSandbox)
			if err := a.saveApp(ctx, tx, app); err != nil {
				return err
			}
		}
		if err := a.putSandbox(ctx, tx, app, true); err != nil {
			return err
		}
		c.app, c.client = app, app.Sandbox
		if !made {
			return nil
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didMakeClient, Org: app.Org, App: app.ID})
	})
	if err != nil || !a.apart() {
		return err
	}
	_, err = a.carryOut(context.WithoutCancel(ctx), c.app.ID)
	return err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, accounts.ErrNotFound) {
		return nil
	}
	return err
}

// CredentialsOf shows client id and secrets without the secrets themselves.
func (a *Actor) CredentialsOf(ctx context.Context, app string, where Where) (*Credential, error) {
	c, err := a.inPlace(ctx, app, where)
	if err != nil {
		return nil, err
	}
	if c.client == "" {
		return nil, accounts.ErrNotFound
	}
	return a.credential(ctx, c)
}

func (a *Actor) credential(ctx context.Context, c *place) (*Credential, error) {
	secrets, err := c.in.Secrets(ctx, c.client)
	if err != nil {
		return nil, err
	}
	return &Credential{Client: c.client, Secrets: secrets}, nil
}

// addSecret makes a secret; the ones that there are end at until at the latest. The event is kept in the transaction of the
// secret, or before it if the sandbox has a database of its own: rather an event too many than a secret that nobody knows
// who made.
func (a *Actor) addSecret(ctx context.Context, c *place, until time.Time, most int) (*Credential, error) {
	secret := newSecret(c.where)
	event := func() *Event {
		return &Event{Actor: a.id(), Action: didMakeSecret, Org: c.app.Org, App: c.app.ID, Reason: string(c.where)}
	}
	err := a.inDatabaseOf(ctx, c, event, func(ctx context.Context, tx *sql.Tx) error {
		_, err := c.in.AddSecretIn(ctx, tx, c.client, secret, until, most)
		return err
	})
	if err != nil {
		return nil, err
	}
	out, err := a.credential(ctx, c)
	if err != nil { // the secret is made, and this is the only time that anybody sees it
		a.fault("list secrets", err)
		out = &Credential{Client: c.client}
	}
	out.Secret = secret
	return out, nil
}

// inDatabaseOf changes something of a client, and keeps an event of it.
func (a *Actor) inDatabaseOf(ctx context.Context, c *place, event func() *Event, f func(context.Context, *sql.Tx) error) error {
	if a.within(c.in) {
		return a.tx(ctx, func(ctx context.Context, tx *step) error {
			if err := f(ctx, tx.Tx); err != nil {
				return err
			}
			return a.keep(ctx, tx, event())
		})
	}
	if err := a.tx(ctx, func(ctx context.Context, tx *step) error { return a.keep(ctx, tx, event()) }); err != nil {
		return err
	}
	return c.in.Database().Tx(ctx, f)
}

// Rotate makes another secret; the ones before end after overlap, at most 168 hours. At most two are live:
// accounts.ErrExists. It needs a fresh session, in production an owner's.
func (a *Actor) Rotate(ctx context.Context, app string, where Where, overlap time.Duration) (*Credential, error) {
	c, err := a.inPlace(ctx, app, where)
	if err != nil {
		return nil, err
	}
	if err := a.mayHandle(c, true); err != nil {
		return nil, err
	}
	switch {
	case c.client == "":
		return nil, accounts.ErrNotFound
	case !c.hasSecrets():
		return nil, &InputError{"auth", "no_secrets"}
	case overlap < 0 || overlap > overlapMost:
		return nil, &InputError{"overlap", "overlap"}
	}
	return a.addSecret(ctx, c, a.Now().Add(overlap), secretsMost)
}

// EndSecret ends one at once; the last one only with leaked, which makes no new one.
func (a *Actor) EndSecret(ctx context.Context, app string, where Where, secret string, leaked bool) error {
	c, err := a.inPlace(ctx, app, where)
	if err != nil {
		return err
	}
	if err := a.mayHandle(c, true); err != nil {
		return err
	}
	if c.client == "" {
		return accounts.ErrNotFound
	}
	action := didEndSecret
	if leaked {
		action = didLeakSecret
	}
	event := func() *Event {
		return &Event{Actor: a.id(), Action: action, Org: c.app.Org, App: c.app.ID, Reason: string(c.where)}
	}
	return a.inDatabaseOf(ctx, c, event, func(ctx context.Context, tx *sql.Tx) error {
		return c.in.EndSecretIn(ctx, tx, c.client, secret, !leaked)
	})
}

// SetKeys replaces the public keys of the sandbox client; proof is a JWT that one of the new keys has signed, whose sub is
// the client id and aud the issuer (proof of possession). Keys that another client has are refused. A client has its id by
// Issue first.
func (a *Actor) SetKeys(ctx context.Context, app, jwks, proof string) error {
	c, err := a.inPlace(ctx, app, InSandbox)
	if err != nil {
		return err
	}
	if err := a.mayHandle(c, true); err != nil {
		return err
	}
	switch {
	case c.app.Settings.Auth != "private_key_jwt":
		return &InputError{"jwks", "no_keys"}
	case c.client == "":
		return accounts.ErrNotFound
	case clientrules.CheckJWKS(jwks) != nil:
		return &InputError{"jwks", "keys"}
	case clientrules.Proves(jwks, proof, c.client, a.Sandbox.Issuer, a.Now()) != nil:
		return &InputError{"proof", "proof"}
	}
	if err := a.foreignKeys(ctx, app, jwks); err != nil {
		return err
	}
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		x, err := a.app(ctx, tx, app)
		if err != nil {
			return err
		}
		if err := a.takeKeys(ctx, tx, app, jwks); err != nil {
			return err
		}
		x.Settings.JWKS, x.Settings.JWKSURI = jwks, ""
		if err := a.saveApp(ctx, tx, x); err != nil {
			return err
		}
		open, err := a.opened(ctx, tx, x.Org)
		if err != nil {
			return err
		}
		if err := a.putSandbox(ctx, tx, x, open); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didSetKeys, Org: x.Org, App: app})
	})
	if err == nil {
		a.settle(ctx)
	}
	return err
}

// Requests lists what an app has asked for, newest first: method, route, status, time, cause; no value.
func (a *Actor) Requests(ctx context.Context, app string, where Where, before time.Time, limit int) ([]accounts.ClientRequest, error) {
	c, err := a.inPlace(ctx, app, where)
	if err != nil || c.client == "" {
		return nil, err
	}
	return c.in.Requests(ctx, c.client, before, most(limit))
}
