package ndjson

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"cpcds2fhir/pipeline"
)

// partName is the final name of a part in the folder of its type.
func (l *Loader) partName(lane string, seq int) string {
	if l.opts.Part != "" {
		lane = l.opts.Part + "-" + lane
	}
	return fmt.Sprintf("part-%s-%05d.ndjson%s", lane, seq, l.codec.suffix)
}

func (l *Loader) partPath(t typeName, lane string, seq int) string {
	return filepath.Join(l.dir, t.String(), l.partName(lane, seq))
}

// tempPath is where the file of a final path is while it is being written.
func tempPath(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
}

// laneOfTemp returns the lane in the temporary name of a part of this load.
func (l *Loader) laneOfTemp(name string) (string, bool) {
	prefix := ".part-"
	if l.opts.Part != "" {
		prefix += l.opts.Part + "-"
	}
	name, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "", false
	}
	if name, ok = strings.CutSuffix(name, ".ndjson"+l.codec.suffix+".tmp"); !ok {
		return "", false
	}
	dash := strings.LastIndexByte(name, '-')
	if dash < 0 {
		return "", false
	}
	_, err := strconv.ParseUint(name[dash+1:], 10, 31)
	return name[:dash], err == nil
}

// partWriter appends to one part under its temporary name.
type partWriter struct {
	partState
	path   string // the final one
	file   file
	hash   hash.Hash
	stages *pipeline.Stages
	dirty  bool // written to since the last sync
	fresh  bool // its name may not be durable yet
}

// createPart starts a part. Its folder is made when first needed, so a type without resources has
// none.
func (l *Loader) createPart(t typeName, lane string, seq int) (*partWriter, error) {
	path := l.partPath(t, lane, seq)
	w := &partWriter{partState: partState{Type: t, Seq: seq}, path: path, hash: sha256.New(), stages: l.opts.Stages, fresh: true}
	if l.taken[path] {
		return nil, fmt.Errorf("create part: %s was written by an earlier load", path)
	}
	if err := l.fs.Mkdir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	var err error
	if w.file, err = l.fs.Create(tempPath(path)); err != nil {
		return nil, fmt.Errorf("create part: %w", err)
	}
	return w, nil
}

// reopenPart opens a part as its state says and drops what was written later.
func (l *Loader) reopenPart(lane string, s partState) (*partWriter, error) {
	path := l.partPath(s.Type, lane, s.Seq)
	temp := tempPath(path)
	w := &partWriter{partState: s, path: path, hash: sha256.New(), stages: l.opts.Stages}
	if err := w.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(s.Hash); err != nil {
		return nil, fmt.Errorf("resume digest of %s: %w", path, err)
	}
	size, err := sizeOf(l.fs, temp)
	if err != nil {
		return nil, err
	}
	if size < s.Bytes {
		return nil, &AlteredError{File: temp, Size: size, WantBytes: s.Bytes}
	}
	if w.file, err = l.fs.Open(temp); err != nil {
		return nil, fmt.Errorf("open part: %w", err)
	}
	if size > s.Bytes {
		if err := w.file.Truncate(s.Bytes); err != nil {
			w.file.Close()
			return nil, fmt.Errorf("truncate part: %w", err)
		}
	}
	return w, nil
}

// append writes lines, each with its newline, at the end of the part, as one
// frame if they are compressed. packed is memory for the frame; it is returned
// grown.
func (w *partWriter) append(raw []byte, lines int64, compress compressor, packed []byte) ([]byte, error) {
	out := raw
	began := w.stages.Now()
	if compress != nil {
		var err error
		if packed, err = compress(packed[:0], raw); err != nil {
			return packed, fmt.Errorf("compress %s: %w", w.path, err)
		}
		out = packed
		began = w.stages.Since(pipeline.StageCompress, began)
	}
	w.dirty = true
	var hashing sync.WaitGroup
	if len(out) >= directBytes { // a large write is slow enough to hash meanwhile
		hashing.Go(func() { w.hash.Write(out) })
	} else {
		w.hash.Write(out)
	}
	_, err := w.file.WriteAt(out, w.Bytes)
	hashing.Wait()
	if err != nil {
		return packed, fmt.Errorf("write part: %w", err)
	}
	w.Bytes += int64(len(out))
	w.Raw += int64(len(raw))
	w.Lines += lines
	w.stages.Since(pipeline.StageWrite, began)
	return packed, nil
}

func (w *partWriter) sync() error {
	if !w.dirty {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.path, err)
	}
	w.dirty = false
	return nil
}

// open returns the state of a part that is still being written.
func (w *partWriter) open() (partState, error) {
	s := w.partState
	var err error
	if s.Hash, err = w.hash.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return s, fmt.Errorf("save digest of %s: %w", w.path, err)
	}
	return s, nil
}

// closed returns the state of a part that is complete.
func (w *partWriter) closed() partState {
	s := w.partState
	s.Hash, s.SHA256 = nil, hex.EncodeToString(w.hash.Sum(nil))
	return s
}
