package portal

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// need fails with *NeedError, or *InputError, if the move lacks something.
func (m *move) need(ctx context.Context, q database.Queryer, n lifecycle.Need) error {
	has, err := true, error(nil)
	switch n {
	case lifecycle.Complete:
		return m.complete()
	case lifecycle.Attested:
		return m.attested()
	case lifecycle.Evidence:
		if len(m.seen.missing) > 0 {
			return &NeedError{Need: n, Missing: slices.Clone(m.seen.missing)}
		}
	case lifecycle.Terms:
		has = m.Rules.TermsVersion == "" || m.actor != nil && m.actor.Person != nil && m.actor.Person.Terms == m.Rules.TermsVersion
	case lifecycle.SandboxAccess:
		has, err = m.opened(ctx, q, m.r.Org)
	case lifecycle.Identity:
		has = m.proofed()
	case lifecycle.Reason:
		has = m.in.Reason != ""
	case lifecycle.Criterion:
		has = slices.Contains(m.Criteria(), m.in.Criterion)
	case lifecycle.Unrelated:
		has, err = m.unrelated(ctx, q)
	case lifecycle.OtherPerson:
		has = !m.Rules.FourEyes || m.r.Proposal != nil && m.r.Proposal.By != m.by()
	case lifecycle.Signed:
		_, security := m.r.Reviews["security"]
		_, privacy := m.r.Reviews["privacy"]
		has = security && privacy && (!m.Rules.Demo || !m.r.Demo.IsZero())
	case lifecycle.ForApproval:
		has = m.r.Proposal != nil && m.r.Proposal.Approve
	case lifecycle.ForDenial:
		has = m.r.Proposal != nil && !m.r.Proposal.Approve
	case lifecycle.Automatic:
		has, err = m.decidesItself(ctx, q, m.r)
	case lifecycle.Undecided:
		has, err = m.undecided(ctx, q)
	default: // a need that nobody looks at would be one that nobody has
		has = false
	}
	if err == nil && !has {
		err = &NeedError{Need: n}
	}
	return err
}

// decidesItself reports whether the rules let the portal approve access to the sandbox. Who was refused or cut off once, with
// this application or another one, for this organisation or another one, is looked at by a person.
func (p *Portal) decidesItself(ctx context.Context, q database.Queryer, r *record) (bool, error) {
	if p.Rules.SandboxReview != "automatic" || r.More {
		return false, nil
	}
	troubled, err := p.troubled(ctx, q, r.Org)
	return !troubled && err == nil, err
}

// Criteria are the codes of the grounds on which an app may be refused or cut off: those of the rules, or all gates of the
// forms.
func (p *Portal) Criteria() []string {
	if p.Rules.Criteria != nil {
		return slices.Clone(p.Rules.Criteria)
	}
	return DefaultCriteria(p.Forms)
}

// DefaultCriteria are the codes of all criteria of the group gate: those about authenticity, contact and technical
// security. Privacy is no ground (42 CFR 431.60(e)).
func DefaultCriteria(set *forms.Set) (codes []string) {
	for _, c := range set.Criteria() {
		if c.Group == forms.Gate {
			codes = append(codes, c.Code)
		}
	}
	return codes
}

// complete fails unless all that is asked is answered, and the settings are fit for production. Answers that contradict
// one another keep nobody out, since the rules that find them are of thumb: reviewers see them.
func (m *move) complete() error {
	answers := forms.Answers{}
	maps.Copy(answers, m.answers)
	if slices.Contains(m.Needs, lifecycle.Attested) { // which says itself what is not attested
		for _, id := range append(m.attestations(), authority, "signer_name", "signer_title", "signer_date") {
			if q := m.form.Question(id); q != nil && len(answers[id]) == 0 {
				answers[id] = []string{map[bool]string{true: "yes", false: "2000-01-01"}[q.Kind == forms.Attest]}
			}
		}
	}
	problems := m.form.Check(answers, true)
	problems = append(problems, m.form.NotYet(answers, m.at.In(m.Zone).Format("2006-01-02"))...)
	if len(problems) > 0 {
		return &NeedError{Need: lifecycle.Complete, Problems: problems}
	}
	if s := m.settings(); s != nil {
		return m.checkSettings(s, InProduction)
	}
	return nil
}

// settings are those that the move is about: what is asked for, or what the app has.
func (m *move) settings() *Settings {
	if m.app == nil {
		return nil
	}
	s := m.app.Settings.clone()
	if m.Action == lifecycle.Change && m.in.Settings != nil {
		s = m.in.Settings.clone()
	}
	s.Logo = m.app.Logo
	return s
}

// authority is the statement that somebody may bind the publisher; Input.Bind makes it.
const authority = "signer_authority"

// attestations are the ids of the statements that must be made, each by itself.
func (m *move) attestations() (ids []string) {
	for _, q := range m.form.Visible(m.answers) {
		if q.Kind == forms.Attest && q.Required && q.ID != authority {
			ids = append(ids, q.ID)
		}
	}
	return ids
}

