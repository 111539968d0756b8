// Package formstest fills in forms for tests.
package formstest

import (
	"strings"

	"cpcds2fhir/internal/portal/forms"
)

// Filled returns answers to all that a form asks, attestations too.
func Filled(form *forms.Form) forms.Answers {
	a := forms.Answers{}
	Complete(form, a)
	return a
}

// Complete answers what is missing or wrong among the answers to a form.
func Complete(form *forms.Form, a forms.Answers) {
	for range 100 {
		problems := form.Check(a, true)
		if len(problems) == 0 {
			return
		}
		for _, p := range problems {
			a[p.Question] = []string{answerTo(form.Question(p.Question))}
		}
	}
	panic("the form cannot be filled in")
}

func answerTo(q *forms.Question) string {
	switch q.Kind {
	case forms.Choice, forms.Choices:
		return q.Options[0].Value
	case forms.YesNo, forms.Attest:
		return "yes"
	case forms.URL:
		return "https://www.apps.example/" + q.ID
	case forms.Email:
		return "ann@apps.example"
	case forms.Phone:
		return "+1 555 010 0199"
	case forms.Date:
		return "2026-01-15"
	case forms.Number:
		if q.Limits.From != nil {
			return "7"
		}
		return "1"
	case forms.Document:
		return strings.Repeat("0", 32)
	}
	return "About " + q.ID
}
