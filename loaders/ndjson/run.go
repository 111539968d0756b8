package ndjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Names in the state folder of a load.
const (
	lockName     = "lock"
	identityName = "run.json"
	finishedName = "finished.json"
	addedFolder  = "added" // one folder for each load that adds to the first
)

// journalSchema is the version of the files that a load leaves in its state folder.
const journalSchema = 2

// other reports whether an identity belongs to another load.
func (i identity) other(o identity) bool {
	i.Schema = o.Schema
	return i != o
}

func stateFolder(state, part string) string {
	if part == "" {
		return state
	}
	return filepath.Join(state, addedFolder, part)
}

// identity says to which load a state folder belongs.
type identity struct {
	Schema         int    `json:"schema"` // of run.json, the journals and the summary; 0 is 1, which had lists of counts without names
	Run            string `json:"run"`
	KeyFingerprint string `json:"key_fingerprint"`
	Compress       string `json:"compress"`
	RollBytes      int64  `json:"roll_bytes"`
}

// survey finds out whether the folder may be used: whose it is, if a load has
// begun in it, and whether there is output.
func (l *Loader) survey() (main identity, begun, output bool, err error) {
	if main, begun, err = l.readIdentity(""); err != nil {
		return main, begun, false, err
	}
	if output, err = l.hasOutput(); err != nil {
		return main, begun, output, err
	}
	switch {
	case !begun && l.opts.Part != "":
		err = fmt.Errorf("add to %s: no load has started there", l.dir)
	case begun && !output && (main.Run == l.opts.Run || l.opts.Part != ""):
		var gone bool
		if gone, err = l.promised(); err == nil && gone {
			err = &GoneError{l.dir}
		}
	case !begun && output:
		err = fmt.Errorf("%s is not empty and not from an earlier load; load into an empty folder", l.dir)
	case begun && main.KeyFingerprint != l.opts.KeyFingerprint && output:
		err = &KeyError{Dir: l.dir, Has: main.KeyFingerprint, Given: l.opts.KeyFingerprint}
	}
	return main, begun, output, err
}

