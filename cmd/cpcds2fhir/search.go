package main

import (
	"bufio"
	"errors"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/schemas/fhir"
)

func newStoreSearch(dir *string) *cobra.Command {
	var base string
	bundle := false
	c := &cobra.Command{
		Use:   "search 'TYPE?name=value&…'",
		Short: "Search resources; print them as NDJSON or as a searchset Bundle",
		Long: `Search takes the searches of the API that 'serve' has, with the same parameters:
_id, _lastUpdated, patient, identifier, type, service-date, service-start-date,
billable-period-start, care-team, provider, coverage, insurer, payee and payor, where
the type has them, _sort, _include and _revinclude. Dates take the prefixes eq, ne, gt,
ge, lt, le, sa, eb and ap. See docs/api.md.

NDJSON has all that is found, as it was loaded. With _count=N it is a page of N. A
Bundle is a page as the API answers it, of 50 resources or _count; its total counts the
matches on all pages, and its "next" link is the next search.`,
		Example: `  cpcds2fhir store search 'ExplanationOfBenefit?patient=PATIENT-ID&service-date=ge2024-01-01'
  cpcds2fhir store search 'Patient?identifier=MEMBER-ID'
  cpcds2fhir store search --bundle 'ExplanationOfBenefit?patient=PATIENT-ID&_count=5'
  cpcds2fhir store search --bundle 'http://localhost/fhir/ExplanationOfBenefit?_count=5&_cursor=CURSOR'`,
		Args:              needs("a query such as 'Patient?identifier=MEMBER-ID'", false),
		ValidArgsFunction: completeTypes("?"),
		RunE: func(c *cobra.Command, args []string) error {
			base, err := parseBase(base)
			if err != nil {
				return err
			}
			if err := searchable(strings.TrimPrefix(args[0], base+"/")); err != nil {
				return err
			}
			s, _, err := openNamed(*dir)
			if err != nil {
				return err
			}
			defer s.Close()
			l := &api.Local{Store: s, Base: base}
			w := bufio.NewWriter(c.OutOrStdout())
			line := func(json []byte) error {
				w.Write(json)
				return w.WriteByte('\n')
			}
			if bundle {
				var text []byte
				if text, err = l.Bundle(c.Context(), args[0]); err == nil {
					err = line(text)
				}
			} else {
				err = l.Each(c.Context(), args[0], line)
			}
			if refused, ok := errors.AsType[*api.Error](err); ok && refused.Status < 500 {
				return usageError{refused}
			}
			if flush := w.Flush(); err == nil {
				err = flush
			}
			return err
		},
	}
	c.Flags().BoolVar(&bundle, "bundle", false, "print one searchset Bundle")
	c.Flags().StringVar(&base, "base", "http://localhost/fhir", "server `URL` for the links and fullUrls of a Bundle")
	cobra.CheckErr(c.RegisterFlagCompletionFunc("base", cobra.NoFileCompletions))
	return c
}

// parseBase returns the URL without the slash at its end.
func parseBase(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", usagef("--base %q: use a URL such as https://example.org/fhir", s)
	}
	return strings.TrimRight(s, "/"), nil
}

// searchable checks the type of a search, before the store is opened.
func searchable(s string) error {
	name, _, _ := strings.Cut(s, "?")
	if _, ok := fhir.ParseType(name); ok {
		return nil
	}
	var names []string
	for t := range fhir.NumTypes {
		names = append(names, t.String())
	}
	return usagef("%q is not a resource type of the store%s", name, meant(name, names))
}
