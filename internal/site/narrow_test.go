package site

import (
	"slices"
	"strings"
	"testing"
)

func TestNarrow(t *testing.T) {
	for _, c := range []struct{ asked, kinds, chosen, want string }{
		// All kinds: as it was asked for.
		{"openid fhirUser launch/patient patient/*.read offline_access", "personal coverage claims", "personal coverage claims +", "openid fhirUser launch/patient patient/*.read offline_access"},
		{"patient/*.rs", "personal coverage claims", "personal coverage claims", "patient/*.rs"},
		{"user/*.read", "personal coverage claims", "personal coverage claims", "user/*.read"},
		{"patient/*.*", "personal coverage claims", "personal coverage claims", "patient/*.*"},

		// Fewer: the types, in the grammar of SMART 1 and 2.
		{"patient/*.read", "personal coverage claims", "personal", "patient/Patient.read patient/Organization.read patient/Practitioner.read"},
		{"patient/*.rs", "personal coverage claims", "personal claims", "patient/Patient.rs patient/ExplanationOfBenefit.rs patient/Organization.rs patient/Practitioner.rs"},
		{"patient/*.r patient/*.s", "personal coverage claims", "claims", "patient/ExplanationOfBenefit.r patient/Organization.r patient/Practitioner.r patient/ExplanationOfBenefit.s patient/Organization.s patient/Practitioner.s"},
		{"user/*.read", "personal coverage claims", "coverage", "user/Coverage.read user/RelatedPerson.read user/Organization.read user/Practitioner.read"},
		{"patient/*.cruds", "personal coverage claims", "personal", "patient/Patient.cruds patient/Organization.cruds patient/Practitioner.cruds"},

		// Named types.
		{"patient/Patient.read patient/Coverage.read patient/ExplanationOfBenefit.read patient/Organization.read patient/Practitioner.read", "personal coverage claims", "personal claims",
			"patient/Patient.read patient/ExplanationOfBenefit.read patient/Organization.read patient/Practitioner.read"},
		{"patient/Patient.rs user/Coverage.r", "personal coverage", "coverage", "user/Coverage.r"},
		{"patient/*.read patient/Coverage.rs", "personal coverage claims", "claims", "patient/ExplanationOfBenefit.read patient/Organization.read patient/Practitioner.read"},
		{"patient/Organization.read", "providers", "providers", "patient/Organization.read"},
		{"patient/ExplanationOfBenefit.rs?type=pharmacy patient/Patient.rs", "personal claims", "claims", "patient/ExplanationOfBenefit.rs?type=pharmacy"},

		// Offline access is a choice; without data there is nothing to read offline, but who it is.
		{"patient/*.read offline_access", "personal coverage claims", "personal coverage claims", "patient/*.read"},
		{"openid fhirUser", "", "", "openid fhirUser"},
		{"openid patient/*.read", "personal coverage claims", "", "openid"},

		// What a page does not speak of is not granted.
		{"patient/*.read system/*.read patient/Observation.read patient/*.write patient/Patient.cud what online_access", "personal coverage claims", "personal coverage claims", "patient/*.read"},
		{"patient/Observation.rs", "", "", ""},
	} {
		t.Run(c.asked+" "+c.chosen, func(t *testing.T) {
			a := read(strings.Fields(c.asked))
			var names []string
			for _, k := range a.kinds {
				names = append(names, k.name)
			}
			if got := strings.Join(names, " "); got != c.kinds {
				t.Errorf("kinds %q, want %q", got, c.kinds)
			}
			var chosen []*kind
			for _, k := range kinds {
				if slices.Contains(strings.Fields(c.chosen), k.name) {
					chosen = append(chosen, k)
				}
			}
			if got := strings.Join(a.narrow(chosen, strings.Contains(c.chosen, "+")), " "); got != c.want {
				t.Errorf("granted %q\nwant    %q", got, c.want)
			}
		})
	}
}

// TestPart tells a member if an app has asked for a part, unless it asked for the whole as well.
func TestPart(t *testing.T) {
	a := read([]string{"patient/ExplanationOfBenefit.rs?type=pharmacy%7Coral&service-date=ge2024", "patient/Coverage.rs?status=active", "patient/Coverage.read"})
	if got, want := a.part(claims), "type = pharmacy|oral, service-date = ge2024"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := a.part(coverage); got != "" {
		t.Errorf("%q of what was asked for as a whole", got)
	}
}
