package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// served is a running 'serve'.
type served struct {
	t     *testing.T
	c     *exec.Cmd
	base  string
	admin string
	log   string
}

// serve starts a server on a store and waits until it answers.
func (b *streamBench) serve(t *testing.T, store string, args ...string) *served {
	t.Helper()
	return b.start(t, append([]string{"serve", "--store", store, "--listen", "127.0.0.1:0", "--open", "--log", "json"}, args...)...)
}

// serveConfigured starts a server with a configuration that has all that it needs.
func (b *streamBench) serveConfigured(t *testing.T, config string) *served {
	t.Helper()
	return b.start(t, "serve", "--config", config)
}

func (b *streamBench) start(t *testing.T, args ...string) *served {
	t.Helper()
	s := &served{t: t, log: filepath.Join(t.TempDir(), "serve.log")}
	out, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s.c = exec.Command("cpcds2fhir", args...)
	s.c.Env, s.c.Stderr = b.env, out
	if err := s.c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.c.ProcessState == nil {
			_ = s.c.Process.Kill()
			_ = s.c.Wait()
		}
	})
	url, probes := regexp.MustCompile(`"msg":"serving","address":"([^"]+)"`), regexp.MustCompile(`"msg":"probes and metrics","address":"([^"]+)"`)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		text := s.text()
		if m := url.FindStringSubmatch(text); m != nil {
			s.base = "http://" + m[1] + "/fhir"
			if m := probes.FindStringSubmatch(text); m != nil {
				s.admin = "http://" + m[1]
			}
			return s
		}
	}
	t.Fatalf("serve does not start:\n%s", s.text())
	return nil
}

func (s *served) text() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// get makes a request that must succeed.
func (s *served) get(url string) []byte {
	s.t.Helper()
	if strings.HasPrefix(url, "/") {
		url = s.base + url
	}
	resp, err := http.Get(url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %d %v %.300s", url, resp.StatusCode, err, text)
	}
	return text
}

// total is how many resources a search finds.
func (s *served) total(search string) int {
	s.t.Helper()
	var b struct{ Total int }
	if err := json.Unmarshal(s.get("/"+search), &b); err != nil {
		s.t.Fatal(err)
	}
	return b.Total
}

// stop ends the server as an operator does.
func (s *served) stop() {
	s.t.Helper()
	if err := s.c.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.c.Wait(); err != nil {
		s.t.Errorf("serve: %v\n%s", err, s.text())
	}
}

// TestServe proves that a server answers from a store that a load fills meanwhile, that commands work
// through it, and that its log has no values.
func TestServe(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	b := newStreamBench(t, "--claims", "300", "--seed", "8")
	store := filepath.Join(t.TempDir(), "store")
	s := b.serve(t, store)
	if n := s.total("Patient?_summary=count"); n != 0 {
		t.Errorf("a new store has %d members", n)
	}
	b.run(t, "load", "--quiet", "--to", "store:"+store, b.extract)
	patients := s.total("Patient?_summary=count")
	if patients == 0 {
		t.Error("what was loaded cannot be found")
	}
	var page struct {
		Entry []struct {
			Resource struct {
				ID         string
				Identifier []struct{ System, Value string }
			}
		}
	}
	if err := json.Unmarshal(s.get("/Patient?_count=1"), &page); err != nil {
		t.Fatal(err)
	}
	member := page.Entry[0].Resource
	value := member.Identifier[0].Value
	if n := s.total("Patient?identifier=" + value); n != 1 {
		t.Errorf("the member is found %d times by its number", n)
	}
	if s.total("ExplanationOfBenefit?patient="+member.ID) == 0 {
		t.Error("the member has no claims")
	}
	if !bytes.Contains(s.get("/metadata"), []byte("CapabilityStatement/c4bb")) {
		t.Error("the CapabilityStatement is not of the guide")
	}
	b.same(t, store)
	b.run(t, "reconcile", "--to", "store:"+store)
	b.run(t, "store", "search", "--store", store, "Patient?_id="+member.ID)
	if text := string(s.get(s.admin + "/metrics")); !strings.Contains(text, `cpcds2fhir_api_requests_total{route="search",status="200"}`) {
		t.Errorf("metrics are %.500s", text)
	}
	s.get(s.admin + "/readyz")
	s.stop()
	if log := s.text(); strings.Contains(log, value) || !strings.Contains(log, `"route":"search"`) {
		t.Errorf("the log has a value, or no requests:\n%s", log)
	}
}

// same proves that a store exports what a batch load left.
func (b *streamBench) same(t *testing.T, store string) {
	t.Helper()
	got := b.exported(t, store)
	if len(got) != len(b.want) {
		t.Errorf("the export has %d files, want %d", len(got), len(b.want))
	}
	for name, text := range b.want {
		if !bytes.Equal(got[name], text) {
			t.Errorf("%s differs from that of a batch load", name)
		}
	}
}

