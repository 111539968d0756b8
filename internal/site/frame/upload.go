package frame

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"strings"
	"sync"
)

// Limits of forms with documents.
const (
	heldMost = 1 << 20 // bytes of documents that a form holds in memory; the rest is in temporary files

	uploadsMost = 16 // forms with documents that are read at the same time
	uploadsEach = 2  // of one session
)

// uploads counts the forms with documents that are being taken. It is safe for concurrent use.
type uploads struct {
	mu   sync.Mutex
	all  int
	each map[string]int // by session
}

// take begins one, and reports whether there is room.
func (u *uploads) take(session string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all >= uploadsMost || session != "" && u.each[session] >= uploadsEach {
		return false
	}
	u.all++
	if u.each == nil {
		u.each = map[string]int{}
	}
	u.each[session]++
	return true
}

func (u *uploads) end(session string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all--
	if u.each[session]--; u.each[session] <= 0 {
		delete(u.each, session)
	}
}

// takeSlot waits for nobody: a form with documents that finds no room is sent again later. Forms that fit into memory
// need none.
func (v *Visit) takeSlot() error {
	if v.most <= heldMost || v.end != nil {
		return nil
	}
	session := v.Session
	if !v.f.uploads.take(session) {
		return ErrFull
	}
	v.end = func() { v.f.uploads.end(session) }
	return nil
}

// clean removes what a form has left behind. The server does so only for the request that it made, and not for copies
// of it, which handlers make that add to its context.
func (v *Visit) clean() {
	if v.parsed != nil {
		if err := v.parsed.RemoveAll(); err != nil {
			v.Fault(errors.New("the temporary files of a form cannot be removed")) // the cause may name them
		}
	}
	if v.end != nil {
		v.end()
	}
}

// File is a document that a form has sent. It is gone when the request is answered.
type File struct {
	Name string // as its sender calls it, without folders: to be shown, and never to be opened
	Type string // what it is by its first bytes, such as application/pdf; what the browser says does not count
	Size int64  // bytes

	header *multipart.FileHeader
}

// Open opens the document. The caller closes it.
func (f *File) Open() (io.ReadCloser, error) {
	in, err := f.header.Open()
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return in, nil
}

// Data is the whole document, which is held in memory: for small ones, such as pictures.
func (f *File) Data() ([]byte, error) {
	in, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return data, nil
}

// sniffed is how many bytes http.DetectContentType looks at.
const sniffed = 512

// File finds a document of a form after ReadForm. It is nil if the field has none.
func (v *Visit) File(field string) (*File, error) {
	if v.R.MultipartForm == nil || len(v.R.MultipartForm.File[field]) == 0 {
		return nil, nil
	}
	h := v.R.MultipartForm.File[field][0]
	if h.Size == 0 {
		return nil, nil
	}
	f := &File{Name: Plain(path.Base(strings.ReplaceAll(h.Filename, `\`, "/")), 120), Size: h.Size, header: h}
	in, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	begin := make([]byte, sniffed)
	n, err := io.ReadFull(in, begin)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("document: %w", err)
	}
	f.Type = http.DetectContentType(begin[:n])
	return f, nil
}
