package mappers

import (
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// eobFragments are the constant parts of one profile's ExplanationOfBenefit.
type eobFragments struct {
	open       string // up to the value of id
	meta       string // from there to the value of lastUpdated
	claim      string // from there to the value of the first identifier, which is the claim's
	fill       string // the same where it is that of a fill
	typ        string // from the end of status to the patient: type, and subType of institutional claims
	vision     string // the same of a vision claim
	typeKey    string // index value of type
	identifier string // a second identifier, up to its value
	fillSystem string // index value of a fill's identifier, up to its number
	related    [2]string
}

func newEOBFragments(v *carin.Version, p carin.Profile, s Systems) eobFragments {
	metaOpen, metaClose := metaFragments(v.ProfileURL(p))
	typ, sub := "institutional", ""
	switch p {
	case carin.Inpatient:
		sub = fhir.NewCoded("subType", carin.SysSubType, "").With("inpatient")
	case carin.Outpatient:
		sub = fhir.NewCoded("subType", carin.SysSubType, "").With("outpatient")
	default:
		typ = p.String()
	}
	claimType := fhir.NewCoded("type", carin.SysClaimType, v.TypeVersion)
	const use = `"use":"claim","patient":{"reference":"`
	uc := `"identifier":[{"type":{"coding":[{"system":"` + carin.SysIdentifierType + `","code":"uc"}]},`
	return eobFragments{
		open:       `{"resourceType":"ExplanationOfBenefit","id":"`,
		meta:       `",` + metaOpen,
		claim:      metaClose + uc + identified(s.Claim),
		fill:       metaClose + uc + identified(prescriptionSystem(s)),
		typ:        `",` + claimType.With(typ) + sub + use,
		vision:     `",` + claimType.With("vision") + use,
		typeKey:    carin.SysClaimType + "|" + typ,
		identifier: `{` + identified(s.Claim),
		fillSystem: prescriptionSystem(s) + "|",
		related: [2]string{
			`{` + fhir.NewCoded("relationship", carin.SysRelationship, "").With("prior") + `"reference":{` + identified(s.Claim),
			`{` + fhir.NewCoded("relationship", carin.SysC4BBRelated, "").With("replacedby") + `"reference":{` + identified(s.Claim),
		},
	}
}

// prescriptionSystem is the Identifier.system of RX service reference numbers.
func prescriptionSystem(s Systems) string {
	if s.Claim == "" {
		return ""
	}
	return s.Claim + "/rx-service-reference-number"
}

// eob builds one resource.
type eob struct {
	m       *Mapper
	c       *cpcds.Claim
	amounts *carin.AmountTable
	f       *eobFragments
	s       *scratch
	profile carin.Profile
	b       []byte
	info    int // sequence of the last supportingInfo
	notes   int // number of the last processNote

	headerPriced bool
}

// scratch is memory that is reused from claim to claim.
type scratch struct {
	infos []lineInfo
	sums  [len(carin.Amounts)]int64 // of the lines, in ten-thousandths
}

// lineInfo is a supportingInfo that items refer to.
type lineInfo struct {
	category int
	value    string
	sequence int
}

func (s *scratch) reset() {
	clear(s.infos)
	s.infos = s.infos[:0]
}

// Fragments that are the same in every profile.
var (
	fieldStart = fhir.NewStr("start")
	fieldEnd   = fhir.NewStr("end")
	fieldText  = fhir.NewStr("text")

	taxonomy = fhir.NewCoded("qualification", carin.SysTaxonomy, "")

	dxType    = fhir.NewCodedItem(carin.SysDiagnosisType, "").Alone("type")
	dxTypeOwn = fhir.NewCodedItem(carin.SysC4BBDiagnosis, "").Alone("type")
	pxType    = fhir.NewCodedItem(carin.SysProcedureType, "").Alone("type")

	payeeType    = fhir.NewCoded("type", carin.SysPayeeType, "")
	payeeTypeOwn = fhir.NewCoded("type", carin.SysC4BBPayeeType, "")
	payType      = fhir.NewCoded("type", carin.SysAdjStatus, "")
	payDate      = fhir.NewStr("date")

	reasonStatus   = fhir.NewCoded("reason", carin.SysAdjStatus, "")
	reasonCARC     = fhir.NewCoded("reason", carin.SysCARC, "")
	reasonRARC     = fhir.NewCoded("reason", carin.SysRARC, "")
	billingStatus  = reasonStatus.Within(discriminator("billingnetworkstatus"))
	renderStatus   = reasonStatus.Within(discriminator("renderingnetworkstatus"))
	benefitStatus  = reasonStatus.Within(discriminator("benefitpaymentstatus"))
	adjReasonCARC  = reasonCARC.Within(adjReason)
	adjReasonRARC  = reasonRARC.Within(adjReason)
	rejectReasonIs = fhir.NewCoded("reason", carin.SysRejectCode, "").Within(rejectReason)

	adjReason    = discriminator("adjustmentreason")
	rejectReason = discriminator("rejectreason")
	allowedUnits = discriminator("allowedunits") + `"value":`

	// What precedes the value of each amount: as the first of an array, and after another, which it
	// ends.
	firstAmount, nextAmount [len(carin.Amounts)]string

	roleOf [cpcds.NumRoles]string // from the reference of a provider to the end of the role
)

func init() {
	for i, a := range carin.Amounts {
		firstAmount[i] = `{` + fhir.NewCoded("category", a.System, "").With(a.Code) + `"amount":{"value":`
		nextAmount[i] = amountEnd + firstAmount[i]
	}
	// MapID 165
	for r := range cpcds.NumRoles {
		system := carin.SysCareTeamRole
		if r == cpcds.Primary || r == cpcds.Supervisor {
			system = carin.SysClaimTeamRole
		}
		roleOf[r] = `"},` + fhir.NewCoded("role", system, "").With(r.String())
	}
}

const amountEnd = `,"currency":"USD"}},`

func discriminator(code string) string {
	return `{` + fhir.NewCoded("category", carin.SysDiscriminator, "").With(code)
}

func (e *eob) raw(s string) { e.b = append(e.b, s...) }

// begin writes the beginning of every ExplanationOfBenefit.
func (e *eob) begin(out *fhir.Batch) {
	c := e.c
	updated := c.Get(cpcds.ClaimLastUpdatedDate)
	id := c.Refs.Claim
	e.b = out.Begin(fhir.ExplanationOfBenefit, id, updated, c.Version())
	// MapID 163, 190
	e.raw(e.f.open)
	e.raw(id)
	e.raw(e.f.meta)
	e.raw(updated)
	// MapID 35, 183
	if fill := e.fillNumber(); fill != "" {
		e.raw(e.f.fill)
		e.raw(fill)
		e.raw(`"},`)
		e.raw(e.f.identifier)
	} else {
		e.raw(e.f.claim)
	}
	e.raw(c.Get(cpcds.ClaimUniqueIdentifier))
	// MapID 140
	e.raw(`"}],"status":"`)
	e.raw(c.Get(cpcds.ClaimProcessingStatusCode))
	// MapID 15, 16
	if c.Get(cpcds.ClaimType) == "vision" {
		e.raw(e.f.vision)
	} else {
		e.raw(e.f.typ)
	}
	// MapID 1
	e.raw(c.Refs.Patient)
	// MapID 177, 178; the rules require a start
	e.raw(`"},"billablePeriod":{"start":"`)
	e.raw(e.periodStart())
	if end := e.periodEnd(); end != "" {
		e.raw(`","end":"`)
		e.raw(end)
	}
	// MapID 179
	e.raw(`"},"created":"`)
	e.raw(c.Get(cpcds.AdjudicationDate))
	// MapID 2, 175
	e.raw(`","insurer":{"reference":"`)
	e.raw(c.Refs.Insurer)
	// MapID 94, 167
	e.raw(`"},"provider":{"reference":"`)
	e.raw(c.Refs.Providers[cpcds.Billing])
	e.raw(`"},`)
	e.related()
	e.payee()
	e.raw(`"outcome":"complete",`)
}

// fillNumber is the RX service reference number of a pharmacy claim, which CPCDS 35 makes its
// identifier:uniqueclaimid; "" if there is none, so that the claim's own number is used.
func (e *eob) fillNumber() string {
	if e.profile != carin.Pharmacy {
		return ""
	}
	return e.c.FillFact(cpcds.RxServiceReferenceNumber)
}

// periodStart is the start of the billing statement; a pharmacy claim has no statement, so its fill
// date is used.
func (e *eob) periodStart() string {
	if d := e.c.Get(cpcds.StatementFromDate); d != "" || e.profile != carin.Pharmacy {
		return d
	}
	return e.c.FirstService()
}

// periodEnd is the end of the statement, unless it is before the start, which would break per-1.
func (e *eob) periodEnd() string {
	if d := e.c.Get(cpcds.StatementThruDate); d >= e.periodStart() {
		return d
	}
	return ""
}

// payee writes MapID 120, 121.
func (e *eob) payee() {
	code := e.c.Get(cpcds.ClaimPayeeTypeCode)
	if code == "" {
		return
	}
	e.raw(`"payee":{`)
	if code == "beneficiary" {
		e.b = payeeTypeOwn.Put(e.b, code)
	} else {
		e.b = payeeType.Put(e.b, code)
	}
	if e.c.Refs.Payee != "" {
		e.raw(`"party":{"reference":"`)
		e.raw(e.c.Refs.Payee)
		e.raw(`"},`)
	}
	e.b = fhir.Close(e.b)
}

// careTeam writes the providers of the given roles that the claim names, then
// the entries of its own care team.
func (e *eob) careTeam(roles ...cpcds.Role) {
	from, sequence := len(e.b), 0
	const open = `"careTeam":[`
	e.raw(open)
	write := func(ref string, role cpcds.Role, qualification string) {
		if ref == "" {
			return
		}
		sequence++
		e.raw(`{"sequence":`)
		e.b = fhir.AppendInt(e.b, sequence)
		e.raw(`,"provider":{"reference":"`)
		e.raw(ref)
		e.raw(roleOf[role])
		// MapID 47
		e.b = taxonomy.Put(e.b, qualification)
		e.b = fhir.Close(e.b)
	}
	for _, role := range roles {
		ref, qualification := e.provider(role)
		write(ref, role, qualification)
	}
	for i := range e.c.CareTeam {
		ref, role, qualification := e.careTeamEntry(i)
		write(ref, role, qualification)
	}
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(open))
}

