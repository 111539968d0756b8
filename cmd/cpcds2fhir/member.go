package main

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/audit"
)

func newMember() *cobra.Command {
	f := &accountFlags{}
	c := &cobra.Command{
		Use:   "member",
		Short: "Say which members a person may speak for",
		Long: `A person who signs in may let apps see a member's data if a link says so: of the member
itself, or of somebody whom the person represents, such as a parent a child. The rules of
the identity provider make links (docs/login.md); 'member' makes and ends them by hand.

A person is named by the identity provider's issuer and subject, or by a login of this
server, which sandboxes have. A member is the id of a Patient.`,
	}
	f.on(c)
	c.AddCommand(newMemberLink(f), newMemberUnlink(f), newMemberShow(f))
	return c
}

// person names somebody who signs in.
type person struct{ id, issuer, subject, login string }

func (p *person) on(c *cobra.Command) {
	c.Flags().StringVar(&p.issuer, "issuer", "", "`URL` of the identity provider, exactly as it names itself")
	c.Flags().StringVar(&p.subject, "subject", "", "the person's `SUB` there")
	c.Flags().StringVar(&p.login, "login", "", "or a `LOGIN` of this server")
	c.Flags().StringVar(&p.id, "user", "", "or the person's `ID` here, as logs of refused logins have it")
	for _, name := range []string{"issuer", "subject", "login", "user"} {
		cobra.CheckErr(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
}

func (p *person) user(c *cobra.Command, d *desk) (*accounts.User, error) {
	switch {
	case p.id != "" && p.issuer+p.subject+p.login == "":
		u, err := d.User(c.Context(), p.id)
		if errors.Is(err, accounts.ErrNotFound) {
			return nil, usagef("there is no user with this id")
		}
		return u, err
	case p.id != "", p.login != "" && (p.issuer != "" || p.subject != ""), p.login == "" && (p.issuer == "" || p.subject == ""):
		return nil, usagef("name the person by --issuer and --subject, by --login, or by --user")
	case p.login != "":
		return d.EnsureUser(c.Context(), "", p.login)
	}
	return d.EnsureUser(c.Context(), p.issuer, p.subject)
}

func newMemberLink(f *accountFlags) *cobra.Command {
	var p person
	var role string
	var password bool
	c := &cobra.Command{
		Use:   "link PATIENT",
		Short: "Let a person speak for a member",
		Example: `  cpcds2fhir member link p3vljheqzvqsi6hocfr7u3qkana --issuer https://login.example.gov --subject 8f2c
  cpcds2fhir member link p3vljheqzvqsi6hocfr7u3qkana --login ada --password < password.txt
  cpcds2fhir member link pqk2zvh5e6q3c --login ada --role representative`,
		Args: needs("the id of a Patient", false), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, a []string) error {
			if password && p.login == "" {
				return usagef("--password is for a --login")
			}
			patient := strings.TrimPrefix(a[0], "Patient/")
			if !api.IsID(patient) {
				return usagef("%q is no id of a Patient", patient)
			}
			d, err := f.open(c, toCreate)
			if err != nil {
				return err
			}
			defer d.Close()
			u, err := p.user(c, d)
			if err != nil {
				return err
			}
			if err := d.note(&audit.Record{Action: "member-link", Members: []string{patient}, Type: "user", ID: u.ID, Note: role}); err != nil {
				return err
			}
			if password {
				if u, err = d.setPassword(c, p.login); err != nil {
					return err
				}
			}
			if err := d.AddLink(c.Context(), &accounts.Link{User: u.ID, Patient: patient, Role: role, Source: "operator", Created: time.Now()}); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "The user %s may speak for Patient/%s (%s).\n", u.ID, patient, role)
			return nil
		},
	}
	p.on(c)
	choiceFlag(c, &role, "role", "who the person is to the member", "self", "representative")
	c.Flags().BoolVar(&password, "password", false, "read a new password for the login from standard input")
	return c
}

// setPassword reads a password from standard input: on a command line others would see it.
func (d *desk) setPassword(c *cobra.Command, login string) (*accounts.User, error) {
	text, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if text = strings.TrimRight(text, "\r\n"); len(text) < 8 {
		if err != nil && text == "" {
			return nil, usagef("no password came on standard input")
		}
		return nil, usagef("the password has fewer than 8 characters")
	}
	return d.SetPassword(c.Context(), login, text)
}

