package fhirclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   string // the setting; "" is right
	}{
		"nothing": {Config{}, ""},
		"all": {Config{
			Profile: "hapi", IDs: "conditional", Bundle: "batch", Entries: 10, Bytes: 1e6, Concurrency: 3, Timeout: time.Minute, Patience: time.Minute,
			Headers: map[string]string{"X-Api-Version": "1"}, Conflicts: "overwrite", Deletions: "mark", Auth: Auth{Type: "none"}, TLS: TLS{Cert: "c", Key: "k"},
		}, ""},
		"profile":       {Config{Profile: "happy"}, "profile"},
		"our own serve": {Config{Profile: "cpcds2fhir"}, "profile"},
		"ids":           {Config{IDs: "server"}, "ids"},
		"bundle":        {Config{Bundle: "history"}, "bundle"},
		"entries":       {Config{Entries: -1}, "entries"},
		"bytes":         {Config{Bytes: 10}, "bytes"},
		"concurrency":   {Config{Concurrency: -1}, "concurrency"},
		"timeout":       {Config{Timeout: 5}, "timeout"},
		"patience":      {Config{Patience: -1}, "patience"},
		"conflicts":     {Config{Conflicts: "ignore"}, "conflicts"},
		"deletions":     {Config{Deletions: "keep"}, "deletions"},
		"a secret":      {Config{Headers: map[string]string{"authorization": "Bearer x"}}, "headers"},
		"a header":      {Config{Headers: map[string]string{"a b": "x"}}, "headers"},
		"a value":       {Config{Headers: map[string]string{"A": "x\r\nB: y"}}, "headers"},
		"our header":    {Config{Headers: map[string]string{"content-type": "x"}}, "headers"},
		"a named one":   {Config{Headers: map[string]string{"X-Api-Key": "env:KEY"}}, ""},
		"half a name":   {Config{Headers: map[string]string{"X-Api-Key": "file:"}}, "headers"},
		"half a pair":   {Config{TLS: TLS{Cert: "c"}}, "tls.key"},
		"other half":    {Config{TLS: TLS{Key: "c"}}, "tls.cert"},
		"auth":          {Config{Auth: Auth{Type: "magic"}}, "auth.type"},
		"auth setting":  {Config{Auth: Auth{Type: "bearer"}}, "auth.token"},
		"inline secret": {Config{Auth: Auth{Type: "bearer", Token: "s3cret"}}, "auth.token"},
	} {
		err := c.config.Check()
		e, ok := errors.AsType[*ConfigError](err)
		if c.want == "" && err != nil || c.want != "" && (!ok || e.Setting != c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s shows the secret: %v", name, err)
		}
	}
}

