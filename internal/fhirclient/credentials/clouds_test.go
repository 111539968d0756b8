package credentials

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// alone keeps a test from the credentials of whoever runs it.
func alone(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"HOME", "CLOUDSDK_CONFIG", "AZURE_CONFIG_DIR"} {
		t.Setenv(name, dir)
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE",
		"GOOGLE_APPLICATION_CREDENTIALS", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST"} {
		t.Setenv(name, "")
	}
}

// The application default credentials: a service account's file, whose token URL is a server of the test.
func TestGoogle(t *testing.T) {
	alone(t)
	status := 200
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || strings.Count(r.PostFormValue("assertion"), ".") != 2 {
			t.Error("another form")
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status != 200 {
			io.WriteString(w, `{"error":"invalid_grant","error_description":"s3cret"}`)
			return
		}
		io.WriteString(w, `{"access_token":"g","token_type":"Bearer","expires_in":3600}`)
	}))
	t.Cleanup(s.Close)
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "loader@example.iam.gserviceaccount.com", "private_key_id": "k",
		"private_key": inPEM(t, "PRIVATE KEY", rsaKey(t)), "token_uri": s.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "account.json")
	write(t, path, string(account))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
	source, err := New(t.Context(), &Config{Type: "google"}, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := header(t, source); h != "Bearer g" || err != nil {
		t.Errorf("%q %v", h, err)
	}
	status = 400
	source.Renew("Bearer g")
	if _, err = header(t, source); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "400 (invalid_grant)") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
	status = 503
	if _, err = header(t, source); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path+"x")
	_, err = header(t, source)
	if e, ok := errors.AsType[*SettingError](err); !ok || e.Setting != "type" {
		t.Errorf("%v", err)
	}
}

// A client secret in the environment, and an authority that is a server of the test.
func TestAzure(t *testing.T) {
	alone(t)
	status, scope := 200, "https://x.fhir.azurehealthcareapis.com/.default"
	var s *httptest.Server
	s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			io.WriteString(w, `{"token_endpoint":"`+s.URL+`/tenant/oauth2/v2.0/token","authorization_endpoint":"`+s.URL+`/a","issuer":"`+s.URL+`/tenant/v2.0"}`)
			return
		}
		if r.PostFormValue("client_id") != "app" || r.PostFormValue("client_secret") != "s3cret" || !slices.Contains(strings.Fields(r.PostFormValue("scope")), scope) {
			t.Errorf("another form for %s: %v", r.URL.Path, r.PostForm["scope"])
		}
		w.WriteHeader(status)
		if status != 200 {
			io.WriteString(w, `{"error":"invalid_client","error_description":"s3cret"}`)
			return
		}
		io.WriteString(w, `{"access_token":"a","token_type":"Bearer","expires_in":3600}`)
	}))
	t.Cleanup(s.Close)
	env := map[string]string{"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": "s3cret", "AZURE_AUTHORITY_HOST": s.URL + "/"}
	for name, value := range env {
		t.Setenv(name, value)
	}
	options := &Options{
		Server:      &url.URL{Scheme: "https", Host: "x.fhir.azurehealthcareapis.com", Path: "/"},
		Environment: func(name string) string { return env[name] }, Transport: s.Client().Transport,
	}
	source, err := New(t.Context(), &Config{Type: "azure"}, options)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := header(t, source); h != "Bearer a" || err != nil {
		t.Fatalf("%q %v", h, err)
	}
	scope = "https://fhir.example.org/.default"
	other, err := New(t.Context(), &Config{Type: "azure", Audience: "https://fhir.example.org"}, options)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := header(t, other); h != "Bearer a" || err != nil {
		t.Errorf("with an audience: %q %v", h, err)
	}
	scope = "https://x.fhir.azurehealthcareapis.com/.default"
	status = 401
	source.Renew("Bearer a")
	if _, err = header(t, source); !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
}

// The signature of AWS's own example: "get-vanilla" of the test suite of Signature Version 4.
func TestSigV4Vector(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.amazonaws.com/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	key := aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, empty, "service", "us-east-1", at); err != nil {
		t.Fatal(err)
	}
	want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, " +
		"Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	if got := r.Header.Get("Authorization"); got != want || r.Header.Get("X-Amz-Date") != "20150830T123600Z" {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAWS(t *testing.T) {
	alone(t)
	server := &url.URL{Scheme: "https", Host: "healthlake.eu-west-2.amazonaws.com", Path: "/datastore/0/r4"}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
	t.Setenv("AWS_SESSION_TOKEN", "session")
	s, err := New(t.Context(), &Config{Type: "aws"}, &Options{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	a := s.(*amazon)
	a.clock = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	sign := func(body string) http.Header {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.String(), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/fhir+json")
		if err := s.Authorize(t.Context(), r, []byte(body)); err != nil {
			t.Fatal(err)
		}
		return r.Header
	}
	h := sign("{}")
	got := h.Get("Authorization")
	for _, part := range []string{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-west-2/healthlake/aws4_request,", "content-type", "host", "x-amz-date", "x-amz-security-token"} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is not in %s", part, got)
		}
	}
	if h.Get("X-Amz-Security-Token") != "session" || sign("{}").Get("Authorization") != got || sign("{ }").Get("Authorization") == got {
		t.Error("the signature does not follow from the body")
	}
	if !s.Renew("") {
		t.Error("there may be other credentials")
	}
	if s, err = New(t.Context(), &Config{Type: "aws", Region: "us-east-1"}, &Options{Server: server}); err != nil || s.(*amazon).region != "us-east-1" {
		t.Errorf("%+v %v", s, err)
	}
	_, err = New(t.Context(), &Config{Type: "aws"}, &Options{Server: &url.URL{Scheme: "https", Host: "example.org"}})
	if e, ok := errors.AsType[*SettingError](err); !ok || e.Setting != "region" {
		t.Errorf("%v", err)
	}
	alone(t)
	if s, err = New(t.Context(), &Config{Type: "aws"}, &Options{Server: server}); err != nil {
		t.Fatal(err)
	}
	if _, err = header(t, s); !errors.Is(err, ErrRefused) {
		t.Errorf("without credentials: %v", err)
	}
}
