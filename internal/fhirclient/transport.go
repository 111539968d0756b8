package fhirclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// transport makes the connections of a client: they are closed before balancers close them, which
// commonly is after a minute without use.
func transport(c *TLS, concurrency int) (http.RoundTripper, error) {
	conf, err := c.config()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   15 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          0,
		MaxIdleConnsPerHost:   concurrency + 2,
		IdleConnTimeout:       25 * time.Second,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
	}, nil
}

// config reads the files of a TLS section.
func (c *TLS) config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, &ConfigError{"tls.ca", "cannot be read: " + reason(err)}
		}
		conf.RootCAs, err = x509.SystemCertPool()
		if err != nil {
			conf.RootCAs = x509.NewCertPool()
		}
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &ConfigError{"tls.ca", "names a file without PEM certificates"}
		}
	}
	if c.Cert != "" {
		// It is read at each handshake, so that it can be renewed while the program runs.
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, &ConfigError{"tls.cert", "and tls.key are no pair of a certificate and its key: " + reason(err)}
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return conf, nil
}

// reason is an error without the path that the setting names already.
func reason(err error) string {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// errRedirect says that a server sends a client elsewhere where that is not safe.
var errRedirect = errors.New("the server redirects the request; the address in the settings must be the one that it redirects to")

// redirect decides about following. Writes are not: half of the clients of the world make GETs of them.
// Nobody else is told who the client is.
func (c *Client) redirect(r *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case first.Method != http.MethodGet && first.Method != http.MethodHead:
		return errRedirect
	case len(via) > 5:
		return errors.New("the server redirects in a circle")
	case first.URL.Scheme == "https" && r.URL.Scheme != "https":
		return errors.New("the server redirects from https to http")
	}
	if !sameHost(first.URL, r.URL) {
		for name := range r.Header {
			switch name {
			case "Accept", "User-Agent", "Cache-Control":
			default:
				r.Header.Del(name)
			}
		}
	}
	return nil
}

func sameHost(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// settled reports whether an error of a connection will be the same at the next attempt, such as a
// certificate that nobody trusts.
func settled(err error) bool {
	if errors.Is(err, errRedirect) {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true // it does not speak TLS
	}
	_, ok := errors.AsType[tls.AlertError](err)
	return ok
}

// sent reports whether a request may have reached the server before an error.
func sent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return false
	}
	return !settled(err)
}

// plain is an error of net/http without the URL that it repeats: a query may hold values.
func plain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		if e.Timeout() {
			return fmt.Errorf("the time is up: %w", e.Err)
		}
		return e.Err
	}
	return err
}
