package portal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Document is an upload. Its bytes are kept outside of what is served, and are given out as an attachment only.
type Document struct {
	ID, Application, Question, Name, Type string
	Size                                  int64
	SHA256                                string
	By                                    string
	At                                    time.Time
}

// Events of documents.
const (
	didUpload         = "document_added"
	didRemoveDocument = "document_removed"
)

// Limits of documents.
const (
	documentBytes = 10 << 20
	documentsMost = 50         // of an application
	removedMost   = 200        // those too that were removed, and that are not gone yet
	roomOf        = 1000 << 20 // bytes of an organisation, likewise
	orphanFor     = time.Hour
)

var documentTypes = []string{"application/pdf", "image/png", "image/jpeg", "text/plain"}

// Upload keeps a document for a question: PDF, PNG, JPEG or plain text by its content, whatever its name says, up to 10 MB. It
// fails with *InputError (type, size, empty, many, or room if those of the organisation are too large in all).
func (a *Actor) Upload(ctx context.Context, application, question, name string, from io.Reader) (*Document, error) {
	r, err := a.editable(ctx, a.db, application)
	if err != nil {
		return nil, err
	}
	form := a.form(&r.Application)
	q := form.Question(question)
	if q == nil || q.Kind != forms.Document {
		return nil, &InputError{question, codeWrong}
	}
	d := &Document{ID: database.Random(), Application: application, Question: question, Name: fileName(name), By: a.id()}
	if err := a.receive(d, from); err != nil {
		return nil, err
	}
	kept := false
	d.Name = endingOf(d.Name, d.Type)
	defer func() {
		if !kept {
			a.fault("remove a document", a.removeFile(d.ID))
		}
	}()
	switch { // the form may want less than what is taken in general
	case form.Accepts(question, d.Type, d.Size) == nil:
	case d.Size > q.Limits.Bytes:
		return nil, &InputError{question, "size"}
	default:
		return nil, &InputError{question, "type"}
	}
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		if r, err = a.editable(ctx, tx, application); err != nil {
			return err
		}
		most := max(q.Limits.Count, 1)
		if err := lockOrganisation(ctx, tx, r.Org); err != nil { // what others give at the same time counts
			return err
		}
		if err := hasRoom(ctx, tx, r, d); err != nil {
			return err
		}
		all, err := database.Column(ctx, tx, `SELECT question FROM portal_documents WHERE application = $1 AND removed = 0`, application)
		if err != nil {
			return err
		}
		mine := 0
		for _, x := range all {
			if x == question {
				mine++
			}
		}
		if mine >= most || len(all) >= documentsMost {
			return &InputError{question, "many"}
		}
		d.At = a.Now().UTC()
		if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_documents (id, application, question, name, type, size, sha256, person, at, removed)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)`, d.ID, application, question, d.Name, d.Type, d.Size, d.SHA256, d.By, database.Millis(d.At)); err != nil {
			return err
		}
		answers := forms.Answers{}
		for id, v := range r.Answers {
			answers[id] = v
		}
		answers[question] = append(slices.Clone(answers[question]), d.ID)
		r.Answers = answers
		if err := a.saveApplication(ctx, tx, r); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: d.By, Action: didUpload, Application: application, Org: r.Org, App: r.App})
	})
	if err != nil {
		return nil, err
	}
	kept = true
	return d, nil
}

// hasRoom fails with *InputError if a document is too much for its organisation. One that was removed counts as long as it is
// there, since its bytes are.
func hasRoom(ctx context.Context, tx *step, r *record, d *Document) error {
	var many, bytes int64
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM portal_documents WHERE application = $1`, r.ID).Scan(&many); err != nil {
		return database.Fault(err)
	}
	if err := tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(d.size), 0) AS BIGINT) FROM portal_documents d JOIN portal_applications a ON a.id = d.application
		WHERE a.org = $1`, r.Org).Scan(&bytes); err != nil {
		return database.Fault(err)
	}
	switch {
	case many >= removedMost:
		return &InputError{d.Question, "many"}
	case bytes+d.Size > roomOf:
		return &InputError{d.Question, "room"}
	}
	return nil
}

// editable finds an application whose answers the actor may change now.
func (a *Actor) editable(ctx context.Context, q database.Queryer, id string) (*record, error) {
	r, err := a.see(ctx, q, id)
	if err != nil {
		return nil, err
	}
	if err := a.mayAct(r.Org, Owner, Developer); err != nil {
		return nil, err
	}
	if !lifecycle.Editable(r.State) {
		return nil, &lifecycle.IllegalError{Kind: r.Kind, From: r.State, Action: "upload"}
	}
	return r, nil
}

// receive writes a document to its file, and finds its size, type and sum. The file is there for good when it returns nil.
func (p *Portal) receive(d *Document, from io.Reader) (err error) {
	if p.Uploads == "" {
		return errors.New("portal: there is no folder for documents")
	}
	if err := os.MkdirAll(p.Uploads, 0o700); err != nil {
		return fmt.Errorf("portal: folder for documents: %w", err)
	}
	file := p.documentFile(d.ID)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("portal: keep a document: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(file) // it is an orphan otherwise, which Tick removes
		}
	}()
	sum := sha256.New()
	var head bytes.Buffer
	text := &textCheck{}
	d.Size, err = io.Copy(io.MultiWriter(f, sum, text, &limited{&head, 4096}), io.LimitReader(from, documentBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("portal: keep a document: %w", err)
	case d.Size == 0:
		return &InputError{d.Question, "empty"}
	case d.Size > documentBytes:
		return &InputError{d.Question, "size"}
	}
	if d.Type = typeOf(head.Bytes(), text.good()); !slices.Contains(documentTypes, d.Type) {
		return &InputError{d.Question, "type"}
	}
	d.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if err := f.Sync(); err != nil {
		return fmt.Errorf("portal: keep a document: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("portal: keep a document: %w", err)
	}
	return syncFolder(p.Uploads)
}

// syncFolder makes the name of a new file last.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("portal: folder for documents: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("portal: folder for documents: %w", err)
	}
	return nil
}

// limited keeps the beginning of what is written.
type limited struct {
	b    *bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	if n := l.most - l.b.Len(); n > 0 {
		l.b.Write(p[:min(n, len(p))])
	}
	return len(p), nil
}

// textCheck sees whether all that is written is text.
type textCheck struct {
	rest []byte
	bad  bool
}

func (t *textCheck) Write(p []byte) (int, error) {
	all := append(t.rest, p...)
	for len(all) > 0 && !t.bad {
		if !utf8.FullRune(all) {
			break
		}
		r, n := utf8.DecodeRune(all)
		if r == utf8.RuneError && n == 1 || r == 0 || unicode.IsControl(r) && !strings.ContainsRune("\n\r\t\f", r) {
			t.bad = true
		}
		all = all[n:]
	}
	t.rest = bytes.Clone(all)
	return len(p), nil
}

func (t *textCheck) good() bool { return !t.bad && len(t.rest) == 0 }

var pageLike = regexp.MustCompile(`(?i)^\s*(<!doctype|<\?xml|<html|<svg|<script|<head|<body)`)

// typeOf is the media type of a document by its content. Text that a browser could take for a page is none.
func typeOf(head []byte, text bool) string {
	switch {
	case bytes.HasPrefix(head, []byte("%PDF-")):
		return "application/pdf"
	case text && !pageLike.Match(head):
		return "text/plain"
	}
	kind, _, err := mime.ParseMediaType(http.DetectContentType(head))
	if err != nil || strings.HasPrefix(kind, "text/") {
		return ""
	}
	return kind
}

// fileName is the name of a document without folders, and without what a shell, a header or a page could take for
// something else.
func fileName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, ""), `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" .-_()", r) {
			return r
		}
		return '_'
	}, name)
	name = strings.TrimLeft(strings.TrimSpace(name), ".-")
	for utf8.RuneCountInString(name) > 100 {
		_, n := utf8.DecodeRuneInString(name)
		name = name[n:] // the ending says what it is
	}
	if name == "" {
		return "document"
	}
	return name
}

