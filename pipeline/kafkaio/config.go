package kafkaio

import (
	"errors"
	"fmt"
	"time"
)

// Config says how to reach a cluster. Zero fields mean defaults, except that Brokers must not be empty.
type Config struct {
	// Brokers are the addresses to ask first, as host:port; without a port it is 9092.
	Brokers []string
	// ClientID is what the brokers' logs and quotas see; the default is "cpcds2fhir".
	ClientID string
	// Timeout bounds each dial with its handshakes, and each wait for the next bytes
	// of a request or an answer, beyond the time for which the broker was asked to wait.
	// Calls of the Client also go on trying for this long when brokers fail. The default is 10 seconds.
	Timeout time.Duration

	TLS  TLS
	SASL SASL

	Events Events
}

// TLS says how connections are encrypted. All files are read again for every
// dial, so that rotated certificates need no restart.
type TLS struct {
	Enabled bool
	// CAFile holds the PEM certificates to trust; empty means the system's.
	CAFile string
	// CertFile and KeyFile are the client's certificate and key in PEM; both or neither.
	CertFile, KeyFile string
	// ServerName is what the broker's certificate must name; empty means the host that was dialled.
	ServerName string
	// InsecureSkipVerify accepts every certificate. It is for tests.
	InsecureSkipVerify bool
}

// The values of SASL.Mechanism.
const (
	Plain       = "plain"
	ScramSHA256 = "scram-sha-256"
	ScramSHA512 = "scram-sha-512"
)

// SASL says how connections authenticate.
type SASL struct {
	// Mechanism is Plain, ScramSHA256 or ScramSHA512; empty means no authentication.
	Mechanism string
	// Username and Password are called for every dial, from several goroutines at once,
	// so that rotated secrets need no restart. An error fails that dial only.
	Username, Password func() (string, error)
}

// Events report what happens below the calls. Every field may be nil. The functions are called
// from several goroutines at once and must be fast; they get names and numbers, never contents of records.
type Events struct {
	// Connected says that a connection is ready for use, and which versions
	// of the protocol will be spoken on it, by name of the request. Connections of group
	// membership are not among them.
	Connected func(broker string, versions map[string]int16)
	// Retrying says that something failed and will be tried again. What is a
	// few words, such as "fetch" or "describe topics".
	Retrying func(what string, err error)
}

func (e *Events) connected(broker string, versions map[string]int16) {
	if e.Connected != nil {
		e.Connected(broker, versions)
	}
}

func (e *Events) retrying(what string, err error) {
	if e.Retrying != nil {
		e.Retrying(what, err)
	}
}

const (
	defaultTimeout  = 10 * time.Second
	defaultClientID = "cpcds2fhir"
)

func (c *Config) complete() error {
	if len(c.Brokers) == 0 {
		return errors.New("no brokers are given")
	}
	brokers := make([]string, len(c.Brokers))
	for i, b := range c.Brokers {
		brokers[i] = withPort(b)
	}
	c.Brokers = brokers
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Timeout < 0 {
		return fmt.Errorf("timeout %v is negative", c.Timeout)
	}
	if c.ClientID == "" {
		c.ClientID = defaultClientID
	}
	switch c.SASL.Mechanism {
	case "":
	case Plain, ScramSHA256, ScramSHA512:
		if c.SASL.Username == nil || c.SASL.Password == nil {
			return fmt.Errorf("SASL mechanism %q needs a user name and a password", c.SASL.Mechanism)
		}
	default:
		return fmt.Errorf("SASL mechanism %q is unknown; use %q, %q or %q", c.SASL.Mechanism, Plain, ScramSHA256, ScramSHA512)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return errors.New("a client certificate needs both its certificate file and its key file")
	}
	return nil
}
