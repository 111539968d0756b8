// Package mail sends the portal's mails by SMTP. What it sends is encrypted on the way, or goes to this machine.
package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	stdmail "net/mail"
	"net/netip"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"cpcds2fhir/internal/portal"
)

// How the connection is encrypted.
const (
	StartTLS = "starttls" // by STARTTLS, or nothing is sent
	Implicit = "implicit" // from the beginning (port 465)
	None     = "none"     // not at all: for a server on this machine only
)

// Config says how mails are sent. Zero values mean defaults where a field says so.
type Config struct {
	Host     string
	Port     int    // 0 is 465 with implicit TLS, and 587 else
	TLS      string // "" is StartTLS, and for a loopback host None
	User     string // "" is without a login
	Password string
	From     string         // address of the sender, with a name if there is one
	Roots    *x509.CertPool // certificates that the server's is checked with; nil is those of the machine
	Timeout  time.Duration  // for one mail; 0 is 30 seconds
}

// Mailer sends mails, each with a connection of its own. It is safe for concurrent use.
type Mailer struct {
	Config
	from   *stdmail.Address
	domain string // of the sender
}

// Error says at which step a mail was not sent. It has no text of the server, which may have the address in it.
type Error struct {
	Step string // address, connect, sender, recipient or content
	Code int    // of the server's answer, 0 if there was none

	permanent bool
}

func (e *Error) Error() string {
	if e.Code == 0 {
		return "mail: not sent: " + e.Step
	}
	return fmt.Sprintf("mail: not sent: %s: the server answers %d", e.Step, e.Code)
}

// Permanent reports whether the mail will never be sent: nobody has the address, or the server wants none of its kind.
// What an operator can put right, such as a password, is not permanent.
func (e *Error) Permanent() bool { return e.permanent }

// New makes a Mailer. It connects to nobody yet.
func New(c *Config) (*Mailer, error) {
	m := &Mailer{Config: *c}
	var err error
	if m.from, err = stdmail.ParseAddress(c.From); err != nil {
		return nil, errors.New("mail: the sender is not an e-mail address")
	}
	m.domain = m.from.Address[strings.LastIndexByte(m.from.Address, '@')+1:]
	local := loopback(c.Host)
	if m.TLS == "" {
		m.TLS = StartTLS
		if local {
			m.TLS = None
		}
	}
	switch {
	case c.Host == "" || strings.ContainsAny(c.Host, " \r\n/"):
		return nil, errors.New("mail: there is no host")
	case m.TLS != StartTLS && m.TLS != Implicit && m.TLS != None:
		return nil, fmt.Errorf("mail: TLS is %s, %s or %s", StartTLS, Implicit, None)
	case m.TLS == None && !local:
		return nil, errors.New("mail: without TLS mails go to this machine only: the host is not a loopback one")
	}
	if m.Port == 0 {
		m.Port = 587
		if m.TLS == Implicit {
			m.Port = 465
		}
	}
	if m.Timeout <= 0 {
		m.Timeout = 30 * time.Second
	}
	return m, nil
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}

// Send sends a mail. An error is an *Error.
func (m *Mailer) Send(ctx context.Context, what *portal.Mail) error {
	message, err := m.message(what)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	client, err := m.client(ctx)
	if err != nil {
		return err
	}
	if err := client.DialWithContext(ctx); err != nil {
		return &Error{Step: "connect", Code: codeOf(err)}
	}
	err = client.Send(message)
	_ = client.Close() // the server may be gone: what counts is whether it has taken the mail
	if err == nil || message.IsDelivered() {
		return nil
	}
	return explained(err)
}

