package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/pipeline/manifest"
)

// A run leaves its account in files that other programs read: --manifest and --metrics-file. They
// are replaced as soon as the run starts, so that an old one is not taken for this run's.

// began checks that the files can be written and replaces those of an earlier run.
func (f *loadFlags) began(at time.Time) error {
	for _, path := range []string{f.manifest, f.metricsFile} {
		if path == "" {
			continue
		}
		if err := checkManifest(path); err != nil {
			return err
		}
	}
	f.manifestOf = &manifest.Manifest{ManifestVersion: manifest.Version, Status: manifest.Running, ToolVersion: toolVersion(), Command: "load",
		Target: f.to, Started: stamp(at), DryRun: f.dryRun}
	return f.write(f.manifestOf)
}

// ended records how an unsuccessful run ended, and returns its error.
func (f *loadFlags) ended(err error) error {
	m := f.manifestOf
	if err == nil || m == nil {
		return err
	}
	m.Status, m.Error = manifest.Failed, message(err)
	if errors.Is(err, context.Canceled) {
		m.Status = manifest.Stopped
	}
	if m.Finished == "" {
		m.Finished = stamp(time.Now())
	}
	return errors.Join(err, f.write(m))
}

// write writes the files that were asked for.
func (f *loadFlags) write(m *manifest.Manifest) error {
	if f.manifest != "" {
		if err := m.Write(f.manifest); err != nil {
			return err
		}
	}
	if f.metricsFile == "" {
		return nil
	}
	// Collectors run as another user; the file has no member data.
	temp := filepath.Join(filepath.Dir(f.metricsFile), "."+filepath.Base(f.metricsFile)+".tmp")
	text := new(strings.Builder)
	writeMetrics(text, m)
	if err := os.WriteFile(temp, []byte(text.String()), 0o644); err != nil { //nolint:gosec // see above
		return fmt.Errorf("write metrics: %w", err)
	}
	if err := os.Rename(temp, f.metricsFile); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// writeMetrics writes the account of a run in the text format of Prometheus.
func writeMetrics(w io.Writer, m *manifest.Manifest) {
	metric := func(name, help string) {
		fmt.Fprintf(w, "# HELP cpcds2fhir_run_%s %s\n# TYPE cpcds2fhir_run_%s gauge\n", name, help, name)
	}
	value := func(name, labels string, v int64) { fmt.Fprintf(w, "cpcds2fhir_run_%s%s %d\n", name, labels, v) }
	flag := func(b bool) int64 {
		if b {
			return 1
		}
		return 0
	}
	at := func(s string) int64 {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t.Unix()
		}
		return 0
	}
	metric("info", "Labels that describe the last run.")
	value("info", labels("command", m.Command, "run", m.Run, "target", m.Target, "layout", m.Layout.Name, "mode", m.Mode, "version", m.ToolVersion), 1)
	metric("status", "How the last run ended: 1 for the current state.")
	for _, s := range []manifest.Status{manifest.Running, manifest.Complete, manifest.Failed, manifest.Stopped} {
		value("status", labels("status", string(s)), flag(m.Status == s))
	}
	metric("balanced", "Whether the account of the last run balances.")
	value("balanced", "", flag(m.Balanced))
	metric("started_timestamp_seconds", "When the last run started.")
	value("started_timestamp_seconds", "", at(m.Started))
	metric("finished_timestamp_seconds", "When the last run ended; 0 while it runs.")
	value("finished_timestamp_seconds", "", at(m.Finished))
	type outcome struct {
		name string
		n    int64
	}
	outcomes := func(name string, of []string, list ...outcome) {
		for _, x := range list {
			value(name, labels(slices.Concat(of, []string{"outcome", x.name})...), x.n)
		}
	}
	metric("claims", "Claims by outcome.")
	c := m.Claims
	outcomes("claims", nil, outcome{"loaded", c.Loaded}, outcome{"unchanged", c.Unchanged}, outcome{"stale", c.Stale},
		outcome{"rejected", c.Rejected}, outcome{"skipped", c.Skipped})
	metric("rows", "Rows by table and outcome.")
	for _, t := range slices.Sorted(maps.Keys(m.Rows)) {
		r := m.Rows[t]
		outcomes("rows", []string{"table", t}, outcome{"in_resources", r.InClaims}, outcome{"rejected", r.Rejected}, outcome{"skipped", r.Skipped})
	}
	metric("resources", "Resources by type and outcome.")
	for _, t := range slices.Sorted(maps.Keys(m.Resources)) {
		r := m.Resources[t]
		outcomes("resources", []string{"type", t}, outcome{"created", r.Created}, outcome{"updated", r.Updated},
			outcome{"unchanged", r.Unchanged}, outcome{"stale", r.Stale}, outcome{"deleted", r.Deleted},
			outcome{"refused", r.Refused}, outcome{"rejected", r.Rejected})
	}
	for _, x := range []struct {
		name, help string
		counts     map[string]int64
	}{
		{"rejects", "Claims and rows that were rejected, by rule.", m.Rejects},
		{"warnings", "Claims and rows with a warning, by rule.", m.Warnings},
		{"repairs", "Repairs, by name.", m.Repairs},
		{"skips", "Rows that were skipped, by rule.", m.Skips},
	} {
		metric(x.name, x.help)
		for _, rule := range slices.Sorted(maps.Keys(x.counts)) {
			value(x.name, labels("rule", rule), x.counts[rule])
		}
	}
}

// labels writes pairs of name and value as Prometheus does.
func labels(pairs ...string) string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, pairs[i]+`="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(pairs[i+1])+`"`)
	}
	return "{" + strings.Join(out, ",") + "}"
}

// unusable says why a completed load is of no use, nil if it is of use.
func unusable(m *manifest.Manifest, emptyIsFine bool) error {
	claims, rows, kept := false, int64(0), int64(0)
	for _, in := range m.Inputs {
		claims = claims || in.Table == "claims"
	}
	for _, r := range m.Rows {
		rows += r.Read
		kept += r.InClaims + r.Skipped
	}
	c := m.Claims
	switch {
	case c.Seen > 0 && c.Loaded+c.Unchanged+c.Stale == 0:
		why := fmt.Sprintf("no usable claims: %s read, %d rejected, %d skipped", many(c.Seen, "claim"), c.Rejected, c.Skipped)
		if rules := byCount(m.Rejects); len(rules) > 0 {
			why += "; the rule broken most often is " + rules[0]
		}
		if m.Rejects["unknown-member"] >= c.Seen && m.Rows["members"].Read == 0 {
			why += "; no members were given, and none are known from earlier loads"
		}
		return errors.New(why)
	case c.Seen == 0 && claims && !emptyIsFine:
		return errors.New("there are no claims in the claims files (use --allow-empty if this is intended)")
	case rows == 0 && !emptyIsFine:
		return errors.New("there are no rows in the files (use --allow-empty if this is intended)")
	case rows > 0 && kept == 0:
		return fmt.Errorf("no usable rows: %s read, all rejected", many(rows, "row"))
	}
	return nil
}
