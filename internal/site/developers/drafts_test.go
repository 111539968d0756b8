package developers

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestDrafts keeps what two people of an organisation write at once, opens conditional questions, and takes documents.
func TestDrafts(t *testing.T) {
	w := newWorld(t, nil)
	w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
	ids := foreign(w, w.staff("owner@canary7.example"))
	one, two := w.browser("en"), w.browser("en")
	one.signIn("owner@canary7.example")
	two.signIn("owner@canary7.example")
	edit := "/developers/applications/" + ids["id"] + "/edit"
	form := w.portal.Forms.Form(forms.Production)

	// Whoever comes second learns that it has changed, and nothing is lost.
	a, b := one.get(edit), two.get(edit)
	one.send(w.fillSection(a.form(edit), form).set("_do", "later")).want(200, "Your draft is saved.")
	f := w.fillSection(b.form(edit), form)
	f.values.Set("value", "Something else")
	two.send(f.set("_do", "later")).want(409, "Somebody has changed this meanwhile")
	if got := two.get(edit).form(edit).values.Get("value"); got != "Canary answer to value" {
		t.Errorf("the draft says %q", got)
	}

	// Questions that an answer opens are asked at once, and others are not.
	d := one.get(edit + "?section=topics")
	if _, ok := d.form(edit).kinds["topic_sharing_where"]; ok {
		t.Error("a question is asked before its answer opens it")
	}
	d = one.send(d.form(edit).set("topic_sharing", "yes").set("_do", "next")).want(200, "have opened more questions")
	d.form(edit).set("topic_sharing_where", "Section 1")
	// What is wrong is said, and what was typed stays.
	d = one.get(edit + "?section=policy")
	d = one.send(d.form(edit).set("policy_url", "http://no.example").set("policy_version", "7").set("_do", "next")).want(http.StatusUnprocessableEntity)
	if got := d.form(edit).values.Get("policy_version"); got != "7" {
		t.Errorf("the answer is lost: %q", got)
	}
	if !strings.Contains(d.body, `href="#q-policy_url"`) || !strings.Contains(d.body, `aria-invalid="true"`) {
		t.Error("the field is not marked")
	}

	// Documents: by their content, as attachments, outside of the pages.
	d = one.get(edit + "?section=proof")
	d = one.send(d.form(edit).file("security_documents", []byte("<script>alert(1)</script>")).set("_do", "next")).want(http.StatusUnprocessableEntity)
	pdf := []byte("%PDF-1.7\nCanary document\n%%EOF")
	d = one.send(d.form(edit).file("security_documents", pdf).set("_do", "later"))
	d.want(200)
	d = one.get(edit + "?section=proof")
	m := regexp.MustCompile(`href="(/developers/applications/[^"]*/documents/[^"/]+)"`).FindAllStringSubmatch(d.body, -1)
	if len(m) == 0 {
		t.Fatalf("no document is shown: %s", d.words())
	}
	path := m[len(m)-1][1]
	got := one.get(path)
	if !bytes.Contains([]byte(got.body), []byte("%PDF-1.7")) || !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") || got.header.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.Contains(got.header.Get("Content-Security-Policy"), "sandbox") || got.header.Get("Content-Type") != "application/octet-stream" || strings.Contains(got.header.Get("Content-Disposition"), "..") {
		t.Errorf("the document comes with %v", got.header)
	}
	err := filepath.WalkDir(w.portal.Uploads, func(name string, e os.DirEntry, err error) error {
		if err == nil && strings.Contains(name, "pdf") {
			t.Errorf("a document has the name that its sender gave it: %s", e.Name())
		}
		return err
	})
	w.must(err)
	d = one.get(path + "/remove").want(200)
	one.send(d.form(path+"/remove")).want(200, "The document is removed.")
	if d = one.get(edit + "?section=proof"); strings.Contains(d.body, path) {
		t.Error("a document that was removed is still listed")
	}

	// A logo is drawn anew.
	d = one.get("/developers/apps/" + ids["app"] + "/logo")
	one.send(d.form("/developers/apps/" + ids["app"] + "/logo")).want(422)
	one.send(d.form("/developers/apps/"+ids["app"]+"/logo").file("logo", []byte("<svg xmlns='http://www.w3.org/2000/svg'/>"))).want(422)
	img := image.NewRGBA(image.Rect(0, 0, 64, 32))
	img.Set(3, 3, color.RGBA{200, 10, 10, 255})
	var buf bytes.Buffer
	w.must(png.Encode(&buf, img))
	one.send(d.form("/developers/apps/"+ids["app"]+"/logo").file("logo", buf.Bytes())).want(200, "The logo is saved.")
	got = one.get("/developers/apps/" + ids["app"] + "/logo.png")
	if c, err := png.DecodeConfig(strings.NewReader(got.body)); err != nil || c.Width != 256 || got.header.Get("Content-Type") != "image/png" {
		t.Errorf("the logo is %v %+v %v", err, c, got.header)
	}

	// A move that is not possible any more says so.
	d = one.get("/developers/applications/" + ids["id"] + "/move/withdraw").want(200)
	f = d.form("/developers/applications/" + ids["id"] + "/move/withdraw")
	one.send(f).want(200)
	one.send(f).want(409)
	one.get(edit).want(409)
	one.get("/developers/applications/" + ids["id"] + "/move/approve").want(404)
	d = one.get("/developers/applications/" + ids["id"] + "/move/reopen").want(200)
	one.send(d.form("/developers/applications/" + ids["id"] + "/move/reopen")).want(200)
	x, err := w.portal.Operator("t").Application(t.Context(), ids["id"])
	w.must(err)
	if x.State != lifecycle.Draft {
		t.Errorf("the application is %s", x.State)
	}
}

