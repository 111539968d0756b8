package arrowio

import (
	"math"
	"sync/atomic"

	"cpcds2fhir/pipeline/arrowio/array"
	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/arrowio/ipc"
	"cpcds2fhir/pipeline/columnar"
)

// lastDict is used to number all dictionaries of the process.
var lastDict atomic.Uint64

// dictionary is a dictionary as text.
type dictionary struct {
	of   *ipc.Chain // its source; often all batches share the same dictionary
	id   uint64
	text []string
	size int64 // memory used, in bytes

	blank bool           // some entry is empty
	bad   map[int32]bool // entries that are not valid text; their text is empty
}

// perText is the memory in bytes for each dictionary entry, in addition to its text.
const perText = 40

// dictionary returns the dictionary of a type as text, using at most the given memory. The
// dictionary that was read last is cached because consecutive spans mostly use the same one.
func (f *file) dictionary(x *array.Type, of *ipc.Chain, memory int64) (*dictionary, error) {
	f.mu.Lock()
	d := f.dictionaries[x.ID]
	f.mu.Unlock()
	if d != nil && d.of == of && d.size <= memory {
		return d, nil
	}
	d = &dictionary{of: of, id: lastDict.Add(1)}
	if of != nil {
		if of.Orphan {
			return nil, fault.Corrupt("a delta extends a dictionary that does not exist")
		}
		for _, p := range of.Places {
			if err := f.readDictionary(d, x.Values, p, memory); err != nil {
				return nil, err
			}
		}
	}
	f.mu.Lock()
	f.dictionaries[x.ID] = d
	f.mu.Unlock()
	return d, nil
}

// readDictionary adds the values of one dictionary batch to d.
func (f *file) readDictionary(d *dictionary, x *array.Type, p ipc.Place, memory int64) error {
	m, err := ipc.ReadMessage(f.os, f.size, p)
	if err != nil {
		return err
	}
	if m.Rows > math.MaxInt32-int64(len(d.text)) {
		return fault.Corrupt("a dictionary has more values than can be counted")
	}
	size, err := array.Decompressed(f.os, m, memory)
	if err != nil {
		return err
	}
	if d.size += size + perText*m.Rows; d.size > memory {
		return &fault.SizeError{What: "has a dictionary that is too large for the memory limit", Need: 2 * d.size}
	}
	store := array.NewStorage("", f.options.Memory)
	defer store.Close()
	b, err := f.schema.Dictionary(x, f.os, m, store)
	if err != nil {
		return err
	}
	a, err := b.Array(x)
	if err != nil {
		return err
	}
	var w array.Window
	if err := w.Open(a, 0, int(m.Rows)); err != nil {
		return err
	}
	var at []int32
	for i := range int32(m.Rows) {
		if !w.Null(i) {
			at = append(at, i)
		}
	}
	made, _, err := w.Texts(nil, nil, at)
	if err != nil {
		return err
	}
	d.add(int(m.Rows), at, made)
	return nil
}

// add adds n entries. made holds the texts of the entries at the indexes at; the others are empty.
func (d *dictionary) add(n int, at []int32, made []string) {
	first := len(d.text)
	d.text = append(d.text, make([]string, n)...)
	for k, i := range at {
		if columnar.IsText(made[k]) {
			d.text[first+int(i)] = made[k]
			continue
		}
		if d.bad == nil {
			d.bad = map[int32]bool{}
		}
		d.bad[int32(first)+i] = true
	}
	for _, s := range d.text[first:] {
		d.blank = d.blank || s == ""
	}
}
