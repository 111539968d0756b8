package fhir

import (
	"encoding/binary"
	"testing"
	"time"
)

func TestCompareVersions(t *testing.T) {
	for _, x := range []struct {
		older, newer string
	}{
		{"", "1"},
		{"", "2024-01-01"},
		{"9", "10"},
		{"09", "10"},
		{"9.5", "10"},
		{"1.5", "1.75"},
		{"99999999999999999999", "100000000000000000000"},
		{"A", "B"},
		{"2024-03-20", "2024-03-21"},
		{"2024-03-21T01:00:00Z", "2024-03-20T23:30:00-05:00"},
		{"2024-11-03T01:30:00-04:00", "2024-11-03T01:10:00-05:00"},
		{"2024-03-20T10:00:00Z", "2024-03-20T10:00:00.5Z"},
		{"2024-03-20T10:00:00.25Z", "2024-03-20T10:00:00.5Z"},
		{"2024-03-20T10:00:00.123456788Z", "2024-03-20T10:00:00.123456789Z"},
		{"2024-03-20T10:00:00.9Z", "2024-03-20T10:00:01Z"},
		{"2024-03-20", "2024-03-20 00:00:01"},
		{"0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"},
	} {
		if order, ok := CompareVersions(x.older, x.newer); !ok || order >= 0 {
			t.Errorf("CompareVersions(%q, %q) = %d, %t", x.older, x.newer, order, ok)
		}
		if order, ok := CompareVersions(x.newer, x.older); !ok || order <= 0 {
			t.Errorf("CompareVersions(%q, %q) = %d, %t", x.newer, x.older, order, ok)
		}
	}
	for _, x := range [][2]string{
		{"", ""},
		{"1", "01"},
		{"1.50", "1.5"},
		{"2024-03-20", "2024-03-20T00:00:00Z"},
		{"2024-03-20T10:00:00Z", "2024-03-20T10:00:00.000Z"},
		{"2024-03-20T10:00:00Z", "2024-03-20T05:00:00-0500"},
		{"2024-03-20T10:00Z", "2024-03-20 12:00:00+02"},
	} {
		if order, ok := CompareVersions(x[0], x[1]); !ok || order != 0 {
			t.Errorf("CompareVersions(%q, %q) = %d, %t", x[0], x[1], order, ok)
		}
	}
	for _, x := range [][2]string{
		{"1", "2024-03-20"},
		{"20240320", "2024-03-20"},
		{"7", "A"},
		{"2024-13-40", "2024-03-20"}, // no day of the calendar is a text
	} {
		if _, ok := CompareVersions(x[0], x[1]); ok {
			t.Errorf("CompareVersions(%q, %q) finds an order", x[0], x[1])
		}
	}
}

// TestParseInstant compares with the calendar of the standard library.
func TestParseInstant(t *testing.T) {
	first, _ := ParseInstant("0001-01-01")
	day := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	for ; day.Year() < 10000; day = day.AddDate(0, 0, 13) {
		at := day.Add(time.Duration(day.YearDay()) * 239 * time.Second)
		key, ok := ParseInstant(at.Format(time.RFC3339))
		got := binary.BigEndian.Uint64(key[:]) - binary.BigEndian.Uint64(first[:])
		if want := uint64(at.Unix() - time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()); !ok || got != want {
			t.Fatalf("%s: %d seconds, want %d", at, got, want)
		}
	}
	for _, s := range []string{"", "2024", "2024-02-30", "2023-02-29", "2024-00-01", "0000-01-01", "2024-01-01X", "2024-01-01T", "2024-01-01T24:00",
		"2024-01-01T10:60", "2024-01-01T10:00:60", "2024-01-01T10:00:00.", "2024-01-01T10:00:00+15:00", "2024-01-01T10:00:00+1", "2024-01-01T10:00:00z", "2024-1-01-01"} {
		if _, ok := ParseInstant(s); ok {
			t.Errorf("%q is taken for an instant", s)
		}
	}
}
