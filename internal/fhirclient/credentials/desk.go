package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// desk is where tokens are given: an OAuth token endpoint.
type desk struct {
	options *Options

	mu    sync.Mutex
	found *configuration // of the server; nil until it was asked
}

// configuration is what a server says in .well-known/smart-configuration.
type configuration struct {
	TokenEndpoint string   `json:"token_endpoint"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
	Scopes        []string `json:"scopes_supported"`
	Capabilities  []string `json:"capabilities"`
}

// answerMost is how large an answer may be, and deskTime how long it may take.
const (
	answerMost = 1 << 20
	deskTime   = 30 * time.Second
)

func (d *desk) client() *http.Client {
	return &http.Client{
		Transport: d.options.Transport, Timeout: deskTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a secret goes nowhere else
	}
}

// discover asks the server where its tokens are given.
func (d *desk) discover(ctx context.Context) (*configuration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found != nil {
		return d.found, nil
	}
	u := *d.options.Server
	u.Path += "/.well-known/smart-configuration"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, errors.New("the address of smart-configuration is no address")
	}
	req.Header.Set("Accept", "application/json")
	status, body, err := d.ask(req)
	if err != nil {
		return nil, fmt.Errorf("smart-configuration: %w", err)
	}
	var c configuration
	if status >= 500 || status == http.StatusTooManyRequests {
		return nil, fmt.Errorf("smart-configuration: the server answers %d", status)
	}
	if status != http.StatusOK || json.Unmarshal(body, &c) != nil {
		return nil, &SettingError{"token_url", fmt.Sprintf("is missing, and the server has no .well-known/smart-configuration that names it (%d)", status)}
	}
	if _, err := tokenAddress(c.TokenEndpoint); err != nil {
		return nil, &SettingError{"token_url", "is missing, and what the server names " + err.Error()}
	}
	d.found = &c
	return d.found, nil
}

// ask sends a request, and reads its answer as a whole.
func (d *desk) ask(req *http.Request) (status int, body []byte, err error) {
	res, err := d.client().Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return 0, nil, fmt.Errorf("no answer: %w", err)
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, answerMost))
	if err != nil {
		return 0, nil, fmt.Errorf("the answer broke off: %w", err)
	}
	return res.StatusCode, body, nil
}

// refusal is an answer that gives no token. It is temporary if the status is.
type refusal struct {
	status int
	code   string // of OAuth, such as invalid_client
}

func (r *refusal) Error() string {
	if r.code != "" {
		return fmt.Sprintf("the token endpoint answers %d (%s)", r.status, r.code)
	}
	return fmt.Sprintf("the token endpoint answers %d", r.status)
}

func (r *refusal) Unwrap() error {
	if r.status/100 == 5 || r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout {
		return nil
	}
	return ErrRefused
}

var oauthCode = regexp.MustCompile(`^[a-z_]{1,40}$`)

// redeem asks for a token. prepare may add a header.
func (d *desk) redeem(ctx context.Context, address string, form url.Values, prepare func(*http.Request)) (token, error) {
	ctx, cancel := context.WithTimeout(ctx, deskTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return token{}, errors.New("the token URL is no address")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if prepare != nil {
		prepare(req)
	}
	asked := time.Now()
	status, body, err := d.ask(req)
	if err != nil {
		return token{}, fmt.Errorf("token endpoint: %w", err)
	}
	var answer struct {
		Token   string          `json:"access_token"`
		Type    string          `json:"token_type"`
		Expires json.RawMessage `json:"expires_in"`
		Error   string          `json:"error"`
	}
	faulty := json.Unmarshal(body, &answer) != nil
	if status/100 != 2 {
		r := &refusal{status: status}
		if oauthCode.MatchString(answer.Error) {
			r.code = answer.Error
		}
		return token{}, r
	}
	if faulty || answer.Token == "" {
		return token{}, errors.New("the token endpoint answers without an access token")
	}
	if answer.Type != "" && !strings.EqualFold(answer.Type, "bearer") {
		return token{}, fmt.Errorf("%w: the token is no bearer token", ErrRefused)
	}
	t := token{text: answer.Token}
	// A number, or a number in quotes.
	if s, err := strconv.ParseFloat(strings.Trim(string(answer.Expires), `"`), 64); err == nil && s > 0 && s < 1e8 {
		t.until = asked.Add(time.Duration(s * float64(time.Second)))
	}
	return t, nil
}

// scope is what is asked for: the user's, or all that a loader needs.
func (c *Config) scope(found *configuration) string {
	switch {
	case len(c.Scopes) > 0:
		return strings.Join(c.Scopes, " ")
	case found != nil && !slices.Contains(found.Capabilities, "permission-v2") && !slices.Contains(found.Scopes, "system/*.cruds"):
		return "system/*.*" // SMART 1
	}
	return "system/*.cruds"
}
