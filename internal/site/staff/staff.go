// Package staff has the pages of the agency's staff: the queue of applications and their review, people,
// organisations, apps, requests for support, mails that wait, what has happened. Support reads and answers, reviewers
// decide, administrators also look after people and cut apps off. Nobody here sees a secret or a member's data: the portal
// has neither to give. To everybody else the pages do not exist. They work without a script.
package staff

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// Config says what the pages show. Zero values mean defaults where a field says so.
type Config struct {
	Portal *portal.Portal

	// Frame has the issuer, the agency, the key and the fault reporter.
	Frame frame.Config

	Limits    *desk.Limits                // shared with the developers' pages; nil makes new ones
	Forwarded bool                        // a proxy sets X-Forwarded-For
	Refused   func(reason, person string) // see desk.Config; nil reports nothing
	Now       func() time.Time            // nil is time.Now

	Documentation []frame.Link // pages of the documentation, for the menu; the first one is its beginning
}

//go:embed templates/*.html
var templateFiles embed.FS

// Site serves the pages. It is safe for concurrent use.
type Site struct {
	Config
	desk *desk.Desk
}

// New makes a Site. It fails if the configuration is wrong.
func New(c *Config) (*Site, error) {
	s := &Site{Config: *c}
	if s.Portal == nil {
		return nil, errors.New("the pages of staff need a portal")
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	pages, err := fs.Sub(templateFiles, "templates")
	if err != nil {
		return nil, err
	}
	f := s.Frame
	f.Templates = pages
	f.Texts = append(slices.Clone(f.Texts), texts)
	if f.Zone == nil {
		f.Zone = s.Portal.Zone
	}
	s.desk, err = desk.New(&desk.Config{Portal: s.Portal, Frame: f, Menu: s.menu, Limits: s.Limits, Forwarded: s.Forwarded, Refused: s.Refused, Now: s.Now})
	if err != nil {
		return nil, fmt.Errorf("pages of staff: %w", err)
	}
	return s, nil
}

// menu is the menu at the top.
func (s *Site) menu(v *desk.Visit) []frame.Link {
	list := []frame.Link{{Text: v.Text("menu.home"), URL: "/"}}
	if len(s.Documentation) > 0 {
		list = append(list, frame.Link{Text: v.Text("menu.documentation"), URL: s.Documentation[0].URL})
	}
	return append(list, frame.Link{Text: v.Text("menu.dashboard"), URL: desk.HomePath}, frame.Link{Text: v.Text("menu.staff"), URL: root, Button: true})
}

// Paths of pages that others link to.
const (
	root       = "/staff"
	peoplePath = root + "/people"
	orgsPath   = root + "/organisations"
	appsPath   = root + "/apps"
	ticketPath = root + "/tickets"
	auditPath  = root + "/audit"
	mailPath   = root + "/mail"
	letterPath = root + "/letters"
)

// side is the menu at the side: the pages that somebody may open.
func (s *Site) side(v *desk.Visit) []frame.Group {
	if v.Actor == nil || v.Actor.Person.Staff == portal.NoStaff {
		return nil
	}
	var links []frame.Link
	for _, p := range []struct {
		key, path string
		least     portal.StaffRole
	}{
		{"side.queue", root, portal.Support},
		{"side.apps", appsPath, portal.Support},
		{"side.organisations", orgsPath, portal.Support},
		{"side.people", peoplePath, portal.Reviewer},
		{"side.tickets", ticketPath, portal.Support},
		{"side.audit", auditPath, portal.Reviewer},
		{"side.mail", mailPath, portal.Administrator},
		{"side.letters", letterPath, portal.Administrator},
	} {
		if !is(v, p.least) {
			continue
		}
		here := v.R.URL.Path
		current := here == p.path || strings.HasPrefix(here, p.path+"/") && p.path != root || p.path == root && strings.HasPrefix(here, root+"/applications/")
		links = append(links, frame.Link{Text: v.Text(p.key), URL: p.path, Current: current})
	}
	return []frame.Group{{Title: v.Text("side.title"), Links: links}}
}

// is reports whether who has signed in has a role of staff, or a higher one.
func is(v *desk.Visit, least portal.StaffRole) bool {
	order := []portal.StaffRole{portal.NoStaff, portal.Support, portal.Reviewer, portal.Administrator}
	return v.Actor != nil && slices.Index(order, v.Actor.Person.Staff) >= slices.Index(order, least)
}

// page is one row of the table of routes.
type page struct {
	path string
	role portal.StaffRole        // who may see it, at least
	show func(*desk.Visit) error // on GET; nil if there is nothing to show
	act  portal.StaffRole        // who may send it, at least; administrators must have proved not long ago who they are
	take func(*desk.Visit) error // on POST; nil if nothing is sent
}

// fresh are the pages that are shown only to those who have proved not long ago who they are, since they give out what
// belongs to many people.
var fresh = []string{root + "/export.csv", mailPath}

// pages are all of them.
func (s *Site) pages() []page {
	support, reviewer, administrator := portal.Support, portal.Reviewer, portal.Administrator
	return []page{
		{path: "/staff", role: support, show: s.queue},
		{path: "/staff/export.csv", role: reviewer, show: s.export},

		{path: "/staff/applications/{id}", role: support, show: s.application},
		{path: "/staff/applications/{id}/assign", act: reviewer, take: s.assign},
		{path: "/staff/applications/{id}/checklist", role: support, show: s.checklist, act: reviewer, take: s.saveChecklist},
		{path: "/staff/applications/{id}/changes", role: support, show: s.changes},
		{path: "/staff/applications/{id}/messages", role: support, show: s.messages, act: support, take: s.say},
		{path: "/staff/applications/{id}/history", role: support, show: s.timeline},
		{path: "/staff/applications/{id}/documents/{document}", role: support, show: s.document},
		{path: "/staff/applications/{id}/revisions/{number}", role: support, show: s.revision},
		{path: "/staff/applications/{id}/move/{action}", role: reviewer, show: s.askMove, act: reviewer, take: s.move},

		{path: "/staff/people", role: reviewer, show: s.people},
		{path: "/staff/people/{person}", role: reviewer, show: s.person},
		{path: "/staff/people/{person}/role", act: administrator, take: s.setRole},
		{path: "/staff/people/{person}/suspend", act: administrator, take: s.suspendPerson},
		{path: "/staff/people/{person}/sessions", act: administrator, take: s.endSessions},
		{path: "/staff/people/{person}/proof", act: reviewer, take: s.decideProof},

		{path: "/staff/organisations", role: support, show: s.organisations},
		{path: "/staff/organisations/{org}", role: support, show: s.organisation},

		{path: "/staff/apps", role: support, show: s.apps},
		{path: "/staff/apps/{app}", role: support, show: s.app},
		{path: "/staff/apps/{app}/logo/{logo}", role: support, show: s.logo},

		{path: "/staff/tickets", role: support, show: s.tickets},
		{path: "/staff/tickets/{ticket}", role: support, show: s.ticket, act: support, take: s.reply},

		{path: "/staff/mail", role: administrator, show: s.mail},
		{path: "/staff/letters", role: administrator, show: s.letters},
		{path: "/staff/audit", role: reviewer, show: s.audit},
	}
}

// guard is who a page is for.
func guard(path string, role portal.StaffRole, acts bool) desk.Guard {
	g := desk.Staff(role)
	if acts && role == portal.Administrator || slices.Contains(fresh, path) {
		g = g.Freshly()
	}
	return g
}

// Paths are what Handler serves: patterns of http.ServeMux, without methods.
func (s *Site) Paths() []string { return []string{root, root + "/"} }

// Handler serves the pages. Static files are served by a frame's handler.
func (s *Site) Handler() http.Handler {
	m := http.NewServeMux()
	for _, p := range s.pages() {
		if p.show != nil {
			m.Handle("GET "+p.path, s.desk.Form(guard(p.path, p.role, false), p.show, nil))
		}
		if p.take != nil {
			m.Handle("POST "+p.path, s.desk.Form(guard(p.path, p.act, true), nil, p.take))
		}
	}
	m.Handle("/", s.desk.Missing())
	return m
}

// at is the path of an application, or of a page below it.
func at(application string, more ...string) string {
	return strings.Join(append([]string{root, "applications", application}, more...), "/")
}

// notice is what a page says at its top after something was done: the key in the query, if the page knows it.
func notice(v *desk.Visit, known ...string) string {
	if key := v.R.URL.Query().Get("done"); slices.Contains(known, key) {
		return v.Text("done." + key)
	}
	return ""
}

// page fills in what all pages of staff have.
func (s *Site) page(v *desk.Visit, title string, content any, trail ...frame.Link) *frame.Page {
	return &frame.Page{Title: title, Content: content, Side: s.side(v), Trail: trail, Full: true}
}

// attach gives out a file that browsers keep, and never show as a page of ours.
func attach(v *desk.Visit, name, kind string) {
	v.Headers()
	h := v.W.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", disposition(name))
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
}

// disposition names a file (RFC 6266): in ASCII for old browsers, and as it is.
func disposition(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == ';' || r == '%' {
			return '_'
		}
		return r
	}, name)
	return `attachment; filename="` + plain + `"; filename*=UTF-8''` + percent(name)
}

// percent encodes a name for RFC 8187.
func percent(name string) string {
	const safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; strings.IndexByte(safe, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
