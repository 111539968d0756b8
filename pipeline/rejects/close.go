package rejects

import (
	"context"
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Close makes rejects obsolete that need no further action after a run: those of earlier runs if
// the target has their record in the same or a newer version, or if this run rejected it again;
// those of this run if the target has something newer. It calls seen for each reject of this run,
// without its rows. Without a target it closes nothing.
func (s *Store) Close(ctx context.Context, run string, target pipeline.Target, seen func(*pipeline.Reject)) error {
	runs, err := s.Runs()
	if err != nil {
		return err
	}
	c := closing{ctx, target, Obsolete, map[string]State{}, map[string]string{}}
	if slices.Contains(runs, run) {
		err := s.Heads(run, func(x *pipeline.Reject) error {
			seen(x)
			if err := ctx.Err(); err != nil || target == nil {
				return err
			}
			return c.own(run, x)
		})
		if err != nil {
			return err
		}
	}
	for _, earlier := range runs {
		if earlier == run || target == nil {
			continue
		}
		err := s.Heads(earlier, func(x *pipeline.Reject) error {
			if err := ctx.Err(); err != nil || s.State(earlier, x.ID) != Open {
				return err
			}
			return c.earlier(earlier, x)
		})
		if err != nil {
			return err
		}
	}
	return s.SetState(c.closed)
}

// Arrived resolves the open rejects without rows of which the target has the resources by now. A replay cannot
// read them; they come with the claims that mention them. Without a target it resolves nothing.
func (s *Store) Arrived(ctx context.Context, target pipeline.Target) error {
	if target == nil {
		return nil
	}
	runs, err := s.Runs()
	if err != nil {
		return err
	}
	c := closing{ctx: ctx, target: target, as: Resolved, closed: map[string]State{}}
	for _, run := range runs {
		err := s.Heads(run, func(x *pipeline.Reject) error {
			if err := ctx.Err(); err != nil || x.RowCount > 0 || s.State(run, x.ID) != Open {
				return err
			}
			return c.earlier(run, x)
		})
		if err != nil {
			return err
		}
	}
	return s.SetState(c.closed)
}

// closing finds the rejects that need no further action after a run.
type closing struct {
	ctx    context.Context // of the call
	target pipeline.Target
	as     State // what they become
	closed map[string]State
	again  map[string]string // by resource: the newest version that this run rejected
}

// own looks at a reject of the run.
func (c *closing) own(run string, x *pipeline.Reject) error {
	for _, res := range x.Resources {
		if old, ok := c.again[res]; !ok || reaches(x.Version, old) {
			c.again[res] = x.Version
		}
	}
	newer, err := covered(x, func(resource string) (bool, error) {
		version, ok, err := c.target.SourceVersion(c.ctx, resource)
		return ok && reaches(version, x.Version) && !reaches(x.Version, version), err
	})
	if newer {
		c.closed[run+"/"+x.ID] = c.as
	}
	return err
}

// earlier looks at an open reject of an earlier run.
func (c *closing) earlier(run string, x *pipeline.Reject) error {
	done, err := covered(x, func(resource string) (bool, error) {
		if version, ok := c.again[resource]; ok && reaches(version, x.Version) {
			return true, nil
		}
		version, ok, err := c.target.SourceVersion(c.ctx, resource)
		if changedThere(x, resource) && reaches(x.Version, version) {
			return false, err // it may still be what was there when the target refused
		}
		return ok && reaches(version, x.Version), err
	})
	if done {
		c.closed[run+"/"+x.ID] = c.as
	}
	return err
}

// changedThere reports whether the target has refused a resource because somebody else has changed it
// there: then it had one of this version before, and only a newer one says that the reject is obsolete.
func changedThere(x *pipeline.Reject, resource string) bool {
	return slices.ContainsFunc(x.Problems, func(p pipeline.RejectProblem) bool {
		return p.Rule == pipeline.RuleServerChanged && p.Resource == resource
	})
}

// reaches reports whether a version is as new as another or newer.
func reaches(version, other string) bool {
	order, ok := fhir.CompareVersions(version, other)
	return ok && order >= 0
}

// covered reports whether f is true of all resources that a reject would have become.
func covered(x *pipeline.Reject, f func(resource string) (bool, error)) (bool, error) {
	for _, res := range x.Resources {
		if ok, err := f(res); err != nil || !ok {
			return false, err
		}
	}
	return len(x.Resources) > 0, nil
}
