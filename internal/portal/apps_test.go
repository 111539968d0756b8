package portal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestSettings tries what an app may be, field by field.
func TestSettings(t *testing.T) {
	p := &Portal{}
	for name, c := range map[string]struct {
		change      func(s *Settings)
		field, code string // of the sandbox; "" is right there
		production  string // code of production; "" is right there too
	}{
		"as it is":            {func(*Settings) {}, "", "", ""},
		"no name":             {func(s *Settings) { s.Name = " " }, "name", "name", "name"},
		"a name of two lines": {func(s *Settings) { s.Name = "a\nb" }, "name", "name", "name"},
		"hidden direction":    {func(s *Settings) { s.Name = "app\u202egpj" }, "name", "name", "name"},
		"no redirect":         {func(s *Settings) { s.RedirectURIs = nil }, "redirect_uris", "required", "required"},
		"http":                {func(s *Settings) { s.RedirectURIs = []string{"http://www.apps.example/back"} }, "redirect_uris", "https", "https"},
		"fragment":            {func(s *Settings) { s.RedirectURIs = []string{"https://www.apps.example/back#x"} }, "redirect_uris", "fragment", "fragment"},
		"empty fragment":      {func(s *Settings) { s.RedirectURIs = []string{"https://www.apps.example/back#"} }, "redirect_uris", "fragment", "fragment"},
		"user":                {func(s *Settings) { s.RedirectURIs = []string{"https://www.apps.example@evil.example/"} }, "redirect_uris", "user", "user"},
		"wildcard":            {func(s *Settings) { s.RedirectURIs = []string{"https://*.apps.example/"} }, "redirect_uris", "wildcard", "wildcard"},
		"relative":            {func(s *Settings) { s.RedirectURIs = []string{"/back"} }, "redirect_uris", "uri", "uri"},
		"space":               {func(s *Settings) { s.RedirectURIs = []string{"https://www.apps.example/a b"} }, "redirect_uris", "uri", "uri"},
		"script":              {func(s *Settings) { s.RedirectURIs = []string{"javascript:alert(1)"} }, "redirect_uris", "https", "https"},
		"own code parameter":  {func(s *Settings) { s.RedirectURIs = []string{"https://www.apps.example/?code=1"} }, "redirect_uris", "uri", "uri"},
		"loopback of the web": {func(s *Settings) { s.RedirectURIs = []string{"http://127.0.0.1:8080/back"} }, "", "", "loopback"},
		"localhost":           {func(s *Settings) { s.RedirectURIs = []string{"http://localhost:8080/back"} }, "", "", "loopback"},
		"localhost by https":  {func(s *Settings) { s.RedirectURIs = []string{"https://localhost/back"} }, "", "", "loopback"},
		"loopback of a device": {func(s *Settings) {
			s.Kind, s.Auth, s.RedirectURIs = "native", "none", []string{"http://127.0.0.1/back", "org.example.app:/back"}
		}, "", "", ""},
		"scheme without a domain": {func(s *Settings) { s.Kind, s.Auth, s.RedirectURIs = "native", "none", []string{"app:/back"} }, "redirect_uris", "scheme", "scheme"},
		"own scheme on the web":   {func(s *Settings) { s.RedirectURIs = []string{"org.example.app:/back"} }, "redirect_uris", "https", "https"},
		"a secret on a device":    {func(s *Settings) { s.Kind = "native" }, "auth", "native_secret", "native_secret"},
		"service with a secret":   {func(s *Settings) { s.Kind, s.RedirectURIs = "service", nil }, "auth", "service_keys", "service_keys"},
		"keys of a public client": {func(s *Settings) { s.Auth, s.JWKSURI = "none", "https://www.apps.example/keys" }, "jwks", "no_keys", "no_keys"},
		"keys to come":            {func(s *Settings) { s.Auth = "private_key_jwt" }, "", "", "required"},
		"keys at a URL":           {func(s *Settings) { s.Auth, s.JWKSURI = "private_key_jwt", "https://www.apps.example/keys" }, "", "", ""},
		"keys on this machine":    {func(s *Settings) { s.Auth, s.JWKSURI = "private_key_jwt", "https://localhost/keys" }, "jwks_uri", "url", "url"},
		"no scopes":               {func(s *Settings) { s.Scopes = nil }, "scopes", "required", "required"},
		"a scope twice":           {func(s *Settings) { s.Scopes = append(s.Scopes, s.Scopes[0]) }, "scopes", "twice", "twice"},
		"a scope of a service":    {func(s *Settings) { s.Scopes = []Scope{{"system/*.rs", "all"}} }, "scopes", "service", "service"},
		"a made-up scope":         {func(s *Settings) { s.Scopes = []Scope{{"everything", "all"}} }, "scopes", "scope", "scope"},
		"a scope of no right":     {func(s *Settings) { s.Scopes = []Scope{{"patient/Patient.", "all"}} }, "scopes", "scope", "scope"},
		"a scope without reason":  {func(s *Settings) { s.Scopes = []Scope{{"patient/*.rs", " "}} }, "", "", "reason"},
		"no policy":               {func(s *Settings) { s.Policy = "" }, "", "", "required"},
		"policy by http":          {func(s *Settings) { s.Policy = "http://www.apps.example/" }, "policy", "url", "url"},
		"support by nothing":      {func(s *Settings) { s.Support = "call us" }, "support", "support", "support"},
		"support of a name":       {func(s *Settings) { s.Support = "Help <help@apps.example>" }, "support", "support", "support"},
		"long text for members":   {func(s *Settings) { s.About["es"] = strings.Repeat("á", 416) }, "about_es", "about", "about"},
		"as long as it may be":    {func(s *Settings) { s.About["es"] = strings.Repeat("á", 415) }, "", "", ""},
		"Utah without a secret":   {func(s *Settings) { s.Utah, s.Auth = true, "none" }, "utah", "utah_secret", "utah_secret"},
		"audience":                {func(s *Settings) { s.Audience = "all" }, "audience", "audience", "audience"},
		"category":                {func(s *Settings) { s.Category = "for ever" }, "category", "category", "category"},
	} {
		for where, want := range map[Where]string{InSandbox: c.code, InProduction: c.production} {
			s := appSettings("App")
			c.change(s)
			err := p.checkSettings(s, where)
			got, is := asInput(err)
			if want == "" && err != nil || want != "" && (!is || got.Code != want || c.field != "" && got.Field != c.field) {
				t.Errorf("%s in %s: %v, want %s", name, where, err, want)
			}
		}
	}
}

