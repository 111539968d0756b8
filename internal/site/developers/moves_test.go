package developers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// submitted makes a complete application for production, and submits it.
func submitted(w *world, ids map[string]string) {
	w.t.Helper()
	ctx, owner := w.t.Context(), w.staff("owner@canary7.example")
	app, err := owner.App(ctx, ids["app"])
	w.must(err)
	s := app.Settings
	s.Policy, s.Terms, s.Homepage, s.Support = "https://canary7.example/privacy", "https://canary7.example/terms", "https://canary7.example", "help@canary7.example"
	_, err = owner.UpdateApp(ctx, app.ID, app.Version, &s)
	w.must(err)
	form := w.portal.Forms.Form(forms.Production)
	in := &portal.Input{Name: "Ada Winter", Title: "Owner", Bind: true}
	answers := forms.Answers{}
	for _, q := range form.Questions() {
		if q.Kind == forms.Attest {
			in.Attest = append(in.Attest, q.ID)
		} else if v := answer(q); v != nil {
			answers[q.ID] = v
		}
	}
	a, err := owner.Application(ctx, ids["id"])
	w.must(err)
	a, err = owner.SaveDraft(ctx, a.ID, a.Version, answers)
	w.must(err)
	in.Version = a.Version
	_, err = owner.Move(ctx, a.ID, lifecycle.Submit, in)
	w.must(err)
}

// TestAppeal shows a denial with its criterion, and takes an appeal with reasons.
func TestAppeal(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	submitted(w, ids)
	w.person("rita@agency.example", "Rita Viewer", portal.Reviewer)
	w.person("adam@agency.example", "Adam Minister", portal.Administrator)
	rita := w.staff("rita@agency.example")
	w.act(rita, ids["id"], lifecycle.Take, nil)
	w.act(rita, ids["id"], lifecycle.StartReview, nil)
	criterion := w.portal.Criteria()[0]
	w.act(rita, ids["id"], lifecycle.ProposeDeny, &portal.Input{Reason: "The domain is not yours.", Criterion: criterion})
	w.act(w.staff("adam@agency.example"), ids["id"], lifecycle.Deny, &portal.Input{Reason: "The domain is not yours.", Criterion: criterion})
	for _, lang := range []string{"es", "en"} {
		b := w.browser(lang)
		b.signIn("owner@canary7.example")
		d := b.get("/developers/applications/"+ids["id"]).want(200, "The domain is not yours.", w.portal.Forms.Criterion(criterion).Text.In(lang))
		if strings.Contains(d.body, "Rita") || strings.Contains(d.body, "Adam") {
			t.Error("the page names somebody of the staff")
		}
		path := "/developers/applications/" + ids["id"] + "/move/appeal"
		d = b.get(path).want(200)
		d = b.send(d.form(path)).want(422)
		if lang == "en" {
			b.send(d.form(path).set("reason", "It is ours: look at the record.")).want(200, "Appeal")
		}
	}
}

// TestRenewal makes the statements again before they end.
func TestRenewal(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	submitted(w, ids)
	w.person("rita@agency.example", "Rita Viewer", portal.Reviewer)
	w.person("adam@agency.example", "Adam Minister", portal.Administrator)
	rita := w.staff("rita@agency.example")
	for _, m := range []lifecycle.Action{lifecycle.Take, lifecycle.StartReview, lifecycle.SignSecurity, lifecycle.SignPrivacy, lifecycle.Propose} {
		w.act(rita, ids["id"], m, nil)
	}
	w.act(w.staff("adam@agency.example"), ids["id"], lifecycle.Approve, nil)
	owner := w.staff("owner@canary7.example")
	w.act(owner, ids["id"], lifecycle.Issue, nil)
	w.act(owner, ids["id"], lifecycle.GoLive, nil)
	w.pass(345 * 24 * time.Hour)
	for range 5 {
		_, err := w.portal.Tick(t.Context())
		w.must(err)
	}
	b := w.browser("en")
	b.signIn("owner@canary7.example").want(200, "Something waits for your answer")
	path := "/developers/applications/" + ids["id"] + "/move/renew"
	d := b.get(path).want(200)
	f := d.form(path)
	b.send(f).want(422)
	for name, kind := range f.kinds {
		if kind == "checkbox" {
			f.set(name, "yes")
		}
	}
	b.send(f.set("signer_title", "Owner")).want(200, "Live")
	x, err := w.portal.Operator("t").Application(t.Context(), ids["id"])
	w.must(err)
	if x.State != lifecycle.Live || w.now().Sub(x.Attested) > time.Hour {
		t.Errorf("the application is %s, attested at %s", x.State, x.Attested)
	}
	d = b.get("/developers/applications/" + ids["id"] + "/move/retire").want(200)
	b.send(d.form("/developers/applications/"+ids["id"]+"/move/retire")).want(200, "Retired")
}

// TestKeys replaces the public keys of an app by forms, with a proof that its developer has the private one.
func TestKeys(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	b := w.browser("en")
	b.signIn("owner@canary7.example")
	path := "/developers/organisations/" + ids["org"] + "/apps/new"
	d := b.get(path)
	d = b.send(d.form(path).set("name", "Keyed Budget").set("kind", "web").set("auth", "private_key_jwt").set("redirect_uris", "https://canary7.example/cb").set("scope-1", "yes")).want(200)
	app := strings.TrimPrefix(d.path, "/developers/apps/")
	d = b.get("/developers/apps/" + app + "/sandbox/credentials").want(200)
	b.send(d.form("/developers/apps/" + app + "/sandbox/issue")).want(200)
	x, err := w.portal.Operator("t").App(t.Context(), app)
	w.must(err)
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	w.must(err)
	jwk := jose.JSONWebKey{Key: key.Public(), KeyID: "one", Algorithm: "ES384", Use: "sig"}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}})
	w.must(err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil)
	w.must(err)
	proof, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: x.Sandbox, Subject: x.Sandbox, Audience: jwt.Audience{w.portal.Sandbox.Issuer}, IssuedAt: jwt.NewNumericDate(w.now()),
		Expiry: jwt.NewNumericDate(w.now().Add(time.Minute)), ID: "proof-1"}).Serialize()
	w.must(err)
	keys := "/developers/apps/" + app + "/keys"
	d = b.get(keys).want(200, x.Sandbox)
	b.send(d.form(keys).set("jwks", string(set)).set("proof", "no proof")).want(422)
	b.send(d.form(keys).set("jwks", "{}").set("proof", proof)).want(422)
	b.send(d.form(keys).set("jwks", string(set)).set("proof", proof)).want(200, "The keys are replaced.")
	b.get("/developers/apps/" + ids["app"] + "/keys").want(404)
}
