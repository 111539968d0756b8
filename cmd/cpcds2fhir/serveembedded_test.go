package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestStrictTransport proves that whatever the server of an https origin answers tells browsers to come by https only, and
// that a server of this machine says nothing of the kind.
func TestStrictTransport(t *testing.T) {
	empty := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for https, want := range map[bool]string{true: "max-age=31536000", false: ""} {
		h := (&embedded{https: https, pages: map[string]http.Handler{"/": empty, "/staff": empty, "/staff/": empty}}).handler(http.NotFoundHandler())
		for path, status := range map[string]int{"/": 204, "/staff": 204, "/staff/people": 204, "/fhir/metadata": 404} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			if got := w.Header().Get("Strict-Transport-Security"); got != want || w.Code != status {
				t.Errorf("https %t, %s: %d, %q", https, path, w.Code, got)
			}
		}
	}
}
