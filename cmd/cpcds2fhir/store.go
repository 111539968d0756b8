package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/store"
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
