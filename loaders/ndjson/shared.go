package ndjson

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// sharedKey names a shared resource.
type sharedKey struct {
	typ fhir.Type
	id  string
}

// standing is what the loader knows of a shared resource.
type standing struct {
	durable bool  // some lane has committed it
	counted bool  // that lane, or another, was told that it created it
	lane    *lane // the lane that is to count it, if no other has
}

// judge tells the outcome of each resource of a batch, and keeps the shared ones
// that must go to the lane's file. In an empty folder everything is created; of a
// shared resource one lane is told so, and the others that it is unchanged. One
// that another lane has met but not committed is kept, too, because that lane may
// be lost; then the mark in the file says that it is still to be counted.
func (ln *lane) judge(b *fhir.Batch, s *scratch) ([]pipeline.Outcome, error) {
	s.reset()
	for _, r := range b.All() {
		o := pipeline.Created
		if r.Shared {
			var err error
			if o, err = ln.meet(r, s); err != nil {
				return nil, err
			}
		}
		s.outcomes = append(s.outcomes, o)
	}
	return s.outcomes, nil
}

func (ln *lane) meet(r *fhir.Resource, s *scratch) (pipeline.Outcome, error) {
	key := sharedKey{r.Type, r.ID}
	if _, ok := s.fresh[key]; ok {
		return pipeline.Unchanged, nil
	}
	l := ln.l
	if err := l.learnEarlier(r.Type); err != nil {
		return 0, err
	}
	l.mu.Lock()
	st := l.known[key]
	if st.durable && st.counted {
		l.mu.Unlock()
		return pipeline.Unchanged, nil
	}
	mine := st.lane == nil || st.lane == ln
	if st.durable && !mine {
		l.mu.Unlock()
		return pipeline.Unchanged, nil
	}
	key.id = strings.Clone(key.id)
	if mine {
		st.lane = ln
		l.known[key] = st
	}
	l.mu.Unlock()

	s.fresh[key] = mine
	s.shared = appendCollected(s.shared, r, mine)
	if mine {
		return pipeline.Created, nil
	}
	return pipeline.Unchanged, nil
}

// remember notes what is durable by now, and whether it is counted.
func (l *Loader) remember(met map[sharedKey]bool) {
	if len(met) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, counted := range met {
		st := l.known[key]
		st.durable = true
		st.counted = st.counted || counted
		l.known[key] = st
	}
}

// learnEarlier makes known which resources of a type the earlier loads have
// written. It reads their parts once, when the first shared resource of the type
// comes.
func (l *Loader) learnEarlier(t fhir.Type) error {
	if len(l.earlier) == 0 {
		return nil
	}
	l.learning.Lock()
	defer l.learning.Unlock()
	if l.learned[t] {
		return nil
	}
	met := map[sharedKey]bool{}
	for _, p := range partsOf(l.earlier) {
		if p.Type != t {
			continue
		}
		if err := l.eachID(p, func(id string) { met[sharedKey{t, id}] = true }); err != nil {
			return fmt.Errorf("read ids of %s: %w", p.Path, err)
		}
	}
	l.remember(met)
	l.learned[t] = true
	return nil
}

const collectedPrefix = "collected-"

// collectedPath is the file of the shared resources that the lane has met.
func (ln *lane) collectedPath() string {
	return filepath.Join(ln.l.state, collectedPrefix+ln.name)
}

// spill appends the shared resources of a batch to the lane's file. Bytes after
// the committed length are overwritten and never read, so nothing needs to be
// undone.
func (ln *lane) spill(s *scratch) error {
	if len(s.shared) == 0 {
		return nil
	}
	if ln.collected == nil {
		var err error
		if ln.collectedBytes == 0 {
			ln.collected, err = ln.l.fs.Create(ln.collectedPath())
		} else {
			ln.collected, err = ln.l.fs.Open(ln.collectedPath())
		}
		if err != nil {
			return fmt.Errorf("collect shared resources: %w", err)
		}
	}
	if _, err := ln.collected.WriteAt(s.shared, ln.collectedBytes); err != nil {
		return fmt.Errorf("collect shared resources: %w", err)
	}
	ln.collectedBytes += int64(len(s.shared))
	return nil
}

// readCollected makes known what earlier processes have collected.
func (l *Loader) readCollected() error {
	files, err := l.fs.List(l.state)
	if err != nil {
		return fmt.Errorf("list shared resources: %w", err)
	}
	for _, name := range files {
		lane, ok := strings.CutPrefix(name, collectedPrefix)
		if !ok {
			continue
		}
		r, err := l.readJournal(lane)
		if err != nil {
			return err
		}
		met := map[sharedKey]bool{}
		err = l.scanCollected(filepath.Join(l.state, name), r.Collected, func(r sharedRef) {
			met[r.sharedKey] = met[r.sharedKey] || r.counted
		})
		if err != nil {
			return err
		}
		l.remember(met)
	}
	return nil
}

// sharedRef says where the JSON of a collected resource is.
type sharedRef struct {
	sharedKey
	counted bool
	lane    int // index into the lanes of the load
	at      int64
	size    int
}

// appendCollected appends a line of a lane's file: type, id, whether the lane
// counts the resource, and the resource, with tabs between them.
func appendCollected(dst []byte, r *fhir.Resource, counted bool) []byte {
	dst = append(append(dst, r.Type.String()...), '\t')
	dst = append(append(dst, r.ID...), '\t')
	dst = append(strconv.AppendBool(dst, counted), '\t')
	return append(append(dst, r.JSON...), '\n')
}

// scanCollected visits the resources in the first bytes of a lane's file.
func (l *Loader) scanCollected(path string, length int64, visit func(sharedRef)) error {
	if length == 0 {
		return nil
	}
	f, err := l.fs.Open(path)
	if err != nil {
		return fmt.Errorf("read shared resources: %w", err)
	}
	defer f.Close()
	var at int64
	err = eachLine(bufio.NewReaderSize(io.NewSectionReader(f, 0, length), 1<<16), func(line []byte) error {
		cells := bytes.SplitN(line, []byte{'\t'}, 4)
		if len(cells) != 4 {
			return fmt.Errorf("no resource at byte %d", at)
		}
		t, ok := fhir.ParseType(string(cells[0]))
		counted, err := strconv.ParseBool(string(cells[2]))
		if !ok || err != nil {
			return fmt.Errorf("no resource at byte %d", at)
		}
		text := cells[3]
		visit(sharedRef{
			sharedKey: sharedKey{t, string(cells[1])}, counted: counted,
			at: at + int64(len(line)-len(text)), size: len(text),
		})
		at += int64(len(line)) + 1
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// eachLine visits the lines of in without their newlines; a line holds during
// the visit.
func eachLine(in *bufio.Reader, visit func(line []byte) error) error {
	var long []byte
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			long = append(long, line...)
			continue
		case err == io.EOF && len(line) == 0 && len(long) == 0:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		if len(long) > 0 {
			long = append(long, line...)
			line = long
		}
		if err := visit(line[:len(line)-1]); err != nil {
			return err
		}
		long = long[:0]
	}
}
