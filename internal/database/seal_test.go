package database_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/database"
)

func TestSealOpensInItsPlaceAlone(t *testing.T) {
	k := database.Key{1, 2, 3}
	value := []byte("a private key")
	sealed, err := k.Seal("key 1", value)
	ok(t, err)
	again, err := k.Seal("key 1", value)
	ok(t, err)
	if sealed == again {
		t.Error("the same nonce twice")
	}
	got, err := k.Open("key 1", sealed)
	if err != nil || !bytes.Equal(got, value) {
		t.Errorf("got %q, %v", got, err)
	}
	flip := func(i int) string {
		b := []byte(sealed)
		b[i] ^= 1
		return string(b)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another place": func() ([]byte, error) { return k.Open("key 2", sealed) },
		"another key":   func() ([]byte, error) { return database.Key{1}.Open("key 1", sealed) },
		"changed":       func() ([]byte, error) { return k.Open("key 1", flip(20)) },
		"no base64":     func() ([]byte, error) { return k.Open("key 1", "!"+sealed) },
		"cut off":       func() ([]byte, error) { return k.Open("key 1", sealed[:8]) },
		"empty":         func() ([]byte, error) { return k.Open("key 1", "") },
	} {
		if got, err := open(); err != database.ErrSeal || got != nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestMACs(t *testing.T) {
	k := database.Key{1}
	seen := map[database.Key]bool{}
	for _, m := range []database.Key{k.MAC("a", "bc"), k.MAC("ab", "c"), k.MAC("a", "bd"), database.Key{2}.MAC("a", "bc")} {
		if seen[m] {
			t.Error("two are one")
		}
		seen[m] = true
	}
	if same := (database.Key{1}); same.MAC("a", "bc") != k.MAC("a", "bc") {
		t.Error("one is two")
	}
}

func TestDatabaseHasItsSeal(t *testing.T) {
	d := openAt(t, "sqlite:"+t.TempDir()+"/a.db", &database.Options{Seal: database.Key{7}})
	sealed, err := d.Seal("here", []byte("x"))
	ok(t, err)
	if got, err := d.Open("here", sealed); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := (database.Key{7}).Open("here", sealed); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	if d.MAC("a", "b") != (database.Key{7}).MAC("a", "b") {
		t.Error("the MAC is not that of the seal")
	}
}

func TestRandomValues(t *testing.T) {
	if s := database.NewSecret(); len(s) != 43 || s == database.NewSecret() || strings.ContainsAny(s, "+/=") {
		t.Errorf("got %q", s)
	}
	if s := database.Random(); len(s) != 32 || s == database.Random() {
		t.Errorf("got %q", s)
	}
	if database.Sum("a") != "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" { // sha256sum
		t.Error("the sum is no SHA-256")
	}
}

func TestWhatIsKept(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.FixedZone("", 3600))
	if got := database.Instant(database.Millis(at)); !got.Equal(at.Truncate(time.Millisecond)) || got.Location() != time.UTC {
		t.Errorf("got %v", got)
	}
	if database.Millis(time.Time{}) != 0 || !database.Instant(0).IsZero() {
		t.Error("none is an instant")
	}
	if database.Bit(true) != 1 || database.Bit(false) != 0 {
		t.Error("bits are wrong")
	}
	text, err := database.Encode(map[string]string{"a": "<b> & é"})
	if err != nil || text != `{"a":"<b> & é"}` {
		t.Errorf("got %s, %v", text, err)
	}
	var back map[string]string
	if err := database.Decode(text, &back); err != nil || back["a"] != "<b> & é" {
		t.Errorf("got %v, %v", back, err)
	}
	if _, err := database.Encode(make(chan int)); err == nil {
		t.Error("a channel was written")
	}
	if err := database.Decode(`{"a":`, &back); err == nil || !strings.HasPrefix(err.Error(), "database: ") {
		t.Errorf("got %v", err)
	}
}