// TestNames proves that nobody gets a name that looks like somebody else's.
func TestNames(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		other := newTeamOf(k, "Others")
		app, err := k.owner.AddApp(ctx, k.org, appSettings("Claims Friend"))
		ok(t, err)
		_, err = k.owner.AddApp(ctx, k.org, appSettings("CLAIMS friend")) // the same publisher
		ok(t, err)
		for name, code := range map[string]string{
			"claims-friend": "taken", "Cl\u0430ims Friend": "taken", "Medicaid": "official", "AGENCY of He\u0430lth": "official", "Operator's app": "taken",
		} {
			if code == "taken" && strings.HasPrefix(name, "Operator") {
				ok(t, k.Accounts.AddClient(ctx, &accounts.Client{ID: "op", Name: "Operators App", Status: accounts.Active}))
				name = "Operators  App"
			}
			_, err = other.AddApp(ctx, other.Members[len(other.Members)-1].Org, appSettings(name))
			input(t, err, "name", code)
		}
		// A name that is given up is free, once no app has it.
		for _, x := range first2(k.owner.Apps(ctx, k.org)) {
			s := x.Settings.clone()
			s.Name = "Something else"
			_, err = k.owner.UpdateApp(ctx, x.ID, x.Version, s)
			ok(t, err)
		}
		_, err = other.AddApp(ctx, other.Members[len(other.Members)-1].Org, appSettings("Claims Friend"))
		ok(t, err)
		_, err = k.owner.UpdateApp(ctx, app.ID, app.Version, appSettings("X"))
		wants(t, err, ErrStale)
	})
}

// newTeamOf makes another organisation with access to the sandbox, and gives its owner.
func newTeamOf(k *team, name string) *Actor {
	k.t.Helper()
	o, owner := k.organisation(k.actor(name+" Owner", NoStaff), name)
	owner.Person.Terms, owner.Person.Proof = k.Rules.TermsVersion, Proof{State: "passed", Method: "claim"}
	x := &team{world: k.world, org: o.ID, owner: owner, reviewer: k.reviewer}
	x.opens()
	return owner
}

