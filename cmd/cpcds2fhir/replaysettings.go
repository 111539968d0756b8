package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/layouts"
)

// replaySettings fills the flags that are not set with the settings of the loads whose rejects are
// replayed.
func (f *loadFlags) replaySettings(c *cobra.Command, state string, runs []string) (*layouts.Layout, error) {
	begun := map[string]*manifest.Manifest{}
	for _, run := range runs {
		m, err := manifest.Begun(state, run)
		if err != nil {
			return nil, err
		}
		if m != nil {
			begun[run] = m
		}
	}
	// setting sets a flag that is not set to the value that all loads had.
	setting := func(flag string, of func(m *manifest.Manifest) string) (string, error) {
		if c.Flags().Changed(flag) {
			return c.Flags().Lookup(flag).Value.String(), nil
		}
		var values []string
		for _, run := range runs {
			if m := begun[run]; m != nil && !slices.Contains(values, of(m)) {
				values = append(values, of(m))
			}
		}
		switch len(values) {
		case 0:
			return "", usagef("the %s of the load is not known; set --%s", flag, flag)
		case 1:
			return values[0], nil
		}
		return "", usagef("the rejects are from loads with different settings (%s: %s); set --%s, or select a load with --run", flag, strings.Join(values, ", "), flag)
	}
	var err error
	if f.carin, err = setting("carin", func(m *manifest.Manifest) string { return m.CARINVersion }); err != nil {
		return nil, err
	}
	if f.profiles, err = setting("profiles", func(m *manifest.Manifest) string { return cmp.Or(m.Profiles, carin.Profiles[0]) }); err != nil {
		return nil, err
	}
	if f.mode, err = setting("mode", func(m *manifest.Manifest) string { return m.Mode }); err != nil {
		return nil, err
	}
	if !c.Flags().Changed("no-repair") {
		off, err := setting("no-repair", func(m *manifest.Manifest) string { return strings.Join(m.RepairsOff, ",") })
		if err != nil {
			return nil, err
		}
		f.noRepair = slices.DeleteFunc(strings.Split(off, ","), func(s string) bool { return s == "" })
	}
	if !strings.Contains(f.to, "?") { // the parts of a folder have one compression
		for _, m := range begun {
			if _, options, ok := strings.Cut(m.Target, "?"); ok {
				f.to += "?" + options
				break
			}
		}
	}
	if f.layout != "" {
		return openLayout(f.layout)
	}
	hash, err := setting("layout", func(m *manifest.Manifest) string { return m.Layout.SHA256 })
	if err != nil {
		return nil, err
	}
	l, err := manifest.KeptLayout(state, hash)
	if err == nil && l == nil {
		return nil, usagef("the layout of the load was not kept; set --layout")
	}
	return l, err
}
