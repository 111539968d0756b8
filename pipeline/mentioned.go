package pipeline

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mentionBytes is the size of the files of mentions up to which they are put together
// in memory. One claim in 25 may name a person whom no table has.
const mentionBytes = 16 << 20

// ids are a letter and base32, so that their second character says which part of the
// ids of a kind they are in.
const idChars = "234567abcdefghijklmnopqrstuvwxyz"

// mentioned calls f for everything that this run mentions, once, in order of kind and
// id. Where an earlier run of the state folder mentions the same, its words count too,
// so that a load of other claims does not change a resource back and forth. A replay
// into a target that only appends leaves out what earlier runs have written there.
func (r *Run) mentioned(f func(*mention) error) error {
	own, others, err := r.mentionFiles()
	if err != nil {
		return err
	}
	var size int64
	for _, path := range slices.Concat(own, others) {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("read mentions: %w", err)
		}
		size += info.Size()
	}
	if size <= r.mentionMemory() {
		return r.merged(own, others, f)
	}
	parts := newMentionParts(r.spillDir())
	defer parts.remove()
	for _, x := range []struct {
		paths []string
		own   bool
	}{{own, true}, {others, false}} {
		if err := eachMention(x.paths, func(m mention) error { return parts.add(m, x.own) }); err != nil {
			return err
		}
	}
	return parts.each(func(own, others []string) error { return r.merged(own, others, f) })
}

func (r *Run) mentionMemory() int64 {
	if r.mentionLimit > 0 {
		return r.mentionLimit
	}
	return mentionBytes
}

// mentionFiles lists the files of this run and of others.
func (r *Run) mentionFiles() (own, others []string, err error) {
	err = filepath.WalkDir(mentionsRoot(r.State), func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("read mentions: %w", err)
		case e.IsDir():
		case filepath.Dir(path) == r.mentionsDir():
			own = append(own, path)
		default:
			others = append(others, path)
		}
		return nil
	})
	return own, others, err
}

// merged puts mentions together in memory.
func (r *Run) merged(own, others []string, f func(*mention) error) error {
	all := map[string]mention{}
	err := eachMention(own, func(m mention) error { all[m.ID] = m.merge(all[m.ID]); return nil })
	if err != nil {
		return err
	}
	err = eachMention(others, func(m mention) error {
		switch old, ok := all[m.ID]; {
		case !ok:
		case r.Replay && r.Appends:
			delete(all, m.ID)
		default:
			all[m.ID] = m.merge(old)
		}
		return nil
	})
	if err != nil {
		return err
	}
	list := slices.Collect(maps.Values(all))
	slices.SortFunc(list, func(a, b mention) int {
		if a.Kind != b.Kind {
			return int(a.Kind) - int(b.Kind)
		}
		return strings.Compare(a.ID, b.ID)
	})
	for i := range list {
		if err := f(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// merge takes the greater words of two mentions of the same.
func (m mention) merge(o mention) mention {
	m.Name, m.Address, m.Relationship = max(m.Name, o.Name), max(m.Address, o.Address), max(m.Relationship, o.Relationship)
	return m
}

// eachMention calls f for every mention in files.
func eachMention(paths []string, f func(mention) error) error {
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read mentions: %w", err)
		}
		d := json.NewDecoder(bufio.NewReaderSize(file, 1<<16))
		for err == nil {
			var m mention
			if err = d.Decode(&m); err != nil {
				break
			}
			if len(m.ID) < 2 || m.Kind >= numMentionKinds {
				err = errDamagedMention
				break
			}
			if err := f(m); err != nil {
				return errors.Join(err, file.Close())
			}
		}
		file.Close()
		if err != io.EOF {
			return fmt.Errorf("read mentions %s: the file is damaged", filepath.Base(path))
		}
	}
	return nil
}

var errDamagedMention = errors.New("no mention")

// mentionParts are mentions that are spread over files by kind and id.
type mentionParts struct {
	dir   string
	files map[string]*os.File
	pens  map[string]*bufio.Writer
}

func newMentionParts(dir string) *mentionParts {
	return &mentionParts{dir: dir, files: map[string]*os.File{}, pens: map[string]*bufio.Writer{}}
}

func (p *mentionParts) add(m mention, own bool) error {
	name := mentionPart(m.Kind, m.ID[1], own)
	pen := p.pens[name]
	if pen == nil {
		f, err := os.OpenFile(filepath.Join(p.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("spread mentions: %w", err)
		}
		pen = bufio.NewWriterSize(f, 1<<13)
		p.files[name], p.pens[name] = f, pen
	}
	line, err := json.Marshal(m)
	if err == nil {
		_, err = pen.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("spread mentions: %w", err)
	}
	return nil
}

func mentionPart(k mentionKind, char byte, own bool) string {
	return fmt.Sprintf("mentions-%d-%c-%t", k, char, own)
}

// each calls f with the files of each part, in order of kind and id.
func (p *mentionParts) each(f func(own, others []string) error) error {
	for name, pen := range p.pens {
		if err := errors.Join(pen.Flush(), p.files[name].Close()); err != nil {
			return fmt.Errorf("spread mentions: %w", err)
		}
	}
	file := func(k mentionKind, char byte, own bool) (list []string) {
		name := mentionPart(k, char, own)
		if p.files[name] != nil {
			list = append(list, filepath.Join(p.dir, name))
		}
		return list
	}
	for k := range numMentionKinds {
		for _, char := range []byte(idChars) {
			if err := f(file(k, char, true), file(k, char, false)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *mentionParts) remove() {
	for name, f := range p.files {
		f.Close()
		os.Remove(filepath.Join(p.dir, name))
	}
}