// provider is the provider that a column names for a role, with the qualification; "" if the care
// team does not have the provider.
func (e *eob) provider(role cpcds.Role) (ref, qualification string) {
	if role == cpcds.Rendering {
		qualification = e.c.Get(cpcds.PerformingProviderTaxonomy)
	}
	return e.member(e.c.Refs.Providers[role], role, qualification)
}

// careTeamEntry is provider for an entry of the claim's own care team.
func (e *eob) careTeamEntry(i int) (ref string, role cpcds.Role, qualification string) {
	t := &e.c.CareTeam[i]
	role, _ = cpcds.ParseRole(t.Get(cpcds.CareTeamRole))
	ref, qualification = e.member(e.c.Refs.CareTeam[i], role, t.Get(cpcds.CareTeamProviderTaxonomy))
	return ref, role, qualification
}

// member adapts a care team member to the profile: an outpatient claim has no rendering provider
// without a qualification, and inpatient and pharmacy claims have no qualifications.
func (e *eob) member(ref string, role cpcds.Role, qualification string) (string, string) {
	switch e.profile {
	case carin.Inpatient, carin.Pharmacy:
		qualification = ""
	case carin.Outpatient:
		if role == cpcds.Rendering && qualification == "" {
			ref = ""
		}
	}
	return ref, qualification
}

