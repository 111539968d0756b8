package portal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/database/databasetest"
)

// write puts a mail into the outbox.
func (w *world) write(to string) {
	w.t.Helper()
	ok(w.t, w.tx(ctx, func(ctx context.Context, tx *step) error {
		return w.mail(ctx, tx, "ticket_filed", to, "en", map[string]string{"Number": "S-1"})
	}))
}

type failure struct{ permanent bool }

func (f failure) Error() string   { return "the server does not want it" }
func (f failure) Permanent() bool { return f.permanent }

func TestMailThatFails(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		var told []error
		w := newWorld(t, address, func(c *Config) { c.Events.Mailed = func(_ string, err error) { told = append(told, err) } })
		admin := w.actor("Ada Admin", Administrator)
		w.box.fail = failure{}
		w.write("ana@dev.example")
		var pauses []time.Duration
		for tries := 0; ; tries++ {
			n, err := w.sendMails(ctx)
			ok(t, err)
			equal(t, n, 1)
			list, err := admin.Outbox(ctx, 0)
			ok(t, err)
			equal(t, []any{len(list), list[0].To, list[0].Text, list[0].Kind}, []any{1, "ana@dev.example", "", "ticket_filed"})
			equal(t, list[0].Tries, tries+1)
			if list[0].Failed {
				break
			}
			n, err = w.sendMails(ctx) // not at once
			ok(t, err)
			equal(t, n, 0)
			pauses = append(pauses, list[0].Next.Sub(w.clock.now()))
			w.clock.pass(pauses[tries])
		}
		total := time.Duration(0)
		for i, p := range pauses {
			total += p
			if i > 0 && p < pauses[i-1] {
				t.Errorf("pauses are %v", pauses)
			}
		}
		if pauses[0] != mailPause || slices.Max(pauses) != mailPauses || total < mailGiveUp-2*mailPauses || total > mailGiveUp {
			t.Errorf("pauses are %v, %v together", pauses, total)
		}
		w.box.fail = nil
		equal(t, len(w.mails()), 0) // given up
		equal(t, len(told), len(pauses)+1)
		w.clock.pass(mailKeep)
		_, err := w.Tick(ctx)
		ok(t, err)
		if strings.Contains(w.dump(), "portal_outbox") {
			t.Error("it is kept for ever")
		}

		w.box.fail = fmt.Errorf("send: %w", failure{permanent: true})
		w.write("bob@dev.example")
		_, err = w.sendMails(ctx)
		ok(t, err)
		list, err := admin.Outbox(ctx, 0)
		ok(t, err)
		equal(t, []any{list[0].Failed, list[0].Tries}, []any{true, 1})
		w.box.fail = nil
		w.write("cyd@dev.example") // one that fails does not hold up others
		w.mailTo("cyd@dev.example")
	})
}

// TestMailIsSentByOneProcess has several send at once.
func TestMailIsSentByOneProcess(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		const mails = 20
		for i := range mails {
			w.write(fmt.Sprintf("a%d@dev.example", i))
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range mails {
					if _, err := w.sendMails(ctx); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		var to []string
		for _, m := range append(w.mails(), w.box.got...) {
			to = append(to, m.To)
		}
		slices.Sort(to)
		equal(t, len(to), mails)
		equal(t, len(slices.Compact(to)), mails)
	})
}

// stuck is a mailer that waits until it is let go.
type stuck struct{ begun, let chan struct{} }

func (s *stuck) Send(ctx context.Context, _ *Mail) error {
	s.begun <- struct{}{}
	select {
	case <-s.let:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestProcessDiesWhileItSends(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		w.write("ana@dev.example")
		_, err := w.leaseMail(ctx) // and never heard of again
		ok(t, err)
		equal(t, len(w.mails()), 0)
		w.clock.pass(mailLease)
		w.mailTo("ana@dev.example")

		// One that is asked to stop tries again at once, and has not failed.
		s := &stuck{make(chan struct{}), make(chan struct{})}
		w.Mail = s
		w.write("bob@dev.example")
		stopping, stop := context.WithCancel(ctx)
		done := make(chan error)
		go func() {
			_, err := w.sendMails(stopping)
			done <- err
		}()
		<-s.begun
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		w.Mail = w.box
		w.mailTo("bob@dev.example")
	})
}

func TestRunSendsAtOnce(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", nil)
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { w.Run(running); close(ended) }()
	w.write("ana@dev.example")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w.box.mu.Lock()
		n := len(w.box.got)
		w.box.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing was sent")
		}
	}
	stop()
	<-ended
	equal(t, w.errs, []error(nil))
}