// TestSecrets rotates secrets, with overlap and without.
func TestSecrets(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		works := func(secret string) bool { return first2(k.Accounts.CheckSecret(ctx, app.Sandbox, secret)) }
		one, err := k.developer.Rotate(ctx, app.ID, InSandbox, 0)
		ok(t, err)
		if !strings.HasPrefix(one.Secret, "cfh_test_") || len(one.Secrets) != 1 {
			t.Fatalf("got %d secrets", len(one.Secrets))
		}
		two, err := k.developer.Rotate(ctx, app.ID, InSandbox, 48*time.Hour)
		ok(t, err)
		equal(t, []bool{works(one.Secret), works(two.Secret)}, []bool{true, true})
		_, err = k.developer.Rotate(ctx, app.ID, InSandbox, 48*time.Hour)
		wants(t, err, accounts.ErrExists)
		_, err = k.developer.Rotate(ctx, app.ID, InSandbox, 169*time.Hour)
		input(t, err, "overlap", "overlap")
		k.clock.pass(49 * time.Hour)
		equal(t, []bool{works(one.Secret), works(two.Secret)}, []bool{false, true})

		developer := k.actorOf(k.developer.Person.ID) // who has just signed in
		_, err = k.developer.Rotate(ctx, app.ID, InSandbox, 0)
		wants(t, err, ErrFresh)
		list, err := k.observer.CredentialsOf(ctx, app.ID, InSandbox)
		ok(t, err)
		equal(t, []any{list.Secret, len(list.Secrets)}, []any{"", 1})
		wants(t, developer.EndSecret(ctx, app.ID, InSandbox, list.Secrets[0].ID, false), accounts.ErrUsed)
		denied(t, k.observer.EndSecret(ctx, app.ID, InSandbox, list.Secrets[0].ID, true))
		wants(t, k.stranger.EndSecret(ctx, app.ID, InSandbox, list.Secrets[0].ID, true), accounts.ErrNotFound)
		ok(t, developer.EndSecret(ctx, app.ID, InSandbox, list.Secrets[0].ID, true))
		equal(t, works(two.Secret), false)
		equal(t, k.did()[len(k.did())-1], didLeakSecret)

		s := appSettings("Claims Friend on a phone")
		s.Kind, s.Auth, s.RedirectURIs = "native", "none", []string{"org.example.app:/back"}
		public, err := developer.AddApp(ctx, k.org, s)
		ok(t, err)
		c, err := developer.Issue(ctx, public.ID, InSandbox)
		ok(t, err)
		equal(t, c.Secret, "")
		_, err = developer.Rotate(ctx, public.ID, InSandbox, 0)
		input(t, err, "auth", "no_secrets")
	})
}

