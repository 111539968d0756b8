package portal

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"io"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestIsolation calls every method about applications and apps as everybody, with ids of an organisation. Others learn
// nothing, not even that there is something; those who only read change nothing.
func TestIsolation(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		r := k.put(lifecycle.Production, lifecycle.ChangesRequested)
		d, err := k.owner.Upload(ctx, r.ID, "security_documents", "a.pdf", strings.NewReader("%PDF-1"))
		ok(t, err)
		secret := first2(k.owner.CredentialsOf(ctx, app.ID, InSandbox)).Secrets[0].ID
		version := first2(k.owner.Application(ctx, r.ID)).Version
		ok(t, k.developer.SetLogo(ctx, app.ID, logoOf()))
		logo := first2(k.owner.App(ctx, app.ID)).Logo

		const (
			reads  = "reads"  // whoever belongs to the organisation, and staff
			writes = "writes" // owners and developers
			staff  = "staff"  // reviewers
			admins = "admins"
		)
		calls := map[string]struct {
			who  string
			call func(a *Actor) error
		}{
			"Application":   {reads, func(a *Actor) error { _, err := a.Application(ctx, r.ID); return err }},
			"Applications":  {reads, func(a *Actor) error { _, err := a.Applications(ctx, k.org); return err }},
			"Events":        {reads, func(a *Actor) error { _, err := a.Events(ctx, r.ID); return err }},
			"Revisions":     {reads, func(a *Actor) error { _, err := a.Revisions(ctx, r.ID); return err }},
			"Differences":   {reads, func(a *Actor) error { _, err := a.Differences(ctx, r.ID, 1, 1); return err }},
			"Messages":      {reads, func(a *Actor) error { _, err := a.Messages(ctx, r.ID); return err }},
			"Moves":         {reads, func(a *Actor) error { _, err := a.Moves(ctx, &r.Application); return err }},
			"Documents":     {reads, func(a *Actor) error { _, err := a.Documents(ctx, r.ID); return err }},
			"Apps":          {reads, func(a *Actor) error { _, err := a.Apps(ctx, k.org); return err }},
			"App":           {reads, func(a *Actor) error { _, err := a.App(ctx, app.ID); return err }},
			"Evidence":      {reads, func(a *Actor) error { _, _, err := a.Evidence(ctx, app.ID); return err }},
			"TextChanged":   {reads, func(a *Actor) error { _, err := a.TextChanged(ctx, app.ID); return err }},
			"LogoPNG":       {reads, func(a *Actor) error { _, err := a.LogoPNG(ctx, logo); return err }},
			"CredentialsOf": {reads, func(a *Actor) error { _, err := a.CredentialsOf(ctx, app.ID, InSandbox); return err }},
			"Requests":      {reads, func(a *Actor) error { _, err := a.Requests(ctx, app.ID, InSandbox, time.Time{}, 10); return err }},
			"Start":         {writes, func(a *Actor) error { _, err := a.Start(ctx, lifecycle.Production, k.org, app.ID); return err }},
			"SaveDraft":     {writes, func(a *Actor) error { _, err := a.SaveDraft(ctx, r.ID, version, forms.Answers{}); return err }},
			"Upload": {writes, func(a *Actor) error {
				_, err := a.Upload(ctx, r.ID, "security_documents", "a", strings.NewReader("%PDF-"))
				return err
			}},
			"RemoveDocument": {writes, func(a *Actor) error { return a.RemoveDocument(ctx, r.ID, d.ID) }},
			"AddApp":         {writes, func(a *Actor) error { _, err := a.AddApp(ctx, k.org, appSettings("New")); return err }},
			"UpdateApp":      {writes, func(a *Actor) error { _, err := a.UpdateApp(ctx, app.ID, app.Version, appSettings("New")); return err }},
			"SetLogo":        {writes, func(a *Actor) error { return a.SetLogo(ctx, app.ID, logoOf()) }},
			"Issue":          {writes, func(a *Actor) error { _, err := a.Issue(ctx, app.ID, InSandbox); return err }},
			"Rotate":         {writes, func(a *Actor) error { _, err := a.Rotate(ctx, app.ID, InSandbox, 0); return err }},
			"EndSecret":      {writes, func(a *Actor) error { return a.EndSecret(ctx, app.ID, InSandbox, secret, true) }},
			"SetKeys":        {writes, func(a *Actor) error { return a.SetKeys(ctx, app.ID, "{}", "") }},
			"ClaimForm":      {writes, func(a *Actor) error { _, err := a.ClaimForm(ctx, r.ID, "", k.org); return err }},
			"Queue":          {staff, func(a *Actor) error { _, err := a.Queue(ctx, nil); return err }},
			"Assign":         {staff, func(a *Actor) error { _, err := a.Assign(ctx, r.ID, version, ""); return err }},
			"SaveChecks":     {staff, func(a *Actor) error { _, err := a.SaveChecks(ctx, r.ID, version, forms.Answers{}); return err }},
			"Letter":         {staff, func(a *Actor) error { _, err := a.Letter(ctx, r.ID, lifecycle.Deny); return err }},
			"ExportCSV":      {staff, func(a *Actor) error { return a.ExportCSV(ctx, nil, io.Discard) }},
			"Export":         {admins, func(a *Actor) error { return a.Export(ctx, io.Discard, io.Discard) }},
			"Import":         {admins, func(a *Actor) error { return a.Import(ctx, &bytes.Buffer{}, &bytes.Buffer{}) }},
			"Say":            {writes, func(a *Actor) error { _, err := a.Say(ctx, r.ID, "hello", false); return err }},
			"Document":       {reads, func(a *Actor) error { return closed(a.Document(ctx, r.ID, d.ID)) }},
			"Move": {writes, func(a *Actor) error {
				_, err := a.Move(ctx, r.ID, lifecycle.Withdraw, &Input{Version: version})
				return err
			}},
			"Asked": {"open", func(a *Actor) error { // by the digest of a form, which is public
				_, err := a.Asked(ctx, &Revision{Form: a.Forms.Form(forms.Production).Digest()})
				return err
			}},
		}
		nobody := &Actor{Portal: k.Portal, Person: &Person{ID: "nobody"}}
		before := k.dump()
		for name, c := range calls {
			for who, a := range map[string]*Actor{"stranger": k.stranger, "nobody": nobody} {
				err := c.call(a)
				var no *DeniedError
				switch c.who {
				case "open":
				case staff, admins:
					if !errors.As(err, &no) && !errors.Is(err, accounts.ErrNotFound) {
						t.Errorf("%s by %s: %v", name, who, err)
					}
				default:
					if !errors.Is(err, accounts.ErrNotFound) {
						t.Errorf("%s by %s: %v", name, who, err)
					}
				}
			}
			for who, a := range map[string]*Actor{"observer": k.observer, "support": k.support} {
				err := c.call(a)
				var no *DeniedError
				var role *lifecycle.RoleError
				switch {
				case c.who == reads && name == "Document" && who == "support" && errors.Is(err, accounts.ErrNotFound): // it is not submitted
				case c.who == reads || c.who == "open" || name == "Queue" && who == "support" || name == "Say" && who == "support":
					if err != nil {
						t.Errorf("%s by %s: %v", name, who, err)
					}
				case !errors.As(err, &no) && !errors.As(err, &role):
					t.Errorf("%s by %s: %v", name, who, err)
				}
			}
		}
		// Support may answer; nothing else has changed.
		after := k.dump()
		for line := range strings.Lines(after) {
			if !strings.Contains(before, line) && !strings.HasPrefix(line, "portal_messages") && !strings.HasPrefix(line, "portal_outbox") &&
				!(strings.HasPrefix(line, "portal_events") && strings.Contains(line, " "+didSay+" ")) {
				t.Errorf("something has changed: %.40s", line)
			}
		}
	})
}

func closed(_ *Document, c io.Closer, err error) error {
	if err == nil {
		err = c.Close()
	}
	return err
}

func logoOf() []byte {
	var b bytes.Buffer
	_ = png.Encode(&b, image.NewGray(image.Rect(0, 0, 32, 32)))
	return b.Bytes()
}
