package mail

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	stdmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"cpcds2fhir/internal/portal"
)

// server is an SMTP server that fails where it is told to.
type server struct {
	port  int
	roots *x509.CertPool

	mu       sync.Mutex
	refuse   map[string]*smtp.SMTPError // by step: auth, from, to or data
	got      []string
	to, from []string
	helo     []string
	users    []string
	secure   []bool
	ways     []string // of logging in
}

func (s *server) fails(step string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.refuse[step]; e != nil {
		return e
	}
	return nil
}

func (s *server) NewSession(c *smtp.Conn) (smtp.Session, error) {
	_, secure := c.TLSConnectionState()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secure, s.helo = append(s.secure, secure), append(s.helo, c.Hostname())
	return &session{s}, nil
}

type session struct{ *server }

func (s *session) Reset()                   {}
func (s *session) Logout() error            { return nil }
func (s *session) AuthMechanisms() []string { return s.ways }
func (s *session) Auth(mech string) (sasl.Server, error) {
	check := func(user, password string) error {
		if err := s.fails("auth"); err != nil {
			return err
		}
		if user != "portal" || password != "a secret" {
			return &smtp.SMTPError{Code: 535, Message: "no such login " + user}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.users = append(s.users, mech)
		return nil
	}
	if mech == "LOGIN" {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// loginServer is the server's side of LOGIN.
type loginServer struct {
	check func(user, password string) error
	said  []string
}

func (l *loginServer) Next(response []byte) ([]byte, bool, error) {
	if response != nil {
		l.said = append(l.said, string(response))
	}
	switch len(l.said) {
	case 0:
		return []byte("Username:"), false, nil
	case 1:
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.said[0], l.said[1])
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mu.Lock()
	s.from = append(s.from, from)
	s.mu.Unlock()
	return s.fails("from")
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mu.Lock()
	s.to = append(s.to, to)
	s.mu.Unlock()
	return s.fails("to")
}

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.fails("data"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, string(b))
	return nil
}

// serve starts a server: with STARTTLS, with TLS from the beginning, or without any.
func serve(t *testing.T, how string) *server {
	t.Helper()
	s := &server{refuse: map[string]*smtp.SMTPError{}, ways: []string{"PLAIN"}}
	srv := smtp.NewServer(s)
	srv.Domain, srv.AllowInsecureAuth = "mx.example", true
	srv.ErrorLog = silent{}
	var config *tls.Config
	if how != None {
		config, s.roots = certificate(t)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	switch how {
	case StartTLS:
		srv.TLSConfig = config
	case Implicit:
		l = tls.NewListener(l, config)
	}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return s
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(made)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}

func mailer(t *testing.T, s *server, change func(c *Config)) *Mailer {
	t.Helper()
	c := &Config{Host: "127.0.0.1", Port: s.port, From: "Agency portal <portal@agency.example>", Roots: s.roots, Timeout: 5 * time.Second}
	if change != nil {
		change(c)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func letter() *portal.Mail {
	return &portal.Mail{ID: "m1", To: "ana@dev.example", Subject: "Confirme su dirección", Text: "Hola:\n\n.una línea\n" + strings.Repeat("x", 1200) + "\n", Language: "es"}
}

func TestSendInEveryWay(t *testing.T) {
	for _, how := range []string{StartTLS, Implicit, None} {
		for _, way := range []string{"", "PLAIN", "LOGIN"} {
			t.Run(how+way, func(t *testing.T) {
				t.Parallel()
				s := serve(t, how)
				s.ways = []string{way}
				m := mailer(t, s, func(c *Config) {
					c.TLS = how
					if way != "" {
						c.User, c.Password = "portal", "a secret"
					}
				})
				if err := m.Send(t.Context(), letter()); err != nil {
					t.Fatal(err)
				}
				if len(s.got) != 1 || s.to[0] != "ana@dev.example" || s.from[0] != "portal@agency.example" || s.helo[0] != "agency.example" {
					t.Fatalf("got %d mails, to %v, from %v, by %v", len(s.got), s.to, s.from, s.helo)
				}
				if secure := s.secure[len(s.secure)-1]; secure != (how != None) {
					t.Errorf("encrypted: %t", secure)
				}
				if way != "" && (len(s.users) != 1 || s.users[0] != way) {
					t.Errorf("logged in by %v", s.users)
				}
				got, err := stdmail.ReadMessage(strings.NewReader(s.got[0]))
				if err != nil {
					t.Fatal(err)
				}
				subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
				if err != nil || subject != letter().Subject {
					t.Errorf("subject %q, %v", subject, err)
				}
				text, err := io.ReadAll(quotedprintable.NewReader(got.Body))
				if err != nil || strings.ReplaceAll(strings.TrimRight(string(text), "\r\n"), "\r\n", "\n") != strings.TrimRight(letter().Text, "\n") {
					t.Errorf("text %q, %v", text, err)
				}
				for name, want := range map[string]string{
					"Message-Id": "<m1@agency.example>", "Auto-Submitted": "auto-generated", "Content-Language": "es", "To": "<ana@dev.example>",
					"From": `"Agency portal" <portal@agency.example>`, "User-Agent": "", "X-Mailer": "",
				} {
					if got := got.Header.Get(name); got != want {
						t.Errorf("%s is %q, not %q", name, got, want)
					}
				}
			})
		}
	}
}

// TestServerFails makes the server refuse at each step. What can pass is tried again, what cannot is not, and no error
// says to whom the mail was.
func TestServerFails(t *testing.T) {
	for _, c := range []struct {
		step      string
		code      int
		want      string
		permanent bool
	}{
		{"auth", 535, "connect", false},
		{"auth", 454, "connect", false},
		{"from", 550, "sender", false},
		{"from", 451, "sender", false},
		{"to", 550, "recipient", true},
		{"to", 450, "recipient", false},
		{"data", 554, "content", true},
		{"data", 452, "content", false},
	} {
		s := serve(t, StartTLS)
		s.refuse[c.step] = &smtp.SMTPError{Code: c.code, Message: "not for ana@dev.example"}
		err := mailer(t, s, func(c *Config) { c.TLS, c.User, c.Password = StartTLS, "portal", "a secret" }).Send(t.Context(), letter())
		var e *Error
		if !errors.As(err, &e) || e.Step != c.want || e.Code != c.code || e.Permanent() != c.permanent {
			t.Errorf("%s %d: got %v", c.step, c.code, err)
		}
		if err != nil && (strings.Contains(err.Error(), "ana") || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s %d: it has a value in it: %v", c.step, c.code, err)
		}
		delete(s.refuse, c.step)
		if err := mailer(t, s, func(c *Config) { c.TLS, c.User, c.Password = StartTLS, "portal", "a secret" }).Send(t.Context(), letter()); err != nil {
			t.Errorf("%s %d: it does not go on: %v", c.step, c.code, err)
		}
	}
}

func temporary(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Permanent() || e.Step != "connect" {
		t.Errorf("got %v", err)
	}
}

func TestServerThatIsNotOne(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	says := make(chan string, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if line := <-says; line != "" {
				io.WriteString(c, line)
				c.Close()
			}
			// else it says nothing, and keeps the connection
		}
	}()
	for _, line := range []string{"", "554 go away\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "220 mx\r\n"} {
		says <- line
		begun := time.Now()
		m := mailer(t, &server{port: port}, func(c *Config) { c.Timeout = 300 * time.Millisecond })
		temporary(t, m.Send(t.Context(), letter()))
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%q: it took %v", line, took)
		}
	}
	l.Close()
	temporary(t, mailer(t, &server{port: port}, nil).Send(t.Context(), letter())) // nobody listens

	s := serve(t, None)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	temporary(t, mailer(t, s, nil).Send(ctx, letter()))
}

func TestNothingIsSentInTheOpen(t *testing.T) {
	s := serve(t, None) // it has no STARTTLS
	temporary(t, mailer(t, s, func(c *Config) { c.TLS, c.User, c.Password = StartTLS, "portal", "a secret" }).Send(t.Context(), letter()))
	s2 := serve(t, StartTLS)
	temporary(t, mailer(t, s2, func(c *Config) { c.TLS, c.Roots = StartTLS, nil }).Send(t.Context(), letter())) // its certificate is nobody's
	s3 := serve(t, Implicit)
	temporary(t, mailer(t, s3, func(c *Config) { c.TLS, c.Roots = Implicit, nil }).Send(t.Context(), letter()))
	if len(s.got)+len(s2.got)+len(s3.got)+len(s.users) > 0 {
		t.Error("something was sent")
	}
	for _, c := range []Config{
		{Host: "mx.example", From: "a@agency.example", TLS: None},
		{Host: "10.0.0.1", From: "a@agency.example", TLS: None},
		{Host: "mx.example", From: "a@agency.example", TLS: "maybe"},
		{Host: "", From: "a@agency.example"},
		{Host: "mx.example", From: "nobody"},
	} {
		if _, err := New(&c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	m, err := New(&Config{Host: "mx.example", From: "a@agency.example"})
	if err != nil || m.TLS != StartTLS || m.Port != 587 {
		t.Errorf("got %+v, %v", m, err)
	}
}

// TestNothingBecomesAHeader tries to write headers, and more addresses, by way of values.
func TestNothingBecomesAHeader(t *testing.T) {
	s := serve(t, None)
	m := mailer(t, s, nil)
	for name, change := range map[string]func(l *portal.Mail){
		"subject":     func(l *portal.Mail) { l.Subject = "Hello\r\nBcc: eve@evil.example" },
		"newline":     func(l *portal.Mail) { l.Subject = "Hello\nBcc: eve@evil.example" },
		"separator":   func(l *portal.Mail) { l.Subject = "Hello\u2028Bcc: eve@evil.example" },
		"address":     func(l *portal.Mail) { l.To = "ana@dev.example\r\nBcc: eve@evil.example" },
		"two":         func(l *portal.Mail) { l.To = "ana@dev.example, eve@evil.example" },
		"named":       func(l *portal.Mail) { l.To = "Ana <ana@dev.example>" },
		"no address":  func(l *portal.Mail) { l.To = "ana" },
		"parameter":   func(l *portal.Mail) { l.To = "ana@dev.example> NOTIFY=NEVER" },
		"id":          func(l *portal.Mail) { l.ID = "m1>\r\nBcc: eve@evil.example" },
		"no id":       func(l *portal.Mail) { l.ID = "" },
		"language":    func(l *portal.Mail) { l.Language = "en\r\nBcc: eve@evil.example" },
		"NUL subject": func(l *portal.Mail) { l.Subject = "a\x00b" },
	} {
		l := letter()
		change(l)
		err := m.Send(t.Context(), l)
		var e *Error
		if !errors.As(err, &e) || !e.Permanent() {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if len(s.got) > 0 {
		t.Errorf("%d were sent", len(s.got))
	}
	l := letter()
	l.Text = "Hello\n.\nMAIL FROM:<eve@evil.example>\nRCPT TO:<eve@evil.example>\nDATA\n\nBcc: eve@evil.example\n"
	if err := m.Send(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if len(s.got) != 1 || len(s.to) != 1 {
		t.Errorf("%d mails to %d", len(s.got), len(s.to))
	}
	head, _, _ := bytes.Cut([]byte(s.got[0]), []byte("\r\n\r\n"))
	if bytes.Contains(head, []byte("Bcc")) {
		t.Errorf("%s", head)
	}
}
