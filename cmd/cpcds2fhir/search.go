package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

func newStoreSearch(dir *string) *cobra.Command {
	var base string
	bundle := false
	c := &cobra.Command{
		Use:   "search 'TYPE?name=value&…'",
		Short: "Search resources; print them as NDJSON or as a searchset Bundle",
		Long: `Search understands _id, _lastUpdated, patient, identifier, type, service-date,
service-start-date, billable-period-start, care-team, provider, coverage, insurer,
payee and payor, where the type has them. Dates take the prefixes eq, ne, gt, ge,
lt, le, sa and eb. Resources are sorted by id.

_count=N prints a page of N resources, and _cursor=ID the page after the resource
with that id. A Bundle's total counts the matches on all pages. If more follow, its
"next" link is the next search.`,
		Example: `  cpcds2fhir store search 'ExplanationOfBenefit?patient=PATIENT-ID&service-date=ge2024-01-01'
  cpcds2fhir store search 'Patient?identifier=MEMBER-ID'
  cpcds2fhir store search --bundle 'ExplanationOfBenefit?patient=PATIENT-ID&_count=5'
  cpcds2fhir store search --bundle 'http://localhost/fhir/ExplanationOfBenefit?_count=5&_cursor=ID'`,
		Args:              needs("a query such as 'Patient?identifier=MEMBER-ID'", false),
		ValidArgsFunction: completeTypes("?"),
		RunE: func(c *cobra.Command, args []string) error {
			base, err := parseBase(base)
			if err != nil {
				return err
			}
			q, err := parseQuery(strings.TrimPrefix(args[0], base+"/"))
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
				err = writeBundle(c.Context(), w, s, q, base)
			} else {
				err = writeLines(c.Context(), w, s, q)
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

// query is a search with the parameters it was read from.
type query struct {
	store.Query
	values url.Values
}

// cursor is the search parameter that names the last resource of the page before.
const cursor = "_cursor"

// parseQuery reads "Type?name=value&…".
func parseQuery(s string) (*query, error) {
	name, params, _ := strings.Cut(s, "?")
	t, ok := fhir.ParseType(name)
	if !ok {
		var names []string
		for t := range fhir.NumTypes {
			names = append(names, t.String())
		}
		return nil, usagef("%q is not a resource type of the store%s", name, meant(name, names))
	}
	values, err := url.ParseQuery(params)
	if err != nil {
		return nil, usagef("%q: %s", s, err)
	}
	q := &query{store.Query{Type: t}, values}
	for name, vs := range values {
		for _, v := range vs {
			switch name {
			case "_count":
				if q.Count, err = strconv.Atoi(v); err != nil || q.Count < 1 {
					return nil, usagef("_count=%s: use a number above 0", v)
				}
			case cursor:
				q.After = v
			case "_id":
				q.IDs = among(q.IDs, strings.Split(v, ","))
			case "patient":
				patients := strings.Split(v, ",")
				for i := range patients {
					patients[i] = strings.TrimPrefix(patients[i], "Patient/")
				}
				q.Patients = among(q.Patients, patients)
			default:
				f, err := store.ParseFilter(name, v)
				if unknown, ok := errors.AsType[*store.FilterError](err); ok && unknown.Param == "" {
					return nil, usagef("unknown search parameter %s", name)
				}
				if err != nil {
					return nil, usageError{err}
				}
				q.Filters = append(q.Filters, f)
			}
		}
	}
	return q, nil
}

// among limits the search to some ids, in addition to an earlier limit: a parameter given several
// times must match each time.
func among(kept, ids []string) []string {
	if kept == nil {
		return ids
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(kept, id) })
}

// link is the URL of the query; after, if set, replaces the query's own cursor.
func (q *query) link(base, after string) string {
	values := url.Values{}
	for name, vs := range q.values {
		values[name] = vs
	}
	if after != "" {
		values.Set(cursor, after)
	}
	s := base + "/" + q.Type.String()
	if len(values) > 0 {
		s += "?" + values.Encode() // sorted by name, so the same query has the same link
	}
	return s
}

// writeLines prints what a query finds as NDJSON.
func writeLines(ctx context.Context, w io.Writer, s store.Handle, q *query) error {
	for e, err := range s.Search(ctx, &q.Query) {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s\n", e.JSON); err != nil {
			return err
		}
	}
	return nil
}

// bundleLink is a link of a Bundle.
type bundleLink struct {
	Relation string `json:"relation"`
	URL      string `json:"url"`
}

// writeBundle prints a page of what a query finds. Its links come last, because reading one
// resource past the page tells whether there is a next one.
func writeBundle(ctx context.Context, w io.Writer, s store.Handle, q *query, base string) error {
	total, err := store.Count(ctx, s, &q.Query)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, `{"resourceType":"Bundle","type":"searchset","total":%d`, total)
	links := []bundleLink{{"self", q.link(base, "")}}
	page := q.Query
	if page.Count > 0 {
		page.Count++
	}
	n, last := 0, ""
	for e, err := range s.Search(ctx, &page) {
		if err != nil {
			return err
		}
		if n == q.Count && n > 0 {
			links = append(links, bundleLink{"next", q.link(base, last)})
			break
		}
		before := ","
		if n++; n == 1 {
			before = `,"entry":[`
		}
		last = strings.Clone(e.ID)
		url, err := jsonText(base + "/" + fhir.Reference(e.Type, e.ID))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, before+`{"fullUrl":%s,"resource":%s,"search":{"mode":"match"}}`, url, e.JSON); err != nil {
			return err
		}
	}
	if n > 0 { // FHIR allows no empty array
		fmt.Fprint(w, "]")
	}
	text, err := jsonText(links)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `,"link":%s}`+"\n", text)
	return err
}

// jsonText is JSON in which "&" stays readable, so that a link can be copied.
func jsonText(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}
