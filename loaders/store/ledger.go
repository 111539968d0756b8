package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// The ledger of a store is the checkpoints of all runs.

const ledgerSpace = "ledger/"

// ledger is the prefix of the names of a run's checkpoints; the zero byte keeps the id of one run
// from being a prefix of another's.
func ledger(run string) string { return ledgerSpace + run + "\x00" }

// Ledger returns what the checkpoints of a store account for, by run: of runs that
// have finished, and of those that were stopped.
func Ledger(s store.Handle) (map[string]*pipeline.Account, error) {
	accounts := map[string]*pipeline.Account{}
	err := eachCheckpoint(s, ledgerSpace, func(name string, cp *pipeline.Checkpoint) {
		run, _, _ := strings.Cut(strings.TrimPrefix(name, ledgerSpace), "\x00")
		if accounts[run] == nil {
			accounts[run] = new(pipeline.Account)
		}
		accounts[run].Add(&cp.Account)
	})
	return accounts, err
}

// eachCheckpoint calls f for the checkpoints whose names begin with space.
func eachCheckpoint(s store.Handle, space string, f func(name string, cp *pipeline.Checkpoint)) error {
	for rec, err := range s.AllMeta(space) {
		var cp pipeline.Checkpoint
		if err == nil {
			err = json.Unmarshal(rec.Value, &cp)
		}
		if err != nil {
			return fmt.Errorf("read checkpoints: %w", err)
		}
		f(rec.Name, &cp)
	}
	return nil
}

// setAside joins the id of a run that was set aside and a number.
const setAside = "-before-"

// WasSetAside reports whether a run of Ledger was set aside, and which run it was.
func WasSetAside(run string) (of string, ok bool) {
	of, _, ok = strings.Cut(run, setAside)
	return of, ok
}

// SetAside gives the checkpoints of all runs to runs of other names, so that each run starts over
// and what it has loaded, also in earlier passes, is still accounted for. It is for a store whose
// state folder is lost: nothing there matches the checkpoints. Call it before the first Resume.
func (l *Loader) SetAside() error {
	accounts, err := Ledger(l.store)
	if err != nil {
		return err
	}
	for _, run := range slices.Sorted(maps.Keys(accounts)) {
		if _, done := WasSetAside(run); done {
			continue
		}
		if of, ok := HasEarlier(run); ok {
			if accounts[of] != nil {
				continue // it goes with its run
			}
			run = of
		}
		if err := moveAside(l.store, []string{run, run + earlier}, freeName(run, accounts)); err != nil {
			return fmt.Errorf("set run aside: %w", err)
		}
	}
	return nil
}

// freeName is a name for what a run has loaded before it starts over.
func freeName(run string, accounts map[string]*pipeline.Account) string {
	for n := 1; ; n++ {
		if name := fmt.Sprint(run, setAside, n); accounts[name] == nil {
			return name
		}
	}
}

// earlier follows the id of a run in the name of the run of Ledger that has its earlier passes.
const earlier = "-earlier"

// HasEarlier reports whether a run of Ledger has the earlier passes of a run, and of which. The
// manifests account for these passes, unless they are lost.
func HasEarlier(run string) (of string, ok bool) { return strings.CutSuffix(run, earlier) }

// Forget removes the checkpoints of a run, so that a run of this name starts over, and adds their
// account to that of its earlier passes. The resources stay; loading them again finds them
// Unchanged. Call it before the first Resume.
func (l *Loader) Forget(run string) error { return ForgetRun(l.store, run) }

// ForgetRun does what Loader.Forget does, for whoever has a store open. If another process loads the run
// meanwhile, its next checkpoint is refused.
func ForgetRun(s store.Handle, run string) error {
	return moveCheckpoints(s, []string{run + earlier, run}, func(of []store.MetaRecord) (put []store.MetaRecord, err error) {
		sum := pipeline.Checkpoint{Done: true}
		for _, r := range of {
			var cp pipeline.Checkpoint
			if err := json.Unmarshal(r.Value, &cp); err != nil {
				return nil, err
			}
			sum.Account.Add(&cp.Account)
		}
		value, err := json.Marshal(&sum)
		return []store.MetaRecord{{Name: ledger(run+earlier) + "sum", Value: value}}, err
	})
}

// SetRunAside gives the checkpoints of a run that has not finished to a run of another name: it can start over, and
// what it has loaded is still accounted for.
func SetRunAside(s store.Handle, run string) error {
	accounts, err := Ledger(s)
	if err != nil {
		return err
	}
	return moveAside(s, []string{run}, freeName(run, accounts))
}

// moveAside gives the checkpoints of runs to a run of another name.
func moveAside(s store.Handle, runs []string, name string) error {
	return moveCheckpoints(s, runs, func(of []store.MetaRecord) (put []store.MetaRecord, err error) {
		for _, r := range of {
			_, lane, _ := strings.Cut(r.Name, "\x00")
			put = append(put, store.MetaRecord{Name: ledger(name) + lane, Value: r.Value})
		}
		return put, nil
	})
}

// moveCheckpoints replaces the checkpoints of runs by others, unless one has changed meanwhile: then it tries again.
func moveCheckpoints(s store.Handle, runs []string, others func(of []store.MetaRecord) ([]store.MetaRecord, error)) error {
	for {
		var of []store.MetaRecord
		for _, run := range runs {
			for r, err := range s.AllMeta(ledger(run)) {
				if err != nil {
					return fmt.Errorf("read checkpoints: %w", err)
				}
				of = append(of, store.MetaRecord{Name: r.Name, Value: bytes.Clone(r.Value)})
			}
		}
		if len(of) == 0 {
			return nil
		}
		put, err := others(of)
		if err != nil {
			return fmt.Errorf("move checkpoints: %w", err)
		}
		c := store.Commit{Guards: of, Put: put}
		for _, r := range of {
			if !slices.ContainsFunc(put, func(p store.MetaRecord) bool { return p.Name == r.Name }) {
				c.Put = append(c.Put, store.MetaRecord{Name: r.Name})
			}
		}
		err = s.Apply(context.Background(), &fhir.Batch{}, func([]store.Outcome) (store.Commit, error) { return c, nil })
		if !errors.Is(err, store.ErrChanged) {
			return err
		}
	}
}

// Corrected returns what corrections by hand have done to a store, by type; names are those of the
// corrections.
func Corrected(s store.Handle) (all map[string]store.Corrected, names []string, err error) {
	all = map[string]store.Corrected{}
	for r, err := range s.AllMeta(store.CorrectedSpace) {
		var of map[string]store.Corrected
		if err == nil {
			err = json.Unmarshal(r.Value, &of)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read corrections: %w", err)
		}
		names = append(names, strings.TrimPrefix(r.Name, store.CorrectedSpace))
		for typ, n := range of {
			sum := all[typ]
			sum.Deleted, sum.Restored, sum.Replaced, sum.Erased = sum.Deleted+n.Deleted, sum.Restored+n.Restored, sum.Replaced+n.Replaced, sum.Erased+n.Erased
			all[typ] = sum
		}
	}
	return all, names, nil
}
