// Package audit keeps who has read which member's what, and who has changed it by hand: an append-only log
// in a folder of its own.
//
// The log is lines of text, in files audit-000001.log, audit-000002.log and so on:
//
//	HASH SPACE RECORD
//
// where RECORD is JSON and HASH is the SHA-256, in hexadecimal, of the hash of the line before and RECORD. So
// no line can be changed, removed or put between others without a break in the chain. What a chain cannot
// show is that its end was cut off or that all of it was made anew: for that, keep the last hash elsewhere,
// such as in the log of the server, and give it to Verify.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Record is an entry. Ids of resources are pseudonyms; a record has no values of members.
type Record struct {
	Number  uint64 `json:"n"` // from 1, without gaps
	At      string `json:"at"`
	Action  string `json:"action"`            // read, vread, history, search, everything; delete, purge, rollback, readmit; what members, apps and operators decide
	Request string `json:"request,omitempty"` // id of the request, as in the log of the server
	Client  string `json:"client,omitempty"`  // the app
	User    string `json:"user,omitempty"`    // who used it; for corrections, the user of the operating system
	Status  int    `json:"status,omitempty"`  // of HTTP

	Type    string   `json:"type,omitempty"`   // that was asked for
	ID      string   `json:"id,omitempty"`     // that was asked for
	Params  []string `json:"params,omitempty"` // names of parameters
	Members []string `json:"members,omitempty"`

	// Resources are references to what the answer had, or to what was corrected.
	Resources []string `json:"resources,omitempty"`

	// Operator says that whoever asked is not limited to a member.
	Operator bool `json:"operator,omitempty"`

	// Counts are the resources of a correction by what was done, which may be too many to list.
	Counts map[string]int64 `json:"counts,omitempty"`
	Note   string           `json:"note,omitempty"` // such as the run of a rollback
}

// fileMax is the size of a file after which another one begins.
const fileMax = 64 << 20

// syncEvery is how long a record may be in the memory of the operating system alone.
const syncEvery = time.Second

// Log appends to an audit log. Several processes may append to one; each record follows the last one of
// all. It is safe for concurrent use.
type Log struct {
	dir string
	max int64

	mu     sync.Mutex
	lock   *os.File
	file   *os.File
	index  int   // of the file
	size   int64 // of the file, when this process last looked
	last   head
	dirty  bool
	held   bool  // no other process appends
	failed error // of a sync: what is durable is not known any more
	stop   chan struct{}
	ended  sync.WaitGroup
}

// head is the end of a chain.
type head struct {
	number uint64
	hash   [2 * sha256.Size]byte // in hexadecimal; zeros if there is no record
}

// Open opens the log in dir and creates it, with mode 0700, if it is missing.
func Open(dir string) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the audit log: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	l := &Log{dir: dir, max: fileMax, lock: lock, stop: make(chan struct{})}
	l.mu.Lock()
	err = l.take()
	l.mu.Unlock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the audit log: %w", err), lock.Close())
	}
	l.ended.Go(l.syncAlways)
	return l, nil
}

// Append adds a record, whose number and time it sets. When it returns nil, the record survives the end of
// the process; within a second, it also survives the end of the machine. After an error there is no such
// record.
func (l *Log) Append(r *Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.failed
	if err == nil {
		err = l.take()
	}
	if err == nil {
		err = l.write(r)
	}
	if err != nil {
		l.size = -1 // look again what is there
		l.drop()
		return fmt.Errorf("write the audit log: %w", withoutContent(err))
	}
	return nil
}

// holding is how long a process keeps the log from others after it has taken it: to give it back after each
// record would take a tenth of the time of a record.
const holding = 20 * time.Millisecond

// take keeps other processes from appending, for a while, and looks at what they have appended.
func (l *Log) take() error {
	if l.held {
		return nil
	}
	if err := l.acquire(); err != nil {
		return err
	}
	l.held = true
	if err := l.catchUp(); err != nil {
		l.drop()
		return err
	}
	time.AfterFunc(holding, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.drop()
	})
	return nil
}

// drop lets other processes append.
func (l *Log) drop() {
	if l.held {
		l.held = false
		l.release()
	}
}

