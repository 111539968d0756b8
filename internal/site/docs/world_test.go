package docs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/sandbox"
	"cpcds2fhir/internal/site"
	"cpcds2fhir/internal/smart/authserver"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// world is a sandbox in the process of the test: store, API, authorization server, pages for members, and the clients
// that every sandbox has.
type world struct {
	t        *testing.T
	server   *httptest.Server
	accounts *accounts.Accounts
	key      *rsa.PrivateKey // of the service
}

const (
	patient = "p-elena"
	service = "sandbox-service"
	claims  = 12
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, server: httptest.NewUnstartedServer(nil)}
	origin := "http://" + w.server.Listener.Addr().String()
	var err error
	w.accounts, err = accounts.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "accounts.db"), &accounts.Options{Seal: sha256.Sum256([]byte("seal"))})
	w.must(err)
	t.Cleanup(func() { _ = w.accounts.Close() })
	w.seed(origin)
	oauth, err := authserver.New(&authserver.Config{Accounts: w.accounts, Issuer: origin, FHIRBase: origin + "/fhir", Registration: true})
	w.must(err)
	members, err := site.New(&site.Config{Accounts: w.accounts, Pages: oauth, Issuer: origin, Name: "Sandbox Medicaid", Passwords: true,
		Member: func(_ context.Context, id string) (string, string, error) {
			if id != patient {
				return "", "", errors.New("there is no such Patient")
			}
			return "Elena Test", "1980-02-03", nil
		}})
	w.must(err)
	fhirAPI, err := api.New(&api.Config{Store: w.store(), Authorizer: &authserver.Authorizer{Accounts: w.accounts}, CursorKey: bytes.Repeat([]byte("k"), 32),
		Base: origin + "/fhir", SMART: oauth.Configuration(), Events: api.Events{Failed: func(_ string, err error) { t.Error(err) }}})
	w.must(err)
	m := http.NewServeMux()
	m.Handle("/fhir/", fhirAPI)
	for _, path := range oauth.Paths() {
		m.Handle(path, oauth)
	}
	m.Handle("/", members.Handler())
	w.server.Config.Handler = m
	w.server.Start()
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// seed adds the clients of a sandbox, a service, and the login of elena.
func (w *world) seed(origin string) {
	ctx := w.t.Context()
	for _, c := range sandbox.Clients(origin) {
		w.must(w.accounts.AddClient(ctx, &c.Client))
		if c.Secret != "" {
			w.must(w.accounts.AddSecret(ctx, c.ID, c.Secret, timeless))
		}
	}
	var err error
	w.key, err = rsa.GenerateKey(rand.Reader, 2048)
	w.must(err)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: w.key.Public(), KeyID: "key-1", Algorithm: "RS384", Use: "sig"}}})
	w.must(err)
	w.must(w.accounts.AddClient(ctx, &accounts.Client{ID: service, Name: "A service", Status: accounts.Active, Auth: "private_key_jwt",
		Grants: []string{"client_credentials"}, Scopes: []string{"system/*.rs"}, JWKS: string(set), Owner: "test", IDTokenAlg: "RS256"}))
	l := sandbox.Logins()[0]
	user, err := w.accounts.SetPassword(ctx, l.Login, l.Password)
	w.must(err)
	w.must(w.accounts.EnsureKeys(ctx))
	w.must(w.accounts.AddLink(ctx, &accounts.Link{User: user.ID, Patient: patient, Role: "self", Source: "test"}))
}

// pem is the private key of the service as a file.
func (w *world) pem() []byte {
	text, err := x509.MarshalPKCS8PrivateKey(w.key)
	w.must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})
}

