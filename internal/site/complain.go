package site

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/site/frame"
)

// Complaints of one person, or of one address, are few.
const (
	complaintsAtOnce = 5
	complaintEvery   = 2 * time.Minute
)

// complaint is the form by which members report an app, nil if they cannot.
func (s *Site) complaint() *forms.Form {
	if s.Complain == nil || s.Forms == nil {
		return nil
	}
	return s.Forms.Form(forms.Complaint)
}

// complaintPage is what the form shows.
type complaintPage struct {
	App      string // name of the app, "" if the link named none
	ID       string // its id
	Intro    string
	Sections []section
	Seen     []string // questions that are asked, for the next answer
	Warned   bool     // something in it seems to be a secret or about health
}

// section is a part of a form, and question one of its questions.
type section struct {
	Title, Intro string
	Questions    []question
}

type question struct {
	ID, Kind, Label, Hint, Help, Auto string
	Type                              string // of an input
	Value                             string
	Required                          bool
	Length                            int
	Options                           []choice
	New                               bool   // it was not asked before
	First                             string // id of the first element, to which what is wrong leads
}

// reported finds the app that a complaint is about: by a grant of the user, or by its id. Apps that are not approved
// yet are nobody's.
func (v *visit) reported() (*accounts.Client, error) {
	id := v.R.URL.Query().Get("app")
	if v.R.Method == http.MethodPost {
		id = v.R.PostForm.Get("client")
	}
	if grant := v.R.URL.Query().Get("grant"); grant != "" {
		g, err := v.mine(grant)
		switch {
		case err != nil:
			return nil, err
		case g == nil:
			return nil, errMissing
		}
		id = g.Client
	}
	if id == "" {
		return nil, nil
	}
	c, err := v.Accounts.Client(v.R.Context(), id)
	switch {
	case errors.Is(err, accounts.ErrNotFound) || err == nil && c.Status == accounts.Held:
		return nil, errMissing
	case err != nil:
		return nil, fmt.Errorf("client: %w", err)
	}
	return c, nil
}

// showComplaint is the form, for members who have signed in and for everybody else.
func (v *visit) showComplaint() error {
	f := v.complaint()
	if f == nil {
		return errMissing
	}
	if v.session == nil && v.R.URL.Query().Has("grant") {
		return v.see("/login")
	}
	c, err := v.reported()
	if err != nil {
		return err
	}
	return v.complaintForm(http.StatusOK, c, f, forms.Answers{}, &page{}, false)
}

// complain files a complaint. What somebody has written is never lost: a form that cannot be taken is shown again.
func (v *visit) complain() error {
	f := v.complaint()
	if f == nil {
		return errMissing
	}
	if err := v.ReadForm(); err != nil {
		return err
	}
	c, err := v.reported()
	if err != nil {
		return err
	}
	answers := f.Parse(v.R.PostForm)
	if c != nil {
		answers[nameQuestion] = []string{appName(c)}
	}
	p := &page{}
	if v.CheckToken(true) != nil { // the session has ended, or the page is old
		p.Warning = v.Text("complain.again")
		return v.complaintForm(http.StatusForbidden, c, f, answers, p, false)
	}
	if x := v.fillComplaint(c, f, answers); slices.ContainsFunc(x.Sections, func(s section) bool { return slices.ContainsFunc(s.Questions, func(q question) bool { return q.New }) }) {
		p.Notice = v.Text("complain.more.text") // an answer leads to questions that were not asked yet
		return v.complaintForm(http.StatusOK, c, f, answers, p, false)
	}
	wrong := slices.Concat(f.Check(answers, true), f.NotYet(answers, v.Now().In(v.zone()).Format(time.DateOnly)))
	wrong = slices.DeleteFunc(wrong, func(w forms.Problem) bool { return f.Question(w.Question).Kind == forms.Document }) // they are not asked for
	confirmed := v.R.PostForm.Get("confirmed") == "yes"
	warned := false
	if len(wrong) == 0 && !confirmed {
		wrong = f.Warnings(answers)
		warned = len(wrong) > 0
	}
	if len(wrong) > 0 {
		for _, w := range wrong {
			p.Fields = append(p.Fields, frame.Wrong(w.Question, w.Text.In(v.Lang)))
		}
		return v.complaintForm(http.StatusOK, c, f, answers, p, warned)
	}
	if wait := v.complaints.Take(v.sender()); wait > 0 {
		v.W.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		p.Warning = v.Text("complain.busy")
		return v.complaintForm(http.StatusTooManyRequests, c, f, answers, p, false)
	}
	user, client := "", ""
	if v.session != nil {
		user = v.session.User
	}
	if c != nil {
		client = c.ID
	}
	number, err := v.Complain(v.R.Context(), client, user, f.Asked(answers), v.Lang, confirmed)
	if err != nil {
		v.Fault(fmt.Errorf("complaint: %w", err))
		p.Warning = v.Text("complain.fails")
		return v.complaintForm(http.StatusServiceUnavailable, c, f, answers, p, false)
	}
	return v.see("/apps/complain/sent", "number", number)
}

