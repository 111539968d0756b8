package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
)

func newDemo() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Make a synthetic extract, load it and show the result",
		Long: `Demo makes a synthetic extract with all six kinds of claims as Parquet and loads it
into an embedded store. It then shows the account, one member's claims, the main parts of one
ExplanationOfBenefit, and commands to try next. Everything it writes is in one
folder, except for your id key in the configuration folder.`,
		Example: `  cpcds2fhir demo
  cpcds2fhir demo --dir /tmp/demo`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(c *cobra.Command, _ []string) error { return demo(c, dir) },
	}
	c.Flags().StringVar(&dir, "dir", "./demo", "write everything to `DIR`; an earlier demo in it is replaced")
	cobra.CheckErr(c.MarkFlagDirname("dir"))
	return c
}

// demoMark is a file that marks a folder as a demo's, so it may be replaced.
const demoMark = ".cpcds2fhir-demo"

func demo(c *cobra.Command, dir string) error {
	w := c.OutOrStdout()
	if err := folder("demo in "+dir, dir); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, demoMark)); err != nil {
			return usagef("%s is not empty and not from a demo; name another folder with --dir", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, demoMark), nil, 0o600); err != nil {
		return err
	}
	extract, storeDir := filepath.Join(dir, "extract"), filepath.Join(dir, "fhir-store")
	fmt.Fprintf(w, "1. A synthetic extract\n\n")
	o := synth.Demo()
	workers := min(runtime.NumCPU(), mostWorkers)
	o.Dir, o.Workers = extract, workers
	start := time.Now()
	s, err := synth.Write(c.Context(), o)
	if err != nil {
		return err
	}
	if err := printSynth(w, s, extract, "text", time.Since(start)); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n2. Load it: cpcds2fhir load --to store:%s %s\n", storeDir, extract)
	f := &loadFlags{to: "store:" + storeDir, carin: "2.2.0", profiles: carin.Profiles[0], mode: "strict", workers: workers,
		memory: "512MiB", output: "text", demo: true, manifest: filepath.Join(dir, "manifest.json")}
	if err := f.load(c.Context(), []string{extract}, w); err != nil {
		return err
	}
	st, err := openStore(storeDir)
	if err != nil {
		return err
	}
	defer st.Close()
	patient, err := showMember(c.Context(), w, st, storeDir)
	if err != nil {
		return err
	}
	m, err := manifest.Read(f.manifest)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n5. The account\n\n  %s\n  %s It is in %s, as JSON.\n", claimsLine(m), balance(m), f.manifest)
	fmt.Fprintf(w, `
6. Try next

  cpcds2fhir store stats --store %[1]s
  cpcds2fhir store search --store %[1]s --bundle 'ExplanationOfBenefit?patient=%[2]s'
  cpcds2fhir load --to store:%[1]s %[3]s      # again: nothing changes
  cpcds2fhir load --to 'ndjson:%[4]s/out?compress=zstd' %[3]s
  cpcds2fhir reconcile --to store:%[1]s
  cpcds2fhir synth --claims 5000 --faults 20%% --out %[4]s/broken
  cpcds2fhir load --to store:%[4]s/other %[4]s/broken && cpcds2fhir rejects list --summary --to store:%[4]s/other

Everything is in %[4]s. If cpcds2fhir is not installed, use 'go run ./cmd/cpcds2fhir'.
`, storeDir, patient, extract, dir)
	return nil
}

// demoClaims is how many claims fit on a screen.
const demoClaims = 15

// better prefers a history that fits on a screen, then more kinds of claims.
func better(a, b []claimRow) bool {
	if fits, other := len(a) <= demoClaims, len(b) > 0 && len(b) <= demoClaims; fits != other {
		return fits && len(a) > 0 || len(b) == 0
	}
	return kinds(a) > kinds(b)
}

// showMember prints the claims of one member with a history of several kinds, and the main parts of
// one of them. It returns the member's id.
func showMember(ctx context.Context, w io.Writer, st store.Handle, storeDir string) (string, error) {
	var best string
	var bestRows []claimRow
	n := 0
	for e, err := range st.Export(ctx, fhir.Patient) {
		if err != nil {
			return "", err
		}
		rows, err := claimRows(ctx, st, e.ID)
		if err != nil {
			return "", err
		}
		if better(rows, bestRows) {
			best, bestRows = strings.Clone(e.ID), rows
		}
		if n++; n == 60 {
			break
		}
	}
	if best == "" {
		return "", fmt.Errorf("the demo's store has no members")
	}
	fmt.Fprintf(w, "\n3. The claims of one member, Patient/%s\n\n", best)
	fmt.Fprintf(w, "  %-12s %-14s %-10s %6s %12s %12s\n", "from", "kind", "status", "lines", "submitted", "paid")
	for _, r := range bestRows {
		fmt.Fprintf(w, "  %-12s %-14s %-10s %6d %12s %12s\n", r.from, r.kind, r.status, r.lines, r.submitted, r.paid)
	}
	one := example(bestRows)
	lines, more, err := excerpt(one.json)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(w, "\n4. One of them, shortened to its first item and to codes without their systems\n\n")
	if n := len(lines) - demoLines; n > 0 {
		lines, more = lines[:demoLines], more+n
	}
	for _, l := range lines {
		fmt.Fprintf(w, "  %s\n", l)
	}
	fmt.Fprintf(w, "  ... %s. To print all of it:\n\n  cpcds2fhir store get --store %s ExplanationOfBenefit/%s\n",
		many(int64(more), "more line"), storeDir, one.id)
	return best, nil
}

// demoLines is how many lines of a resource are shown, so that the rest of the demo stays in sight.
const demoLines = 60

// example is the shortest of the claims that have a diagnosis, if any has.
func example(rows []claimRow) claimRow {
	rank := func(r claimRow) int {
		if bytes.Contains(r.json, []byte(`"diagnosis":`)) {
			return 0
		}
		return 1
	}
	return slices.MinFunc(rows, func(a, b claimRow) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(len(a.json), len(b.json)))
	})
}