func TestAddress(t *testing.T) {
	for base, want := range map[string]bool{
		"https://example.org/fhir": true, "https://example.org/fhir/": true, "http://127.0.0.1:8080/fhir": true, "http://localhost/fhir": true, "http://[::1]:1/x": true,
		"http://example.org/fhir": false, "https://user:pw@example.org/fhir": false, "https://example.org/fhir?x=1": false, "ftp://example.org": false,
		"example.org/fhir": false, "": false, "https://": false,
	} {
		u, err := address(base, false)
		if (err == nil) != want {
			t.Errorf("%s: %v", base, err)
		}
		if err == nil && strings.HasSuffix(u.Path, "/") {
			t.Errorf("%s: %s", base, u)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	if _, err := address("http://example.org/fhir", true); err != nil {
		t.Errorf("insecure: %v", err)
	}
}

func TestProbe(t *testing.T) {
	serve := func(t *testing.T, text string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/fhir+json")
			io.WriteString(w, text)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	probe := func(t *testing.T, text string, c *Config) (*Probe, error) {
		t.Helper()
		_, p, err := Connect(t.Context(), serve(t, text), c, &Options{})
		return p, err
	}
	full := fmt.Sprintf(statementText, "HAPI FHIR Server")

	p, err := probe(t, full, &Config{Entries: 20, Deletions: "mark"})
	if err != nil || p.Software != "HAPI FHIR Server" || p.Version != "1" || p.FHIR != "4.0.1" || p.Profile != "hapi" || !p.Recognised ||
		p.Settings.Entries != 20 || p.Settings.Deletions != "mark" || p.Settings.Conflicts != "report" || p.Settings.Bundle != "transaction" || len(p.Types) != 6 || p.Types[0] != "Organization" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, a := range []string{"transaction", "batch", "update-create", "conditional-update", "versioned-update", "delete"} {
		if !p.Abilities[a] {
			t.Errorf("%s is not seen", a)
		}
	}
	if p.Abilities["import"] || p.Settings.Import != "" {
		t.Errorf("$import without the operation: %+v", p)
	}
	// A named profile is taken instead of the one that is recognised.
	if p, err = probe(t, full, &Config{Profile: "generic"}); err != nil || p.Profile != "generic" || p.Settings.SameVersion {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = probe(t, strings.Replace(strings.Replace(full, "HAPI FHIR Server", "X", 1), `{"code":"batch"}`, `{"code":"x"}`, 1), nil); err != nil || p.Settings.Bundle != "transaction" || p.Recognised {
		t.Errorf("no batches: %+v, %v", p, err)
	}
	if p, err = probe(t, strings.Replace(full, `{"code":"transaction"}`, `{"code":"x"}`, 1), nil); err != nil || p.Settings.Bundle != "batch" || !slices.ContainsFunc(p.Notes, func(n string) bool { return strings.Contains(n, "no transactions") }) {
		t.Errorf("no transactions: %+v, %v", p, err)
	}
	if p, err = probe(t, strings.ReplaceAll(strings.Replace(full, "HAPI FHIR Server", "X", 1), `"updateCreate":true`, `"updateCreate":false`), nil); err != nil || p.Settings.IDs != "conditional" {
		t.Errorf("no ids of clients: %+v, %v", p, err)
	}

	for name, text := range map[string]string{
		"STU3":          strings.Replace(full, "4.0.1", "3.0.2", 1),
		"R5":            strings.Replace(full, "4.0.1", "5.0.0", 1),
		"R4B":           strings.Replace(full, "4.0.1", "4.3.0", 1),
		"our own":       strings.Replace(full, "HAPI FHIR Server", "cpcds2fhir", 1),
		"read-only":     strings.ReplaceAll(full, "update", "read"),
		"no FHIR":       "<html>",
		"another thing": `{"resourceType":"Patient"}`,
	} {
		_, err := probe(t, text, nil)
		if e, ok := errors.AsType[*NoTargetError](err); !ok || e.What == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Connect(t.Context(), "ftp://x", nil, nil); err == nil {
		t.Error("an address that is none")
	}
}

func TestConnectToNothing(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	_, _, err := Connect(t.Context(), s.URL, nil, nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 404 || e.Path != "metadata" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s.Close()
	if _, _, err = Connect(ctx, s.URL, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			refuse(w, 401)
			return
		}
		fmt.Fprintf(w, statementText, "HAPI FHIR Server")
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := s.TLS.Certificates[0]
	ca := write("ca.pem", "CERTIFICATE", pair.Certificate[0])
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key := write("key.pem", "PRIVATE KEY", der)

	_, p, err := Connect(t.Context(), s.URL, &Config{TLS: TLS{CA: ca, Cert: ca, Key: key, ServerName: "example.com"}}, nil)
	if err != nil || p.Profile != "hapi" {
		t.Fatal(err)
	}
	began := time.Now()
	for name, c := range map[string]TLS{"no authority": {}, "another name": {CA: ca, ServerName: "example.net"}} {
		_, _, err = Connect(t.Context(), s.URL, &Config{TLS: c}, nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Retriable || time.Since(began) > 10*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(began))
		}
	}
	if _, _, err = Connect(t.Context(), s.URL, &Config{TLS: TLS{CA: ca}}, nil); !errors.Is(err, ErrAuthentication) {
		t.Errorf("without a certificate: %v", err)
	}
	for setting, c := range map[string]TLS{
		"tls.ca": {CA: filepath.Join(dir, "none")}, "tls.ca ": {CA: key}, "tls.cert": {Cert: key, Key: ca},
	} {
		_, _, err = Connect(t.Context(), s.URL, &Config{TLS: c}, nil)
		if e, ok := errors.AsType[*ConfigError](err); !ok || e.Setting != strings.TrimSpace(setting) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}
