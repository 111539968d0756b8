package rejects

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/statefile"

	"github.com/klauspost/compress/zstd"
)

// Purge says which rejects are removed.
type Purge struct {
	Resolved bool      // only those that are not open
	Before   time.Time // only those of runs that started before; zero: of all runs
	DryRun   bool
}

// Purge removes rejects of a run, with their rows. Those of an unfinished run stay, because it
// continues from them. It returns how many it removed and how many are left.
func (s *Store) Purge(ctx context.Context, run string, p Purge) (purged, left int64, err error) {
	begun, err := manifest.Begun(s.state, run)
	if err != nil {
		return 0, 0, err
	}
	old := p.Before.IsZero()
	if begun != nil && !old {
		at, err := time.Parse(time.RFC3339, begun.Started)
		old = err == nil && at.Before(p.Before)
	}
	finished := begun != nil && begun.Status != manifest.Running
	goes := func(r *pipeline.Reject) bool {
		return finished && old && (!p.Resolved || s.State(run, r.ID) != Open)
	}
	paths, err := files(s.state, run)
	if err != nil {
		return 0, 0, err
	}
	for _, path := range paths {
		out, stay, err := purgeFile(ctx, path, p.DryRun, goes)
		if err != nil {
			return purged, left, err
		}
		purged, left = purged+out, left+stay
	}
	return purged, left, nil
}

// purgeFile removes the rejects of a file for which goes is true: the whole file if none is left,
// otherwise by replacing it atomically.
func purgeFile(ctx context.Context, path string, dryRun bool, goes func(*pipeline.Reject) bool) (out, stay int64, err error) {
	err = each(path, false, func(r *pipeline.Reject) error {
		if goes(r) {
			out++
		} else {
			stay++
		}
		return ctx.Err()
	})
	switch {
	case err != nil || out == 0 || dryRun:
		return out, stay, err
	case stay == 0:
		return out, stay, os.Remove(path)
	}
	return out, stay, statefile.Replace(path, func(w *bufio.Writer) error {
		return copyRejects(w, path, func(r *pipeline.Reject) bool { return !goes(r) })
	})
}

// copyRejects writes a file of rejects without those for which keep is false.
func copyRejects(w io.Writer, path string, keep func(*pipeline.Reject) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read rejects: %w", err)
	}
	defer f.Close()
	var from io.Reader = f
	to := io.WriteCloser(nopCloser{w})
	packed := strings.HasSuffix(path, suffix)
	if packed {
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return fmt.Errorf("read rejects: %w", err)
		}
		defer z.Close()
		from = z
		if to, err = zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)); err != nil {
			return fmt.Errorf("write rejects: %w", err)
		}
	}
	lines := bufio.NewReaderSize(from, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return to.Close()
		}
		if err != nil {
			return fmt.Errorf("read rejects: %w", err)
		}
		if !bytes.HasPrefix(line, inputLine) {
			r := new(pipeline.Reject)
			if err := json.Unmarshal(line, r); err != nil {
				return fmt.Errorf("read %s: the file is damaged", path)
			}
			if packed { // its rows are the next line
				rows, err := lines.ReadBytes('\n')
				if err != nil {
					return fmt.Errorf("read %s: the file is damaged", path)
				}
				line = append(line, rows...)
			}
			if !keep(r) {
				continue
			}
		}
		if _, err := to.Write(line); err != nil {
			return fmt.Errorf("write rejects: %w", err)
		}
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