// TestKeys proves that a key is registered by who has its private half, and by one app only.
func TestKeys(t *testing.T) {
	each(t, func(c *Config) { c.Sandbox.Issuer = "https://sandbox.example" }, func(k *team, _ string) {
		t := k.t
		k.opens()
		s := appSettings("Claims Friend")
		s.Auth = "private_key_jwt"
		app, err := k.developer.AddApp(ctx, k.org, s)
		ok(t, err)
		c, err := k.developer.Issue(ctx, app.ID, InSandbox)
		ok(t, err)
		if _, err := k.Accounts.Client(ctx, c.Client); !errors.Is(err, accounts.ErrNotFound) {
			t.Fatalf("there is a client without keys: %v", err)
		}
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		ok(t, err)
		jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one"}}})
		ok(t, err)
		proof := func(by *ecdsa.PrivateKey, sub, aud string, life time.Duration) string {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: jose.JSONWebKey{Key: by, KeyID: "one"}}, nil)
			ok(t, err)
			text, err := jwt.Signed(signer).Claims(jwt.Claims{Subject: sub, Audience: jwt.Audience{aud}, Expiry: jwt.NewNumericDate(k.clock.now().Add(life))}).Serialize()
			ok(t, err)
			return text
		}
		wrong, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		ok(t, err)
		for name, p := range map[string]string{
			"another key": proof(wrong, c.Client, "https://sandbox.example", time.Minute), "another client": proof(key, "x", "https://sandbox.example", time.Minute),
			"another issuer": proof(key, c.Client, "https://elsewhere.example", time.Minute), "over": proof(key, c.Client, "https://sandbox.example", -time.Hour),
			"for a year": proof(key, c.Client, "https://sandbox.example", 9000*time.Hour), "nothing": "",
		} {
			if err := k.developer.SetKeys(ctx, app.ID, string(jwks), p); err == nil {
				t.Errorf("%s proves", name)
			}
		}
		private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "one"}}})
		ok(t, err)
		good := proof(key, c.Client, "https://sandbox.example", time.Minute)
		input(t, k.developer.SetKeys(ctx, app.ID, string(private), good), "jwks", "keys")
		ok(t, k.developer.SetKeys(ctx, app.ID, string(jwks), good))
		client, err := k.Accounts.Client(ctx, c.Client)
		ok(t, err)
		equal(t, client.JWKS, string(jwks))

		app, err = k.developer.App(ctx, app.ID)
		ok(t, err)
		own := app.Settings.clone()
		own.JWKS = "{}"
		_, err = k.developer.UpdateApp(ctx, app.ID, app.Version, own)
		input(t, err, "jwks", "proof")

		s = appSettings("Another app")
		s.Auth = "private_key_jwt"
		second, err := k.developer.AddApp(ctx, k.org, s)
		ok(t, err)
		c2, err := k.developer.Issue(ctx, second.ID, InSandbox)
		ok(t, err)
		input(t, k.developer.SetKeys(ctx, second.ID, string(jwks), proof(key, c2.Client, "https://sandbox.example", time.Minute)), "jwks", "keys_used")
	})
}

// TestLogo proves that nothing of a picture stays but its pixels.
func TestLogo(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		from := image.NewNRGBA(image.Rect(0, 0, 300, 100))
		for i := range from.Pix {
			from.Pix[i] = 0xff
		}
		from.Set(150, 50, color.NRGBA{255, 0, 0, 255})
		var b bytes.Buffer
		ok(t, png.Encode(&b, from))
		picture := append(b.Bytes(), []byte("<script>alert(1)</script>")...)
		ok(t, k.developer.SetLogo(ctx, app.ID, picture))
		app, err := k.developer.App(ctx, app.ID)
		ok(t, err)
		got, err := k.developer.LogoPNG(ctx, app.Logo)
		ok(t, err)
		size, err := png.DecodeConfig(bytes.NewReader(got))
		ok(t, err)
		if size.Width != 256 || size.Height != 256 || bytes.Contains(got, []byte("script")) {
			t.Fatal("the picture was not drawn anew")
		}
		_, err = k.Portal.LogoPNG(ctx, app.Logo) // it is not approved
		wants(t, err, accounts.ErrNotFound)
		_, err = k.stranger.LogoPNG(ctx, app.Logo)
		wants(t, err, accounts.ErrNotFound)
		a := k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
		_, err = k.Portal.LogoPNG(ctx, app.Logo)
		ok(t, err)

		// A new logo is not that of production before it is approved.
		old := app.Logo
		ok(t, k.developer.SetLogo(ctx, app.ID, b.Bytes()))
		_, err = k.Portal.LogoPNG(ctx, old)
		ok(t, err)
		app = first2(k.developer.App(ctx, app.ID))
		_, err = k.Portal.LogoPNG(ctx, app.Logo)
		wants(t, err, accounts.ErrNotFound)
		in := k.signed(a)
		in.Settings = app.Approved.clone()
		a = k.step(k.owner, a, lifecycle.Change, in)
		a = k.step(k.reviewer, a, lifecycle.ProposeChange, nil)
		k.step(k.second, a, lifecycle.AcceptChange, nil)
		_, err = k.Portal.LogoPNG(ctx, app.Logo)
		ok(t, err)
		for name, bad := range map[string][]byte{"png": []byte("<svg/>"), "large": make([]byte, logoBytes+1), "pixels": tiny()} {
			input(t, k.developer.SetLogo(ctx, app.ID, bad), "logo", name)
		}
	})
}

func tiny() []byte {
	var b bytes.Buffer
	_ = png.Encode(&b, image.NewGray(image.Rect(0, 0, 4, 4)))
	return b.Bytes()
}

