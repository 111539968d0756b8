package site

import "net/http"

// Problems of requests that the authorization server does not answer, because nobody can tell which app asks or where
// the answer would go.
var (
	problemUnknown   = &problem{http.StatusBadRequest, "unknown"}
	problemHeld      = &problem{http.StatusForbidden, "held"}
	problemRedirect  = &problem{http.StatusBadRequest, "redirect"}
	problemMalformed = &problem{http.StatusBadRequest, "malformed"}
)

// Explain shows why an app's request has no answer. It is what authserver.Config.Explain wants; the code is shown
// too, for the developers of the app.
func (s *Site) Explain(w http.ResponseWriter, r *http.Request, status int, code string) {
	p := *problemMalformed
	switch code {
	case "unknown_client":
		p = *problemUnknown
	case "held_client", "unauthorized_client":
		p = *problemHeld
	case "redirect_mismatch":
		p = *problemRedirect
	case "temporarily_unavailable":
		p = *problemFault
	}
	p.status = status
	v := &visit{Site: s, w: w, r: r}
	v.lang = v.language()
	v.showProblem(&p, code)
}
