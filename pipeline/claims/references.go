package claims

import (
	"cmp"
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// refer fills in the references of the assembled claim. part distinguishes the claims that one key
// was split into; "" if it was not split. skip says that the payer's claims are skipped.
func (b *Builder) refer(key, part string) (skip bool) {
	r, c := b.resolver, &b.asm.claim
	f := &c.Refs
	if part == "" {
		f.Claim = r.Raw(fhir.ExplanationOfBenefit, key).ID(fhir.ExplanationOfBenefit)
	} else {
		f.Claim = r.Raw(fhir.ExplanationOfBenefit, key, part).ID(fhir.ExplanationOfBenefit)
	}
	f.Patient = r.Patient(c.Get(cpcds.MemberID))
	skip = b.referToCoverage()
	if payer := c.Get(cpcds.ClaimPayerIdentifier); payer != "" {
		f.Insurer = r.Payer(payer, c.Get(cpcds.ClaimPayerName))
	} else {
		f.Insurer = f.Payor
	}
	b.referToProviders()
	f.Payee = b.payee(c)
	return skip
}

// referToCoverage fills in the coverage of the claim and that of another payer. skip says
// that the payer's claims are skipped.
func (b *Builder) referToCoverage() (skip bool) {
	c, f := &b.asm.claim, &b.asm.claim.Refs
	day := coverageDay(c)
	cov, ok := b.coverage(c)
	if ok {
		f.Coverage, f.Payor = cov.ID.Reference(fhir.Coverage), cov.Insurer.Reference(fhir.Organization)
		if !cov.InEffect(day) {
			e := cpcds.CoverageID
			if c.Get(e) == "" {
				e = cpcds.ClaimPayerIdentifier
			}
			b.lapsed(e)
		}
		if f.Patient != "" && cov.Member.Reference(fhir.Patient) != f.Patient {
			c.Problems = append(c.Problems, cpcds.Problem{Rule: pipeline.RuleCoverageMember, Element: cpcds.CoverageID, Row: -1})
		}
	}
	if other := c.Get(cpcds.OtherCoverageID); other != "" {
		// The coverage of a skipped payer is not loaded.
		if o, ok := b.resolver.CoverageByID(other); ok && !o.Skip {
			// The claim's own coverage is not another payer's.
			if ref := o.ID.Reference(fhir.Coverage); ref != f.Coverage {
				f.OtherCoverage = ref
				if !o.InEffect(day) {
					b.lapsed(cpcds.OtherCoverageID)
				}
			}
			if f.Patient != "" && o.Member.Reference(fhir.Patient) != f.Patient {
				c.Problems = append(c.Problems, cpcds.Problem{Rule: pipeline.RuleCoverageMember, Element: cpcds.OtherCoverageID, Row: -1})
			}
		}
	}

	return b.skipsPayer(c.Get(cpcds.ClaimPayerIdentifier)) || ok && cov.Skip
}

// referToProviders fills in the providers of the claim.
func (b *Builder) referToProviders() {
	r, a, c, f := b.resolver, &b.asm, &b.asm.claim, &b.asm.claim.Refs
	// Providers that the profile has no place for are not referred to. A claim without a profile is
	// rejected anyway.
	profile, known := carin.ProfileOf(c)
	facility := func() string {
		return r.Provider(directory.ProviderKey{NPI: c.Get(cpcds.ServiceFacilityNPI), ID: c.Get(cpcds.ServiceFacilityID), Organization: true},
			c.Get(cpcds.ServiceFacilityName), c.Get(cpcds.ServiceFacilityAddress))
	}
	if !known || carin.HasFacility(profile) {
		f.Providers[cpcds.ServiceFacility] = facility()
	}
	f.Providers[cpcds.Billing] = r.Provider(directory.ProviderKey{NPI: c.Get(cpcds.BillingProviderNPI), ID: c.Get(cpcds.BillingProviderID), Organization: true},
		c.Get(cpcds.BillingProviderName), "")
	if f.Providers[cpcds.Billing] == "" && b.Repairs.On(pipeline.RepairFacilityBills) {
		if f.Providers[cpcds.Billing] = facility(); f.Providers[cpcds.Billing] != "" {
			a.repair(cpcds.BillingProviderNPI, pipeline.RepairFacilityBills)
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
		f.Providers[p.role] = r.Provider(directory.ProviderKey{NPI: c.Get(p.npi)}, c.Get(p.name), "")
	}
	for i := range c.CareTeam {
		t := &c.CareTeam[i]
		f.CareTeam = append(f.CareTeam, r.Provider(directory.ProviderKey{NPI: t.Get(cpcds.CareTeamProviderNPI)}, t.Get(cpcds.CareTeamProviderName), ""))
	}
}

// skips reports whether the claim is one of a payer whose claims are skipped.
func (b *Builder) skips(c *cpcds.Claim) bool {
	cov, ok := b.coverage(c)
	return b.skipsPayer(c.Get(cpcds.ClaimPayerIdentifier)) || ok && cov.Skip
}

func (b *Builder) skipsPayer(payer string) bool {
	s := b.Layout.Claims.SkipPayers
	return s != nil && slices.Contains(s.Payers, payer)
}

// coverageDay is the day on which the coverage of a claim must be in effect: the day of admission,
// or else of the first service.
func coverageDay(c *cpcds.Claim) string {
	return cmp.Or(c.Get(cpcds.MemberAdmissionDate), c.Get(cpcds.StatementFromDate), c.FirstService())
}

// lapsed reports a coverage that is not in effect.
func (b *Builder) lapsed(e cpcds.Element) {
	if a := &b.asm; b.Layout.Claims.LapsedCoverage {
		a.headerProblem(pipeline.RuleNotInEffect, e)
	} else {
		a.warn(pipeline.RuleNotInEffect, e)
	}
}

// careTeamColumns are the columns that each name one provider of a role.
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

// coverage finds the coverage of a claim: the one it names, or the one of its member and payer that
// was in effect, or else the one that began last.
func (b *Builder) coverage(c *cpcds.Claim) (directory.Coverage, bool) {
	if id := c.Get(cpcds.CoverageID); id != "" {
		return b.resolver.CoverageByID(id)
	}
	payer := c.Get(cpcds.ClaimPayerIdentifier)
	if payer == "" {
		return directory.Coverage{}, false
	}
	return b.resolver.CoverageOfPayer(c.Get(cpcds.MemberID), payer, coverageDay(c))
}

// payee returns the party of the payee: the member, the subscriber if also a member, the provider,
// or a named related person. An unknown payee is not replaced by anyone else, because the resource
// would then say that the wrong party was paid.
func (b *Builder) payee(c *cpcds.Claim) string {
	r := b.resolver
	id, name := c.Get(cpcds.ClaimPayee), c.Get(cpcds.ClaimPayeeName)
	switch c.Get(cpcds.ClaimPayeeTypeCode) {
	case "beneficiary":
		if id != "" && id != c.Get(cpcds.MemberID) {
			return ""
		}
		return c.Refs.Patient
	case "subscriber":
		if ref := r.Patient(id); ref != "" || id == "" && name == "" {
			return ref
		}
	case "provider":
		if id == "" || id == c.Get(cpcds.BillingProviderNPI) || id == c.Get(cpcds.BillingProviderID) {
			return c.Refs.Providers[cpcds.Billing]
		}
		if e, ok := r.Lookup(directory.ProviderKey{NPI: id, ID: id, Organization: true}); ok {
			return e.Reference()
		}
		if carin.ValidNPI(id) {
			return r.Provider(directory.ProviderKey{NPI: id, Organization: true}, name, "")
		}
		return ""
	case "other":
		if id != "" {
			if e, ok := r.Lookup(directory.ProviderKey{NPI: id, ID: id, Organization: true}); ok {
				return e.Reference()
			}
			if ref := r.Patient(id); ref != "" {
				return ref
			}
		}
	default:
		return ""
	}
	if name == "" || c.Refs.Patient == "" {
		return ""
	}
	return r.RelatedPerson(c.Get(cpcds.MemberID), c.Refs.Patient, id, name, c.Get(cpcds.ClaimPayeeRelationship))
}
