package main

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // TOTP (RFC 6238) of authenticator apps
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How many developers are signed in, and how often each opens a page.
const (
	portalDevelopers = 200
	portalEvery      = 5 * time.Second
)

// portalMeasure measures searches of the API while developers use the portal of the same server.
func portalMeasure(s *session) ([]result, error) {
	if _, err := s.loadServed(); err != nil {
		return nil, err
	}
	open, err := s.serve(s.target())
	if err != nil {
		return nil, err
	}
	member, _, err := memberOf50(open.url)
	if err := errors.Join(err, open.stop()); err != nil {
		return nil, err
	}
	a, err := s.authorized(member)
	if err != nil {
		return nil, err
	}
	people, err := s.developers(a)
	if err != nil {
		return nil, err
	}
	server, err := s.startServer(false, `"msg":"serving".*"url":"([^"]+)"`, "", s.program, "serve", "--config", a.config)
	if err != nil {
		return nil, err
	}
	r, err := a.besidePortal(server.url, member, people, s.runs)
	return r, errors.Join(err, server.stop())
}

// developer is somebody with an account of the portal.
type developer struct {
	email, password, key string
	address              string // of the browser, as a proxy would say it
}

// developers makes a portal for a server, with accounts.
func (s *session) developers(a *authorized) (list []*developer, err error) {
	sandbox := filepath.Join(s.work, "sandbox-store")
	if err := os.RemoveAll(sandbox + ".accounts"); err != nil {
		return nil, err
	}
	if err := s.command(s.ctx, s.program, "client", "add", "Sandbox", "--store", sandbox, "--auth", "none", "--redirect", appRedirect).Run(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(a.config, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(f, "portal: {enabled: true, login: {passwords: true}, sandbox: {base: \"http://127.0.0.1:1/fhir\", store: %s}, mail: {server: \"127.0.0.1:1\", from: bench@example.org, tls: none}, address_header: X-Forwarded-For}\n", sandbox)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	began := time.Now().UnixNano() // accounts of a run before may be there
	for i := range portalDevelopers {
		d := &developer{email: fmt.Sprintf("developer%d-%d@bench.example", i, began), password: "correct horse battery", address: fmt.Sprintf("198.51.%d.%d", 100+i/250, i%250+1)}
		add := s.command(s.ctx, s.program, "portal", "user", "add", d.email, "--name", "Bench", "--config", a.config, "--output", "json")
		add.Stdin = strings.NewReader(d.password + "\n")
		out, err := add.Output()
		if err != nil {
			return nil, fmt.Errorf("portal user add: %w", err)
		}
		var made struct {
			Key string `json:"totp_key"`
		}
		if err := json.Unmarshal(out, &made); err != nil {
			return nil, err
		}
		d.key = made.Key
		list = append(list, d)
	}
	return list, nil
}

// besidePortal asks the API with and without developers who use the portal.
func (a *authorized) besidePortal(base, member string, people []*developer, runs int) ([]result, error) {
	token, err := a.tokens(base)
	if err != nil {
		return nil, err
	}
	origin := strings.TrimSuffix(base, "/fhir")
	browsers := make([]*http.Client, len(people))
	for i, d := range people {
		if browsers[i], err = d.signIn(origin); err != nil {
			return nil, err
		}
	}
	search := base + "/ExplanationOfBenefit?_count=50&_total=none&patient=" + member
	var ratios []float64
	var idle, busy asked
	var pages atomic.Int64
	for range runs + 1 {
		if idle, err = askWith(search, token, 1, nil); err != nil {
			return nil, err
		}
		stop := make(chan struct{})
		var wait sync.WaitGroup
		var failed atomic.Pointer[error]
		pages.Store(0)
		for _, b := range browsers {
			wait.Go(func() {
				if err := browse(b, origin, stop, &pages); err != nil {
					failed.Store(&err)
				}
			})
		}
		time.Sleep(time.Second)
		busy, err = askWith(search, token, 1, nil)
		close(stop)
		wait.Wait()
		if f := failed.Load(); f != nil {
			err = errors.Join(err, *f)
		}
		if err != nil {
			return nil, err
		}
		ratios = append(ratios, ms(busy.p99)/ms(idle.p99))
	}
	return []result{{Name: fmt.Sprintf("p99 of searches beside %d developers on the portal, to that without them", len(people)), Value: median(ratios[1:]), Bar: 1.5, Unit: "x", Least: true,
		Detail: fmt.Sprintf("one client; %.1f and %.1f ms, %.0f and %.0f searches a second, %d pages in the last run", ms(busy.p99), ms(idle.p99), busy.rate, idle.rate, pages.Load())}}, nil
}

// forwarded says whom a proxy has a request from.
type forwarded struct {
	address string
	http.RoundTripper
}

func (f forwarded) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", f.address)
	return f.RoundTripper.RoundTrip(r)
}

// signIn signs in with password and second factor, and returns the browser.
func (d *developer) signIn(origin string) (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	b := &http.Client{Jar: jar, Transport: forwarded{d.address, &http.Transport{MaxIdleConnsPerHost: 1}}}
	resp, err := b.Get(origin + "/developers/sign-in") //nolint:noctx // of a process of ours
	for _, more := range []url.Values{{"email": {d.email}, "password": {d.password}}, {"factor": {totp(d.key, time.Now())}}} {
		if err != nil {
			return nil, err
		}
		text, readErr := io.ReadAll(resp.Body)
		at := resp.Request.URL.String()
		if err := errors.Join(readErr, resp.Body.Close()); err != nil {
			return nil, err
		}
		for _, m := range hidden.FindAllStringSubmatch(string(text), -1) {
			more.Set(m[1], m[2])
		}
		resp, err = b.PostForm(at, more) //nolint:noctx // of a process of ours
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/developers" {
		return nil, fmt.Errorf("a developer could not sign in: status %d at %s", resp.StatusCode, resp.Request.URL.Path)
	}
	return b, nil
}

// totp is a code of RFC 6238.
func totp(key string, at time.Time) string {
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(key, "="))
	if err != nil {
		return ""
	}
	m := hmac.New(sha1.New, secret)
	_ = binary.Write(m, binary.BigEndian, at.Unix()/30)
	sum := m.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[len(sum)-1]&15:])&(1<<31-1)%1_000_000)
}

// browse opens pages as a developer does, until stop.
func browse(b *http.Client, origin string, stop <-chan struct{}, pages *atomic.Int64) error {
	list := []string{"/developers", "/developers/profile", "/docs/getting-started", "/docs/api", "/support", "/apps-directory"}
	wait := time.Duration(rand.Int64N(int64(portalEvery)))
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(wait):
		}
		page := list[rand.IntN(len(list))]
		if _, err := get(b, origin+page); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
		pages.Add(1)
		wait = portalEvery/2 + time.Duration(rand.Int64N(int64(portalEvery)))
	}
}
