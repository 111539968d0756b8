package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// authorizationMeasure measures what it costs the API to check a token at each request, and how many tokens the
// authorization server gives.
func authorizationMeasure(s *session) ([]result, error) {
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
	const search = "/ExplanationOfBenefit?_count=50&_total=none&patient="
	var ratios, rates []float64
	var with, without asked
	for range s.runs + 1 {
		if without, err = s.askServed(search+member, nil); err == nil {
			with, err = s.askServed(search+member, a)
		}
		if err != nil {
			return nil, err
		}
		ratios, rates = append(ratios, 100*with.rate/without.rate), append(rates, a.refreshed)
	}
	return []result{
		{Name: "search of a member's 50 claims with a token, rate of that without", Value: median(ratios[1:]), Bar: 85, Unit: "%",
			Detail: fmt.Sprintf("%.0f and %.0f a second, p99 %.1f and %.1f ms", with.rate, without.rate, ms(with.p99), ms(without.p99))},
		{Name: "refreshes, each with new tokens that are durable", Value: median(rates[1:]), Unit: "a second", Detail: "two apps at a time, SQLite"},
	}, nil
}

// authorized is a server with an authorization server, and what an app and a member have there.
type authorized struct {
	config, client, password string

	refreshed float64 // tokens a second, when it was served last
}

// refreshes is how often each of two grants is refreshed: at once, a grant may be so 300 times.
const refreshes = 250

const appRedirect = "http://127.0.0.1:1/callback"

// authorized registers an app, and lets somebody sign in for a member.
func (s *session) authorized(member string) (*authorized, error) {
	a := &authorized{config: filepath.Join(s.work, "serve.yaml"), password: "correct horse"}
	text := "store: " + s.target() + "\nlisten: 127.0.0.1:0\nlog: json\nlimits: {client: 0, member: 0}\nauthorization_server: {enabled: true, login: {passwords: true}}\n"
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	added, err := s.command(s.ctx, s.program, "client", "add", "Bench", "--config", a.config, "--auth", "none", "--redirect", appRedirect, "--output", "json").Output()
	if err != nil {
		return nil, err
	}
	var c struct{ ID string }
	if err := json.Unmarshal(added, &c); err != nil {
		return nil, err
	}
	a.client = c.ID
	link := s.command(s.ctx, s.program, "member", "link", member, "--config", a.config, "--login", "ada", "--password")
	link.Stdin = strings.NewReader(a.password + "\n")
	return a, link.Run()
}

// askServed asks a server that it starts and stops: one that is open if a is nil, or else with a token.
func (s *session) askServed(search string, a *authorized) (got asked, err error) {
	var server *process
	token := ""
	if a == nil {
		server, err = s.serve(s.target())
	} else {
		server, err = s.startServer(false, `"msg":"serving".*"url":"([^"]+)"`, "", s.program, "serve", "--config", a.config)
	}
	if err != nil {
		return got, err
	}
	if a != nil {
		token, err = a.tokens(server.url)
	}
	if err == nil {
		got, err = askWith(server.url+search, token, 2, nil)
	}
	return got, errors.Join(err, server.stop())
}

// tokens lets two members' browsers allow the app, refreshes for some seconds, and returns an access token.
func (a *authorized) tokens(base string) (access string, err error) {
	issuer := strings.TrimSuffix(base, "/fhir")
	type answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	ask := func(v url.Values) (t answer, err error) {
		v.Set("client_id", a.client)
		resp, err := http.PostForm(issuer+"/oauth2/token", v) //nolint:noctx // of a process of ours
		if err != nil {
			return t, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return t, fmt.Errorf("token: status %d", resp.StatusCode)
		}
		return t, json.NewDecoder(resp.Body).Decode(&t)
	}
	verifier := strings.Repeat("v", 43)
	code, err := a.allow(issuer, base, verifier)
	if err != nil {
		return "", err
	}
	first, err := ask(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {appRedirect}, "code_verifier": {verifier}})
	if err != nil {
		return "", err
	}
	code, err = a.allow(issuer, base, verifier)
	if err != nil {
		return "", err
	}
	second, err := ask(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {appRedirect}, "code_verifier": {verifier}})
	if err != nil {
		return "", err
	}
	var wait sync.WaitGroup
	var n atomic.Int64
	faults := make([]error, 2)
	began := time.Now()
	for i, t := range []answer{first, second} {
		wait.Go(func() {
			for k := 0; k < refreshes && faults[i] == nil; k++ {
				if t, faults[i] = ask(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {t.Refresh}}); faults[i] == nil {
					n.Add(1)
				}
			}
		})
	}
	wait.Wait()
	a.refreshed = float64(n.Load()) / time.Since(began).Seconds()
	return first.Access, errors.Join(faults...)
}

var hidden = regexp.MustCompile(`name="(token|request|member)" value="([^"]*)"`)

// allow goes through the pages as a browser does, and returns the code that the app gets.
func (a *authorized) allow(issuer, base, verifier string) (code string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), appRedirect) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{"client_id": {a.client}, "redirect_uri": {appRedirect}, "response_type": {"code"}, "scope": {"launch/patient patient/*.rs offline_access"}, "aud": {base},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "state": {"s"}}
	resp, err := browser.Get(issuer + "/oauth2/authorize?" + q.Encode()) //nolint:noctx // of a process of ours
	for _, step := range []struct {
		path string
		more url.Values
	}{
		{"/login", url.Values{"login": {"ada"}, "password": {a.password}}},
		{"/consent", url.Values{"kind": {"personal", "coverage", "claims", "providers"}, "offline": {"yes"}, "until": {"1"}, "decision": {"allow"}}},
	} {
		if err != nil {
			return "", err
		}
		text, readErr := io.ReadAll(resp.Body)
		if err := errors.Join(readErr, resp.Body.Close()); err != nil {
			return "", err
		}
		for _, m := range hidden.FindAllStringSubmatch(string(text), -1) {
			step.more.Set(m[1], m[2])
		}
		resp, err = browser.PostForm(issuer+step.path, step.more) //nolint:noctx // of a process of ours
	}
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil || to.Query().Get("code") == "" {
		return "", fmt.Errorf("no code came back: status %d", resp.StatusCode)
	}
	return to.Query().Get("code"), nil
}
