package portal

import (
	"bytes"
	"context"
	"encoding/base64"
	"image"
	"image/color"
	"image/draw"
	"image/png"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// Limits of logos.
const (
	logoBytes = 1 << 20
	logoSide  = 256
	logoMost  = 2048 // of the side of a picture that is given
	logoBits  = 8    // of a colour of it
)

// drawing lets two pictures at a time be drawn anew: a small file may be a picture that takes much memory.
var drawing = make(chan struct{}, 2)

// SetLogo takes a PNG of at most 1 MB, with sides of at most 2048 pixels and colours of at most 8 bits, and writes it anew,
// 256 x 256, without anything but pixels. It fails with *InputError: large, png, pixels or depth.
func (a *Actor) SetLogo(ctx context.Context, id string, picture []byte) error {
	app, err := a.seeApp(ctx, a.db, id)
	if err != nil {
		return err
	}
	if err := a.mayAct(app.Org, Owner, Developer); err != nil {
		return err
	}
	select {
	case drawing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	drawn, err := redraw(picture)
	<-drawing
	if err != nil {
		return err
	}
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		if app, err = a.app(ctx, tx, id); err != nil {
			return err
		}
		app.Logo = database.Random()
		if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_logos (id, app, base64, at) VALUES ($1, $2, $3, $4)`,
			app.Logo, app.ID, base64.StdEncoding.EncodeToString(drawn), database.Millis(a.Now())); err != nil {
			return err
		}
		if err := a.saveApp(ctx, tx, app); err != nil {
			return err
		}
		if _, err := a.removeLogos(ctx, tx, app.ID); err != nil {
			return err
		}
		open, err := a.opened(ctx, tx, app.Org)
		if err != nil {
			return err
		}
		if err := a.putSandbox(ctx, tx, app, open); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didSetLogo, Org: app.Org, App: app.ID})
	})
	if err == nil {
		a.settle(ctx)
	}
	return err
}

// redraw reads a picture and draws it anew, in the middle of a square. Nothing that was in the file but its pixels stays.
func redraw(picture []byte) ([]byte, error) {
	if len(picture) > logoBytes {
		return nil, &InputError{"logo", "large"}
	}
	size, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return nil, &InputError{"logo", "png"}
	}
	if size.Width < 16 || size.Height < 16 || size.Width > logoMost || size.Height > logoMost {
		return nil, &InputError{"logo", "pixels"}
	}
	if bits(picture) > logoBits {
		return nil, &InputError{"logo", "depth"}
	}
	from, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, &InputError{"logo", "png"}
	}
	to := image.NewNRGBA(image.Rect(0, 0, logoSide, logoSide))
	side := max(size.Width, size.Height)
	left, top := (side-size.Width)/2, (side-size.Height)/2
	// A row of the logo is made of a band of the picture, so that there is never a second picture of its size.
	band := image.NewRGBA(image.Rect(0, 0, side, side/logoSide+2))
	for y := range logoSide {
		y0, y1 := part(y, side)
		clear(band.Pix)
		draw.Draw(band, image.Rect(left, 0, left+size.Width, y1-y0).Intersect(image.Rect(0, top-y0, side, top-y0+size.Height)), from,
			from.Bounds().Min.Add(image.Pt(0, max(y0-top, 0))), draw.Src)
		for x := range logoSide {
			x0, x1 := part(x, side)
			to.Set(x, y, mean(band, x0, 0, x1, y1-y0))
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, to); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// part is what one pixel of the logo is made of, of a side of a picture.
func part(i, side int) (from, to int) {
	from = i * side / logoSide
	return from, max((i+1)*side/logoSide, from+1)
}

// bits are those of a colour of a PNG whose head png.DecodeConfig has read: the signature has 8 bytes, length and name of the
// first chunk 8, width and height 8.
func bits(picture []byte) byte { return picture[24] }

// mean is the mean colour of a part of a picture.
func mean(from *image.RGBA, x0, y0, x1, y1 int) color.Color {
	var r, g, b, a, n uint32
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			c := from.RGBAAt(x, y)
			r, g, b, a, n = r+uint32(c.R), g+uint32(c.G), b+uint32(c.B), a+uint32(c.A), n+1
		}
	}
	return color.RGBA{uint8(r / n), uint8(g / n), uint8(b / n), uint8(a / n)} //nolint:gosec // means of bytes are bytes
}

// removeLogos removes pictures that no app has, wants or was submitted with: those of one app, or with "" of all.
func (p *Portal) removeLogos(ctx context.Context, tx *step, app string) (int, error) {
	n, err := database.Change(ctx, tx.Tx, `DELETE FROM portal_logos WHERE ($1 = '' OR app = $1)
		AND NOT EXISTS (SELECT 1 FROM portal_apps x WHERE x.id = portal_logos.app AND (x.logo = portal_logos.id OR x.about LIKE '%' || portal_logos.id || '%'))
		AND NOT EXISTS (SELECT 1 FROM portal_revisions v JOIN portal_applications a ON a.id = v.application
			WHERE a.app = portal_logos.app AND v.about LIKE '%' || portal_logos.id || '%')`, app)
	return int(n), err
}

// logo is the picture of an id. It fails with ErrNotFound.
func (p *Portal) logo(ctx context.Context, id string) (app string, picture []byte, err error) {
	var text string
	if err := p.db.QueryRowContext(ctx, `SELECT app, base64 FROM portal_logos WHERE id = $1`, id).Scan(&app, &text); err != nil {
		return "", nil, database.Fault(err)
	}
	picture, err = base64.StdEncoding.DecodeString(text)
	return app, picture, err
}

// LogoPNG is a logo of an app that is live, as it was approved.
func (p *Portal) LogoPNG(ctx context.Context, id string) ([]byte, error) {
	owner, picture, err := p.logo(ctx, id)
	if err != nil {
		return nil, err
	}
	app, err := p.app(ctx, p.db, owner)
	if err != nil {
		return nil, err
	}
	if app.Approved == nil || app.Approved.Logo != id || app.Production == "" {
		return nil, accounts.ErrNotFound
	}
	if c, err := p.production().Client(ctx, app.Production); err != nil || c.Status != accounts.Active {
		return nil, accounts.ErrNotFound
	}
	return picture, nil
}

// LogoPNG is a logo of an app that is live, or of one that the actor may see.
func (a *Actor) LogoPNG(ctx context.Context, id string) ([]byte, error) {
	owner, picture, err := a.logo(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := a.seeApp(ctx, a.db, owner); err == nil {
		return picture, nil
	}
	return a.Portal.LogoPNG(ctx, id)
}
