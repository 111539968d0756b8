package kafkaio

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"
)

// TestVersions reads and writes with what old brokers speak.
func TestVersions(t *testing.T) {
	for name, tt := range map[string]struct {
		versions *kversion.Versions
		fetch    int16
		id       bool
	}{
		"0.11": {kversion.V0_11_0(), 5, false}, "2.0": {kversion.V2_0_0(), 8, false}, "2.8": {kversion.V2_8_0(), 11, true}, "now": {nil, 11, true},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var got map[string]int16
			opts := []kfake.Opt{kfake.GroupMinSessionTimeout(time.Millisecond)}
			if tt.versions != nil {
				opts = append(opts, kfake.MaxVersions(tt.versions))
			}
			s, _ := fakeSuite(t, Config{Events: Events{Connected: func(_ string, versions map[string]int16) {
				mu.Lock()
				defer mu.Unlock()
				got = versions
			}}}, opts...)
			topic := "old"
			if err := s.c.CreateTopic(t.Context(), topic, 1, 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
				t.Fatal(err)
			}
			s.write(t, topic, 0, "a")
			readTo(t, s.reader(t, topic, 0, 0), 1)
			cluster, err := s.c.Describe(t.Context(), topic)
			if err != nil {
				t.Fatal(err)
			}
			if id := cluster.Topics[0].ID != [16]byte{}; id != tt.id {
				t.Errorf("topic id: %v, want %v", id, tt.id)
			}
			if b := s.latest(t, topic); b.Latest != 1 || b.LastStable != 1 {
				t.Errorf("bounds %+v", b)
			}
			if _, err := s.c.Committed(t.Context(), "g"); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if got["Fetch"] != tt.fetch {
				t.Errorf("versions %v, want Fetch %d", got, tt.fetch)
			}
		})
	}
}

// TestRealRestart kills and starts a real broker while a Reader and a member of a group read from it.
func TestRealRestart(t *testing.T) {
	brokers, command := os.Getenv("KAFKA_BROKERS"), os.Getenv("KAFKA_RESTART")
	if brokers == "" || command == "" {
		t.Skip("set KAFKA_BROKERS, and KAFKA_RESTART to a shell command that kills the brokers and starts them again")
	}
	s := &suite{c: newClient(t, Config{Brokers: strings.Split(brokers, ",")})}
	topic := s.topic(t, 2)
	a := s.join(t, groupConfig("g-"+rand.Text(), topic), nil)
	a.await("joined", a.owns(2))
	var wrote, got []string
	r := s.reader(t, topic, 0, 0)
	written := make(chan struct{})
	begun, restarted := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(restarted)
		<-begun
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
			t.Errorf("restart: %v\n%s", err, out)
		}
	}()
	go func() {
		defer close(written)
		p := s.c.Producer(ProducerConfig{})
		for i, more := 0, 50; more > 0; i++ {
			select {
			case <-restarted:
				more-- // some before it, all during it, some after it
			default:
			}
			if i == 50 {
				close(begun)
			}
			v := fmt.Sprint(i)
			if err := p.Write(t.Context(), topic, 0, values(v)); err != nil {
				t.Error(err)
				return
			}
			wrote = append(wrote, v)
			pause(t.Context(), 5*time.Millisecond)
		}
	}()
	for done := false; !done; {
		select {
		case <-written:
			done = true
		default:
		}
		f, err := r.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range f.Records {
			got = append(got, string(rec.Value))
		}
	}
	got = append(got, readTo(t, r, s.latest(t, topic).Latest)...)
	// At least once, in order: a write whose answer was lost may stand twice.
	var once []string
	for i, v := range got {
		if i == 0 || v != got[i-1] {
			once = append(once, v)
		}
	}
	if d := cmp.Diff(wrote, once); d != "" {
		t.Errorf("-wrote +read:\n%s", d)
	}
	t.Logf("%d written, %d read, %d generations", len(wrote), len(got), a.joins)
	a.await("joined again", a.owns(2))
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}
