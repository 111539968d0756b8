package ndjson

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"cpcds2fhir/schemas/fhir"
)

// frameBytes is how much of the shared resources goes into one frame.
const frameBytes = 4 << 20

// writeShared writes what the lanes have collected, each resource once, by type
// and id. A resource that a lane has written as its own is left out: that is the
// fuller one. It returns the parts; they have their final names.
func (l *Loader) writeShared(ctx context.Context, lanes []*lane, written []Part) ([]partState, error) {
	refs, err := l.collectedRefs(lanes)
	if err != nil {
		return nil, err
	}
	if refs, err = l.dropWritten(ctx, refs, written); err != nil {
		return nil, err
	}
	files := make([]file, len(lanes))
	out := &lane{l: l, name: sharedLane, temps: map[string]bool{}}
	defer func() {
		out.closeFiles()
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}()
	s := l.scratch.Get().(*scratch)
	defer l.scratch.Put(s)
	s.reset()
	var text []byte
	for _, r := range refs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := lanes[r.lane].collectedPath()
		if files[r.lane] == nil {
			if files[r.lane], err = l.fs.Open(path); err != nil {
				return nil, fmt.Errorf("read shared resources: %w", err)
			}
		}
		text = slices.Grow(text[:0], r.size)[:r.size]
		if _, err := files[r.lane].ReadAt(text, r.at); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if err := out.put(r.typ, text, s); err != nil {
			return nil, err
		}
		if len(s.raw[r.typ]) >= frameBytes {
			if err := out.flush(r.typ, s); err != nil {
				return nil, err
			}
		}
	}
	if err := out.flushAll(s); err != nil {
		return nil, err
	}
	if err := out.sync(); err != nil {
		return nil, err
	}
	out.rollAll()
	for _, w := range out.rolled {
		out.unnamed = append(out.unnamed, w.closed())
	}
	parts := slices.Clone(out.unnamed)
	return parts, out.settle()
}

// collectedRefs lists what the lanes have collected, by type and id, each once.
func (l *Loader) collectedRefs(lanes []*lane) ([]sharedRef, error) {
	var refs []sharedRef
	for i, ln := range lanes {
		err := l.scanCollected(ln.collectedPath(), ln.committed.Collected, func(r sharedRef) {
			r.lane = i
			refs = append(refs, r)
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(refs, func(a, b sharedRef) int {
		return cmp.Or(cmp.Compare(a.typ, b.typ), cmp.Compare(a.id, b.id))
	})
	return slices.CompactFunc(refs, func(a, b sharedRef) bool { return a.sharedKey == b.sharedKey }), nil
}

// dropWritten drops the resources that are in the parts. It reads the parts of
// the types in question, which are small next to claims.
func (l *Loader) dropWritten(ctx context.Context, refs []sharedRef, parts []Part) ([]sharedRef, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	wanted := make(map[sharedKey]bool, len(refs))
	var types [fhir.NumTypes]bool
	for _, r := range refs {
		wanted[r.sharedKey] = true
		types[r.typ] = true
	}
	for _, p := range parts {
		if !types[p.Type] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := l.eachID(p, func(id string) { delete(wanted, sharedKey{p.Type, id}) }); err != nil {
			return nil, fmt.Errorf("read ids of %s: %w", p.Path, err)
		}
	}
	return slices.DeleteFunc(refs, func(r sharedRef) bool { return !wanted[r.sharedKey] }), nil
}

// eachID visits the ids of the resources of a part.
func (l *Loader) eachID(p Part, visit func(id string)) error {
	f, err := l.fs.Open(filepath.Join(l.dir, filepath.FromSlash(p.Path)))
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := l.codec.reader(io.NewSectionReader(f, 0, p.Bytes))
	if err != nil {
		return err
	}
	defer text.Close()
	row := 0
	return eachLine(bufio.NewReaderSize(text, 1<<16), func(line []byte) error {
		row++
		var r struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(line, &r) != nil || r.ID == "" {
			return fmt.Errorf("no resource with an id in line %d", row)
		}
		visit(r.ID)
		return nil
	})
}