// diagnoses writes MapID 6 to 8, 21 to 23, 28 to 31 and 189.
func (e *eob) diagnoses() {
	if len(e.c.Diagnoses) == 0 {
		return
	}
	e.raw(`"diagnosis":[`)
	for i := range e.c.Diagnoses {
		d := &e.c.Diagnoses[i]
		e.raw(`{"sequence":`)
		e.b = fhir.AppendInt(e.b, i+1)
		e.raw(`,`)
		switch code := d.Get(cpcds.DiagnosisCode); d.Get(cpcds.DiagnosisCodeType) {
		case "masked":
			e.raw(e.m.coding.masked)
		case "icd9":
			e.b = e.m.coding.icd9.PutText(e.b, code, d.Get(cpcds.DiagnosisDescription))
		default:
			e.b = e.m.coding.icd10.PutText(e.b, code, d.Get(cpcds.DiagnosisDescription))
		}
		typ := carin.DiagnosisType(e.profile, e.diagnosisType(d), i == 0)
		if typ == "principal" || typ == "admitting" {
			e.b = dxType.Put(e.b, typ)
		} else {
			e.b = dxTypeOwn.Put(e.b, typ)
		}
		if e.profile == carin.Inpatient {
			e.b = e.m.coding.poa.Put(e.b, d.Get(cpcds.PresentOnAdmission))
		}
		e.b = fhir.Close(e.b)
	}
	e.b = fhir.CloseArray(e.b)
}

// diagnosisType is the row's type, or external cause of injury if MapID 30 says so and there is no
// type.
func (e *eob) diagnosisType(d *cpcds.Diagnosis) string {
	typ := d.Get(cpcds.DiagnosisType)
	if typ == "" && d.Get(cpcds.IsECode) == "true" && (e.profile == carin.Inpatient || e.profile == carin.Outpatient) {
		return "externalcauseofinjury"
	}
	return typ
}