func TestMailIsOff(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", func(c *Config) { c.Mail = nil })
	ok(t, w.SignUp(ctx, &SignUp{Email: "ana@dev.example", Name: "Ana", Password: password}))
	ok(t, w.ForgotPassword(ctx, "nobody@dev.example"))
	_, err := w.Tick(ctx)
	ok(t, err)
	list, err := w.Operator("root").Outbox(ctx, 0)
	ok(t, err)
	equal(t, len(list), 1)
	_, err = w.ConfirmEmail(ctx, tokenIn(t, &Mail{Text: list[0].Text}))
	ok(t, err)
}

// TestLetters fills every letter in, in both languages.
func TestLetters(t *testing.T) {
	l, err := readLetters("")
	ok(t, err)
	kinds := 0
	for name, letter := range l.own {
		language, kind, _ := strings.Cut(name, "/")
		other := map[string]string{"en": "es", "es": "en"}[language]
		if o := l.own[other+"/"+kind]; o == nil {
			t.Errorf("%s is not there in %s", kind, other)
		} else {
			equal(t, letter.fields, o.fields)
		}
		kinds++
		for _, value := range []string{"a\nb", ""} { // both branches of conditions
			data := map[string]string{}
			for _, f := range letter.fields {
				data[f] = written(value, lines[f])
			}
			subject, text, err := l.write(kind, language, data)
			ok(t, err)
			if subject == "" || strings.ContainsAny(subject, "\r\n") || strings.Contains(text, "<no value>") || strings.HasPrefix(text, subjectPrefix) || !strings.HasSuffix(text, "\n") {
				t.Errorf("%s: %q %q", name, subject, text)
			}
		}
	}
	if kinds < 40 {
		t.Errorf("there are %d letters", kinds)
	}
	_, text, err := l.write("reset", "fr", map[string]string{"Link": "L", "Agency": "A", "URL": "U"})
	ok(t, err)
	if !strings.Contains(text, "Hello") {
		t.Error("another language is not English")
	}
	_, _, err = l.write("none of them", "en", nil)
	if err == nil {
		t.Error("a letter that is not there is written")
	}
	_, text, err = l.write("reset", "en", map[string]string{})
	if err == nil || text != "" {
		t.Error("a letter without its values is written")
	}
}

func TestLettersOfTheAgency(t *testing.T) {
	folder := func(files map[string]string) string {
		dir := t.TempDir()
		for name, text := range files {
			ok(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
			ok(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		return dir
	}
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", func(c *Config) {
		c.Letters = folder(map[string]string{"en/ticket_filed.txt": "Subject: Ours: {{.Number}}\r\n\r\nAt {{.URL}}\r\n", "es/reset.txt": "Subject: X\n{{.Link}}\n"})
	})
	w.write("ana@dev.example")
	m := w.mailTo("ana@dev.example")
	equal(t, []string{m.Subject, m.Text}, []string{"Ours: S-1", "At https://portal.example\n"})
	for file, text := range map[string]string{
		"en/reset.txt":    "Subject: {{.Password}}\n\ntext\n",     // no such value
		"en/another.txt":  "Subject: x\n\ntext\n",                 // no such letter
		"fr/reset.txt":    "Subject: x\n\ntext\n",                 // no such language
		"es/reset.txt":    "No subject\n\ntext\n",                 //
		"en/invite.txt":   "Subject: x\n",                         // no text
		"es/confirm.txt":  "Subject: x\n\n{{.Link\n",              // no template
		"en/confirm.txt":  "Subject: x\n\n{{if .Secret}}{{end}}x", //
		"en/recovery.txt": "Subject: x\n\n{{.Left}}",              //
	} {
		_, err := readLetters(folder(map[string]string{file: text}))
		if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(filepath.Base(file), ".txt")) {
			t.Errorf("%s: got %v", file, err)
		}
	}
	_, err := readLetters(filepath.Join(t.TempDir(), "none"))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	// One that cannot be filled in gives way to the program's.
	l, err := readLetters(folder(map[string]string{"en/reset.txt": "Subject: x\n\n{{slice .Link 100}}\n"}))
	ok(t, err)
	subject, _, err := l.write("reset", "en", map[string]string{"Link": "L", "Agency": "A", "URL": "U"})
	if err == nil || !strings.Contains(subject, "new password") {
		t.Errorf("got %q, %v", subject, err)
	}
}

// TestValuesOfLetters tries to write into a mail what does not belong there, by way of a value.
func TestValuesOfLetters(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", nil)
	ok(t, w.tx(ctx, func(ctx context.Context, tx *step) error {
		return w.mail(ctx, tx, mailInvite, "ana@dev.example", "en", map[string]string{"Org": "Evil\r\nBcc: x@y.example\x00\u202e{{.Link}}", "Link": "L"})
	}))
	m := w.mailTo("ana@dev.example")
	if strings.ContainsAny(m.Subject, "\r\n\x00") || strings.ContainsRune(m.Subject, 0x202e) || !strings.Contains(m.Subject, "Evil Bcc: x@y.example{{.Link}}") {
		t.Errorf("got %q", m.Subject)
	}
}
