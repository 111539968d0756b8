package outbound

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.0.1": false, "169.254.169.254": false, "fe80::1": false,
		"fd00::1": false, "0.0.0.0": false, "100.64.0.1": false, "::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false, "224.0.0.1": false, "255.255.255.255": false,
	} {
		if got := Public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
}

// TestPublicOnly proves that neither a server of this machine nor one by http is reached, whatever name leads to it.
func TestPublicOnly(t *testing.T) {
	reached := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	defer s.Close()
	for _, at := range []string{s.URL, "http://" + s.Listener.Addr().String(), "https://localhost:1/"} {
		if resp, err := PublicOnly().Get(at); err == nil {
			resp.Body.Close()
			t.Errorf("%s was reached", at)
		}
	}
	if reached > 0 {
		t.Error("the server was reached")
	}
}
