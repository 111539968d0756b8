package frame

import (
	"bytes"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func folder(files ...string) fstest.MapFS {
	f := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		f[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return f
}

// TestPalette holds the colours of the product to WCAG, and shows what is checked.
func TestPalette(t *testing.T) {
	p, err := readPalette(staticFiles, "static/palette.css", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.legible(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"site.css", "wide.css"} {
		sheet, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			t.Fatal(err)
		}
		text := string(sheet)
		for rest := text; ; {
			_, after, ok := strings.Cut(rest, "var(--")
			if !ok {
				break
			}
			property, _, _ := strings.Cut(after, ")")
			if p.light[property] == "" {
				t.Errorf("%s uses --%s, which the palette lacks", name, property)
			}
			rest = after
		}
		if strings.Contains(text, "url(") || strings.Contains(text, "@import") {
			t.Errorf("%s loads something", name)
		}
	}
	for _, x := range pairs {
		for _, name := range append([]string{x.on}, x.ink...) {
			if p.light[name] == "" {
				t.Errorf("a pair has --%s, which the palette lacks", name)
			}
		}
	}
}

func TestContrast(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want float64
	}{{"#000", "#ffffff", 21}, {"#fff", "#fff", 1}, {"#777777", "#ffffff", 4.478}, {"#0b5563", "#ffffff", 8.421}} {
		if got := contrast(c.a, c.b); got < c.want-0.01 || got > c.want+0.01 {
			t.Errorf("%s on %s is %.3f, want %.3f", c.a, c.b, got, c.want)
		}
	}
}

func TestBrand(t *testing.T) {
	a, err := NewAssets(folder(
		"brand.css", "/* ours\n */\n:root {\n  --main: #1a4480;\n  --main-deep:#162e51; --font: \"Public Sans\", Arial, sans-serif\n}\n@media (prefers-color-scheme: dark) { :root { --main: #9ac1ff; } }\n",
		"name.txt", "Department of Health\n", "name.es.txt", "Departamento de Salud\n",
		"logo.svg", `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 40"><style>.a{fill:url(#g)}</style><defs><linearGradient id="g"><stop stop-color="#fff"/></linearGradient></defs><path class="a" d="M0 0h120v40z"/></svg>`,
		"README.md", "notes"))
	if err != nil {
		t.Fatal(err)
	}
	sheet := string(a.files["site.css"].body)
	for _, want := range []string{"  --main: #1a4480;", "    --main: #9ac1ff;", `--font: "Public Sans", Arial, sans-serif;`, "--ink: #16242a;"} {
		if !strings.Contains(sheet, want) {
			t.Errorf("the sheet lacks %q", want)
		}
	}
	if strings.Contains(sheet, "#0b5563") {
		t.Error("the sheet still has the product's main colour")
	}
	w := newWorld(t, func(c *Config) { c.Assets = a })
	w.want(w.get("/"), http.StatusOK, "| Department of Health</title>", `alt="" width="108" height="36"`, a.URL("logo.svg"))
	w.want(w.get("/?lang=es"), http.StatusOK, "| Departamento de Salud</title>")
	rec := w.get(a.URL("logo.svg"))
	if h := rec.Header(); rec.Code != http.StatusOK || h.Get("Content-Type") != "image/svg+xml" || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || !strings.Contains(h.Get("Cache-Control"), "immutable") {
		t.Errorf("the logo: %d %v", rec.Code, h)
	}
	if b, err := NewAssets(nil); err != nil || b.URL("site.css") == a.URL("site.css") || b.URL("none.css") != "" {
		t.Errorf("versions of sheets: %v", err)
	}
}

func TestBrandRefuses(t *testing.T) {
	svg := func(inside string) string {
		return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 40 40">` + inside + `</svg>`
	}
	for _, c := range []struct{ file, text, want string }{
		{"brand.css", ":root { --main: url(https://evil.example/x); }", "line 1: --main: \"url(https://evil.example/x)\" is not a colour"},
		{"brand.css", ":root {\n--main: #12;\n}", "line 2: --main: \"#12\" is not a colour"},
		{"brand.css", ":root { --main: red }", "is not a colour"},
		{"brand.css", ":root { --font: url(x) }", "is not a list of fonts"},
		{"brand.css", ":root { --font: Arial; src: url(x) }", "is not a custom property"},
		{"brand.css", ":root { --mian: #000000 }", "--mian is not there; there are --ground"},
		{"brand.css", ":root { color: #000000 }", "is not a custom property"},
		{"brand.css", ":root { --main: #0b5563; --main: #0b5563 }", "--main is there twice"},
		{"brand.css", "@import url(https://evil.example/x.css); :root {}", "stands outside of :root"},
		{"brand.css", "body { --main: #000000 }", "there is only :root"},
		{"brand.css", ":root { :root { --main: #000000 } }", "there is only :root"},
		{"brand.css", "@media print { :root { --main: #000000 } }", "there is only :root"},
		{"brand.css", "@media (prefers-color-scheme: dark) { --main: #000000 }", "stands outside of :root"},
		{"brand.css", ":root { --main: #000000", "it ends within a rule"},
		{"brand.css", ":root { } }", "a } too many"},
		{"brand.css", "/* :root { }", "a comment does not end"},
		{"brand.css", ":root { --main: #f4c95d }", "--main (#f4c95d) on --ground (#f3f6f5) has a contrast of 1.44 to 1 in the light scheme; WCAG 2.2 AA needs 4.5 to 1"},
		{"brand.css", "@media (prefers-color-scheme: dark) { :root { --ink: #333333 } }", "in the dark scheme"},
		{"brand.css", ":root { --edge: #cccccc }", "needs 3 to 1"},
		{"name.txt", " \n", "name.txt is empty"},
		{"logo.png", "no picture", "logo.png"},
		{"logo.svg", svg("<script>alert(1)</script>"), "an element <script>"},
		{"logo.svg", svg(`<g onload="alert(1)"/>`), "a handler onload"},
		{"logo.svg", svg(`<image href="https://evil.example/x.png"/>`), "an element <image>"},
		{"logo.svg", svg(`<use xlink:href="https://evil.example/x.svg#a"/>`), "href leads out of the file"},
		{"logo.svg", svg(`<a href="javascript:alert(1)"/>`), "an element <a>"},
		{"logo.svg", svg(`<foreignObject><body xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>`), "an element <foreignObject>"},
		{"logo.svg", svg(`<animate attributeName="href"/>`), "an element <animate>"},
		{"logo.svg", svg(`<path style="fill:url(//evil.example/x)"/>`), "url() leads out of the file"},
		{"logo.svg", svg(`<path fill="URL( 'https://evil.example/x' )"/>`), "url() leads out of the file"},
		{"logo.svg", svg(`<style>@import "https://evil.example/x.css";</style>`), "from elsewhere"},
		{"logo.svg", svg(`<style>a{background:\75rl(//evil.example)}</style>`), "from elsewhere"},
		{"logo.svg", svg(`<style>a{fill:u<!-- x -->rl(//evil.example)}</style>`), "url() leads out of the file"},
		{"logo.svg", svg(`<x:script xmlns:x="http://www.w3.org/1999/xhtml">1</x:script>`), "an element <script>"},
		{"logo.svg", `<!DOCTYPE svg [<!ENTITY a "b">]>` + svg(""), "a document type or an entity"},
		{"logo.svg", `<?xml-stylesheet href="https://evil.example/x.css"?>` + svg(""), "an instruction xml-stylesheet"},
		{"logo.svg", `<html xmlns="http://www.w3.org/1999/xhtml"/>`, "does not begin with <svg"},
		{"logo.svg", `<svg xmlns="http://www.w3.org/2000/svg"/>`, "it has no size"},
		{"logo.svg", `<svg xmlns="http://www.w3.org/2000/svg" width="900px" height="30px"/>`, "six times as wide"},
		{"logo.svg", svg("<g>"), "logo.svg"},
		{"logo.svg", "", "it has no size"},
		{"logo.svg", strings.Repeat(" ", logoMax+1), "more than"},
	} {
		_, err := NewAssets(folder(c.file, c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: the error is %v, want one that has %q", c.file, c.text, err, c.want)
		}
	}
	if _, err := NewAssets(nil, folder("site.css", "")); err == nil || !strings.Contains(err.Error(), "there twice") {
		t.Errorf("a sheet of the same name: %v", err)
	}
}

func TestLogoPNG(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 200, 100))); err != nil {
		t.Fatal(err)
	}
	clean := b.Len()
	b.WriteString("<script>alert(1)</script>")
	a, err := NewAssets(folder("logo.png", b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if f := a.files["logo.png"]; f.kind != "image/png" || len(f.body) != clean || bytes.Contains(f.body, []byte("script")) {
		t.Errorf("the logo has %d bytes, want %d", len(f.body), clean)
	}
	if a.logo.Width != 72 {
		t.Errorf("the logo is %d pixels wide, want 72", a.logo.Width)
	}
	if _, err := NewAssets(folder("logo.png", b.String(), "logo.svg", `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>`)); err == nil || !strings.Contains(err.Error(), "both") {
		t.Errorf("two logos: %v", err)
	}
	rec := httptest.NewRecorder()
	a.handler(http.NotFoundHandler()).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/static/logo.png", nil))
	if rec.Code != http.StatusOK || rec.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("the logo without its version: %d %v", rec.Code, rec.Header())
	}
}
