package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/loaders/ndjson"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func newStore() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "store",
		Short: "Look into the embedded FHIR store, and export it",
	}
	c.PersistentFlags().StringVar(&dir, "store", "./fhir-store", "`DIR` of the store")
	c.AddCommand(newStoreStats(&dir), newStoreGet(&dir), newStoreSearch(&dir), newStoreExport(&dir))
	return c
}

// typeStats is what stats count of one type, as JSON.
type typeStats struct {
	Resources  int64 `json:"resources"`
	Deleted    int64 `json:"deleted"`
	Versions   int64 `json:"versions"`
	Dictionary int   `json:"dictionary_bytes"`
}

func newStoreStats(dir *string) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "stats",
		Short: "Count resources and versions by type",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := openStore(*dir)
			if err != nil {
				return err
			}
			defer s.Close()
			st, err := s.Stats()
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if output == "json" {
				types := map[string]typeStats{}
				for t := range fhir.NumTypes {
					types[t.String()] = typeStats(st.Types[t])
				}
				e := json.NewEncoder(w)
				e.SetIndent("", "  ")
				return e.Encode(map[string]any{"schema_version": st.SchemaVersion, "disk_bytes": st.DiskBytes, "id_key_fingerprint": st.IDKey, "types": types})
			}
			fmt.Fprintf(w, "%-22s %12s %12s %12s\n", "", "resources", "deleted", "versions")
			for t := range fhir.NumTypes {
				x := st.Types[t]
				fmt.Fprintf(w, "%-22s %12s %12s %12s\n", t, comma(x.Resources), comma(x.Deleted), comma(x.Versions))
			}
			fmt.Fprintf(w, "%s MiB on disk, schema version %d, id key %s\n", comma(int64(st.DiskBytes>>20)), st.SchemaVersion, st.IDKey)
			return nil
		},
	}
	choiceFlag(c, &output, "output", "text or json", "text", "json")
	return c
}

func newStoreGet(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:     "get TYPE/ID",
		Short:   "Print one resource",
		Example: "  cpcds2fhir store get Patient/pabc…",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t, id, err := fhir.SplitReference(args[0])
			if err != nil {
				return usagef("%q is no TYPE/ID", args[0])
			}
			s, err := openStore(*dir)
			if err != nil {
				return err
			}
			defer s.Close()
			e, err := s.Get(t, id)
			if errors.Is(err, store.ErrNotFound) || err == nil && e.Deleted {
				return fmt.Errorf("%s is not in the store", args[0])
			}
			if err != nil {
				return err
			}
			return indented(c.OutOrStdout(), e.JSON)
		},
	}
}

func indented(w io.Writer, raw []byte) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(json.RawMessage(raw))
}

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
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q, err := parseQuery(args[0])
			if err != nil {
				return err
			}
			s, err := openStore(*dir)
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

func newStoreExport(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:     "export ndjson:DIR[?compress=zstd|gzip]",
		Short:   "Write every current resource to NDJSON files, in order of type and id",
		Example: "  cpcds2fhir store export 'ndjson:./export?compress=zstd'",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if t.kind != "ndjson" {
				return usagef("export writes to ndjson:DIR")
			}
			s, err := openStore(*dir)
			if err != nil {
				return err
			}
			defer s.Close()
			return export(c, s, t)
		},
	}
}

// export writes the store through the NDJSON loader, one lane per type.
func export(c *cobra.Command, s *store.Store, t target) error {
	state, err := os.MkdirTemp("", "cpcds2fhir-")
	if err != nil {
		return fmt.Errorf("make folder for the export: %w", err)
	}
	defer os.RemoveAll(state)
	l, err := ndjson.Open(t.dir, ndjson.Options{Compress: t.compress, Run: "export", State: state, TransactionTime: transactionTime})
	if err != nil {
		return err
	}
	defer l.Close()
	ctx := c.Context()
	total := new(pipeline.Account)
	for typ := range fhir.NumTypes {
		lane := "export-" + strings.ToLower(typ.String())
		var b fhir.Batch
		done := false // a lane that is done begins no further part
		seal := func(outcomes []pipeline.Outcome) (pipeline.Checkpoint, error) {
			total.Resources[typ].Created += int64(len(outcomes))
			return pipeline.Checkpoint{Done: done}, nil
		}
		for e, err := range s.Export(typ) {
			if err != nil {
				return err
			}
			b.Add(&fhir.Resource{Type: typ, ID: e.ID, LastUpdated: e.LastUpdated, JSON: e.JSON})
			if b.Size() > 4<<20 {
				if err := l.Load(ctx, lane, &b, seal); err != nil {
					return err
				}
				b.Reset()
			}
		}
		if done = true; b.Len()+int(total.Resources[typ].Created) > 0 {
			if err := l.Load(ctx, lane, &b, seal); err != nil {
				return err
			}
		}
	}
	if err := l.Finish(ctx, total); err != nil {
		return err
	}
	var n int64
	for _, r := range total.Resources {
		n += r.Created
	}
	fmt.Fprintf(c.OutOrStdout(), "%s resources written to %s\n", comma(n), t.dir)
	return nil
}
