package frame

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Logo is the picture at the top of a page. Width and Height are those that it is shown with, in pixels.
type Logo struct {
	name          string
	Width, Height int
}

const (
	logoMax    = 256 << 10 // bytes
	logoHeight = 36        // pixels
	logoWide   = 220       // pixels, at most
	logoSide   = 2000      // pixels of a PNG
)

// readLogo reads the logo of an agency. body is nil if there is none.
func readLogo(agency fs.FS) (logo Logo, body []byte, err error) {
	for _, name := range []string{"logo.svg", "logo.png"} {
		b, err := fs.ReadFile(agency, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return logo, nil, err
		}
		if body != nil {
			return logo, nil, errors.New("there are both logo.svg and logo.png")
		}
		if len(b) > logoMax {
			return logo, nil, fmt.Errorf("%s has %d bytes, more than %d", name, len(b), logoMax)
		}
		read := readSVG
		if name == "logo.png" {
			read = readPNG
		}
		width, height, out, err := read(b)
		if err != nil {
			return logo, nil, fmt.Errorf("%s: %w", name, err)
		}
		logo, body = Logo{name: name, Height: logoHeight, Width: int(math.Round(logoHeight * width / height))}, out
		if logo.Width > logoWide || logo.Width < logoHeight/2 {
			return logo, nil, fmt.Errorf("%s is %g by %g: a logo is between half as wide as it is high and six times as wide", name, width, height)
		}
	}
	return logo, body, nil
}

// readPNG reads a picture, and writes it anew without what else the file had.
func readPNG(b []byte) (width, height float64, out []byte, err error) {
	c, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return 0, 0, nil, err
	}
	if c.Width > logoSide || c.Height > logoSide || c.Width == 0 || c.Height == 0 {
		return 0, 0, nil, fmt.Errorf("it is %d by %d pixels; at most %d are shown", c.Width, c.Height, logoSide)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		return 0, 0, nil, err
	}
	var w bytes.Buffer
	if err := png.Encode(&w, img); err != nil {
		return 0, 0, nil, err
	}
	return float64(c.Width), float64(c.Height), w.Bytes(), nil
}

// drawing are the elements of SVG that draw, and do nothing else.
var drawing = []string{
	"svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "title", "desc", "defs", "style",
	"linearGradient", "radialGradient", "stop", "clipPath", "mask", "use", "symbol", "pattern", "metadata",
}

// readSVG refuses what a drawing does not need: scripts, handlers, references to elsewhere, animations, other markup.
func readSVG(b []byte) (width, height float64, out []byte, err error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	var within []string
	var style strings.Builder // comments may part what a browser reads as one
	begun := false
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, 0, nil, err
		}
		switch t := token.(type) {
		case xml.Directive:
			return 0, 0, nil, errors.New("it has a document type or an entity")
		case xml.ProcInst:
			if t.Target != "xml" {
				return 0, 0, nil, fmt.Errorf("it has an instruction %s", Plain(t.Target, 40))
			}
		case xml.StartElement:
			name := t.Name.Local
			if !begun {
				if begun = true; name != "svg" || t.Name.Space != "http://www.w3.org/2000/svg" {
					return 0, 0, nil, errors.New("it does not begin with <svg xmlns=\"http://www.w3.org/2000/svg\">")
				}
				width, height = sizeOf(t.Attr)
			}
			if !slices.Contains(drawing, name) || t.Name.Space != "http://www.w3.org/2000/svg" {
				return 0, 0, nil, fmt.Errorf("it has an element <%s>, which a logo does not need", Plain(name, 40))
			}
			for _, a := range t.Attr {
				if err := judge(a); err != nil {
					return 0, 0, nil, err
				}
			}
			within = append(within, name)
		case xml.EndElement:
			within = within[:len(within)-1]
		case xml.CharData:
			if len(within) > 0 && within[len(within)-1] == "style" {
				style.Write(t)
			}
		}
	}
	if err := local(style.String()); err != nil {
		return 0, 0, nil, fmt.Errorf("style: %w", err)
	}
	if width <= 0 || height <= 0 || math.IsInf(width, 0) || math.IsInf(height, 0) {
		return 0, 0, nil, errors.New("it has no size: it needs viewBox, or width and height")
	}
	return width, height, b, nil
}

// sizeOf is the size of a drawing: of its viewBox, or of width and height.
func sizeOf(attrs []xml.Attr) (width, height float64) {
	number := func(text string) float64 {
		n, err := strconv.ParseFloat(strings.TrimSuffix(text, "px"), 64)
		if err != nil {
			return 0
		}
		return n
	}
	for _, a := range attrs {
		switch parts := strings.FieldsFunc(a.Value, func(r rune) bool { return r == ' ' || r == ',' }); {
		case a.Name.Local == "viewBox" && len(parts) == 4:
			return number(parts[2]), number(parts[3])
		case a.Name.Local == "width":
			width = number(a.Value)
		case a.Name.Local == "height":
			height = number(a.Value)
		}
	}
	return width, height
}

// judge refuses attributes that run or load something.
func judge(a xml.Attr) error {
	name := strings.ToLower(a.Name.Local)
	switch {
	case a.Name.Space == "xmlns" || name == "xmlns":
		return nil
	case strings.HasPrefix(name, "on"):
		return fmt.Errorf("it has a handler %s", Plain(name, 40))
	case (name == "href" || name == "src") && !strings.HasPrefix(a.Value, "#"):
		return fmt.Errorf("%s leads out of the file", name)
	case name == "base":
		return errors.New("it has a base, so that references lead out of the file")
	}
	if err := local(a.Value); err != nil {
		return fmt.Errorf("%s: %w", Plain(name, 40), err)
	}
	return nil
}

// local refuses styles that load something. Escapes could hide it.
func local(style string) error {
	low := strings.ToLower(style)
	if strings.Contains(low, `\`) || strings.Contains(low, "@import") || strings.Contains(low, "@font-face") || strings.Contains(low, "image(") || strings.Contains(low, "image-set(") || strings.Contains(low, "javascript:") {
		return errors.New("it can load something from elsewhere")
	}
	for rest := low; ; {
		_, after, ok := strings.Cut(rest, "url(")
		if !ok {
			return nil
		}
		if !strings.HasPrefix(strings.TrimLeft(after, " \t\r\n\"'"), "#") {
			return errors.New("url() leads out of the file")
		}
		rest = after
	}
}
