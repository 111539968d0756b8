package store

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"cpcds2fhir/schemas/fhir"
)

// claims makes EOBs as a mapper writes them, of about 14 KB: the same fragments
// in every one, with ids, codes, dates and amounts of its own.
type claims struct {
	rnd      *rand.Rand
	identity *fhir.Identity
}

func newClaims(seed uint64) *claims {
	return &claims{rand.New(rand.NewPCG(seed, 1)), fhir.NewIdentity([]byte("a key for tests"))}
}

func (c *claims) digits(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + c.rnd.IntN(10))
	}
	return string(b)
}

func (c *claims) date() string {
	return fmt.Sprintf("202%d-%02d-%02d", c.rnd.IntN(4), 1+c.rnd.IntN(12), 1+c.rnd.IntN(28))
}

func (c *claims) money() string { return fmt.Sprintf("%d.%02d", c.rnd.IntN(900), c.rnd.IntN(100)) }

// add adds the EOB of a claim number; amount varies its content.
func (c *claims) add(b *fhir.Batch, number int, amount string) {
	claim := fmt.Sprintf("clm-%09d", number)
	id := c.identity.Raw(fhir.ExplanationOfBenefit, "payer", claim).ID(fhir.ExplanationOfBenefit)
	patient := fhir.Reference(fhir.Patient, c.identity.Raw(fhir.Patient, "payer", fmt.Sprint(number/40)).ID(fhir.Patient))
	provider := fhir.Reference(fhir.Organization, c.identity.Raw(fhir.Organization, fmt.Sprint(number%500)).ID(fhir.Organization))
	coverage := fhir.Reference(fhir.Coverage, c.identity.Raw(fhir.Coverage, fmt.Sprint(number/40)).ID(fhir.Coverage))
	insurer := fhir.Reference(fhir.Organization, c.identity.Raw(fhir.Organization, "payer").ID(fhir.Organization))
	care := fhir.Reference(fhir.Practitioner, c.identity.Raw(fhir.Practitioner, fmt.Sprint(number%700)).ID(fhir.Practitioner))
	day, updated := c.date(), c.date()+"T03:04:05Z"

	var w strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&w, format, args...) }
	const money = `"amount":{"value":%s,"currency":"USD"}`
	p(`{"resourceType":"ExplanationOfBenefit","id":"%s","meta":{"lastUpdated":"%s","profile":["http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-ExplanationOfBenefit-Professional-NonClinician|2.2.0"]},`, id, updated)
	p(`"identifier":[{"type":{"coding":[{"system":"http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBIdentifierType","code":"uc"}]},"system":"https://payer.example/claims","value":"%s"}],"status":"active",`, claim)
	p(`"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/claim-type","code":"professional"}]},"use":"claim","patient":{"reference":"%s"},"billablePeriod":{"start":"%s","end":"%s"},"created":"%s",`, patient, day, day, updated)
	p(`"insurer":{"reference":"%s"},"provider":{"reference":"%s"},"outcome":"complete",`, insurer, provider)
	p(`"careTeam":[{"sequence":1,"provider":{"reference":"%s"},"role":{"coding":[{"system":"http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBClaimCareTeamRole","code":"performing"}]}}],"diagnosis":[`, care)
	for i := range 4 {
		p(`{"sequence":%d,"diagnosisCodeableConcept":{"coding":[{"system":"http://hl7.org/fhir/sid/icd-10-cm","code":"%c%s"}]},"type":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/ex-diagnosistype","code":"principal"}]}]},`, i+1, 'A'+c.rnd.IntN(26), c.digits(4))
	}
	p(`{}],"insurance":[{"focal":true,"coverage":{"reference":"%s"}}],"item":[`, coverage)
	for line := range 8 {
		p(`{"sequence":%d,"productOrService":{"coding":[{"system":"http://www.ama-assn.org/go/cpt","code":"%s"}]},"servicedDate":"%s","locationCodeableConcept":{"coding":[{"system":"https://www.cms.gov/Medicare/Coding/place-of-service-codes/Place_of_Service_Code_Set","code":"%s"}]},"quantity":{"value":%d},"adjudication":[`, line+1, c.digits(5), day, c.digits(2), c.rnd.IntN(9)+1)
		for _, kind := range []string{"submitted", "eligible", "deductible", "benefit", "copay", "memberliability"} {
			p(`{"category":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/adjudication","code":"%s"}]},`+money+`},`, kind, c.money())
		}
		p(`{"category":{"coding":[{"system":"http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudicationDiscriminator","code":"benefitpaymentstatus"}]},"reason":{"coding":[{"system":"http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBPayerAdjudicationStatus","code":"innetwork"}]}}]},`)
	}
	p(`{}],"total":[{"category":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/adjudication","code":"submitted"}]},`+money+`}]}`, amount)

	b.Add(&fhir.Resource{
		Type: fhir.ExplanationOfBenefit, ID: id, LastUpdated: updated, SourceVersion: updated, JSON: []byte(w.String()),
		Keys: []fhir.Key{
			{Param: fhir.ParamPatient, Value: patient},
			{Param: fhir.ParamIdentifier, Value: "https://payer.example/claims|" + claim},
			{Param: fhir.ParamType, Value: "http://terminology.hl7.org/CodeSystem/claim-type|professional"},
			{Param: fhir.ParamServiceDate, Value: day + "/" + day},
			{Param: fhir.ParamServiceStartDate, Value: day},
			{Param: fhir.ParamBillablePeriodStart, Value: day},
			{Param: fhir.ParamCareTeam, Value: care},
			{Param: fhir.ParamProvider, Value: provider},
			{Param: fhir.ParamCoverage, Value: coverage},
			{Param: fhir.ParamInsurer, Value: insurer},
		},
	})
}
