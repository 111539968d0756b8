package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/layouts"
)

func newRejectsReplay() *cobra.Command {
	f := &loadFlags{}
	var run, rule string
	c := &cobra.Command{
		Use:   "replay",
		Short: "Process the open rejects again, after a fix of the layout, the rules or the small tables",
		Long: `Replay reads the raw rows of the open rejects of a target, and nothing else, and
loads what has become valid. What it loads is resolved; what is rejected again stays
open; what the target has in a newer version is obsolete and not overwritten. Layout,
mode, release, profiles and repairs are those of the load unless others are given.`,
		Example: `  cpcds2fhir rejects replay --layout ./fixed.yaml
  cpcds2fhir rejects replay --mode lenient --rule code-diagnosis_code --manifest replay.json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.replay(c, run, rule)
		},
	}
	f.register(c)
	for flag, usage := range map[string]string{
		"layout":   "layout `NAME or FILE` (default: that of the load)",
		"carin":    "release of the CARIN guide: 2.2.0 or 2.0.0 (default: that of the load)",
		"profiles": "financial, or basis `word` (default: those of the load)",
		"mode":     "strict, or lenient `word` (default: that of the load)",
	} {
		c.Flags().Lookup(flag).Usage, c.Flags().Lookup(flag).DefValue = usage, ""
	}
	c.Flags().StringVar(&run, "run", "", "only the rejects of this run")
	c.Flags().StringVar(&rule, "rule", "", "only those that broke this rule")
	completeRejects(c)
	return c
}

func (f *loadFlags) replay(c *cobra.Command, onlyRun, rule string) error {
	choose := &rejectFlags{to: f.to, state: f.state, run: onlyRun, rule: rule, status: string(pipeline.RejectOpen)}
	s, runs, err := choose.open()
	if err != nil {
		return err
	}
	var rejects []*pipeline.Reject
	var tags, of []string
	err = choose.each(s, runs, func(run string, r *pipeline.Reject) error {
		rejects, tags = append(rejects, r), append(tags, run+"/"+r.ID)
		if !slices.Contains(of, run) {
			of = append(of, run)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(rejects) == 0 {
		fmt.Fprintln(c.OutOrStdout(), "There are no open rejects to replay.")
		return nil
	}
	t, err := parseTarget(f.to)
	if err != nil {
		return err
	}
	l, err := f.replaySettings(c, t.state(f.state), of)
	if err != nil {
		return err
	}
	j, err := f.prepare(c.OutOrStdout())
	if err != nil {
		return err
	}
	x := &extract{layout: l}
	h := sha256.New()
	for _, t := range tags {
		fmt.Fprintln(h, t)
	}
	for _, file := range pipeline.NewReplayFiles(rejects, tags) {
		t := l.Form(file.Table, file.Form)
		if t == nil {
			return usagef("layout %s has no table for the rejects of %s", l.Name, file.Path)
		}
		file.Complete(t.Absent(file.Fields()))
		b, err := t.Bind(file.Fields(), layouts.Options{Lenient: f.mode == "lenient", NoRepair: j.noRepair})
		if err != nil {
			return fmt.Errorf("rejects of %s: %w", file.Path, err)
		}
		x.inputs = append(x.inputs, &pipeline.Input{Path: file.Path, Table: file.Table, File: file, Binding: b})
	}
	if err := j.checkRepairs(x); err != nil {
		return err
	}
	run := j.newRun(x, "replay\x00"+hex.EncodeToString(h.Sum(nil)))
	run.ID = replayPrefix + run.ID
	run.Replay = true
	m, err := j.do(c.Context(), x, run, "replay")
	if err != nil {
		return err
	}
	if !f.dryRun {
		if err := settleReplay(s, run, m, tags); err != nil {
			return err
		}
	}
	return j.report(m)
}

// settleReplay records what a replay made of the rejects. A replay whose own rejects
// are gone was settled when it was made first: what it left open is still open.
func settleReplay(s *pipeline.RejectStore, run *pipeline.Run, m *pipeline.Manifest, tags []string) error {
	runs, err := s.Runs()
	if err != nil {
		return err
	}
	if len(m.Rejects) > 0 && !slices.Contains(runs, run.ID) {
		return nil
	}
	states, err := run.Replayed(tags)
	if err != nil {
		return err
	}
	return s.SetState(states)
}

// replayPrefix begins the ids of replays. Rejects of a replay repeat those of loads;
// they are there only until the replay is settled, and nobody else may see them.
const replayPrefix = "replay-"

func isReplay(run string) bool { return strings.HasPrefix(run, replayPrefix) }

// replayPart names the parts that a replay adds to an NDJSON folder.
func replayPart(run *pipeline.Run) string {
	if !run.Replay {
		return ""
	}
	return run.ID
}
