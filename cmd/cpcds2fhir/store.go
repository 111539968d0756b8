package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

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
		Short: "Query, count, export and correct the embedded FHIR store",
	}
	c.PersistentFlags().StringVar(&dir, "store", "./fhir-store", "open the store in `DIR`; store:DIR works too")
	cobra.CheckErr(c.MarkPersistentFlagDirname("store"))
	c.AddCommand(newStoreStats(&dir), newStoreGet(&dir), newStoreSearch(&dir), newStoreExport(&dir), newStoreDelete(&dir), newStorePurge(&dir), newStoreReadmit(&dir), newStoreRollback(&dir))
	return c
}

// openNamed opens the store that --store names. It also accepts load's form, store:DIR.
func openNamed(name string) (store.Handle, string, error) {
	dir, err := storeNamed(name)
	if err != nil {
		return nil, "", err
	}
	s, err := openStore(dir)
	return s, dir, err
}

func storeNamed(name string) (dir string, err error) {
	dir = strings.TrimPrefix(name, "store:")
	if dir == "" || strings.HasPrefix(name, "ndjson:") {
		return "", usagef("--store %q: use the folder of a store", name)
	}
	return dir, nil
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
		Short: "Count resources and versions by type, and show disk usage",
		Example: `  cpcds2fhir store stats
  cpcds2fhir store stats --store /data/fhir-store --output json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			s, path, err := openNamed(*dir)
			if err != nil {
				return err
			}
			defer s.Close()
			st, err := s.Stats(c.Context())
			if err != nil {
				return err
			}
			disk, err := diskUsage(path)
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
				return e.Encode(map[string]any{"schema_version": st.SchemaVersion, "disk_bytes": disk, "id_key_fingerprint": st.IDKey, "types": types})
			}
			fmt.Fprintf(w, "%-22s %12s %12s %12s\n", "", "resources", "deleted", "versions")
			for t := range fhir.NumTypes {
				x := st.Types[t]
				fmt.Fprintf(w, "%-22s %12s %12s %12s\n", t, comma(x.Resources), comma(x.Deleted), comma(x.Versions))
			}
			fmt.Fprintf(w, "%s MiB on disk (all files, including space preallocated for the log), schema version %d, id key %s\n", comma((disk+1<<20-1)>>20), st.SchemaVersion, st.IDKey)
			return nil
		},
	}
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}

// diskUsage is the disk space of a folder, as du counts it.
func diskUsage(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			n += s.Blocks * 512 // always of this size, whatever the file system's block size
		}
		return nil
	})
	return n, err
}

func newStoreGet(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "get TYPE/ID",
		Short: "Print one resource",
		Example: `  cpcds2fhir store get Patient/p3vljheqzvqsi6hocfr7u3qkana
  cpcds2fhir store get --store /data/fhir-store ExplanationOfBenefit/e27l3ii6azlfpn3bnr53db6vuae`,
		Args:              needs("a resource as TYPE/ID", false),
		ValidArgsFunction: completeTypes("/"),
		RunE: func(c *cobra.Command, args []string) error {
			t, id, err := fhir.SplitReference(args[0])
			if err != nil {
				return usagef("%q is not of the form TYPE/ID", args[0])
			}
			s, _, err := openNamed(*dir)
			if err != nil {
				return err
			}
			defer s.Close()
			e, err := s.Get(c.Context(), t, id)
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

const exportForm = "ndjson:DIR[?compress=zstd|gzip]"

func newStoreExport(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "export ndjson:DIR[?compress=zstd|gzip]",
		Short: "Write every current resource to NDJSON files, sorted by type and id",
		Example: `  cpcds2fhir store export 'ndjson:./export?compress=zstd'
  cpcds2fhir store export --store /data/fhir-store ndjson:/data/export`,
		Args: needs("a folder as "+exportForm, false),

		ValidArgsFunction: cobra.FixedCompletions([]string{"ndjson:"}, cobra.ShellCompDirectiveNoSpace),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := parseTargetOf("export to", args[0], exportForm)
			if err != nil {
				return err
			}
			if t.kind != "ndjson" {
				return usagef("export to %q: use %s", args[0], exportForm)
			}
			if err := folder("export to "+args[0], t.dir); err != nil {
				return err
			}
			s, _, err := openNamed(*dir)
			if err != nil {
				return err
			}
			defer s.Close()
			return export(c, s, t)
		},
	}
}

// export writes the store through the NDJSON loader, one lane per type.
func export(c *cobra.Command, s store.Handle, t target) error {
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
		seal := func(outcomes []pipeline.Outcome) (pipeline.Checkpoint, error) {
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
