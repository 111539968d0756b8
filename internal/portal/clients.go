package portal

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Prefixes of ids and secrets. They tell people which is which, and programs that look for secrets in sources what they
// have found.
const (
	sandboxID        = "test-"
	productionID     = "live-"
	sandboxSecret    = "cfh_test_"
	productionSecret = "cfh_live_"
)

func newClientID(where Where) string {
	prefix := sandboxID
	if where == InProduction {
		prefix = productionID
	}
	return prefix + database.Random()[:20]
}

func newSecret(where Where) string {
	if where == InProduction {
		return productionSecret + database.NewSecret()
	}
	return sandboxSecret + database.NewSecret()
}

// publisher is what members read of an organisation.
type publisher struct {
	name     string
	domain   string // proofed, or ""
	contacts []string
}

// publisher finds that of an organisation.
func (p *Portal) publisher(ctx context.Context, q database.Queryer, org string) (*publisher, error) {
	o, err := first(database.List(ctx, q, readOrganisation, orgQuery+` WHERE o.id = $1`, org))
	if err != nil {
		return nil, err
	}
	pub := &publisher{name: o.Name}
	if !o.Domain.Proofed.IsZero() {
		pub.domain = o.Domain.Name
	}
	for _, c := range o.Contacts {
		if (c.Kind == "primary" || c.Kind == "security" || c.Kind == "incident") && c.Email != "" && !slices.Contains(pub.contacts, c.Email) {
			pub.contacts = append(pub.contacts, c.Email)
		}
	}
	return pub, nil
}

// client is what settings make of an app.
func (p *Portal) client(app *App, s *Settings, where Where) *accounts.Client {
	c := &accounts.Client{
		ID: app.Sandbox, Name: s.Name, Auth: s.Auth, Native: s.Kind == "native", RedirectURIs: slices.Clone(s.RedirectURIs),
		JWKS: s.JWKS, JWKSURI: s.JWKSURI, Utah: s.Utah, Homepage: s.Homepage, Policy: s.Policy, Terms: s.Terms, Support: s.Support,
		Owner: app.Org, App: app.ID, Environment: "sandbox",
	}
	if where == InProduction {
		c.ID, c.Environment = app.Production, ""
	}
	if s.Logo != "" {
		c.Logo = p.link(pageLogo + s.Logo)
	}
	for lang, text := range s.About {
		if text != "" {
			if c.About == nil {
				c.About = map[string]string{}
			}
			c.About[lang] = text
		}
	}
	switch {
	case s.Kind == "service":
		c.Grants = []string{"client_credentials"}
	case s.Offline:
		c.Grants = []string{"authorization_code", "refresh_token"}
	default:
		c.Grants = []string{"authorization_code"}
	}
	for _, x := range s.Scopes {
		if x.Scope != offline && !slices.Contains(c.Scopes, x.Scope) {
			c.Scopes = append(c.Scopes, x.Scope)
		}
	}
	if s.Offline && s.Kind != "service" {
		c.Scopes = append(c.Scopes, offline)
	}
	return c
}

const offline = "offline_access"

// ready reports whether settings have all that a client needs: one with keys has none before its developers have shown
// that the keys are theirs.
func (s *Settings) ready() bool {
	return s.Auth != "private_key_jwt" || s.JWKS != "" || s.JWKSURI != ""
}

// putProduction makes the production client what was approved and attested, in the transaction of the move. With status ""
// it keeps the one that it has, which may be the operator's word; a client that is not there works if the application says so.
func (p *Portal) putProduction(ctx context.Context, tx *step, app *App, r *Application, status accounts.Status) error {
	if app.Approved == nil || app.Production == "" {
		return nil
	}
	c, err := p.productionClient(ctx, tx, app, r)
	if err != nil {
		return err
	}
	if c.Status = status; status == "" {
		is, err := p.production().ClientIn(ctx, tx.Tx, app.Production)
		switch {
		case err == nil:
			c.Status = is.Status
		case !errors.Is(err, accounts.ErrNotFound):
			return err
		case lifecycle.Usable(r.State):
			c.Status = accounts.Active
		default:
			c.Status = accounts.Disabled
		}
	}
	return put(ctx, tx.Tx, p.production(), c)
}

