package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/schemas/carin"
)

// version is set by the linker of a release.
var version = ""

// toolVersion names the program's version: the release, or the commit it was
// built from.
func toolVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}

// releases are the releases of the guide, the default first.
func releases() []string { return []string{carin.V220.Name, carin.V200.Name} }

func versionLine() string {
	return fmt.Sprintf("cpcds2fhir %s (%s, %s/%s), CARIN Blue Button %s\n", toolVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH, strings.Join(releases(), " and "))
}

func newVersion() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version and the CARIN releases it supports",
		Args:  noArgs,

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "json" {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"version": toolVersion(), "go": runtime.Version(), "carin": releases()})
			}
			_, err := fmt.Fprint(c.OutOrStdout(), versionLine())
			return err
		},
	}
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}
