package bundle

import (
	"context"
	"fmt"
	"net/http"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
)

// judge turns the answers to a bundle into those of its entries, and goes on with what is undecided. An
// answer that is missing is unknown.
func (c *call) judge(ctx context.Context, b bundle, answers []fhirclient.Answer) error {
	var left, doubtful bundle
	for i := range b.writes {
		a := fhirclient.Answer{Meaning: fhirclient.Unclear}
		if i < len(answers) {
			a = answers[i]
		}
		one := b.part(i, i+1)
		one.tries = b.tries
		var err error
		switch c.meaning(&one.writes[0], &a) {
		case fhirclient.Done:
			c.store(one.entries[0], &a)
		case fhirclient.Refused, fhirclient.Dangling:
			c.refuse(one.entries[0], c.refusal(&a))
		case fhirclient.Conflict:
			err = c.conflict(ctx, one, &a)
		case fhirclient.Split:
			if b.len() == 1 {
				err = c.alone(ctx, one, &a)
			} else {
				left.add(one.entries[0], one.writes[0])
			}
		case fhirclient.Unclear:
			doubtful.add(one.entries[0], one.writes[0])
		default:
			err = &fhirclient.Error{
				Method: http.MethodPost, Path: c.kind(&c.settings), Status: a.Status, Outcome: a.Outcome, Meaning: a.Meaning, Retriable: true,
				Err: fmt.Errorf("it keeps putting off an entry of type %s", one.writes[0].Type),
			}
		}
		if err != nil {
			return err
		}
	}
	rest, err := c.settle(ctx, doubtful)
	if err != nil {
		return err
	}
	left.entries, left.writes = append(left.entries, rest.entries...), append(left.writes, rest.writes...)
	return c.again(ctx, b, left)
}

// meaning is what an answer means for a write.
func (c *call) meaning(w *fhirclient.Write, a *fhirclient.Answer) fhirclient.Meaning {
	deletion := len(w.JSON) == 0
	switch {
	case a.Status == 0:
		return fhirclient.Unclear
	case a.Stored():
		return fhirclient.Done
	case a.Meaning == fhirclient.Absent && deletion:
		return fhirclient.Done
	case a.Meaning == fhirclient.Absent && w.IfMatch != "":
		return fhirclient.Conflict // somebody has deleted it there
	case a.Meaning == fhirclient.Absent:
		return fhirclient.Refused
	case a.Meaning == fhirclient.Conflict && deletion && w.IfMatch == "":
		return fhirclient.Refused // something refers to it
	case a.Meaning == fhirclient.Done:
		return fhirclient.Refused // a status that the profile does not know
	}
	return a.Meaning
}

// alone answers the single entry of a bundle that the server would divide further. If it has taken others
// meanwhile, it is this one on which it fails.
func (c *call) alone(ctx context.Context, b bundle, a *fhirclient.Answer) error {
	if a.Status/100 == 5 || a.Status == http.StatusRequestTimeout {
		there, err := c.read(ctx, b)
		if err != nil {
			return err
		}
		done, err := c.isThere(&b.writes[0], &there[0])
		switch {
		case err != nil:
			return err
		case done:
			c.store(b.entries[0], &there[0])
			return nil
		case a.Status != http.StatusInternalServerError && b.tries < maxTimeouts:
			// What is between us and the server is slow now and then, whatever it is asked.
			if err := pause(ctx, b.tries); err != nil {
				return err
			}
			b.tries++
			return c.deliver(ctx, b)
		case c.stored.Load() == c.before:
			return &fhirclient.Error{
				Method: http.MethodPost, Path: c.kind(&c.settings), Status: a.Status, Outcome: a.Outcome, Meaning: a.Meaning, Retriable: true,
				Err: fmt.Errorf("the server fails on bundles, even on one of a single entry of type %s", b.writes[0].Type),
			}
		}
	}
	c.refuse(b.entries[0], c.refusal(a))
	return nil
}