// sender is who is counted: a user, or the address of somebody who has not signed in.
func (v *visit) sender() string {
	if v.session != nil {
		return "user " + v.session.User
	}
	if v.Address != nil {
		return "address " + v.Address(v.R)
	}
	host, _, err := net.SplitHostPort(v.R.RemoteAddr)
	if err != nil {
		host = v.R.RemoteAddr
	}
	return "address " + host
}

func (v *visit) zone() *time.Location {
	if v.Zone == nil {
		return time.UTC
	}
	return v.Zone
}

// complaintForm shows the form with what has been answered. A page with Fields has the status 422.
func (v *visit) complaintForm(status int, c *accounts.Client, f *forms.Form, a forms.Answers, p *page, warned bool) error {
	x := v.fillComplaint(c, f, a)
	x.Warned = warned
	p.Title = v.Text("complain.title")
	if c != nil {
		p.Title = v.Text("complain.title.app", x.App)
	}
	for i, w := range p.Fields { // the summary leads to elements
		for _, s := range x.Sections {
			for _, q := range s.Questions {
				if q.ID == w.ID {
					p.Fields[i].ID = q.First
				}
			}
		}
	}
	p.Content = x
	if c != nil {
		v.self = "/apps/complain?" + url.Values{"app": {c.ID}}.Encode()
	}
	return v.show(status, "complain", p)
}

// nameQuestion is the question of the form that asks for the name of the app. It is not asked if the app is known.
const nameQuestion = "app"

// fillComplaint makes the questions that are asked, given the answers so far.
func (v *visit) fillComplaint(c *accounts.Client, f *forms.Form, a forms.Answers) *complaintPage {
	x := &complaintPage{Intro: f.Intro.In(v.Lang)}
	if c != nil {
		x.App, x.ID = appName(c), c.ID
	}
	seen := v.R.PostForm["seen"]
	for _, s := range f.Sections {
		part := section{Title: s.Title.In(v.Lang), Intro: s.Intro.In(v.Lang)}
		for _, q := range f.Visible(a) {
			if f.SectionOf(q.ID) != s || q.Kind == forms.Document || c != nil && q.ID == nameQuestion {
				continue
			}
			one := v.question(q, f, a[q.ID])
			one.New = len(seen) > 0 && !slices.Contains(seen, q.ID)
			part.Questions = append(part.Questions, one)
			x.Seen = append(x.Seen, q.ID)
		}
		if len(part.Questions) > 0 {
			x.Sections = append(x.Sections, part)
		}
	}
	return x
}

// inputTypes are the types of inputs, by the kind of a question.
var inputTypes = map[forms.Kind]string{forms.Plain: "text", forms.URL: "url", forms.Email: "email", forms.Phone: "tel", forms.Date: "date", forms.Number: "text"}

func (v *visit) question(q *forms.Question, f *forms.Form, values []string) question {
	x := question{
		ID: q.ID, Kind: "line", Label: q.Label.In(v.Lang), Hint: q.Hint.In(v.Lang), Help: q.Help.In(v.Lang), Auto: q.Auto, Type: inputTypes[q.Kind],
		Required: q.Required, Length: q.Length(), First: "q-" + q.ID,
	}
	if len(values) > 0 {
		x.Value = values[0]
	}
	option := func(value, title string) {
		x.Options = append(x.Options, choice{ID: "q-" + q.ID + "-" + value, Value: value, Title: title, Checked: slices.Contains(values, value)})
	}
	switch q.Kind {
	case forms.Paragraph:
		x.Kind = "paragraph"
	case forms.Choice, forms.Choices:
		x.Kind = "one"
		if q.Kind == forms.Choices {
			x.Kind = "several"
		}
		for _, o := range q.Options {
			option(o.Value, o.In(v.Lang))
		}
	case forms.YesNo:
		x.Kind = "one"
		for _, value := range []string{"yes", "no"} {
			option(value, f.Show(q.ID, []string{value}, v.Lang)[0])
		}
	case forms.Attest:
		x.Kind = "attest"
		option("yes", x.Label)
	}
	if len(x.Options) > 0 {
		x.First = x.Options[0].ID
	}
	return x
}

var complaintNumber = regexp.MustCompile(`^[A-Za-z0-9-]{1,40}$`)

// showComplained says that a complaint has come, and under which number.
func (v *visit) showComplained() error {
	number := v.R.URL.Query().Get("number")
	if v.complaint() == nil || !complaintNumber.MatchString(number) {
		return errMissing
	}
	return v.show(http.StatusOK, "complained", &page{Title: v.Text("complained.title"), Content: number}, "number")
}
