package fhirclient

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

func TestOnce(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/fhir+json")
		if r.URL.Path == "/fhir/metadata" {
			_, _ = w.Write([]byte(`{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{"mode":"server","resource":[{"type":"Patient","interaction":[{"code":"update"}],"updateCreate":true}]}]}`))
			return
		}
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	server, _, err := Connect(t.Context(), srv.URL+"/fhir", &Config{Profile: "generic"}, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := server.Do(Once(t.Context()), http.MethodPost, "$import", nil, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || asked.Load() != 1 {
		t.Errorf("status %d after %d requests", res.StatusCode, asked.Load())
	}
	srv.CloseClientConnections()
	srv.Close()
	res, err = server.Do(Once(t.Context()), http.MethodPost, "$import", nil, []byte(`{}`))
	if err == nil {
		res.Body.Close()
		t.Error("no error without a server")
	}
}
