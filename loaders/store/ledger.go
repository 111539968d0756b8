package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline"
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
		if err := l.setRunAside(run, accounts); err != nil {
			return fmt.Errorf("set run aside: %w", err)
		}
	}
	return nil
}

func (l *Loader) setRunAside(run string, accounts map[string]*pipeline.Account) error {
	name := ""
	for n := 1; ; n++ {
		if name = fmt.Sprint(run, setAside, n); accounts[name] == nil {
			break
		}
	}
	records := map[string][]byte{}
	for _, of := range []string{run, run + earlier} {
		for rec, err := range l.store.AllMeta(ledger(of)) {
			if err != nil {
				return err
			}
			records[rec.Name] = nil
			records[ledger(name)+strings.TrimPrefix(rec.Name, ledger(of))] = bytes.Clone(rec.Value)
		}
	}
	return l.store.PutMeta(records)
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

// ForgetRun does what Loader.Forget does, for whoever has a store open.
func ForgetRun(s store.Handle, run string) error {
	sum := pipeline.Checkpoint{Done: true}
	records := map[string][]byte{}
	for _, of := range []string{run + earlier, run} {
		err := eachCheckpoint(s, ledger(of), func(name string, cp *pipeline.Checkpoint) {
			sum.Account.Add(&cp.Account)
			records[name] = nil
		})
		if err != nil {
			return fmt.Errorf("forget run: %w", err)
		}
	}
	if len(records) == 0 {
		return nil
	}
	value, err := json.Marshal(&sum)
	if err != nil {
		return fmt.Errorf("forget run: %w", err)
	}
	records[ledger(run+earlier)+"sum"] = value
	return s.PutMeta(records)
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
