package mail

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
)

// TestSignUpByMail is an account that is asked for, a server that is busy first, and the link of the mail that comes
// at last.
func TestSignUpByMail(t *testing.T) {
	ctx := context.Background()
	now := time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	a, err := accounts.Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "a.db"), &accounts.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	set, err := forms.Load("")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, StartTLS)
	p, err := portal.Open(ctx, &portal.Config{
		Accounts: a, Production: portal.Environment{Accounts: a}, Sandbox: portal.Environment{Accounts: a}, Forms: set, Uploads: t.TempDir(),
		Agency: "Agencia de Salud", URL: "https://portal.example", Now: clock,
		Mail: mailer(t, s, func(c *Config) { c.TLS = StartTLS }),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.refuse["data"] = &smtp.SMTPError{Code: 451, Message: "later"}
	if err := p.SignUp(ctx, &portal.SignUp{Email: "ana@dev.example", Name: "Ana", Password: "a quiet yellow tractor", Language: "es"}); err != nil {
		t.Fatal(err)
	}
	tick := func() {
		t.Helper()
		if _, err := p.Tick(ctx); err != nil {
			t.Fatal(err)
		}
	}
	tick()
	delete(s.refuse, "data")
	tick() // too early
	if len(s.got) != 0 {
		t.Fatalf("%d mails", len(s.got))
	}
	now = now.Add(time.Minute)
	tick()
	tick()
	if len(s.got) != 1 {
		t.Fatalf("%d mails", len(s.got))
	}
	// Quoted-printable breaks lines, and writes = otherwise.
	text := strings.ReplaceAll(strings.ReplaceAll(s.got[0], "=\r\n", ""), "=3D", "=")
	found := regexp.MustCompile(`https://portal\.example/developers/confirm\?token=([A-Za-z0-9_-]{43})\r\n`).FindStringSubmatch(text)
	if found == nil {
		t.Fatal("there is no link in the mail")
	}
	who, err := p.ConfirmEmail(ctx, found[1])
	if err != nil || who.Email != "ana@dev.example" {
		t.Errorf("got %v", err)
	}
}
