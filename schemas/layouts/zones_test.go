package layouts

import (
	"strings"
	"testing"
	"time"

	"cpcds2fhir/schemas/cpcds"
)

// TestTimeZone reads instants as dates and as instants, with a zone and without. The text is
// what every source writes: CSV as it stands, Parquet and Arrow in the zone of their column.
func TestTimeZone(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	check := func(kind cpcds.Kind, zone *time.Location, in, want string) {
		t.Helper()
		f := form{kind: kind, round: -1, zone: zone}
		if got, rule := f.read(in); got != want || rule != "" {
			t.Errorf("%s in %v: got %q (%s), want %q", in, zone, got, rule, want)
		}
	}
	// Without a zone the day is the one that the text shows.
	check(cpcds.DateKind, nil, "2024-01-02T01:00:00Z", "2024-01-02")
	check(cpcds.DateKind, nil, "2024-01-01T20:00:00-05:00", "2024-01-01")
	check(cpcds.DateKind, nil, "2024-01-01T20:00:00", "2024-01-01")
	// With one it is the day there, however the instant is written.
	for _, same := range []string{"2024-01-02T01:00:00Z", "2024-01-01T20:00:00-05:00", "2024-01-02T06:30:00+05:30", "2024-01-02 01:00:00.25Z"} {
		check(cpcds.DateKind, newYork, same, "2024-01-01")
	}
	check(cpcds.DateKind, newYork, "2024-07-02T03:59:59Z", "2024-07-01")
	check(cpcds.DateKind, newYork, "2024-07-02T04:00:00Z", "2024-07-02")
	// What is no instant has the day that it has.
	check(cpcds.DateKind, newYork, "2024-01-02", "2024-01-02")
	check(cpcds.DateKind, newYork, "2024-01-02T00:00:00", "2024-01-02")
	// A clock without an offset goes as those of the zone do.
	check(cpcds.InstantKind, nil, "2024-01-01T20:00:00", "2024-01-01T20:00:00Z")
	check(cpcds.InstantKind, newYork, "2024-01-01T20:00:00", "2024-01-02T01:00:00Z")
	check(cpcds.InstantKind, newYork, "2024-07-01 20:00", "2024-07-02T00:00:00Z")
	check(cpcds.InstantKind, newYork, "2024-01-02", "2024-01-02T05:00:00Z")
	check(cpcds.InstantKind, newYork, "2024-01-02T01:00:00Z", "2024-01-02T01:00:00Z")

	// Offsets as DuckDB and Polars write them.
	check(cpcds.InstantKind, nil, "2024-01-02 01:00:00+00", "2024-01-02T01:00:00Z")
	check(cpcds.InstantKind, nil, "2024-01-02T01:00:00-0500", "2024-01-02T06:00:00Z")
	check(cpcds.InstantKind, nil, "2024-01-02T01:00:00.5+00:00", "2024-01-02T01:00:00.5Z")
	check(cpcds.InstantKind, newYork, "9999-12-31T23:00:00", "9999-12-31T23:00:00-05:00") // year 10000 in UTC
	check(cpcds.DateKind, newYork, "2024-01-02T01:00:00.000000+0000", "2024-01-01")
	for _, bad := range []string{"2024-01-02T01:00:00+0", "2024-01-02T01:00:00+000", "2024-01-02T01:00:00+24", "2024-01-02T01:00:00+05:3"} {
		if got, rule := (&form{kind: cpcds.InstantKind, round: -1}).read(bad); rule == "" {
			t.Errorf("%s is taken for %s", bad, got)
		}
	}

	f := form{kind: cpcds.DateKind, round: -1, zone: newYork, formats: []dateFormat{mustFormat(t, "MM/DD/YYYY hh:mmZ"), mustFormat(t, "MM/DD/YYYY hh:mm")}}
	if got, _ := f.read("01/02/2024 01:00Z"); got != "2024-01-01" {
		t.Errorf("an instant of a format is %s, want the day in New York", got)
	}
	if got, _ := f.read("01/02/2024 01:00"); got != "2024-01-02" {
		t.Errorf("a clock of a format is %s, want its own day", got)
	}
}

func mustFormat(t *testing.T, pattern string) dateFormat {
	t.Helper()
	f, err := parseFormat(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTimeZoneKey(t *testing.T) {
	src := `layout: zoned
time_zone: America/Chicago
tables:
  members: {key: [member_id], required: [member_id], columns: {member_id: ID, date_of_birth: Born, member_last_updated_date: Changed, gender_code: Sex}}
`
	l, findings := parse("zoned.yaml", []byte(src), nil)
	if l == nil || l.Zone == nil || l.Zone.String() != "America/Chicago" {
		t.Fatalf("got %v, want a layout with its zone", findings)
	}
	if c := l.Table(cpcds.Members).column(cpcds.MembersDateOfBirth); c.form.zone != l.Zone {
		t.Errorf("a column has the zone %v", c.form.zone)
	}
	for _, bad := range []string{"Local", "Mars/Olympus", `""`} {
		_, findings = parse("zoned.yaml", []byte(strings.Replace(src, "America/Chicago", bad, 1)), nil)
		if len(findings) == 0 || !strings.Contains(findings[0].Message, "is not a time zone") || findings[0].Line != 2 {
			t.Errorf("%s: got %v, want that it is not a time zone", bad, findings)
		}
	}
}
