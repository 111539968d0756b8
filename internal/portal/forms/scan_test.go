package forms

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestScan finds what has no place in free text. Whatever looks like a secret here is put together, so that nobody's
// scanner takes this file for a leak.
func TestScan(t *testing.T) {
	mixed := strings.Repeat("aB3dE5gH", 6)
	for _, c := range []struct {
		text string
		want string // kinds, in the order of the patterns
	}{
		// Secrets.
		{"my secret is cfh_" + "live_8sK2jd92", Secret},
		{"CFH_" + "TEST_abcdef123", Secret},
		{"token ey" + "JhbGciOiJSUzI1NiJ9.ey" + "JzdWIiOiIxMjM0In0.abc", Secret},
		{"-----BEGIN " + "RSA PRIVATE KEY-----", PrivateKey},
		{"-----BEGIN " + "PRIVATE KEY-----", PrivateKey},
		{`{"kty":"EC","d":"` + mixed[:20] + `"}`, PrivateKey},
		{"Authorization: Bearer abcdef12345", Secret},
		{"curl -H 'authorization: basic QWxhZGRpbjpvcGVu'", Secret},
		{"client_secret=hunter22!", Secret},
		{"password: Tr0ub4dor", Secret},
		{"la contraseña es Sol2026x", Secret},
		{"here: " + mixed, Secret},
		{"sum " + strings.Repeat("0af9", 10), Secret},
		{"https://app.example.org/cb?code=" + mixed, Secret},
		{"cfh_\u200blive_8sK2jd92", Secret},
		// Persons.
		{"SSN 123-45-6789", SSN},
		{"ssn: 123456789", SSN},
		{"my social security number is 123 45 6789", SSN},
		{"número de seguro social 123-45-6789", SSN},
		{"１２３-４５-６７８９", SSN},
		{"123‑45‑6789", SSN},
		{"1EG4-TE5-MK73", Medicare},
		{"mbi 1eg4te5mk73", Medicare},
		{"member 900123456K has no claims", MemberID},
		{"Medicaid number 0123456789", MemberID},
		{"patient id: AB12345678", MemberID},
		{"número de afiliado 12345678", MemberID},
		{"DOB 05/17/1984", BirthDate},
		{"date of birth: 1984-05-17", BirthDate},
		{"born on May 17, 1984", BirthDate},
		{"she was born 17 May 1984", BirthDate},
		{"fecha de nacimiento 17/05/1984", BirthDate},
		{"nació el 17 de mayo de 1984", BirthDate},
		{"SSN 123-45-6789, born 1984-05-17", SSN + " " + BirthDate},
		// What people write all the time.
		{"", ""},
		{"Please call 555-010-0123 or (555) 010-0123.", ""},
		{"GET /ExplanationOfBenefit?_lastUpdated=gt2026-01-01 gave 403", ""},
		{"X-Request-Id: 4f1c0a9e2b7d4c56", ""},
		{"trace 4bf92f3577b34da6a3ce929d0e0e4736", ""},
		{"id 123e4567-e89b-12d3-a456-426614174000", ""},
		{"See https://www.cms.gov/Regulations-and-Guidance/Guidance/Interoperability/index2026.html", ""},
		{"the refresh_token is missing in the answer", ""},
		{"The password is wrong, it says.", ""},
		{"client_secret=<your secret here>", ""},
		{"client_secret: ${CLIENT_SECRET}", ""},
		{"password=********", ""},
		{"-----BEGIN CERTIFICATE-----", ""},
		{"000-12-3456 and 666-12-3456 and 912-34-5678", ""},
		{"on 2026-11-30 at 18:26 we got 1,234,567 rows", ""},
		{"the app was born 2019 in Raleigh", ""},
		{"members since 2026-01-01", ""},
		{"the quite-long-and-harmless-name-of-a-branch-with-words", ""},
		{"patients 100 of 2000", ""},
		{"eyJ is how a token begins", ""},
	} {
		var got []string
		for _, f := range Scan(c.text) {
			got = append(got, f.Kind)
			if f.Line != 1 {
				t.Errorf("%q is in line %d", c.text, f.Line)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q has %v, want %q", c.text, got, c.want)
		}
	}
	got := Scan("fine\nSSN 123-45-6789 and 123-45-6780\n\ncfh_" + "test_abcdefgh\nSSN 123-45-6789")
	if want := []Finding{{SSN, 2}, {Secret, 4}, {SSN, 5}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if s := fmt.Sprintf("%+v", got); strings.Contains(s, "6789") || strings.Contains(s, "cfh_") {
		t.Errorf("a finding has what it found: %s", s)
	}
}

func TestWarnings(t *testing.T) {
	f := builtIn(t).Form(Support)
	a := Answers{"subject": {"SSN 123-45-6789"}, "message": {"born 1984-05-17\nand born 1985-05-17\ncfh_" + "live_abcdefgh"}, "email": {"a@example.org"}, "request_id": {"SSN 123-45-6789"}}
	var got []string
	for _, p := range f.Warnings(a) {
		got = append(got, p.Question+" "+p.Key)
		if p.Text.EN == "" || p.Text.ES == "" {
			t.Errorf("%s says nothing", p.Key)
		}
	}
	// The id of a request is not asked as long as there is no topic.
	if want := []string{"subject scan_ssn", "message scan_birth_date", "message scan_secret"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// FuzzScan has to come to an end, and to count lines.
func FuzzScan(f *testing.F) {
	f.Add("SSN 123-45-6789\n\x00")
	f.Add(strings.Repeat("a1B", 200))
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return
		}
		for _, found := range Scan(text) {
			if found.Line < 1 || found.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("line %d", found.Line)
			}
		}
		Confusable(text)
		Reserved(text)
	})
}

