package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

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

func newVersion() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and the CARIN releases it knows",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			releases := []string{carin.V220.Name, carin.V200.Name}
			if output == "json" {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"version": toolVersion(), "go": runtime.Version(), "carin": releases})
			}
			fmt.Fprintf(c.OutOrStdout(), "cpcds2fhir %s (%s, %s/%s), CARIN Blue Button %s and %s\n", toolVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH, releases[0], releases[1])
			return nil
		},
	}
	choiceFlag(c, &output, "output", "text or json", "text", "json")
	return c
}
