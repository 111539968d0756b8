package directory

import (
	"strconv"
	"strings"

	"cpcds2fhir/pipeline/referenced"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// Parts of the keys from which ids are made, after the layout's source.
const (
	ByID    = "id"
	ByNPI   = "npi"
	ByPayer = "payer"
	ByTax   = "tax"
)

// Keys makes the keyed hashes that identify everything. It belongs to one goroutine.
type Keys struct {
	id     *fhir.Identity
	source string // namespace of the source's keys
}

// NewKeys returns the Keys of a layout.
func NewKeys(id *fhir.Identity, l *layouts.Layout) Keys { return Keys{id.Clone(), l.Source} }

// Raw makes the key of something that becomes a resource of a type.
func (k Keys) Raw(t fhir.Type, parts ...string) fhir.Raw {
	return k.id.Raw(t, append([]string{k.source}, parts...)...)
}

// Resolver finds what claims and rows refer to, and records what no table has. It belongs to one
// goroutine.
type Resolver struct {
	Keys
	dir        Lookup
	referToIDs bool // also refer to organizations known only by the payer's own identifier
	referenced []referenced.Resource
	unresolved []Unresolved
	live       bool // the directory changes, so what is missing is recorded

	members   referenceCache
	coverages map[string]Coverage
	providers map[ProviderKey]cachedProvider
	payers    referenceCache
}

// NewResolver returns a Resolver of a directory.
func NewResolver(dir Lookup, k Keys, l *layouts.Layout) *Resolver {
	_, live := dir.(*Live)
	return &Resolver{Keys: Keys{k.id.Clone(), k.source}, dir: dir, live: live, referToIDs: l.Claims.ReferToIDs,
		members: referenceCache{}, coverages: map[string]Coverage{}, providers: map[ProviderKey]cachedProvider{}, payers: referenceCache{}}
}

// Use lets the resolver look into another directory.
func (r *Resolver) Use(dir Lookup) {
	_, r.live = dir.(*Live)
	r.dir = dir
	r.Forget()
}

// Referenced returns what was referred to since Reset but no table has. Its strings may be views;
// the list is valid until Reset.
func (r *Resolver) Referenced() []referenced.Resource { return r.referenced }

// Unresolved returns the keys that were looked up in vain since Reset, if the directory is Live: what
// has them may still arrive. The list is valid until Reset.
func (r *Resolver) Unresolved() []Unresolved { return r.unresolved }

// Reset forgets what was referred to.
func (r *Resolver) Reset() { r.referenced, r.unresolved = r.referenced[:0], r.unresolved[:0] }

// Forget forgets what was found, because the directory has changed.
func (r *Resolver) Forget() {
	clear(r.members)
	clear(r.coverages)
	clear(r.providers)
	clear(r.payers)
}

// Unresolved is a key that no table has yet.
type Unresolved struct {
	Key  fhir.Raw
	Type fhir.Type // of the resource that would have it
}

func (r *Resolver) missing(t fhir.Type, key fhir.Raw) {
	if !r.live {
		return
	}
	r.unresolved = append(r.unresolved, Unresolved{key, t})
}

// cachedProvider is a provider, and whether only claims know it: then every claim's name for it
// counts, not only the first one's.
type cachedProvider struct {
	Provider
	referencedOnly bool
}

// ProviderKey is how a claim identifies a provider.
type ProviderKey struct {
	NPI, ID      string
	Organization bool // whether it is an organization if no table has it
}

// cacheLimit limits the entries of one cache: a lane sees members in runs and the same providers
// repeatedly, so a small cache is enough.
const cacheLimit = 1 << 14

type referenceCache map[string]string

// Patient returns the reference of a member, "" if the member is not known.
func (r *Resolver) Patient(member string) string {
	if member == "" {
		return ""
	}
	if ref, ok := r.members[member]; ok && (ref != "" || !r.live) {
		return ref
	}
	ref := ""
	raw := r.Raw(fhir.Patient, member)
	if r.dir.HasMember(raw) {
		ref = raw.Reference(fhir.Patient)
	} else {
		r.missing(fhir.Patient, raw)
	}
	r.members.put(member, ref)
	return ref
}

func (c referenceCache) put(key, ref string) {
	if len(c) >= cacheLimit {
		clear(c)
	}
	c[strings.Clone(key)] = ref
}

// CoverageByID returns the coverage with an identifier.
func (r *Resolver) CoverageByID(id string) (Coverage, bool) {
	e, ok := r.coverages[id]
	if !ok {
		raw := r.Raw(fhir.Coverage, id)
		if e, ok = r.dir.Coverage(raw); !ok {
			r.missing(fhir.Coverage, raw)
			return e, false
		}
		if len(r.coverages) >= cacheLimit {
			clear(r.coverages)
		}
		r.coverages[strings.Clone(id)] = e
	}
	return r.insured(e), true
}

// insured returns a coverage with its payer as the directory knows it now: the payer may have arrived
// after the coverage.
func (r *Resolver) insured(c Coverage) Coverage {
	if !r.live {
		return c
	}
	if p, ok := r.dir.Provider(c.Insurer); ok {
		c.Insurer = p.ID
	} else {
		r.missing(fhir.Organization, c.Insurer)
	}
	return c
}

// Payer returns the organization of a payer identifier; one that no table has is recorded with the
// claim's name for it.
func (r *Resolver) Payer(identifier, name string) string {
	if ref, ok := r.payers[identifier]; ok {
		return ref
	}
	raw := r.Raw(fhir.Organization, ByPayer, identifier)
	if e, ok := r.dir.Provider(raw); ok {
		if e.Constant != 0 {
			r.note(referenced.Resource{Kind: referenced.Constant, ID: e.ID.ID(fhir.Organization), Key: strconv.Itoa(int(e.Constant))})
			return e.Reference()
		}
		ref := e.Reference()
		r.payers.put(identifier, ref)
		return ref
	}
	r.missing(fhir.Organization, raw)
	r.note(referenced.Resource{Kind: referenced.Payer, ID: raw.ID(fhir.Organization), Key: identifier, Name: name})
	return raw.Reference(fhir.Organization)
}

// Provider returns the reference of a provider, "" if the claim names none that can be referred to.
// One that no table has is recorded.
func (r *Resolver) Provider(k ProviderKey, name, address string) string {
	if k.NPI == "" && k.ID == "" {
		return ""
	}
	e, ok := r.providers[k]
	if !ok {
		var known bool
		if e.Provider, known = r.Lookup(k); !known {
			if k.NPI == "" && !(r.referToIDs && k.Organization) {
				return ""
			}
			t, kind, key := fhir.Practitioner, ByNPI, k.NPI
			if k.Organization {
				t = fhir.Organization
			}
			if k.NPI == "" {
				kind, key = ByID, k.ID
			}
			e = cachedProvider{Provider{ID: r.Raw(t, kind, key), Practitioner: !k.Organization}, true}
		}
		if len(r.providers) >= cacheLimit {
			clear(r.providers)
		}
		r.providers[ProviderKey{strings.Clone(k.NPI), strings.Clone(k.ID), k.Organization}] = e
	}
	if e.referencedOnly {
		if ok {
			r.unknown(k)
		}
		m := referenced.Resource{Kind: referenced.Practitioner, ID: e.ID.ID(fhir.Practitioner), Key: k.NPI, Name: name}
		switch {
		case k.NPI == "":
			m = referenced.Resource{Kind: referenced.Local, ID: e.ID.ID(fhir.Organization), Key: k.ID, Name: name, Address: address}
		case k.Organization:
			m = referenced.Resource{Kind: referenced.Organization, ID: e.ID.ID(fhir.Organization), Key: k.NPI, Name: name, Address: address}
		}
		r.note(m)
	}
	return e.Reference()
}

// Lookup finds a provider in the tables: by NPI, first as the kind that the column means, then by
// the payer's own identifier.
func (r *Resolver) Lookup(k ProviderKey) (Provider, bool) {
	first, second := fhir.Practitioner, fhir.Organization
	if k.Organization {
		first, second = second, first
	}
	for _, t := range [2]fhir.Type{first, second} {
		if k.NPI != "" {
			if e, ok := r.dir.Provider(r.Raw(t, ByNPI, k.NPI)); ok {
				return e, true
			}
		}
	}
	for _, t := range [2]fhir.Type{first, second} {
		if k.ID != "" {
			if e, ok := r.dir.Provider(r.Raw(t, ByID, k.ID)); ok {
				return e, true
			}
		}
	}
	r.unknown(k)
	r.unknown(k)
	return Provider{}, false
}

// unknown records the keys that a provider is not known by.
func (r *Resolver) unknown(k ProviderKey) {
	if !r.live {
		return
	}
	for _, t := range [2]fhir.Type{fhir.Practitioner, fhir.Organization} {
		if k.NPI != "" {
			r.missing(t, r.Raw(t, ByNPI, k.NPI))
		}
		if k.ID != "" {
			r.missing(t, r.Raw(t, ByID, k.ID))
		}
	}
}

// RelatedPerson refers to a person who is named along with a member and is in no table.
func (r *Resolver) RelatedPerson(member, patient, id, name, relationship string) string {
	x := referenced.Resource{Kind: referenced.RelatedPerson, Key: id, Name: name, Patient: patient, Relationship: relationship}
	x.ID = r.Raw(fhir.RelatedPerson, member, id, name).ID(fhir.RelatedPerson)
	r.note(x)
	return fhir.Reference(fhir.RelatedPerson, x.ID)
}

// CoverageOfPayer returns the coverage of a member and payer that was in effect on a day, or else
// the one that began last.
func (r *Resolver) CoverageOfPayer(member, payer, day string) (Coverage, bool) {
	key := r.MemberPayer(member, payer)
	c, ok := r.dir.CoverageOn(key, day)
	if !ok {
		r.missing(fhir.Coverage, key)
		return c, false
	}
	return r.insured(c), true
}

// MemberPayer is the key of the coverages of a member by a payer.
func (k Keys) MemberPayer(member, payer string) fhir.Raw {
	return k.Raw(fhir.Coverage, "member", member, payer)
}

func (r *Resolver) note(x referenced.Resource) { r.referenced = append(r.referenced, x) }
