package sandbox

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/schemas/cpcds"
)

// monthSuffix names the file beside an extract that keeps the month in which it ends.
const monthSuffix = ".month"

// Extract writes the extract of a sandbox into a folder, which is made if it is missing, as the CSV tables of the
// cpcds layout. Its histories end on the first day of now's month, in UTC. That month is kept in a file beside the folder,
// DIR.month: a later call writes the same bytes, whatever now is, so loading them again changes nothing. Files have
// mode 0600. A folder should not be written by two callers at once.
func Extract(dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the extract: %w", err)
	}
	month, err := keptMonth(filepath.Clean(dir)+monthSuffix, now)
	if err != nil {
		return err
	}
	b := newBook(month)
	b.histories()
	for _, t := range b.tables() {
		if err := os.WriteFile(filepath.Join(dir, t.name+".csv"), t.csv(), 0o600); err != nil {
			return fmt.Errorf("write the table %s: %w", t.name, err)
		}
	}
	return nil
}

// keptMonth reads the month of an extract, or makes it that of now.
func keptMonth(path string, now time.Time) (time.Time, error) {
	const form = "2006-01"
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		month := now.UTC().Format(form)
		if err := os.WriteFile(path, []byte(month+"\n"), 0o600); err != nil {
			return time.Time{}, fmt.Errorf("keep the month of the extract: %w", err)
		}
		return time.Parse(form, month)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the month of the extract: %w", err)
	}
	month, err := time.Parse(form, strings.TrimSpace(string(text)))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s does not hold a month such as 2026-11; remove it and the folder, and both are made anew", path)
	}
	return month, nil
}

// table is one file of the extract.
type table struct {
	name    string
	columns []cpcds.Element
	rows    [][]string // parallel to columns
}

// csv writes the columns of a table that any row has a value for.
func (t *table) csv() []byte {
	var used []int
	header := make([]string, 0, len(t.columns))
	for c, e := range t.columns {
		if slices.ContainsFunc(t.rows, func(r []string) bool { return r[c] != "" }) {
			used = append(used, c)
			header = append(header, e.Column())
		}
	}
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	records := [][]string{header}
	for _, r := range t.rows {
		record := make([]string, len(used))
		for i, c := range used {
			record[i] = r[c]
		}
		records = append(records, record)
	}
	if err := w.WriteAll(records); err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes()
}

// elements lists the elements of one level of a table.
func elements(t cpcds.Table, level cpcds.Level) []cpcds.Element {
	return slices.DeleteFunc(slices.Clone(cpcds.Columns(t)), func(e cpcds.Element) bool { return e.Info().Level != level })
}

// tables lays the book out in the normalised grain.
func (b *book) tables() []table {
	key := []cpcds.Element{cpcds.ClaimUniqueIdentifier}
	out := []table{
		{"members", cpcds.Columns(cpcds.Members), nil},
		{"coverages", cpcds.Columns(cpcds.Coverages), nil},
		{"providers", cpcds.Columns(cpcds.Providers), nil},
		{"organizations", cpcds.Columns(cpcds.Organizations), nil},
		{"claims", elements(cpcds.Claims, cpcds.HeaderLevel), nil},
		{"claim_lines", append(slices.Clone(key), elements(cpcds.Claims, cpcds.LineLevel)...), nil},
		{"claim_diagnoses", append(slices.Clone(key), elements(cpcds.Claims, cpcds.DiagnosisLevel)...), nil},
		{"claim_procedures", append(slices.Clone(key), elements(cpcds.Claims, cpcds.ProcedureLevel)...), nil},
	}
	add := func(i int, key []string, record []string) {
		out[i].rows = append(out[i].rows, append(slices.Clone(key), record...))
	}
	for i := range b.members {
		add(0, nil, b.members[i][:])
	}
	for i := range b.coverages {
		add(1, nil, b.coverages[i][:])
	}
	for i := range b.providers {
		add(2, nil, b.providers[i][:])
	}
	for i := range b.organizations {
		add(3, nil, b.organizations[i][:])
	}
	for _, c := range b.claims {
		id := []string{c.Get(cpcds.ClaimUniqueIdentifier)}
		add(4, nil, c.Header[:])
		for i := range c.Lines {
			add(5, id, c.Lines[i][:])
		}
		for i := range c.Diagnoses {
			add(6, id, c.Diagnoses[i][:])
		}
		for i := range c.Procedures {
			add(7, id, c.Procedures[i][:])
		}
	}
	return out
}
