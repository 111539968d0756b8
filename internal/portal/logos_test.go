package portal

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"runtime"
	"testing"

	"cpcds2fhir/internal/portal/lifecycle"
)

func encoded(t testing.TB, from image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	ok(t, png.Encode(&b, from))
	return b.Bytes()
}

// TestRedraw draws pictures anew of all shapes: in the middle of a square, and with the mean of their colours.
func TestRedraw(t *testing.T) {
	for _, c := range []struct{ w, h, left, top int }{
		{256, 256, 0, 0}, {512, 256, 0, 64}, {256, 512, 64, 0}, {2048, 16, 0, 127}, {16, 16, 0, 0}, {300, 100, 0, 85}, {2048, 2048, 0, 0}, {17, 33, 62, 0},
	} {
		from := image.NewNRGBA(image.Rect(0, 0, c.w, c.h))
		for i := range from.Pix {
			from.Pix[i] = 0xff
		}
		drawn, err := redraw(encoded(t, from))
		ok(t, err)
		got, err := png.Decode(bytes.NewReader(drawn))
		ok(t, err)
		equal(t, got.Bounds(), image.Rect(0, 0, logoSide, logoSide))
		seen := func(x, y int) bool { _, _, _, a := got.At(x, y).RGBA(); return a > 0x8000 }
		mid := logoSide / 2
		if !seen(mid, mid) || !seen(c.left+1, mid) || !seen(mid, c.top+1) || !seen(logoSide-c.left-2, mid) || c.top < 120 && !seen(mid, logoSide-c.top-2) {
			t.Errorf("%dx%d: a part of it is not there", c.w, c.h)
		}
		if c.left > 2 && (seen(c.left-2, mid) || seen(logoSide-c.left+2, mid)) || c.top > 2 && (seen(mid, c.top-2) || seen(mid, logoSide-c.top+2)) {
			t.Errorf("%dx%d: it is not in the middle", c.w, c.h)
		}
	}
	// Halves of two colours, one above the other, stay where they are.
	from := image.NewNRGBA(image.Rect(0, 0, 1000, 1000))
	for y := range 1000 {
		for x := range 1000 {
			from.SetNRGBA(x, y, map[bool]color.NRGBA{true: {255, 0, 0, 255}, false: {0, 0, 255, 255}}[y < 500])
		}
	}
	got, err := png.Decode(bytes.NewReader(first2(redraw(encoded(t, from)))))
	ok(t, err)
	equal(t, []color.Color{got.At(3, 100), got.At(200, 200)}, []color.Color{color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255}})
}

// TestRedrawInBounds proves that no picture takes much memory, however small its file is.
func TestRedrawInBounds(t *testing.T) {
	_, err := redraw(encoded(t, image.NewNRGBA(image.Rect(0, 0, 2049, 16))))
	input(t, err, "logo", "pixels")
	_, err = redraw(encoded(t, image.NewNRGBA64(image.Rect(0, 0, 64, 64))))
	input(t, err, "logo", "depth")
	_, err = redraw(encoded(t, image.NewGray16(image.Rect(0, 0, 64, 64))))
	input(t, err, "logo", "depth")
	picture := encoded(t, image.NewNRGBA(image.Rect(0, 0, logoMost, logoMost)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = redraw(picture)
	ok(t, err)
	runtime.ReadMemStats(&after)
	if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 24 {
		t.Errorf("%d MB were taken", mb)
	}
}

// TestLogosThatNothingNames removes them, and keeps those that an app, a change or a revision has.
func TestLogosThatNothingNames(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		set := func() string {
			t.Helper()
			ok(t, k.developer.SetLogo(ctx, app.ID, logoOf()))
			return first2(k.developer.App(ctx, app.ID)).Logo
		}
		set()
		set()
		submitted := set()
		equal(t, k.count("portal_logos"), 1)
		k.submitted(app)
		set()
		last := set()
		equal(t, k.count("portal_logos"), 2) // that of the revision, and the last one
		for _, id := range []string{submitted, last} {
			_, err := k.developer.LogoPNG(ctx, id)
			ok(t, err)
		}
		// One whose application is forgotten goes with it.
		a := first2(k.owner.Applications(ctx, k.org))
		for _, x := range a {
			if x.Kind == lifecycle.Production {
				k.step(k.owner, x, lifecycle.Withdraw, nil)
			}
		}
		k.clock.pass(3 * 365 * 24 * 3600e9)
		_, err := k.forget(ctx)
		ok(t, err)
		equal(t, k.count("portal_logos"), 1)
		_, err = k.developer.LogoPNG(ctx, last)
		ok(t, err)
	})
}