// refreshProduction makes the production client of an app what it should be, if it has one, and leaves its status.
func (p *Portal) refreshProduction(ctx context.Context, tx *step, app *App) error {
	list, err := database.List(ctx, tx, readApplication, applicationQuery+`WHERE a.app = $1 AND a.kind = $2 ORDER BY a.created DESC, a.id`,
		app.ID, string(lifecycle.Production))
	if err != nil {
		return err
	}
	for _, r := range list {
		if lifecycle.Usable(r.State) || r.State == lifecycle.Suspended {
			return p.putProduction(ctx, tx, app, &r.Application, "")
		}
	}
	return nil
}

// refreshClients makes both clients of an app what they should be: after its publisher has changed, or where they are gone.
func (p *Portal) refreshClients(ctx context.Context, tx *step, app *App) error {
	open, err := p.opened(ctx, tx, app.Org)
	if err != nil {
		return err
	}
	if err := p.putSandbox(ctx, tx, app, open); err != nil {
		return err
	}
	return p.refreshProduction(ctx, tx, app)
}

// refreshPublisher tells the clients of an organisation what members read of it now, such as a domain that is proofed, or is
// not any more.
func (p *Portal) refreshPublisher(ctx context.Context, tx *step, org string) error {
	apps, err := p.appsOf(ctx, tx, org)
	if err != nil {
		return err
	}
	for _, app := range apps {
		if err := p.refreshClients(ctx, tx, app); err != nil {
			return err
		}
	}
	return nil
}

// productionClient is the production client of an app as it should be: what was approved, and what was attested about it.
func (p *Portal) productionClient(ctx context.Context, q database.Queryer, app *App, r *Application) (*accounts.Client, error) {
	c := p.client(app, app.Approved, InProduction)
	pub, err := p.publisher(ctx, q, app.Org)
	if err != nil {
		return nil, err
	}
	c.Publisher, c.Domain, c.Contacts, c.Listed = pub.name, pub.domain, pub.contacts, p.Rules.Directory
	approved, err := p.revision(ctx, q, r.ID, r.Approved)
	if errors.Is(err, accounts.ErrNotFound) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if form := p.Forms.Form(forms.Production); !r.Attested.IsZero() && form != nil {
		c.Attested, c.Privacy = r.Attested, form.Disclosures(approved.Answers)
	}
	return c, nil
}

// put makes a client what it should be, whether it is there or not.
func put(ctx context.Context, tx *sql.Tx, in *accounts.Accounts, c *accounts.Client) error {
	err := in.UpdateClientIn(ctx, tx, c)
	if errors.Is(err, accounts.ErrNotFound) {
		err = in.AddClientIn(ctx, tx, c)
	}
	return err
}

// sandboxClient is the sandbox client of an app as it should be.
func (p *Portal) sandboxClient(ctx context.Context, q database.Queryer, app *App, open bool) (*accounts.Client, error) {
	c := p.client(app, &app.Settings, InSandbox)
	if app.Logo != "" {
		c.Logo = p.link(pageLogo + app.Logo)
	}
	pub, err := p.publisher(ctx, q, app.Org)
	if err != nil {
		return nil, err
	}
	c.Publisher, c.Domain, c.Contacts = pub.name, pub.domain, pub.contacts
	c.Status = accounts.Disabled
	if open {
		c.Status = accounts.Active
	}
	return c, nil
}

// apart reports whether the sandbox has a database of its own, which no transaction of the portal reaches.
func (p *Portal) apart() bool { return !p.within(p.sandboxAccounts()) }

// within reports whether accounts are in the database of the portal, so that one transaction changes both.
func (p *Portal) within(in *accounts.Accounts) bool { return in.Database() == p.Accounts.Database() }