// endings are those of names by media type, the usual one first.
var endings = map[string][]string{
	"application/pdf": {".pdf"}, "image/png": {".png"}, "image/jpeg": {".jpg", ".jpeg"}, "text/plain": {".txt", ".md", ".csv", ".log"},
}

// endingOf is the name of a document with an ending that says what it is: a machine opens a file by its ending.
func endingOf(name, kind string) string {
	own := endings[kind]
	if len(own) == 0 || slices.Contains(own, strings.ToLower(path.Ext(name))) {
		return name
	}
	return name + own[0]
}

var documentID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// documentFile is the file of a document. Its name is random, and nothing that somebody has sent is part of it.
func (p *Portal) documentFile(id string) string { return filepath.Join(p.Uploads, id) }

// removeFile removes a file; one that is not there is removed.
func (p *Portal) removeFile(id string) error {
	if err := os.Remove(p.documentFile(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("portal: remove a document: %w", err)
	}
	return nil
}

const documentQuery = `SELECT id, application, question, name, type, size, sha256, person, at FROM portal_documents `

func readDocument(row database.Row) (*Document, error) {
	d := &Document{}
	var at int64
	err := row.Scan(&d.ID, &d.Application, &d.Question, &d.Name, &d.Type, &d.Size, &d.SHA256, &d.By, &at)
	d.At = database.Instant(at)
	return d, err
}

// Documents lists those of an application: for applicants those that are there now, for staff those that were submitted.
func (a *Actor) Documents(ctx context.Context, application string) ([]*Document, error) {
	r, err := a.see(ctx, a.db, application)
	if err != nil {
		return nil, err
	}
	list, err := database.List(ctx, a.db, readDocument, documentQuery+`WHERE application = $1 AND removed = 0 ORDER BY at, id`, application)
	if err != nil || a.roleIn(r.Org) != "" {
		return list, err
	}
	submitted, err := a.submitted(ctx, application)
	if err != nil {
		return nil, err
	}
	list, err = database.List(ctx, a.db, readDocument, documentQuery+`WHERE application = $1 ORDER BY at, id`, application)
	return slices.DeleteFunc(list, func(d *Document) bool { return !submitted[d.ID] }), err
}

// submitted are the documents that a revision of an application has.
func (p *Portal) submitted(ctx context.Context, application string) (map[string]bool, error) {
	list, err := database.List(ctx, p.db, readRevision, revisionQuery+`WHERE application = $1`, application)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, v := range list {
		for _, answers := range v.Answers {
			for _, x := range answers {
				if documentID.MatchString(x) {
					out[x] = true
				}
			}
		}
	}
	return out, nil
}

// Document opens one. The caller closes it.
func (a *Actor) Document(ctx context.Context, application, id string) (*Document, io.ReadCloser, error) {
	r, err := a.see(ctx, a.db, application)
	if err != nil {
		return nil, nil, err
	}
	d, err := first(database.List(ctx, a.db, readDocument, documentQuery+`WHERE id = $1 AND application = $2`, id, application))
	if err != nil {
		return nil, nil, err
	}
	if a.roleIn(r.Org) == "" { // staff read nothing that is not submitted
		submitted, err := a.submitted(ctx, application)
		if err != nil {
			return nil, nil, err
		}
		if !submitted[id] {
			return nil, nil, accounts.ErrNotFound
		}
	}
	f, err := os.Open(a.documentFile(d.ID))
	if err != nil {
		return nil, nil, fmt.Errorf("portal: open a document: %w", err)
	}
	return d, f, nil
}

// RemoveDocument removes one from an application that can be edited. What was submitted stays in its revision.
func (a *Actor) RemoveDocument(ctx context.Context, application, id string) error {
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		r, err := a.editable(ctx, tx, application)
		if err != nil {
			return err
		}
		if err := database.ChangeOne(ctx, tx.Tx, `UPDATE portal_documents SET removed = $1 WHERE id = $2 AND application = $3 AND removed = 0`,
			database.Millis(a.Now()), id, application); err != nil {
			return err
		}
		answers := forms.Answers{}
		for q, v := range r.Answers {
			if v = slices.DeleteFunc(slices.Clone(v), func(x string) bool { return x == id }); len(v) > 0 {
				answers[q] = v
			}
		}
		r.Answers = answers
		if err := a.saveApplication(ctx, tx, r); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didRemoveDocument, Application: application, Org: r.Org, App: r.App})
	})
}

