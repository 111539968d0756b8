// Package desk is what all pages of the developers' portal share, those of developers and those of staff: who has
// signed in and may see a page, how many requests are taken, the forms of internal/portal/forms as HTML, states and
// moves of applications in words, and pages for what the portal refuses. It decides nothing about applications:
// that is the portal's.
package desk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/frame"
)

// Paths to which a Desk sends people who must sign in, or go on doing so.
const (
	SignInPath = "/developers/sign-in"
	FactorPath = "/developers/factor"
	EnrolPath  = "/developers/enrol"
	ReauthPath = "/developers/reauth"
	HomePath   = "/developers"
)

// FreshFor is how long a proof of who somebody is counts for pages that need a fresh one.
const FreshFor = 10 * time.Minute

// Config says what a set of pages works with.
type Config struct {
	Portal *portal.Portal

	// Frame has the issuer, the agency and the key. Templates and Texts are those of the set of pages; a Desk adds
	// its own, and sets Session, Wide, Before and Menu itself.
	Frame frame.Config

	// Menu is the menu at the top; nil is none.
	Menu func(*Visit) []frame.Link

	// Limits are shared by all sets of pages of a server; nil makes new ones.
	Limits *Limits

	// Forwarded says that a proxy in front of the server sets X-Forwarded-For: its last address counts.
	Forwarded bool

	// Refused reports a request that was not taken: csrf, busy, denied (by the role), staff (a page of staff, asked for by
	// somebody else), missing (what somebody may not see looks so too). person is the id of who has signed in, or "". It may
	// be nil.
	Refused func(reason, person string)

	Now func() time.Time // nil is time.Now
}

// Desk makes the pages of a set. It is safe for concurrent use.
type Desk struct {
	Config
	*frame.Frame
}

// New makes a Desk. It fails as frame.New does.
func New(c *Config) (*Desk, error) {
	if c.Portal == nil {
		return nil, errors.New("the pages of the portal need a portal")
	}
	d := &Desk{Config: *c}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Limits == nil {
		d.Limits = NewLimits()
	}
	f := c.Frame
	if f.Templates == nil {
		return nil, errors.New("the pages have no templates")
	}
	own, err := fs.Sub(templateFiles, "templates")
	if err != nil {
		return nil, err
	}
	f.Templates = layers{f.Templates, own}
	f.Texts = append(append([]frame.Texts{}, f.Texts...), Texts...)
	f.Session, f.Wide = "developer", true
	f.Before = nil
	f.Menu = func(v *frame.Visit) []frame.Link {
		dv := of(v)
		if dv == nil || d.Config.Menu == nil {
			return nil
		}
		return d.Config.Menu(dv)
	}
	if d.Frame, err = frame.New(&f); err != nil {
		return nil, err
	}
	d.Config.Frame = f
	return d, nil
}

// Guard says who may see a page.
type Guard struct {
	SignedIn bool             // with a second factor
	Staff    portal.StaffRole // at least; others get the page for addresses at which there is none
	Fresh    bool             // and has proved not long ago who they are
}

// Guards. Of staff there are as many as roles: Staff makes them.
var (
	Anybody = Guard{}
	Person  = Guard{SignedIn: true}
	Proved  = Guard{SignedIn: true, Fresh: true}
)

// Staff is for somebody of the agency who has at least a role.
func Staff(role portal.StaffRole) Guard { return Guard{SignedIn: true, Staff: role} }

// Freshly is the same guard for those who have proved not long ago who they are.
func (g Guard) Freshly() Guard { g.Fresh = true; return g }

// rank orders the roles of staff: each may do what those before may.
func rank(r portal.StaffRole) int {
	switch r {
	case portal.Support:
		return 1
	case portal.Reviewer:
		return 2
	case portal.Administrator:
		return 3
	}
	return 0
}

