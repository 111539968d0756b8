package pipeline

import (
	"bufio"
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
)

// RejectState is what has become of a reject.
type RejectState string

// The states of a reject.
const (
	RejectOpen     RejectState = "open"
	RejectResolved RejectState = "resolved" // a replay loaded it
	RejectObsolete RejectState = "obsolete" // the target has the record as new or newer, or a later run rejected it again
)

// RejectStore reads the rejects of a state folder. It is not safe for concurrent
// use.
type RejectStore struct {
	state  string
	states map[string]RejectState // by run and reject id; absent is open
	size   int64                  // of the file of resolutions, whole lines only
}

// rejectsDir is the folder of a run's reject files.
func rejectsDir(state, run string) string { return filepath.Join(state, "rejects", run) }

func resolutionsFile(state string) string {
	return filepath.Join(state, "rejects", "resolutions.ndjson")
}

// resolution is one line of the file of resolutions.
type resolution struct {
	Run   string      `json:"run"`
	ID    string      `json:"id"`
	State RejectState `json:"state"`
}

// OpenRejects opens the rejects of a state folder.
func OpenRejects(state string) (*RejectStore, error) {
	s := &RejectStore{state: state, states: map[string]RejectState{}}
	b, err := os.ReadFile(resolutionsFile(state))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open rejects: %w", err)
	}
	// A line without an end was cut off by a power cut and never confirmed.
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
func (s *RejectStore) State(run, id string) RejectState {
	if st, ok := s.states[run+"/"+id]; ok {
		return st
	}
	return RejectOpen
}

// SetState records new states, durably.
func (s *RejectStore) SetState(changes map[string]RejectState) error {
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
	log, err := openStateFile(resolutionsFile(s.state), s.size)
	if err != nil {
		return err
	}
	defer log.close()
	log.write(b)
	if s.size, err = log.flush(); err != nil {
		return err
	}
	return log.sync()
}

// Runs lists the runs that have rejects, oldest first by name.
func (s *RejectStore) Runs() ([]string, error) {
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

// Describe says in words which load a run was.
func (s *RejectStore) Describe(run string) string {
	m, err := Begun(s.state, run)
	if err != nil || m == nil || len(m.Inputs) == 0 {
		return "Run " + run
	}
	more := ""
	if n := len(m.Inputs) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("Run %s: %s of %s%s, %s mode, begun %s", run, m.Command, m.Inputs[0].Path, more, m.Mode, m.Started)
}

// Each calls f for every reject of a run, in order. The Reject is f's own.
func (s *RejectStore) Each(run string, f func(*Reject) error) error {
	entries, err := os.ReadDir(rejectsDir(s.state, run))
	if err != nil {
		return fmt.Errorf("list rejects of run %s: %w", run, err)
	}
	for _, e := range entries {
		if err := eachReject(filepath.Join(rejectsDir(s.state, run), e.Name()), f); err != nil {
			return err
		}
	}
	return nil
}

func eachReject(path string, f func(*Reject) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read rejects: %w", err)
	}
	defer file.Close()
	d := json.NewDecoder(bufio.NewReaderSize(file, 1<<16))
	for {
		r := new(Reject)
		if err := d.Decode(r); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read %s: the file is damaged", path)
		}
		if err := f(r); err != nil {
			return err
		}
	}
}

// Target is a loader whose target can say which source version of a resource it
// has; ok is false if it does not have the resource. It is safe for concurrent use.
type Target interface {
	SourceVersion(resource string) (version string, ok bool, err error)
}

// CloseRejects makes rejects obsolete that nothing needs to be done about after the
// run: those of earlier runs of which the target has the record in the same or a
// newer version, or which this run rejected again; those of this run of which the
// target has something newer. It does nothing if the loader is no Target, or after a replay, which
// settles its rejects itself.
func (r *Run) CloseRejects() error {
	target, ok := r.Loader.(Target)
	if !ok || r.Replay {
		return nil
	}
	s, err := OpenRejects(r.State)
	if err != nil {
		return err
	}
	runs, err := s.Runs()
	if err != nil {
		return err
	}
	closed := map[string]RejectState{}
	again := map[string]string{} // by resource: the version that this run rejected
	if slices.Contains(runs, r.ID) {
		err := s.Each(r.ID, func(x *Reject) error {
			if x.Resource == "" {
				return nil
			}
			again[x.Resource] = max(again[x.Resource], x.Version)
			version, ok, err := target.SourceVersion(x.Resource)
			if ok && version > x.Version {
				closed[r.ID+"/"+x.ID] = RejectObsolete
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, earlier := range runs {
		if earlier == r.ID {
			continue
		}
		err := s.Each(earlier, func(x *Reject) error {
			if x.Resource == "" || s.State(earlier, x.ID) != RejectOpen {
				return nil
			}
			version, ok := again[x.Resource]
			if !ok || version < x.Version {
				var err error
				if version, ok, err = target.SourceVersion(x.Resource); err != nil {
					return err
				}
			}
			if ok && version >= x.Version {
				closed[earlier+"/"+x.ID] = RejectObsolete
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.SetState(closed)
}