// removeOrphans removes files without a row, and rows and files of documents that were removed and that no revision has.
func (p *Portal) removeOrphans(ctx context.Context) (int, error) {
	if p.Uploads == "" {
		return 0, nil
	}
	removed, err := database.List(ctx, p.db, readDocument, documentQuery+`WHERE removed <> 0 AND removed < $1 ORDER BY id`,
		database.Millis(p.Now().Add(-orphanFor)))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, d := range removed {
		submitted, err := p.submitted(ctx, d.Application)
		if err != nil {
			return n, err
		}
		if submitted[d.ID] {
			continue
		}
		if _, err := p.db.Change(ctx, `DELETE FROM portal_documents WHERE id = $1 AND removed <> 0`, d.ID); err != nil {
			return n, err
		}
		n++
	}
	files, err := os.ReadDir(p.Uploads)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err != nil {
		return n, fmt.Errorf("portal: folder for documents: %w", err)
	}
	ids, err := database.Column(ctx, p.db, `SELECT id FROM portal_documents`)
	if err != nil {
		return n, err
	}
	known := make(map[string]bool, len(ids))
	for _, id := range ids {
		known[id] = true
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || known[f.Name()] || !documentID.MatchString(f.Name()) || p.Now().Sub(info.ModTime()) < orphanFor {
			continue
		}
		if err := p.removeFile(f.Name()); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
