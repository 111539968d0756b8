package rejects

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/statefile"
)

// State is the state of a reject.
type State string

// The states of a reject.
const (
	Open     State = "open"
	Resolved State = "resolved" // a replay loaded it
	Obsolete State = "obsolete" // the target has the record as new or newer, or a later run rejected it again
)

// Store reads the rejects of a state folder. It is not safe for concurrent
// use.
type Store struct {
	state  string
	states map[string]State // by run and reject id; absent is open
	size   int64            // of the file of resolutions, whole lines only
}

// Dir is the folder of a run's reject files.
func Dir(state, run string) string { return filepath.Join(state, "rejects", run) }

func resolutionsFile(state string) string {
	return filepath.Join(state, "rejects", "resolutions.ndjson")
}

// resolution is one line of the file of resolutions.
type resolution struct {
	Run   string `json:"run"`
	ID    string `json:"id"`
	State State  `json:"state"`
}

// OpenStore opens the rejects of a state folder.
func OpenStore(state string) (*Store, error) {
	s := &Store{state: state, states: map[string]State{}}
	b, err := os.ReadFile(resolutionsFile(state))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open rejects: %w", err)
	}
	// A line without an end was cut off by a power failure and never confirmed.
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	s.size = int64(len(b))
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		var r resolution
		if err := d.Decode(&r); err == io.EOF {
			return s, nil
		} else if err != nil {
			return nil, fmt.Errorf("read %s: the file is damaged", resolutionsFile(state))
		}
		s.states[r.Run+"/"+r.ID] = r.State
	}
}

// State returns the state of a reject of a run.
func (s *Store) State(run, id string) State {
	if st, ok := s.states[run+"/"+id]; ok {
		return st
	}
	return Open
}

// SetState records new states, durably.
func (s *Store) SetState(changes map[string]State) error {
	if len(changes) == 0 {
		return nil
	}
	keys := make([]string, 0, len(changes))
	for k := range changes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b []byte
	for _, k := range keys {
		run, id, _ := strings.Cut(k, "/")
		line, err := json.Marshal(resolution{run, id, changes[k]})
		if err != nil {
			return err
		}
		b = append(append(b, line...), '\n')
		s.states[k] = changes[k]
	}
	log, err := statefile.Open(resolutionsFile(s.state), s.size)
	if err != nil {
		return err
	}
	defer log.Close()
	log.Write(b)
	if s.size, err = log.Flush(); err != nil {
		return err
	}
	return log.Sync()
}

// Runs lists the runs that have rejects, oldest first by name.
func (s *Store) Runs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.state, "rejects"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rejects: %w", err)
	}
	var runs []string
	for _, e := range entries {
		if e.IsDir() {
			runs = append(runs, e.Name())
		}
	}
	return runs, nil
}

// Describe describes which load a run was.
func (s *Store) Describe(run string) string {
	m, err := manifest.Begun(s.state, run)
	if err != nil || m == nil || len(m.Inputs) == 0 {
		return "Run " + run
	}
	more := ""
	if n := len(m.Inputs) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("Run %s: %s of %s%s, %s mode, started %s", run, m.Command, m.Inputs[0].Path, more, m.Mode, m.Started)
}

// Each calls f for every reject of a run, in order. The Reject is f's own.
func (s *Store) Each(run string, f func(*pipeline.Reject) error) error { return s.each(run, true, f) }

// Heads calls f for every reject of a run, in order, without its rows, which is many times faster.
func (s *Store) Heads(run string, f func(*pipeline.Reject) error) error { return s.each(run, false, f) }

func (s *Store) each(run string, rows bool, f func(*pipeline.Reject) error) error {
	paths, err := files(s.state, run)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := each(path, rows, f); err != nil {
			return err
		}
	}
	return nil
}
