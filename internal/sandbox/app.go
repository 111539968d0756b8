package sandbox

import (
	"embed"
	"encoding/json"
	"net/http"
	"strings"
)

// appFiles is the example app: pages that a browser runs, without anything from elsewhere.
//
//go:embed app
var appFiles embed.FS

// AppConfig is what the example app must know of the server that it reads from. It finds the rest by SMART's
// discovery (SMART App Launch 2.2, .well-known/smart-configuration).
type AppConfig struct {
	FHIRBase    string `json:"fhir_base"`    // such as http://127.0.0.1:8080/fhir; of the same origin as the app
	ClientID    string `json:"client_id"`    // ExampleClient
	RedirectURI string `json:"redirect_uri"` // where the app is, as registered: http://127.0.0.1:8080/app/
}

// appPolicy lets the app run its own files and speak with its own origin, and nothing else.
const appPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var appTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}

// App serves the example app at /app/. It answers GET and HEAD, with a strict Content-Security-Policy; config.json is
// made of the config, and everything else is a file of the program. It keeps no state.
func App(config AppConfig) http.Handler {
	known, err := json.Marshal(config)
	if err != nil {
		panic(err) // it holds strings only
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", appPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // the address of the app holds a code for a moment
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "The example app is only read.", http.StatusMethodNotAllowed)
			return
		}
		name, ok := strings.CutPrefix(r.URL.Path, "/app/")
		body := known
		switch {
		case ok && name == "config.json":
			h.Set("Content-Type", "application/json")
		case ok:
			if name == "" {
				name = "index.html"
			}
			kind := appTypes[name[max(0, strings.LastIndexByte(name, '.')):]]
			body, err := appFiles.ReadFile("app/" + name)
			if err != nil || kind == "" {
				http.NotFound(w, r)
				return
			}
			h.Set("Content-Type", kind)
			_, _ = w.Write(body)
			return
		default:
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(body)
	})
}
