package portal

import (
	"context"
	"maps"
	"slices"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Where applications come from.
const (
	sourcePortal       = "portal"
	sourceForm         = "form"
	sourceRegistration = "registration"
)

// didStart is the event of a draft.
const didStart = "start"

// form is the form of an application.
func (p *Portal) form(r *Application) *forms.Form { return p.Forms.Form(r.Form) }

// Start begins an application as a draft: for the sandbox with app "", for production of an app. There is one open
// one of a kind for an organisation or app: accounts.ErrExists.
func (a *Actor) Start(ctx context.Context, kind lifecycle.Kind, org, app string) (*Application, error) {
	if err := a.mayAct(org, Owner, Developer); err != nil {
		return nil, err
	}
	r := &record{Application: Application{Kind: kind, Source: sourcePortal, Org: org, State: lifecycle.Draft, Form: forms.Questionnaire}}
	switch {
	case kind == lifecycle.Production && app != "":
		r.App, r.Form = app, forms.Production
	case kind != lifecycle.Sandbox || app != "":
		return nil, &InputError{"kind", "kind"}
	}
	err := a.tx(ctx, func(ctx context.Context, tx *step) error {
		r := r // f may run again
		names, err := database.Column(ctx, tx, `SELECT name FROM portal_organisations WHERE id = $1`, org)
		if r.OrgName, err = first(names, err); err != nil {
			return err
		}
		if kind == lifecycle.Production {
			x, err := a.app(ctx, tx, app)
			if err != nil {
				return err
			}
			if x.Org != org {
				return accounts.ErrNotFound
			}
			r.AppName, r.Answers = x.Settings.Name, a.prefilled(x)
		}
		if err := a.addApplication(ctx, tx, r); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didStart, Application: r.ID, Org: org, App: app, To: r.State})
	})
	if err != nil {
		return nil, err
	}
	return a.view(ctx, a.db, r)
}

// prefilled are answers that the settings of an app give already: nothing is typed twice.
func (p *Portal) prefilled(app *App) forms.Answers {
	out := forms.Answers{}
	for id, v := range map[string]string{"policy_url": app.Settings.Policy, "terms_url": app.Settings.Terms, "website": app.Settings.Homepage, "app_name": app.Settings.Name} {
		if v != "" && p.Forms.Form(forms.Production).Question(id) != nil {
			out[id] = []string{v}
		}
	}
	return out
}

// see finds an application that the actor may see.
func (a *Actor) see(ctx context.Context, q database.Queryer, id string) (*record, error) {
	r, err := a.application(ctx, q, id)
	if err != nil {
		return nil, err
	}
	if err := a.maySee(r.Org); err != nil {
		return nil, err
	}
	return r, nil
}

// view is an application as the actor may see it. Applicants see their draft, and nothing that staff have written among
// themselves; staff see what was submitted, and nothing that is not submitted yet.
func (a *Actor) view(ctx context.Context, q database.Queryer, r *record) (*Application, error) {
	v := r.Application
	if a.roleIn(r.Org) != "" {
		v.hideStaff()
		return &v, nil
	}
	v.Answers = nil
	if v.Revision > 0 {
		last, err := a.revision(ctx, q, r.ID, r.Revision)
		if err != nil {
			return nil, err
		}
		v.Answers = last.Answers
	}
	return &v, nil
}

// hideStaff takes out what staff have written among themselves, and who of them decided.
func (v *Application) hideStaff() {
	v.Assignee, v.Checks, v.Proposal, v.Reviews = "", nil, nil, nil
	if v.Decision != nil {
		d := *v.Decision
		d.By = ""
		v.Decision = &d
	}
}

// Application finds one that the actor may see.
func (a *Actor) Application(ctx context.Context, id string) (*Application, error) {
	r, err := a.see(ctx, a.db, id)
	if err != nil {
		return nil, err
	}
	return a.view(ctx, a.db, r)
}

// Applications lists those of an organisation, newest first. The actor must be able to see it.
func (a *Actor) Applications(ctx context.Context, org string) ([]*Application, error) {
	if err := a.maySee(org); err != nil {
		return nil, err
	}
	list, err := database.List(ctx, a.db, readApplication, applicationQuery+`WHERE a.org = $1 ORDER BY a.created DESC, a.id`, org)
	if err != nil {
		return nil, err
	}
	return a.views(ctx, list)
}

func (a *Actor) views(ctx context.Context, list []*record) ([]*Application, error) {
	out := make([]*Application, 0, len(list))
	for _, r := range list {
		v, err := a.view(ctx, a.db, r)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// SaveDraft keeps answers, as far as their form is right (forms.Check, not final), and returns the new version. Documents
// are those that were uploaded, whatever answers say of them.
// It fails with ErrStale, *NeedError (Complete) with the problems, or *lifecycle.IllegalError if the state is not Editable.
func (a *Actor) SaveDraft(ctx context.Context, id string, version int, answers forms.Answers) (*Application, error) {
	var r *record
	err := a.tx(ctx, func(ctx context.Context, tx *step) (err error) {
		if r, err = a.see(ctx, tx, id); err != nil {
			return err
		}
		if err := a.mayAct(r.Org, Owner, Developer); err != nil {
			return err
		}
		switch {
		case version != r.Version:
			return ErrStale
		case !lifecycle.Editable(r.State):
			return &lifecycle.IllegalError{Kind: r.Kind, From: r.State, Action: "save"}
		}
		form := a.form(&r.Application)
		if problems := form.Check(answers, false); len(problems) > 0 {
			return &NeedError{Need: lifecycle.Complete, Problems: problems}
		}
		kept := forms.Answers{}
		for _, q := range form.Questions() {
			from := answers
			if q.Kind == forms.Document {
				from = r.Answers
			}
			if v := from[q.ID]; len(v) > 0 {
				kept[q.ID] = slices.Clone(v)
			}
		}
		if maps.EqualFunc(kept, r.Answers, slices.Equal[[]string]) {
			return nil // nobody's version is made stale by nothing
		}
		r.Answers = kept
		return a.saveApplication(ctx, tx, r)
	})
	if err != nil {
		return nil, err
	}
	return a.view(ctx, a.db, r)
}

// Events lists the steps of an application, oldest first. Applicants see no notes, nothing that is not decided, and nobody
// of the staff.
func (a *Actor) Events(ctx context.Context, id string) ([]*Event, error) {
	r, err := a.see(ctx, a.db, id)
	if err != nil {
		return nil, err
	}
	list, err := database.List(ctx, a.db, readEvent, eventQuery+` WHERE application = $1 ORDER BY id`, id)
	if err != nil {
		return nil, err
	}
	return list, a.show(ctx, r.Org, list)
}
