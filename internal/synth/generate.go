package synth

import (
	"cmp"

	"cpcds2fhir/schemas/cpcds"
)

// generator makes the claims of members, one after the other. It is not safe for
// concurrent use.
type generator struct {
	opt   *Options
	dir   *directory
	codes *codeTables
	rng   rng
	luck  rng // for faults
	arena arena

	who         person
	born, seen  bool // whether the claims of the birth and of the first visit after it were made
	draft, next draft
	rotations   rotations

	emit func(*draft) // is given each finished claim, in order
}

func newGenerator(opt *Options, dir *directory) *generator {
	return &generator{opt: opt, dir: dir, codes: loadTables()}
}

// Number of claims of each kind per thousand.
var kindShares = [numKinds]int{inpatient: 50, outpatient: 150, professional: 415, vision: 35, pharmacyClaim: 280, oral: 70}

// claims makes n claims of the current person and passes each to emit. Claims of the extract are
// numbered; first is the number of the first one. All texts are valid until the arena is reset.
func (g *generator) claims(first uint64, n int) {
	d := &g.rng
	d.start(g.opt.Seed, claimStream, g.who.number)
	g.born, g.seen = false, false
	for made := 0; made < n; {
		k, roll := kind(0), d.below(1000)
		for roll >= kindShares[k] {
			roll -= kindShares[k]
			k++
		}
		g.draft.reset(k, first+uint64(made))
		g.claim()
		made += g.chain(min(g.links(), n-made))
	}
}

// claim makes the draft a claim as first adjudicated.
func (g *generator) claim() {
	d := &g.draft
	span := int(g.who.end - g.who.begin + 1)
	d.from = g.who.end - day(g.rng.below(span))
	d.thru = d.from
	d.method = g.rng.below(4)
	switch d.kind {
	case inpatient:
		g.inpatient()
	case outpatient:
		g.outpatient()
	case professional:
		g.professional()
	case vision:
		g.vision()
	case pharmacyClaim:
		g.pharmacy()
	case oral:
		g.oral()
	}
	g.draft.trim()
}

// open fills the header columns that all claims have. It is called once from,
// thru and the features that matter for coverage are known, before the lines.
func (g *generator) open(claimType, subType string) {
	d, r := &g.draft, &g.rng
	d.payee = g.code(cpcds.ClaimPayeeTypeCode, 9, "provider")
	d.toMember = d.payee == "beneficiary" || d.payee == "subscriber"
	d.listed = g.due(cpcds.CareTeamRole, 8)
	d.icd10 = d.thru >= icd10Day
	if !d.icd10 {
		d.mark(icd9)
	}
	d.received = d.thru + day(r.between(2, 45))
	g.calendar(d)

	cover := g.who.covered(d.from)
	d.Set(cpcds.MemberID, g.who.row.Get(cpcds.MembersMemberID))
	d.Set(cpcds.CoverageID, cover.row.Get(cpcds.CoveragesCoverageID))
	d.Set(cpcds.ClaimPayerIdentifier, cover.payer.payer)
	d.Set(cpcds.ClaimPayerName, cover.payer.name)
	if o := g.who.other; o != nil && d.kind != vision && r.chance(600) {
		d.crossover = true
		d.mark(crossover)
		d.Set(cpcds.OtherCoverageID, o.row.Get(cpcds.CoveragesCoverageID))
		d.Set(cpcds.ClaimOtherPayerName, o.payer.name)
	}
	d.Set(cpcds.ClaimType, claimType)
	d.Set(cpcds.ClaimSubType, subType)
	d.Set(cpcds.ClaimProcessingStatusCode, g.code(cpcds.ClaimProcessingStatusCode, 40, "active"))
	if r.chance(600) {
		d.Set(cpcds.MedicalRecordNumber, g.arena.number("MRN", scramble(g.who.number+uint64(d.kind))%1e7, 7))
	}
	if r.chance(750) {
		d.Set(cpcds.PatientAccountNumber, g.arena.number("A", scramble(d.ordinal)%1e9, 9))
	}
	network := g.code(cpcds.BillingProviderNetworkStatus, 6, "innetwork")
	if network == "outofnetwork" {
		d.mark(outOfNetwork)
	}
	d.Set(cpcds.BillingProviderNetworkStatus, network)
	g.benefitStatus(network)
	g.payee()
}

