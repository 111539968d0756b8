package frame

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// MAC is a code over parts that only the holders of the key can make.
func (f *Frame) MAC(parts ...string) []byte {
	m := hmac.New(sha256.New, f.Key)
	for _, p := range parts {
		fmt.Fprintf(m, "%d:%s", len(p), p)
	}
	return m.Sum(nil)
}

// MAC is Frame.MAC.
func (v *Visit) MAC(parts ...string) []byte { return v.f.MAC(parts...) }

const saltLen = 16

// Token is what a form must send back, as the field "token". It is of the session, or before anybody has signed in of
// the browser, and differs each time, so that its letters cannot be guessed one by one from compressed pages.
func (v *Visit) Token() string {
	v.kept = true
	of := v.Session
	if of == "" {
		if v.form == "" {
			v.form = NewID()
			v.SetCookie("form", v.form, 0)
		}
		of = v.form
	}
	salt := NewID()[:saltLen]
	return salt + base64.RawURLEncoding.EncodeToString(v.MAC("form", of, salt))
}

// CheckForm reads a form, and refuses those that another site has sent or made.
func (v *Visit) CheckForm() error {
	if err := v.ReadForm(); err != nil {
		return err
	}
	return v.CheckToken(false)
}

// ReadForm reads a form into R.PostForm, and refuses those that another site has sent, and those that are too large. It
// is the first half of CheckForm: the token is not looked at yet.
func (v *Visit) ReadForm() error {
	if err := v.sameSite(); err != nil {
		return err
	}
	kind, _, _ := mime.ParseMediaType(v.R.Header.Get("Content-Type"))
	var err error
	if kind == "multipart/form-data" {
		if err = v.takeSlot(); err != nil {
			return err
		}
		err = v.R.ParseMultipartForm(heldMost)
		v.parsed = v.R.MultipartForm
	} else {
		err = v.R.ParseForm()
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return ErrTooLarge
	}
	if err != nil {
		return ErrForm
	}
	return nil
}

// sameSite refuses forms that another site has sent.
func (v *Visit) sameSite() error {
	h := v.R.Header
	// Pages have the policy no-referrer, with which browsers send "null" as the origin of their own forms. Older
	// browsers do not send Sec-Fetch-Site; the token decides there.
	if site := h.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return ErrForm
	}
	if origin := h.Get("Origin"); origin != "" && origin != "null" && origin != v.f.Issuer {
		return ErrForm
	}
	return nil
}

// ReadFields reads the fields of a form of a session that may be over, in place of CheckForm. Documents are passed over,
// and never kept. It refuses forms that another site has sent or made, and fields of more than most bytes. The token of a
// form with documents must be its first field, so that nothing is read of others.
func (v *Visit) ReadFields(most int64, session string) (url.Values, error) {
	if err := v.sameSite(); err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(v.R.Header.Get("Content-Type"))
	switch kind {
	case "application/x-www-form-urlencoded":
		text, err := readMost(v.R.Body, most)
		if err != nil {
			return nil, err
		}
		values, err := url.ParseQuery(text)
		if err != nil || !v.made(values.Get("token"), session) {
			return nil, ErrForm
		}
		return values, nil
	case "multipart/form-data":
		return v.readParts(most, session)
	}
	return nil, ErrForm
}

func (v *Visit) readParts(most int64, session string) (url.Values, error) {
	parts, err := v.R.MultipartReader()
	if err != nil {
		return nil, ErrForm
	}
	values := url.Values{}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return values, nil
		}
		if err != nil {
			return nil, ErrForm
		}
		if part.FormName() == "" || part.FileName() != "" || part.Header.Get("Content-Type") != "" {
			if len(values) == 0 {
				return nil, ErrForm
			}
			continue
		}
		text, err := readMost(part, most)
		if err != nil {
			return nil, err
		}
		values.Add(part.FormName(), text)
		if !v.made(values.Get("token"), session) {
			return nil, ErrForm
		}
		if most -= int64(len(part.FormName()) + len(text)); most < 0 {
			return nil, ErrTooLarge
		}
	}
}

func readMost(from io.Reader, most int64) (string, error) {
	b, err := io.ReadAll(io.LimitReader(from, most+1))
	if err != nil {
		return "", ErrForm
	}
	if int64(len(b)) > most {
		return "", ErrTooLarge
	}
	return string(b), nil
}

// CheckToken refuses a form that another site has made. early takes forms of before the sign-in too, for what anybody
// may do.
func (v *Visit) CheckToken(early bool) error {
	list := []string{v.Session}
	if v.Session == "" || early {
		list = append(list, v.form)
	}
	if v.made(v.R.PostForm.Get("token"), list...) {
		return nil
	}
	return ErrForm
}

// made reports whether a token is of one of some ids.
func (v *Visit) made(token string, of ...string) bool {
	if len(token) < saltLen {
		return false
	}
	salt := token[:saltLen]
	got, err := base64.RawURLEncoding.DecodeString(token[saltLen:])
	if err != nil {
		return false
	}
	for _, id := range of {
		if id != "" && hmac.Equal(got, v.MAC("form", id, salt)) {
			return true
		}
	}
	return false
}