// write appends a line to the file.
func (l *Log) write(r *Record) error {
	if l.size >= l.max {
		if err := l.open(l.index + 1); err != nil {
			return err
		}
	}
	r.Number, r.At = l.last.number+1, time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	line := make([]byte, 2*sha256.Size+1, 512)
	line[2*sha256.Size] = ' '
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil { // it ends the line
		return err
	}
	next := l.last.next(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	copy(line, next.hash[:])
	line = append(line, text.Bytes()...)
	if n, err := l.file.Write(line); err != nil {
		if n > 0 { // the disk is full: nobody must take half a line for a record
			err = errors.Join(err, l.file.Truncate(l.size))
		}
		return err
	}
	l.size += int64(len(line))
	l.last, l.dirty = next, true
	return nil
}

// next is the head after a record.
func (h *head) next(record []byte) (next head) {
	sum := sha256.New()
	sum.Write(h.hash[:])
	sum.Write(record)
	hex.Encode(next.hash[:], sum.Sum(nil))
	next.number = h.number + 1
	return next
}

// Head returns the number and the hash of the last record that this process knows of, 0 and "" if there is
// none.
func (l *Log) Head() (number uint64, hash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.text()
}

func (h *head) text() (number uint64, hash string) {
	if h.number == 0 {
		return 0, ""
	}
	return h.number, string(h.hash[:])
}

// Sync makes all records durable.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sync()
}

func (l *Log) sync() error {
	if !l.dirty {
		return nil
	}
	if l.failed == nil { // a second sync may succeed although the first has lost what was written
		l.failed = l.file.Sync()
	}
	if l.failed != nil {
		return fmt.Errorf("sync the audit log: %w", l.failed)
	}
	l.dirty = false
	return nil
}

func (l *Log) syncAlways() {
	t := time.NewTicker(syncEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			_ = l.Sync() // Append returns it
		case <-l.stop:
			return
		}
	}
}

// Close makes all records durable and ends the use of the log.
func (l *Log) Close() error {
	close(l.stop)
	l.ended.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.sync()
	l.drop()
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	return errors.Join(err, l.lock.Close())
}

// catchUp looks at what other processes have appended. The lock must be held.
func (l *Log) catchUp() error {
	if l.file != nil {
		info, err := l.file.Stat()
		if err != nil {
			return err
		}
		if info.Size() == l.size && (l.size < l.max || !exists(l.path(l.index+1))) {
			return nil
		}
	}
	list, err := files(l.dir)
	if err != nil {
		return err
	}
	index := 1
	if len(list) > 0 {
		index = list[len(list)-1]
	}
	if l.index != index || l.file == nil {
		if err := l.open(index); err != nil {
			return err
		}
	}
	last, size, err := tail(l.path(index))
	if err == nil && last.number == 0 && index > 1 { // a new file may have no line yet
		last, _, err = tail(l.path(index - 1))
	}
	if err != nil {
		return err
	}
	if err := l.file.Truncate(size); err != nil { // a line that a process did not live to complete
		return err
	}
	l.last, l.size = last, size
	return nil
}

// open begins to append to a file.
func (l *Log) open(index int) error {
	f, err := os.OpenFile(l.path(index), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if l.file != nil {
		err = errors.Join(l.sync(), l.file.Close())
	}
	d, errDir := os.Open(l.dir)
	if errDir == nil {
		errDir = errors.Join(d.Sync(), d.Close())
	}
	l.file, l.index, l.size = f, index, 0
	return errors.Join(err, errDir)
}

func (l *Log) path(index int) string { return path(l.dir, index) }

func path(dir string, index int) string {
	return filepath.Join(dir, fmt.Sprintf("audit-%06d.log", index))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// files lists the numbers of the files of a log.
func files(dir string) (list []int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var n int
		if _, err := fmt.Sscanf(e.Name(), "audit-%06d.log", &n); err == nil && e.Name() == filepath.Base(path(dir, n)) {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

// tail reads the last complete line of a file, and where it ends.
func tail(path string) (h head, size int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, 0, nil
	}
	if err != nil {
		return h, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return h, 0, err
	}
	for window := int64(64 << 10); ; window *= 4 {
		from := max(0, info.Size()-window)
		text := make([]byte, info.Size()-from)
		if _, err := f.ReadAt(text, from); err != nil && err != io.EOF {
			return h, 0, err
		}
		end := bytes.LastIndexByte(text, '\n') + 1
		begin := bytes.LastIndexByte(text[:max(end-1, 0)], '\n') + 1
		if from > 0 && (end == 0 || begin == 0) {
			continue
		}
		if end == 0 {
			return h, 0, nil
		}
		line := text[begin : end-1]
		var r Record
		if len(line) < len(h.hash)+1 || json.Unmarshal(line[len(h.hash)+1:], &r) != nil {
			return h, 0, &BrokenError{File: filepath.Base(path), Line: 0, What: "the last line is no record"}
		}
		h.number = r.Number
		copy(h.hash[:], line)
		return h, from + int64(end), nil
	}
}

// withoutContent keeps errors of the file system, which name files.
func withoutContent(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e
	}
	return err
}
