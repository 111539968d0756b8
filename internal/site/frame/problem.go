package frame

import (
	"errors"
	"net/http"
)

// ProblemError is an error that readers can read: Key.title, Key.text and Key.next are its texts.
type ProblemError struct {
	Status int // of HTTP
	Key    string
}

// Error is the key: it says nothing of a person.
func (p *ProblemError) Error() string { return p.Key }

// Problems of all pages. Sets of pages have more of their own.
var (
	ErrMissing  = &ProblemError{http.StatusNotFound, "missing"}
	ErrFault    = &ProblemError{http.StatusServiceUnavailable, "fault"}
	ErrForm     = &ProblemError{http.StatusForbidden, "form"}                 // a form of another site, or of a session before
	ErrTooLarge = &ProblemError{http.StatusRequestEntityTooLarge, "toolarge"} // a form with more than its page takes
	ErrDenied   = &ProblemError{http.StatusForbidden, "denied"}               // whoever has signed in may not do this
	ErrStale    = &ProblemError{http.StatusConflict, "stale"}                 // somebody has changed it meanwhile
	ErrFull     = &ProblemError{http.StatusServiceUnavailable, "full"}        // too many documents at the same time
	ErrBusy     = &ProblemError{http.StatusTooManyRequests, "busy"}           // too many requests
)

// Problem is what an error is to readers. Errors that are no *ProblemError are reported, and are ErrFault.
func (v *Visit) Problem(err error) *ProblemError {
	if p, ok := errors.AsType[*ProblemError](err); ok {
		return p
	}
	v.Fault(err)
	return ErrFault
}

// Fault reports an error that readers could not help, unless the browser has gone.
func (v *Visit) Fault(err error) {
	if v.f.Config.Fault != nil && v.R.Context().Err() == nil {
		v.f.Config.Fault(v.R.URL.Path, err)
	}
}

// ProblemContent is the content of the page "problem" as ShowProblem fills it.
type ProblemContent struct {
	Text, Next string
	Retry      string // link that tries again, "" for none
}

// ShowProblem writes the page of a problem.
func (v *Visit) ShowProblem(p *ProblemError) {
	if v.f.Config.Problem != nil {
		v.f.Config.Problem(v, p)
		return
	}
	c := ProblemContent{Text: v.Text(p.Key + ".text"), Next: v.Text(p.Key + ".next")}
	if p == ErrForm || p == ErrStale {
		c.Retry = v.R.URL.Path
	}
	v.ShowProblemPage(p, &Page{Title: v.Text(p.Key + ".title"), Content: c})
}

// ShowProblemPage writes the page of a problem with a content of the set of pages. If that fails, it is reported.
func (v *Visit) ShowProblemPage(p *ProblemError, page Shown) {
	if p.Status == http.StatusServiceUnavailable {
		v.W.Header().Set("Retry-After", "10")
	}
	if err := v.Show(p.Status, "problem", page); err != nil {
		v.Fault(err)
		v.Headers()
		http.Error(v.W, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}