// sandboxAccounts is where the clients of the sandbox are.
func (p *Portal) sandboxAccounts() *accounts.Accounts {
	if p.Sandbox.Accounts != nil {
		return p.Sandbox.Accounts
	}
	return p.Accounts
}

// putSandbox makes the sandbox client of an app what it should be: in the transaction, or right after it if the sandbox has a
// database of its own. Then it is noted in the transaction that it must be done, so that it is done whatever happens.
func (p *Portal) putSandbox(ctx context.Context, tx *step, app *App, open bool) error {
	if app.Sandbox == "" || !app.Settings.ready() {
		return nil
	}
	if p.apart() {
		_, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_pending (app, mark, tries, next) VALUES ($1, $2, 0, 0)
			ON CONFLICT (app) DO UPDATE SET mark = excluded.mark, tries = 0, next = 0`, app.ID, database.Random())
		return err
	}
	c, err := p.sandboxClient(ctx, tx, app, open)
	if err != nil {
		return err
	}
	return put(ctx, tx.Tx, p.sandboxAccounts(), c)
}

// settle carries out what putSandbox has noted. What fails is tried again by Tick.
func (p *Portal) settle(ctx context.Context) {
	if !p.apart() {
		return
	}
	if _, err := p.carryOut(context.WithoutCancel(ctx), ""); err != nil {
		p.fault("clients of the sandbox", err)
	}
}

// pending is an app whose sandbox client must be made what it should be.
type pending struct {
	app, mark string
	tries     int
}

// carryOut makes the sandbox clients of apps what they should be: those that are due, or that of one app.
func (p *Portal) carryOut(ctx context.Context, app string) (int, error) {
	now := p.Now()
	list, err := database.List(ctx, p.db, func(row database.Row) (w pending, err error) { return w, row.Scan(&w.app, &w.mark, &w.tries) },
		`SELECT app, mark, tries FROM portal_pending WHERE next <= $1 AND ($2 = '' OR app = $2) ORDER BY next, app LIMIT 200`, database.Millis(now), app)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, w := range list {
		if err := p.carryOutOne(ctx, w); err != nil {
			errs = append(errs, err)
			pause := min(time.Second<<min(w.tries, 10), 10*time.Minute)
			if _, err := p.db.Change(ctx, `UPDATE portal_pending SET tries = tries + 1, next = $1 WHERE app = $2 AND mark = $3`,
				database.Millis(now.Add(pause)), w.app, w.mark); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return len(list) - len(errs), errors.Join(errs...)
}

// carryOutOne reads what a client should be, makes it so, and forgets that it had to. If somebody has noted it anew
// meanwhile, what was read may be older than what they have made: then it is noted once more, so that the last word is that
// of the portal's database.
func (p *Portal) carryOutOne(ctx context.Context, w pending) error {
	app, err := p.app(ctx, p.db, w.app)
	if err != nil {
		return err
	}
	open, err := p.opened(ctx, p.db, app.Org)
	if err != nil {
		return err
	}
	c, err := p.sandboxClient(ctx, p.db, app, open)
	if err != nil {
		return err
	}
	box := p.Sandbox.Accounts
	if err := box.Database().Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return put(ctx, tx, box, c) }); err != nil {
		return err
	}
	n, err := p.db.Change(ctx, `DELETE FROM portal_pending WHERE app = $1 AND mark = $2`, w.app, w.mark)
	if err != nil || n == 1 {
		return err
	}
	_, err = p.db.Change(ctx, `INSERT INTO portal_pending (app, mark, tries, next) VALUES ($1, $2, 0, 0)
		ON CONFLICT (app) DO UPDATE SET mark = excluded.mark, tries = 0, next = 0`, w.app, database.Random())
	return err
}

// loopbackHost reports whether a host is this machine's own.
func loopbackHost(host string) bool {
	host = strings.Trim(host, "[]")
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasPrefix(host, "127.") || host == "::1"
}
