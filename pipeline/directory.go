package pipeline

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"cpcds2fhir/schemas/fhir"
)

// directory knows the members, coverages, providers and organizations that a
// target has, so that claims can refer to them. It holds keyed hashes only, no
// identifier. It is built by one goroutine and then read by all lanes.
type directory struct {
	members   map[fhir.Raw]struct{}
	coverages map[fhir.Raw]coverageEntry // by each identifier that names the coverage
	ofMember  map[fhir.Raw][]memberSpan  // by member and payer: where claims name the payer only
	providers map[fhir.Raw]providerEntry // by NPI or local key, practitioners and organizations
}

// coverageEntry is what claims need of a coverage.
type coverageEntry struct {
	id      fhir.Raw
	insurer fhir.Raw // Organization of the payer
	member  fhir.Raw // Patient that is covered
	skip    bool     // of a payer whose claims a layout rule skips
}

// memberSpan is a coverage of a member with its period, YYYY-MM-DD or empty.
type memberSpan struct {
	coverage   fhir.Raw
	start, end [10]byte
}

// providerEntry is a practitioner or an organization.
type providerEntry struct {
	id           fhir.Raw
	practitioner bool
	constant     int32 // of a row of the layout: its number from 1; else 0
}

func (e providerEntry) reference() string {
	if e.practitioner {
		return e.id.Reference(fhir.Practitioner)
	}
	return e.id.Reference(fhir.Organization)
}

func newDirectory() *directory {
	return &directory{members: map[fhir.Raw]struct{}{}, coverages: map[fhir.Raw]coverageEntry{},
		ofMember: map[fhir.Raw][]memberSpan{}, providers: map[fhir.Raw]providerEntry{}}
}

// inEffect returns the coverage of a member and payer on a day: the one whose
// period holds it, or else the one that began last.
func (d *directory) inEffect(memberPayer fhir.Raw, day string) (coverageEntry, bool) {
	spans := d.ofMember[memberPayer]
	if len(spans) == 0 {
		return coverageEntry{}, false
	}
	best := 0
	for i := range spans {
		start, end := date(spans[i].start), date(spans[i].end)
		if day != "" && start <= day && (end == "" || day <= end) {
			best = i
			break
		}
		if start > date(spans[best].start) {
			best = i
		}
	}
	e, ok := d.coverages[spans[best].coverage]
	return e, ok
}

func date(d [10]byte) string {
	if d[0] == 0 {
		return ""
	}
	return string(d[:])
}

func dateOf(s string) (d [10]byte) {
	if len(s) == 10 {
		copy(d[:], s)
	}
	return d
}

const directoryMagic = "cpcds2fhir directory 2\n"

// directoryFile is the file of the directory in a state folder.
func directoryFile(state string) string { return filepath.Join(state, "directory") }

func (d *directory) save(state string) error {
	if err := replaceFile(directoryFile(state), d.write); err != nil {
		return fmt.Errorf("save directory: %w", err)
	}
	return nil
}

// write writes the directory in the form that load reads.
func (d *directory) write(w *bufio.Writer) {
	w.WriteString(directoryMagic)
	count := func(n int) { w.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))) }
	flag := func(b bool) byte {
		if b {
			return 1
		}
		return 0
	}
	count(len(d.members))
	for k := range d.members {
		w.Write(k[:])
	}
	count(len(d.coverages))
	for k, c := range d.coverages {
		w.Write(k[:])
		w.Write(c.id[:])
		w.Write(c.insurer[:])
		w.Write(c.member[:])
		w.WriteByte(flag(c.skip))
	}
	count(len(d.ofMember))
	for k, spans := range d.ofMember {
		w.Write(k[:])
		count(len(spans))
		for _, s := range spans {
			w.Write(s.coverage[:])
			w.Write(s.start[:])
			w.Write(s.end[:])
		}
	}
	rows := 0 // of the extract; those of a layout are learned from the layout
	for _, p := range d.providers {
		if p.constant == 0 {
			rows++
		}
	}
	count(rows)
	for k, p := range d.providers {
		if p.constant != 0 {
			continue
		}
		w.Write(k[:])
		w.Write(p.id[:])
		w.WriteByte(flag(p.practitioner))
	}
}

// load adds what a state folder knows; a folder without a directory adds nothing.
func (d *directory) load(state string) error {
	f, err := os.Open(directoryFile(state))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load directory: %w", err)
	}
	defer f.Close()
	r := &recordReader{r: bufio.NewReaderSize(f, 1<<16)}
	magic := make([]byte, len(directoryMagic))
	if r.read(magic); r.err != nil || string(magic) != directoryMagic {
		return fmt.Errorf("load directory %s: it was not written by this version of the program; load the small tables again into a fresh state folder", f.Name())
	}
	for range r.count() {
		d.members[r.raw()] = struct{}{}
	}
	for range r.count() {
		d.coverages[r.raw()] = coverageEntry{r.raw(), r.raw(), r.raw(), r.flag()}
	}
	for range r.count() {
		k := r.raw()
		var spans []memberSpan
		for range r.count() {
			s := memberSpan{coverage: r.raw()}
			r.read(s.start[:])
			r.read(s.end[:])
			spans = append(spans, s)
		}
		d.ofMember[k] = spans
	}
	for range r.count() {
		d.providers[r.raw()] = providerEntry{id: r.raw(), practitioner: r.flag()}
	}
	if r.err != nil {
		return fmt.Errorf("load directory %s: %w", f.Name(), r.err)
	}
	return nil
}

// recordReader reads fixed-size records and keeps the first error; after it,
// counts are 0, so that loops end.
type recordReader struct {
	r   *bufio.Reader
	err error
}

func (r *recordReader) read(b []byte) {
	if r.err == nil {
		_, r.err = io.ReadFull(r.r, b)
	}
}

func (r *recordReader) raw() (k fhir.Raw) {
	r.read(k[:])
	return k
}

func (r *recordReader) flag() bool {
	var b [1]byte
	r.read(b[:])
	return b[0] == 1
}

func (r *recordReader) count() int {
	var b [8]byte
	r.read(b[:])
	if r.err != nil {
		return 0
	}
	return int(binary.LittleEndian.Uint64(b[:]))
}

// addSpan remembers a coverage of a member and payer, once.
func (d *directory) addSpan(memberPayer fhir.Raw, s memberSpan) {
	spans := d.ofMember[memberPayer]
	if i := slices.IndexFunc(spans, func(x memberSpan) bool { return x.coverage == s.coverage }); i >= 0 {
		spans[i] = s
		return
	}
	d.ofMember[memberPayer] = append(spans, s)
}
