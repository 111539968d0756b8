package synth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/schemas/cpcds"
)

// tableFile is one file of an extract.
type tableFile interface {
	write(*columnBuffer) error
	close() error
}

// batchRows is how many rows are buffered before they are written. Together with the row group it
// limits the memory of a worker.
const batchRows = 512

// writer writes one extract. Its methods are safe for concurrent use.
type writer struct {
	opt     *Options
	dir     *directory
	parts   []part
	schemas map[string]*parquet.Schema // by table
	shuffle *shuffler                  // nil if rows stay in order

	mu      sync.Mutex
	tally   tally
	files   []string
	claims  int // made so far, for Progress
	members int
}

// tally counts what a part holds.
type tally struct {
	kinds    [numKinds]int
	features [numFeatures]int
	faults   [len(faults)]int
	lines    int
	rows     map[string]int
}

func (t *tally) add(o *tally) {
	for i, n := range o.kinds {
		t.kinds[i] += n
	}
	for i, n := range o.features {
		t.features[i] += n
	}
	for i, n := range o.faults {
		t.faults[i] += n
	}
	t.lines += o.lines
	for table, n := range o.rows {
		t.rows[table] += n
	}
}

func (t *tally) claim(d *draft) {
	t.kinds[d.kind]++
	d.eachFeature(func(f feature) { t.features[f]++ })
	if d.fault >= 0 {
		t.faults[d.fault]++
	}
	t.lines += len(d.Lines)
}

func newWriter(opt *Options) (*writer, error) {
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create folder for the extract: %w", err)
	}
	entries, err := os.ReadDir(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("read folder for the extract: %w", err)
	}
	if len(entries) > 0 {
		return nil, optionf("folder %s is not empty; use an empty or new folder", opt.Dir)
	}
	w := &writer{opt: opt, dir: newDirectory(opt), parts: plan(opt), schemas: map[string]*parquet.Schema{}}
	w.tally.rows = map[string]int{}
	for _, p := range w.parts {
		w.members += int(p.members)
	}
	for _, s := range w.smallSheets() {
		w.schemas[s.table] = parquetSchema(textFields(s.columnBuffer.elements, w.opt))
	}
	p := newPages(opt)
	for i, table := range p.tables {
		w.schemas[table] = parquetSchema(textFields(p.columnBuffers[i].elements, w.opt))
	}
	return w, nil
}

// run writes all files, several at a time.
func (w *writer) run(ctx context.Context) error {
	if w.opt.Shuffle {
		s, err := newShuffler(w.opt)
		if err != nil {
			return err
		}
		defer s.remove()
		w.shuffle = s
	}
	jobs := []func(context.Context) error{w.writeProviders, w.writeMembers}
	for i := range w.parts {
		jobs = append(jobs, func(ctx context.Context) error { return w.writePart(ctx, i) })
	}
	if err := concurrently(ctx, w.opt.Workers, jobs); err != nil || w.shuffle == nil {
		return err
	}
	return concurrently(ctx, w.opt.Workers, w.shuffle.jobs(w))
}

