package site

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/site/frame"
)

// connection is a grant as a member reads it.
type connection struct {
	Grant        string
	App          app
	Of           string // whose data
	Shared       []string
	Offline      bool
	Others       bool // somebody who represents the member has allowed it
	Since, Until string
	Used         string
	Read         []string // what the app has read, nil if that is not known
	ReadFails    bool
	None         bool   // it has read nothing
	By           string // who has allowed it
	Agreed       bool   // there is a receipt
	Complain     bool   // the app can be reported
}

// grants are those that the user has given, and those that others have given for the user's own data: it may end
// both. Those without refresh tokens whose access token has ended open nothing any more, and are left out.
func (v *visit) grants() ([]*accounts.Grant, error) {
	ctx := v.R.Context()
	list, err := v.Accounts.Grants(ctx, accounts.GrantFilter{User: v.session.User})
	if err != nil {
		return nil, fmt.Errorf("grants: %w", err)
	}
	links, err := v.Accounts.Links(ctx, v.session.User, "")
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	for _, l := range links {
		if l.Role != "self" {
			continue
		}
		more, err := v.Accounts.Grants(ctx, accounts.GrantFilter{Patient: l.Patient})
		if err != nil {
			return nil, fmt.Errorf("grants: %w", err)
		}
		for _, g := range more {
			if g.User != "" && g.User != v.session.User {
				list = append(list, g)
			}
		}
	}
	now := v.Now()
	list = slices.DeleteFunc(list, func(g *accounts.Grant) bool { return !v.ends(g).Add(codeLife).After(now) })
	slices.SortStableFunc(list, func(a, b *accounts.Grant) int { return b.Created.Compare(a.Created) })
	return list, nil
}

// codeLife is how long an app may take, at most, from the consent to its token: until then it is not sure that a grant
// has ended.
const codeLife = 10 * time.Minute

// ends is when an app can read no longer: without refresh tokens that is as soon as its access token ends.
func (v *visit) ends(g *accounts.Grant) time.Time {
	if at := g.Created.Add(v.Access); !g.Offline && at.Before(g.Expires) {
		return at
	}
	return g.Expires
}

// showApps lists the apps that are connected.
func (v *visit) showApps() error {
	if v.session == nil {
		return v.see("/login")
	}
	list, err := v.grants()
	if err != nil {
		return err
	}
	names := map[string]string{}
	connections := make([]*connection, 0, len(list))
	for _, g := range list {
		c, err := v.connection(g, names)
		if err != nil {
			return err
		}
		connections = append(connections, c)
	}
	p := &page{Title: v.Text("apps.title"), Content: connections}
	if v.R.URL.Query().Has("ended") {
		p.Notice = v.Text("apps.ended")
	}
	return v.show(http.StatusOK, "apps", p)
}

func (v *visit) connection(g *accounts.Grant, names map[string]string) (*connection, error) {
	ctx := v.R.Context()
	client, err := v.Accounts.Client(ctx, g.Client)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		client = &accounts.Client{ID: g.Client}
	case err != nil:
		return nil, fmt.Errorf("client: %w", err)
	}
	name, ok := names[g.Patient]
	if !ok {
		if name, _, err = v.Member(ctx, g.Patient); err != nil { // the app can be ended all the same
			name = v.Text("apps.unknown")
		}
		name = frame.Plain(name, 80)
		names[g.Patient] = name
	}
	c := &connection{Grant: g.ID, App: v.app(client), Of: name, Offline: g.Offline, Others: g.User != v.session.User, Since: v.Date(g.Created), Until: v.Date(v.ends(g)), Used: v.Text("apps.never")}
	c.By, c.Complain = v.Text("apps.by.you"), v.complaint() != nil
	if c.Others {
		c.By = v.Text("apps.others")
	}
	switch _, err := v.Accounts.Receipt(ctx, g.ID); {
	case err == nil:
		c.Agreed = true
	case !errors.Is(err, accounts.ErrNotFound):
		return nil, fmt.Errorf("receipt: %w", err)
	}
	a := read(g.Scopes)
	for _, k := range a.kinds {
		text := v.Text(k.title)
		if part := a.part(k); part != "" {
			text = v.Text("apps.part", text, part)
		}
		c.Shared = append(c.Shared, text)
	}
	if a.identity {
		c.Shared = append(c.Shared, v.Text("apps.identity"))
	}
	used := g.LastUsed
	if v.Site.Read != nil {
		last, counts, err := v.Site.Read(ctx, g.User, g.Client, g.Patient)
		if err != nil {
			c.ReadFails = true
			v.Fault(err)
		} else {
			c.Read = v.readTexts(counts)
			c.None = len(c.Read) == 0
			used = later(used, last)
		}
	}
	if !used.IsZero() {
		c.Used = v.Date(used)
	}
	return c, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// readTexts says how much was read, by kind.
func (v *visit) readTexts(counts map[string]int) (list []string) {
	for _, k := range kinds {
		n := 0
		for _, typ := range k.types {
			n += counts[typ]
		}
		if n > 0 {
			list = append(list, v.Count(k.count, n))
		}
	}
	return list
}

// mine finds a grant that the user may end. Others are as those that do not exist.
func (v *visit) mine(id string) (*accounts.Grant, error) {
	list, err := v.grants()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(g *accounts.Grant) bool { return g.ID == id })
	if i < 0 {
		return nil, nil
	}
	return list[i], nil
}

// showRevoke asks whether an app is to be disconnected.
func (v *visit) showRevoke() error {
	if v.session == nil {
		return v.see("/login")
	}
	g, err := v.mine(v.R.URL.Query().Get("grant"))
	switch {
	case err != nil:
		return err
	case g == nil:
		return errMissing
	}
	c, err := v.connection(g, map[string]string{})
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "revoke", &page{Title: v.Text("revoke.title", c.App.Name), Content: c}, "grant")
}

// revoke ends a grant. One that has ended meanwhile is what the member wanted.
func (v *visit) revoke() error {
	if v.session == nil {
		return v.see("/login")
	}
	if err := v.checkForm(); err != nil {
		return err
	}
	g, err := v.mine(v.R.PostForm.Get("grant"))
	if err != nil {
		return err
	}
	if g == nil {
		return v.see("/apps")
	}
	if err := v.Accounts.RevokeGrant(v.R.Context(), g.ID); err != nil && !errors.Is(err, accounts.ErrNotFound) {
		return fmt.Errorf("grant: %w", err)
	}
	if v.Events.Revoked != nil {
		v.Events.Revoked(v.session.User, g.Client, g.Patient, g.ID)
	}
	return v.see("/apps", "ended", "1")
}
