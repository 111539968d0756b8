package owner

import (
	"errors"
	"os"
	"testing"
)

// TestPeer proves that a process of the same user is told from one of another.
func TestPeer(t *testing.T) {
	own, _ := pair(t)
	c, _, err := dial(t.Context(), own.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if pid, err := checkPeer(c); err != nil || pid != os.Getpid() {
		t.Errorf("the peer is process %d, %v", pid, err)
	}
	if e, ok := errors.AsType[*PeerError](checkUser(uint32(os.Geteuid())+1, os.Geteuid())); !ok || int(e.UID) != os.Geteuid()+1 {
		t.Error("another user is not refused")
	}
}
