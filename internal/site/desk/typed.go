package desk

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/site/frame"
)

// A form that comes after its session is over is not done, and not lost either: its fields are kept, sealed, until the
// person that it was made for has signed in again in the same browser. Then the page shows it as it was, to be sent once more. The
// browser has no more of it than an id in a cookie. Documents are not kept, nor forms with a password or a code.

const (
	typedCookie = "typed"
	typedMost   = 64 << 10 // bytes of such a form
	saltLen     = 16
)

// typed is such a form.
type typed struct {
	Path   string
	Values url.Values
	For    string // whom it was made for: see Form.For
}

// secretFields are names of fields that nobody may find again.
var secretFields = []string{"password", "factor", "code"}

// madeFor is a code that says for whom a form was made, and tells nobody else.
func (v *Visit) madeFor(person string) string {
	salt := frame.NewID()[:saltLen]
	return salt + base64.RawURLEncoding.EncodeToString(v.MAC("made for", salt, person))
}

// isFor reports whether such a code is of a person.
func (v *Visit) isFor(code, person string) bool {
	if len(code) <= saltLen {
		return false
	}
	got, err := base64.RawURLEncoding.DecodeString(code[saltLen:])
	return err == nil && hmac.Equal(got, v.MAC("made for", code[:saltLen], person))
}

// For is whom the form is made for, as a field that nobody sees: "" if nobody has signed in.
func (f *Form) For() string {
	if f.v.Actor == nil || f.v.Actor.Person == nil {
		return ""
	}
	return f.v.madeFor(f.v.Actor.Person.ID)
}

// keepLapsed keeps a form that came after its session was over. What cannot be kept is left to be typed again.
func (v *Visit) keepLapsed() error {
	if err := v.Limit(Forms); err != nil {
		return err
	}
	values, err := v.ReadFields(typedMost, v.SessionID())
	if _, ok := errors.AsType[*frame.ProblemError](err); ok {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = v.keepTyped(v.SessionID(), values)
	return err
}

// keepTyped keeps the fields of a form, and reports whether it may be kept.
func (v *Visit) keepTyped(session string, values url.Values) (bool, error) {
	t := typed{Path: v.R.URL.Path, Values: values, For: values.Get("_for")}
	if t.For == "" {
		return false, nil
	}
	for _, name := range secretFields {
		if values.Has(name) {
			return false, nil
		}
	}
	values.Del("token")
	values.Del("_for")
	b, err := json.Marshal(&t)
	if err != nil {
		return false, err
	}
	if len(b) > 2*typedMost {
		return false, nil
	}
	id, err := v.Portal().KeepTyped(v.Context(), session, b)
	if err != nil {
		return false, err
	}
	v.SetCookie(typedCookie, id, int(portal.TypedFor/time.Second))
	return true, nil
}

// again shows a form once more that is out of date, as after a new sign-in in another tab, if it was made for who has
// signed in now.
func (v *Visit) again() error {
	values := v.R.PostForm
	if v.Actor == nil || v.Actor.Person == nil || !v.isFor(values.Get("_for"), v.Actor.Person.ID) {
		return frame.ErrForm
	}
	kept, err := v.keepTyped(v.Visit.Session, values)
	if err != nil {
		return err
	}
	if !kept {
		return frame.ErrForm
	}
	return v.See(v.here())
}

// findTyped finds the form that was kept for who has signed in. One of somebody else is forgotten.
func (v *Visit) findTyped() error {
	id := v.CookieID(typedCookie)
	if id == "" || v.Actor == nil {
		return nil
	}
	b, err := v.Portal().Typed(v.Context(), id)
	if errors.Is(err, accounts.ErrNotFound) {
		v.SetCookie(typedCookie, "", -1)
		return nil
	}
	if err != nil {
		return fmt.Errorf("a form that was kept: %w", err)
	}
	t := &typed{}
	if err := json.Unmarshal(b, t); err != nil {
		return errors.New("a form that was kept cannot be read") // the cause may have answers
	}
	v.typed = t
	if v.Actor.Person == nil || !v.isFor(t.For, v.Actor.Person.ID) {
		return v.dropTyped()
	}
	if v.R.Method == http.MethodGet && v.R.URL.Path == t.Path {
		return v.fillQuery()
	}
	return nil
}

// fillQuery lets the page find in its query what the form had in it, such as the section that it is about. A query that
// asks for something else is left alone.
func (v *Visit) fillQuery() error {
	query := v.R.URL.Query()
	for name := range query {
		if v.typed.Values.Has(name) && v.typed.Values.Get(name) != query.Get(name) {
			return nil
		}
	}
	if err := v.R.ParseForm(); err != nil {
		return frame.ErrMissing
	}
	for name, list := range v.typed.Values {
		if !v.R.Form.Has(name) {
			v.R.Form[name] = list
		}
	}
	return nil
}

// sent forgets the form that was kept, once it was sent again.
func (v *Visit) sent() error {
	if v.typed == nil || v.typed.Path != v.R.URL.Path {
		return nil
	}
	return v.dropTyped()
}

func (v *Visit) dropTyped() error {
	v.typed = nil
	v.SetCookie(typedCookie, "", -1)
	return v.Portal().DropTyped(v.Context(), v.CookieID(typedCookie))
}

// typedHere is what was kept of this very form, nil if it is another one.
func (f *Form) typedHere() url.Values {
	t := f.v.typed
	if t == nil || f.v.R.Method != http.MethodGet {
		return nil
	}
	if path, _, _ := strings.Cut(f.Action, "?"); path != t.Path {
		return nil
	}
	for _, h := range f.Hidden {
		if h.Name != "_version" && t.Values.Get(h.Name) != h.Value {
			return nil
		}
	}
	return t.Values
}

// withTyped are the answers with those that were kept.
func (f *Form) withTyped(w *FormView) forms.Answers {
	values := f.typedHere()
	if values == nil || w.Section == nil {
		return w.Answers
	}
	return w.Form.Merge(w.Answers, w.Form.Parse(values), w.Section.ID)
}

// Idle says how long somebody may take over a form, and what happens then.
func (v *Visit) Idle() string { return v.Text("typed.idle", int(portal.IdleFor/time.Minute)) }

// Restored takes what was kept into the fields, and says so; it says nothing if there is nothing. The version is the one
// of then, so that nobody's changes of meanwhile are undone. The template calls it before it writes fields.
func (f *Form) Restored() string {
	values := f.typedHere()
	if values == nil {
		return ""
	}
	for i, h := range f.Hidden {
		if version := values.Get(h.Name); h.Name == "_version" && version != "" {
			f.Hidden[i].Value = version
		}
	}
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			choice := x.Kind == One || x.Kind == Some || x.Kind == Tick // a box that is not ticked is not sent
			if x.Kind == Give || x.Kind == Show || x.Type == "password" || !choice && !values.Has(x.Name) {
				continue
			}
			x.take(values)
		}
	}
	if f.Files {
		return f.v.Text("typed.files")
	}
	return f.v.Text("typed.restored")
}
