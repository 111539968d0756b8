package portal

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/database/databasetest"
)

// TestNothingInTheDatabaseOpensAnything looks for whatever was given to people, in all forms that it may have, in a dump
// of the database and in its files; and for who they are in what the portal reports.
func TestNothingInTheDatabaseOpensAnything(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		canaries := map[string]string{"password": password, "seal": string(testSeal[:])}
		ok(t, w.SignUp(ctx, &SignUp{Email: "canary@dev.example", Name: "Canary Bird", Password: password}))
		canaries["confirmation"] = tokenIn(t, w.mailTo("canary@dev.example"))
		ok(t, w.SignUp(ctx, &SignUp{Email: "waits@dev.example", Name: "Who Waits", Password: password}))
		canaries["confirmation that waits"] = tokenIn(t, w.mailTo("waits@dev.example"))
		canaries["address that waits"] = "waits@dev.example"
		_, err := w.ConfirmEmail(ctx, canaries["confirmation"])
		ok(t, err)
		full, key, codes := w.enrolled("canary@dev.example")
		canaries["session"], canaries["key"] = full.ID, key
		for i, c := range codes {
			canaries[fmt.Sprint("recovery code ", i)] = strings.ReplaceAll(c, "-", "")
		}
		w.clock.pass(factorStep * time.Second)
		_, err = w.SignIn(ctx, "typed as an address", password)
		if err == nil {
			t.Fatal("somebody is signed in")
		}
		canaries["what was typed"] = "typed as an address"
		half, err := w.SignIn(ctx, "canary@dev.example", password)
		ok(t, err)
		canaries["half session"] = half.ID
		ok(t, w.ForgotPassword(ctx, "canary@dev.example"))
		canaries["reset"] = tokenIn(t, w.mailTo("canary@dev.example"))
		a, err := w.Actor(ctx, full.ID)
		ok(t, err)
		org, a := w.organisation(a, "Good Apps")
		_, err = a.Invite(ctx, &Invitation{Org: org.ID, Email: "pending@dev.example", Family: "P", Role: Owner})
		ok(t, err)
		canaries["invitation"] = tokenIn(t, w.mailTo("pending@dev.example"))
		w.box.fail = failure{}
		ok(t, w.SignUp(ctx, &SignUp{Email: "mail@dev.example", Name: "Mail", Password: password}))
		canaries["address of a mail that waits"] = "mail@dev.example"
		_, err = w.File(ctx, "support", supportAnswers(), "", "", "en", false)
		ok(t, err)
		canaries["what somebody has written"] = "page of claims"

		places := map[string]string{"dump": w.dump()}
		if path, is := strings.CutPrefix(address, "sqlite:"); is {
			for _, end := range []string{"", "-wal"} {
				b, err := os.ReadFile(path + end)
				ok(t, err)
				places["file"+end] = string(b)
			}
		}
		if !strings.Contains(places["dump"], "canary@dev.example") {
			t.Fatal("the dump has not what it must have")
		}
		for name, value := range canaries {
			forms := []string{value, hex.EncodeToString([]byte(value))}
			for cut := range 3 { // in the middle of base64 too
				for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
					text := e.EncodeToString([]byte(strings.Repeat("\x00", cut) + value))
					forms = append(forms, text[4:len(text)-4])
				}
			}
			for where, text := range places {
				for _, f := range forms {
					if strings.Contains(text, f) {
						t.Errorf("%s: it has a %s in it", where, name)
					}
				}
			}
		}
		events := fmt.Sprintf("%+v %v", w.happened, w.refusals)
		for _, e := range w.happened {
			events += fmt.Sprintf("%+v", *e)
		}
		for line := range strings.Lines(places["dump"]) {
			if strings.HasPrefix(line, "portal_events") {
				events += line
			}
		}
		for _, value := range []string{"canary", "Canary", "pending", "Good", "dev.example", "apps.example"} {
			if strings.Contains(events, value) {
				t.Errorf("events have %s in them", value)
			}
		}
	})
}

// TestEventsStay reads the sources: no statement changes what has happened.
func TestEventsStay(t *testing.T) {
	files, err := os.ReadDir(".")
	ok(t, err)
	changes := regexp.MustCompile(`(?i)(UPDATE|DELETE\s+FROM|TRUNCATE)\s+portal_events`)
	read := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		b, err := os.ReadFile(f.Name())
		ok(t, err)
		read++
		if changes.Match(b) {
			t.Errorf("%s changes events", f.Name())
		}
	}
	if read < 15 {
		t.Errorf("%d files were read", read)
	}
}

func TestEventsInOrder(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", nil)
	last := ""
	for i := range 1000 {
		if i == 500 {
			w.clock.pass(-time.Minute) // a clock that is put right
		}
		id := w.inOrder()
		if id <= last || len(id) != 32 {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
	}
}