// TestServeRefuses proves that a server which everybody can reach is not started by mistake.
func TestServeRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	b := &streamBench{dir: t.TempDir(), env: os.Environ()}
	config := filepath.Join(b.dir, "serve.yaml")
	for _, x := range []struct {
		config string
		args   []string
		names  string
	}{
		{"", nil, "authorization.issuer"},
		{"", []string{"--open", "--listen", "0.0.0.0:0"}, "loopback"},
		{"", []string{"--open", "--listen", "8080"}, "host:port"},
		{"open: true\nlisten: 10.0.0.1:80\n", nil, "loopback"},
		{"open: true\nunknown: 1\n", nil, "unknown"},
		{"open: true\nlimits: {rows: -1}\n", nil, "limits.rows"},
		{"open: true\ntls: {cert: a}\n", nil, "tls"},
	} {
		args := append([]string{"serve", "--store", filepath.Join(b.dir, "store")}, x.args...)
		if x.config != "" {
			if err := os.WriteFile(config, []byte(x.config), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--config", config)
		}
		if _, errs, code := b.do(t, args...); code != 2 || !strings.Contains(errs, x.names) {
			t.Errorf("%q %q: exit code %d, %s", x.config, x.args, code, errs)
		}
	}
	if _, err := os.Stat(filepath.Join(b.dir, "store")); err == nil {
		t.Error("a store was made")
	}
	out, _, code := b.do(t, "serve", "--print-config")
	if err := os.WriteFile(config, []byte(strings.Replace(out, "open: false", "open: true", 1)), 0o600); err != nil || code != 0 {
		t.Fatal(err, code)
	}
	if c, err := readServe(config); err != nil || c.check() != nil || fmt.Sprint(*c) != fmt.Sprint(withOpen(*defaultServe())) {
		t.Errorf("the printed configuration is not that of the defaults: %+v (%v)", c, err)
	}
}

func withOpen(c serveConfig) serveConfig {
	c.Open, c.Aliases = true, []string{}
	return c
}

// TestServeKilled kills the server, which owns the store, while a load works through it, and starts it
// again: the load ends as if nothing had happened.
func TestServeKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	b := newStreamBench(t, "--claims", "4000", "--seed", "8")
	left := 2
	if n, err := strconv.Atoi(os.Getenv("KILLS")); err == nil {
		left = n
	}
	for left > 0 {
		left -= b.killServer(t, left)
	}
}

// killServer kills the owner of a store up to so many times during a load, and returns how often it has.
func (b *streamBench) killServer(t *testing.T, most int) (kills int) {
	t.Helper()
	store := filepath.Join(t.TempDir(), "store")
	s := b.serve(t, store)
	read := make(chan int)
	base := atomic.Pointer[string]{}
	base.Store(&s.base)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { // counts what was answered
		n := 0
		for ctx.Err() == nil {
			resp, err := http.Get(*base.Load() + "/Patient?_count=3")
			if err == nil {
				if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode == http.StatusOK {
					n++
				}
				_ = resp.Body.Close()
			}
			time.Sleep(time.Millisecond)
		}
		read <- n
	}()
	load := exec.CommandContext(ctx, "cpcds2fhir", "load", "--quiet", "--to", "store:"+store, b.extract)
	load.Env = b.env
	var errs bytes.Buffer
	load.Stderr = &errs
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- load.Wait() }()
	for kills < most {
		time.Sleep(rand.N(300 * time.Millisecond))
		select {
		case err := <-ended:
			ended <- err
			most = kills
			continue
		default:
		}
		if strings.Contains(s.text(), `"msg":"owns the store"`) {
			kills++
		}
		if err := s.c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = s.c.Wait()
		s = b.serve(t, store)
		base.Store(&s.base)
	}
	if err := <-ended; err != nil {
		t.Fatalf("load: %v\n%s", err, &errs)
	}
	if s.total("ExplanationOfBenefit?_summary=count") == 0 {
		t.Error("the claims cannot be found")
	}
	cancel()
	answered := <-read
	s.stop()
	b.same(t, store)
	b.run(t, "reconcile", "--to", "store:"+store)
	out := b.run(t, "audit", "verify", "--store", store, "--output", "json")
	var found struct{ Records int }
	if err := json.Unmarshal([]byte(out), &found); err != nil || found.Records < answered {
		t.Errorf("%d answers were read, the audit has %s", answered, out)
	}
	t.Logf("%d answers beside %d kills", answered, kills)
	return kills
}
