package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/audit"
	"cpcds2fhir/internal/store"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/schemas/fhir"
)

// correctFlags are the flags of the commands that correct a store by hand.
type correctFlags struct {
	store   *string
	audit   string
	state   string
	note    string
	keepOut bool
	dryRun  bool
}

func (f *correctFlags) register(c *cobra.Command, keepOut bool) {
	c.Flags().StringVar(&f.audit, "audit", "", "the audit log is in `DIR` (default: the store's name with .audit)")
	c.Flags().StringVar(&f.note, "note", "", "say in the audit why, such as the number of an order")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be done, and do nothing")
	if keepOut {
		c.Flags().BoolVar(&f.keepOut, "keep-out", false, "do not let later loads bring it back")
	}
	cobra.CheckErr(c.MarkFlagDirname("audit"))
	cobra.CheckErr(c.RegisterFlagCompletionFunc("note", cobra.NoFileCompletions))
}

// auditOf is the folder of the audit log of a store.
func auditOf(store, named string) string {
	if named != "" {
		return named
	}
	return strings.TrimSuffix(strings.TrimPrefix(store, "store:"), "/") + ".audit"
}

// correction is a correction under way.
type correction struct {
	flags   *correctFlags
	store   store.Handle
	correct store.Corrector
	audit   *audit.Log // nil in a dry run
	record  audit.Record
	name    string // of the corrections in the store
	counts  map[string]int64
	out     io.Writer
}

// begin opens the store and the audit log, and says in it that a correction begins.
func (f *correctFlags) begin(c *cobra.Command, record audit.Record, name string) (*correction, error) {
	dir, err := storeNamed(*f.store)
	if err == nil {
		err = storeExists(dir)
	}
	if err != nil {
		return nil, err
	}
	x := &correction{flags: f, record: record, name: name, counts: map[string]int64{}, out: c.OutOrStdout()}
	if f.dryRun {
		x.store, err = openStore(dir)
	} else {
		x.store, err = storeloader.OpenHandle(dir, &storeloader.Options{})
	}
	if err != nil {
		return nil, err
	}
	x.correct = x.store.(store.Corrector)
	if f.dryRun {
		return x, nil
	}
	if x.audit, err = audit.Open(auditOf(dir, f.audit)); err == nil {
		x.record.User, x.record.Note = userName(), f.note
		if f.keepOut {
			x.record.Note = strings.TrimPrefix(x.record.Note+"; kept out", "; ")
		}
		err = x.append("begins")
	}
	if err != nil {
		return nil, errors.Join(err, x.close())
	}
	return x, nil
}

// userName is the user of the operating system.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// append adds to the audit what has come of the correction.
func (x *correction) append(what string) error {
	r := x.record
	r.Counts = maps.Clone(x.counts)
	r.Note = strings.Join(slices.DeleteFunc([]string{what, x.name, x.record.Note}, func(s string) bool { return s == "" }), "; ")
	return errors.Join(x.audit.Append(&r), x.audit.Sync())
}

func (x *correction) close() error {
	err := x.store.Close()
	if x.audit != nil {
		err = errors.Join(err, x.audit.Close())
	}
	return err
}

// end says in the audit how the correction has ended, and closes everything.
func (x *correction) end(err error) error {
	if x.audit != nil {
		what := "done"
		if err != nil {
			what = "stopped; what was done is counted"
		}
		err = errors.Join(err, x.append(what))
	}
	return errors.Join(err, x.close())
}

// correctAtOnce is how many resources are corrected in one act.
const correctAtOnce = 200

// apply does corrections, of one type at a time: see store.Correct. It counts what was done. In a dry run it
// counts what would be, as far as that is known without trying. done is how many resources it has changed.
func (x *correction) apply(ctx context.Context, list []store.Correction) (done int, err error) {
	for len(list) > 0 {
		n := slices.IndexFunc(list, func(c store.Correction) bool { return c.Type != list[0].Type })
		if n < 0 {
			n = len(list)
		}
		n = min(n, correctAtOnce)
		part := list[:n]
		list = list[n:]
		outcomes := make([]store.Outcome, len(part))
		if x.flags.dryRun {
			for i := range outcomes {
				switch outcomes[i] = store.Deleted; {
				case part[i].Do == store.Restore && part[i].To > 0:
					outcomes[i] = store.Updated
				case part[i].Do == store.Restore && (part[i].Type == fhir.Organization || part[i].Type == fhir.Practitioner):
					outcomes[i] = store.Stale
				}
			}
		} else {
			if outcomes, err = x.correct.Correct(ctx, x.name, part); err != nil {
				return done, err
			}
		}
		for i, o := range outcomes {
			if o != store.Unchanged && o != store.Stale {
				done++
			}
			if what := whatWasDone(&part[i], o); what != "" {
				x.counts[part[i].Type.String()+" "+what]++
			}
			if len(x.record.Resources) < correctAtOnce {
				x.record.Resources = append(x.record.Resources, fhir.Reference(part[i].Type, part[i].ID))
			}
		}
	}
	return done, nil
}

