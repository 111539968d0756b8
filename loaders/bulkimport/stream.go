package bulkimport

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/schemas/fhir"
)

// Jobs is a remote.Sender that imports each call's entries by jobs of their own: for streams with large
// batches. What a server has already, deletions and small calls go through rest. Calls wait for each
// other: servers slow down when they have several jobs.
func Jobs(o *Options, rest remote.Sender) remote.Sender {
	return &jobs{o: *o, rest: rest, least: leastEntries, around: surroundings{buckets: openBucket}}
}

// leastEntries is how many new resources are worth a job.
const leastEntries = 1000

type jobs struct {
	o      Options
	rest   remote.Sender
	least  int
	around surroundings

	mu      sync.Mutex
	settled bool // what an earlier process has left has ended
}

// Send implements remote.Sender.
func (s *jobs) Send(ctx context.Context, entries []remote.Entry) ([]remote.Answer, error) {
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	created := 0
	for n := range entries {
		if !entries[n].Deleted && entries[n].There == (remote.There{}) {
			created++
		}
	}
	if created < s.least {
		return s.rest.Send(ctx, entries)
	}
	i, err := s.run(ctx, entries)
	if err != nil {
		return nil, err
	}
	answers, err := i.Sender(s.rest).Send(ctx, entries)
	if err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return answers, i.Remove(ctx)
}

// settle waits for the jobs that an earlier process has left: they must not write anything later than this
// one does.
func (s *jobs) settle(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled {
		return nil
	}
	left, err := filepath.Glob(filepath.Join(s.o.State, "jobs-*"))
	if err != nil {
		return fmt.Errorf("look for jobs of before: %w", err)
	}
	for _, state := range left {
		if _, err := os.Stat(filepath.Join(state, journalName)); err != nil {
			if err := os.RemoveAll(state); err != nil {
				return fmt.Errorf("remove jobs of before: %w", err)
			}
			continue
		}
		i, err := s.prepare(ctx, state)
		if err != nil {
			return err
		}
		if i.journal.busy() {
			err = i.Run(ctx)
		}
		if _, failed := errors.AsType[*JobError](err); err != nil && !failed {
			return errors.Join(err, i.Close())
		}
		if err := i.Remove(ctx); err != nil {
			return err
		}
	}
	s.settled = true
	return nil
}

func (s *jobs) prepare(ctx context.Context, state string) (*Import, error) {
	o := s.o
	o.State = state
	o.Run = strings.TrimPrefix(filepath.Base(state), "jobs-")
	return prepare(ctx, &o, s.around)
}

// run stages entries and imports them.
func (s *jobs) run(ctx context.Context, entries []remote.Entry) (*Import, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.prepare(ctx, filepath.Join(s.o.State, "jobs-"+newToken()))
	if err != nil {
		return nil, err
	}
	err = i.write(entries)
	if err == nil {
		err = i.Run(ctx)
	}
	if err == nil {
		return i, nil
	}
	if _, failed := errors.AsType[*JobError](err); failed { // nothing is under way
		return nil, errors.Join(err, i.Remove(ctx))
	}
	s.settled = false
	return nil, errors.Join(err, i.Close())
}

// write stages the entries that the server does not have, one file a type.
func (i *Import) write(entries []remote.Entry) error {
	i.journal.Files = nil
	for t := range fhir.NumTypes {
		f := file{Type: t.String(), Name: path.Join(t.String(), "part-00001.ndjson")}
		var text []byte
		for n := range entries {
			e := &entries[n]
			if e.Type != t || e.Deleted || e.There != (remote.There{}) {
				continue
			}
			text = append(append(text, e.JSON...), '\n')
			f.Lines++
		}
		if f.Lines == 0 {
			continue
		}
		sum := sha256.Sum256(text)
		f.Bytes, f.SHA256 = int64(len(text)), hex.EncodeToString(sum[:])
		if err := os.MkdirAll(filepath.Dir(i.local(&f)), 0o700); err != nil {
			return fmt.Errorf("stage %s: %w", f.Name, err)
		}
		if err := writeDurably(i.local(&f), text); err != nil {
			return fmt.Errorf("stage %s: %w", f.Name, err)
		}
		i.journal.Files = append(i.journal.Files, f)
	}
	i.journal.Phase = phaseStaged
	return i.journal.save()
}
