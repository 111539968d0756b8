package pipeline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// Reject is input that could not become a valid resource: one claim, or part of
// one, or one row of a small table. It holds the raw rows as the source wrote
// them, so that it can be replayed after a fix; its file is readable by its owner
// alone.
type Reject struct {
	ID       string          `json:"id"`    // lane and number within the lane
	Table    string          `json:"table"` // claims, members, …
	Claim    string          `json:"claim,omitempty"`
	Part     string          `json:"part,omitempty"` // the fill, where a claim was split
	Problems []RejectProblem `json:"problems"`
	Rows     []RejectRow     `json:"rows"`
}

// RejectProblem is one reason. Columns are the source's own.
type RejectProblem struct {
	Rule    string   `json:"rule"`
	Element string   `json:"element,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Row     int64    `json:"row,omitempty"` // row of the input, from 1; 0: the claim as a whole
}

// RejectRow is one raw row. Fields parallel the values; absent values are left out.
type RejectRow struct {
	Input  string            `json:"input"`
	Row    int64             `json:"row"`   // row of the input, from 1
	Begin  bool              `json:"begin"` // false: a further row unfolded from the same input row
	Values map[string]string `json:"values"`
}

// rejectLog writes the rejects of one lane.
type rejectLog struct {
	file *stateFile
	lane string
	n    int64
}

// rejectColumns finds the source columns of an element in the input that a row
// came from.
func rejectColumns(in *Input, e cpcds.Element) []string {
	if in == nil || in.Binding == nil || e == cpcds.NoElement {
		return nil
	}
	return in.Binding.Columns(e)
}

// claim writes a rejected claim made of the segments.
func (l *rejectLog) claim(a *assembled, part string, problems []cpcds.Problem, segments []segment) {
	first := segments[0].b
	r := Reject{Table: cpcds.Claims.String(), Claim: first.key(segments[0].from), Part: part}
	for _, p := range problems {
		x := RejectProblem{Rule: p.Rule}
		if p.Element != cpcds.NoElement {
			x.Element = p.Element.Column()
			ref := a.origin(p)
			in := first.input
			if ref.b != nil {
				in = ref.b.input
				x.Row = ref.b.rows.InputRow(ref.row) + 1
			}
			x.Columns = rejectColumns(in, p.Element)
			if p.Rule == carin.RuleRequiredLine {
				x.Columns = first.lineColumns()
			}
		}
		r.Problems = append(r.Problems, x)
	}
	for _, s := range segments {
		for i := s.from; i < s.to; i++ {
			r.Rows = append(r.Rows, rawRow(s.b, i))
		}
	}
	l.write(&r)
}

// lineColumns are the source columns that make a row a service line.
func (b *bound) lineColumns() (columns []string) {
	for _, c := range b.plan.lineWhen {
		columns = append(columns, rejectColumns(b.input, b.batch.Elements[c])...)
	}
	return columns
}

// origin returns the row that a problem is about, no slab if it is about the claim.
func (a *assembled) origin(p cpcds.Problem) rowRef {
	var rows []rowRef
	switch p.Element.Info().Level {
	case cpcds.LineLevel:
		rows = a.lines
	case cpcds.DiagnosisLevel:
		rows = a.dx
	case cpcds.ProcedureLevel:
		rows = a.px
	case cpcds.CareTeamLevel:
		rows = a.team
	}
	if p.Row < 0 || p.Row >= len(rows) {
		return rowRef{}
	}
	return rows[p.Row]
}

// row writes a rejected row of a small table.
func (l *rejectLog) row(b *bound, i int, problems []cpcds.Problem) {
	r := Reject{Table: b.batch.Table.String()}
	for _, p := range problems {
		x := RejectProblem{Rule: p.Rule, Row: b.rows.InputRow(i) + 1}
		if p.Element != cpcds.NoElement {
			x.Element, x.Columns = p.Element.Column(), rejectColumns(b.input, p.Element)
		}
		r.Problems = append(r.Problems, x)
	}
	r.Rows = []RejectRow{rawRow(b, i)}
	l.write(&r)
}

func rawRow(b *bound, i int) RejectRow {
	r := RejectRow{Input: b.input.Path, Row: b.rows.InputRow(i) + 1, Begin: b.begins(i), Values: map[string]string{}}
	fields := b.input.File.Fields()
	for c := range b.rows.Columns {
		if v := b.rows.Columns[c].Value(i); v != "" {
			r.Values[rawName(fields[b.input.order[c]])] = v
		}
	}
	return r
}

// rawName names a column of a reject: with its list, so that it can be bound again.
func rawName(f cpcds.Field) string {
	if f.Group == "" {
		return f.Name
	}
	return f.Group + "\x1f" + f.Name
}

func rawField(name string) cpcds.Field {
	if group, name, ok := strings.Cut(name, "\x1f"); ok {
		return cpcds.Field{Name: name, Group: group, Type: "string"}
	}
	return cpcds.Field{Name: name, Type: "string"}
}

func (l *rejectLog) write(r *Reject) {
	l.n++
	r.ID = fmt.Sprintf("%s-%06d", l.lane, l.n)
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	l.file.write(append(line, '\n'))
}

// RejectState is what has become of a reject.
type RejectState string

// The states of a reject.
const (
	RejectOpen     RejectState = "open"
	RejectResolved RejectState = "resolved" // a replay loaded it
	RejectObsolete RejectState = "obsolete" // a newer version of the claim is loaded
)

// RejectStore reads the rejects of a state folder. It is not safe for concurrent
// use.
type RejectStore struct {
	state  string
	states map[string]RejectState // by run and reject id; absent is open
	size   int64                  // of the file of resolutions, whole lines only
}

// rejectsDir is the folder of a run's reject files.
func rejectsDir(state, run string) string { return filepath.Join(state, "rejects", run) }

func resolutionsFile(state string) string {
	return filepath.Join(state, "rejects", "resolutions.ndjson")
}

// resolution is one line of the file of resolutions.
type resolution struct {
	Run   string      `json:"run"`
	ID    string      `json:"id"`
	State RejectState `json:"state"`
}

// OpenRejects opens the rejects of a state folder.
func OpenRejects(state string) (*RejectStore, error) {
	s := &RejectStore{state: state, states: map[string]RejectState{}}
	b, err := os.ReadFile(resolutionsFile(state))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open rejects: %w", err)
	}
	// A line without an end was cut off by a power cut and never confirmed.
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	s.size = int64(len(b))
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		var r resolution
		if err := d.Decode(&r); err == io.EOF {
			return s, nil
		} else if err != nil {
			return nil, fmt.Errorf("read %s: the file is damaged", resolutionsFile(state))
		}
		s.states[r.Run+"/"+r.ID] = r.State
	}
}

// State returns the state of a reject of a run.
func (s *RejectStore) State(run, id string) RejectState {
	if st, ok := s.states[run+"/"+id]; ok {
		return st
	}
	return RejectOpen
}

// SetState records new states, durably.
func (s *RejectStore) SetState(changes map[string]RejectState) error {
	if len(changes) == 0 {
		return nil
	}
	keys := make([]string, 0, len(changes))
	for k := range changes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b []byte
	for _, k := range keys {
		run, id, _ := strings.Cut(k, "/")
		line, err := json.Marshal(resolution{run, id, changes[k]})
		if err != nil {
			return err
		}
		b = append(append(b, line...), '\n')
		s.states[k] = changes[k]
	}
	log, err := openStateFile(resolutionsFile(s.state), s.size)
	if err != nil {
		return err
	}
	defer log.close()
	log.write(b)
	s.size, err = log.sync()
	return err
}

// Runs lists the runs that have rejects, oldest first by name.
func (s *RejectStore) Runs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.state, "rejects"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rejects: %w", err)
	}
	var runs []string
	for _, e := range entries {
		if e.IsDir() {
			runs = append(runs, e.Name())
		}
	}
	return runs, nil
}

// Each calls f for every reject of a run, in order. The Reject is f's own.
func (s *RejectStore) Each(run string, f func(*Reject) error) error {
	entries, err := os.ReadDir(rejectsDir(s.state, run))
	if err != nil {
		return fmt.Errorf("list rejects of run %s: %w", run, err)
	}
	for _, e := range entries {
		if err := eachReject(filepath.Join(rejectsDir(s.state, run), e.Name()), f); err != nil {
			return err
		}
	}
	return nil
}

func eachReject(path string, f func(*Reject) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read rejects: %w", err)
	}
	defer file.Close()
	d := json.NewDecoder(bufio.NewReaderSize(file, 1<<16))
	for {
		r := new(Reject)
		if err := d.Decode(r); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read %s: the file is damaged", path)
		}
		if err := f(r); err != nil {
			return err
		}
	}
}
