package synth

import (
	"math/bits"
	"sync"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// kind is the kind of a claim, which determines its profile.
type kind uint8

const (
	inpatient kind = iota
	outpatient
	professional
	vision
	pharmacyClaim
	oral
	numKinds
)

var kindNames = [numKinds]string{"inpatient", "outpatient", "professional", "vision", "pharmacy", "oral"}

// feature is something that a test or a report may want to count.
type feature uint8

const (
	adjusted feature = iota // replaced by a later claim
	replacement
	voided // takes back an earlier claim
	denied
	partlyDenied
	crossover
	interim
	newborn
	delivery
	headerPriced
	icd9
	masked
	transport
	homeHealth
	compound
	orthodontics
	prosthesis
	outOfNetwork
	numFeatures
)

var featureNames = [numFeatures]string{"adjusted", "replacement", "void", "denied", "partly denied", "crossover", "interim bill", "newborn",
	"delivery", "priced as a whole", "ICD-9", "masked diagnosis", "transport", "home health", "compound", "orthodontics", "prosthesis", "out of network"}

// draft is a claim being built, with facts that its columns do not show.
type draft struct {
	cpcds.Claim
	kind     kind
	ordinal  uint64 // number of the claim in the extract, from 0
	features uint32
	prices   []price // parallel to Lines
	refused  int     // lines that were denied

	from, thru               day // of the services
	received, adjudged, paid day
	updated                  day
	crossover, headerPriced  bool
	payee                    string // its type
	toMember                 bool   // the member is paid, not the provider
	later                    bool   // only releases after 2.0.0 accept the claim
	listed                   bool   // the source keeps the providers of all roles in a list
	statusByLine             bool   // the benefit payment status is only on the lines
	method                   int    // how the patient paid; an index into amountColumns.byPatient
	icd10                    bool
	masked                   bool

	fault int // index into faults; -1: none

	// What faults change in the rows rather than in the values.
	orphaned bool          // the header has only the key
	conflict cpcds.Element // a second record of the header differs in this element; NoElement: none
	other    string        // its other value
}

func (d *draft) reset(k kind, ordinal uint64) {
	d.Claim.Reset()
	claim, prices := d.Claim, d.prices[:0]
	*d = draft{Claim: claim, prices: prices, kind: k, ordinal: ordinal, fault: -1, conflict: cpcds.NoElement}
}

// copyFrom makes d a copy of another draft that shares no slice with it.
func (d *draft) copyFrom(o *draft) {
	claim, prices := d.Claim, d.prices[:0]
	*d = *o
	d.Lines = append(claim.Lines[:0], o.Lines...)
	d.Diagnoses = append(claim.Diagnoses[:0], o.Diagnoses...)
	d.Procedures = append(claim.Procedures[:0], o.Procedures...)
	d.CareTeam = append(claim.CareTeam[:0], o.CareTeam...)
	d.prices = append(prices, o.prices...)
}

// trim empties the columns that the claim's profile has no place for.
func (d *draft) trim() {
	p, ok := carin.ProfileOf(&d.Claim)
	if !ok {
		return
	}
	for _, e := range unusedIn(p) {
		d.Clear(e)
	}
}

// unusedIn lists the columns that a profile has no place for, except those that order or key
// records.
func unusedIn(p carin.Profile) []cpcds.Element { return unusedElements()[p] }

var unusedElements = sync.OnceValue(func() (lists [carin.NumProfiles][]cpcds.Element) {
	for p := range carin.NumProfiles {
		for _, e := range cpcds.Columns(cpcds.Claims) {
			if !carin.Uses(p, e) && e != cpcds.ClaimSourceVersion {
				lists[p] = append(lists[p], e)
			}
		}
	}
	return lists
})

func (d *draft) mark(f feature)     { d.features |= 1 << f }
func (d *draft) unmark(f feature)   { d.features &^= 1 << f }
func (d *draft) has(f feature) bool { return d.features>>f&1 == 1 }

// eachFeature calls f for the features of the claim.
func (d *draft) eachFeature(f func(feature)) {
	for set := d.features; set != 0; set &= set - 1 {
		f(feature(bits.TrailingZeros32(set)))
	}
}

// line adds a service line and returns it with its number set. The pointer is valid until the next
// line is added.
func (g *generator) line() *cpcds.Line {
	d := &g.draft
	d.Lines = append(d.Lines, cpcds.Line{})
	d.prices = append(d.prices, price{})
	l := &d.Lines[len(d.Lines)-1]
	l.Set(cpcds.LineNumber, g.small(len(d.Lines)))
	return l
}

// roleColumns are the columns that name the one provider of a role.
var roleColumns = map[cpcds.Role]struct{ npi, name cpcds.Element }{
	cpcds.Attending:   {cpcds.AttendingProviderNPI, cpcds.AttendingProviderName},
	cpcds.Rendering:   {cpcds.PerformingProviderNPI, cpcds.PerformingProviderName},
	cpcds.Operating:   {cpcds.OperatingProviderNPI, cpcds.OperatingProviderName},
	cpcds.Referring:   {cpcds.ReferringProviderNPI, cpcds.ReferringProviderName},
	cpcds.Primary:     {cpcds.PCPNPI, cpcds.PCPName},
	cpcds.Supervisor:  {cpcds.SupervisingProviderNPI, cpcds.SupervisingProviderName},
	cpcds.Prescribing: {cpcds.PrescribingProviderNPI, cpcds.PrescribingProviderName},
}

// team names the provider of a role, if the profile has the role.
func (g *generator) team(role cpcds.Role, p *practitioner) {
	d := &g.draft
	switch {
	case !carin.HasRole(d.profile(), role):
	case d.listed:
		g.careTeam(role.String(), p)
	default:
		d.Set(roleColumns[role].npi, p.npi)
		d.Set(roleColumns[role].name, p.name)
	}
}

// careTeam adds a provider to the list of the claim.
func (g *generator) careTeam(role string, p *practitioner) {
	var c cpcds.CareTeam
	c.Set(cpcds.CareTeamRole, role)
	c.Set(cpcds.CareTeamProviderNPI, p.npi)
	c.Set(cpcds.CareTeamProviderName, p.name)
	c.Set(cpcds.CareTeamProviderTaxonomy, p.taxonomy)
	g.draft.CareTeam = append(g.draft.CareTeam, c)
}

// small formats a number of any size; those below a hundred cost no memory.
func (g *generator) small(n int) string {
	if n < 100 {
		return smallNumbers[n]
	}
	return g.arena.number("", uint64(n), 1)
}

var smallNumbers = func() (s [100]string) {
	for i := range s {
		s[i] = (&arena{}).number("", uint64(i), 1)
	}
	return s
}()
