package bulkimport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Comparer says what a load would do with a batch, after it has asked the server about what it does not
// know. It is a *remote.Loader.
type Comparer interface {
	Ask(ctx context.Context, b *fhir.Batch) ([]pipeline.Outcome, error)
}

// Staging is the loader of the staging pass: it stages what compare says is to be created. What is to be
// changed or deleted goes by REST, in the load that follows the import. Its outcomes are those that the
// load will have.
//
// Every resource is staged once: of several records in a batch the last that counts, and of those in
// different batches the first; the load brings the others.
func (i *Import) Staging(compare Comparer) pipeline.Loader {
	return &staging{i: i, compare: compare, ids: map[uint64]struct{}{}, read: map[string]bool{}}
}

type staging struct {
	i       *Import
	compare Comparer

	mu   sync.Mutex
	ids  map[uint64]struct{} // digests of Type/id of what is staged; two of one digest only mean that one goes by REST
	read map[string]bool     // lanes whose files were read
}

// Resume implements pipeline.Loader.
func (s *staging) Resume(ctx context.Context, lane string) (pipeline.Checkpoint, error) {
	cp, err := s.i.files.Resume(ctx, lane)
	if err != nil {
		return cp, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read[lane] {
		return cp, nil
	}
	if err := s.readLane(lane); err != nil {
		return cp, fmt.Errorf("read what is staged of lane %s: %w", lane, err)
	}
	s.read[lane] = true
	return cp, nil
}

// readLane learns what an earlier process has staged of a lane.
func (s *staging) readLane(lane string) error {
	for t := range fhir.NumTypes {
		folder := filepath.Join(s.i.stage.folder(), t.String())
		names, err := os.ReadDir(folder)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, n := range names {
			if !ofLane(n.Name(), lane) {
				continue
			}
			err := eachLine(filepath.Join(folder, n.Name()), func(_ int64, line []byte) error {
				if id := idOf(line); id != "" {
					s.ids[xxh3.HashString(fhir.Reference(t, id))] = struct{}{}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// ofLane reports whether a file, complete or not, is a part of a lane.
func ofLane(name, lane string) bool {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "."), ".tmp")
	seq, ok := strings.CutPrefix(name, "part-"+lane+"-")
	if !ok {
		return false
	}
	seq, ok = strings.CutSuffix(seq, ".ndjson")
	return ok && strings.Trim(seq, "0123456789") == ""
}

// Load implements pipeline.Loader.
func (s *staging) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	outcomes, err := s.compare.Ask(ctx, b)
	if err != nil {
		return err
	}
	out, taken := s.choose(b, outcomes)
	err = s.i.files.Load(ctx, lane, out, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
		return seal(outcomes, nil)
	})
	if err != nil { // nothing of it stays in the files
		s.mu.Lock()
		for _, d := range taken {
			delete(s.ids, d)
		}
		s.mu.Unlock()
	}
	return err
}

// choose picks what is staged of a batch.
func (s *staging) choose(b *fhir.Batch, outcomes []pipeline.Outcome) (out *fhir.Batch, taken []uint64) {
	last := map[uint64]int{}    // of each resource the last record that counts
	create := map[uint64]bool{} // the server does not have it
	digests := make([]uint64, b.Len())
	for n, r := range b.All() {
		d := xxh3.HashString(fhir.Reference(r.Type, r.ID))
		digests[n] = d
		switch outcomes[n] {
		case pipeline.Stale, pipeline.Unordered:
			continue
		case pipeline.Created:
			create[d] = true
		}
		last[d] = n
	}
	out = &fhir.Batch{}
	s.mu.Lock()
	defer s.mu.Unlock()
	var line []byte
	for n, r := range b.All() {
		d := digests[n]
		if at, ok := last[d]; !ok || at != n || !create[d] || r.Deleted {
			continue
		}
		if _, ok := s.ids[d]; ok {
			continue
		}
		s.ids[d] = struct{}{}
		taken = append(taken, d)
		line = append(line[:0], r.JSON...)
		if s.i.kind.traits().spread {
			line = spread(line, r.LastUpdated, r.ID)
		}
		out.End(append(out.Begin(r.Type, r.ID, r.LastUpdated, r.SourceVersion), line...))
	}
	return out, taken
}

// Finish implements pipeline.Loader.
func (s *staging) Finish(ctx context.Context, total *pipeline.Account) error {
	if s.i.Staged() {
		return nil
	}
	if err := s.i.files.Finish(ctx, total); err != nil {
		return err
	}
	sum, _ := s.i.files.Finished()
	return s.i.staged(sum.Parts)
}

// Close implements pipeline.Loader. The import stays open.
func (s *staging) Close() error { return nil }

// eachLine calls f for the lines of a file, counted from 1, without their newlines. A line is valid
// during the call.
func eachLine(path string, f func(n int64, line []byte) error) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	r := bufio.NewReaderSize(in, 1<<20)
	var long []byte
	for n := int64(1); ; {
		part, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		line := part
		if len(long) > 0 {
			line = append(long, part...)
		}
		if len(line) > 0 {
			if err := f(n, trimNewline(line)); err != nil {
				return err
			}
			n++
		}
		long = long[:0]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func trimNewline(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		return line[:n-1]
	}
	return line
}

// idOf is the id of a resource as we write them: a member of the resource itself, before any other object.
func idOf(line []byte) string {
	const begin = `,"id":"`
	head := line[:min(len(line), 200)]
	at := strings.Index(string(head), begin)
	if at < 0 {
		return ""
	}
	id, _, ok := strings.Cut(string(head[at+len(begin):]), `"`)
	if !ok {
		return ""
	}
	return id
}

// spread gives meta.lastUpdated a fraction of a second that depends on the id alone. Azure fails to import
// tens of thousands of resources of one moment, and extracts often have whole days of one.
func spread(line []byte, lastUpdated, id string) []byte {
	seconds, zone, ok := cutFraction(lastUpdated)
	if !ok {
		return line
	}
	from := `"lastUpdated":"` + lastUpdated + `"`
	to := fmt.Sprintf(`"lastUpdated":"%s.%03d%s"`, seconds, xxh3.HashString(id)%1000, zone)
	return []byte(strings.Replace(string(line), from, to, 1))
}

// cutFraction divides an instant into its whole seconds and its zone.
func cutFraction(at string) (seconds, zone string, ok bool) {
	const whole = len("2006-01-02T15:04:05")
	if len(at) <= whole {
		return "", "", false
	}
	rest := at[whole:]
	if rest[0] == '.' {
		rest = strings.TrimLeft(rest[1:], "0123456789")
	}
	return at[:whole], rest, rest != ""
}