func newMemberUnlink(f *accountFlags) *cobra.Command {
	var p person
	c := &cobra.Command{
		Use:   "unlink PATIENT",
		Short: "End that a person speaks for a member, and revoke what was allowed that way",
		Args:  needs("the id of a Patient", false), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, a []string) error {
			d, err := f.open(c, toChange)
			if err != nil {
				return err
			}
			defer d.Close()
			u, err := p.user(c, d)
			if err != nil {
				return err
			}
			patient := strings.TrimPrefix(a[0], "Patient/")
			if err := d.RemoveLink(c.Context(), u.ID, patient); errors.Is(err, accounts.ErrNotFound) {
				return usagef("the person does not speak for Patient/%s", patient)
			} else if err != nil {
				return err
			}
			if err := d.note(&audit.Record{Action: "member-unlink", Members: []string{patient}, Type: "user", ID: u.ID}); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "The user %s no longer speaks for Patient/%s; what apps were allowed that way is revoked.\n", u.ID, patient)
			return nil
		},
	}
	p.on(c)
	return c
}

func newMemberShow(f *accountFlags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "show [PATIENT]",
		Short: "Show who speaks for a member, or all links",
		Args:  cobra.MaximumNArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, a []string) error {
			d, err := f.open(c, toLook)
			if err != nil {
				return err
			}
			defer d.Close()
			patient := ""
			if len(a) > 0 {
				patient = strings.TrimPrefix(a[0], "Patient/")
			}
			links, err := d.Links(c.Context(), "", patient)
			if err != nil {
				return err
			}
			type line struct {
				Patient string    `json:"patient"`
				User    string    `json:"user"`
				Issuer  string    `json:"issuer,omitempty"`
				Role    string    `json:"role"`
				Source  string    `json:"source"`
				Created time.Time `json:"created"`
			}
			list := []line{}
			for _, l := range links {
				u, err := d.User(c.Context(), l.User)
				if err != nil {
					return err
				}
				list = append(list, line{l.Patient, l.User, u.Issuer, l.Role, l.Source, l.Created.UTC()})
			}
			if output == "json" {
				return printJSON(c.OutOrStdout(), list)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "PATIENT\tUSER\tROLE\tSOURCE\tSINCE\tIDENTITY PROVIDER")
			for _, l := range list {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Patient, l.User, l.Role, l.Source, l.Created.Format(time.DateOnly), l.Issuer)
			}
			return t.Flush()
		},
	}
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}

func newGrant() *cobra.Command {
	f := &accountFlags{}
	c := &cobra.Command{
		Use:   "grant",
		Short: "Show what members have allowed apps, and end it",
		Long: `A grant is what a member has allowed an app: whose data, which kinds, until when. Members end
their own on the page /apps of the server; 'grant revoke' does it for them. It counts at
once, in all processes.`,
	}
	f.on(c)
	c.AddCommand(newGrantList(f), newGrantRevoke(f))
	return c
}