// insurance writes MapID 2 and 141: the coverage of the claim's own payer is
// focal, those of others are not.
func (e *eob) insurance() {
	e.raw(`"insurance":[{"focal":true,"coverage":{"reference":"`)
	e.raw(e.c.Refs.Coverage)
	e.raw(`"}}`)
	other, name := e.c.Refs.OtherCoverage, e.c.Get(cpcds.ClaimOtherPayerName)
	if other != "" || name != "" {
		e.raw(`,{"focal":false,"coverage":{`)
		e.b = fieldReference.Put(e.b, other)
		e.b = fieldDisplay.Put(e.b, name)
		e.b = fhir.Close(e.b)
		e.b = fhir.Close(e.b[:len(e.b)-1])
		e.b = e.b[:len(e.b)-1]
	}
	e.raw(`],`)
}

var (
	fieldReference = fhir.NewStr("reference")
	fieldDisplay   = fhir.NewStr("display")
)

// payment writes MapID 91 and 107.
func (e *eob) payment() {
	status, date := e.c.Get(cpcds.ClaimPaymentStatusCode), e.c.Get(cpcds.ClaimPaidDate)
	if status == "" && date == "" {
		return
	}
	e.raw(`"payment":{`)
	e.b = payType.Put(e.b, status)
	e.b = payDate.Put(e.b, date)
	e.b = fhir.Close(e.b)
}

// processNotes writes MapID 181: the notes that items refer to by number, then
// that of the claim.
func (e *eob) processNotes() {
	from, n := len(e.b), 0
	const open = `"processNote":[`
	e.raw(open)
	note := func(text string) {
		if text == "" {
			return
		}
		n++
		e.raw(`{"number":`)
		e.b = fhir.AppendInt(e.b, n)
		e.raw(`,`)
		e.b = fieldText.Put(e.b, text)
		e.b = fhir.Close(e.b)
	}
	for i := range e.c.Lines {
		if !carin.Ingredient(e.profile, &e.c.Lines[i]) {
			note(e.c.Lines[i].Get(cpcds.PaymentMemberExplanation))
		}
	}
	note(e.c.Get(cpcds.ClaimPaymentMemberExplanation))
	e.b = fhir.CloseArrayOrDrop(e.b, from, len(open))
}

// end closes the resource and adds its index entries.
func (e *eob) end(out *fhir.Batch) {
	e.b = fhir.CloseResource(e.b)
	out.End(e.b)
	c := e.c
	out.Key(fhir.ParamPatient, c.Refs.Patient)
	out.Key(fhir.ParamIdentifier, e.m.systems.Claim, "|", c.Get(cpcds.ClaimUniqueIdentifier))
	if fill := e.fillNumber(); fill != "" {
		out.Key(fhir.ParamIdentifier, e.f.fillSystem, fill)
	}
	if c.Get(cpcds.ClaimType) == "vision" {
		out.Key(fhir.ParamType, carin.SysClaimType, "|vision")
	} else {
		out.Key(fhir.ParamType, e.f.typeKey)
	}
	start := e.periodStart()
	out.Key(fhir.ParamBillablePeriodStart, start)
	out.Key(fhir.ParamServiceStartDate, start)
	out.Key(fhir.ParamServiceDate, start, "/", e.periodEnd())
	for i := range c.Lines {
		from, to := e.served(&c.Lines[i])
		if from == "" || e.servedBefore(i, from, to) {
			continue
		}
		if to == "" {
			to = from
		}
		if from != start {
			out.Key(fhir.ParamServiceStartDate, from)
		}
		out.Key(fhir.ParamServiceDate, from, "/", to)
	}
	for role := cpcds.Attending; role < cpcds.NumRoles; role++ {
		if ref, _ := e.provider(role); ref != "" && carin.HasRole(e.profile, role) {
			out.Key(fhir.ParamCareTeam, ref)
		}
	}
	for i := range c.CareTeam {
		if ref, _, _ := e.careTeamEntry(i); ref != "" {
			out.Key(fhir.ParamCareTeam, ref)
		}
	}
	out.Key(fhir.ParamProvider, c.Refs.Providers[cpcds.Billing])
	out.Key(fhir.ParamCoverage, c.Refs.Coverage)
	if c.Refs.OtherCoverage != "" {
		out.Key(fhir.ParamCoverage, c.Refs.OtherCoverage)
	}
	out.Key(fhir.ParamInsurer, c.Refs.Insurer)
	if c.Refs.Payee != "" {
		out.Key(fhir.ParamPayee, c.Refs.Payee)
	}
}

// servedBefore reports whether an earlier line has the same dates of service.
func (e *eob) servedBefore(i int, from, to string) bool {
	for j := range i {
		if f, t := e.served(&e.c.Lines[j]); f == from && t == to {
			return true
		}
	}
	return false
}
