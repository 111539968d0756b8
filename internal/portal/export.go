package portal

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// Exports begin with a line that says what they are.
const (
	exportFormat  = "cpcds2fhir portal"
	exportVersion = 1
)

// documentsTable has a row for each document that is in the tar.
const documentsTable = "portal_documents"

// didImport is the event of an import. It is about a database, so no export has it.
const didImport = "import"

// table is one that is exported, in an order in which rows refer only to rows before them. What is secret is not among
// the tables: passwords, second factors, sessions, tokens; nor are mails that wait.
type table struct {
	name, key string // by which rows are ordered
	where     string
	sealed    string // what its column sealed is sealed for, before its first key; "" if it has none
	mac       string // what its column address_mac is made for, of the field Email of what is sealed
	replaced  map[string]string
}

var tables = []table{
	{name: "portal_people", key: "id"},
	{name: "portal_organisations", key: "id"},
	{name: "portal_members", key: "org, person"},
	{name: "portal_invitations", key: "id", replaced: map[string]string{"token_sum": "id"}}, // their links work no more
	{name: "portal_events", key: "id", where: "action <> '" + didImport + "'"},
	{name: "portal_tickets", key: "id", sealed: "ticket ", mac: "address"},
	{name: "portal_replies", key: "id", sealed: "reply "},
	{name: "portal_applications", key: "id"},
	{name: "portal_revisions", key: "application, number"},
	{name: "portal_questions", key: "form"},
	{name: "portal_messages", key: "id"},
	{name: documentsTable, key: "id"},
	{name: "portal_visitors", key: "application", sealed: "visitor ", mac: "visitor"},
	{name: "portal_apps", key: "id"},
	{name: "portal_names", key: "skeleton"},
	{name: "portal_keys", key: "thumbprint"},
	{name: "portal_logos", key: "id"},
	{name: "portal_texts", key: "app, kind"},
	{name: "portal_evidence", key: "app, interaction"},
	{name: "portal_done", key: "what"},
}

// line is one of an export: the head, or a row. What is sealed is written as it was before it was sealed, byte by byte.
type line struct {
	Format  string                     `json:"format,omitempty"`
	Version int                        `json:"version,omitempty"`
	Table   string                     `json:"table,omitempty"`
	Row     map[string]json.RawMessage `json:"row,omitempty"`
}