func newGrantList(f *accountFlags) *cobra.Command {
	var by accounts.GrantFilter
	var output string
	c := &cobra.Command{
		Use: "list", Short: "List grants, the newest first", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Example: `  cpcds2fhir grant list --member p3vljheqzvqsi6hocfr7u3qkana
  cpcds2fhir grant list --client app-2xk9qj4m7w1r5t8z --ended --output json`,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := f.open(c, toLook)
			if err != nil {
				return err
			}
			defer d.Close()
			by.Patient = strings.TrimPrefix(by.Patient, "Patient/")
			grants, err := d.Grants(c.Context(), by)
			if err != nil {
				return err
			}
			type line struct {
				ID       string     `json:"id"`
				Client   string     `json:"client"`
				User     string     `json:"user,omitempty"`
				Patient  string     `json:"patient,omitempty"`
				Scopes   []string   `json:"scopes"`
				Created  time.Time  `json:"created"`
				Expires  time.Time  `json:"expires"`
				Revoked  *time.Time `json:"revoked,omitempty"`
				LastUsed *time.Time `json:"last_used,omitempty"`
			}
			at := func(t time.Time) *time.Time {
				if t.IsZero() {
					return nil
				}
				t = t.UTC()
				return &t
			}
			list := []line{}
			for _, g := range grants {
				list = append(list, line{g.ID, g.Client, g.User, g.Patient, g.Scopes, g.Created.UTC(), g.Expires.UTC(), at(g.Revoked), at(g.LastUsed)})
			}
			if output == "json" {
				return printJSON(c.OutOrStdout(), list)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tCLIENT\tPATIENT\tSINCE\tUNTIL\tLAST USED\tSCOPES")
			for _, l := range list {
				used, until := "never", l.Expires.Format(time.DateOnly)
				if l.LastUsed != nil {
					used = l.LastUsed.Format(time.DateOnly)
				}
				if l.Revoked != nil {
					until = "revoked " + l.Revoked.Format(time.DateOnly)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.Client, l.Patient, l.Created.Format(time.DateOnly), until, used, strings.Join(l.Scopes, " "))
			}
			return t.Flush()
		},
	}
	c.Flags().StringVar(&by.Client, "client", "", "only of this app")
	c.Flags().StringVar(&by.User, "user", "", "only by this user")
	c.Flags().StringVar(&by.Patient, "member", "", "only of the member `ID`")
	c.Flags().BoolVar(&by.Ended, "ended", false, "those that have expired or were revoked too")
	choiceFlag(c, &output, "output", "output format", "text", "json")
	for _, name := range []string{"client", "user", "member"} {
		cobra.CheckErr(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return c
}

func newGrantRevoke(f *accountFlags) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID...", Short: "End grants at once, with all of their tokens", Args: needs("ids of grants", true), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, a []string) error {
			d, err := f.open(c, toChange)
			if err != nil {
				return err
			}
			defer d.Close()
			grants, err := d.Grants(c.Context(), accounts.GrantFilter{})
			if err != nil {
				return err
			}
			for _, id := range a {
				r := &audit.Record{Action: "revoke", Type: "grant", ID: id}
				if i := slices.IndexFunc(grants, func(g *accounts.Grant) bool { return g.ID == id }); i >= 0 {
					r.Client = grants[i].Client
					if grants[i].Patient != "" {
						r.Members = []string{grants[i].Patient}
					}
				}
				if err := d.RevokeGrant(c.Context(), id); errors.Is(err, accounts.ErrNotFound) {
					return usagef("there is no grant %q that still counts; 'grant list' shows them", id)
				} else if err != nil {
					return err
				}
				if err := d.note(r); err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%s is revoked.\n", id)
			}
			return nil
		},
	}
}

func newKey() *cobra.Command {
	f := &accountFlags{}
	var announce, keep time.Duration
	c := &cobra.Command{Use: "key", Short: "Change the keys that ID tokens are signed with"}
	f.on(c)
	rotate := &cobra.Command{
		Use:   "rotate",
		Short: "Make new keys, and retire the old ones",
		Long: `Rotate makes a new key of each kind. It is published at once, and signs after --announce, when
apps that keep the keys for some time have seen it. The old keys sign until then, and are
published for --keep after that, so that no app refuses a token meanwhile.`,
		Example: `  cpcds2fhir key rotate --config serve.yaml`,
		Args:    noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if announce < 0 || keep < time.Hour {
				return usagef("--announce must not be below 0, and --keep not below 1h, the life of an ID token")
			}
			d, err := f.open(c, toChange)
			if err != nil {
				return err
			}
			defer d.Close()
			keys, err := d.RotateKeys(c.Context(), announce, keep)
			if err != nil {
				return err
			}
			if err := d.note(&audit.Record{Action: "key-rotate"}); err != nil {
				return err
			}
			for _, k := range keys {
				fmt.Fprintf(c.OutOrStdout(), "%s  %s  signs from %s\n", k.ID, k.Algorithm, k.Active.UTC().Format(time.RFC3339))
			}
			return nil
		},
	}
	rotate.Flags().DurationVar(&announce, "announce", time.Hour, "how long it is published before it signs")
	rotate.Flags().DurationVar(&keep, "keep", 24*time.Hour, "how long the old keys are published after that")
	c.AddCommand(rotate)
	return c
}