// concurrently runs jobs on several goroutines and returns the first error, after which no job is
// started.
func concurrently(ctx context.Context, workers int, jobs []func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan func(context.Context) error)
	var done sync.WaitGroup
	for range min(workers, len(jobs)) {
		done.Go(func() {
			for job := range queue {
				if ctx.Err() != nil {
					continue
				}
				if err := job(ctx); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, job := range jobs {
		queue <- job
	}
	close(queue)
	done.Wait()
	return context.Cause(ctx)
}

// create makes the file of a table and records it.
func (w *writer) create(table string, part int) (*os.File, error) {
	name := table
	if part >= 0 {
		name = fmt.Sprintf("%s-%05d", table, part)
	}
	name += "." + w.opt.Format
	f, err := os.OpenFile(filepath.Join(w.opt.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.files = append(w.files, name)
	w.mu.Unlock()
	return f, nil
}

// open opens the file of a table for writing. part is its number, -1 if the table
// has one file only.
func (w *writer) open(table string, part int, elements []cpcds.Element) (tableFile, error) {
	f, err := w.create(table, part)
	if err != nil {
		return nil, err
	}
	if w.opt.Format == CSV {
		return newCSVFile(f, elements), nil
	}
	return newParquetFile(f, w.schemas[table], w.opt)
}

// discard removes what was written.
func (w *writer) discard() {
	for _, name := range w.files {
		os.Remove(filepath.Join(w.opt.Dir, name))
	}
}

// count adds what a job made.
func (w *writer) count(t *tally) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally.add(t)
}

// made reports that n more claims are made.
func (w *writer) made(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.claims += n
	if w.opt.Progress != nil {
		w.opt.Progress(w.claims, w.opt.Claims)
	}
}

// writePart writes the claims of one part.
func (w *writer) writePart(ctx context.Context, number int) (err error) {
	part, p := w.parts[number], newPages(w.opt)
	out, err := w.claimFiles(number, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()

	g := newGenerator(w.opt, w.dir)
	t := tally{rows: map[string]int{}}
	claim, made := part.firstClaim, 0
	g.emit = func(d *draft) {
		t.claim(d)
		p.claim(d)
	}
	flush := func() error {
		for i, s := range p.columnBuffers {
			t.rows[p.tables[i]] += s.rows()
		}
		err := out.write(p)
		p.reset()
		g.arena.reset()
		return err
	}
	for m := part.firstMember; m < part.firstMember+part.members; m++ {
		n := min(memberClaims(&g.rng, w.opt.Seed, m), part.claims-int(claim-part.firstClaim))
		g.person(m)
		g.claims(claim, n)
		claim, made = claim+uint64(n), made+n
		if p.columnBuffers[0].rows() < batchRows {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		if made >= 2000 {
			w.made(made)
			made = 0
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return err
	}
	w.made(made)
	w.count(&t)
	return nil
}

// claimFiles opens the files of one part, or the shuffler in place of them.
func (w *writer) claimFiles(part int, p *pages) (pageWriter, error) {
	switch {
	case w.shuffle != nil:
		return w.shuffle.writer(), nil
	case w.opt.Grain == NestedGrain:
		f, err := w.create(claimsTable, part)
		if err != nil {
			return nil, err
		}
		return newNestedFile(f, p, w.opt)
	}
	files := make(flatFiles, len(p.tables))
	for i, table := range p.tables {
		f, err := w.open(table, part, p.columnBuffers[i].elements)
		if err != nil {
			return nil, errors.Join(err, files[:i].close())
		}
		files[i] = f
	}
	return files, nil
}

// pageWriter takes the rows of claims.
type pageWriter interface {
	write(*pages) error
	close() error
}

// flatFiles are the files of the tables of one part.
type flatFiles []tableFile

func (f flatFiles) write(p *pages) error {
	for i, s := range p.columnBuffers {
		if err := f[i].write(s); err != nil {
			return err
		}
	}
	return nil
}

func (f flatFiles) close() error {
	var err error
	for _, file := range f {
		err = errors.Join(err, file.close())
	}
	return err
}

// smallSheet is the columnBuffer of one of the small tables.
type smallSheet struct {
	table        string
	columnBuffer *columnBuffer
}

func (w *writer) smallSheets() []smallSheet {
	var out []smallSheet
	for t := range cpcds.NumTables {
		if t != cpcds.Claims {
			out = append(out, smallSheet{t.String(), newColumnBuffer(cpcds.Columns(t))})
		}
	}
	return out
}

// writeMembers writes the members and their coverages.
func (w *writer) writeMembers(ctx context.Context) error {
	small := w.smallSheets()
	members, coverages := small[cpcds.Members], small[cpcds.Coverages]
	g := newGenerator(w.opt, w.dir)
	m := uint64(0)
	return w.writeSmall([]smallSheet{members, coverages}, func() bool {
		g.arena.reset()
		for members.columnBuffer.rows() < batchRows && m < uint64(w.members) && ctx.Err() == nil {
			g.person(m)
			m++
			members.columnBuffer.add(0, g.who.row[:])
			for i := range g.who.primary {
				coverages.columnBuffer.add(0, g.who.primary[i].row[:])
			}
			if g.who.other != nil {
				coverages.columnBuffer.add(0, g.who.other.row[:])
			}
		}
		return m < uint64(w.members) && ctx.Err() == nil
	})
}

// writeProviders writes the organizations, and the practitioners except those that only claims
// mention.
func (w *writer) writeProviders(context.Context) error {
	small := w.smallSheets()
	providers, organizations := small[cpcds.Providers], small[cpcds.Organizations]
	return w.writeSmall([]smallSheet{providers, organizations}, func() bool {
		for _, p := range w.dir.people {
			if p.listed {
				providers.columnBuffer.add(0, p.row[:])
			}
		}
		for _, o := range w.dir.bodies {
			organizations.columnBuffer.add(0, o.row[:])
		}
		return false
	})
}

// writeSmall writes small tables. fill adds rows to their columnBuffers until it returns
// false.
func (w *writer) writeSmall(tables []smallSheet, fill func() bool) (err error) {
	t := tally{rows: map[string]int{}}
	var files flatFiles
	defer func() { err = errors.Join(err, files.close()) }()
	for _, s := range tables {
		f, err := w.open(s.table, -1, s.columnBuffer.elements)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	for more := true; more; {
		more = fill()
		for i, s := range tables {
			t.rows[s.table] += s.columnBuffer.rows()
			if err := files[i].write(s.columnBuffer); err != nil {
				return err
			}
			s.columnBuffer.reset()
		}
	}
	w.count(&t)
	return nil
}

// summary is called when all is written.
func (w *writer) summary() *Summary {
	s := &Summary{Claims: w.claims, Lines: w.tally.lines, Rows: w.tally.rows, Files: w.files,
		Kinds: map[string]int{}, Features: map[string]int{}, Faults: map[string]int{}}
	slices.Sort(s.Files)
	s.Members, s.Coverages = s.Rows["members"], s.Rows["coverages"]
	s.Providers, s.Organizations = s.Rows["providers"], s.Rows["organizations"]
	for i, n := range w.tally.kinds {
		s.Kinds[kindNames[i]] = n
	}
	for i, n := range w.tally.features {
		s.Features[featureNames[i]] = n
	}
	for i, n := range w.tally.faults {
		if n > 0 {
			s.Faults[faults[i].name] = n
		}
	}
	return s
}
