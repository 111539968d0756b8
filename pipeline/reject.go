package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Reject is input that could not become a valid resource: one claim, or part of
// one, or one row of a small table. It holds the raw rows as the source wrote
// them, so that it can be replayed after a fix; its file is readable by its owner
// alone.
type Reject struct {
	ID       string          `json:"id"`             // lane and number within the lane
	Table    string          `json:"table"`          // claims, members, …
	Form     string          `json:"form,omitempty"` // of the table, if it has forms
	Claim    string          `json:"claim,omitempty"`
	Part     string          `json:"part,omitempty"`           // the fill, where a claim was split
	Resource string          `json:"resource,omitempty"`       // what it would have become: Type/id
	Version  string          `json:"source_version,omitempty"` // of the record
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
	c := &a.claim
	r := Reject{Table: cpcds.Claims.String(), Form: first.form(), Claim: first.key(segments[0].from), Part: part, Version: c.Version()}
	if c.Refs.Claim != "" {
		r.Resource = fhir.Reference(fhir.ExplanationOfBenefit, c.Refs.Claim)
	}
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
func (l *rejectLog) row(b *bound, i int, row *tableRow, problems []cpcds.Problem) {
	r := Reject{Table: b.batch.Table.String(), Form: b.form(), Version: row.updated}
	if row.key != (fhir.Raw{}) {
		r.Resource = row.key.Reference(resourceOf[b.batch.Table])
	}
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

// form is the form of the table that the slab is read as.
func (b *bound) form() string {
	if b.input == nil || b.input.Binding == nil {
		return ""
	}
	return b.input.Binding.Table().Form
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
