package main

import (
	"bufio"
	"errors"
	"fmt"
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