// attesting are the answers with the statements of this move, and none of before.
func (m *move) attesting() forms.Answers {
	out := forms.Answers{}
	for id, v := range m.r.Answers {
		if q := m.form.Question(id); q == nil || q.Kind != forms.Attest {
			out[id] = v
		}
	}
	for _, id := range m.in.Attest {
		if q := m.form.Question(id); q != nil && q.Kind == forms.Attest {
			out[id] = []string{"yes"}
		}
	}
	if q := m.form.Question(authority); q != nil && m.in.Bind {
		out[authority] = []string{"yes"}
	}
	for id, v := range map[string]string{"signer_name": m.in.Name, "signer_title": m.in.Title, "signer_date": m.at.In(m.Zone).Format("2006-01-02")} {
		if q := m.form.Question(id); q != nil && strings.TrimSpace(v) != "" {
			out[id] = []string{strings.TrimSpace(v)}
		}
	}
	return out
}

// attested fails unless each statement is made with this move, by somebody who may bind the organisation.
func (m *move) attested() error {
	var missing []string
	for _, id := range m.attestations() {
		if !slices.Contains(m.in.Attest, id) {
			missing = append(missing, id)
		}
	}
	for field, has := range map[string]bool{"name": strings.TrimSpace(m.in.Name) != "", "title": strings.TrimSpace(m.in.Title) != "", "bind": m.in.Bind} {
		if !has {
			missing = append(missing, field)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return &NeedError{Need: lifecycle.Attested, Missing: missing}
}

// proofed reports whether the identity of who acts is proofed as the rules want it.
func (m *move) proofed() bool {
	if m.Rules.Proof == "" {
		return true
	}
	if m.actor == nil || m.actor.Person == nil {
		return false
	}
	proof := m.actor.Person.Proof
	return proof.State == "passed" && (m.Rules.Proof == "either" || m.Rules.Proof == proof.Method)
}

// unrelated reports whether who acts has nothing to do with the applicant, and never had.
func (m *move) unrelated(ctx context.Context, q database.Queryer) (bool, error) {
	if m.actor == nil || m.actor.Person == nil {
		return true, nil
	}
	if m.actor.roleIn(m.r.Org) != "" {
		return false, nil
	}
	related, err := m.related(ctx, q, m.r, m.actor.Person)
	return !related, err
}

// undecided reports whether who acts has taken no part in what is appealed.
func (m *move) undecided(ctx context.Context, q database.Queryer) (bool, error) {
	list, err := database.Column(ctx, q, `SELECT DISTINCT action FROM portal_events WHERE application = $1 AND actor = $2`, m.r.ID, m.by())
	return !slices.ContainsFunc(list, func(action string) bool {
		switch lifecycle.Action(action) {
		case lifecycle.Propose, lifecycle.ProposeDeny, lifecycle.Deny, lifecycle.Approve, lifecycle.Uphold, lifecycle.Overturn:
			return true
		}
		return false
	}), err
}

// asks takes the settings that a change asks for.
func (m *move) asks(ctx context.Context, tx *step) error {
	if m.app == nil || m.app.Approved == nil {
		return &InputError{"settings", "app"}
	}
	s := m.settings()
	if m.in.Settings == nil {
		return &InputError{"settings", "required"}
	}
	if same(s, m.app.Approved) {
		return &InputError{"settings", "same"}
	}
	if s.JWKS != "" && s.JWKS != m.app.Approved.JWKS && s.JWKS != m.app.Settings.JWKS {
		return &InputError{"jwks", "proof"} // SetKeys has seen none
	}
	if err := m.foreignName(ctx, s.Name); err != nil {
		return err
	}
	if err := m.takeName(ctx, tx, m.app, s.Name); err != nil {
		return err
	}
	if err := m.takeKeys(ctx, tx, m.app.ID, s.JWKS); err != nil {
		return err
	}
	m.app.Asked, m.dirty = s, true
	return nil
}

// same reports whether two settings are the same but for what needs no review.
func same(a, b *Settings) bool {
	x, y := a.clone(), b.clone()
	for _, s := range []*Settings{x, y} {
		s.About, s.Platforms = nil, nil
	}
	return x.Name == y.Name && x.Kind == y.Kind && x.Auth == y.Auth && slices.Equal(x.RedirectURIs, y.RedirectURIs) && slices.Equal(x.Scopes, y.Scopes) &&
		x.JWKS == y.JWKS && x.JWKSURI == y.JWKSURI && x.Offline == y.Offline && x.Category == y.Category && x.Homepage == y.Homepage &&
		x.Policy == y.Policy && x.Terms == y.Terms && x.Support == y.Support && x.Audience == y.Audience && x.Utah == y.Utah && x.Logo == y.Logo
}

// unreviewed takes of settings what needs no review: what members read as the app's own words, and where it can be used.
func (s *Settings) unreviewed(from *Settings) bool {
	changed := !slices.Equal(s.Platforms, from.Platforms) || !maps.Equal(s.About, from.About)
	s.Platforms, s.About = slices.Clone(from.Platforms), maps.Clone(from.About)
	return changed
}

// printable reports whether a text has nothing but what can be read, and lines.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' || r == unicode.ReplacementChar || unicode.Is(unicode.Bidi_Control, r)
	})
}
