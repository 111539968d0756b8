// Package manifest has the account of a run as a document, and a state folder's records of runs:
// their settings, manifests and layouts. It does not know how a run works.
package manifest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/statefile"
)

// Version is the version of the shape of Manifest. Within a version fields may be added, but none
// is removed or changes its meaning.
const Version = 1

// Manifest is the account of a run as a document: what was read, what happened to every row and
// claim, and what the target did. docs/manifest.md describes it.
type Manifest struct {
	ManifestVersion int                               `json:"manifest_version"`
	ToolVersion     string                            `json:"tool_version"`
	Command         string                            `json:"command"` // load or replay
	Run             string                            `json:"run"`
	Number          int                               `json:"number,omitempty"` // among the accounts of the state folder; see Begin
	Target          string                            `json:"target"`
	Status          Status                            `json:"status"`
	Error           string                            `json:"error,omitempty"` // why the run failed or was stopped; it holds no values
	Started         string                            `json:"started"`         // RFC 3339, UTC; of the start that finished the run
	Finished        string                            `json:"finished"`
	Layout          Layout                            `json:"layout"`
	CARINVersion    string                            `json:"carin_version"`
	Profiles        string                            `json:"profiles"` // financial or basis
	Mode            string                            `json:"mode"`
	RepairsOff      []string                          `json:"repairs_off,omitempty"`
	IDKey           string                            `json:"id_key_fingerprint"`
	DryRun          bool                              `json:"dry_run,omitempty"`
	Arguments       []string                          `json:"arguments,omitempty"` // files, folders and globs that were given
	Inputs          []Input                           `json:"inputs"`
	LeftOut         []LeftOut                         `json:"left_out,omitempty"` // files that were not read
	Rows            map[string]pipeline.RowCount      `json:"rows"`               // by table
	Claims          pipeline.ClaimCount               `json:"claims"`             // distinct claim keys
	Resources       map[string]pipeline.ResourceCount `json:"resources"`
	Rejects         map[string]int64                  `json:"rejects"`  // claims and rows by rule
	Repairs         map[string]int64                  `json:"repairs"`  // applications by repair
	Skips           map[string]int64                  `json:"skips"`    // rows by rule
	Warnings        map[string]int64                  `json:"warnings"` // claims and rows by rule
	Balanced        bool                              `json:"balanced"`
	Stats           *Stats                            `json:"stats,omitempty"` // with --stats
}

// Status says how a run has ended.
type Status string

// The states of a run. The account of an incomplete run counts what became durable, and does not
// balance.
const (
	Running  Status = "running"
	Complete Status = "complete"
	Failed   Status = "failed"
	Stopped  Status = "stopped" // by a signal
)

// Stats says where the time of a call went.
type Stats struct {
	Seconds   float64            `json:"seconds"`    // from the first to the last act of the engine
	JSONBytes int64              `json:"json_bytes"` // of the resources that were mapped
	Stages    map[string]float64 `json:"stages"`     // seconds of all lanes together
}

// Layout names the layout of a run.
type Layout struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Why    string `json:"why,omitempty"` // why it was chosen, if it was recognised
}

// Input is one file that was read.
type Input struct {
	Path   string `json:"path"`
	Table  string `json:"table"`
	Form   string `json:"form,omitempty"` // of the table, if it has forms
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Rows   int64  `json:"rows"`

	Ignored []Column `json:"ignored,omitempty"` // columns that the layout leaves out
	Unknown []string `json:"unknown,omitempty"` // columns that it does not know
}

// LeftOut is a file that was not read, and why: it holds no table of the layout, or does not belong
// to the extract. A path that ends in a separator is a folder.
type LeftOut struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Column is a column of an input that is not mapped, and why.
type Column struct {
	Column string `json:"column"`
	Reason string `json:"reason"`
}

// unread records the columns of an input that are not mapped.
func (m *Input) unread(in *rowbatch.Input) {
	bound := in.Binding.Source()
	for i, f := range in.File.Fields() {
		t := in.Binding.Table()
		if slices.Contains(bound, i) || f.Name == pipeline.RejectField || t.Lends(f.Name) || t.RowsOf != nil {
			continue
		}
		if reason := t.Reason(f.Name); reason != "" {
			m.Ignored = append(m.Ignored, Column{f.Name, reason})
		} else {
			m.Unknown = append(m.Unknown, f.Name)
		}
	}
}