// conflict answers the single entry of a bundle that the server does not write because of what it has. A
// deletion whose version is right is refused for another reason: something refers to the resource.
func (c *call) conflict(ctx context.Context, b bundle, a *fhirclient.Answer) error {
	if w := &b.writes[0]; len(w.JSON) == 0 {
		there, err := c.read(ctx, b)
		if err != nil {
			return err
		}
		if there[0].Stored() && there[0].Version == w.IfMatch {
			c.refuse(b.entries[0], c.refusal(a))
			return nil
		}
	}
	c.answers[b.entries[0]] = remote.Answer{Fate: remote.Conflict, Refusal: c.refusal(a)}
	return nil
}

// store answers an entry that the server has.
func (c *call) store(entry int, a *fhirclient.Answer) {
	c.stored.Add(1)
	e := &c.entries[entry]
	answer := remote.Answer{Fate: remote.Stored, Version: a.Version}
	if id := a.Location.ID; id != "" && id != e.ID {
		answer.ID = id
	} else if e.There.ID != "" && e.There.ID != e.ID {
		answer.ID = e.There.ID
	}
	c.answers[entry] = answer
}

// refuse answers an entry that does not get there.
func (c *call) refuse(entry int, r *pipeline.Refusal) {
	c.answers[entry] = remote.Answer{Fate: remote.Refused, Refusal: r}
}

// refusal says why the server does not accept a resource.
func (c *call) refusal(a *fhirclient.Answer) *pipeline.Refusal {
	r := &pipeline.Refusal{Rule: pipeline.RuleServerRefused, Status: a.Status}
	if a.Outcome != nil {
		r.Codes, r.Locations, r.Text = a.Outcome.Codes, a.Outcome.Locations, a.Outcome.Text
	}
	switch {
	case a.Status == http.StatusRequestEntityTooLarge:
		r.Rule = pipeline.RuleTooLarge
	case a.Meaning == fhirclient.Dangling:
		r.Rule = pipeline.RuleReferenceGone
	}
	return r
}

// settle finds out what became of writes that may have been done, and returns those that were not. On a
// server that makes no version of equal content all are sent again without asking: that changes nothing,
// and with If-Match the conflict is found out later.
func (c *call) settle(ctx context.Context, b bundle) (left bundle, err error) {
	if c.settings.SameVersion || b.len() == 0 {
		return b, nil
	}
	there, err := c.read(ctx, b)
	if err != nil {
		return left, err
	}
	for i := range b.writes {
		w, a := &b.writes[i], &there[i]
		done, err := c.isThere(w, a)
		switch {
		case err != nil:
			return left, err
		case done:
			c.store(b.entries[i], a)
		default:
			left.add(b.entries[i], *w)
		}
	}
	return left, nil
}

// read returns what the server has of the resources of a bundle.
func (c *call) read(ctx context.Context, b bundle) ([]fhirclient.Answer, error) {
	list := make([]fhirclient.Answer, b.len())
	var refs []fhirclient.Reference
	var at []int
	for i := range b.writes {
		w := &b.writes[i]
		if w.ID != "" {
			refs, at = append(refs, w.Reference), append(at, i)
			continue
		}
		found, err := c.server.Find(ctx, w.Type, w.Search)
		if err != nil {
			return nil, err
		}
		list[i].Status = http.StatusNotFound
		if len(found) > 0 {
			list[i] = found[0]
		}
	}
	if len(refs) == 0 {
		return list, nil
	}
	answers, err := c.server.Read(ctx, refs)
	if err != nil {
		return nil, err
	}
	for i := range answers {
		list[at[i]] = answers[i]
	}
	return list, nil
}

// isThere reports whether what the server has is what was to be written.
func (c *call) isThere(w *fhirclient.Write, a *fhirclient.Answer) (bool, error) {
	if len(w.JSON) == 0 {
		return a.Status == http.StatusNotFound || a.Status == http.StatusGone, nil
	}
	if !a.Stored() || len(a.JSON) == 0 {
		return false, nil
	}
	ours, err := remote.DigestOf(w.JSON, c.settings.Ignore, nil)
	if err != nil {
		return false, err
	}
	theirs, err := remote.DigestOf(a.JSON, c.settings.Ignore, nil)
	return err == nil && ours == theirs, err
}
