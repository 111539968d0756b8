package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/pipeline/rejects"

	"github.com/spf13/cobra"
)

func newRejectsPurge() *cobra.Command {
	f := &rejectFlags{}
	var olderThan string
	var resolved, dryRun bool
	c := &cobra.Command{
		Use:   "purge",
		Short: "Remove rejects that are no longer needed, with their rows",
		Long: `Purge permanently removes rejects from a target's state folder: with --resolved those
that a replay or a later load has settled, with --older-than those of old loads, with
both only what is both settled and old. Rejects of an unfinished load are kept.`,
		Example: `  cpcds2fhir rejects purge --resolved
  cpcds2fhir rejects purge --older-than 90d --dry-run
  cpcds2fhir rejects purge --resolved --older-than 30d`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if olderThan == "" && !resolved {
				return usagef("say which rejects: --resolved, --older-than, or both")
			}
			var before time.Time
			if olderThan != "" {
				age, err := parseAge(olderThan)
				if err != nil {
					return err
				}
				before = time.Now().Add(-age)
			}
			s, runs, err := f.open()
			if err != nil {
				return err
			}
			var purged, kept int64
			for _, run := range runs {
				p, k, err := s.Purge(c.Context(), run, rejects.Purge{Resolved: resolved, Before: before, DryRun: dryRun})
				if err != nil {
					return err
				}
				purged, kept = purged+p, kept+k
			}
			done := "removed"
			if dryRun {
				done = "would be removed"
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %s, %s left\n", many(purged, "reject"), done, many(kept, "reject"))
			return nil
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.to, "to", defaultTarget, "use the rejects of this `TARGET`")
	fl.StringVar(&f.state, "state", "", "find the rejects in `DIR` (default: the target's name with .state)")
	fl.StringVar(&f.run, "run", "", "only the rejects of this run")
	fl.StringVar(&olderThan, "older-than", "", "those of loads that started longer ago than `AGE`, such as 36h or 90d")
	fl.BoolVar(&resolved, "resolved", false, "those that are resolved or obsolete")
	fl.BoolVar(&dryRun, "dry-run", false, "only print how many would be removed")
	completeTarget(c)
	return c
}

// parseAge reads a duration; d stands for days.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d, nil
	}
	return 0, usagef("--older-than %q: use a number with d, h or m, such as 90d", s)
}
