package directory

import (
	"errors"

	"cpcds2fhir/schemas/fhir"
)

// joined is a snapshot and what streams have brought into the same target. The snapshot comes first: it
// has the rows of the extract that is being loaded.
type joined struct {
	*Directory
	streams *Live
	read    int // keys that streams were asked for since streams forgot them
}

// With returns what a snapshot has, and where it has nothing, what streams have put into the target. It
// belongs to one goroutine.
func (d *Directory) With(streams Records) Lookup {
	return &joined{Directory: d, streams: NewLive(nil, streams)}
}

// live returns the directory of the streams. What it has read is forgotten now and then, as a load asks
// for many keys that nobody has.
func (j *joined) live() *Live {
	if j.read++; j.read > cacheLimit && j.streams.Err() == nil {
		j.streams.Reset()
		j.read = 0
	}
	return j.streams
}

// HasMember implements Lookup.
func (j *joined) HasMember(member fhir.Raw) bool {
	return j.Directory.HasMember(member) || j.live().HasMember(member)
}

// Coverage implements Lookup.
func (j *joined) Coverage(key fhir.Raw) (Coverage, bool) {
	if c, ok := j.Directory.Coverage(key); ok {
		return c, true
	}
	return j.live().Coverage(key)
}

// CoverageOn implements Lookup.
func (j *joined) CoverageOn(memberPayer fhir.Raw, day string) (Coverage, bool) {
	if c, ok := j.Directory.CoverageOn(memberPayer, day); ok {
		return c, true
	}
	return j.live().CoverageOn(memberPayer, day)
}

// Provider implements Lookup.
func (j *joined) Provider(key fhir.Raw) (Provider, bool) {
	if p, ok := j.Directory.Provider(key); ok {
		return p, true
	}
	return j.live().Provider(key)
}

// Err implements Lookup.
func (j *joined) Err() error { return errors.Join(j.Directory.Err(), j.streams.Err()) }
