package columnar

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

func TestAppendDate(t *testing.T) {
	// Compare with the calendar of the standard library.
	for days := int64(-719000); days < 3000000; days += 17 {
		want := time.Unix(days*secondsPerDay, 0).UTC().Format(time.DateOnly)
		if got := string(AppendDate(nil, days)); got != want {
			t.Fatalf("day %d: got %s, want %s", days, got, want)
		}
	}
}

func TestAppendTimestamp(t *testing.T) {
	check := func(count, perSecond int64, want string) {
		t.Helper()
		if got := string(AppendTimestamp(nil, count, perSecond, time.UTC)); got != want {
			t.Errorf("%d/%d: got %s, want %s", count, perSecond, got, want)
		}
	}
	check(0, 1, "1970-01-01T00:00:00Z")
	check(-1, 1, "1969-12-31T23:59:59Z")
	check(-1, 1000, "1969-12-31T23:59:59.999Z")
	check(1374136496123, 1000, "2013-07-18T08:34:56.123Z")
	check(1374136496120000, 1e6, "2013-07-18T08:34:56.12Z")
	check(1374136496000000000, 1e9, "2013-07-18T08:34:56Z")
	check(1374136496000000001, 1e9, "2013-07-18T08:34:56.000000001Z")

	// 20:00 in New York is the next day in UTC. The text must have the date in New York.
	zoned := func(name string, count int64, want string) {
		t.Helper()
		zone, ok := ZoneOf(name)
		if got := string(AppendTimestamp(nil, count, 1, zone)); got != want || ok != (name != "") {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
	zoned("", 1704157200, "2024-01-02T01:00:00")
	zoned("America/New_York", 1704157200, "2024-01-01T20:00:00-05:00")
	zoned("America/New_York", 1720000000, "2024-07-03T05:46:40-04:00")
	zoned("+05:30", 1704157200, "2024-01-02T06:30:00+05:30")
	zoned("-0800", 1704157200, "2024-01-01T17:00:00-08:00")
	for _, name := range []string{"Local", "+5x", "Europe/Nowhere"} {
		if _, ok := ZoneOf(name); ok {
			t.Errorf("%q was accepted as a zone", name)
		}
	}

	if got, want := string(AppendTime(nil, 45296789, 1000)), "12:34:56.789"; got != want {
		t.Errorf("time: got %s, want %s", got, want)
	}
	if got, want := string(AppendTime(nil, 59, 1)), "00:00:59"; got != want {
		t.Errorf("time: got %s, want %s", got, want)
	}
}

func TestAppendDecimal(t *testing.T) {
	check := func(unscaled int64, scale int, want string) {
		t.Helper()
		if got := string(AppendDecimal([]byte("x"), unscaled, scale)); got != "x"+want {
			t.Errorf("%d scale %d: got %s, want x%s", unscaled, scale, got, want)
		}
	}
	check(-1250, 2, "-12.50")
	check(0, 2, "0.00")
	check(5, 2, "0.05")
	check(-5, 3, "-0.005")
	check(50, 2, "0.50")
	check(100, 2, "1.00")
	check(7, 0, "7")
	check(7, -3, "7000")
	check(math.MinInt64, 2, "-92233720368547758.08")
	check(math.MaxInt64, 18, "9.223372036854775807")
}

// TestAppendDecimalBytes compares numbers of all lengths with math/big.
func TestAppendDecimalBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		raw := make([]byte, rnd.IntN(24))
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
			if rnd.IntN(3) == 0 {
				raw[i] = []byte{0, 0xff}[i&1]
			}
		}
		scale := rnd.IntN(8)
		v := new(big.Int).SetBytes(raw)
		if len(raw) > 0 && raw[0] >= 0x80 {
			v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
		}
		want := new(big.Rat).SetFrac(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(scale)
		if got := string(AppendDecimalBytes(nil, raw, scale)); got != want {
			t.Fatalf("%x scale %d: got %s, want %s", raw, scale, got, want)
		}
	}
}

func TestAppendFloat(t *testing.T) {
	check := func(v float64, size int, want string) {
		t.Helper()
		if got := string(AppendFloat(nil, v, size)); got != want {
			t.Errorf("%g: got %s, want %s", v, got, want)
		}
	}
	check(12.5, 64, "12.5")
	check(0, 64, "0")
	check(100000000, 64, "100000000")
	check(float64(float32(0.1)), 32, "0.1")
	check(5.6843418860808e-14, 64, "0.000000000000056843418860808")
	check(1e30, 64, "1e+30")

	rnd := rand.New(rand.NewPCG(3, 4))
	for range 10000 {
		v := math.Float64frombits(rnd.Uint64())
		if math.IsNaN(v) {
			continue
		}
		if got, err := strconv.ParseFloat(string(AppendFloat(nil, v, 64)), 64); err != nil || got != v {
			t.Fatalf("%g does not read back: %g, %v", v, got, err)
		}
	}
}

func TestAppendUUID(t *testing.T) {
	id := []byte{0, 1, 2, 3, 0x44, 5, 6, 7, 8, 9, 0xaa, 11, 12, 13, 14, 0xff}
	if got, want := string(AppendUUID(nil, id)), fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