// Handle serves a page to those whom a guard lets in. Errors become pages: see Fail.
func (d *Desk) Handle(g Guard, page func(*Visit) error) http.Handler {
	return d.HandleUpload(g, formMax, page)
}

// formMax is the most bytes of a form without documents: the questionnaires have long answers.
const formMax = 512 << 10

// HandleUpload is Handle for forms with documents; most is the bytes of the whole body. Nothing is read before the
// guard has decided.
func (d *Desk) HandleUpload(g Guard, most int64, page func(*Visit) error) http.Handler {
	return d.Frame.HandleUpload(most, func(fv *frame.Visit) error {
		v := &Visit{Visit: fv, Desk: d}
		fv.R = fv.R.WithContext(context.WithValue(fv.R.Context(), visitKey{}, v))
		v.fromDevice()
		err := v.open()
		if err == nil {
			err = v.admit(g)
		}
		if err == nil && g.SignedIn {
			err = v.findTyped()
		}
		if err == nil {
			err = page(v)
		}
		if err == nil || errors.Is(err, errDone) {
			return nil
		}
		return v.Fail(err)
	})
}

// Form serves a page that shows a form on GET and takes it on POST, after it has checked that the form is ours.
func (d *Desk) Form(g Guard, show, take func(*Visit) error) http.Handler {
	return d.Handle(g, shownOrTaken(show, take))
}

// FormUpload is Form for forms with documents.
func (d *Desk) FormUpload(g Guard, most int64, show, take func(*Visit) error) http.Handler {
	return d.HandleUpload(g, most, shownOrTaken(show, take))
}

func shownOrTaken(show, take func(*Visit) error) func(*Visit) error {
	return func(v *Visit) error {
		if v.R.Method != http.MethodPost {
			return show(v)
		}
		if err := v.Limit(Forms); err != nil {
			return err
		}
		if err := v.ReadForm(); err != nil {
			return err
		}
		if err := v.CheckToken(false); err != nil {
			return v.again()
		}
		if err := v.sent(); err != nil {
			return err
		}
		return take(v)
	}
}

// errDone says that a guard has answered already.
var errDone = errors.New("the request is answered")

// admit lets somebody see a page, or sends them to where they sign in.
func (v *Visit) admit(g Guard) error {
	if !g.SignedIn {
		return nil
	}
	if v.Actor == nil {
		path := SignInPath
		switch {
		case v.Login != nil && v.Login.Kind == portal.Half:
			path = FactorPath
		case v.Login != nil && v.Login.Kind == portal.Enrol:
			path = EnrolPath
		}
		lapsed := ""
		if v.lapsed {
			lapsed = "1"
			if v.R.Method == http.MethodPost && !g.Fresh {
				if err := v.keepLapsed(); err != nil {
					return err
				}
			}
		}
		if err := v.See(path, "next", v.here(), "lapsed", lapsed); err != nil {
			return err
		}
		return errDone
	}
	if g.Staff != portal.NoStaff && rank(v.Actor.Person.Staff) < rank(g.Staff) {
		v.refused("staff")
		return frame.ErrMissing
	}
	if g.Fresh && v.Now().Sub(v.Login.Fresh) > FreshFor {
		if err := v.See(ReauthPath, "next", v.here()); err != nil {
			return err
		}
		return errDone
	}
	return nil
}

// layers are folders one over the other: a file of the first that has it counts.
type layers []fs.FS

// Open opens a file, or lists the files of all layers.
func (l layers) Open(name string) (fs.File, error) {
	var first error
	for _, f := range l {
		file, err := f.Open(name)
		if err == nil {
			return file, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// Glob lists what matches in all layers, each name once.
func (l layers) Glob(pattern string) (list []string, err error) {
	seen := map[string]bool{}
	for _, f := range l {
		names, err := fs.Glob(f, pattern)
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		for _, n := range names {
			if !seen[n] {
				seen[n] = true
				list = append(list, n)
			}
		}
	}
	return list, nil
}
