package kafkaio

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// secret is a secret that can be rotated.
type secret struct {
	mu  sync.Mutex
	s   string
	err error
}

func (s *secret) get() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s, s.err
}

func (s *secret) set(v string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s, s.err = v, err
}

// TestSecretRotation has a wrong secret when the connections die, and the right one later.
func TestSecretRotation(t *testing.T) {
	for _, mechanism := range []string{Plain, ScramSHA256, ScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			var tp tap
			var password secret
			password.set("right", nil)
			failed := make(chan error, 100)
			cfg := Config{
				Timeout: time.Second,
				SASL:    SASL{Mechanism: mechanism, Username: func() (string, error) { return "user", nil }, Password: password.get},
				Events:  Events{Retrying: func(_ string, err error) { failed <- err }},
			}
			s, _ := fakeSuite(t, cfg, kfake.ListenFn(tp.listen), kfake.EnableSASL(), kfake.Superuser(mechanismNames[mechanism], "user", "right"))
			topic := s.topic(t, 1)
			a := s.join(t, groupConfig("g-"+mechanism, topic), nil)
			a.await("joined", a.owns(1))
			s.write(t, topic, 0, "a")
			r := s.reader(t, topic, 0, 0)
			readTo(t, r, 1)

			password.set("wrong", nil)
			tp.cut()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				s.write(t, topic, 0, "b")
			}()
			var refused *AuthenticationError
			timeout := time.After(20 * time.Second)
			var err error
			for !errors.As(err, &refused) { // the first failure is the cut itself
				select {
				case err = <-failed:
				case <-timeout:
					t.Fatalf("last failure: %v", err)
				}
			}
			noSecret := errors.New("the secret cannot be read")
			password.set("", noSecret)
			for !errors.Is(err, noSecret) {
				select {
				case err = <-failed:
				case <-timeout:
					t.Fatalf("last failure: %v", err)
				}
			}
			password.set("right", nil)
			<-ended
			readTo(t, r, 2)
			a.await("joined again", func() bool { return a.joins > 1 && len(a.live) == 1 })
			if err := a.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSessionLife has a broker that limits the life of SASL sessions. They are renewed before any request fails.
func TestSessionLife(t *testing.T) {
	var connected, failed atomic.Int32
	name := func() (string, error) { return "user", nil }
	cfg := Config{
		SASL: SASL{Mechanism: Plain, Username: name, Password: name},
		Events: Events{
			Connected: func(string, map[string]int16) { connected.Add(1) },
			Retrying:  func(string, error) { failed.Add(1) },
		},
	}
	s, _ := fakeSuite(t, cfg, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "user"),
		kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "500"}))
	topic := s.topic(t, 1)
	r := s.c.Reader(topic, 0, 0, ReaderConfig{MaxWait: 50 * time.Millisecond})
	defer r.Close()
	before := connected.Load()
	for begin := time.Now(); time.Since(begin) < 1500*time.Millisecond; {
		if _, err := r.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if failed.Load() != 0 || connected.Load()-before < 3 {
		t.Errorf("%d failures, %d connections", failed.Load(), connected.Load()-before)
	}
}

func TestSilentAuthentication(t *testing.T) {
	var tp tap
	name := func() (string, error) { return "user", nil }
	cfg := Config{Timeout: 300 * time.Millisecond, SASL: SASL{Mechanism: Plain, Username: name, Password: name}}
	s, _ := fakeSuite(t, cfg, kfake.ListenFn(tp.listen), kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "user"))
	topic := s.topic(t, 1)
	a := s.join(t, groupConfig("g", topic), nil)
	a.await("joined", a.owns(1))
	// The library authenticates without deadlines: without ours, the next join would never end.
	tp.freeze()
	a.await("left", func() bool { return len(a.left) > 0 })
	pause(t.Context(), 500*time.Millisecond)
	tp.thaw()
	a.await("joined again", func() bool { return a.joins > 1 && len(a.live) == 1 })
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// issue returns a certificate and its key in PEM.
func (a *authority) issue(t *testing.T) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"broker.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
}

// TestCertificateRotation replaces the files of a Client that goes on.
func TestCertificateRotation(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	put := func(name string, b []byte) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	certPEM, keyPEM := ca.issue(t)
	server, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(ca.cert)
	var tp tap
	badCert, badKey := other.issue(t)
	cfg := Config{
		Timeout: 500 * time.Millisecond,
		TLS:     TLS{Enabled: true, CAFile: put("ca", other.pem()), CertFile: put("cert", badCert), KeyFile: put("key", badKey)},
	}
	s, fake := fakeSuite(t, cfg, kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		l, err := tp.listen(network, addr)
		return tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{server}, ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert,
		}), err
	}))
	if _, err := s.c.Describe(t.Context()); err == nil {
		t.Error("a broker of another authority was accepted")
	}
	put("ca", ca.pem())
	if _, err := s.c.Describe(t.Context()); err == nil {
		t.Error("a client of another authority was accepted")
	}
	put("cert", certPEM)
	put("key", keyPEM)
	topic := s.topic(t, 1)
	a := s.join(t, groupConfig("g", topic), nil)
	a.await("joined", a.owns(1))
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	for name, ok := range map[string]bool{"broker.test": true, "127.0.0.1": true, "other.test": false} {
		cfg.TLS.ServerName, cfg.Brokers = name, fake.ListenAddrs()
		c := newClient(t, cfg)
		if _, err := c.Describe(t.Context()); (err == nil) != ok {
			t.Errorf("server name %s: %v", name, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no brokers":        {},
		"unknown mechanism": {Brokers: []string{"a"}, SASL: SASL{Mechanism: "kerberos"}},
		"no password":       {Brokers: []string{"a"}, SASL: SASL{Mechanism: Plain}},
		"half certificate":  {Brokers: []string{"a"}, TLS: TLS{CertFile: "x"}},
		"negative timeout":  {Brokers: []string{"a"}, Timeout: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for in, want := range map[string]string{"a": "a:9092", "a:1": "a:1", "::1": "[::1]:9092", "[::1]:2": "[::1]:2"} {
		if got := withPort(in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	c := newClient(t, Config{Brokers: []string{"127.0.0.1:1"}})
	c.Close()
	if _, err := c.Describe(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("describe after close: %v", err)
	}
	topics := []string{"t"}
	for _, g := range []GroupConfig{
		{Topics: topics}, {Group: "g"},
		{Group: "g", Topics: topics, HeartbeatInterval: time.Minute},
		{Group: "g", Topics: topics, DrainTimeout: time.Minute},
	} {
		if err := c.Consume(t.Context(), g, nil); err == nil || errors.Is(err, ErrClosed) {
			t.Errorf("group config %+v: %v", g, err)
		}
	}
}
