package cpcds

// The records of a claim: one string view per element of the level, empty if the source has no
// value.
type (
	// Header holds what occurs once in a claim.
	Header [numHeader]string
	// Line is one service line.
	Line [numLine]string
	// Diagnosis is one diagnosis of the claim.
	Diagnosis [numDiagnosis]string
	// Procedure is one ICD procedure of an inpatient stay.
	Procedure [numProcedure]string
	// CareTeam is one further provider of the claim.
	CareTeam [numCareTeam]string
	// Member is one row of the members table.
	Member [numMember]string
	// Coverage is one row of the coverages table.
	Coverage [numCoverage]string
	// Provider is one row of the providers table.
	Provider [numProvider]string
	// Organization is one row of the organizations table.
	Organization [numOrganization]string
)

// Get returns the element e of the record, which must be of its level.
func (r *Header) Get(e Element) string       { return r[e-firstHeader] }
func (r *Line) Get(e Element) string         { return r[e-firstLine] }
func (r *Diagnosis) Get(e Element) string    { return r[e-firstDiagnosis] }
func (r *Procedure) Get(e Element) string    { return r[e-firstProcedure] }
func (r *CareTeam) Get(e Element) string     { return r[e-firstCareTeam] }
func (r *Member) Get(e Element) string       { return r[e-firstMember] }
func (r *Coverage) Get(e Element) string     { return r[e-firstCoverage] }
func (r *Provider) Get(e Element) string     { return r[e-firstProvider] }
func (r *Organization) Get(e Element) string { return r[e-firstOrganization] }

// Set replaces the element e of the record, which must be of its level.
func (r *Header) Set(e Element, v string)       { r[e-firstHeader] = v }
func (r *Line) Set(e Element, v string)         { r[e-firstLine] = v }
func (r *Diagnosis) Set(e Element, v string)    { r[e-firstDiagnosis] = v }
func (r *Procedure) Set(e Element, v string)    { r[e-firstProcedure] = v }
func (r *CareTeam) Set(e Element, v string)     { r[e-firstCareTeam] = v }
func (r *Member) Set(e Element, v string)       { r[e-firstMember] = v }
func (r *Coverage) Set(e Element, v string)     { r[e-firstCoverage] = v }
func (r *Provider) Set(e Element, v string)     { r[e-firstProvider] = v }
func (r *Organization) Set(e Element, v string) { r[e-firstOrganization] = v }

// Claim is one adjudicated claim: the only thing that rules and mappers read. It is flat and
// reused: strings are views into a batch or a spill partition and are valid only until the next
// claim is assembled. It is not safe for concurrent use.
type Claim struct {
	Header
	Lines      []Line
	Diagnoses  []Diagnosis
	Procedures []Procedure
	CareTeam   []CareTeam
	Refs       Refs

	// Undivided are the header's amounts that are unknown for this claim: it is a part of a larger
	// one, whose lines do not add up to them.
	Undivided []Element

	// Problems are what reading and assembling found wrong.
	Problems []Problem
}

// Reset empties the claim and keeps its memory.
func (c *Claim) Reset() {
	c.Header = Header{}
	c.Lines, c.Diagnoses, c.Procedures, c.CareTeam = c.Lines[:0], c.Diagnoses[:0], c.Procedures[:0], c.CareTeam[:0]
	c.Refs.reset()
	c.Problems = c.Problems[:0]
	c.Undivided = c.Undivided[:0]
}

// FillFact returns what a pharmacy claim has once but its rows have on their lines, such as the
// days' supply: the value of the first line that has one; an ingredient of a compound counts only
// if no other line has one.
func (c *Claim) FillFact(e Element) string {
	fact := ""
	for i := range c.Lines {
		l := &c.Lines[i]
		v := l.Get(e)
		if v == "" {
			continue
		}
		if l.Get(CompoundParentLineNumber) == "" {
			return v
		}
		if fact == "" {
			fact = v
		}
	}
	return fact
}

// FirstService returns the first service date of the lines, "" if there is none.
func (c *Claim) FirstService() string {
	first := ""
	for i := range c.Lines {
		if d := c.Lines[i].Get(ServiceFromDate); d != "" && (first == "" || d < first) {
			first = d
		}
	}
	return first
}

// Clear empties an element in every record of the claim that has it.
func (c *Claim) Clear(e Element) {
	switch e.Info().Level {
	case HeaderLevel:
		c.Set(e, "")
	case LineLevel:
		for i := range c.Lines {
			c.Lines[i].Set(e, "")
		}
	case DiagnosisLevel:
		for i := range c.Diagnoses {
			c.Diagnoses[i].Set(e, "")
		}
	case ProcedureLevel:
		for i := range c.Procedures {
			c.Procedures[i].Set(e, "")
		}
	case CareTeamLevel:
		for i := range c.CareTeam {
			c.CareTeam[i].Set(e, "")
		}
	}
}

// Version orders records of the same claim, as fhir.CompareVersions does.
func (c *Claim) Version() string {
	if v := c.Get(ClaimSourceVersion); v != "" {
		return v
	}
	return c.Get(ClaimLastUpdatedDate)
}

// Role is the function of a provider on a claim, in the words of the
// C4BBClaimCareTeamRole and claimcareteamrole code systems.
type Role uint8

// The roles a claim's columns can fill. Billing and ServiceFacility are not part
// of the care team: they become EOB.provider and a supportingInfo.
const (
	Billing Role = iota
	ServiceFacility
	Attending
	Referring
	Operating
	OtherOperating
	Rendering
	Prescribing
	PurchasedService
	Primary
	Supervisor
	NumRoles
)

var roleNames = [NumRoles]string{"billing", "servicefacility", "attending", "referring", "operating", "otheroperating",
	"rendering", "prescribing", "purchasedservice", "primary", "supervisor"}

func (r Role) String() string { return roleNames[r] }

// ParseRole returns the role that a care team role code names.
func ParseRole(code string) (Role, bool) {
	for r := Attending; r < NumRoles; r++ {
		if roleNames[r] == code {
			return r, true
		}
	}
	return 0, false
}

// Refs are the resources that a claim refers to, as relative references such as "Patient/p…". The
// resolver of the pipeline fills them in before the rules run; an empty reference means that the
// claim names none, or an unknown one.
type Refs struct {
	Claim         string // id of the ExplanationOfBenefit itself, without type
	Patient       string
	Coverage      string
	Insurer       string
	Payor         string // of Coverage
	OtherCoverage string
	Payee         string
	Providers     [NumRoles]string
	CareTeam      []string // one per entry of Claim.CareTeam
}

func (r *Refs) reset() {
	team := r.CareTeam[:0]
	*r = Refs{CareTeam: team}
}

// Problem is something wrong with one element of a claim or row. It names
// positions and columns and never holds a value.
type Problem struct {
	Rule    string  // id of the rule
	Element Element // the element at fault; NoElement if there is none
	Row     int     // index of the row within the claim; -1 if the claim as a whole
}

// NoElement is the Element of a problem that concerns no single element.
const NoElement = NumElements
