package kafkaio

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

const defaultPort = "9092"

// withPort adds the default port to an address without one.
func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(addr, defaultPort)
}

// dial opens a socket, encrypted if that is configured, within the timeout.
func (c *Client) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	// The keep-alive finds peers that are gone while a long poll waits; deadlines find
	// them too, but later.
	d := net.Dialer{KeepAlive: 15 * time.Second}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err // it names the address
	}
	if !c.cfg.TLS.Enabled {
		return nc, nil
	}
	conf, err := c.cfg.TLS.config(addr)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	tc := tls.Client(nc, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("encrypt connection to %s: %w", addr, err)
	}
	return tc, nil
}

// config reads the files anew: a rotated certificate is used by the next dial.
func (t *TLS) config(addr string) (*tls.Config, error) {
	name := t.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(addr)
	}
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         name,
		InsecureSkipVerify: t.InsecureSkipVerify,
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA certificates: %s has none in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// mechanism is a sasl.Mechanism that asks for the secrets whenever an authentication
// starts. Those of kafka-go keep what they were made with.
type mechanism struct{ SASL }

var mechanismNames = map[string]string{
	Plain:       "PLAIN",
	ScramSHA256: "SCRAM-SHA-256",
	ScramSHA512: "SCRAM-SHA-512",
}

func (m mechanism) Name() string { return mechanismNames[m.Mechanism] }

func (m mechanism) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	user, err := m.Username()
	if err != nil {
		return nil, nil, fmt.Errorf("get user name: %w", err)
	}
	password, err := m.Password()
	if err != nil {
		return nil, nil, fmt.Errorf("get password: %w", err)
	}
	var s sasl.Mechanism
	switch m.Mechanism {
	case Plain:
		s = plain.Mechanism{Username: user, Password: password}
	case ScramSHA256:
		s, err = scram.Mechanism(scram.SHA256, user, password)
	case ScramSHA512:
		s, err = scram.Mechanism(scram.SHA512, user, password)
	default:
		err = errors.New("unknown mechanism")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", m.Name(), err)
	}
	return s.Start(ctx)
}

// boundedConn gives an operation a deadline where kafka-go gives it none: it authenticates
// without one, and a silent broker would hold the group for ever.
type boundedConn struct {
	net.Conn
	limit time.Duration
}

func (b boundedConn) bound(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now().Add(b.limit)
	}
	return t
}

func (b boundedConn) SetDeadline(t time.Time) error      { return b.Conn.SetDeadline(b.bound(t)) }
func (b boundedConn) SetReadDeadline(t time.Time) error  { return b.Conn.SetReadDeadline(b.bound(t)) }
func (b boundedConn) SetWriteDeadline(t time.Time) error { return b.Conn.SetWriteDeadline(b.bound(t)) }
