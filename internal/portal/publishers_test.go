package portal

import (
	"testing"
)

// TestNamesOfPublishers proves that no organisation gets a name that looks like another's, or like the agency's: members decide by
// it. People who work alone may have the same name as each other.
func TestNamesOfPublishers(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		_, a := k.organisation(k.actor("Mallory Maker", NoStaff), "Good Health")
		add := func(by *Actor, name string, solo bool) (*Organisation, error) {
			return by.AddOrganisation(ctx, &Organisation{Name: name, Legal: "Something", Type: "company", Website: "https://www.apps.example/", Solo: solo})
		}
		before := k.count("portal_organisations")
		for name, code := range map[string]string{
			"Apps": "taken_publisher", "APPS": "taken_publisher", "\u0410pps": "taken_publisher", "A-p-p-s": "taken_publisher", "Agency of Health": "official", "Medicaid": "official",
		} {
			_, err := add(a, name, false)
			input(t, err, "name", code)
			_, err = add(a, name, true)
			input(t, err, "name", code)
		}
		equal(t, k.count("portal_organisations"), before)

		mine := first2(a.Organisation(ctx, a.Members[0].Org))
		for name, code := range map[string]string{"\u0410pps": "taken_publisher", "Medicaid": "official"} {
			o := *mine
			o.Name = name
			input(t, a.UpdateOrganisation(ctx, &o), "name", code)
		}
		o := *mine
		o.Name = "GOOD health" // its own
		ok(t, a.UpdateOrganisation(ctx, &o))
		o.Name, o.Version = "Better Health", o.Version+1
		ok(t, a.UpdateOrganisation(ctx, &o))
		_, err := add(k.stranger, "Good Health", false) // what was given up
		ok(t, err)
		_, err = add(k.stranger, "Better Health", false)
		input(t, err, "name", "taken_publisher")

		// An app of the organisation with another name takes nothing away from it.
		k.opens()
		app := k.tested("Steps")
		s := app.Settings.clone()
		s.Name = "Steps Again"
		_, err = k.developer.UpdateApp(ctx, app.ID, app.Version, s)
		ok(t, err)
		_, err = add(a, "Apps", false)
		input(t, err, "name", "taken_publisher")

		for _, who := range []string{"Jo Smith", "Jo Smith"} {
			_, err := add(k.actor(map[bool]string{true: "One", false: "Two"}[k.count("portal_organisations")%2 == 0]+" Solo", NoStaff), who, true)
			ok(t, err)
		}

		// One that is closed gives its name back.
		solo := k.actor("Cleo Closing", NoStaff)
		_, solo = k.organisation(solo, "Soon Gone")
		ok(t, solo.DeleteAccount(ctx))
		_, err = add(a, "Soon Gone", false)
		ok(t, err)
	})
}
