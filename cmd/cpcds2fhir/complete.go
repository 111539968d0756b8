package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// completion is the function that answers the shell's completion request.
type completion = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// completeFlag registers the completion of one of a command's flags.
func completeFlag(c *cobra.Command, flag string, f completion) {
	cobra.CheckErr(c.RegisterFlagCompletionFunc(flag, f))
}

// completeLoadFlags completes the flags of load and replay.
func completeLoadFlags(c *cobra.Command, f *loadFlags) {
	completeTarget(c)
	completeFlag(c, "carin", cobra.FixedCompletions(releases(), cobra.ShellCompDirectiveNoFileComp))
	completeFlag(c, "log", cobra.FixedCompletions([]string{"json", "console"}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(c, "layout", completeLayout)
	completeFlag(c, "no-repair", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, l := range layouts.Builtins() {
			if f.layout == "" || f.layout == l.Name {
				names = append(names, pipeline.KnownRepairs(l)...)
			}
		}
		slices.Sort(names)
		return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
	})
	for _, number := range []string{"workers", "memory", "max-rejects"} {
		completeFlag(c, number, cobra.NoFileCompletions)
	}
}

// completeTarget completes --to, and --state with folders.
func completeTarget(c *cobra.Command) {
	completeFlag(c, "to", cobra.FixedCompletions([]string{"store:", "ndjson:", "fhir:", "import:"}, cobra.ShellCompDirectiveNoSpace))
	cobra.CheckErr(c.MarkFlagDirname("state"))
}

// completeLayout completes the name of a layout that is built in, or a file.
func completeLayout(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, l := range layouts.Builtins() {
		names = append(names, cobra.CompletionWithDesc(l.Name, l.About))
	}
	return names, cobra.ShellCompDirectiveDefault
}

// completeTypes completes a resource type and what follows it.
func completeTypes(then string) completion {
	return func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for t := range fhir.NumTypes {
			if name := t.String() + then; len(args) == 0 && strings.HasPrefix(name, begun) {
				names = append(names, name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// completeRejects completes the flags that choose rejects.
func completeRejects(c *cobra.Command) {
	completeFlag(c, "rule", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return ruleNames(), cobra.ShellCompDirectiveNoFileComp
	})
	completeFlag(c, "run", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		f := &rejectFlags{to: c.Flag("to").Value.String(), state: c.Flag("state").Value.String()}
		_, runs, err := f.open()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return runs, cobra.ShellCompDirectiveNoFileComp
	})
	if c.Flag("table") != nil {
		completeFlag(c, "table", cobra.FixedCompletions(tableNames(), cobra.ShellCompDirectiveNoFileComp))
	}
}

// mostIDs is how many ids of rejects are offered.
const mostIDs = 200

// completeIDs completes the ids of rejects, which say nothing of members.
func (f *rejectFlags) completeIDs(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	s, runs, err := f.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	enough := errors.New("enough")
	_ = f.heads(s, runs, func(_ string, r *pipeline.Reject) error { // a damaged file completes nothing
		if strings.HasPrefix(r.ID, begun) && !slices.Contains(args, r.ID) {
			ids = append(ids, r.ID)
		}
		if len(ids) == mostIDs {
			return enough
		}
		return nil
	})
	return ids, cobra.ShellCompDirectiveNoFileComp
}
