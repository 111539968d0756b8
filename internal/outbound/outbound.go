// Package outbound makes requests to addresses that somebody else has named: the keys of a client, the privacy policy of
// an app. Whoever names one must not be able to make the server call what only it can reach.
package outbound

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// PublicOnly reaches public addresses over TLS, and follows no redirects. The address is checked when it is dialled, so a
// name that leads to another address the second time gains nothing.
func PublicOnly() *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !Public(at.Addr()) {
			return errors.New("the address is not public")
		}
		return nil
	}}
	return &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects") },
		Transport:     tlsOnly{&http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, MaxResponseHeaderBytes: 16 << 10}},
	}
}

// tlsOnly refuses http.
type tlsOnly struct{ http.RoundTripper }

func (t tlsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("it is not https")
	}
	return t.RoundTripper.RoundTrip(r)
}

// notPublic are ranges that net/netip has no name for: those of carriers, of documentation and benchmarks, and those
// that lead to addresses of IPv4.
var notPublic = func() (list []netip.Prefix) {
	for _, p := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "2001:db8::/32", "2002::/16"} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}()

// Public reports whether an address is one that anybody can reach.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