// TestEvidence reads from a log what an app has shown.
func TestEvidence(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	log := func(all ...any) (list []accounts.ClientRequest) {
		for i := 0; i < len(all); i += 2 {
			list = append(list, accounts.ClientRequest{Route: all[i].(string), Status: all[i+1].(int), At: at.Add(time.Duration(i) * time.Second)})
		}
		return list
	}
	for name, c := range map[string]struct {
		log  []accounts.ClientRequest
		want string
	}{
		"nothing":                   {nil, ""},
		"a code":                    {log(CodeRoute, 200), "authorize"},
		"a bad code":                {log(CodeRoute, 400), ""},
		"reads":                     {log("GET /Patient/{id}", 200, "GET /Coverage", 200, "POST /Coverage/_search", 200), "read search"},
		"metadata":                  {log("GET /metadata", 200, "GET /openapi.json", 200), ""},
		"pages":                     {log("GET /ExplanationOfBenefit"+PageRoute, 200), "paging"},
		"revoked":                   {log(RevokeRoute, 200, RefreshRoute, 200), "refresh revoke"},
		"denied, and went on":       {log("GET /Patient", 403, "GET /Coverage", 200), "search denied"},
		"denied, and gave up":       {log("GET /Patient", 403), ""},
		"limited, and waited":       {log("GET /Patient", 429, "GET /Patient", 200), "search limited"},
		"unauthorized, and renewed": {log("GET /Patient", 401, RefreshRoute, 200, "GET /Patient", 200), "refresh search unauthorized"},
		"unauthorized, and again":   {log("GET /Patient", 401, "GET /Patient", 200), "search"},
	} {
		got := seen(c.log)
		var list []string
		for _, what := range Interactions {
			if got[what] != nil {
				list = append(list, what)
			}
		}
		if strings.Join(list, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, list, c.want)
		}
	}
	each(t, nil, func(k *team, _ string) { // what was seen once counts when the log has forgotten it
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		_, err := k.keepEvidence(ctx)
		ok(t, err)
		k.clock.pass(60 * 24 * time.Hour)
		ok(t, k.Accounts.Expire(ctx))
		shown, missing, err := k.developer.Evidence(ctx, app.ID)
		ok(t, err)
		if len(shown) != 2 || shown[0].Interaction != "authorize" || shown[0].Count != 1 || len(missing) > 0 {
			t.Fatalf("got %v, missing %v", shown, missing)
		}
	})
}

// TestApart keeps the clients of the sandbox in a database of their own: what could not be done at once is done later, and
// nothing is lost.
func TestApart(t *testing.T) {
	var box *accounts.Accounts
	address := "sqlite:" + filepath.Join(t.TempDir(), "box.db")
	w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "a.db"), func(c *Config) {
		rules(c)
		var err error
		box, err = accounts.Open(ctx, address, &accounts.Options{Now: c.Now})
		ok(t, err)
		c.Sandbox.Accounts = box
	})
	k := newTeam(t, w)
	k.opens()
	app := k.tested("Claims Friend")
	if _, err := k.Accounts.Client(ctx, app.Sandbox); !errors.Is(err, accounts.ErrNotFound) {
		t.Fatalf("a client of the sandbox is in production: %v", err)
	}
	status := func() accounts.Status { return first2(box.Client(ctx, app.Sandbox)).Status }
	equal(t, status(), accounts.Active)
	sandbox := first2(k.owner.Applications(ctx, k.org))[0]
	sandbox = first2(k.reviewer.Application(ctx, sandbox.ID))
	sandbox = k.step(k.reviewer, sandbox, lifecycle.Suspend, &Input{Reason: "why", Criterion: "S-02"})
	equal(t, status(), accounts.Disabled)
	equal(t, k.count("portal_pending"), 0)

	// The sandbox cannot be reached: the move is made all the same, and the client follows.
	ok(t, box.Close())
	k.step(k.admin, sandbox, lifecycle.Reinstate, &Input{Reason: "why"})
	equal(t, k.count("portal_pending"), 1)
	box, err := accounts.Open(ctx, address, &accounts.Options{Now: k.clock.now})
	ok(t, err)
	defer box.Close()
	k.Sandbox.Accounts = box
	k.clock.pass(time.Minute)
	_, err = k.Tick(ctx)
	ok(t, err)
	equal(t, first2(box.Client(ctx, app.Sandbox)).Status, accounts.Active)
	equal(t, k.count("portal_pending"), 0)
}