// store has one member with coverages and claims of three years.
func (w *world) store() *store.Store {
	s, err := store.Open(filepath.Join(w.t.TempDir(), "store"), store.Options{})
	w.must(err)
	w.t.Cleanup(func() { s.Close() })
	var b fhir.Batch
	add := func(typ fhir.Type, id, rest string, keys ...fhir.Key) {
		text := fmt.Sprintf(`{"resourceType":%q,"id":%q,"meta":{"lastUpdated":"2025-01-02T03:04:05Z"},%s}`, typ, id, rest)
		if !json.Valid([]byte(text)) {
			w.t.Fatal(text)
		}
		b.Add(&fhir.Resource{Type: typ, ID: id, LastUpdated: "2025-01-02T03:04:05Z", SourceVersion: "1", JSON: []byte(text), Keys: keys})
	}
	own := fhir.Key{Param: fhir.ParamPatient, Value: "Patient/" + patient}
	add(fhir.Organization, "o-payer", `"active":true,"name":"Example Health Plan"`, fhir.Key{Param: fhir.ParamIdentifier, Value: "urn:payers|1"})
	add(fhir.Practitioner, "r-doctor", `"active":true,"name":[{"family":"Doe"}]`, fhir.Key{Param: fhir.ParamIdentifier, Value: "urn:npi|1"})
	add(fhir.Patient, patient, `"active":true,"name":[{"family":"Test","given":["Elena"]}],"birthDate":"1980-02-03"`, fhir.Key{Param: fhir.ParamIdentifier, Value: "urn:members|1"})
	add(fhir.RelatedPerson, "x-spouse", `"active":true,"patient":{"reference":"Patient/`+patient+`"}`, own)
	for i, period := range []string{`{"start":"2022-01-01","end":"2022-12-31"}`, `{"start":"2023-01-01"}`} {
		add(fhir.Coverage, fmt.Sprintf("c-%d", i), `"status":"active","beneficiary":{"reference":"Patient/`+patient+`"},"payor":[{"reference":"Organization/o-payer"}],"period":`+period,
			own, fhir.Key{Param: fhir.ParamPayor, Value: "Organization/o-payer"}, fhir.Key{Param: fhir.ParamIdentifier, Value: fmt.Sprintf("urn:coverages|%d", i)})
	}
	for i := range claims {
		day, status := fmt.Sprintf("%d-%02d-11", 2022+i/4, 1+i), "active"
		if i == 3 {
			status = "cancelled"
		}
		total := func(system, code, amount string) string {
			return fmt.Sprintf(`{"category":{"coding":[{"system":%q,"code":%q}]},"amount":{"value":%s,"currency":"USD"}}`, system, code, amount)
		}
		add(fhir.ExplanationOfBenefit, fmt.Sprintf("e-%02d", i), `"status":"`+status+`","type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/claim-type","code":"pharmacy"}]},`+
			`"patient":{"reference":"Patient/`+patient+`"},"billablePeriod":{"start":"`+day+`"},"total":[`+
			total("http://terminology.hl7.org/CodeSystem/adjudication", "submitted", "100.10")+","+
			total("http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication", "memberliability", "10.05")+`]`,
			own, fhir.Key{Param: fhir.ParamType, Value: "http://terminology.hl7.org/CodeSystem/claim-type|pharmacy"}, fhir.Key{Param: fhir.ParamBillablePeriodStart, Value: day},
			fhir.Key{Param: fhir.ParamServiceStartDate, Value: day}, fhir.Key{Param: fhir.ParamServiceDate, Value: day + "/" + day},
			fhir.Key{Param: fhir.ParamInsurer, Value: "Organization/o-payer"}, fhir.Key{Param: fhir.ParamCareTeam, Value: "Practitioner/r-doctor"},
			fhir.Key{Param: fhir.ParamCoverage, Value: "Coverage/c-1"})
	}
	w.must(s.Apply(context.Background(), &b, nil))
	return s
}

// settings are those of the agency, with the world as the sandbox.
func (w *world) settings(c *Config) {
	c.Settings.Sandbox = Embedded(w.server.URL+"/fhir", w.server.URL)
}

// anchor ids of resources that the examples of the reference name by $ID.
var someID = map[string]string{"Patient": patient, "ExplanationOfBenefit": "e-00", "Coverage": "c-0", "Organization": "o-payer", "Practitioner": "r-doctor", "RelatedPerson": "x-spouse"}

