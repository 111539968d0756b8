package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writePair writes a certificate for 127.0.0.1 and its key.
func writePair(t *testing.T, dir string, serial int64, names ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: raw}} {
		for _, n := range names {
			if n != name {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestServeTLS serves with a certificate, over HTTP/2, and replaces it meanwhile; while its files do not fit
// together the old one goes on.
func TestServeTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	dir := t.TempDir()
	writePair(t, dir, 1, "cert.pem", "key.pem")
	config := filepath.Join(dir, "serve.yaml")
	text := fmt.Sprintf("store: %[1]s/store\nlisten: 127.0.0.1:0\nopen: true\nlog: json\ntls: {cert: %[1]s/cert.pem, key: %[1]s/key.pem}\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &streamBench{dir: dir, env: append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))}
	s := b.serveConfigured(t, config)
	url := "https" + s.base[len("http"):] + "/metadata"
	serial := func() int64 {
		t.Helper()
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true} //nolint:gosec // the certificate is compared
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
			t.Errorf("%s %s: %v", resp.Proto, resp.Status, err)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Errorf("the certificate has number %d", n)
	}
	writePair(t, dir, 2, "cert.pem") // the key is not there yet
	if n := serial(); n != 1 {
		t.Errorf("between two files, the certificate has number %d", n)
	}
	writePair(t, dir, 3, "cert.pem", "key.pem")
	if n := serial(); n != 3 {
		t.Errorf("after the change, the certificate has number %d", n)
	}
	s.stop()
}
