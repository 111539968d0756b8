package portal

import (
	"context"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// AuditFilter chooses events. Empty fields choose all.
type AuditFilter struct {
	Application string
	Person      string // who did it, or whom it is about
	Org         string
	App         string
	Action      string
	From, To    time.Time // To is not part of it
	Before      string    // id of an event: only those before it, for the next page
	Limit       int       // 0 is 200
}

// Audit lists events for reviewers, newest first.
func (a *Actor) Audit(ctx context.Context, f *AuditFilter) ([]*Event, error) {
	if err := a.needStaff(Reviewer); err != nil {
		return nil, err
	}
	to := f.To
	if to.IsZero() {
		to = a.Now().AddDate(100, 0, 0)
	}
	before := f.Before
	if before == "" {
		before = "g" // ids are hexadecimal
	}
	events, err := database.List(ctx, a.db, readEvent, eventQuery+` WHERE ($1 = '' OR application = $1) AND ($2 = '' OR actor = $2 OR subject = $2)
		AND ($3 = '' OR org = $3) AND ($4 = '' OR app = $4) AND ($5 = '' OR action = $5) AND at >= $6 AND at < $7 AND id < $8 ORDER BY id DESC LIMIT $9`,
		f.Application, f.Person, f.Org, f.App, f.Action, database.Millis(f.From), database.Millis(to), before, most(f.Limit))
	if err != nil {
		return nil, err
	}
	return events, a.show(ctx, "", events)
}

// Actions lists the actions that events have, in the order of their names.
func (a *Actor) Actions(ctx context.Context) ([]string, error) {
	if err := a.needStaff(Reviewer); err != nil {
		return nil, err
	}
	return database.Column(ctx, a.db, `SELECT DISTINCT action FROM portal_events ORDER BY action`)
}

// Colleagues lists people of the agency who have at least a role and may sign in, by name.
func (a *Actor) Colleagues(ctx context.Context, least StaffRole) ([]*Person, error) {
	if err := a.needStaff(Support); err != nil {
		return nil, err
	}
	list, err := database.List(ctx, a.db, readPerson, personQuery+` WHERE p.staff <> '' AND p.status = $1 ORDER BY p.name, p.id`, registered)
	return slices.DeleteFunc(list, func(p *Person) bool { return !(&Actor{Portal: a.Portal, Person: p}).isStaff(least) }), err
}

// ProofsRequested lists people who wait for a reviewer's word on their identity.
func (a *Actor) ProofsRequested(ctx context.Context) ([]*Person, error) {
	if err := a.needStaff(Reviewer); err != nil {
		return nil, err
	}
	list, err := database.List(ctx, a.db, readPerson, personQuery+` WHERE p.status = $1 AND p.id IN (SELECT subject FROM portal_events WHERE action = $2)
		ORDER BY p.created, p.id`, registered, didAskProof)
	return slices.DeleteFunc(list, func(p *Person) bool { return p.Proof.State != ProofRequested }), err
}

// Standing is an app with whom it belongs to, and where it stands.
type Standing struct {
	*App
	OrgName     string
	Application string          // id of its newest application for production, "" if there is none
	State       lifecycle.State // of that application
}

// AllApps lists apps for staff, newest first; query is part of the name of an app or an organisation, or of an id.
func (a *Actor) AllApps(ctx context.Context, query string, limit int) ([]*Standing, error) {
	if err := a.needStaff(Support); err != nil {
		return nil, err
	}
	apps, err := database.List(ctx, a.db, readApp, appQuery+`ORDER BY created DESC, id`)
	if err != nil {
		return nil, err
	}
	names, err := a.orgNames(ctx)
	if err != nil {
		return nil, err
	}
	type last struct{ id, app, state string }
	newest := map[string]last{}
	list, err := database.List(ctx, a.db, func(row database.Row) (l last, err error) { return l, row.Scan(&l.id, &l.app, &l.state) },
		`SELECT id, app, state FROM portal_applications WHERE app <> '' AND kind = $1 ORDER BY created, id`, string(lifecycle.Production))
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		newest[l.app] = l
	}
	query = strings.ToLower(strings.TrimSpace(query))
	var out []*Standing
	for _, app := range apps {
		s := &Standing{App: app, OrgName: names[app.Org], Application: newest[app.ID].id, State: lifecycle.State(newest[app.ID].state)}
		words := strings.ToLower(strings.Join([]string{app.ID, app.Sandbox, app.Production, app.Settings.Name, s.OrgName}, " "))
		if strings.Contains(words, query) {
			if out = append(out, s); len(out) == most(limit) {
				break
			}
		}
	}
	return out, nil
}

