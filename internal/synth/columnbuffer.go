package synth

import "cpcds2fhir/schemas/cpcds"

// columnBuffer is a run of rows of one table, by column. Its cells are views that are valid until
// the arena of their generator is reset.
type columnBuffer struct {
	elements []cpcds.Element
	cells    [][]string // parallel to elements
	keys     []uint64   // by row: its place in a shuffled extract; nil if it is not shuffled
}

func newColumnBuffer(elements []cpcds.Element) *columnBuffer {
	return &columnBuffer{elements: elements, cells: make([][]string, len(elements))}
}

func (s *columnBuffer) rows() int { return len(s.cells[0]) }

func (s *columnBuffer) reset() {
	for i := range s.cells {
		s.cells[i] = s.cells[i][:0]
	}
	s.keys = s.keys[:0]
}

// add appends a record to the columns from index at.
func (s *columnBuffer) add(at int, record []string) {
	for i, v := range record {
		s.cells[at+i] = append(s.cells[at+i], v)
	}
}

// repeat appends a record n times to the columns from the first.
func (s *columnBuffer) repeat(record []string, n int) {
	for i, v := range record {
		c := s.cells[i]
		for range n {
			c = append(c, v)
		}
		s.cells[i] = c
	}
}

// lists are the levels of the claims table below the header, with the names of
// their lists in a nested file and of their tables in a normalised one.
var lists = [...]struct {
	level       cpcds.Level
	list, table string
}{
	{cpcds.LineLevel, "lines", "claim_lines"},
	{cpcds.DiagnosisLevel, "diagnoses", "claim_diagnoses"},
	{cpcds.ProcedureLevel, "procedures", "claim_procedures"},
	{cpcds.CareTeamLevel, "care_team", "claim_care_team"},
}

const (
	claimsTable  = "claims"
	headersTable = "claim_headers"
)

// levelElements lists the elements of one level.
func levelElements(l cpcds.Level) []cpcds.Element {
	var out []cpcds.Element
	for _, e := range cpcds.Columns(cpcds.Claims) {
		if e.Info().Level == l {
			out = append(out, e)
		}
	}
	return out
}

// claimKey names a claim in the tables of a normalised extract.
var claimKey = []cpcds.Element{cpcds.ClaimUniqueIdentifier, cpcds.ClaimSourceVersion}

// pages lays claims out as rows at one grain.
type pages struct {
	grain   string
	shuffle bool
	seed    uint64

	tables        []string            // names, parallel to columnBuffers
	columnBuffers []*columnBuffer     // line: one; nested and normalised: the headers, then one for each of lists
	counts        [len(lists)][]int32 // nested: by header, the records of each list
}

func newPages(opt *Options) *pages {
	p := &pages{grain: opt.Grain, shuffle: opt.Shuffle, seed: scramble(opt.Seed + uint64(shuffleStream)<<56)}
	switch opt.Grain {
	case LineGrain:
		p.add(claimsTable, cpcds.Columns(cpcds.Claims))
		return p
	case NestedGrain:
		p.add(claimsTable, levelElements(cpcds.HeaderLevel))
	case NormalisedGrain:
		p.add(headersTable, levelElements(cpcds.HeaderLevel))
	}
	for _, l := range lists {
		elements := levelElements(l.level)
		if opt.Grain == NormalisedGrain {
			elements = append(claimKey[:len(claimKey):len(claimKey)], elements...)
		}
		p.add(l.table, elements)
	}
	return p
}

func (p *pages) add(table string, elements []cpcds.Element) {
	p.tables = append(p.tables, table)
	p.columnBuffers = append(p.columnBuffers, newColumnBuffer(elements))
}

func (p *pages) reset() {
	for _, s := range p.columnBuffers {
		s.reset()
	}
	for i := range p.counts {
		p.counts[i] = p.counts[i][:0]
	}
}