// TestPeople invites, joins, changes roles and leaves, by forms.
func TestPeople(t *testing.T) {
	for _, lang := range []string{"en", "es"} {
		w := newWorld(t, nil)
		w.person("owner@canary7.example", canary+" Owner", portal.NoStaff)
		ids := foreign(w, w.staff("owner@canary7.example"))
		w.person("dan@canary7.example", "Dan Devlin", portal.NoStaff)
		b, dan := w.browser(lang), w.browser(lang)
		b.signIn("owner@canary7.example")
		dan.signIn("dan@canary7.example")
		people := "/developers/organisations/" + ids["org"] + "/people"
		d := b.get(people).want(200)
		b.send(d.form(people)).want(422)
		f := d.form(people).set("email", "dan@canary7.example").set("family", "Devlin").set("role", "developer")
		b.send(f).want(200)
		b.send(f).want(422)
		link := w.mailed("dan@canary7.example")
		b.get(link).want(403)
		d = dan.get(link).want(200)
		dan.send(d.form("/developers/invitation")).want(200)
		dan.get(people).want(200)
		dan.get(link).want(200)
		member := ""
		members, err := w.portal.Operator("t").MembersOf(t.Context(), ids["org"])
		w.must(err)
		for _, m := range members {
			if m.Email == "dan@canary7.example" {
				member = m.Person
			}
		}
		d = b.get(people)
		var change *form
		for _, f := range d.forms() {
			if f.action == people+"/role" && f.values.Get("person") == member {
				change = f
			}
		}
		b.send(change.set("role", "observer")).want(200)
		change.values.Set("person", ids["person"])
		b.send(change.set("role", "observer")).want(200) // the last owner stays one, and the page says so
		d = b.get(people + "/remove?person=" + member).want(200)
		b.send(d.form(people + "/remove")).want(200)
		dan.get(people).want(404)
		d = b.get(people)
		b.send(d.form(people + "/cancel")).want(200)
		d = b.get("/developers/organisations/" + ids["org"] + "/edit").want(200)
		ef := d.form("/developers/organisations/" + ids["org"] + "/edit")
		b.send(ef.set("website", "http://insecure.example")).want(422)
		b.send(ef.set("website", "https://canary7.example").set("address", "1 Example Street")).want(200)
		b.send(ef).want(409)
		d = b.get("/developers/profile/delete")
		d = b.proved(d)
		b.send(d.form("/developers/profile/delete")).want(422)
	}
}
