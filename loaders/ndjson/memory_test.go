package ndjson

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// memory is a file system that tells what is durable from what is not, and
// fails on demand. Folders are durable at once.
type memory struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode
	folders map[string]bool
	locked  bool

	ops      int // operations so far that could fail
	failFrom int // the operations [failFrom, failTo) fail
	failTo   int
	killAt   int  // from this one on all fail until crash; 0: none
	effect   bool // those before it, and it, are done all the same
}

type inode struct{ data, synced []byte }

func newMemory() *memory {
	return &memory{names: map[string]*inode{}, durable: map[string]*inode{}, folders: map[string]bool{}}
}

// crash is the end of all processes. If lose is set the machine goes down, too:
// names that were not synced are gone. Of the data that was appended since the
// last sync a share is left.
func (m *memory) crash(lose bool, left float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locked, m.failFrom, m.failTo, m.killAt = false, 0, 0, 0
	if lose {
		m.names = map[string]*inode{}
		for name, n := range m.durable {
			m.names[name] = n
		}
	}
	for _, n := range m.names {
		if lose && left == 0 {
			n.data = n.synced
			continue
		}
		if keep := len(n.synced) + int(left*float64(len(n.data)-len(n.synced))); len(n.data) > keep {
			n.data = n.data[:keep]
		}
	}
}

// killed reports whether the process has met its end.
func (m *memory) killed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killAt > 0 && m.ops >= m.killAt
}

// step counts an operation and returns its fault, if it is to fail.
func (m *memory) step(what string) (err error, done bool) {
	m.ops++
	dead := m.killAt > 0 && m.ops >= m.killAt
	if !dead && (m.ops < m.failFrom || m.ops >= m.failTo) {
		return nil, true
	}
	return fmt.Errorf("%s: %w", what, syscall.ENOSPC), m.effect && (!dead || m.ops == m.killAt)
}

func (m *memory) Mkdir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err, done := m.step("mkdir " + path)
	for ; done && path != filepath.Dir(path); path = filepath.Dir(path) {
		m.folders[path] = true
	}
	return err
}

func (m *memory) Create(path string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err, done := m.step("create " + path)
	if !m.folders[filepath.Dir(path)] {
		return nil, fmt.Errorf("create %s: %w", path, fs.ErrNotExist)
	}
	if done && m.names[path] == nil {
		m.names[path] = &inode{}
	} else if done {
		m.names[path].data = nil
	}
	if err != nil {
		return nil, err
	}
	return &memoryFile{m, m.names[path], path}, nil
}

func (m *memory) Open(path string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err, _ := m.step("open " + path); err != nil {
		return nil, err
	}
	if m.names[path] == nil {
		return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
	}
	return &memoryFile{m, m.names[path], path}, nil
}

func (m *memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err, done := m.step("rename " + from)
	if m.names[from] == nil {
		return fmt.Errorf("rename %s: %w", from, fs.ErrNotExist)
	}
	if done {
		m.names[to] = m.names[from]
		delete(m.names, from)
	}
	return err
}

func (m *memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err, done := m.step("remove " + path)
	if m.names[path] == nil {
		return fmt.Errorf("remove %s: %w", path, fs.ErrNotExist)
	}
	if done {
		delete(m.names, path)
	}
	return err
}

func (m *memory) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err, done := m.step("sync folder " + path)
	if !done {
		return err
	}
	for name := range m.durable {
		if filepath.Dir(name) == path && m.names[name] == nil {
			delete(m.durable, name)
		}
	}
	for name, n := range m.names {
		if filepath.Dir(name) == path {
			m.durable[name] = n
		}
	}
	return err
}

func (m *memory) List(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err, _ := m.step("list " + path); err != nil {
		return nil, err
	}
	var names []string
	for name := range m.names {
		if filepath.Dir(name) == path {
			names = append(names, filepath.Base(name))
		}
	}
	for name := range m.folders {
		if filepath.Dir(name) == path {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (m *memory) Size(path string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err, _ := m.step("stat " + path); err != nil {
		return 0, err
	}
	if m.names[path] == nil {
		return 0, fmt.Errorf("stat %s: %w", path, fs.ErrNotExist)
	}
	return int64(len(m.names[path].data)), nil
}

func (m *memory) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err, _ := m.step("lock " + path); err != nil {
		return nil, err
	}
	if m.locked {
		return nil, ErrLocked
	}
	m.locked = true
	return memoryLock{m}, nil
}

// dump returns the files below a folder.
func (m *memory) dump(folder string) map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	files := map[string]string{}
	for name, n := range m.names {
		if rest, ok := strings.CutPrefix(name, folder+"/"); ok {
			files[rest] = string(n.data)
		}
	}
	return files
}

type memoryLock struct{ m *memory }

func (k memoryLock) Close() error {
	k.m.mu.Lock()
	defer k.m.mu.Unlock()
	k.m.locked = false
	return nil
}

type memoryFile struct {
	m    *memory
	n    *inode
	path string
}

func (f *memoryFile) ReadAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err, _ := f.m.step("read " + f.path); err != nil {
		return 0, err
	}
	if at > int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes a part of what it should when it fails.
func (f *memoryFile) WriteAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err, done := f.m.step("write " + f.path)
	if !done {
		b = b[:len(b)/2]
	}
	if at > int64(len(f.n.data)) {
		return 0, errors.New("write leaves a hole")
	}
	// What is durable stays as it is until the next sync, so it is not overwritten.
	data := append(slices.Clone(f.n.data[:at]), b...)
	if len(data) < len(f.n.data) {
		data = append(data, f.n.data[len(data):]...)
	}
	f.n.data = data
	return len(b), err
}

func (f *memoryFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err, done := f.m.step("truncate " + f.path)
	if done {
		f.n.data = slices.Clone(f.n.data[:size])
	}
	return err
}

func (f *memoryFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err, done := f.m.step("sync " + f.path)
	if done {
		f.n.synced = slices.Clone(f.n.data)
	}
	return err
}

func (f *memoryFile) Close() error { return nil }
