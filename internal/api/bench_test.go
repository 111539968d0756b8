package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cpcds2fhir/schemas/fhir"
)

// BenchmarkAnswers compares answers of the server with those of a handler that writes the same bytes from
// memory: 50 claims of 17.5 KB of a member, and one of them.
func BenchmarkAnswers(b *testing.B) {
	w := newWorld(b, 2)
	var batch fhir.Batch
	filler := strings.Repeat(`{"sequence":1,"adjudication":[{"category":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/adjudication","code":"submitted"}]},"amount":{"value":19.00,"currency":"USD"}}]},`, 97)
	for i := range 400 {
		id, own := fmt.Sprintf("big%03d", i), fmt.Sprintf("big%d", i/50)
		text := fmt.Sprintf(`{"resourceType":"ExplanationOfBenefit","id":%q,"meta":{"lastUpdated":"2025-01-02T03:04:05Z","profile":["http://example.org/p"]},"patient":{"reference":"Patient/%s"},"item":[%s]}`,
			id, own, strings.TrimSuffix(filler, ","))
		keys := []fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/" + own}, {Param: fhir.ParamServiceDate, Value: "2024-03-03/2024-03-03"}}
		batch.Add(&fhir.Resource{Type: fhir.ExplanationOfBenefit, ID: id, LastUpdated: "2025-01-02T03:04:05Z", JSON: []byte(text), Keys: keys})
	}
	if err := w.store.Apply(context.Background(), &batch, nil); err != nil {
		b.Fatal(err)
	}
	s := w.serve(b, nil)
	for name, path := range map[string]string{"search": "/fhir/ExplanationOfBenefit?patient=big3", "read": "/fhir/ExplanationOfBenefit/big123"} {
		text := do(b, s, request{path: path}).body
		bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/fhir+json; charset=utf-8")
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			_, _ = w.Write(text)
		}))
		defer bare.Close()
		for who, url := range map[string]string{"server": s.URL + path, "bare": bare.URL} {
			b.Run(name+"/"+who, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.RunParallel(func(p *testing.PB) {
					client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
					for p.Next() {
						resp, err := client.Get(url)
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
				})
			})
		}
	}
}
