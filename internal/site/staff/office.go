package staff

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// mailRow is a mail that waits.
type mailRow struct {
	Kind, To, Created, Next string
	Tries                   int
	State                   frame.State
	Text                    string // only if mail is off: nobody else reads what mails say
}

func (s *Site) mail(v *desk.Visit) error {
	list, err := v.Actor.Outbox(v.Context(), listMost)
	if err != nil {
		return err
	}
	c := struct {
		Off   bool
		Count string
		List  []mailRow
	}{Off: s.Portal.Mail == nil, Count: v.Count("mail.count", len(list))}
	for _, m := range list {
		r := mailRow{Kind: m.Kind, To: m.To, Created: v.DateTime(m.Created), Tries: m.Tries, State: frame.State{Kind: "wait", Text: v.Text("mail.waits")}}
		switch {
		case m.Failed:
			r.State = frame.State{Kind: "bad", Text: v.Text("mail.failed")}
		case c.Off:
			r.State, r.Text = frame.State{Kind: "idle", Text: v.Text("mail.off")}, m.Text
		case !m.Next.IsZero():
			r.Next = v.DateTime(m.Next)
		}
		c.List = append(c.List, r)
	}
	return s.render(v, http.StatusOK, "mail", s.page(v, v.Text("mail.title"), c))
}

func (s *Site) letters(v *desk.Visit) error {
	lang := v.R.URL.Query().Get("in")
	if !slices.Contains(frame.Languages(), lang) {
		lang = v.Lang
	}
	list, err := v.Actor.LetterTexts(v.Context(), lang)
	if err != nil {
		return err
	}
	c := struct {
		Tabs     []frame.Link
		Language string
		List     []portal.LetterText
	}{Language: lang, List: list}
	for _, l := range frame.Languages() {
		c.Tabs = append(c.Tabs, frame.Link{Text: v.Text("letters.in." + l), URL: letterPath + "?in=" + l, Current: l == lang})
	}
	return s.render(v, http.StatusOK, "letters", s.page(v, v.Text("letters.title"), c))
}

// eventRow is a step, in the list of all.
type eventRow struct {
	At, What, Who, Reason, Criterion, Note string
	State                                  *frame.State
	Links                                  []frame.Link
}

const auditPage = 100

// audit lists what has happened, by application, person, organisation, app, action and day.
func (s *Site) audit(v *desk.Visit) error {
	q := v.R.URL.Query()
	text := func(name string) string {
		if t := frame.Plain(q.Get(name), 80); t == q.Get(name) {
			return t
		}
		return ""
	}
	f := &portal.AuditFilter{Application: text("application"), Person: text("person"), Org: text("org"), App: text("app"), Action: text("action"), Before: text("before"), Limit: auditPage + 1}
	day := func(name string) time.Time {
		t, err := time.ParseInLocation(time.DateOnly, q.Get(name), s.desk.Zone)
		if err != nil {
			return time.Time{}
		}
		return t
	}
	f.From = day("from")
	if to := day("to"); !to.IsZero() {
		f.To = to.AddDate(0, 0, 1) // the whole day
	}
	events, err := v.Actor.Audit(v.Context(), f)
	if err != nil {
		return err
	}
	c := struct {
		Filter *desk.Form
		List   []eventRow
		More   pager
	}{}
	if len(events) > auditPage {
		events = events[:auditPage]
		next := url.Values{}
		for _, name := range []string{"application", "person", "org", "app", "action", "from", "to"} {
			if t := text(name); t != "" {
				next.Set(name, t)
			}
		}
		next.Set("before", events[auditPage-1].ID)
		c.More.Next = auditPath + "?" + next.Encode()
	}
	moments := v.Timeline(events)
	for i, e := range events {
		r := eventRow{At: moments[i].At, What: moments[i].What, Who: moments[i].Who, Reason: e.Reason, Criterion: moments[i].Criterion, Note: e.Note, State: moments[i].State}
		for _, l := range []struct{ key, id, path string }{
			{"audit.application", e.Application, at(e.Application)}, {"audit.org", e.Org, orgsPath + "/" + e.Org}, {"audit.app", e.App, appsPath + "/" + e.App},
			{"audit.person", e.Subject, peoplePath + "/" + e.Subject},
		} {
			if l.id != "" {
				r.Links = append(r.Links, frame.Link{Text: v.Text(l.key), URL: l.path, Note: short(l.id)})
			}
		}
		c.List = append(c.List, r)
	}
	if c.Filter, err = s.auditFilter(v, f, q); err != nil {
		return err
	}
	return s.render(v, http.StatusOK, "audit", s.page(v, v.Text("audit.title"), c))
}

// short is the beginning of an id, to tell one link from the next.
func short(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

func (s *Site) auditFilter(v *desk.Visit, f *portal.AuditFilter, q url.Values) (*desk.Form, error) {
	actions, err := v.Actor.Actions(v.Context())
	if err != nil {
		return nil, err
	}
	did := &desk.Field{ID: "action", Kind: desk.Pick, Label: v.Text("audit.action"), Bare: true, Values: []string{f.Action}}
	for _, a := range actions {
		did.Options = append(did.Options, desk.Option{Value: a, Text: v.Happened(a)})
	}
	form := v.NewForm(auditPath)
	for _, x := range [][2]string{{"application", f.Application}, {"person", f.Person}, {"org", f.Org}, {"app", f.App}} {
		form.Add(&desk.Field{ID: x[0], Label: v.Text("audit.by." + x[0]), Bare: true, Most: 80, Values: []string{x[1]}})
	}
	form.Add(did)
	for _, name := range []string{"from", "to"} {
		form.Add(&desk.Field{ID: name, Label: v.Text("audit." + name), Type: "date", Bare: true, Values: []string{q.Get(name)}})
	}
	return form.Button(v.Text("queue.filter")), nil
}
