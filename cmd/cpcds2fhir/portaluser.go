package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/portal"
)

// personOutput is a person for people's scripts.
type personOutput struct {
	ID       string     `json:"id"`
	Email    string     `json:"email"`
	Name     string     `json:"name"`
	Staff    string     `json:"staff,omitempty"`
	Status   string     `json:"status"`
	Factor   bool       `json:"second_factor"`
	Proof    string     `json:"identity_proofing,omitempty"`
	Level    string     `json:"level,omitempty"`
	Evidence string     `json:"evidence_issuer,omitempty"`
	Proofed  *time.Time `json:"proofed,omitempty"`
	Created  time.Time  `json:"created"`
	Seen     *time.Time `json:"seen,omitempty"`
	Key      string     `json:"totp_key,omitempty"`
	KeyURL   string     `json:"totp_url,omitempty"`
}

func personOf(p *portal.Person) *personOutput {
	o := &personOutput{ID: p.ID, Email: p.Email, Name: p.Name, Staff: string(p.Staff), Status: p.Status, Factor: p.Factor, Created: p.Created.UTC(),
		Proof: p.Proof.State, Level: p.Proof.Level, Evidence: p.Proof.Issuer}
	if !p.Seen.IsZero() {
		o.Seen = &p.Seen
	}
	if !p.Proof.At.IsZero() {
		o.Proofed = &p.Proof.At
	}
	return o
}

func (o *personOutput) print(w io.Writer, output string) error {
	if output == "json" {
		return printJSON(w, o)
	}
	if err := printPairs(w, [][2]string{{"id", o.ID}, {"email", o.Email}, {"name", o.Name}, {"staff", o.Staff}, {"status", o.Status},
		{"identity", strings.TrimSpace(o.Proof + " " + o.Level)}, {"created", onDay(o.Created)}, {"totp key", o.Key}, {"totp url", o.KeyURL}}); err != nil {
		return err
	}
	if o.Key != "" {
		fmt.Fprintln(w, "\nEnter the key into an authenticator app now: it cannot be shown again.")
	}
	return nil
}

func newPortalUser(f *portalFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "Make accounts, give roles to staff, suspend people",
		Long: `Developers sign up in the browser. 'user' makes accounts without it, above all that of the
first administrator, and gives and takes the roles of staff: support reads applications and
answers requests, reviewer decides applications, administrator does everything.`,
	}
	c.AddCommand(newPortalUserAdd(f), newPortalUserList(f), newPortalUserStaff(f), newPortalUserStatus(f, "suspend", true), newPortalUserStatus(f, "resume", false))
	return c
}

func newPortalUserAdd(f *portalFlags) *cobra.Command {
	p := &portal.Person{}
	var staff, language, output string
	c := &cobra.Command{
		Use:   "add EMAIL --name NAME < PASSWORD",
		Short: "Make an account, with a password from standard input",
		Long: `Add makes an account whose address counts as confirmed. The password comes on standard
input; the key of the second factor is printed, once. An account that is there already is left as it is:
'staff' changes its role.`,
		Example: `  cpcds2fhir portal user add ada@example.gov --name "Ada Park" --staff administrator < password.txt`,
		Args:    needs("an e-mail address", false), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, a []string) error {
			text, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
			password := strings.TrimRight(text, "\r\n")
			if password == "" {
				if err != nil {
					return usagef("no password came on standard input")
				}
				return usagef("the password is empty")
			}
			d, err := f.open(c)
			if err != nil {
				return err
			}
			defer d.Close()
			var random [20]byte
			_, _ = rand.Read(random[:]) // it never fails
			key := base32.StdEncoding.EncodeToString(random[:])
			p.Email, p.Staff, p.Language = a[0], portal.StaffRole(strings.TrimPrefix(staff, "none")), language
			made, err := d.AddPerson(c.Context(), p, password, key)
			if err != nil {
				return portalError(err)
			}
			o := personOf(made)
			o.Key = key
			o.KeyURL = "otpauth://totp/" + url.PathEscape(d.Agency+":"+made.Email) + "?" + url.Values{"secret": {key}, "issuer": {d.Agency}}.Encode()
			return o.print(c.OutOrStdout(), output)
		},
	}
	c.Flags().StringVar(&p.Name, "name", "", "the person's `NAME`")
	cobra.CheckErr(c.MarkFlagRequired("name"))
	cobra.CheckErr(c.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions))
	choiceFlag(c, &staff, "staff", "role of somebody of the agency", "none", "support", "reviewer", "administrator")
	choiceFlag(c, &language, "language", "of mails to the person", "en", "es")
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}

func newPortalUserList(f *portalFlags) *cobra.Command {
	var query, output string
	c := &cobra.Command{
		Use:   "list",
		Short: "List people, the newest first",
		Args:  noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: f.with(func(c *cobra.Command, d *counter, _ []string) error {
			list, err := d.People(c.Context(), query, 10_000)
			if err != nil {
				return err
			}
			all, rows := []*personOutput{}, [][]string(nil)
			for _, p := range list {
				all = append(all, personOf(p))
				rows = append(rows, []string{p.ID, p.Email, p.Name, string(p.Staff), p.Status, p.Proof.State, onDay(p.Seen)})
			}
			return printRows(c.OutOrStdout(), output, all, "ID EMAIL NAME STAFF STATUS IDENTITY SEEN", rows)
		}),
	}
	c.Flags().StringVar(&query, "query", "", "only those whose name or address has this `TEXT`")
	cobra.CheckErr(c.RegisterFlagCompletionFunc("query", cobra.NoFileCompletions))
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}

func newPortalUserStaff(f *portalFlags) *cobra.Command {
	var role string
	c := &cobra.Command{
		Use:   "staff ID --role ROLE",
		Short: "Give somebody a role of staff, or take it",
		Args:  needs("the id of a person, as 'portal user list' shows it", false), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: f.with(func(c *cobra.Command, d *counter, a []string) error {
			if err := d.SetStaff(c.Context(), a[0], portal.StaffRole(strings.TrimPrefix(role, "none"))); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "The role of %s is now: %s.\n", a[0], role)
			return nil
		}),
	}
	choiceFlag(c, &role, "role", "the role", "none", "support", "reviewer", "administrator")
	return c
}

func newPortalUserStatus(f *portalFlags, verb string, suspended bool) *cobra.Command {
	var reason string
	short, done := "Let somebody sign in again", "may sign in again"
	if suspended {
		short, done = "End somebody's sessions, and let them sign in no more", "is suspended"
	}
	c := &cobra.Command{
		Use:   verb + " ID --reason TEXT",
		Short: short,
		Args:  needs("the id of a person, as 'portal user list' shows it", false), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: f.with(func(c *cobra.Command, d *counter, a []string) error {
			if err := d.SuspendPerson(c.Context(), a[0], reason, suspended); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %s.\n", a[0], done)
			return nil
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why; it is recorded")
	cobra.CheckErr(c.MarkFlagRequired("reason"))
	cobra.CheckErr(c.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions))
	return c
}