// person is a browser in which somebody signs in and allows.
type person struct {
	w      *world
	client *http.Client
}

func (w *world) person() *person {
	jar, err := cookiejar.New(nil)
	w.must(err)
	return &person{w, &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host != w.server.Listener.Addr().String() {
			return http.ErrUseLastResponse // the app's
		}
		return nil
	}}}
}

var hidden = regexp.MustCompile(`name="(token|request|member)" value="([^"]*)"`)

// page reads an answer: the hidden fields of its form, and where it is.
func (p *person) page(r *http.Request) (form url.Values, path, to string, status int) {
	p.w.t.Helper()
	a, err := p.client.Do(r)
	p.w.must(err)
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	p.w.must(err)
	form = url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(string(body), -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	return form, a.Request.URL.Path, a.Header.Get("Location"), a.StatusCode
}

func (p *person) get(address string) *http.Request {
	r, err := http.NewRequestWithContext(p.w.t.Context(), http.MethodGet, address, nil)
	p.w.must(err)
	return r
}

func (p *person) post(path string, form url.Values) *http.Request {
	r, err := http.NewRequestWithContext(p.w.t.Context(), http.MethodPost, p.w.server.URL+path, strings.NewReader(form.Encode()))
	p.w.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// allow opens an authorization request, signs in, allows everything, and returns the address of the app to which the
// browser is sent.
func (p *person) allow(address string) string {
	p.w.t.Helper()
	form, path, _, status := p.page(p.get(address))
	if path != "/login" {
		p.w.t.Fatalf("%s leads to %s with %d and not to the login", address, path, status)
	}
	l := sandbox.Logins()[0]
	form.Set("login", l.Login)
	form.Set("password", l.Password)
	form, path, _, status = p.page(p.post("/login", form))
	if path != "/consent" || form.Get("token") == "" {
		p.w.t.Fatalf("the login leads to %s with %d", path, status)
	}
	form["kind"] = []string{"personal", "coverage", "claims"}
	form.Set("until", "1")
	form.Set("offline", "yes")
	form.Set("decision", "allow")
	_, _, to, status := p.page(p.post("/consent", form))
	if !strings.Contains(to, "code=") {
		p.w.t.Fatalf("the consent leads to %q with %d", to, status)
	}
	return to
}

const verifier = "verifier-verifier-verifier-verifier-verifier-verifier"

// code is one for a client, which a sample is to redeem.
func (w *world) code(client string) string {
	w.t.Helper()
	q := url.Values{"client_id": {client}, "redirect_uri": {"http://127.0.0.1:9999/callback"}, "response_type": {"code"}}
	path := authserver.UtahAuthorizePath
	if client != sandbox.UtahClient {
		sum := sha256.Sum256([]byte(verifier))
		path = authserver.AuthorizePath
		q.Set("scope", "launch/patient offline_access patient/*.rs")
		q.Set("state", "state")
		q.Set("aud", w.server.URL+"/fhir")
		q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
		q.Set("code_challenge_method", "S256")
	}
	to, err := url.Parse(w.person().allow(w.server.URL + path + "?" + q.Encode()))
	w.must(err)
	return to.Query().Get("code")
}

// tokens are those of a client.
func (w *world) tokens(client string) (access, refresh string) {
	w.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {w.code(client)}, "redirect_uri": {"http://127.0.0.1:9999/callback"}, "code_verifier": {verifier}}
	all := sandbox.Clients(w.server.URL)
	c := all[slices.IndexFunc(all, func(c sandbox.Client) bool { return c.ID == client })]
	form.Set("client_id", client)
	if c.Secret != "" {
		form.Set("client_secret", c.Secret)
	}
	if client == sandbox.UtahClient {
		form.Del("code_verifier")
	}
	r, err := http.PostForm(w.server.URL+authserver.TokenPath, form)
	w.must(err)
	defer r.Body.Close()
	var a struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil || a.Access == "" {
		w.t.Fatalf("no token for %s: %d, %v", client, r.StatusCode, err)
	}
	return a.Access, a.Refresh
}