// claim lays out one claim.
func (p *pages) claim(d *draft) {
	if d.orphaned {
		var key cpcds.Header
		for _, e := range claimKey {
			key.Set(e, d.Get(e))
		}
		d.Header = key
	}
	switch p.grain {
	case LineGrain:
		p.lineRows(d)
	case NestedGrain:
		p.nestedRow(d)
	case NormalisedGrain:
		p.normalisedRows(d)
	}
}

// lineRows writes row i with line i, diagnosis i and so on; if there are fewer lines, the rest is
// on rows without a line.
func (p *pages) lineRows(d *draft) {
	s := p.columnBuffers[0]
	n := max(1, len(d.Lines), len(d.Diagnoses), len(d.Procedures), len(d.CareTeam))
	s.repeat(d.Header[:], n)
	if d.conflict != cpcds.NoElement {
		c := s.cells[d.conflict.Slot()]
		c[len(c)-1] = d.other
	}
	at := len(d.Header)
	at = column(s, at, n, len(d.Lines), func(i int) []string { return d.Lines[i][:] }, len(cpcds.Line{}))
	at = column(s, at, n, len(d.Diagnoses), func(i int) []string { return d.Diagnoses[i][:] }, len(cpcds.Diagnosis{}))
	at = column(s, at, n, len(d.Procedures), func(i int) []string { return d.Procedures[i][:] }, len(cpcds.Procedure{}))
	column(s, at, n, len(d.CareTeam), func(i int) []string { return d.CareTeam[i][:] }, len(cpcds.CareTeam{}))
	p.place(s, d, n)
}

// column appends n rows to the columns of one level, width columns from index at: first the
// records, then empty ones. It returns the index of the next level.
func column(s *columnBuffer, at, n, records int, record func(int) []string, width int) int {
	for i := range records {
		s.add(at, record(i))
	}
	for c := at; c < at+width; c++ {
		for range n - records {
			s.cells[c] = append(s.cells[c], "")
		}
	}
	return at + width
}

// place gives the last n rows of a columnBuffer their places in a shuffled extract. No
// two rows of a table share one: a claim has fewer than 4096 rows.
func (p *pages) place(s *columnBuffer, d *draft, n int) {
	if !p.shuffle {
		return
	}
	for i := range n {
		s.keys = append(s.keys, scramble(p.seed+d.ordinal<<12+uint64(i)))
	}
}

func (p *pages) nestedRow(d *draft) {
	p.columnBuffers[0].add(0, d.Header[:])
	p.parts(d, func(i, n int, record func(int) []string) {
		for k := range n {
			p.columnBuffers[i+1].add(0, record(k))
		}
		p.counts[i] = append(p.counts[i], int32(n))
	})
	if d.conflict == cpcds.NoElement {
		return
	}
	d.Set(d.conflict, d.other)
	p.columnBuffers[0].add(0, d.Header[:])
	for i := range p.counts {
		p.counts[i] = append(p.counts[i], 0)
	}
}

func (p *pages) normalisedRows(d *draft) {
	headers := 0
	if !d.orphaned {
		p.columnBuffers[0].add(0, d.Header[:])
		headers++
	}
	var key [2]string
	for i, e := range claimKey {
		key[i] = d.Get(e)
	}
	p.parts(d, func(i, n int, record func(int) []string) {
		s := p.columnBuffers[i+1]
		s.repeat(key[:], n)
		for k := range n {
			s.add(len(key), record(k))
		}
		p.place(s, d, n)
	})
	if d.conflict != cpcds.NoElement {
		d.Set(d.conflict, d.other)
		p.columnBuffers[0].add(0, d.Header[:])
		headers++
	}
	p.place(p.columnBuffers[0], d, headers)
}

// parts calls f for each of lists with the number of records of the claim.
func (p *pages) parts(d *draft, f func(list, n int, record func(int) []string)) {
	f(0, len(d.Lines), func(i int) []string { return d.Lines[i][:] })
	f(1, len(d.Diagnoses), func(i int) []string { return d.Diagnoses[i][:] })
	f(2, len(d.Procedures), func(i int) []string { return d.Procedures[i][:] })
	f(3, len(d.CareTeam), func(i int) []string { return d.CareTeam[i][:] })
}
