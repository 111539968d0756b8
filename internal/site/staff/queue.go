package staff

import (
	"bytes"
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

const (
	perPage   = 50
	queueMost = 1000 // applications that one list looks through
)

// queueContent is the content of the page of the queue.
type queueContent struct {
	Tabs   []frame.Link
	Filter *desk.Form
	Clear  string // link that shows all, "" if nothing is filtered
	Count  string
	Heads  []head
	Rows   []queueRow
	More   pager
	Export string // link, "" for those who may not
}

// head is the title of a column, with the link that sorts by it.
type head struct {
	Text, URL string
	Sort      string // ascending or descending, if the list is sorted by it
}

// queueRow is one application.
type queueRow struct {
	Number, URL        string
	Kind, Source       string
	Applicant, App     string
	State              frame.State
	Age, Due, DueDate  string
	Late               bool
	Assignee           string
	Version            int
	Take, Mine         bool // the buttons that make sense
	AssignURL, TakeURL string
	age                time.Time
	due                time.Time
}

// pager leads from page to page.
type pager struct{ Before, Next, Text string }

// views are the filters by links: each with what it chooses.
var views = []struct {
	key  string
	pick func(me string) portal.Filter
}{
	{"open", func(string) portal.Filter { return portal.Filter{Open: true} }},
	{"mine", func(me string) portal.Filter { return portal.Filter{Assignee: me} }},
	{"none", func(string) portal.Filter { return portal.Filter{Open: true, Assignee: "none"} }},
	{"waiting", func(string) portal.Filter {
		return portal.Filter{States: []lifecycle.State{lifecycle.InfoRequested, lifecycle.ChangesRequested, lifecycle.Demo, lifecycle.Unconfirmed}}
	}},
	{"live", func(string) portal.Filter {
		return portal.Filter{States: []lifecycle.State{lifecycle.Approved, lifecycle.Credentials, lifecycle.Live, lifecycle.ChangePending, lifecycle.RenewalDue, lifecycle.Suspended}}
	}},
	{"all", func(string) portal.Filter { return portal.Filter{} }},
}

var (
	sorts  = []string{"number", "applicant", "app", "state", "age", "due", "assignee"}
	states = slices.DeleteFunc(append(lifecycle.States(lifecycle.Sandbox), lifecycle.States(lifecycle.Production)...), func(s lifecycle.State) bool { return s == lifecycle.Draft })
)

// asked is what the address of the queue asks for. Values that there are not are left out.
type asked struct {
	view, kind, state, query, assignee, sort string
	down                                     bool
	page                                     int
	filter                                   portal.Filter
}

func (s *Site) asked(v *desk.Visit) asked {
	q := v.R.URL.Query()
	a := asked{query: frame.Plain(q.Get("q"), 100), page: 1}
	at := slices.IndexFunc(views, func(w struct {
		key  string
		pick func(me string) portal.Filter
	}) bool {
		return w.key == q.Get("view")
	})
	at = max(at, 0)
	a.view = views[at].key
	a.filter = views[at].pick(v.Actor.Person.ID)
	if k := lifecycle.Kind(q.Get("kind")); k == lifecycle.Sandbox || k == lifecycle.Production {
		a.kind, a.filter.Kind = string(k), k
	}
	if st := lifecycle.State(q.Get("state")); slices.Contains(states, st) {
		a.state, a.filter.States, a.filter.Open = string(st), []lifecycle.State{st}, false
	}
	if who := q.Get("assignee"); who != "" && len(who) <= 64 && a.view != "mine" {
		a.assignee, a.filter.Assignee = who, who
	}
	if by := q.Get("sort"); slices.Contains(sorts, by) {
		a.sort, a.down = by, q.Get("order") == "down"
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 && n <= queueMost/perPage {
		a.page = n
	}
	a.filter.Query, a.filter.Limit = a.query, queueMost
	return a
}

// link is the address of the queue with something changed: names and values; "" takes one out.
func (a *asked) link(path string, change ...string) string {
	q := url.Values{}
	set := func(name, value string) {
		if q.Del(name); value != "" {
			q.Set(name, value)
		}
	}
	order := ""
	if a.down {
		order = "down"
	}
	view := a.view
	if view == views[0].key {
		view = ""
	}
	for _, p := range [][2]string{{"view", view}, {"kind", a.kind}, {"state", a.state}, {"q", a.query}, {"assignee", a.assignee}, {"sort", a.sort}, {"order", order}} {
		set(p[0], p[1])
	}
	for i := 0; i+1 < len(change); i += 2 {
		set(change[i], change[i+1])
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

func (s *Site) queue(v *desk.Visit) error {
	a := s.asked(v)
	list, err := v.Actor.Queue(v.Context(), &a.filter)
	if err != nil {
		return err
	}
	names := s.names(v)
	rows := make([]queueRow, 0, len(list))
	for _, x := range list {
		r, err := s.row(v, names, x)
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	a.order(rows)
	c := queueContent{Count: v.Count("queue.count", len(rows))}
	if len(list) >= queueMost {
		c.Count = v.Text("queue.most", queueMost)
	}
	c.Rows, c.More = cut(v, rows, a.page, func(page string) string { return a.link(root, "page", page) })
	for _, w := range views {
		key := w.key
		if key == views[0].key {
			key = ""
		}
		c.Tabs = append(c.Tabs, frame.Link{Text: v.Text("view." + w.key), URL: a.link(root, "view", key, "state", "", "assignee", ""), Current: w.key == a.view})
	}
	for _, by := range sorts {
		h := head{Text: v.Text("queue." + by), URL: a.link(root, "sort", by, "order", "")}
		if by == a.sort {
			h.Sort = "ascending"
			if a.down {
				h.Sort = "descending"
			} else {
				h.URL = a.link(root, "sort", by, "order", "down")
			}
		}
		c.Heads = append(c.Heads, h)
	}
	if c.Filter, err = s.queueFilter(v, &a); err != nil {
		return err
	}
	if a.kind+a.state+a.query+a.assignee != "" {
		c.Clear = a.link(root, "kind", "", "state", "", "q", "", "assignee", "")
	}
	if is(v, portal.Reviewer) {
		c.Export = a.link(root + "/export.csv")
	}
	p := s.page(v, v.Text("queue.title"), c)
	p.Notice = notice(v, "assigned", "unassigned", "take")
	return s.render(v, 200, "queue", p)
}

// cut takes one page of rows.
func cut[T any](v *desk.Visit, rows []T, page int, link func(page string) string) ([]T, pager) {
	pages := max((len(rows)+perPage-1)/perPage, 1)
	page = min(page, pages)
	m := pager{}
	if pages > 1 {
		m.Text = v.Text("pager.page", page, pages)
	}
	if page > 1 {
		before := ""
		if page > 2 {
			before = strconv.Itoa(page - 1)
		}
		m.Before = link(before)
	}
	if page < pages {
		m.Next = link(strconv.Itoa(page + 1))
	}
	return rows[(page-1)*perPage : min(page*perPage, len(rows))], m
}

// order sorts rows as the address asks for; otherwise they stand as the portal gives them, the most urgent first.
func (a *asked) order(rows []queueRow) {
	text := func(x, y string) int { return cmp.Compare(strings.ToLower(x), strings.ToLower(y)) }
	var by func(x, y queueRow) int
	switch a.sort {
	case "number":
		by = func(x, y queueRow) int { return text(x.Number, y.Number) }
	case "applicant":
		by = func(x, y queueRow) int { return text(x.Applicant, y.Applicant) }
	case "app":
		by = func(x, y queueRow) int { return text(x.App, y.App) }
	case "state":
		by = func(x, y queueRow) int { return text(x.State.Text, y.State.Text) }
	case "age":
		by = func(x, y queueRow) int { return x.age.Compare(y.age) }
	case "assignee":
		by = func(x, y queueRow) int { return text(x.Assignee, y.Assignee) }
	case "due":
		by = func(x, y queueRow) int { // what has no date is last, whichever way
			if x.due.IsZero() != y.due.IsZero() {
				return map[bool]int{x.due.IsZero(): 1, y.due.IsZero(): -1}[true] * map[bool]int{true: -1, false: 1}[a.down]
			}
			return x.due.Compare(y.due)
		}
	default:
		return
	}
	slices.SortStableFunc(rows, func(x, y queueRow) int {
		if a.down {
			return by(y, x)
		}
		return by(x, y)
	})
}

// names finds the names of people, each once for a page.
func (s *Site) names(v *desk.Visit) func(id string) (string, error) {
	known := map[string]string{"": ""}
	return func(id string) (string, error) {
		if name, ok := known[id]; ok {
			return name, nil
		}
		name, err := v.Actor.NameOf(v.Context(), id)
		if err != nil {
			return "", err
		}
		if name = frame.Plain(name, 80); name == "" {
			name = v.By(id)
		}
		known[id] = name
		return name, nil
	}
}

func (s *Site) row(v *desk.Visit, names func(string) (string, error), x *portal.Application) (queueRow, error) {
	assignee, err := names(x.Assignee)
	r := queueRow{
		Number: x.ID, URL: at(x.ID), Kind: v.Kind(x.Kind), Applicant: applicant(v, x), App: frame.Plain(x.AppName, 80), State: v.State(string(x.State)),
		Age: s.age(v, x), Assignee: assignee, Version: x.Version, AssignURL: at(x.ID, "assign"), TakeURL: at(x.ID, "move", string(lifecycle.Take)),
		age: since(x), due: x.Due,
	}
	if x.Source != "portal" {
		r.Source = v.Text("source." + x.Source)
	}
	r.Due, r.Late = s.due(v, x)
	if !x.Due.IsZero() && !lifecycle.Waits(x.State) {
		r.DueDate = v.Date(x.Due)
	}
	if is(v, portal.Reviewer) && !belongs(v, x.Org) {
		r.Take = x.State == lifecycle.Submitted
		r.Mine = !r.Take && x.Assignee != v.Actor.Person.ID && (lifecycle.Open(x.State) || lifecycle.Waits(x.State) && x.State != lifecycle.Unconfirmed)
	}
	return r, err
}

// belongs reports whether who has signed in belongs to an organisation.
func belongs(v *desk.Visit, org string) bool {
	return org != "" && slices.ContainsFunc(v.Actor.Members, func(m portal.Membership) bool { return m.Org == org })
}

// applicant is who an application comes from, as pages call them.
func applicant(v *desk.Visit, x *portal.Application) string {
	if x.OrgName != "" {
		return frame.Plain(x.OrgName, 80)
	}
	return v.Text("applicant.none")
}

// since is when an application came to the agency.
func since(x *portal.Application) time.Time {
	if !x.Submitted.IsZero() {
		return x.Submitted
	}
	return x.Created
}

// age is how long ago that was, in words.
func (s *Site) age(v *desk.Visit, x *portal.Application) string {
	return s.ago(v, since(x))
}

// ago is how many days something is past, in words.
func (s *Site) ago(v *desk.Visit, t time.Time) string {
	n := s.days(t, s.Now())
	if n < 1 {
		return v.Text("days.none")
	}
	return v.Count("days", n)
}

// days counts the days of the calendar from one instant to another, in the agency's zone.
func (s *Site) days(from, to time.Time) int {
	day := func(t time.Time) time.Time {
		t = t.In(s.desk.Zone)
		return time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, time.UTC)
	}
	return int(day(to).Sub(day(from)).Hours() / 24)
}

// due is by when staff decide, in words, and whether that is over.
func (s *Site) due(v *desk.Visit, x *portal.Application) (text string, late bool) {
	switch {
	case lifecycle.Waits(x.State):
		return v.Text("due.waits"), false
	case x.Due.IsZero():
		return v.Text("due.none"), false
	case !lifecycle.Open(x.State):
		return v.Text("due.none"), false
	}
	n := s.days(s.Now(), x.Due)
	switch {
	case x.Due.Before(s.Now()) && n < 0:
		return v.Count("due.over", -n), true
	case x.Due.Before(s.Now()):
		return v.Text("due.overtoday"), true
	case n == 0:
		return v.Text("due.today"), false
	}
	return v.Count("due.in", n), false
}

func (s *Site) queueFilter(v *desk.Visit, a *asked) (*desk.Form, error) {
	f := v.NewForm(root).Keep("sort", a.sort)
	if a.view != views[0].key {
		f.Keep("view", a.view)
	}
	if a.down {
		f.Keep("order", "down")
	}
	f.Add(&desk.Field{ID: "q", Label: v.Text("queue.search"), Bare: true, Most: 100, Values: []string{a.query}})
	kinds := &desk.Field{ID: "kind", Kind: desk.Pick, Label: v.Text("queue.kind"), Bare: true, Values: []string{a.kind}}
	for _, k := range []lifecycle.Kind{lifecycle.Sandbox, lifecycle.Production} {
		kinds.Options = append(kinds.Options, desk.Option{Value: string(k), Text: v.Kind(k)})
	}
	in := &desk.Field{ID: "state", Kind: desk.Pick, Label: v.Text("queue.state"), Bare: true, Values: []string{a.state}}
	for i, st := range states {
		if slices.Index(states, st) == i {
			in.Options = append(in.Options, desk.Option{Value: string(st), Text: v.State(string(st)).Text})
		}
	}
	f.Add(kinds, in)
	if a.view != "mine" {
		list, err := v.Actor.Colleagues(v.Context(), portal.Reviewer)
		if err != nil {
			return nil, err
		}
		who := &desk.Field{ID: "assignee", Kind: desk.Pick, Label: v.Text("queue.assignee"), Bare: true, Values: []string{a.assignee}, Options: []desk.Option{{Value: "none", Text: v.Text("queue.nobody")}}}
		for _, p := range list {
			who.Options = append(who.Options, desk.Option{Value: p.ID, Text: frame.Plain(p.Name, 80)})
		}
		f.Add(who)
	}
	return f.Button(v.Text("queue.filter")), nil
}

// export gives out what the queue would show, as a table for spreadsheets. It is read whole before the first byte is
// sent, so that a fault becomes a page and no half of a file.
func (s *Site) export(v *desk.Visit) error {
	a := s.asked(v)
	a.filter.Limit = 0
	var b bytes.Buffer
	if err := v.Actor.ExportCSV(v.Context(), &a.filter, &b); err != nil {
		return err
	}
	attach(v, "applications-"+s.Now().In(s.desk.Zone).Format(time.DateOnly)+".csv", "text/csv; charset=utf-8")
	_, _ = v.W.Write(b.Bytes()) // nobody can be told who has gone
	return nil
}

// version is the one of an application that the page of a form was made of.
func version(v *desk.Visit) int {
	n, err := strconv.Atoi(v.R.PostFormValue("version"))
	if err != nil {
		return -1 // it is nobody's: the page is out of date
	}
	return n
}

// assign gives an application to a reviewer, to who has signed in ("me"), or to nobody.
func (s *Site) assign(v *desk.Visit) error {
	id := v.R.PathValue("id")
	v.About.Back = at(id)
	to, done := v.R.PostFormValue("assignee"), "assigned"
	switch to {
	case "me":
		to = v.Actor.Person.ID
	case "none":
		to, done = "", "unassigned"
	case "":
		return &portal.InputError{Field: "assignee", Code: "missing"}
	}
	if _, err := v.Actor.Assign(v.Context(), id, version(v), to); err != nil {
		return s.changed(v, id, err)
	}
	if v.R.PostFormValue("from") == "queue" {
		return v.See(root, "done", done)
	}
	return v.See(at(id), "done", done)
}
