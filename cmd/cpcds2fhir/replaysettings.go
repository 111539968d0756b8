package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/layouts"
)

// replaySettings are those of the loads whose rejects are replayed, for the flags
// that are not given.
func (f *loadFlags) replaySettings(c *cobra.Command, state string, runs []string) (*layouts.Layout, error) {
	begun := map[string]*pipeline.Manifest{}
	for _, run := range runs {
		m, err := pipeline.Begun(state, run)
		if err != nil {
			return nil, err
		}
		if m != nil {
			begun[run] = m
		}
	}
	// setting sets a flag that is not given to what all loads had.
	setting := func(flag string, of func(m *pipeline.Manifest) string) (string, error) {
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
			return "", usagef("the %s of the load is not known; give --%s", flag, flag)
		case 1:
			return values[0], nil
		}
		return "", usagef("the rejects are of loads with different settings (%s: %s); give --%s, or choose with --run", flag, strings.Join(values, ", "), flag)
	}
	var err error
	if f.carin, err = setting("carin", func(m *pipeline.Manifest) string { return m.CARINVersion }); err != nil {
		return nil, err
	}
	if f.profiles, err = setting("profiles", func(m *pipeline.Manifest) string { return cmp.Or(m.Profiles, carin.Profiles[0]) }); err != nil {
		return nil, err
	}
	if f.mode, err = setting("mode", func(m *pipeline.Manifest) string { return m.Mode }); err != nil {
		return nil, err
	}
	if !c.Flags().Changed("no-repair") {
		off, err := setting("no-repair", func(m *pipeline.Manifest) string { return strings.Join(m.RepairsOff, ",") })
		if err != nil {
			return nil, err
		}
		f.noRepair = slices.DeleteFunc(strings.Split(off, ","), func(s string) bool { return s == "" })
	}
	if f.layout != "" {
		return openLayout(f.layout)
	}
	hash, err := setting("layout", func(m *pipeline.Manifest) string { return m.Layout.SHA256 })
	if err != nil {
		return nil, err
	}
	l, err := pipeline.KeptLayout(state, hash)
	if err == nil && l == nil {
		return nil, usagef("the layout of the load was not kept; give --layout")
	}
	return l, err
}
