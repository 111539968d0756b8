package portal

import (
	"context"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Events of apps.
const (
	didAddApp     = "app_added"
	didUpdateApp  = "app_changed"
	didSetLogo    = "logo_changed"
	didMakeClient = "client_made"
	didMakeSecret = "secret_made"
	didEndSecret  = "secret_ended"
	didLeakSecret = "secret_leaked"
	didSetKeys    = "keys_changed"
)

// appsMost is the most apps of an organisation.
const appsMost = 100

// AddApp registers an app. Its organisation's access to the sandbox must be approved: *NeedError SandboxAccess.
// It fails with *InputError: redirect URIs are exact, with https, without fragment, user or wildcard; http and own schemes on
// loopback and native apps only. A name that looks like another app's or like the agency's is refused. Public keys come
// by SetKeys, with a proof.
func (a *Actor) AddApp(ctx context.Context, org string, s *Settings) (*App, error) {
	if err := a.mayAct(org, Owner, Developer); err != nil {
		return nil, err
	}
	if err := a.checkNew(ctx, s, ""); err != nil {
		return nil, err
	}
	var app *App
	err := a.tx(ctx, func(ctx context.Context, tx *step) (err error) {
		app, err = a.addApp(ctx, tx, org, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return app, nil
}

// checkNew checks what somebody wants the sandbox client to be. keys are those that it has.
func (a *Actor) checkNew(ctx context.Context, s *Settings, keys string) error {
	if s.JWKS != keys {
		return &InputError{"jwks", "proof"}
	}
	if err := a.checkSettings(s, InSandbox); err != nil {
		return err
	}
	return a.foreignName(ctx, s.Name)
}

// addApp keeps a new app in the transaction of what it is about.
func (a *Actor) addApp(ctx context.Context, tx *step, org string, s *Settings) (*App, error) {
	open, err := a.opened(ctx, tx, org)
	if err != nil {
		return nil, err
	}
	if !open {
		return nil, &NeedError{Need: lifecycle.SandboxAccess}
	}
	apps, err := a.appsOf(ctx, tx, org)
	if err != nil {
		return nil, err
	}
	if len(apps) >= appsMost {
		return nil, &InputError{"app", "many"}
	}
	return a.insertApp(ctx, tx, org, s)
}

// insertApp keeps a new app, however many there are.
func (a *Actor) insertApp(ctx context.Context, tx *step, org string, s *Settings) (*App, error) {
	app := &App{ID: database.Random()[:20], Org: org, Version: 1, Settings: *s.clone(), Created: a.Now().UTC()}
	app.Settings.Logo = ""
	if err := a.takeName(ctx, tx, app, s.Name); err != nil {
		return nil, err
	}
	about, err := database.Encode(app)
	if err != nil {
		return nil, err
	}
	if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_apps (id, org, version, sandbox, production, logo, about, created, retired)
		VALUES ($1, $2, 1, '', '', '', $3, $4, 0)`, app.ID, org, about, database.Millis(app.Created)); err != nil {
		return nil, err
	}
	return app, a.keep(ctx, tx, &Event{Actor: a.id(), Action: didAddApp, Org: org, App: app.ID})
}

// seeApp finds an app that the actor may see.
func (a *Actor) seeApp(ctx context.Context, q database.Queryer, id string) (*App, error) {
	app, err := a.app(ctx, q, id)
	if err != nil {
		return nil, err
	}
	if err := a.maySee(app.Org); err != nil {
		return nil, err
	}
	return app, nil
}

// UpdateApp changes the sandbox client's settings; production stays as it was approved, but for About and Platforms,
// which need no review.
func (a *Actor) UpdateApp(ctx context.Context, id string, version int, s *Settings) (*App, error) {
	app, err := a.seeApp(ctx, a.db, id)
	if err != nil {
		return nil, err
	}
	if err := a.mayAct(app.Org, Owner, Developer); err != nil {
		return nil, err
	}
	keys := app.Settings.JWKS
	if s.Auth != "private_key_jwt" || s.JWKSURI != "" {
		keys = "" // it gives them up
	}
	if err := a.checkNew(ctx, s, keys); err != nil {
		return nil, err
	}
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		if app, err = a.app(ctx, tx, id); err != nil {
			return err
		}
		if app.Version != version {
			return ErrStale
		}
		app.Settings = *s.clone()
		app.Settings.Logo = ""
		if err := a.takeName(ctx, tx, app, s.Name); err != nil {
			return err
		}
		live := app.Approved != nil && app.Approved.unreviewed(s)
		if err := a.saveApp(ctx, tx, app); err != nil {
			return err
		}
		if err := a.releaseNames(ctx, tx, app.Org); err != nil {
			return err
		}
		open, err := a.opened(ctx, tx, app.Org)
		if err != nil {
			return err
		}
		if err := a.putSandbox(ctx, tx, app, open); err != nil {
			return err
		}
		if live {
			if err := a.refreshProduction(ctx, tx, app); err != nil {
				return err
			}
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didUpdateApp, Org: app.Org, App: app.ID})
	})
	if err != nil {
		return nil, err
	}
	a.settle(ctx)
	return app, nil
}

// Apps lists those of an organisation.
func (a *Actor) Apps(ctx context.Context, org string) ([]*App, error) {
	if err := a.maySee(org); err != nil {
		return nil, err
	}
	return a.appsOf(ctx, a.db, org)
}

// App finds one.
func (a *Actor) App(ctx context.Context, id string) (*App, error) { return a.seeApp(ctx, a.db, id) }
