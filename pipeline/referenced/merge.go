package referenced

import (
	"bufio"
	"cmp"
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

// memoryLimit is the total size of the files up to which they are merged in memory. One claim in 25
// may name a person who is in no table.
const memoryLimit = 16 << 20

// ids are a letter and base32, so their second character selects the part of a kind's ids that they
// belong to.
const idChars = "234567abcdefghijklmnopqrstuvwxyz"

// Merge merges the referenced-only resources of a run.
type Merge struct {
	Root   string // parent of the run's own folder of files
	Others string // folder of those of other runs; "" is Root
	Run    string // whose resources are wanted
	Spill  string // folder for temporary files

	// OnlyNew leaves out what other runs have written: the target cannot change what it has.
	OnlyNew bool

	// Memory is the total size in bytes of the files up to which they are merged in memory; 0 is 16
	// MiB.
	Memory int64
}

// Path is the file of a lane.
func (m *Merge) Path(lane string) string { return filepath.Join(m.Dir(), lane+".ndjson") }

// Dir is the folder of the files of the run.
func (m *Merge) Dir() string { return filepath.Join(m.Root, m.Run) }

// Each calls f once for each resource that this run's claims refer to, in order of kind and id. If
// an earlier run of the state folder refers to the same one, its values count too, so that loads of
// different claims do not change a resource back and forth.
func (m *Merge) Each(f func(*Resource) error) error {
	own, others, err := m.files()
	if err != nil {
		return err
	}
	var size int64
	for _, path := range slices.Concat(own, others) {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("read referenced-only resources: %w", err)
		}
		size += info.Size()
	}
	if size <= cmp.Or(m.Memory, memoryLimit) {
		return m.merged(own, others, f)
	}
	parts := newParts(m.Spill)
	defer parts.remove()
	for _, x := range []struct {
		paths []string
		own   bool
	}{{own, true}, {others, false}} {
		if err := each(x.paths, func(r Resource) error { return parts.add(r, x.own) }); err != nil {
			return err
		}
	}
	return parts.each(func(own, others []string) error { return m.merged(own, others, f) })
}

// files lists the files of this run and of others.
func (m *Merge) files() (own, others []string, err error) {
	if own, err = filesBelow(m.Dir()); err != nil {
		return nil, nil, err
	}
	all, err := filesBelow(cmp.Or(m.Others, m.Root))
	for _, path := range all {
		if filepath.Base(filepath.Dir(path)) != m.Run {
			others = append(others, path)
		}
	}
	return own, others, err
}

func filesBelow(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("read referenced-only resources: %w", err)
		case !e.IsDir():
			paths = append(paths, path)
		}
		return nil
	})
	return paths, err
}

// merged merges resources in memory.
func (m *Merge) merged(own, others []string, f func(*Resource) error) error {
	all := map[string]Resource{}
	err := each(own, func(r Resource) error { all[r.ID] = r.Merge(all[r.ID]); return nil })
	if err != nil {
		return err
	}
	err = each(others, func(r Resource) error {
		switch old, ok := all[r.ID]; {
		case !ok:
		case m.OnlyNew:
			delete(all, r.ID)
		default:
			all[r.ID] = r.Merge(old)
		}
		return nil
	})
	if err != nil {
		return err
	}
	list := slices.Collect(maps.Values(all))
	slices.SortFunc(list, func(a, b Resource) int {
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

// Merge returns a resource that two records describe: of two texts the greater one counts.
func (x Resource) Merge(o Resource) Resource {
	x.Name, x.Address, x.Relationship = max(x.Name, o.Name), max(x.Address, o.Address), max(x.Relationship, o.Relationship)
	return x
}

// each calls f for every resource in files.
func each(paths []string, f func(Resource) error) error {
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read referenced-only resources: %w", err)
		}
		d := json.NewDecoder(bufio.NewReaderSize(file, 1<<16))
		for err == nil {
			var x Resource
			if err = d.Decode(&x); err != nil {
				break
			}
			if len(x.ID) < 2 {
				err = errDamaged
				break
			}
			if err := f(x); err != nil {
				return errors.Join(err, file.Close())
			}
		}
		file.Close()
		if err != io.EOF {
			return fmt.Errorf("read referenced-only resources %s: the file is damaged", filepath.Base(path))
		}
	}
	return nil
}

var errDamaged = errors.New("not a referenced-only resource")

// parts are resources that are spread over files by kind and id.
type parts struct {
	dir   string
	files map[string]*os.File
	pens  map[string]*bufio.Writer
}

func newParts(dir string) *parts {
	return &parts{dir: dir, files: map[string]*os.File{}, pens: map[string]*bufio.Writer{}}
}

func (p *parts) add(x Resource, own bool) error {
	name := partName(x.Kind, x.ID[1], own)
	pen := p.pens[name]
	if pen == nil {
		f, err := os.OpenFile(filepath.Join(p.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("partition referenced-only resources: %w", err)
		}
		pen = bufio.NewWriterSize(f, 1<<13)
		p.files[name], p.pens[name] = f, pen
	}
	line, err := json.Marshal(x)
	if err == nil {
		_, err = pen.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("partition referenced-only resources: %w", err)
	}
	return nil
}

func partName(k Kind, char byte, own bool) string {
	return fmt.Sprintf("referenced-%d-%c-%t", k, char, own)
}

// each calls f with the files of each part, in order of kind and id.
func (p *parts) each(f func(own, others []string) error) error {
	for name, pen := range p.pens {
		if err := errors.Join(pen.Flush(), p.files[name].Close()); err != nil {
			return fmt.Errorf("partition referenced-only resources: %w", err)
		}
	}
	file := func(k Kind, char byte, own bool) (list []string) {
		name := partName(k, char, own)
		if p.files[name] != nil {
			list = append(list, filepath.Join(p.dir, name))
		}
		return list
	}
	for k := range Kind(numKinds) {
		for _, char := range []byte(idChars) {
			if err := f(file(k, char, true), file(k, char, false)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *parts) remove() {
	for name, f := range p.files {
		f.Close()
		os.Remove(filepath.Join(p.dir, name))
	}
}
