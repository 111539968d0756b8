package pipeline

import (
	"strconv"
	"strings"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Parts of the keys from which ids are made, after the layout's source.
const (
	byID    = "id"
	byNPI   = "npi"
	byPayer = "payer"
	byTax   = "tax"
)

// resolver fills in the references of claims. It belongs to one lane.
type resolver struct {
	dir      *directory
	id       *fhir.Identity
	source   string // namespace of the source's keys
	lenient  func(repair string) bool
	mentions *mentions
	byID     bool // organizations that no table has may be known by the payer's own identifier alone

	members   refCache
	coverages map[string]coverageEntry
	providers map[providerKey]cachedProvider
	payers    refCache
}

// cachedProvider is a provider, and whether claims alone know it: then every
// claim's words for it count, not those of the first.
type cachedProvider struct {
	providerEntry
	mentioned bool
}

// providerKey is what a claim says of a provider.
type providerKey struct {
	npi, id      string
	organization bool // what it is taken for if no table has it
}

// cacheLimit bounds the entries of one cache: a lane meets members in runs and
// providers again and again, so a small cache does.
const cacheLimit = 1 << 14

type refCache map[string]string

func newResolver(dir *directory, id *fhir.Identity, source string, lenient func(string) bool, m *mentions, byID bool) *resolver {
	return &resolver{dir: dir, id: id.Clone(), source: source, lenient: lenient, mentions: m, byID: byID,
		members: refCache{}, coverages: map[string]coverageEntry{}, providers: map[providerKey]cachedProvider{}, payers: refCache{}}
}

func (r *resolver) raw(t fhir.Type, parts ...string) fhir.Raw {
	return r.id.Raw(t, append([]string{r.source}, parts...)...)
}

// claim resolves the references of an assembled claim. part distinguishes the
// claims that one key was split into, "" if it was not. skip says that the claim
// belongs to a payer whose claims are skipped.
func (r *resolver) claim(a *assembled, key, part string) (skip bool) {
	c := &a.claim
	f := &c.Refs
	if part == "" {
		f.Claim = r.raw(fhir.ExplanationOfBenefit, key).ID(fhir.ExplanationOfBenefit)
	} else {
		f.Claim = r.raw(fhir.ExplanationOfBenefit, key, part).ID(fhir.ExplanationOfBenefit)
	}
	f.Patient = r.patient(c.Get(cpcds.MemberID))

	cov, ok := r.coverage(c)
	if ok {
		f.Coverage, f.Payor = cov.id.Reference(fhir.Coverage), cov.insurer.Reference(fhir.Organization)
		skip = cov.skip
		if f.Patient != "" && cov.member.Reference(fhir.Patient) != f.Patient {
			c.Problems = append(c.Problems, cpcds.Problem{Rule: ruleCoverageMember, Element: cpcds.CoverageID, Row: -1})
		}
	}
	if payer := c.Get(cpcds.ClaimPayerIdentifier); payer != "" {
		f.Insurer = r.payer(payer, c.Get(cpcds.ClaimPayerName))
	} else {
		f.Insurer = f.Payor
	}
	if other := c.Get(cpcds.OtherCoverageID); other != "" {
		if o, ok := r.coverageByID(other); ok {
			// The claim's own coverage is no other payer's.
			if ref := o.id.Reference(fhir.Coverage); ref != f.Coverage {
				f.OtherCoverage = ref
			}
			if f.Patient != "" && o.member.Reference(fhir.Patient) != f.Patient {
				c.Problems = append(c.Problems, cpcds.Problem{Rule: ruleCoverageMember, Element: cpcds.OtherCoverageID, Row: -1})
			}
		}
	}

	// Who the profile has no place for is not mentioned either. A claim without a
	// profile is rejected, whomever it names.
	profile, known := carin.ProfileOf(c)
	facility := func() string {
		return r.provider(providerKey{c.Get(cpcds.ServiceFacilityNPI), c.Get(cpcds.ServiceFacilityID), true},
			c.Get(cpcds.ServiceFacilityName), c.Get(cpcds.ServiceFacilityAddress))
	}
	if !known || carin.HasFacility(profile) {
		f.Providers[cpcds.ServiceFacility] = facility()
	}
	f.Providers[cpcds.Billing] = r.provider(providerKey{c.Get(cpcds.BillingProviderNPI), c.Get(cpcds.BillingProviderID), true},
		c.Get(cpcds.BillingProviderName), "")
	if f.Providers[cpcds.Billing] == "" && r.lenient(repairFacilityBills) {
		if f.Providers[cpcds.Billing] = facility(); f.Providers[cpcds.Billing] != "" {
			a.repair(cpcds.BillingProviderNPI, repairFacilityBills)
			if !carin.HasFacility(profile) { // it has moved
				for _, e := range []cpcds.Element{cpcds.ServiceFacilityNPI, cpcds.ServiceFacilityID, cpcds.ServiceFacilityName, cpcds.ServiceFacilityAddress} {
					c.Set(e, "")
				}
			}
		}
	}
	for _, p := range careTeamColumns {
		if known && !carin.HasRole(profile, p.role) {
			continue
		}
		f.Providers[p.role] = r.provider(providerKey{npi: c.Get(p.npi)}, c.Get(p.name), "")
	}
	for i := range c.CareTeam {
		t := &c.CareTeam[i]
		f.CareTeam = append(f.CareTeam, r.provider(providerKey{npi: t.Get(cpcds.CareTeamProviderNPI)}, t.Get(cpcds.CareTeamProviderName), ""))
	}
	f.Payee = r.payee(c)
	return skip
}

// skips reports whether the claim is one of a payer whose claims are skipped.
func (r *resolver) skips(c *cpcds.Claim) bool {
	cov, ok := r.coverage(c)
	return ok && cov.skip
}

// careTeamColumns are the columns that name one provider of a role each.
var careTeamColumns = []struct {
	role      cpcds.Role
	npi, name cpcds.Element
}{
	{cpcds.Attending, cpcds.AttendingProviderNPI, cpcds.AttendingProviderName},
	{cpcds.Rendering, cpcds.PerformingProviderNPI, cpcds.PerformingProviderName},
	{cpcds.Primary, cpcds.PCPNPI, cpcds.PCPName},
	{cpcds.Referring, cpcds.ReferringProviderNPI, cpcds.ReferringProviderName},
	{cpcds.Operating, cpcds.OperatingProviderNPI, cpcds.OperatingProviderName},
	{cpcds.Supervisor, cpcds.SupervisingProviderNPI, cpcds.SupervisingProviderName},
	{cpcds.Prescribing, cpcds.PrescribingProviderNPI, cpcds.PrescribingProviderName},
}

// patient returns the reference of a member, "" if the member is not known.
func (r *resolver) patient(member string) string {
	if member == "" {
		return ""
	}
	if ref, ok := r.members[member]; ok {
		return ref
	}
	ref := ""
	raw := r.raw(fhir.Patient, member)
	if r.dir.hasMember(raw) {
		ref = raw.Reference(fhir.Patient)
	}
	r.members.put(member, ref)
	return ref
}

func (c refCache) put(key, ref string) {
	if len(c) >= cacheLimit {
		clear(c)
	}
	c[strings.Clone(key)] = ref
}

// coverage finds the coverage of a claim: the one it names, or the one of its
// member and payer that was in effect when the statement begins.
func (r *resolver) coverage(c *cpcds.Claim) (coverageEntry, bool) {
	if id := c.Get(cpcds.CoverageID); id != "" {
		return r.coverageByID(id)
	}
	payer := c.Get(cpcds.ClaimPayerIdentifier)
	if payer == "" {
		return coverageEntry{}, false
	}
	day := c.Get(cpcds.StatementFromDate)
	if day == "" && len(c.Lines) > 0 {
		day = c.Lines[0].Get(cpcds.ServiceFromDate)
	}
	return r.dir.inEffect(r.raw(fhir.Coverage, "member", c.Get(cpcds.MemberID), payer), day)
}

func (r *resolver) coverageByID(id string) (coverageEntry, bool) {
	e, ok := r.coverages[id]
	if !ok {
		if e, ok = r.dir.coverage(r.raw(fhir.Coverage, id)); !ok {
			return e, false
		}
		if len(r.coverages) >= cacheLimit {
			clear(r.coverages)
		}
		r.coverages[strings.Clone(id)] = e
	}
	return e, true
}

// payer returns the organization of a payer identifier; one that no table has is
// mentioned, with the name that the claim gives.
func (r *resolver) payer(identifier, name string) string {
	if ref, ok := r.payers[identifier]; ok {
		return ref
	}
	raw := r.raw(fhir.Organization, byPayer, identifier)
	if e, ok := r.dir.providers[raw]; ok {
		if e.constant != 0 {
			r.mentions.add(mention{Kind: mentionConstant, ID: e.id.ID(fhir.Organization), Key: strconv.Itoa(int(e.constant))})
			return e.reference()
		}
		ref := e.reference()
		r.payers.put(identifier, ref)
		return ref
	}
	r.mentions.add(mention{Kind: mentionPayer, ID: raw.ID(fhir.Organization), Key: identifier, Name: name})
	return raw.Reference(fhir.Organization)
}

// provider returns the reference of a provider, "" if the claim names none that
// can be referred to. One that no table has is mentioned.
func (r *resolver) provider(k providerKey, name, address string) string {
	if k.npi == "" && k.id == "" {
		return ""
	}
	e, ok := r.providers[k]
	if !ok {
		var known bool
		if e.providerEntry, known = r.lookup(k); !known {
			if k.npi == "" && !(r.byID && k.organization) {
				return ""
			}
			t, kind, key := fhir.Practitioner, byNPI, k.npi
			if k.organization {
				t = fhir.Organization
			}
			if k.npi == "" {
				kind, key = byID, k.id
			}
			e = cachedProvider{providerEntry{id: r.raw(t, kind, key), practitioner: !k.organization}, true}
		}
		if len(r.providers) >= cacheLimit {
			clear(r.providers)
		}
		r.providers[providerKey{strings.Clone(k.npi), strings.Clone(k.id), k.organization}] = e
	}
	if e.mentioned {
		m := mention{Kind: mentionPractitioner, ID: e.id.ID(fhir.Practitioner), Key: k.npi, Name: name}
		switch {
		case k.npi == "":
			m = mention{Kind: mentionLocal, ID: e.id.ID(fhir.Organization), Key: k.id, Name: name, Address: address}
		case k.organization:
			m = mention{Kind: mentionOrganization, ID: e.id.ID(fhir.Organization), Key: k.npi, Name: name, Address: address}
		}
		r.mentions.add(m)
	}
	return e.reference()
}

// lookup finds a provider in the tables: by NPI, as what the column means first,
// then by the payer's own identifier.
func (r *resolver) lookup(k providerKey) (providerEntry, bool) {
	first, second := fhir.Practitioner, fhir.Organization
	if k.organization {
		first, second = second, first
	}
	for _, t := range [2]fhir.Type{first, second} {
		if k.npi != "" {
			if e, ok := r.dir.providers[r.raw(t, byNPI, k.npi)]; ok {
				return e, true
			}
		}
	}
	for _, t := range [2]fhir.Type{first, second} {
		if k.id != "" {
			if e, ok := r.dir.providers[r.raw(t, byID, k.id)]; ok {
				return e, true
			}
		}
	}
	return providerEntry{}, false
}

// payee returns the party of the payee: the member, the subscriber if a member
// too, the provider, or a related person who is named. Nobody stands in for one
// that the claim names and that is not known: it would say that he was paid.
func (r *resolver) payee(c *cpcds.Claim) string {
	id, name := c.Get(cpcds.ClaimPayee), c.Get(cpcds.ClaimPayeeName)
	switch c.Get(cpcds.ClaimPayeeTypeCode) {
	case "beneficiary":
		if id != "" && id != c.Get(cpcds.MemberID) {
			return ""
		}
		return c.Refs.Patient
	case "subscriber":
		if ref := r.patient(id); ref != "" || id == "" && name == "" {
			return ref
		}
	case "provider":
		if id == "" || id == c.Get(cpcds.BillingProviderNPI) || id == c.Get(cpcds.BillingProviderID) {
			return c.Refs.Providers[cpcds.Billing]
		}
		if e, ok := r.lookup(providerKey{npi: id, id: id, organization: true}); ok {
			return e.reference()
		}
		if carin.ValidNPI(id) {
			return r.provider(providerKey{npi: id, organization: true}, name, "")
		}
		return ""
	case "other":
		if id != "" {
			if e, ok := r.lookup(providerKey{npi: id, id: id, organization: true}); ok {
				return e.reference()
			}
			if ref := r.patient(id); ref != "" {
				return ref
			}
		}
	default:
		return ""
	}
	if name == "" || c.Refs.Patient == "" {
		return ""
	}
	m := mention{Kind: mentionRelated, Key: id, Name: name, Patient: c.Refs.Patient, Relationship: c.Get(cpcds.ClaimPayeeRelationship)}
	m.ID = r.raw(fhir.RelatedPerson, c.Get(cpcds.MemberID), id, name).ID(fhir.RelatedPerson)
	r.mentions.add(m)
	return fhir.Reference(fhir.RelatedPerson, m.ID)
}