// benefitStatus says whether the plan paid as in network. Some payers say so only on the lines.
func (g *generator) benefitStatus(network string) {
	d := &g.draft
	status := g.code(cpcds.ClaimBenefitPaymentStatus, 30, network)
	if d.crossover && g.rng.chance(300) {
		status = "other"
	}
	switch d.kind {
	case inpatient, outpatient, pharmacyClaim:
		d.statusByLine = g.due(cpcds.LineBenefitPaymentStatus, 12)
	}
	if !d.statusByLine {
		d.Set(cpcds.ClaimBenefitPaymentStatus, status)
	}
}

// calendar sets what depends on the day a claim was received, and the identifier, which begins with
// that day like internal control numbers.
func (g *generator) calendar(d *draft) {
	r := &g.rng
	d.adjudged = d.received + day(r.between(1, 30))
	d.paid = d.adjudged + day(r.below(8))
	d.updated = d.paid + day(r.below(10))
	d.Set(cpcds.ClaimReceivedDate, d.received.String())
	d.Set(cpcds.AdjudicationDate, d.adjudged.String())
	g.touch(d, d.updated)
	year := date(d.received.year(), 1, 1)
	number := g.arena.number("", uint64(d.received.year()%100*1000)+uint64(d.received-year+1), 5)
	d.Set(cpcds.ClaimUniqueIdentifier, g.arena.number(g.arena.join("20", number), d.ordinal, 10))
}

// touch sets when the system of record last changed the claim.
func (g *generator) touch(d *draft, on day) {
	d.updated = on
	d.Set(cpcds.ClaimSourceVersion, on.String())
	d.Set(cpcds.ClaimLastUpdatedDate, g.arena.instant(on, g.rng.below(86400)))
}

// statement sets the period of the bill.
func (g *generator) statement() {
	g.draft.Set(cpcds.StatementFromDate, g.draft.from.String())
	g.draft.Set(cpcds.StatementThruDate, g.draft.thru.String())
}

// payee says who is paid. Payees of type provider are named by bill.
func (g *generator) payee() {
	d := &g.draft
	d.Set(cpcds.ClaimPayeeTypeCode, d.payee)
	switch d.payee {
	case "other":
		g.payeeByName()
		return
	case "provider":
		return
	}
	d.Set(cpcds.ClaimPayee, g.who.row.Get(cpcds.MembersMemberID))
	cover := &g.who.covered(d.from).row
	if d.payee == "subscriber" && cover.Get(cpcds.CoveragesRelationshipToSubscriber) != "self" {
		d.Set(cpcds.ClaimPayee, "")
		d.Set(cpcds.ClaimPayeeName, g.arena.join(cover.Get(cpcds.CoveragesSubscriberGivenName), " ", cover.Get(cpcds.CoveragesSubscriberFamilyName)))
		d.Set(cpcds.ClaimPayeeRelationship, "PRN")
	}
}

// payeeByName names a person who is neither member nor provider.
func (g *generator) payeeByName() {
	d, r := &g.draft, &g.rng
	d.Set(cpcds.ClaimPayeeName, g.arena.join(pick(r, g.codes.names["female"]), " ", g.who.row.Get(cpcds.MembersMemberFamilyName)))
	d.Set(cpcds.ClaimPayeeRelationship, pick(r, g.codes.codes["relative"]))
}

// bill names the organization that bills, by NPI, by the payer's own number or by
// both.
func (g *generator) bill(o *organization) {
	g.billAs(o.npi, o.id, o.name)
}

