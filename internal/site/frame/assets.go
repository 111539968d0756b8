package frame

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed static
var staticFiles embed.FS

// Assets are the static files of a server, with the look of its agency. They are safe for concurrent use.
type Assets struct {
	files map[string]*asset
	names map[string]string // of the agency, by language
	logo  Logo
}

type asset struct {
	body    []byte
	kind    string // its media type
	version string // part of its sum
	policy  string // Content-Security-Policy
}

const noPolicy = "default-src 'none'; frame-ancestors 'none'"

// NewAssets reads the static files. agency is its folder, nil for none. It may have
//
//   - brand.css: colours and the font, as custom properties; see the names in static/palette.css
//   - logo.svg or logo.png
//   - name.txt, and name.es.txt for readers of Spanish: what it is called
//
// and other files, which are left alone. A brand that is unsafe or hard to read is an error that says why. more are
// static files of sets of pages; no name may be there twice.
func NewAssets(agency fs.FS, more ...fs.FS) (*Assets, error) {
	a := &Assets{files: map[string]*asset{}, names: map[string]string{}}
	palette, err := readPalette(staticFiles, "static/palette.css", nil)
	if err != nil {
		return nil, err
	}
	a.logo = Logo{name: "mark.svg", Width: 36, Height: 36}
	if agency != nil {
		if err := a.brand(agency, palette); err != nil {
			return nil, fmt.Errorf("brand of the agency: %w", err)
		}
	}
	for _, name := range []string{"site.css", "wide.css", "mark.svg"} {
		body, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			return nil, err
		}
		if name == "site.css" {
			body = append(palette.css(), body...)
		}
		a.add(name, body, noPolicy)
	}
	for _, set := range more {
		files, err := fs.Glob(set, "*")
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			if a.files[name] != nil {
				return nil, fmt.Errorf("the static file %s is there twice", name)
			}
			body, err := fs.ReadFile(set, name)
			if err != nil {
				return nil, fmt.Errorf("static file: %w", err)
			}
			a.add(name, body, noPolicy)
		}
	}
	return a, nil
}

func (a *Assets) add(name string, body []byte, policy string) {
	sum := sha256.Sum256(body)
	a.files[name] = &asset{body: body, kind: kindOf(name), version: hex.EncodeToString(sum[:6]), policy: policy}
}

// kindOf is the media type of a file by its name, whatever the machine says.
func kindOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	default:
		if kind := mime.TypeByExtension(ext); kind != "" {
			return kind
		}
		return "application/octet-stream"
	}
}

// URL is the address of a static file, with its version. One that is not there has none.
func (a *Assets) URL(name string) string {
	f := a.files[name]
	if f == nil {
		return ""
	}
	return "/static/" + name + "?v=" + f.version
}

// name is what the agency's folder calls it.
func (a *Assets) name(lang string) string {
	if n := a.names[lang]; n != "" {
		return n
	}
	return a.names[languages[0].tag]
}

// handler serves /static/{name}. A name with its version never changes.
func (a *Assets) handler(missing http.Handler) http.Handler {
	m := http.NewServeMux()
	m.Handle("/", missing)
	m.HandleFunc("GET /static/{name}", func(w http.ResponseWriter, r *http.Request) {
		f := a.files[r.PathValue("name")]
		if f == nil {
			missing.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.kind)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", f.policy)
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("ETag", `"`+f.version+`"`)
		h.Set("Cache-Control", "no-cache")
		if r.URL.RawQuery == "v="+f.version {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
	})
	return m
}

// brand reads the folder of an agency.
func (a *Assets) brand(agency fs.FS, p *palette) error {
	own, err := readPalette(agency, "brand.css", p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		p.take(own)
		if err := p.legible(); err != nil {
			return fmt.Errorf("brand.css: %w", err)
		}
	}
	for _, lang := range Languages() {
		file := "name." + lang + ".txt"
		if lang == languages[0].tag {
			file = "name.txt"
		}
		b, err := fs.ReadFile(agency, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if a.names[lang] = Plain(string(b), 80); a.names[lang] == "" {
			return fmt.Errorf("%s is empty", file)
		}
	}
	logo, body, err := readLogo(agency)
	if err != nil || body == nil {
		return err
	}
	a.logo = logo
	a.add(logo.name, body, noPolicy+"; style-src 'unsafe-inline'; sandbox")
	return nil
}
