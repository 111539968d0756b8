package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExcerpt(t *testing.T) {
	in := `{"resourceType":"ExplanationOfBenefit","id":"e1","meta":{"lastUpdated":"2024-01-01","profile":["urn:p"]},
		"use":"claim","type":{"coding":[{"system":"urn:\"s","version":"1","code":"oral"}]},
		"item":[{"sequence":1,"adjudication":[{"category":{"coding":[{"system":"urn:s","code":"paid"}]},"amount":{"value":1.50}},
		{"category":{"coding":[{"system":"urn:s","code":"` + strings.Repeat("x", 30) + `"}]},"amount":{"value":2.00}}]},{"sequence":2}]}`
	want := `{
  "resourceType": "ExplanationOfBenefit",
  "id": "e1",
  "meta": {"profile":["urn:p"]},
  "type": {"coding":[{"code":"oral"}]},
  "item": [
    {
      "sequence": 1,
      "adjudication": [
        {"category":{"coding":[{"code":"paid"}]},"amount":{"value":1.50}},
        {"category":{"coding":[{"code":"` + strings.Repeat("x", 30) + `"}]},"amount":{"value":2.00}}
      ]
    }
  ]
}`
	lines, more, err := excerpt([]byte(in))
	if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" || err != nil || more < 10 {
		t.Errorf("%d more lines, %v (-want +got):\n%s", more, err, diff)
	}
	if _, _, err := excerpt([]byte(`[]`)); err == nil {
		t.Error("an array is no resource, and no error says so")
	}
}
