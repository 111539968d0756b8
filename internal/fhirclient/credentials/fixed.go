package credentials

import (
	"context"
	"encoding/base64"
	"net/http"
)

// fixed is a proof that somebody else keeps: it is read for each attempt.
type fixed struct {
	read func() (authorization string, err error)
}

// Authorize implements Source.
func (f *fixed) Authorize(_ context.Context, r *http.Request, _ []byte) error {
	text, err := f.read()
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", text)
	return nil
}

// Renew implements Source: there is another proof if somebody has changed it meanwhile.
func (f *fixed) Renew(refused string) bool {
	text, err := f.read()
	return err == nil && text != refused
}

func basic(c *Config, o *Options) (string, error) {
	user, err := c.Username.Read("username", o.Environment)
	if err != nil {
		return "", err
	}
	password, err := c.Password.Read("password", o.Environment)
	if err != nil {
		return "", err
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
}
