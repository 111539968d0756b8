package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sandboxed is a running 'sandbox'.
type sandboxed struct {
	c    *exec.Cmd
	out  *watched
	file sandboxFile
}

// sandbox starts a sandbox in dir, and waits until it answers.
func (b *streamBench) sandbox(t *testing.T, dir string, args ...string) *sandboxed {
	t.Helper()
	s := &sandboxed{c: exec.Command("cpcds2fhir", append([]string{"sandbox", "--dir", dir, "--listen", "127.0.0.1:0"}, args...)...), out: &watched{}}
	s.c.Env, s.c.Stdout, s.c.Stderr = b.env, s.out, s.out
	if err := s.c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.c.ProcessState == nil {
			_ = s.c.Process.Kill()
			_ = s.c.Wait()
		}
	})
	address := regexp.MustCompile(`SMART +(http://127\.0\.0\.1:\d+/fhir)/\.well-known`)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if m := address.FindStringSubmatch(s.out.String()); m != nil && strings.Contains(s.out.String(), "serving") {
			text, err := os.ReadFile(filepath.Join(dir, "sandbox.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &s.file); err != nil || s.file.FHIRBase != m[1] {
				t.Fatalf("sandbox.json has the base %s, printed is %s: %v", s.file.FHIRBase, m[1], err)
			}
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("the sandbox does not start:\n%s", s.out)
		}
	}
}

func (s *sandboxed) stop(t *testing.T) {
	t.Helper()
	if err := s.c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := s.c.Wait(); err != nil {
		t.Fatalf("Ctrl-C: %v\n%s", err, s.out)
	}
}

// TestSandbox proves that a sandbox says all that scripts need, keeps it for its owner, finds it again at a second start
// without a new version of anything, and begins anew with --reset.
func TestSandbox(t *testing.T) {
	if testing.Short() {
		t.Skip("the sandbox is a process of its own, which the race detector does not see")
	}
	b := newStreamBench(t)
	dir := filepath.Join(t.TempDir(), "sandbox")
	first := b.sandbox(t, dir)
	for _, name := range []string{"sandbox.json", "id-key", "fhir-store.accounts/accounts.db", "fhir-store.accounts/seal.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info, err)
		}
	}
	f := first.file
	for _, name := range []string{"public", "confidential", "utah"} {
		c, there := f.Clients[name]
		if !there || c.ID == "" || (c.Secret == "") != (name == "public") || len(c.RedirectURIs) == 0 || !c.AnyPort {
			t.Errorf("client %s: %+v", name, c)
		}
	}
	if len(f.Members) < 8 || f.Members[0].Patient == "" || f.Members[0].Password == "" || f.ExampleApp == "" || f.Issuer == "" {
		t.Errorf("%d members, app %q, issuer %q", len(f.Members), f.ExampleApp, f.Issuer)
	}
	if out := first.out.String(); !strings.Contains(out, f.Members[0].Login) || !strings.Contains(out, f.Members[1].Password) || !strings.Contains(out, f.ExampleApp) {
		t.Errorf("it does not print an app and two logins:\n%s", out)
	}
	for path, want := range map[string]int{f.ExampleApp: 200, f.Apps: 303, f.FHIRBase + "/metadata": 200, f.FHIRBase + "/Patient/" + f.Members[0].Patient: 401,
		f.Issuer + "/.well-known/openid-configuration": 200, f.Issuer + "/brands.json": 200, f.Issuer + "/nothing": 404, f.Issuer + "//oauth2//token": 404} {
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	first.stop(t)

	second := b.sandbox(t, dir)
	if !reflect.DeepEqual(second.file.Members, f.Members) {
		t.Error("a second start has other members")
	}
	second.stop(t)
	var m struct {
		Resources map[string]struct{ Created, Updated, Unchanged int64 }
	}
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &m); err != nil || len(m.Resources) == 0 {
		t.Fatalf("the manifest has no resources: %v", err)
	}
	for name, r := range m.Resources {
		if r.Created != 0 || r.Updated != 0 || r.Unchanged == 0 {
			t.Errorf("%s at a second start: %+v", name, r)
		}
	}

	third := b.sandbox(t, dir, "--reset")
	if third.file.Members[0].Patient == f.Members[0].Patient {
		t.Error("--reset has kept the key of ids")
	}
	third.stop(t)

	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--dir", other}, {"--dir", other, "--reset"}, {"--dir", dir, "--listen", "0.0.0.0:0"}} {
		if _, errs, code := b.do(t, append([]string{"sandbox"}, args...)...); code != 2 {
			t.Errorf("%v: exit code %d\n%s", args, code, errs)
		}
	}
	if _, err := os.Stat(filepath.Join(other, "mine")); err != nil {
		t.Error("a folder of somebody else was removed")
	}
}