// promised reports whether a load has made parts durable.
func (l *Loader) promised() (bool, error) {
	names, err := l.fs.List(l.opts.State)
	if err != nil {
		return false, fmt.Errorf("list journals: %w", err)
	}
	for _, name := range names {
		if name != finishedName && !strings.HasPrefix(name, journalPrefix) {
			continue
		}
		text, err := readFile(l.fs, filepath.Join(l.opts.State, name))
		switch {
		case err != nil:
			return false, fmt.Errorf("read journal: %w", err)
		case name == finishedName:
			var sum loadSummary
			if json.Unmarshal(text, &sum) == nil && len(sum.Parts) > 0 {
				return true, nil
			}
		default:
			if r, err := foldJournal(text); err == nil && len(r.Closed)+len(r.Open) > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// takeOver makes the folder the load's own.
func (l *Loader) takeOver() error {
	main, begun, output, err := l.survey()
	if err != nil {
		return err
	}
	mine := identity{journalSchema, l.opts.Run, l.opts.KeyFingerprint, l.opts.Compress, l.opts.RollBytes}
	own := main
	if l.opts.Part != "" {
		if main.Compress != mine.Compress {
			return &OtherRunError{l.dir, "compression"}
		}
		if own, begun, err = l.readIdentity(l.opts.Part); err != nil {
			return err
		}
	}
	if begun && own.Schema <= journalSchema && own.other(mine) && l.opts.Part == "" && !output {
		// The other load has written nothing, so its journals can go.
		if err := l.forget(); err != nil {
			return err
		}
		begun = false
	}
	switch {
	case !begun:
		if err := l.writeIdentity(mine); err != nil {
			return err
		}
	case own.Schema > journalSchema:
		return &SchemaError{l.opts.State, own.Schema}
	case own.Run != mine.Run:
		return &OtherRunError{l.dir, "inputs or settings"}
	case own.Compress != mine.Compress:
		return &OtherRunError{l.dir, "compression"}
	case own.RollBytes != mine.RollBytes:
		return &OtherRunError{l.dir, "size of parts"}
	case own.KeyFingerprint != mine.KeyFingerprint:
		return &KeyError{Dir: l.dir, Has: own.KeyFingerprint, Given: mine.KeyFingerprint}
	}
	// New records have this release's form; existing ones can be read in both.
	if begun && own.Schema < journalSchema {
		if err := l.writeIdentity(mine); err != nil {
			return err
		}
	}
	if l.opts.Part != "" && main.Schema < journalSchema {
		main.Schema = journalSchema
		if err := l.writeIdentityIn(l.opts.State, main); err != nil {
			return err
		}
	}
	return l.readLoads()
}

// readLoads reads what the loads of the folder left, checks that it is still
// there, and finds what this load left unfinished.
func (l *Loader) readLoads() error {
	names, err := l.fs.List(filepath.Join(l.opts.State, addedFolder))
	if err != nil {
		return fmt.Errorf("list loads: %w", err)
	}
	for _, part := range append([]string{""}, names...) {
		sum, err := l.readSummary(part)
		if err != nil {
			return err
		}
		switch {
		case part == l.opts.Part:
			l.finished = sum
		case sum != nil:
			l.earlier = append(l.earlier, sum)
			for _, p := range sum.Parts {
				l.taken[filepath.Join(l.dir, filepath.FromSlash(p.Path))] = true
			}
		case part == "":
			return fmt.Errorf("add to %s: its first load is not finished; finish it first", l.dir)
		}
	}
	if l.finished != nil {
		return l.removeTempManifest()
	}
	return l.findTemps()
}

// removeTempManifest removes what a repeated Finish left when it ended early, because the one
// before reported an error although the summary was already renamed.
func (l *Loader) removeTempManifest() error {
	err := l.fs.Remove(tempPath(filepath.Join(l.dir, manifestName)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove unfinished manifest: %w", err)
	}
	return nil
}

func (l *Loader) readSummary(part string) (*loadSummary, error) {
	file := filepath.Join(stateFolder(l.opts.State, part), finishedName)
	text, err := readFile(l.fs, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read summary: %w", err)
	}
	var sum loadSummary
	if err := json.Unmarshal(text, &sum); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	for _, p := range sum.Parts {
		if err := checkSize(l.fs, filepath.Join(l.dir, filepath.FromSlash(p.Path)), p.Bytes); err != nil {
			return nil, err
		}
	}
	return &sum, nil
}

// findTemps finds the parts that an earlier process was writing.
func (l *Loader) findTemps() error {
	for t := range numTypes {
		folder := filepath.Join(l.dir, t.String())
		names, err := l.fs.List(folder)
		if err != nil {
			return fmt.Errorf("list parts: %w", err)
		}
		for _, name := range names {
			lane, ok := l.laneOfTemp(name)
			if !ok {
				continue
			}
			if l.temps[lane] == nil {
				l.temps[lane] = map[string]bool{}
			}
			l.temps[lane][filepath.Join(folder, name)] = true
		}
	}
	return nil
}

// hasOutput reports whether anything is in the target folder, except the state folder, which may be
// in it.
func (l *Loader) hasOutput() (bool, error) {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return false, fmt.Errorf("list target folder: %w", err)
	}
	for _, name := range names {
		if filepath.Join(l.dir, name) != filepath.Clean(l.opts.State) {
			return true, nil
		}
	}
	return false, nil
}

func (l *Loader) readIdentity(part string) (identity, bool, error) {
	var id identity
	file := filepath.Join(stateFolder(l.opts.State, part), identityName)
	text, err := readFile(l.fs, file)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, fmt.Errorf("read run: %w", err)
	}
	if err := json.Unmarshal(text, &id); err != nil {
		return id, false, fmt.Errorf("read %s: %w", file, err)
	}
	return id, true, nil
}

func (l *Loader) writeIdentity(id identity) error { return l.writeIdentityIn(l.state, id) }

func (l *Loader) writeIdentityIn(state string, id identity) error {
	text, err := json.MarshalIndent(id, "", " ")
	if err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	if err := l.fs.Mkdir(state); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	for _, folder := range []string{l.dir, l.opts.State, state} {
		if err := l.fs.SyncDir(filepath.Dir(folder)); err != nil {
			return fmt.Errorf("sync folder: %w", err)
		}
	}
	if err := writeFile(l.fs, filepath.Join(state, identityName), text); err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	return nil
}

// forget removes the journals and the summary of the first load. Its identity
// stays until the new one replaces it; what others keep in the folder stays.
func (l *Loader) forget() error {
	names, err := l.fs.List(l.opts.State)
	if err != nil {
		return fmt.Errorf("list journals: %w", err)
	}
	for _, name := range names {
		if name != finishedName && !strings.HasPrefix(name, journalPrefix) {
			continue
		}
		if err := l.fs.Remove(filepath.Join(l.opts.State, name)); err != nil {
			return fmt.Errorf("remove journal: %w", err)
		}
	}
	return nil
}