// AddInput notes an input of a run.
func (m *Manifest) AddInput(in *rowbatch.Input, size int64) {
	x := Input{Path: in.Path, Table: in.Table.String(), Form: in.Binding.Table().Form, Size: size}
	x.unread(in)
	m.Inputs = append(m.Inputs, x)
}

// NothingLoaded makes the account that of a run that loaded nothing into the target: rows and
// claims were only read and checked.
func (m *Manifest) NothingLoaded() {
	c := &m.Claims
	c.Loaded, c.Unchanged, c.Stale, c.PartlyRejected = 0, 0, 0, 0
	for t, r := range m.Resources {
		m.Resources[t] = pipeline.ResourceCount{Rejected: r.Rejected}
	}
}

// Count fills in the account.
func (m *Manifest) Count(a *pipeline.Account) {
	m.ManifestVersion = Version
	m.Rows, m.Resources = a.RowsByTable(), a.ResourcesByType()
	m.Claims = a.Claims
	m.Rejects, m.Repairs, m.Skips, m.Warnings = orEmpty(a.Rejects), orEmpty(a.Repairs), orEmpty(a.Skips), orEmpty(a.Warnings)
	m.Balanced = a.Balanced() && m.Status == Complete
}

func orEmpty(m map[string]int64) map[string]int64 {
	if m == nil {
		return map[string]int64{}
	}
	return m
}

// Write writes the manifest as indented JSON to a file that only its owner can read, under a
// temporary name first.
func (m *Manifest) Write(path string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := statefile.Replace(path, func(w *bufio.Writer) error { _, err := w.Write(append(b, '\n')); return err }); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

func finishedDir(state string) string { return filepath.Join(state, "manifests") }

func begunDir(state string) string { return filepath.Join(state, "runs") }

// Begin records in the state folder that a run has started, and with which settings: a stopped run
// has no account yet. It gives the run the number of its account. A run that is started again before
// it is recorded as complete keeps its number, so its account replaces one that was written just
// before the process was killed: two would count its resources twice.
func (m *Manifest) Begin(state string) error {
	if m.Number == 0 {
		before, err := Begun(state, m.Run)
		if err != nil {
			return err
		}
		if before != nil && before.Status == Running && before.Number > 0 {
			m.Number = before.Number
		} else if m.Number, err = nextNumber(state); err != nil {
			return err
		}
	}
	return m.record(state)
}

func (m *Manifest) record(state string) error {
	return m.Write(filepath.Join(begunDir(state), m.Run+".json"))
}

func nextNumber(state string) (int, error) {
	earlier, err := All(state)
	return len(earlier) + 1, err
}

// Begun returns how the run with an id was last started, nil if it never was.
func Begun(state, run string) (*Manifest, error) {
	m, err := Read(filepath.Join(begunDir(state), run+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return m, err
}

// Keep writes the manifest of a complete run, which must have begun, into the state folder, after
// those of earlier runs, and records that the run is complete.
func (m *Manifest) Keep(state string) error {
	if err := m.Write(filepath.Join(finishedDir(state), fmt.Sprintf("%06d-%s.json", m.Number, m.Run))); err != nil {
		return err
	}
	return m.record(state)
}

// KnowsRuns reports whether a state folder has runs that have started, and runs that have finished.
func KnowsRuns(state string) (begun, finished bool, err error) {
	for dir, some := range map[string]*bool{begunDir(state): &begun, finishedDir(state): &finished} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, false, fmt.Errorf("read state folder: %w", err)
		}
		*some = len(entries) > 0
	}
	return begun, finished, nil
}

// All reads the manifests of a state folder, oldest first.
func All(state string) ([]*Manifest, error) {
	entries, err := os.ReadDir(finishedDir(state))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	var list []*Manifest
	for _, n := range names {
		m, err := Read(filepath.Join(finishedDir(state), n))
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// Read reads one manifest.
func Read(path string) (*Manifest, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("read manifest %s: not a manifest of this program", path)
	}
	if m.ManifestVersion > Version {
		return nil, fmt.Errorf("read manifest %s: it has version %d, but this program knows only up to %d", path, m.ManifestVersion, Version)
	}
	return m, nil
}

// Measure takes over what a call measured, if it did.
func (m *Manifest) Measure(s *pipeline.Stages, took time.Duration) {
	if s == nil {
		return
	}
	m.Stats = &Stats{Seconds: took.Seconds(), JSONBytes: s.Bytes(), Stages: map[string]float64{}}
	for stage := range pipeline.NumStages {
		m.Stats.Stages[stage.String()] = s.Spent(stage).Seconds()
	}
}
