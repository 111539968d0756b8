package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

func newRejectsReplay() *cobra.Command {
	f := &loadFlags{}
	var run, rule string
	c := &cobra.Command{
		Use:   "replay",
		Short: "Process the open rejects again after fixing the layout or the small tables",
		Long: `Replay reads only the raw rows of a target's open rejects and loads what is now valid.
What it loads becomes resolved; what is rejected again stays open; what the target has
in a newer version becomes obsolete and is not overwritten. Layout, mode, release,
profiles and repairs are those of the load unless you set others.`,
		Example: `  cpcds2fhir rejects replay --layout ./fixed.yaml
  cpcds2fhir rejects replay --mode lenient --rule code-diagnosis_code --manifest replay.json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.ended(f.replay(c, run, rule))
		},
	}
	f.register(c)
	for flag, usage := range map[string]string{
		"layout":   "use this `LAYOUT`, a built-in name or a file (default: that of the load)",
		"carin":    "release of the CARIN guide: 2.2.0 or 2.0.0 (default: that of the load)",
		"profiles": "profiles of the resources (default: those of the load)",
		"mode":     "strict rejects whatever breaks an error rule; lenient first repairs what it can (default: that of the load)",
	} {
		c.Flags().Lookup(flag).Usage, c.Flags().Lookup(flag).DefValue = usage, ""
	}
	cobra.CheckErr(c.Flags().MarkHidden("allow-empty")) // a replay has no extract
	c.Flags().StringVar(&run, "run", "", "only the rejects of this run")
	c.Flags().StringVar(&rule, "rule", "", "only those that broke this rule")
	completeRejects(c)
	return c
}

func (f *loadFlags) replay(c *cobra.Command, onlyRun, rule string) error {
	choose := &rejectFlags{stopped: c.Context().Err, to: f.to, state: f.state, run: onlyRun, rule: rule, status: string(rejects.Open)}
	s, runs, err := choose.open()
	if err != nil {
		return err
	}
	var open []*pipeline.Reject
	var tags, of []string
	err = choose.each(s, runs, func(run string, r *pipeline.Reject) error {
		if len(r.Rows) == 0 {
			return nil // it is loaded again with what refers to it
		}
		open, tags = append(open, r), append(tags, run+"/"+r.ID)
		if !slices.Contains(of, run) {
			of = append(of, run)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(open) == 0 {
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
	for _, file := range rejects.NewReplayFiles(open, tags) {
		t := l.Form(file.Table, file.Form)
		if t == nil {
			return usagef("layout %s has no table for the rejects of %s", l.Name, file.Path)
		}
		file.Complete(t.Absent(file.Fields()))
		b, err := t.Bind(file.Fields(), layouts.Options{Lenient: f.mode == "lenient", NoRepair: j.noRepair})
		if err != nil {
			return fmt.Errorf("rejects of %s: %w", file.Path, err)
		}
		x.inputs = append(x.inputs, &rowbatch.Input{Path: file.Path, Table: file.Table, File: file, Binding: b})
	}
	if err := checkRepairs("--no-repair", j.flags.noRepair, x.layout); err != nil {
		return err
	}
	run := j.newRun(x, "replay\x00"+hex.EncodeToString(h.Sum(nil)))
	run.ID = replayPrefix + run.ID
	run.Replay = &batchrun.Replay{Appends: j.target.appends(), Present: map[string]bool{}}
	if run.Replay.Appends {
		if run.Replay.Present, err = presentOf(j.target.place(), open); err != nil {
			return err
		}
	}
	m, err := j.do(c.Context(), x, run, "replay")
	if err != nil {
		return err
	}
	if !f.dryRun {
		if err := j.closeReplay(run, m, tags); err != nil {
			return err
		}
	}
	return j.report(m)
}

// presentOf finds which resources of rejects a folder has: for claims the parts that were loaded,
// for rows any resource with their id.
func presentOf(dir string, open []*pipeline.Reject) (map[string]bool, error) {
	present, wanted := map[string]bool{}, map[string]bool{}
	for _, r := range open {
		for _, resource := range r.Loaded {
			present[resource] = true
		}
		if r.Table == cpcds.Claims.String() {
			continue
		}
		for _, resource := range r.Resources {
			wanted[resource] = true
		}
	}
	found, err := findNDJSON(dir, wanted)
	maps.Copy(present, found)
	return present, err
}

// closeReplay records what a replay did with the rejects. If a replay's own rejects are gone, it
// was closed the first time it ran: what it left open is still open.
func (j *job) closeReplay(run *batchrun.Config, m *manifest.Manifest, tags []string) error {
	s, err := rejects.OpenStore(j.state) // anew: the run has closed some of them
	if err != nil {
		return err
	}
	runs, err := s.Runs()
	if err != nil {
		return err
	}
	if len(m.Rejects) > 0 && !slices.Contains(runs, run.ID) {
		return nil
	}
	states, err := rejects.Replayed(j.state, run.ID, tags, j.newer)
	if err != nil {
		return err
	}
	return s.SetState(states)
}

// replayPrefix begins the ids of replays. Rejects of a replay repeat those of loads; they exist
// only until the replay is closed, and must not be shown.
const replayPrefix = "replay-"

func isReplay(run string) bool { return strings.HasPrefix(run, replayPrefix) }

// replayPart names the parts that a replay adds to an NDJSON folder.
func replayPart(run *batchrun.Config) string {
	if run.Replay == nil {
		return ""
	}
	return run.ID
}
