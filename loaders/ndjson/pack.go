package ndjson

import (
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// packer writes the lines of a stream to the parts of its lane. It belongs to one goroutine.
type packer struct {
	lane  *lane
	lines [numTypes][]byte // not yet written
	count [numTypes]int64
	gone  map[string]int // by reference: number of the part that deletes it, while a part may be open that it deletes from
	anew  bool           // gone is not known: all parts must be completed first
}

// goneMax is how many deletions are remembered until all parts are completed.
const goneMax = 1 << 16

// write writes what is new of some batches, and syncs it. It returns the state of the parts, which is
// not yet committed. outcomes are those of all resources in order.
func (p *packer) write(group []*streamLoad, outcomes []pipeline.Outcome) (record, error) {
	if err := p.ready(); err != nil {
		return record{}, err
	}
	p.lane.live = false
	for t := range numTypes {
		p.lines[t], p.count[t] = p.lines[t][:0], 0
	}
	if p.anew || len(p.gone) > goneMax {
		p.rollAll()
	}
	s := p.lane.l.scratch.Get().(*scratch)
	defer p.lane.l.scratch.Put(s)
	for _, g := range group {
		for i, r := range g.batch.All() {
			var err error
			switch outcomes[i] {
			case pipeline.Created, pipeline.Updated:
				err = p.add(r, s)
			case pipeline.Deleted:
				err = p.remove(r, s)
			}
			if err != nil {
				return record{}, err
			}
		}
		outcomes = outcomes[g.batch.Len():]
	}
	for t := range numTypes {
		if err := p.flush(t, s); err != nil {
			return record{}, err
		}
	}
	if err := p.lane.sync(); err != nil {
		return record{}, err
	}
	return p.lane.state()
}

// ready brings the parts to the committed state. If they were not in it, what an attempt before has
// noted of deletions does not hold.
func (p *packer) ready() error {
	p.anew = p.anew || !p.lane.live
	return p.lane.ready()
}

// add adds the line of a resource.
func (p *packer) add(r *fhir.Resource, s *scratch) error {
	t := typeName(r.Type)
	if len(p.gone) > 0 {
		ref := fhir.Reference(r.Type, r.ID)
		if seq, ok := p.gone[ref]; ok {
			delete(p.gone, ref)
			if err := p.flush(t, s); err != nil {
				return err
			}
			if w := p.lane.parts[t]; w != nil && w.Seq < seq { // the deletion would be later than this line
				p.lane.roll(t)
			}
		}
	}
	p.lines[t] = append(append(p.lines[t], r.JSON...), '\n')
	p.count[t]++
	return nil
}

// remove adds a deletion.
func (p *packer) remove(r *fhir.Resource, s *scratch) error {
	if err := p.flush(typeName(r.Type), s); err != nil {
		return err
	}
	of, w := p.lane.parts[r.Type], p.lane.parts[deletions]
	if w != nil && of != nil && of.Seq > w.Seq { // it must come after the lines that it deletes
		if err := p.flush(deletions, s); err != nil {
			return err
		}
		p.lane.roll(deletions)
		w = nil
	}
	if w == nil {
		if err := p.create(deletions); err != nil {
			return err
		}
	}
	ref := fhir.Reference(r.Type, r.ID)
	if p.gone == nil {
		p.gone = map[string]int{}
	}
	p.gone[ref] = p.lane.parts[deletions].Seq
	b := append(p.lines[deletions], `{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"`...)
	p.lines[deletions] = append(append(b, ref...), `"}}]}`+"\n"...)
	p.count[deletions]++
	return nil
}

// flush writes the lines of a type to its part.
func (p *packer) flush(t typeName, s *scratch) (err error) {
	if p.count[t] == 0 {
		return nil
	}
	w := p.lane.parts[t]
	// A part of deletions has its number before its first line, because lines may depend on it.
	if w != nil && t != deletions && w.Raw+int64(len(p.lines[t])) >= p.lane.l.opts.RollBytes {
		p.lane.roll(t)
		w = nil
	}
	if w == nil {
		if err := p.create(t); err != nil {
			return err
		}
	}
	s.packed, err = p.lane.parts[t].append(p.lines[t], p.count[t], s.compress, s.packed)
	p.lines[t], p.count[t] = p.lines[t][:0], 0
	return err
}

// create begins a part with the next number of all types.
func (p *packer) create(t typeName) error {
	seq := 0
	for _, n := range p.lane.lastSeq {
		seq = max(seq, n)
	}
	return p.lane.createAs(t, seq+1)
}

// rollAll completes all parts.
func (p *packer) rollAll() {
	p.lane.rollAll()
	clear(p.gone)
}