// keptBack is what was done with a resource that a rollback does not delete.
const keptBack = "kept, because others may refer to it"

func whatWasDone(c *store.Correction, o store.Outcome) string {
	switch {
	case c.Do == store.Erase:
		return "erased" // also if only the marks of a deletion were left
	case c.Do == store.Forget && o == store.Updated:
		return "with an erased version"
	case o == store.Deleted:
		return "deleted"
	case o == store.Updated:
		return "set back"
	case o == store.Created:
		return "restored"
	case o == store.Stale:
		return keptBack
	}
	return ""
}

// report prints what was done.
func (x *correction) report() {
	if len(x.counts) == 0 {
		fmt.Fprintln(x.out, "There was nothing to do.")
		return
	}
	if x.flags.dryRun {
		fmt.Fprintln(x.out, "This would be done:")
	}
	for _, what := range slices.Sorted(maps.Keys(x.counts)) {
		fmt.Fprintf(x.out, "%12s %s\n", comma(x.counts[what]), what)
	}
}

// named gives corrections that can be repeated a name of their own.
func named(action string) string {
	return action + "-" + time.Now().UTC().Format("20060102T150405Z") + "-" + rand.Text()[:6]
}

// references reads TYPE/ID arguments.
func references(args []string) (list []store.Correction, err error) {
	for _, a := range args {
		t, id, err := fhir.SplitReference(a)
		if err != nil {
			return nil, usagef("%q is not of the form TYPE/ID", a)
		}
		list = append(list, store.Correction{Type: t, ID: id})
	}
	return list, nil
}

func newStoreDelete(dir *string) *cobra.Command {
	f := &correctFlags{store: dir}
	c := &cobra.Command{
		Use:   "delete TYPE/ID...",
		Short: "Mark resources as deleted",
		Long: `Delete adds a version to each resource that marks it as deleted. Earlier versions stay;
'store purge' erases them. A later load that has the resource brings it back, unless
--keep-out says that it must not.`,
		Example:           `  cpcds2fhir store delete Coverage/c6xn3kq2mdqz2s6jqfbqf3gk5nq --note 'ticket 4711'`,
		Args:              needs("resources as TYPE/ID", true),
		ValidArgsFunction: completeTypes("/"),
		RunE: func(c *cobra.Command, args []string) error {
			list, err := references(args)
			if err != nil {
				return err
			}
			r := audit.Record{Action: "delete", Resources: args}
			for _, d := range list {
				if d.Type == fhir.Patient {
					r.Members = append(r.Members, d.ID)
				}
			}
			x, err := f.begin(c, r, named("delete"))
			if err != nil {
				return err
			}
			return x.end(x.remove(c.Context(), list, args))
		},
	}
	f.register(c, true)
	return c
}

// exist fails if one of the resources was never in the store.
func (x *correction) exist(ctx context.Context, list []store.Correction) error {
	for _, c := range list {
		if _, err := x.store.Get(ctx, c.Type, c.ID); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("%s is not in the store", fhir.Reference(c.Type, c.ID))
			}
			return err
		}
	}
	return nil
}

func (x *correction) remove(ctx context.Context, list []store.Correction, names []string) error {
	if err := x.exist(ctx, list); err != nil {
		return err
	}
	x.record.Resources = nil
	if x.flags.keepOut && !x.flags.dryRun {
		if err := x.correct.KeepOut(ctx, names, true); err != nil {
			return err
		}
	}
	if _, err := x.apply(ctx, list); err != nil {
		return err
	}
	x.report()
	return nil
}

