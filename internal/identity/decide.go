package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"cpcds2fhir/internal/accounts"
)

// byRule is the source of links that rules make.
const byRule = "rule"

// decision is what rules say of a person.
type decision struct {
	links   map[string]found // by patient
	heard   map[string]bool  // roles of which the provider has said enough for a rule to decide
	refused *RefusedError    // why there is no member that the person is; nil if there is one, or nobody asked
}

type found struct{ role, rule string }

// person makes sure that what the accounts say of a person is what the rules say now, and returns the user. It fails
// with *RefusedError if there is no member that the person may speak for.
func (l *Login) person(ctx context.Context, who *identified) (*accounts.User, error) {
	user, err := l.accounts.EnsureUser(ctx, l.Issuer, who.subject)
	if err != nil {
		return nil, fmt.Errorf("find the user: %w", err)
	}
	before, err := l.accounts.Links(ctx, user.ID, "")
	if err != nil {
		return nil, fmt.Errorf("find the links of a user: %w", err)
	}
	byHand, isSelf := map[string]bool{}, false
	for _, k := range before {
		if k.Source != byRule {
			byHand[k.Patient] = true
			isSelf = isSelf || k.Role == self
		}
	}
	d, err := l.decide(ctx, who.claims, isSelf, user.ID)
	if err != nil {
		return nil, err
	}
	if err := l.relink(ctx, user.ID, before, byHand, d); err != nil {
		return nil, err
	}
	if len(byHand)+len(d.links) > 0 {
		return user, nil
	}
	if d.refused == nil {
		d.refused = &RefusedError{Code: CodeNone}
	}
	d.refused.User = user.ID
	return nil, d.refused
}

// relink removes links of rules that no longer hold, and adds those that are new. What people have linked stays, and
// so do links of a role of which nothing was learnt: they open nothing without a login.
func (l *Login) relink(ctx context.Context, user string, before []*accounts.Link, byHand map[string]bool, d *decision) error {
	have := map[string]bool{}
	for _, k := range before {
		if byHand[k.Patient] {
			continue
		}
		if d.links[k.Patient].role == k.Role || !d.heard[k.Role] {
			have[k.Patient] = true
			continue
		}
		err := l.accounts.RemoveLink(ctx, user, k.Patient)
		if err != nil && !errors.Is(err, accounts.ErrNotFound) { // another login of the person was faster
			return fmt.Errorf("remove a link: %w", err)
		}
		if l.Events.Unlinked != nil {
			l.Events.Unlinked(user, k.Patient)
		}
	}
	for _, patient := range slices.Sorted(maps.Keys(d.links)) {
		f := d.links[patient]
		if have[patient] || byHand[patient] {
			continue
		}
		if err := l.accounts.AddLink(ctx, &accounts.Link{User: user, Patient: patient, Role: f.role, Source: byRule, Created: l.Now()}); err != nil {
			return fmt.Errorf("add a link: %w", err)
		}
		if l.Events.Linked != nil {
			l.Events.Linked(user, patient, f.role, f.rule)
		}
	}
	return nil
}

// decide asks the rules in their order. known says that somebody has linked the person to the member that they are.
func (l *Login) decide(ctx context.Context, c claims, known bool, user string) (*decision, error) {
	d := &decision{links: map[string]found{}, heard: map[string]bool{self: known}}
	if !known {
		d.refused = &RefusedError{Code: CodeClaims, User: user}
	}
	for i := range l.rules {
		r := &l.rules[i]
		var err error
		if r.role == representative {
			err = l.represented(ctx, r, c, d, user)
		} else if d.refused != nil && d.refused.Code != CodeAmbiguous {
			err = l.oneself(ctx, r, c, d)
		}
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// oneself asks a rule which member the person is.
func (l *Login) oneself(ctx context.Context, r *rule, c claims, d *decision) error {
	w, heard, ok := r.of(c)
	d.heard[self] = d.heard[self] || heard
	if !ok {
		return nil
	}
	list, err := l.find(ctx, w)
	if err != nil {
		return err
	}
	switch len(list) {
	case 0:
		d.refused.Code, d.refused.Rule = CodeNone, r.name
	case 1:
		d.links[list[0]], d.refused = found{self, r.name}, nil
	default: // never guess
		d.refused.Code, d.refused.Rule = CodeAmbiguous, r.name
	}
	return nil
}

// represented asks a rule whom the person represents.
func (l *Login) represented(ctx context.Context, r *rule, c claims, d *decision, user string) error {
	entries := []any{nil}
	if r.each != "" {
		var ok bool
		if entries, ok = c.find(r.each).([]any); !ok {
			entries = []any{c.find(r.each)}
		} else if len(entries) == 0 && r.asked(c) { // nobody, says the provider
			d.heard[representative] = true
		}
	}
	for _, e := range entries[:min(len(entries), entriesMax)] {
		own := c
		if r.each != "" {
			own = claims{}
			for k, v := range c {
				own[k] = v
			}
			own["each"] = e
		}
		w, heard, ok := r.of(own)
		d.heard[representative] = d.heard[representative] || heard
		if !ok {
			continue
		}
		list, err := l.find(ctx, w)
		if err != nil {
			return err
		}
		if len(list) == 1 {
			if _, ok := d.links[list[0]]; !ok {
				d.links[list[0]] = found{representative, r.name}
			}
			continue
		}
		if l.Events.Passed != nil {
			code := CodeNone
			if len(list) > 1 {
				code = CodeAmbiguous
			}
			l.Events.Passed(code, r.name, user)
		}
	}
	return nil
}

// find returns the ids of the members that a rule matches, each once.
func (l *Login) find(ctx context.Context, w *wanted) (list []string, err error) {
	members, err := l.members.Find(ctx, w.query())
	if err != nil {
		return nil, fmt.Errorf("find members by the rule %s: %w", w.name, err)
	}
	seen := map[string]bool{}
	for i := range members {
		m := &members[i]
		if seen[m.Patient] || m.Patient == "" || !w.matches(m) {
			continue
		}
		if m.Deceased && w.role == self { // somebody else has signed in, or the record is wrong: people must look
			continue
		}
		seen[m.Patient] = true
		list = append(list, m.Patient)
	}
	return list, nil
}
