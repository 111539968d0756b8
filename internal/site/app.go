package site

import (
	"net/url"
	"strings"
	"unicode"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/site/frame"
)

// app is a client as members read it.
type app struct {
	ID, Name, Initial      string
	Homepage, Host, Policy string // links, "" for none
	Terms                  string
	Support, SupportText   string

	Publisher string // who offers it, "" if that is not known
	Domain    string // of the publisher, who has proved to have it
	Testing   bool   // it is under development
	About     string // in its own words
	AboutLang string // the language of these words

	Attested    string   // when its makers made promises about privacy; "" if they made none
	Promises    []string // what they promised
	NotPromised []string // what they were asked, and did not promise
}

// sandboxEnvironment is the Environment of clients that are under development.
const sandboxEnvironment = "sandbox"

// aboutMax is the most letters that an app may say about itself.
const aboutMax = 415

func appName(c *accounts.Client) string {
	if name := frame.Plain(c.Name, 80); name != "" {
		return name
	}
	return frame.Plain(c.ID, 80)
}

func (v *visit) app(c *accounts.Client) app {
	a := app{
		ID: c.ID, Name: appName(c), Homepage: frame.WebLink(c.Homepage), Policy: frame.WebLink(c.Policy), Terms: frame.WebLink(c.Terms), Initial: "?",
		Publisher: frame.Plain(c.Publisher, 80), Domain: frame.Plain(c.Domain, 100), Testing: c.Environment == sandboxEnvironment,
	}
	if u, err := url.Parse(a.Homepage); err == nil {
		a.Host = u.Host
	}
	for _, r := range a.Name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			a.Initial = string(unicode.ToUpper(r))
			break
		}
	}
	a.Support, a.SupportText = supportOf(c.Support)
	a.About, a.AboutLang = v.aboutApp(c)
	if !c.Attested.IsZero() {
		a.Attested = v.Date(c.Attested)
		a.Promises, a.NotPromised = v.promises(c)
	}
	return a
}

// supportOf is the link to an app's support, and how it is written.
func supportOf(text string) (link, shown string) {
	if link = frame.WebLink(text); link != "" {
		return link, frame.Plain(strings.TrimSuffix(strings.TrimPrefix(link, "https://"), "/"), 100)
	}
	address := strings.TrimPrefix(text, "mailto:")
	if strings.Count(address, "@") != 1 || strings.ContainsAny(address, " ?&#:/<>\"\\%,;") || frame.Plain(address, 254) != address {
		return "", ""
	}
	return "mailto:" + address, address
}

// aboutApp is what an app says about itself: in the language of the page, or in another one if it says nothing in
// that one.
func (v *visit) aboutApp(c *accounts.Client) (text, lang string) {
	for _, lang := range append([]string{v.Lang}, forms.Languages...) {
		if text := frame.Plain(c.About[lang], aboutMax); text != "" {
			return text, lang
		}
	}
	return "", ""
}

// promises are the answers about privacy that the makers of an app have attested, in plain words, in the order of the
// criteria.
func (v *visit) promises(c *accounts.Client) (yes, no []string) {
	if v.Forms == nil {
		return nil, nil
	}
	for _, x := range v.Forms.Criteria() {
		if x.Member.Empty() {
			continue
		}
		switch c.Privacy[x.Code] {
		case "attested":
			yes = append(yes, x.Member.In(v.Lang))
		case "not_attested":
			no = append(no, x.Member.In(v.Lang))
		}
	}
	return yes, no
}
