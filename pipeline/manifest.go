package pipeline

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

	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// ManifestVersion is the version of the shape of Manifest. Fields may be added
// within a version; none is removed or changes its meaning.
const ManifestVersion = 1

// Manifest is the account of a run as a document: what was read, what became of
// every row and claim, and what the target did. docs/manifest.md describes it.
type Manifest struct {
	ManifestVersion int                      `json:"manifest_version"`
	ToolVersion     string                   `json:"tool_version"`
	Command         string                   `json:"command"` // load or replay
	Run             string                   `json:"run"`
	Target          string                   `json:"target"`
	Started         string                   `json:"started"` // RFC 3339, UTC; of the call that finished the run
	Finished        string                   `json:"finished"`
	Layout          ManifestLayout           `json:"layout"`
	CARINVersion    string                   `json:"carin_version"`
	Profiles        string                   `json:"profiles"` // financial or basis
	Mode            string                   `json:"mode"`
	RepairsOff      []string                 `json:"repairs_off,omitempty"`
	IDKey           string                   `json:"id_key_fingerprint"`
	DryRun          bool                     `json:"dry_run,omitempty"`
	Inputs          []ManifestInput          `json:"inputs"`
	LeftOut         []ManifestLeftOut        `json:"left_out,omitempty"` // files that are no tables
	Rows            map[string]RowCount      `json:"rows"`               // by table
	Claims          ClaimCount               `json:"claims"`             // distinct claim keys
	Resources       map[string]ResourceCount `json:"resources"`
	Rejects         map[string]int64         `json:"rejects"`  // claims and rows by rule
	Repairs         map[string]int64         `json:"repairs"`  // applications by repair
	Skips           map[string]int64         `json:"skips"`    // rows by rule
	Warnings        map[string]int64         `json:"warnings"` // claims and rows by rule
	Balanced        bool                     `json:"balanced"`
	Stats           *ManifestStats           `json:"stats,omitempty"` // with --stats
}

// ManifestStats says where the time of a call went.
type ManifestStats struct {
	Seconds   float64            `json:"seconds"`    // from the first to the last act of the engine
	JSONBytes int64              `json:"json_bytes"` // of the resources that were mapped
	Stages    map[string]float64 `json:"stages"`     // seconds of all lanes together
}

// ManifestLayout names the layout of a run.
type ManifestLayout struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Why    string `json:"why,omitempty"` // why it was chosen, if it was recognised
}

// ManifestInput is one file that was read.
type ManifestInput struct {
	Path   string `json:"path"`
	Table  string `json:"table"`
	Form   string `json:"form,omitempty"` // of the table, if it has forms
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Rows   int64  `json:"rows"`

	Ignored []ManifestColumn `json:"ignored,omitempty"` // columns that the layout leaves out
	Unknown []string         `json:"unknown,omitempty"` // columns that it does not know
}

// ManifestLeftOut is a file that holds no table of the layout, and why.
type ManifestLeftOut struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// ManifestColumn is a column of an input that becomes nothing, and why.
type ManifestColumn struct {
	Column string `json:"column"`
	Reason string `json:"reason"`
}

// unread notes the columns of an input that become nothing.
func (m *ManifestInput) unread(in *Input) {
	bound := in.Binding.Source()
	for i, f := range in.File.Fields() {
		t := in.Binding.Table()
		if slices.Contains(bound, i) || f.Name == rejectField || t.Lends(f.Name) || t.RowsOf != nil {
			continue
		}
		if reason := t.Reason(f.Name); reason != "" {
			m.Ignored = append(m.Ignored, ManifestColumn{f.Name, reason})
		} else {
			m.Unknown = append(m.Unknown, f.Name)
		}
	}
}

// Input notes an input of a run.
func (m *Manifest) Input(in *Input, size int64) {
	x := ManifestInput{Path: in.Path, Table: in.Table.String(), Form: in.Binding.Table().Form, Size: size}
	x.unread(in)
	m.Inputs = append(m.Inputs, x)
}

// Count fills in the account.
func (m *Manifest) Count(a *Account) {
	m.ManifestVersion = ManifestVersion
	m.Rows, m.Resources = map[string]RowCount{}, map[string]ResourceCount{}
	for t := range cpcds.NumTables {
		m.Rows[t.String()] = a.Rows[t]
	}
	for t := range fhir.NumTypes {
		m.Resources[t.String()] = a.Resources[t]
	}
	m.Claims = a.Claims
	m.Rejects, m.Repairs, m.Skips, m.Warnings = orEmpty(a.Rejects), orEmpty(a.Repairs), orEmpty(a.Skips), orEmpty(a.Warnings)
	m.Balanced = a.Balanced()
}

func orEmpty(m map[string]int64) map[string]int64 {
	if m == nil {
		return map[string]int64{}
	}
	return m
}

// Write writes the manifest as indented JSON to a file that its owner alone can
// read, under a temporary name first.
func (m *Manifest) Write(path string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(path, func(w *bufio.Writer) { w.Write(append(b, '\n')) }); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

func manifestsDir(state string) string { return filepath.Join(state, "manifests") }

func runsDir(state string) string { return filepath.Join(state, "runs") }

// Begin notes in the state folder that a run has begun, and with which settings: a
// run that is stopped has no account yet.
func (m *Manifest) Begin(state string) error {
	return m.Write(filepath.Join(runsDir(state), m.Run+".json"))
}

// Begun returns how the run with an id was begun last, nil if it never was.
func Begun(state, run string) (*Manifest, error) {
	m, err := ReadManifest(filepath.Join(runsDir(state), run+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return m, err
}

// Keep writes the manifest into the state folder, after those of earlier runs.
func (m *Manifest) Keep(state string) error {
	earlier, err := Manifests(state)
	if err != nil {
		return err
	}
	return m.Write(filepath.Join(manifestsDir(state), fmt.Sprintf("%06d-%s.json", len(earlier)+1, m.Run)))
}

// Manifests reads the manifests of a state folder, oldest first.
func Manifests(state string) ([]*Manifest, error) {
	entries, err := os.ReadDir(manifestsDir(state))
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
		m, err := ReadManifest(filepath.Join(manifestsDir(state), n))
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// ReadManifest reads one manifest.
func ReadManifest(path string) (*Manifest, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("read manifest %s: it is not a manifest of this program", path)
	}
	if m.ManifestVersion > ManifestVersion {
		return nil, fmt.Errorf("read manifest %s: it has version %d, this program knows up to %d", path, m.ManifestVersion, ManifestVersion)
	}
	return m, nil
}

// Measure takes over what a call measured, if it did.
func (m *Manifest) Measure(s *Stages, took time.Duration) {
	if s == nil {
		return
	}
	m.Stats = &ManifestStats{Seconds: took.Seconds(), JSONBytes: s.Encoded(), Stages: map[string]float64{}}
	for stage := range NumStages {
		m.Stats.Stages[stage.String()] = s.Spent(stage).Seconds()
	}
}
