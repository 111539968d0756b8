package site

import "net/http"

// guidePage is what the page on choosing an app shows.
type guidePage struct {
	Kinds     []choice // what apps can see
	Ask       []string // what to ask before sharing
	Means     []string // what sharing means
	Tips      []string
	Directory string // link to the list of apps, "" if there is none
	Complain  bool
}

// askKeys are what to ask about an app, as the law demands that members are told (42 CFR 431.60(g)) and as the FTC and
// the CARIN code of conduct advise.
var askKeys = []string{
	"guide.ask.who", "guide.ask.take", "guide.ask.names", "guide.ask.sell", "guide.ask.ads", "guide.ask.safe", "guide.ask.family", "guide.ask.stop", "guide.ask.closed", "guide.ask.change",
	"guide.ask.help",
}

// showGuide helps members, and people who were members, to choose an app. Anybody can read it.
func (v *visit) showGuide() error {
	c := &guidePage{Directory: v.Directory, Complain: v.complaint() != nil}
	for _, k := range kinds {
		c.Kinds = append(c.Kinds, choice{Title: v.Text(k.title), Text: v.Text(k.text)})
	}
	for _, key := range askKeys {
		c.Ask = append(c.Ask, v.Text(key))
	}
	c.Tips = []string{v.Text("guide.tips.address", v.Issuer), v.Text("guide.tips.password"), v.Text("guide.tips.device"), v.Text("guide.tips.other")}
	return v.show(http.StatusOK, "guide", &page{Title: v.Text("guide.title"), Description: v.Text("guide.lead"), Content: c, Public: true, Index: true})
}
