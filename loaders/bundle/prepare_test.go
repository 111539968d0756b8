package bundle

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/schemas/fhir"
)

// wave is a bundle of resources of these sizes.
func wave(sizes ...int) (b bundle) {
	for i, n := range sizes {
		b.add(i, fhirclient.Write{Reference: fhirclient.Reference{Type: "Patient", ID: fmt.Sprint(i)}, JSON: make([]byte, n)})
	}
	return b
}

func counts(list []bundle) (n []int) {
	for i := range list {
		n = append(n, list[i].len())
	}
	return n
}

func TestPack(t *testing.T) {
	for _, c := range []struct {
		name                   string
		entries, bytes, atOnce int
		sizes                  []int
		want                   []int
	}{
		{"nothing", 10, 0, 4, nil, nil},
		{"no limit", 0, 0, 1, make([]int, 7), []int{7}},
		{"at the limit of entries", 7, 0, 1, make([]int, 7), []int{7}},
		{"one more", 6, 0, 1, make([]int, 7), []int{6, 1}},
		{"at the limit of bytes", 0, 2 * (overhead + 600 + 16), 1, []int{600, 600}, []int{2}},
		{"one byte more", 0, 2*(overhead+600+16) - 1, 1, []int{600, 600}, []int{1, 1}},
		{"larger than a bundle", 10, 5000, 1, []int{10, 9000, 10}, []int{1, 1, 1}},
		{"both limits", 3, 3000, 1, []int{100, 100, 100, 100, 1500, 1500}, []int{3, 2, 1}},
		{"smaller at the end", 100, 0, 4, make([]int, 600), []int{100, 100, 100, 75, 57, 42, 32, 25, 25, 25, 19}},
		{"one bundle is divided", 100, 0, 4, make([]int, 100), []int{25, 25, 25, 25}},
		{"no small rest", 100, 0, 4, make([]int, 55), []int{25, 30}},
		{"a few", 100, 0, 4, make([]int, 12), []int{12}},
		{"one entry each", 1, 0, 4, make([]int, 3), []int{1, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := wave(c.sizes...)
			got := pack(b, c.entries, c.bytes, c.atOnce)
			if diff := cmp.Diff(c.want, counts(got)); diff != "" {
				t.Errorf("entries of the bundles (-want +got):\n%s", diff)
			}
			next := 0
			for _, p := range got {
				for _, i := range p.entries {
					if i != next {
						t.Fatalf("entry %d comes where %d should", i, next)
					}
					next++
				}
			}
			if next != len(c.sizes) {
				t.Errorf("%d entries are packed of %d", next, len(c.sizes))
			}
		})
	}
}

// The bytes of a bundle must be within the limit as they are sent: the client's text is about this.
func TestOverheadIsEnough(t *testing.T) {
	id := strings.Repeat("i", 64)
	w := fhirclient.Write{Reference: fhirclient.Reference{Type: "ExplanationOfBenefit", ID: id}, JSON: []byte("{}"), IfMatch: "123456"}
	text, err := json.Marshal(map[string]any{
		"fullUrl": "https://a-rather-long-host-name.of-some-cloud.example.org/organisations/an-organisation/fhir/r4/" + w.String(), "resource": map[string]any{},
		"request": map[string]string{"method": "PUT", "url": w.String(), "ifMatch": `W/"` + w.IfMatch + `"`},
	})
	if err != nil {
		t.Fatal(err)
	}
	if size := sizeOf(&w); len(text)+1 > size {
		t.Errorf("an entry has %d bytes, and is taken for %d", len(text)+1, size)
	}
}

func TestRoundsAndWaves(t *testing.T) {
	entries := []remote.Entry{
		{Type: fhir.ExplanationOfBenefit, ID: "a"},
		{Type: fhir.Patient, ID: "a"},
		{Type: fhir.Patient, ID: "b", Deleted: true},
		{Type: fhir.ExplanationOfBenefit, ID: "a", Deleted: true}, // the second of its resource
		{Type: fhir.Organization, ID: "a"},
		{Type: fhir.Coverage, ID: "c", Deleted: true},
		{Type: fhir.ExplanationOfBenefit, ID: "a"}, // and the third
	}
	var got [][]int
	for _, round := range rounds(entries) {
		for _, w := range waves(entries, round) {
			if len(w) > 0 {
				got = append(got, w)
			}
		}
	}
	want := [][]int{{4}, {1}, {0}, {5}, {2}, {3}, {6}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order of sending (-want +got):\n%s", diff)
	}
}

func TestReferences(t *testing.T) {
	const resource = `{"resourceType":"ExplanationOfBenefit","note":"\"reference\":\"Patient/no\"","patient":{"reference":"Patient/a"},` +
		`"related":[{"reference":{"value":"7"}}],"insurer":{ "reference" : "Organization/o" },"provider":{"reference":"#contained"},"x":{"reference":"Patient/ab"}}`
	for ref, want := range map[string]bool{"Patient/a": true, "Organization/o": true, "Patient/no": false, "Patient/b": false, "Patient/ab": true, "7": false} {
		if got := refersTo([]byte(resource), map[string]bool{ref: true}); got != want {
			t.Errorf("refersTo %s = %v", ref, got)
		}
	}
	for _, broken := range []string{`{"reference"`, `{"reference":`, `{"reference":"Patient/a`, `"reference" "x"`} {
		refersTo([]byte(broken), map[string]bool{"Patient/a": true})
	}
}

// BenchmarkPack measures what a resource costs before the client has it.
func BenchmarkPack(b *testing.B) {
	var entries []remote.Entry
	body := []byte(`{"resourceType":"ExplanationOfBenefit","id":"x","patient":{"reference":"Patient/a"},"text":"` + strings.Repeat("x", 8000) + `"}`)
	for i := range 1000 {
		entries = append(entries, remote.Entry{Type: fhir.ExplanationOfBenefit, ID: fmt.Sprintf("e%026d", i), JSON: body})
	}
	c := &call{Sender: New(nil), entries: entries, answers: make([]remote.Answer, len(entries)), settings: fhirclient.Settings{Entries: 100, Bytes: 8 << 20, IfMatch: true}}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		for _, round := range rounds(entries) {
			for _, w := range waves(entries, round) {
				p, err := c.prepare(b.Context(), w)
				if err != nil {
					b.Fatal(err)
				}
				if list := pack(p, c.settings.Entries, c.settings.Bytes, 1); len(w) > 0 && len(list) != 10 {
					b.Fatal(len(list))
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(entries)), "ns/resource")
}