// Export writes everything but secrets, sessions and mails as JSON lines; documents as a tar beside it are in the
// second writer. With nil in its place documents are left out, and so are their rows. What is sealed in the database is open
// in it, so it must be kept as safe as the database with its key. Import reads it into an empty portal. Administrators do it.
func (a *Actor) Export(ctx context.Context, w, documents io.Writer) error {
	if err := a.needStaff(Administrator); err != nil {
		return err
	}
	var all bytes.Buffer
	err := a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		all.Reset()
		if !a.db.SQLite() { // one state of all tables, whatever happens meanwhile
			if _, err := tx.ExecContext(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`); err != nil {
				return err
			}
		}
		return a.writeTables(ctx, tx, &all, documents != nil)
	})
	if err != nil {
		return err
	}
	if _, err := w.Write(all.Bytes()); err != nil {
		return fmt.Errorf("portal: write the export: %w", err)
	}
	if documents != nil {
		if err := a.writeDocuments(ctx, documents); err != nil {
			return err
		}
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didExport, Note: "all"})
	})
}

func (p *Portal) writeTables(ctx context.Context, q database.Queryer, w io.Writer, documents bool) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	if err := out.Encode(&line{Format: exportFormat, Version: exportVersion}); err != nil {
		return fmt.Errorf("portal: write the export: %w", err)
	}
	for i := range tables {
		t := &tables[i]
		if t.name == documentsTable && !documents {
			continue
		}
		rows, err := p.readTable(ctx, q, t)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := out.Encode(&line{Table: t.name, Row: row}); err != nil {
				return fmt.Errorf("portal: write the export: %w", err)
			}
		}
	}
	return nil
}

// readTable reads all rows of a table, with what is sealed open.
func (p *Portal) readTable(ctx context.Context, q database.Queryer, t *table) ([]map[string]json.RawMessage, error) {
	query := "SELECT * FROM " + t.name
	if t.where != "" {
		query += " WHERE " + t.where
	}
	rows, err := q.QueryContext(ctx, query+" ORDER BY "+t.key)
	if err != nil {
		return nil, database.Fault(err)
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	names, err := rows.Columns()
	if err != nil {
		return nil, database.Fault(err)
	}
	var list []map[string]json.RawMessage
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, database.Fault(err)
		}
		row := make(map[string]json.RawMessage, len(names))
		for i, name := range names {
			if b, ok := values[i].([]byte); ok {
				values[i] = string(b)
			}
			text, err := database.Encode(values[i])
			if err != nil {
				return nil, err
			}
			row[name] = json.RawMessage(text)
		}
		for name, from := range t.replaced {
			row[name] = row[from]
		}
		if t.sealed != "" {
			var open json.RawMessage
			if err := p.unseal(t.sealed+textIn(row, firstOf(t.key)), textIn(row, "sealed"), &open); err != nil {
				return nil, err
			}
			row["sealed"] = open
			delete(row, "address_mac")
		}
		list = append(list, row)
	}
	return list, database.Fault(rows.Err())
}

func firstOf(key string) string {
	one, _, _ := strings.Cut(key, ",")
	return one
}

// textIn is a text of a row, "" if it has none.
func textIn(row map[string]json.RawMessage, name string) (s string) {
	if json.Unmarshal(row[name], &s) != nil {
		return ""
	}
	return s
}

// writeDocuments writes the documents that have a row.
func (p *Portal) writeDocuments(ctx context.Context, w io.Writer) error {
	out := tar.NewWriter(w)
	list, err := database.List(ctx, p.db, readDocument, documentQuery+`ORDER BY id`)
	if err != nil {
		return err
	}
	for _, d := range list {
		if err := p.writeDocument(out, d); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("portal: write documents: %w", err)
	}
	return nil
}

func (p *Portal) writeDocument(out *tar.Writer, d *Document) error {
	f, err := os.Open(p.documentFile(d.ID))
	if err != nil {
		return fmt.Errorf("portal: write documents: %w", err)
	}
	defer f.Close()
	if err := out.WriteHeader(&tar.Header{Name: d.ID, Mode: 0o600, Size: d.Size, ModTime: d.At, Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("portal: write documents: %w", err)
	}
	if _, err := io.Copy(out, f); err != nil {
		return fmt.Errorf("portal: write documents: %w", err)
	}
	return nil
}

// Import reads what Export wrote. The portal must be empty: accounts.ErrExists. Nobody has a password afterwards: people
// set one anew, and a second factor. Clients that are not there are made, without secrets. documents may be nil for an
// export without documents; one that names some is refused then.
func (a *Actor) Import(ctx context.Context, r, documents io.Reader) error {
	if err := a.needStaff(Administrator); err != nil {
		return err
	}
	lines, err := readLines(r)
	if err != nil {
		return err
	}
	if err := a.empty(ctx, a.db); err != nil {
		return err
	}
	if documents == nil && slices.ContainsFunc(lines, func(l line) bool { return l.Table == documentsTable }) {
		return errors.New("portal: import: the export names documents, and they are not given: it needs the tar that was written with it")
	}
	sums, err := a.readDocuments(documents)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if l.Table == documentsTable && sums[textIn(l.Row, "id")] != textIn(l.Row, "sha256") {
			return errors.New("portal: import: a document is missing, or it is another")
		}
	}
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		if err := a.empty(ctx, tx); err != nil {
			return err
		}
		if err := a.insertLines(ctx, tx, lines); err != nil {
			return err
		}
		if err := a.unanswer(ctx, tx); err != nil {
			return err
		}
		if err := a.restoreClients(ctx, tx); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didImport})
	})
	if err != nil {
		return err
	}
	a.settle(ctx)
	return nil
}

// empty fails with ErrExists if there is anybody, or anything of anybody.
func (p *Portal) empty(ctx context.Context, q database.Queryer) error {
	for _, t := range []string{"portal_people", "portal_organisations", "portal_applications", "portal_apps", "portal_tickets"} {
		list, err := database.Column(ctx, q, `SELECT id FROM `+t+` LIMIT 1`)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			return accounts.ErrExists
		}
	}
	return nil
}

// readLines reads an export, and checks that it is one that this program knows.
func readLines(r io.Reader) ([]line, error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 64<<20)
	var lines []line
	for n := 1; in.Scan(); n++ {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return nil, errors.New("portal: import: line " + strconv.Itoa(n) + " is not what an export has") // the error would have values
		}
		if n == 1 {
			if l.Format != exportFormat || l.Version != exportVersion {
				return nil, errors.New("portal: import: it is no export of this version")
			}
			continue
		}
		if !slices.ContainsFunc(tables, func(t table) bool { return t.name == l.Table }) {
			return nil, errors.New("portal: import: line " + strconv.Itoa(n) + " is of a table that there is not")
		}
		lines = append(lines, l)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("portal: read the export: %w", err)
	}
	return lines, nil
}

// insertLines inserts rows, sealed anew.
func (p *Portal) insertLines(ctx context.Context, tx *step, lines []line) error {
	for i := range tables {
		t := &tables[i]
		rows, err := tx.QueryContext(ctx, `SELECT * FROM `+t.name+` LIMIT 0`)
		if err != nil {
			return err
		}
		names, err := rows.Columns()
		if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
			return err
		}
		for j := range lines {
			if lines[j].Table != t.name {
				continue
			}
			if err := p.insertRow(ctx, tx, t, names, lines[j].Row); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Portal) insertRow(ctx context.Context, tx *step, t *table, names []string, row map[string]json.RawMessage) error {
	values := make([]any, len(names))
	places := make([]string, len(names))
	for i, name := range names {
		places[i] = "$" + strconv.Itoa(i+1)
		var n int64
		var s string
		switch {
		case t.sealed != "" && name == "sealed":
			sealed, err := p.seal(t.sealed+textIn(row, firstOf(t.key)), row[name])
			if err != nil {
				return err
			}
			values[i] = sealed
		case t.mac != "" && name == "address_mac":
			var open struct{ Email string }
			if err := json.Unmarshal(row["sealed"], &open); err != nil {
				return fmt.Errorf("portal: import: what is sealed in a row of %s cannot be read", t.name) // the error would have values
			}
			values[i] = p.mac(t.mac, open.Email)
		case json.Unmarshal(row[name], &n) == nil:
			values[i] = n
		case json.Unmarshal(row[name], &s) == nil:
			values[i] = s
		default:
			return fmt.Errorf("portal: import: a row of %s has no %s", t.name, name)
		}
	}
	_, err := database.Change(ctx, tx.Tx, `INSERT INTO `+t.name+` (`+strings.Join(names, ", ")+`) VALUES (`+strings.Join(places, ", ")+`)`, values...)
	return err
}

// unanswer takes out of drafts the documents that were left out: they must be given again before anything is submitted.
func (p *Portal) unanswer(ctx context.Context, tx *step) error {
	list, err := database.List(ctx, tx, readApplication, applicationQuery+`ORDER BY a.id`)
	if err != nil {
		return err
	}
	ids, err := database.Column(ctx, tx, `SELECT id FROM portal_documents`)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(ids))
	for _, id := range ids {
		known[id] = true
	}
	for _, r := range list {
		form := p.form(&r.Application)
		if form == nil || !lifecycle.Editable(r.State) {
			continue
		}
		lost := false
		for _, q := range form.Questions() {
			if v := r.Answers[q.ID]; q.Kind == forms.Document && slices.ContainsFunc(v, func(id string) bool { return !known[id] }) {
				lost = true
				if r.Answers[q.ID] = slices.DeleteFunc(slices.Clone(v), func(id string) bool { return !known[id] }); len(r.Answers[q.ID]) == 0 {
					delete(r.Answers, q.ID)
				}
			}
		}
		if lost {
			if err := p.saveApplication(ctx, tx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// restoreClients makes the clients of all apps what they should be.
func (p *Portal) restoreClients(ctx context.Context, tx *step) error {
	apps, err := database.List(ctx, tx, readApp, appQuery+`ORDER BY id`)
	if err != nil {
		return err
	}
	for _, app := range apps {
		if err := p.refreshClients(ctx, tx, app); err != nil {
			return err
		}
	}
	return nil
}

// readDocuments writes documents to their files, and returns their sums; nil is none. Without a row they are orphans, which
// Tick removes.
func (p *Portal) readDocuments(r io.Reader) (map[string]string, error) {
	sums := map[string]string{}
	if r == nil {
		return sums, nil
	}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return sums, nil
		}
		if err != nil {
			return nil, fmt.Errorf("portal: read documents: %w", err)
		}
		if h.Typeflag != tar.TypeReg || !documentID.MatchString(h.Name) || h.Size > documentBytes {
			return nil, errors.New("portal: import: the documents have a file that no export writes")
		}
		if sums[h.Name], err = p.readDocument(h.Name, in); err != nil {
			return nil, err
		}
	}
}

func (p *Portal) readDocument(id string, r io.Reader) (string, error) {
	if p.Uploads == "" {
		return "", errors.New("portal: there is no folder for documents")
	}
	if err := os.MkdirAll(p.Uploads, 0o700); err != nil {
		return "", fmt.Errorf("portal: folder for documents: %w", err)
	}
	f, err := os.OpenFile(p.documentFile(id), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("portal: keep a document: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), r); err != nil {
		return "", fmt.Errorf("portal: keep a document: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("portal: keep a document: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), syncFolder(p.Uploads)
}
