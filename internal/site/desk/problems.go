package desk

import (
	"errors"
	"net/http"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/frame"
)

// About is what a page is about, for the pages of what went wrong: where to go back to, and where questions are
// answered.
type About struct {
	Back string      // path of the page that shows it as it is now; "" is the path of the request
	Form *forms.Form // whose questions a *portal.NeedError names
	At   func(question string) string
}

// Fail makes a page of an error of the portal, with what to do about it. Other errors are given back: the frame
// reports them, and says that it is our fault.
func (v *Visit) Fail(err error) error {
	if busy, ok := errors.AsType[*busyError](err); ok {
		return v.showBusy(busy)
	}
	if errors.Is(err, frame.ErrForm) {
		v.refused("csrf")
		return err
	}
	if need, ok := errors.AsType[*portal.NeedError](err); ok {
		return v.showNeed(need)
	}
	if input, ok := errors.AsType[*portal.InputError](err); ok {
		return v.explain(http.StatusUnprocessableEntity, "input", []frame.Link{{Text: v.Code(input)}}, v.back())
	}
	if _, ok := errors.AsType[*lifecycle.IllegalError](err); ok {
		return v.explain(http.StatusConflict, "illegal", nil, v.back())
	}
	if _, ok := errors.AsType[*lifecycle.RoleError](err); ok {
		v.refused("denied")
		return v.explain(http.StatusForbidden, "role", nil, v.back())
	}
	if _, ok := errors.AsType[*portal.DeniedError](err); ok {
		v.refused("denied")
		return v.explain(http.StatusForbidden, frame.ErrDenied.Key, nil, "")
	}
	switch {
	case errors.Is(err, portal.ErrSession):
		return v.See(SignInPath, "next", v.here(), "lapsed", "1")
	case errors.Is(err, portal.ErrFresh):
		return v.See(ReauthPath, "next", v.freshNext())
	case errors.Is(err, portal.ErrStale):
		return v.explain(http.StatusConflict, frame.ErrStale.Key, nil, v.back())
	case errors.Is(err, accounts.ErrNotFound):
		v.refused("missing")
		return frame.ErrMissing
	case errors.Is(err, accounts.ErrExists):
		return v.explain(http.StatusConflict, "exists", nil, v.back())
	case errors.Is(err, accounts.ErrUsed):
		return v.explain(http.StatusConflict, "used", nil, v.back())
	case errors.Is(err, accounts.ErrLocked):
		return v.explain(http.StatusTooManyRequests, "locked", nil, "")
	}
	return err
}

func (v *Visit) back() string {
	if v.About.Back != "" {
		return v.About.Back
	}
	return v.R.URL.Path
}

// freshNext is where somebody goes on who had to prove who they are: a form that was sent is shown again, since its
// answers are not sent twice by themselves.
func (v *Visit) freshNext() string {
	if v.R.Method != http.MethodGet && v.About.Back != "" {
		return Inside(v.About.Back)
	}
	return v.here()
}

// Explanation is the content of the page of a problem of the portal.
type Explanation struct {
	Text, Next string
	Links      []frame.Link // what exactly is wrong; a link without a URL is a text
	Back       string
}

// explain writes such a page.
func (v *Visit) explain(status int, key string, links []frame.Link, back string) error {
	return v.Render(status, "explain", &frame.Page{Title: v.Text(key + ".title"), Content: Explanation{
		Text: v.Text(key + ".text"), Next: v.Text(key + ".next"), Links: links, Back: back,
	}})
}

// showNeed says what a move lacks, with a link to where it is given.
func (v *Visit) showNeed(e *portal.NeedError) error {
	links := v.Lacking(e)
	return v.explain(http.StatusUnprocessableEntity, "need", links, v.back())
}

// Lacking is what a move lacks, in words, with links to the questions.
func (v *Visit) Lacking(e *portal.NeedError) (list []frame.Link) {
	at := func(question string) string {
		if v.About.At != nil && question != "" {
			return v.About.At(question)
		}
		return ""
	}
	for _, p := range e.Problems {
		text := p.Text.In(v.Lang)
		if v.About.Form != nil {
			if q := v.About.Form.Question(p.Question); q != nil {
				text = v.Text("need.question", q.Label.In(v.Lang), text)
			}
		}
		list = append(list, frame.Link{Text: text, URL: at(p.Question)})
	}
	for _, m := range e.Missing {
		switch {
		case e.Need == lifecycle.Evidence:
			list = append(list, frame.Link{Text: v.Text("shown." + m), URL: v.About.evidence()})
		case v.About.Form != nil && v.About.Form.Question(m) != nil:
			list = append(list, frame.Link{Text: v.About.Form.Question(m).Label.In(v.Lang), URL: at(m)})
		default:
			list = append(list, frame.Link{Text: v.Need(e.Need)})
		}
	}
	if len(list) == 0 {
		list = append(list, frame.Link{Text: v.Need(e.Need), URL: needPath(e.Need)})
	}
	return list
}

// evidence has no page of its own: the checklist of the application shows it.
func (a *About) evidence() string { return a.Back }

// needPath is where something is done that has nothing to do with the application.
func needPath(n lifecycle.Need) string {
	switch n {
	case lifecycle.Terms:
		return "/developers/terms"
	case lifecycle.Identity:
		return "/developers/profile"
	case lifecycle.SandboxAccess:
		return HomePath
	}
	return ""
}

// Need is what a move needs, in words.
func (v *Visit) Need(n lifecycle.Need) string { return v.Text("need." + string(n)) }

// Code is what is wrong with a value, in words.
func (v *Visit) Code(e *portal.InputError) string {
	for _, key := range []string{"code." + e.Field + "." + e.Code, "code." + e.Code} {
		if v.Desk.HasText(key) {
			return v.Text(key)
		}
	}
	return v.Text("code.other")
}