func TestConfusable(t *testing.T) {
	for _, same := range [][]string{
		{"Google Docs", "Gооgle Docs" /* two Cyrillic о */, "GOOGLE DOCS", "Google  Docs!", "Ｇｏｏｇｌｅ Ｄｏｃｓ", "G\u200boogle\u00a0Docs", "G00gle D0cs", "𝐆𝐨𝐨𝐠𝐥𝐞 𝐃𝐨𝐜𝐬", "Gοοgle Dοcs" /* Greek ο */, "Góogle Dòcs"},
		{"Health Budget", "Неаlth Вudgеt" /* Cyrillic */, "ΗΕΑLΤΗ ΒUDGΕΤ" /* Greek */, "HeaIth Budget" /* capital i */, "Hea1th Budget", "hea|th budget", "Hea!th Budget", "Health\u00adBudget", "Ηealth\u2060Budget"},
		{"Modern Clinic", "Modem Clinic", "MODERN CLINIC"},
		{"Wellness", "VVellness", "ԝellness"},
		{"Salud", "Sálud", "$alud", "SALUD", "Ѕаlυd"},
		{"Миру мир", "МИРУ МИР"},
		{"健康", "健康 "},
	} {
		want := Confusable(same[0])
		for _, name := range same[1:] {
			if got := Confusable(name); got != want {
				t.Errorf("%q is %q, and %q is %q", name, got, same[0], want)
			}
		}
	}
	seen := map[string]string{}
	for _, name := range []string{"Health Budget", "Health Buddy", "My Health", "MyHealthy", "Claims", "Claire", "健康", "医療", "!!!", "???", "♥", "Budget", "Gadget"} {
		s := Confusable(name)
		if s == "" || seen[s] != "" {
			t.Errorf("%q is %q, as %q is", name, s, seen[s])
		}
		seen[s] = name
	}
	if got := Confusable(Confusable("Nоrth Саrolina")); got != Confusable("North Carolina") {
		t.Errorf("a skeleton has another skeleton: %q", got)
	}
}

func TestReserved(t *testing.T) {
	for name, want := range map[string]string{
		"Health Budget":                "",
		"Medicaid Connect":             "medicaid",
		"Меdiсаid" + "Plus":            "medicaid",
		"M3DICAID":                     "medicaid",
		"My-Medi\u200bcaid":            "medicaid",
		"CMS Viewer":                   "cms",
		"C.M.S. Viewer":                "cms",
		"Acme CMSoft":                  "",
		"Official Blue Button":         "official|blue button",
		"Chip's Fitness":               "chip",
		"Chipmunk":                     "",
		"NCDHHS Viewer":                "NCDHHS",
		"North Carolina Claims":        "North Carolina",
		"Nоrth-Саrolinа claims":        "North Carolina",
		"Department of Healthy Eating": "department of health",
		"Gobierno y salud":             "gobierno",
		"":                             "",
	} {
		if got := strings.Join(Reserved(name, "North Carolina", "NCDHHS", ""), "|"); got != want {
			t.Errorf("%q has %q, want %q", name, got, want)
		}
	}
}
