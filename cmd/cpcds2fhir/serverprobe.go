package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/fhirclient"
)

func newServer() *cobra.Command {
	c := &cobra.Command{
		Use:   "server",
		Short: "Ask a FHIR server what it is",
	}
	c.AddCommand(newServerProbe())
	return c
}

func newServerProbe() *cobra.Command {
	var f serverFlags
	var output, log string
	var show bool
	c := &cobra.Command{
		Use:   "probe URL",
		Short: "Say what a FHIR server is and can do, and how a load would treat it",
		Long: `Probe reads the CapabilityStatement of a FHIR R4 server, and says which server it is,
which of its abilities a load needs, and which profile and settings a load would use.
It writes nothing.

What the server needs besides, such as authentication, is in the file of --server;
--print-config prints one with all keys.`,
		Example: `  cpcds2fhir server probe http://127.0.0.1:8080/fhir
  cpcds2fhir server probe https://server.example.org/fhir --server server.yaml --output json
  cpcds2fhir server probe --print-config > server.yaml`,
		Args: func(c *cobra.Command, args []string) error {
			if show && len(args) == 0 {
				return nil
			}
			return needs("the base URL of a server", false)(c, args)
		},
		ValidArgsFunction: cobra.FixedCompletions([]string{"https://"}, cobra.ShellCompDirectiveNoSpace),
		RunE: func(c *cobra.Command, args []string) error {
			if show {
				_, err := fmt.Fprint(c.OutOrStdout(), fullServerConfig)
				return err
			}
			kind, rest, _ := strings.Cut(args[0], ":")
			if kind == "fhir" || kind == "import" {
				args[0] = rest
			}
			t, err := parseServer("probe", args[0], args[0], false)
			if err != nil {
				return err
			}
			config, err := f.config(t)
			if err != nil {
				return err
			}
			server, err := connectServer(c.Context(), t.place(), config, new(serverMeter), newLog(log))
			if err != nil {
				return err
			}
			if output == "json" {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(server.probe)
			}
			writeProbe(c.OutOrStdout(), t.place(), server.probe)
			return nil
		},
	}
	f.registerFile(c)
	c.Flags().BoolVar(&show, "print-config", false, "print a file for --server with all keys")
	choiceFlag(c, &output, "output", "output format", "text", "json")
	c.Flags().StringVar(&log, "log", "", "also log to standard error in this `FORMAT`: json or console")
	completeFlag(c, "log", cobra.FixedCompletions([]string{"json", "console"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// writeProbe prints what a server is for a person.
func writeProbe(w io.Writer, url string, p *fhirclient.Probe) {
	how := "recognised by its CapabilityStatement"
	if !p.Recognised {
		how = "not recognised"
	}
	software := p.Software
	if software == "" {
		software = "it does not say what it is"
	}
	fmt.Fprintf(w, "%s\n\n", url)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "  software\t%s\n", strings.TrimSpace(software+" "+p.Version))
	fmt.Fprintf(t, "  FHIR\t%s\n", p.FHIR)
	fmt.Fprintf(t, "  profile\t%s (%s)\n", p.Profile, how)
	can, cannot := []string{}, []string{}
	for _, name := range slices.Sorted(maps.Keys(p.Abilities)) {
		if p.Abilities[name] {
			can = append(can, name)
		} else {
			cannot = append(cannot, name)
		}
	}
	fmt.Fprintf(t, "  can\t%s\n", orNothing(can))
	fmt.Fprintf(t, "  cannot\t%s\n", orNothing(cannot))
	fmt.Fprintf(t, "  types\t%s\n", orNothing(p.Types))
	t.Flush()
	s := &p.Settings
	fmt.Fprintf(w, "\nA load would use:\n\n")
	line := func(key, value, about string) { fmt.Fprintf(t, "  %s\t%s\t%s\n", key, value, about) }
	line("ids", s.IDs, map[string]string{"client": "resources keep our ids", "conditional": "the server makes ids; resources are found by identifier"}[s.IDs])
	line("bundle", s.Bundle, "")
	line("entries", comma(int64(s.Entries)), "most entries of a bundle")
	line("bytes", comma(int64(s.Bytes)), "most bytes of a bundle")
	if s.ResourceMax > 0 {
		line("resource_bytes", comma(int64(s.ResourceMax)), "most bytes of a resource")
	}
	line("concurrency", fmt.Sprint(s.Concurrency), "most requests at once")
	line("timeout", s.Timeout.String(), "of one request")
	line("patience", s.Patience.String(), "how long an unavailable server is tried again")
	line("if_match", yesNo(s.IfMatch), "the server refuses to overwrite what somebody else has changed")
	line("conflicts", s.Conflicts, map[string]string{"report": "such a resource is rejected", "overwrite": "such a resource is overwritten"}[s.Conflicts])
	line("deletions", s.Deletions, "")
	line("import", orNothing(strings.Fields(s.Import)), "kind of bulk import")
	t.Flush()
	for _, n := range p.Notes {
		fmt.Fprintf(w, "\nNote: %s\n", n)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}