// message writes a mail. Nothing in it can become a header, or an address, of its own.
func (m *Mailer) message(what *portal.Mail) (*gomail.Msg, error) {
	to, err := stdmail.ParseAddress(what.To)
	if err != nil || to.Address != what.To || strings.ContainsFunc(what.To, control) {
		return nil, &Error{Step: "address", permanent: true}
	}
	if what.ID == "" || strings.ContainsFunc(what.Subject+what.ID+what.Language, control) || strings.ContainsAny(what.ID, "<>@ ") {
		return nil, &Error{Step: "content", permanent: true}
	}
	message := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	message.FromMailAddress(m.from)
	message.ToMailAddress(&stdmail.Address{Address: to.Address})
	message.Subject(what.Subject)
	message.SetDate()
	message.SetMessageIDWithValue(what.ID + "@" + m.domain) // the same if it is sent twice
	message.SetGenHeader("Auto-Submitted", "auto-generated")
	if what.Language != "" {
		message.SetGenHeader("Content-Language", what.Language)
	}
	message.SetBodyString(gomail.TypeTextPlain, what.Text)
	return message, nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 }

// client makes a client for one mail. Its connection ends with ctx, whatever the server does.
func (m *Mailer) client(ctx context.Context) (*gomail.Client, error) {
	config := &tls.Config{ServerName: strings.Trim(m.Host, "[]"), RootCAs: m.Roots, MinVersion: tls.VersionTLS12}
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() }) // it may be closed already
		if m.TLS == None {
			if a, is := conn.RemoteAddr().(*net.TCPAddr); !is || !a.IP.IsLoopback() { // whatever the name stands for
				_ = conn.Close()
				return nil, errors.New("the host is not this machine")
			}
		}
		if m.TLS != Implicit {
			return conn, nil
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secure, nil
	}
	policy := gomail.TLSMandatory
	if m.TLS != StartTLS {
		policy = gomail.NoTLS
	}
	options := []gomail.Option{
		gomail.WithPort(m.Port), gomail.WithTLSPolicy(policy), gomail.WithTLSConfig(config), gomail.WithHELO(m.domain),
		gomail.WithTimeout(m.Timeout), gomail.WithDialContextFunc(dial), gomail.WithoutNoop(),
	}
	if m.User != "" {
		options = append(options, gomail.WithSMTPAuthCustom(&login{user: m.User, password: m.Password}))
	}
	client, err := gomail.NewClient(strings.Trim(m.Host, "[]"), options...)
	if err != nil {
		return nil, &Error{Step: "connect"}
	}
	return client, nil
}

// login is a login by PLAIN or LOGIN, whichever the server has. The connection is encrypted, or stays on this machine.
type login struct {
	user, password string
	asked          int
}

func (l *login) Start(server *smtp.ServerInfo) (string, []byte, error) {
	for _, way := range server.Auth {
		if strings.EqualFold(way, "PLAIN") {
			return "PLAIN", []byte("\x00" + l.user + "\x00" + l.password), nil
		}
	}
	return "LOGIN", nil, nil
}

func (l *login) Next(_ []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	l.asked++
	switch l.asked {
	case 1:
		return []byte(l.user), nil
	case 2:
		return []byte(l.password), nil
	}
	return nil, errors.New("the server asks for more than a login")
}

// explained says at which step sending has failed.
func explained(err error) error {
	var sent *gomail.SendError
	if !errors.As(err, &sent) {
		return &Error{Step: "content"}
	}
	e := &Error{Step: "content", Code: sent.ErrorCode()}
	switch sent.Reason {
	case gomail.ErrSMTPMailFrom, gomail.ErrGetSender: // an operator can choose another sender
		e.Step = "sender"
		return e
	case gomail.ErrSMTPRcptTo, gomail.ErrGetRcpts:
		e.Step = "recipient"
	}
	e.permanent = e.Code >= 500 && e.Code <= 599
	return e
}

// codeOf is the server's code in an error, 0 if there is none.
func codeOf(err error) int {
	for ; err != nil; err = errors.Unwrap(err) {
		var code int
		if _, bad := fmt.Sscanf(err.Error(), "%3d ", &code); bad == nil && code >= 400 && code <= 599 {
			return code
		}
	}
	return 0
}
