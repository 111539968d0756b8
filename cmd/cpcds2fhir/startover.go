package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cpcds2fhir/loaders/ndjson"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/statefile"
)

// A target and its state folder belong together: the target has the resources and how far each lane
// has got, the state folder the rejects, what only claims refer to and what claims can refer to. If
// one of them was deleted, restored or replaced, a load says so in one sentence, and --start-over
// recovers.

// targetNote is a state folder's record of its target.
type targetNote struct {
	Target   string `json:"target"`
	Identity string `json:"identity"`
}

const targetNoteFile = "target.json"

func readTargetNote(state string) (*targetNote, error) {
	b, err := os.ReadFile(filepath.Join(state, targetNoteFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	n := new(targetNote)
	if err == nil {
		err = json.Unmarshal(b, n)
	}
	if err != nil {
		return nil, fmt.Errorf("read state folder: %w", err)
	}
	return n, nil
}

// mismatch is a target and a state folder that do not belong together.
type mismatch struct {
	said string // what happened, in a sentence
	does string // what --start-over does
}

func (m *mismatch) Error() string {
	return fmt.Sprintf("%s. --start-over %s", m.said, m.does)
}

// stranger is the mismatch error for a state folder whose target is gone or was replaced.
func (j *job) stranger(said string) error { return strangerTo(j.target, said) }

func strangerTo(t target, said string) error {
	does := "renames that state folder, with its rejects, and loads from the beginning; --state DIR names another one"
	if t.appends() {
		does = "renames both and loads from the beginning"
	}
	return &mismatch{said, does}
}

// checkStore compares an open store with the state folder.
func (j *job) checkStore(l *storeloader.Loader) error {
	note, err := readTargetNote(j.state)
	if err != nil {
		return err
	}
	begun, finished, err := manifest.KnowsRuns(j.state)
	if err != nil {
		return err
	}
	switch {
	case note != nil && note.Identity != l.Identity(), note == nil && finished && l.Fresh():
		return j.stranger(fmt.Sprintf("the state folder %s belongs to a different store than %s", j.state, j.target.place()))
	case note == nil && !begun && !j.forgetting:
		there, err := l.Begun()
		if err != nil {
			return err
		}
		if there {
			return &mismatch{fmt.Sprintf("the store %s has loads that are missing from the state folder %s: the state was lost, or --state names another one", j.target.place(), j.state),
				"reads the extract again from the beginning, which leaves what the store already has unchanged; rejects of earlier loads stay lost, and claims need the small tables again"}
		}
	}
	if note != nil {
		return nil
	}
	return (&targetNote{j.target.String(), l.Identity()}).write(j.state)
}

func (n *targetNote) write(state string) error {
	text, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	return statefile.Write(filepath.Join(state, targetNoteFile), text)
}

// startOver makes target and state match again after a mismatch if the user asked for it, and
// otherwise returns the error. A replay cannot start over, because its rejects are in the state
// folder.
func (j *job) startOver(cause error, replay bool) error {
	var m *mismatch
	var gone *ndjson.GoneError
	var lost *statefile.LostError
	var altered *ndjson.AlteredError
	switch {
	case errors.As(cause, &lost):
		cause = j.stranger(lost.Error())
	case errors.As(cause, &gone):
		cause = j.stranger(gone.Error())
	case errors.As(cause, &altered):
		cause = j.stranger(fmt.Sprintf("%s was changed since it was written: %s", j.target.place(), altered))
	case !errors.As(cause, &m):
		return cause
	}
	errors.As(cause, &m)
	if replay {
		return environmentf("%s. Nothing can be replayed into it; load the extract again, with --start-over", m.said)
	}
	if !j.flags.startOver {
		return environmentError{cause}
	}
	if err := setAside("state folder", j.state); err != nil {
		return err
	}
	if t, ok := j.target.(ndjsonTarget); ok {
		return setAside("folder", t.dir)
	}
	return nil
}

// setAside renames a folder, if it exists.
func setAside(what, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	aside, err := freeName(filepath.Clean(dir) + ".old")
	if err != nil {
		return err
	}
	if err := os.Rename(dir, aside); err != nil {
		return fmt.Errorf("rename the %s: %w", what, err)
	}
	fmt.Fprintf(os.Stderr, "The %s is now %s.\n", what, aside)
	return nil
}

// freeName returns the name with the first numeric suffix that is not taken.
func freeName(name string) (string, error) {
	for n := 1; ; n++ {
		s := fmt.Sprintf("%s-%d", name, n)
		if _, err := os.Lstat(s); errors.Is(err, fs.ErrNotExist) {
			return s, nil
		} else if err != nil {
			return "", err
		}
	}
}
