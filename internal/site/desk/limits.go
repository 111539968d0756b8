package desk

import (
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/rates"
	"cpcds2fhir/internal/site/frame"
)

// Class is a kind of requests that is limited by itself.
type Class string

// Classes of requests.
const (
	SignIn  Class = "sign_in" // passwords and codes
	SignUp  Class = "sign_up" // what sends a mail to an address that anybody may type
	Forgot  Class = "forgot"  // the same for a forgotten password: who drains one does not drain the other
	Forms   Class = "forms"   // any form
	Uploads Class = "uploads" // documents
)

// Limits count requests of each class, by the address that they come from and by the account that they are about.
// They are safe for concurrent use. A class that is missing is not limited.
type Limits map[Class]*rates.Rates

// NewLimits makes limits that people do not meet who fill in forms, and that those who guess passwords do.
func NewLimits() *Limits {
	return &Limits{
		SignIn:  rates.New(10.0/60, 20),
		SignUp:  rates.New(10.0/3600, 10),
		Forgot:  rates.New(10.0/3600, 10),
		Forms:   rates.New(1, 120),
		Uploads: rates.New(20.0/60, 40),
	}
}

// busyError says how long to wait.
type busyError struct{ wait time.Duration }

func (e *busyError) Error() string { return "too many requests" }

// Limit counts a request of a class: of its network, of who has signed in, and of others whom it is about, such as the
// address in a form. What it returns becomes a page with the status 429.
func (v *Visit) Limit(c Class, about ...string) error {
	limit := (*v.Desk.Limits)[c]
	if limit == nil {
		return nil
	}
	who := []string{"from " + v.Address()}
	if v.Actor != nil {
		who = append(who, "person "+v.Actor.Person.ID)
	}
	for _, a := range about {
		if a = strings.ToLower(strings.TrimSpace(a)); a != "" {
			// No address of a person lies about in memory.
			who = append(who, "about "+hex.EncodeToString(v.MAC("limit", a)[:16]))
		}
	}
	for _, w := range who {
		if wait := limit.Take(w); wait > 0 {
			v.refused("busy")
			return &busyError{wait}
		}
	}
	return nil
}

func (v *Visit) refused(reason string) {
	if v.Desk.Config.Refused == nil {
		return
	}
	person := ""
	if v.Actor != nil {
		person = v.Actor.Person.ID
	}
	v.Desk.Config.Refused(reason, person)
}

// Address is the network that a request comes from: an IPv4 address, or the /64 of an IPv6 one, which one household
// has whole.
func (v *Visit) Address() string {
	host, _, err := net.SplitHostPort(v.R.RemoteAddr)
	if err != nil {
		host = v.R.RemoteAddr
	}
	if v.Desk.Forwarded {
		if list := v.R.Header.Values("X-Forwarded-For"); len(list) > 0 {
			last := list[len(list)-1]
			host = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
		}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "unknown"
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

// showBusy is the page for too many requests.
func (v *Visit) showBusy(e *busyError) error {
	seconds := int(e.wait/time.Second) + 1
	v.W.Header().Set("Retry-After", strconv.Itoa(seconds))
	return v.explain(http.StatusTooManyRequests, frame.ErrBusy.Key, nil, "")
}