func (g *generator) billAs(npi, id, name string) {
	d := &g.draft
	d.Set(cpcds.BillingProviderNPI, npi)
	d.Set(cpcds.BillingProviderID, id)
	d.Set(cpcds.BillingProviderName, name)
	if d.Get(cpcds.ClaimPayeeTypeCode) == "provider" {
		d.Set(cpcds.ClaimPayee, cmp.Or(npi, id))
	}
}

// perform names the performing provider, and on claims paid by the line also the provider's
// contract.
func (g *generator) perform(p *practitioner) {
	d := &g.draft
	g.team(cpcds.Rendering, p)
	if !d.listed {
		d.Set(cpcds.PerformingProviderTaxonomy, p.taxonomy)
	}
	status := d.Get(cpcds.BillingProviderNetworkStatus)
	if g.rng.chance(20) {
		status = "outofnetwork"
	}
	d.Set(cpcds.PerformingProviderNetworkStatus, status)
}

// serviceFacility names where the service was rendered.
func (g *generator) serviceFacility(o *organization) {
	d := &g.draft
	d.Set(cpcds.ServiceFacilityNPI, o.npi)
	d.Set(cpcds.ServiceFacilityID, o.id)
	d.Set(cpcds.ServiceFacilityName, o.name)
	d.Set(cpcds.ServiceFacilityAddress, o.address)
}

func (g *generator) doctor(group string) *practitioner {
	return pick(&g.rng, g.dir.practitioners[g.who.home][group])
}
func (g *generator) place(f facility) *organization {
	return pick(&g.rng, g.dir.facilities[g.who.home][f])
}

// diagnose adds a diagnosis of a group, unless the claim has it with this type.
func (g *generator) diagnose(group, typ string) {
	d, r := &g.draft, &g.rng
	table, system := g.codes.icd10, "icd10"
	if !d.icd10 {
		table, system = g.codes.icd9, "icd9"
	}
	c := pick(r, table[group])
	for i := range d.Diagnoses {
		if d.Diagnoses[i].Get(cpcds.DiagnosisCode) == c.code && (typ != "admitting") == (d.Diagnoses[i].Get(cpcds.DiagnosisType) != "admitting") {
			return
		}
	}
	var x cpcds.Diagnosis
	x.Set(cpcds.DiagnosisType, typ)
	if (typ == "other" || typ == "secondary") && !d.masked && g.due(cpcds.DiagnosisCodeType, 50) {
		x.Set(cpcds.DiagnosisCodeType, "masked")
		d.masked = true
		d.mark(masked)
		d.Diagnoses = append(d.Diagnoses, x)
		return
	}
	x.Set(cpcds.DiagnosisCode, c.code)
	if system == "icd9" || r.chance(700) {
		x.Set(cpcds.DiagnosisCodeType, system)
	}
	x.Set(cpcds.IsECode, flag(typ == "externalcauseofinjury"))
	if r.chance(150) {
		x.Set(cpcds.DiagnosisDescription, c.text)
	}
	if d.kind == inpatient && typ != "admitting" {
		x.Set(cpcds.PresentOnAdmission, g.code(cpcds.PresentOnAdmission, 6, "Y", "Y", "Y", "Y", "Y", "N"))
	}
	d.Diagnoses = append(d.Diagnoses, x)
}

// diagnoseMore adds up to n further diagnoses.
func (g *generator) diagnoseMore(n int, typ string, groups ...string) {
	for range n {
		g.diagnose(pick(&g.rng, groups), typ)
	}
}

func flag(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// modifiers gives a line up to four modifiers of a list, each at most once.
func (g *generator) modifiers(l *cpcds.Line, list string) {
	r, from := &g.rng, g.codes.codes[list]
	n := 0
	switch k := r.below(100); {
	case k < 1:
		n = 4
	case k < 3:
		n = 3
	case k < 8:
		n = 2
	case k < 30:
		n = 1
	}
	if g.due(cpcds.ProcedureModifierCode4, 25) {
		n = 4
	}
	at := r.below(len(from))
	for i := range n {
		l.Set(cpcds.ProcedureModifierCode1+cpcds.Element(i), from[(at+i)%len(from)])
	}
}
