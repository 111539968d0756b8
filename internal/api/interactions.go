package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

func (x *exchange) finder() *finder {
	return &finder{store: x.Store, access: x.access, limits: &x.Limits, sourceDates: x.SourceDates, memory: x.memory}
}

// search answers a search.
func (x *exchange) search(t *resourceType) error {
	p := parser{x.base, x.lenient()}
	q, err := p.parse(t, x.params)
	if err != nil {
		return err
	}
	if err := x.room(q.count); err != nil {
		return err
	}
	b, text, err := x.finder().page(x.r.Context(), q, &x.cursors, x.base)
	if err != nil {
		return err
	}
	x.answer.Entries = b.n
	x.send(http.StatusOK, text)
	return nil
}

// page makes the Bundle of a page.
func (f *finder) page(ctx context.Context, q *query, c *cursors, base string) (b *bundle, text []byte, err error) {
	from, err := c.of(q, f.access.Patient)
	if err != nil {
		return nil, nil, err
	}
	signed := q.signed(f.access.Patient)
	watermark, err := f.store.Watermark(ctx)
	if err != nil {
		return nil, nil, err
	}
	b = f.memory.bundle(base, "searchset", watermark)
	b.shape = &q.shape
	if len(q.includes)+len(q.reverses) == 0 {
		f.direct = b // nothing else needs to know what is found
	}
	found, err := f.run(ctx, q, from)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range found.entries {
		mode := modeMatch
		if e.included {
			mode = modeInclude
		}
		if err := b.add(&e.Entry, mode); err != nil {
			return nil, nil, err
		}
	}
	path := q.typ.String()
	links := [][2]string{{"self", q.link(base, path, q.cursor)}}
	if from != nil {
		links = append(links, [2]string{"first", q.link(base, path, "")})
	}
	if found.next != nil {
		next := q.link(base, path, c.write(found.next, signed))
		if f.limits.URL > 0 && len(next) > f.limits.URL { // a search by POST can be longer than a URL
			return nil, nil, costly("", "it does not fit on one page, and is too long for the link to the next one; name fewer values, or raise _count")
		}
		links = append(links, [2]string{"next", next})
	}
	return b, b.end(found.total, links), nil
}

// read answers a read.
func (x *exchange) read(t *resourceType, id string) error {
	s, err := x.shapeOf(t)
	if err != nil {
		return err
	}
	e, err := x.current(t.typ, id)
	if err != nil {
		return err
	}
	return x.resource(e, s)
}

