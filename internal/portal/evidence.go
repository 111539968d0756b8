package portal

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// Routes by which the log of requests names what is not a resource of the API. A read is "GET /Patient/{id}", a search
// "GET /Patient" or "POST /Patient/_search", and a page after the first of one has the suffix PageRoute.
const (
	CodeRoute    = "token authorization_code"
	RefreshRoute = "token refresh_token"
	ServiceRoute = "token client_credentials"
	RevokeRoute  = "revoke"
	PageRoute    = " page"
)

// looked is how many requests are looked at for evidence.
const looked = 5000

// seen finds in requests, the oldest first, which interactions they show. Only what succeeded shows anything; who was
// refused has shown that they can bear it when they succeed later.
func seen(requests []accounts.ClientRequest) map[string]*Shown {
	out := map[string]*Shown{}
	show := func(what string, at time.Time) {
		s := out[what]
		if s == nil {
			s = &Shown{Interaction: what}
			out[what] = s
		}
		s.Count++
		s.At = at
	}
	var denied, limited, unauthorized, renewed bool
	for i := range requests {
		r := &requests[i]
		good := r.Status >= 200 && r.Status < 300
		switch r.Status {
		case http.StatusForbidden:
			denied = true
		case http.StatusTooManyRequests:
			limited = true
		case http.StatusUnauthorized:
			if api(r.Route) {
				unauthorized, renewed = true, false
			}
		}
		if !good {
			continue
		}
		if limited {
			show("limited", r.At)
			limited = false
		}
		switch {
		case r.Route == CodeRoute || r.Route == ServiceRoute:
			show("authorize", r.At)
			renewed = true
		case r.Route == RefreshRoute:
			show("refresh", r.At)
			renewed = true
		case r.Route == RevokeRoute:
			show("revoke", r.At)
		case api(r.Route):
			if denied {
				show("denied", r.At)
				denied = false
			}
			if unauthorized && renewed {
				show("unauthorized", r.At)
				unauthorized = false
			}
			show(kindOf(r.Route), r.At)
		}
	}
	delete(out, "")
	return out
}

// api reports whether a route is one of resources.
func api(route string) bool {
	_, path, ok := strings.Cut(route, " /")
	return ok && path != "" && path[0] >= 'A' && path[0] <= 'Z'
}

// kindOf is the interaction of a route of resources, "" if it counts for none.
func kindOf(route string) string {
	method, path, _ := strings.Cut(route, " /")
	switch {
	case strings.HasSuffix(path, PageRoute):
		return "paging"
	case method == http.MethodPost && strings.HasSuffix(path, "/_search"), method == http.MethodGet && !strings.Contains(path, "/"):
		return "search"
	case method == http.MethodGet && strings.HasSuffix(path, "/{id}"):
		return "read"
	}
	return ""
}

// evidence says what an app has shown in the sandbox, in the order of Interactions, and what the rules still miss. What
// was seen once counts although the log forgets.
func (p *Portal) evidence(ctx context.Context, app *App) (shown []Shown, missing []string, err error) {
	all, err := p.keptEvidence(ctx, app.ID)
	if err != nil {
		return nil, nil, err
	}
	if app.Sandbox != "" {
		list, err := p.requests(ctx, app.Sandbox)
		if err != nil {
			return nil, nil, err
		}
		for what, s := range seen(list) {
			if k := all[what]; k == nil || k.At.Before(s.At) || k.Count < s.Count {
				if k != nil {
					s.Count = max(s.Count, k.Count)
				}
				all[what] = s
			}
		}
	}
	for _, what := range Interactions {
		if s := all[what]; s != nil {
			shown = append(shown, *s)
		}
	}
	for _, what := range p.Rules.Evidence {
		if all[what] == nil {
			missing = append(missing, what)
		}
	}
	return shown, missing, nil
}

// requests reads the log of a client of the sandbox, the oldest first.
func (p *Portal) requests(ctx context.Context, client string) ([]accounts.ClientRequest, error) {
	var all []accounts.ClientRequest
	for before := (time.Time{}); len(all) < looked; {
		list, err := p.sandboxAccounts().Requests(ctx, client, before, 1000)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
		if len(list) < 1000 {
			break
		}
		before = list[len(list)-1].At
	}
	slices.Reverse(all)
	return all, nil
}

// keptEvidence is what was seen of an app before.
func (p *Portal) keptEvidence(ctx context.Context, app string) (map[string]*Shown, error) {
	list, err := database.List(ctx, p.db, func(row database.Row) (*Shown, error) {
		s := &Shown{}
		var at int64
		if err := row.Scan(&s.Interaction, &at, &s.Count); err != nil {
			return nil, err
		}
		s.At = database.Instant(at)
		return s, nil
	}, `SELECT interaction, at, times FROM portal_evidence WHERE app = $1`, app)
	if err != nil {
		return nil, err
	}
	all := make(map[string]*Shown, len(list))
	for _, s := range list {
		all[s.Interaction] = s
	}
	return all, nil
}

// Evidence says what an app has shown in the sandbox, and what the agency's rules still miss.
func (a *Actor) Evidence(ctx context.Context, app string) (shown []Shown, missing []string, err error) {
	x, err := a.seeApp(ctx, a.db, app)
	if err != nil {
		return nil, nil, err
	}
	return a.evidence(ctx, x)
}

// keepEvidence keeps what apps have shown, before the log forgets it.
func (p *Portal) keepEvidence(ctx context.Context) (int, error) {
	day := p.Now().UTC().Format(time.DateOnly)
	done, err := p.once(ctx, "evidence "+day)
	if err != nil || !done {
		return 0, err
	}
	apps, err := database.List(ctx, p.db, readApp, appQuery+`WHERE sandbox <> '' AND retired = 0 ORDER BY id`)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, app := range apps {
		shown, _, err := p.evidence(ctx, app)
		if err != nil {
			return n, err
		}
		err = p.tx(ctx, func(ctx context.Context, tx *step) error {
			for _, s := range shown {
				if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_evidence (app, interaction, at, times) VALUES ($1, $2, $3, $4)
					ON CONFLICT (app, interaction) DO UPDATE SET at = excluded.at, times = excluded.times`,
					app.ID, s.Interaction, database.Millis(s.At), s.Count); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
