package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/loaders/ndjson"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

const exportForm = "ndjson:DIR[?compress=zstd|gzip], fhir:URL or import:URL"

func newStoreExport(dir *string) *cobra.Command {
	f := &exportFlags{}
	c := &cobra.Command{
		Use:   "export TARGET",
		Short: "Write every current resource to NDJSON files, or bring a FHIR server up to date",
		Long: `Export writes the current resources of the store to a new folder of NDJSON files, sorted
by type and id; or it makes a FHIR server agree with the store: what differs is sent,
what the store has deleted is deleted there, and nothing else is touched. An index in
the state folder knows what the server has; see 'cpcds2fhir load --help'. An export into
a server that was stopped is resumed by the same command.

TARGET is ` + exportForm + `.`,
		Example: `  cpcds2fhir store export 'ndjson:./export?compress=zstd'
  cpcds2fhir store export --store /data/fhir-store ndjson:/data/export
  cpcds2fhir store export fhir:https://server.example.org/fhir --server server.yaml`,
		Args: needs("a target as "+exportForm, false),

		ValidArgsFunction: cobra.FixedCompletions([]string{"ndjson:", "fhir:", "import:"}, cobra.ShellCompDirectiveNoSpace),
		RunE: func(c *cobra.Command, args []string) error {
			to, err := parseTargetOf("export to", args[0], exportForm)
			if err != nil {
				return err
			}
			if err := f.server.check(to); err != nil {
				return err
			}
			switch t := to.(type) {
			case serverTarget:
				return f.toServer(c, *dir, t)
			case ndjsonTarget:
				if err := folder("export to "+args[0], t.dir); err != nil {
					return err
				}
				s, _, err := openNamed(*dir)
				if err != nil {
					return err
				}
				defer s.Close()
				return export(c, s, t)
			}
			return usagef("export to %q: use %s", args[0], exportForm)
		},
	}
	f.register(c)
	return c
}

// export writes the store through the NDJSON loader, one lane per type.
func export(c *cobra.Command, s store.Handle, t ndjsonTarget) error {
	switch entries, err := os.ReadDir(t.dir); {
	case len(entries) > 0:
		return environmentf("folder %s is not empty; export into an empty or new folder", t.dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the folder of the export: %w", err)
	}
	state, err := os.MkdirTemp("", "cpcds2fhir-")
	if err != nil {
		return fmt.Errorf("create a folder for the export: %w", err)
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
		done := false // a lane that is done starts no further part
		seal := func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.Checkpoint, error) {
			total.Resources[typ].Created += int64(len(outcomes))
			return pipeline.Checkpoint{Done: done}, nil
		}
		for e, err := range s.Export(c.Context(), typ) {
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
	fmt.Fprintf(c.OutOrStdout(), "%s written to %s\n", many(n, "resource"), t.dir)
	return nil
}
