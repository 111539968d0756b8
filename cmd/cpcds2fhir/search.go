package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

func newStoreSearch(dir *string) *cobra.Command {
	bundle := false
	c := &cobra.Command{
		Use:   "search 'TYPE?name=value&…'",
		Short: "Search resources; print them as NDJSON or as a searchset Bundle",
		Long: `Search understands _id, _count, _lastUpdated, patient, identifier, type,
service-date, service-start-date, billable-period-start, care-team, provider,
coverage, insurer, payee and payor, as far as the type has them. Dates take the
prefixes eq, gt, ge, lt and le.`,
		Example: `  cpcds2fhir store search 'ExplanationOfBenefit?patient=PATIENT-ID&_count=5'
  cpcds2fhir store search --bundle 'ExplanationOfBenefit?identifier=CLAIM-NUMBER'
  cpcds2fhir store search 'Patient?identifier=MEMBER-ID'`,
		Args: needs("a query such as 'Patient?identifier=MEMBER-ID'", false),
		RunE: func(c *cobra.Command, args []string) error {
			q, err := parseQuery(args[0])
			if err != nil {
				return err
			}
			s, _, err := openNamed(*dir)
			if err != nil {
				return err
			}
			defer s.Close()
			w := bufio.NewWriter(c.OutOrStdout())
			if bundle {
				err = writeBundle(w, s, q, args[0])
			} else {
				for e, ferr := range s.Search(q) {
					if ferr != nil {
						return ferr
					}
					w.Write(e.JSON)
					w.WriteByte('\n')
				}
			}
			return errors.Join(err, w.Flush())
		},
	}
	c.Flags().BoolVar(&bundle, "bundle", false, "print one searchset Bundle")
	return c
}

// parseQuery reads "Type?name=value&…".
func parseQuery(s string) (*store.Query, error) {
	name, query, _ := strings.Cut(s, "?")
	t, ok := fhir.ParseType(name)
	if !ok {
		return nil, usagef("%q is no resource type of the store", name)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, usagef("%q: %s", s, err)
	}
	q := &store.Query{Type: t}
	for name, vs := range values {
		for _, v := range vs {
			switch name {
			case "_count":
				if q.Count, err = strconv.Atoi(v); err != nil || q.Count < 1 {
					return nil, usagef("_count=%s: a number above 0", v)
				}
			case "_id":
				q.IDs = append(q.IDs, strings.Split(v, ",")...)
			case "patient":
				q.Patient = strings.TrimPrefix(v, "Patient/")
			default:
				f, err := store.ParseFilter(name, v)
				if err != nil {
					return nil, usagef("search parameter %s: %w", name, err)
				}
				q.Filters = append(q.Filters, f)
			}
		}
	}
	return q, nil
}

func writeBundle(w io.Writer, s *store.Store, q *store.Query, self string) error {
	link, err := json.Marshal(self)
	if err != nil {
		return err
	}
	n := 0
	fmt.Fprintf(w, `{"resourceType":"Bundle","type":"searchset","link":[{"relation":"self","url":%s}]`, link)
	for e, err := range s.Search(q) {
		if err != nil {
			return err
		}
		before := ","
		if n++; n == 1 {
			before = `,"entry":[`
		}
		fmt.Fprintf(w, before+`{"fullUrl":"%s","resource":%s,"search":{"mode":"match"}}`, fhir.Reference(e.Type, e.ID), e.JSON)
	}
	after := ""
	if n > 0 { // FHIR allows no empty array
		after = "]"
	}
	_, err = fmt.Fprintf(w, after+`,"total":%d}`+"\n", n)
	return err
}
