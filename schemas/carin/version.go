// Package carin holds the parts of the CARIN Blue Button implementation guide that the program
// needs: releases, profiles, code systems and rules.
//
// Sources are the StructureDefinitions, ValueSets and CodeSystems of the guide,
// http://hl7.org/fhir/us/carin-bb, releases 2.0.0 and 2.2.0. Where the guide's own invariants do
// not do what their text says, the rules here implement what was meant.
package carin

import (
	"fmt"

	"cpcds2fhir/schemas/cpcds"
)

// Version is a release of the guide, with what differs between releases.
type Version struct {
	Name string // "2.2.0"

	SysICD9CM       string // ICD-9-CM diagnoses
	SysICD9PCS      string // ICD-9-CM volume 3 procedures
	SysPOA          string // present on admission
	SysToothSurface string

	PaidFromHealthAccnt bool // C4BBAdjudication has paidbypatienthealthaccount
	RefillsAuthorized   bool // supportingInfo:refillsAuthorized is required
	OneReason           bool // an item has at most one adjustmentreason or rejectreason
	Basis               bool // the profiles are those without amounts
	TypeVersion         string
	IdentifierVersion   string // of v2-0203, which patterns of 2.2.0 demand
	AbsentVersion       string // of data-absent-reason

	lacking map[cpcds.Element]CodeSet // codes of value sets that the release does not have
}

// The releases.
var (
	V220 = &Version{
		Name:                "2.2.0",
		SysICD9CM:           "http://hl7.org/fhir/sid/icd-9-cm",
		SysICD9PCS:          "http://hl7.org/fhir/sid/icd-9-cm",
		SysPOA:              "https://www.cms.gov/Medicare/Medicare-Fee-for-Service-Payment/HospitalAcqCond/Coding",
		SysToothSurface:     "http://terminology.hl7.org/CodeSystem/ADAToothSurfaceCodes",
		PaidFromHealthAccnt: true,
		TypeVersion:         "1.0.1",
		IdentifierVersion:   "5.0.0",
		AbsentVersion:       "1.0.0",
	}
	V200 = &Version{
		Name:              "2.0.0",
		SysICD9CM:         "http://terminology.hl7.org/CodeSystem/icd9",
		SysICD9PCS:        "http://www.cms.gov/Medicare/Coding/ICD9",
		SysPOA:            "https://www.nubc.org/CodeSystem/PresentOnAdmissionIndicator",
		SysToothSurface:   "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBSurfaceCodes",
		RefillsAuthorized: true,
		OneReason:         true,
		lacking:           lacking200,
	}
)

// ParseVersion returns the release with a name.
func ParseVersion(name string) (*Version, error) {
	switch name {
	case V220.Name:
		return V220, nil
	case V200.Name:
		return V200, nil
	}
	return nil, fmt.Errorf("unknown CARIN version %q: use 2.2.0 or 2.0.0", name)
}

// v220Basis is 2.2.0 with the Basis profiles of Provider Access and Payer-to-Payer exchange: the
// same claims without their amounts.
var v220Basis = func() *Version {
	v := *V220
	v.Basis = true
	return &v
}()

// Profiles are the names of the guide's sets of ExplanationOfBenefit profiles, the default first.
var Profiles = []string{"financial", "basis"}

// WithProfiles returns the release with the named set of profiles.
func (v *Version) WithProfiles(word string) (*Version, error) {
	switch {
	case word == Profiles[0]:
		return v, nil
	case word != Profiles[1]:
		return nil, fmt.Errorf("unknown profiles %q: use %s or %s", word, Profiles[0], Profiles[1])
	case v.Name == V220.Name:
		return v220Basis, nil
	}
	return nil, fmt.Errorf("release %s of the guide has no Basis profiles; use release %s", v.Name, V220.Name)
}

// Profile is one of the five kinds of ExplanationOfBenefit.
type Profile uint8

// The profiles. Vision claims are Professional.
const (
	Inpatient Profile = iota
	Outpatient
	Professional
	Pharmacy
	Oral
	NumProfiles
)

var profileNames = [NumProfiles]string{"inpatient", "outpatient", "professional", "pharmacy", "oral"}

func (p Profile) String() string { return profileNames[p] }

var profileIDs = [NumProfiles]string{
	"C4BB-ExplanationOfBenefit-Inpatient-Institutional",
	"C4BB-ExplanationOfBenefit-Outpatient-Institutional",
	"C4BB-ExplanationOfBenefit-Professional-NonClinician",
	"C4BB-ExplanationOfBenefit-Pharmacy",
	"C4BB-ExplanationOfBenefit-Oral",
}

// Canonical returns the versioned URL of a StructureDefinition of the guide, as
// meta.profile must hold it.
func (v *Version) Canonical(id string) string {
	return "http://hl7.org/fhir/us/carin-bb/StructureDefinition/" + id + "|" + v.Name
}

// ProfileURL is Canonical for a profile.
func (v *Version) ProfileURL(p Profile) string {
	if v.Basis {
		return v.Canonical(profileIDs[p] + "-Basis")
	}
	return v.Canonical(profileIDs[p])
}

// ProfileOf tells which profile a claim must conform to, by claim type and sub
// type. ok is false if these name none.
func ProfileOf(c *cpcds.Claim) (p Profile, ok bool) {
	switch c.Get(cpcds.ClaimType) {
	case "institutional":
		switch c.Get(cpcds.ClaimSubType) {
		case "inpatient":
			return Inpatient, true
		case "outpatient":
			return Outpatient, true
		}
	case "professional", "vision":
		return Professional, true
	case "pharmacy":
		return Pharmacy, true
	case "oral":
		return Oral, true
	}
	return 0, false
}