func newStorePurge(dir *string) *cobra.Command {
	f := &correctFlags{store: dir}
	var compartment, noScrub bool
	c := &cobra.Command{
		Use:   "purge TYPE/ID",
		Short: "Erase all versions of a resource, or everything of a member",
		Long: `Purge erases every version of a resource; what is left is a mark, without data, that it
was deleted. With --compartment it does so for a member and all that refers to the
member: claims, coverages, related persons, also those that were deleted before, and
versions of resources that are another member's by now.

Then it rewrites the files of the store, so that what was erased is in none of them.
That takes minutes for millions of claims; --no-scrub leaves it to a later purge.

Other places may still have data of the member: the extracts, the reject files of loads
(see 'rejects list'), messages that wait in a stream, exports, backups. A later load that
has the member brings everything back, unless --keep-out says that it must not.`,
		Example: `  cpcds2fhir store purge Patient/p3vljheqzvqsi6hocfr7u3qkana --compartment --dry-run
  cpcds2fhir store purge Patient/p3vljheqzvqsi6hocfr7u3qkana --compartment --keep-out --note 'order 12-345'`,
		Args:              needs("a resource as TYPE/ID", false),
		ValidArgsFunction: completeTypes("/"),
		RunE: func(c *cobra.Command, args []string) error {
			list, err := references(args)
			if err != nil {
				return err
			}
			if compartment && list[0].Type != fhir.Patient {
				return usagef("--compartment needs a member, as Patient/ID")
			}
			r := audit.Record{Action: "purge", Type: list[0].Type.String(), ID: list[0].ID}
			if list[0].Type == fhir.Patient {
				r.Members = []string{list[0].ID}
			}
			x, err := f.begin(c, r, named("purge"))
			if err != nil {
				return err
			}
			return x.end(x.purge(c.Context(), list[0], compartment, !noScrub))
		},
	}
	f.register(c, true)
	c.Flags().BoolVar(&compartment, "compartment", false, "erase everything of the member")
	c.Flags().BoolVar(&noScrub, "no-scrub", false, "leave what was erased in the files of the store, unreachable")
	return c
}

func (x *correction) purge(ctx context.Context, what store.Correction, compartment, scrub bool) error {
	missing := x.exist(ctx, []store.Correction{what})
	if missing != nil && !compartment {
		return missing
	}
	if x.flags.keepOut && !x.flags.dryRun {
		if err := x.correct.KeepOut(ctx, []string{fhir.Reference(what.Type, what.ID)}, true); err != nil {
			return err
		}
	}
	what.Do = store.Erase
	list := []store.Correction{what}
	if compartment {
		for c, err := range x.correct.Compartment(ctx, what.ID) {
			if err != nil {
				return err
			}
			if c.Type != fhir.Patient {
				list = append(list, c)
			}
		}
		if missing != nil && len(list) == 1 && !x.flags.keepOut {
			return missing
		}
		// A patient goes last: what is left after an interruption is found by it.
		slices.SortStableFunc(list, func(a, b store.Correction) int { return int(b.Type) - int(a.Type) })
	}
	if _, err := x.apply(ctx, list); err != nil {
		return err
	}
	if scrub && !x.flags.dryRun {
		if err := x.correct.Scrub(ctx); err != nil {
			return fmt.Errorf("all of it was erased, but not yet from all files: %w", err)
		}
	}
	x.report()
	if !x.flags.dryRun && !x.flags.keepOut {
		fmt.Fprintln(x.out, "A later load that has it brings it back; --keep-out would prevent that.")
	}
	return nil
}

func newStoreReadmit(dir *string) *cobra.Command {
	f := &correctFlags{store: dir}
	c := &cobra.Command{
		Use:               "readmit TYPE/ID...",
		Short:             "Let loads bring back what --keep-out keeps out",
		Long:              `Readmit ends what --keep-out of 'store delete' and 'store purge' began. The next load that has the resource writes it.`,
		Example:           `  cpcds2fhir store readmit Patient/p3vljheqzvqsi6hocfr7u3qkana`,
		Args:              needs("resources as TYPE/ID", true),
		ValidArgsFunction: completeTypes("/"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := references(args); err != nil {
				return err
			}
			x, err := f.begin(c, audit.Record{Action: "readmit", Resources: args}, "")
			if err != nil {
				return err
			}
			if !f.dryRun {
				err = x.correct.KeepOut(c.Context(), args, false)
			}
			return x.end(err)
		},
	}
	f.register(c, false)
	return c
}
