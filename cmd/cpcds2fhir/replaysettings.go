package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/layouts"
)

// layoutFile is where a state folder keeps a layout that loads have used.
func layoutFile(state, hash string) string { return filepath.Join(state, "layouts", hash+".json") }

// keepLayout keeps the layout of a load, so that its rejects can be replayed when
// the layout's own files have changed or are gone.
func keepLayout(state string, l *layouts.Layout) error {
	path := layoutFile(state, l.Hash)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	archive, err := l.Archive()
	if err != nil {
		return fmt.Errorf("keep layout: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep layout: %w", err)
	}
	if err := os.WriteFile(path+".tmp", archive, 0o600); err != nil {
		return fmt.Errorf("keep layout: %w", err)
	}
	return os.Rename(path+".tmp", path)
}

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
	archive, err := os.ReadFile(layoutFile(state, hash))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("the layout of the load was not kept; give --layout")
	}
	if err != nil {
		return nil, fmt.Errorf("read kept layout: %w", err)
	}
	return layouts.OpenArchive(archive)
}