// shapeOf reads the parameters of a read.
func (x *exchange) shapeOf(t *resourceType) (*shape, error) {
	s := &shape{}
	for _, p := range x.params {
		var err error
		switch p.name {
		case "_format", "_pretty":
		case "_elements":
			s.elements, err = parseElements(t, p.value)
		case "_summary":
			switch p.value {
			case "true", "text", "data":
				s.summary = p.value
			case "false":
			default:
				err = invalid("_summary", "use true, false, text or data")
			}
		default:
			if !x.lenient() {
				err = unsupported(clean(p.name), "a read has no such parameter; it has _elements, _summary, _format and _pretty")
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// resource answers with a resource.
func (x *exchange) resource(e *entry, s *shape) error {
	if err := x.precondition(e.Version, e.UpdatedAt()); err != nil {
		return err
	}
	if x.notModified(e.Version, e.UpdatedAt()) {
		return nil
	}
	text, err := appendShaped(x.memory.answer[:0], &e.Entry, s)
	if err != nil {
		return err
	}
	x.memory.answer = text
	x.answer.Entries = 1
	if e.Patient == "" {
		e.Patient = x.patientOf(&e.Entry)
	}
	x.memory.show(&e.Entry)
	x.send(http.StatusOK, text)
	return nil
}

// current returns the newest version of a resource that may be read. What belongs to somebody else is as
// if it did not exist.
func (x *exchange) current(t fhir.Type, id string) (*entry, error) {
	if !x.access.may(t, mayRead) {
		return nil, forbidden("the scopes do not allow to read %s", t)
	}
	if x.access.Patient != "" || x.access.Scopes != nil { // whose it is, is in its index entries
		for e, err := range x.finder().search(x.r.Context(), &store.Query{Type: t, IDs: []string{id}}) {
			if err != nil {
				return nil, err
			}
			if !x.access.sees(e, mayRead) {
				return nil, notFound()
			}
			return x.memory.clone(e), nil
		}
	}
	e, err := x.Store.Get(x.r.Context(), t, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, notFound()
	case err != nil:
		return nil, err
	case !e.Deleted && (x.access.Patient != "" || x.access.Scopes != nil): // it was made just now
		return nil, notFound()
	case !e.Deleted:
		if x.SourceDates {
			e.Commit = 0
		}
		return &entry{Entry: *e}, nil
	}
	if x.access.Patient != "" && e.Version > 1 {
		before, err := x.Store.GetVersion(x.r.Context(), t, id, e.Version-1)
		if err != nil || !x.seesVersion(before) {
			return nil, notFound()
		}
	}
	return nil, gone()
}

// seesVersion reports whether a version, whose keys are not known, may be read: by whom it is about.
func (x *exchange) seesVersion(e *store.Entry) bool {
	unlimited := x.access.Scopes == nil
	for i := range x.access.Scopes {
		s := &x.access.Scopes[i]
		unlimited = unlimited || s.grants(e.Type) && s.Read && len(s.Filters) == 0
	}
	if x.access.Patient == "" || !unlimited {
		return unlimited
	}
	if e.Type == fhir.Patient {
		return e.ID == x.access.Patient
	}
	if tableOf(e.Type).member == none {
		return true
	}
	return patientIn(e.JSON) == x.access.Patient
}

// patientIn reads whose a resource is, as it says itself: "" if it does not.
func patientIn(text []byte) string {
	var refs struct {
		Patient, Beneficiary struct {
			Reference string `json:"reference"`
		}
	}
	if json.Unmarshal(text, &refs) != nil {
		return ""
	}
	id, _ := strings.CutPrefix(cmp.Or(refs.Patient.Reference, refs.Beneficiary.Reference), "Patient/")
	return id
}

// patientOf is whose a version is, for the audit.
func (x *exchange) patientOf(e *store.Entry) string {
	switch {
	case e.Type == fhir.Patient:
		return e.ID
	case tableOf(e.Type).member == none, x.Events.Audit == nil:
		return ""
	case x.access.Patient != "":
		return x.access.Patient // nobody else's was let through
	}
	return patientIn(e.JSON)
}

// vread answers with a version.
func (x *exchange) vread(t *resourceType, id, version string) error {
	s, err := x.shapeOf(t)
	if err != nil {
		return err
	}
	if !x.access.may(t.typ, mayRead) {
		return forbidden("the scopes do not allow to read %s", t.typ)
	}
	n, err := strconv.ParseUint(version, 10, 32)
	if err != nil {
		return notFound()
	}
	e, err := x.Store.GetVersion(x.r.Context(), t.typ, id, uint32(n))
	if err != nil {
		return err
	}
	if e.Deleted {
		if _, err := x.current(t.typ, id); err == nil || asError(err).Status != http.StatusGone {
			return notFound() // made again by now: whose it was is not known here
		}
		return gone()
	}
	if !x.seesVersion(e) {
		return notFound()
	}
	if x.SourceDates {
		e.Commit = 0
	}
	return x.resource(&entry{Entry: *e}, s)
}

// history answers with the versions of a resource, the newest first.
func (x *exchange) history(t *resourceType, id string) error {
	if !x.access.may(t.typ, mayRead) {
		return forbidden("the scopes do not allow to read %s", t.typ)
	}
	count, below, since := defaultCount, uint64(1)<<32, int64(0)
	signed := "history\x00" + x.access.Patient + "\x00" + t.typ.String() + "/" + id
	q := &query{resourceType: t}
	for _, p := range x.params {
		switch p.name {
		case "_count":
			var err error
			if count, err = pageSize(p.value); err != nil {
				return err
			}
		case "_since":
			begin, _, ok := store.Period(zone.ReplaceAllString(p.value, "$1+$2"))
			if !ok {
				return invalid("_since", "use a date or an instant")
			}
			since = begin
		case cursorParam:
			at, err := x.cursors.read(p.value, signed)
			if err != nil || len(at.keys) != 1 {
				return invalid(cursorParam, "it is not of this history")
			}
			below = uint64(at.keys[0])
			continue
		case "_format", "_pretty":
			continue
		default:
			if !x.lenient() {
				return unsupported(clean(p.name), "a history has _count and _since")
			}
			continue
		}
		q.kept = append(q.kept, p)
	}
	watermark, err := x.Store.Watermark(x.r.Context())
	if err != nil {
		return err
	}
	if err := x.room(count); err != nil {
		return err
	}
	var list []*entry
	total, more, known := int64(0), false, false
	for e, err := range dated(x.Store.History(x.r.Context(), t.typ, id), x.SourceDates) {
		if err != nil {
			return err
		}
		if !e.Deleted {
			if !x.seesVersion(e) {
				continue
			}
			known = true
		}
		if at := e.UpdatedAt(); at > 0 && at < since {
			continue
		}
		total++
		switch {
		case uint64(e.Version) >= below:
		case len(list) == count:
			more = true
		default:
			list = append(list, x.memory.clone(e))
		}
	}
	if !known { // deletions alone say nothing about whose they are
		return notFound()
	}
	path := t.typ.String() + "/" + id + "/_history"
	links := [][2]string{{"self", q.link(x.base, path, "")}}
	if more {
		next := x.cursors.write(&place{keys: []int64{int64(list[len(list)-1].Version)}}, signed)
		links = append(links, [2]string{"next", q.link(x.base, path, next)})
	}
	b := x.memory.bundle(x.base, "history", watermark)
	for _, e := range list {
		if e.Patient = x.patientOf(&e.Entry); e.Deleted {
			e.Patient = ""
		}
		if err := b.add(&e.Entry, historyEntry(e)); err != nil {
			return err
		}
	}
	x.answer.Entries = b.n
	x.send(http.StatusOK, b.end(total, links))
	return nil
}

// historyEntry is what a history says of a version besides the resource.
func historyEntry(e *entry) string {
	method, status := "PUT", "200"
	switch {
	case e.Deleted:
		method, status = "DELETE", "204"
	case e.Version == 1:
		status = "201"
	}
	var b strings.Builder
	b.WriteString(`,"request":{"method":"` + method + `","url":"` + fhir.Reference(e.Type, e.ID) + `"},"response":{"status":"` + status +
		`","etag":"W/\"` + strconv.FormatUint(uint64(e.Version), 10) + `\"","lastModified":"` + e.Updated() + `"}`)
	return b.String()
}