func (p *Portal) orgNames(ctx context.Context) (map[string]string, error) {
	names := map[string]string{}
	list, err := database.List(ctx, p.db, func(row database.Row) (o [2]string, err error) { return o, row.Scan(&o[0], &o[1]) }, `SELECT id, name FROM portal_organisations`)
	for _, o := range list {
		names[o[0]] = o[1]
	}
	return names, err
}

// Lookalike is an app whose name could be taken for another.
type Lookalike struct {
	App, Name, OrgName string
	Same               bool // the names look the same; otherwise nearly so
}

// Lookalikes finds apps of others whose names look like one, letters of other scripts included, and the words in it that
// belong to the government or the agency. app and org are left out: those of the name itself.
func (a *Actor) Lookalikes(ctx context.Context, name, app, org string) (list []Lookalike, reserved []string, err error) {
	if err := a.needStaff(Support); err != nil {
		return nil, nil, err
	}
	apps, err := database.List(ctx, a.db, readApp, appQuery+`ORDER BY created, id`)
	if err != nil {
		return nil, nil, err
	}
	names, err := a.orgNames(ctx)
	if err != nil {
		return nil, nil, err
	}
	skeleton := forms.Confusable(name)
	for _, other := range apps {
		if other.ID == app || other.Org == org && org != "" || skeleton == "" {
			continue
		}
		theirs := []string{other.Settings.Name}
		if other.Approved != nil && other.Approved.Name != other.Settings.Name {
			theirs = append(theirs, other.Approved.Name)
		}
		for _, n := range theirs {
			if s := forms.Confusable(n); near(skeleton, s) {
				list = append(list, Lookalike{App: other.ID, Name: n, OrgName: names[other.Org], Same: s == skeleton})
			}
		}
	}
	return list, forms.Reserved(name, a.Agency), nil
}

// near reports whether two skeletons are the same, or differ by one letter or by what one has more at an end.
func near(a, b string) bool {
	if a == b {
		return true
	}
	x, y := []rune(a), []rune(b)
	if len(x) > len(y) {
		x, y = y, x
	}
	if len(x) < 5 {
		return false
	}
	if strings.HasPrefix(string(y), string(x)) || strings.HasSuffix(string(y), string(x)) {
		return len(y)-len(x) <= len(x)/2
	}
	if len(y)-len(x) > 1 {
		return false
	}
	i := 0
	for i < len(x) && x[i] == y[i] {
		i++
	}
	rest := x[i:]
	if len(x) == len(y) {
		rest = x[i+1:]
	}
	return slices.Equal(rest, y[i+1:])
}

// LetterText is a letter as it stands, with the names of its values in place of them.
type LetterText struct {
	Name, Language string
	Subject, Text  string
	Own            bool // the agency's, in place of the program's
}

// LetterTexts lists all letters in a language for administrators, by name, filled in with examples.
func (a *Actor) LetterTexts(_ context.Context, language string) (list []LetterText, err error) {
	if err := a.needStaff(Administrator); err != nil {
		return nil, err
	}
	for key := range a.letters.own {
		lang, kind, _ := strings.Cut(key, "/")
		if lang != languageOf(language) {
			continue
		}
		l := LetterText{Name: kind, Language: lang, Own: a.letters.agency[key] != nil}
		if l.Subject, l.Text, err = a.letters.write(kind, lang, a.example(kind)); l.Text == "" {
			return nil, err
		}
		list = append(list, l)
	}
	slices.SortFunc(list, func(x, y LetterText) int { return strings.Compare(x.Name, y.Name) })
	return list, nil
}

// example are values for a letter that is looked at before anybody gets it: their names in brackets.
func (p *Portal) example(kind string) map[string]string {
	data := map[string]string{"Agency": p.Agency, "URL": p.URL}
	for _, from := range []map[string]*letter{p.letters.own, p.letters.agency} {
		for _, lang := range letterLanguages {
			if l := from[lang+"/"+kind]; l != nil {
				for _, f := range l.fields {
					if _, ok := data[f]; !ok {
						data[f] = "[" + f + "]"
					}
				}
			}
		}
	}
	return data
}

// NameOf is the name of a person for staff, "" for nobody.
func (a *Actor) NameOf(ctx context.Context, id string) (string, error) {
	if err := a.needStaff(Support); err != nil {
		return "", err
	}
	names, err := database.Column(ctx, a.db, `SELECT name FROM portal_people WHERE id = $1`, id)
	if err != nil || len(names) == 0 {
		return "", err
	}
	return strings.TrimSpace(names[0]), nil
}
