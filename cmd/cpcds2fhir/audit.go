package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/audit"
	"cpcds2fhir/internal/store"
)

func newAudit() *cobra.Command {
	f := &auditFlags{}
	c := &cobra.Command{
		Use:   "audit",
		Short: "Show who has read which member's data, and who has corrected the store",
		Long: `A served store has an audit log: each answer that was given to somebody who was let in,
with the app, its user, the members and the resources; and each 'store delete', 'purge',
'readmit' and 'rollback'. It is append-only, and each record has a hash that follows from
the one before, so that changes show.`,
	}
	c.PersistentFlags().StringVar(&f.store, "store", "./fhir-store", "the log of the store in `DIR`")
	c.PersistentFlags().StringVar(&f.dir, "audit", "", "the log in `DIR` (default: the store's name with .audit)")
	cobra.CheckErr(c.MarkPersistentFlagDirname("store"))
	cobra.CheckErr(c.MarkPersistentFlagDirname("audit"))
	c.AddCommand(newAuditList(f), newAuditVerify(f), newAuditExport(f), newAuditMetrics(f))
	return c
}

// auditFlags choose a log and records of it.
type auditFlags struct {
	store, dir                                 string
	member, client, user, action, since, until string
}

func (f *auditFlags) choosing(c *cobra.Command) {
	c.Flags().StringVar(&f.member, "member", "", "only what shows data of the member `ID`")
	c.Flags().StringVar(&f.client, "client", "", "only of this app")
	c.Flags().StringVar(&f.user, "user", "", "only of this user")
	c.Flags().StringVar(&f.action, "action", "", "only this action, such as read, search or purge")
	c.Flags().StringVar(&f.since, "since", "", "from this `DATE` or instant on")
	c.Flags().StringVar(&f.until, "until", "", "before the end of this `DATE` or instant")
	for _, name := range []string{"member", "client", "user", "since", "until"} {
		cobra.CheckErr(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	cobra.CheckErr(c.RegisterFlagCompletionFunc("action", cobra.FixedCompletions(
		[]string{"read", "vread", "history", "search", "everything", "delete", "purge", "readmit", "rollback", "authorize", "deny", "token", "refresh", "service", "revoke",
			"reuse", "register", "login-refused", "member-link", "member-unlink", "client-add", "client-rotate", "client-enable", "client-disable", "client-remove", "key-rotate"}, cobra.ShellCompDirectiveNoFileComp)))
}

// folder is the folder of the log, which must exist.
func (f *auditFlags) folder() (string, error) {
	dir := auditOf(f.store, f.dir)
	if err := folder("audit log", dir); err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err != nil {
		return "", environmentf("open the audit log: %w", err)
	}
	return dir, nil
}

// each calls yield with the records that were chosen.
func (f *auditFlags) each(yield func(r *audit.Record) error) error {
	dir, err := f.folder()
	if err != nil {
		return err
	}
	from, _, err := f.moment("since", f.since)
	if err != nil {
		return err
	}
	_, until, err := f.moment("until", f.until)
	if err != nil {
		return err
	}
	for r, err := range audit.All(dir) {
		if err != nil {
			return err
		}
		at, _, ok := store.Period(r.At)
		if !ok || at < from || at >= until || f.client != "" && r.Client != f.client || f.user != "" && r.User != f.user || f.action != "" && r.Action != f.action ||
			f.member != "" && !slices.Contains(r.Members, strings.TrimPrefix(f.member, "Patient/")) {
			continue
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// moment reads a flag that is a date or an instant: the period that it names, or all of time.
func (*auditFlags) moment(name, text string) (begin, end int64, err error) {
	if text == "" {
		return 0, math.MaxInt64, nil
	}
	begin, end, ok := store.Period(text)
	if !ok {
		return 0, 0, usagef("--%s %q: use a date such as 2026-03-01, or an instant", name, text)
	}
	return begin, end, nil
}

func newAuditList(f *auditFlags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "list",
		Short: "List records, the oldest first",
		Example: `  cpcds2fhir audit list --member p3vljheqzvqsi6hocfr7u3qkana
  cpcds2fhir audit list --since 2026-03-01 --action purge --output json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			w := bufio.NewWriter(c.OutOrStdout())
			defer func() { err = errors.Join(err, w.Flush()) }()
			if output == "json" {
				e := json.NewEncoder(w)
				e.SetEscapeHTML(false)
				return f.each(func(r *audit.Record) error { return e.Encode(r) })
			}
			return f.each(func(r *audit.Record) error { return listRecord(w, r) })
		},
	}
	f.choosing(c)
	choiceFlag(c, &output, "output", "text, or json for a line of JSON for each", "text", "json")
	return c
}

// listRecord prints a record on a line.
func listRecord(w io.Writer, r *audit.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-10s", r.At, r.Action)
	if r.Status > 0 {
		fmt.Fprintf(&b, " %d", r.Status)
	}
	what := r.Type
	if r.ID != "" {
		what = strings.TrimPrefix(what+"/"+r.ID, "/")
	}
	if len(r.Params) > 0 {
		what += "?" + strings.Join(r.Params, "&")
	}
	for _, x := range []struct{ name, value string }{{"", what}, {"app ", r.Client}, {"user ", r.User}} {
		if x.value != "" {
			b.WriteString("  " + x.name + x.value)
		}
	}
	if n := len(r.Resources); n > 0 {
		b.WriteString("  " + many(int64(n), "resource"))
	}
	switch n := len(r.Members); {
	case n == 1:
		b.WriteString(" of member " + r.Members[0])
	case n > 1:
		fmt.Fprintf(&b, " of %d members", n)
	}
	for _, what := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(&b, "  %s %s", comma(r.Counts[what]), what)
	}
	if r.Note != "" {
		b.WriteString("  (" + r.Note + ")")
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

func newAuditVerify(f *auditFlags) *cobra.Command {
	var hash, output string
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check that no record was changed, removed or added between others",
		Long: `Verify follows the chain of hashes from the first record to the last, and exits with 1 if
it breaks. A chain alone does not show that its end was cut off, or that all of it was
made anew: give it a hash that was noted earlier with --hash. The server writes one into
its log at the start, every hour, and at the end.`,
		Example: `  cpcds2fhir audit verify
  cpcds2fhir audit verify --hash 5f2ab1…`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := f.folder()
			if err != nil {
				return err
			}
			n, last, err := audit.Verify(dir, hash)
			if err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"records": n, "hash": last})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s, the chain holds. The last hash is %s\n", many(int64(n), "record"), orNone(last))
			return nil
		},
	}
	c.Flags().StringVar(&hash, "hash", "", "a record must have this `HASH`")
	choiceFlag(c, &output, "output", "output format", "text", "json")
	cobra.CheckErr(c.RegisterFlagCompletionFunc("hash", cobra.NoFileCompletions))
	return c
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func newAuditExport(f *auditFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write records as FHIR AuditEvents, as NDJSON",
		Example: `  cpcds2fhir audit export audit.ndjson
  cpcds2fhir audit export --member p3vljheqzvqsi6hocfr7u3qkana -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			out := c.OutOrStdout()
			if len(args) == 1 && args[0] != "-" {
				file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return environmentf("write the export: %w", err)
				}
				defer func() { err = errors.Join(err, file.Close()) }()
				out = file
			}
			w := bufio.NewWriterSize(out, 1<<20)
			defer func() { err = errors.Join(err, w.Flush()) }()
			var b []byte
			return f.each(func(r *audit.Record) error {
				b = r.AppendEvent(b[:0], "cpcds2fhir")
				_, err := w.Write(b)
				return err
			})
		},
	}
	f.choosing(c)
	return c
}
