package portal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/outbound"
)

// text is a policy, or terms, as they are on the web now.
type text struct{ url, sum string } // sum is "" if they could not be fetched

// Limits of what is fetched.
const (
	textBytes = 1 << 20
	textWait  = 10 * time.Second
	textEvery = 30 * 24 * time.Hour
)

// public fetches pages for a portal that was given nothing else to fetch with: https, public addresses, and redirects
// within one host only.
var public = func() *http.Client {
	c := outbound.PublicOnly()
	c.Timeout = textWait
	c.CheckRedirect = sameHost
	return c
}()

func sameHost(r *http.Request, via []*http.Request) error {
	if len(via) > 5 || r.URL.Scheme != "https" || !strings.EqualFold(r.URL.Host, via[0].URL.Host) {
		return errors.New("it redirects elsewhere")
	}
	return nil
}

// fetchTexts fetches texts, all at the same time. One that cannot be fetched has no sum: reviewers see that, and the portal
// tries again.
func (p *Portal) fetchTexts(ctx context.Context, urls map[string]string) map[string]*text {
	out := map[string]*text{}
	var all sync.WaitGroup
	for kind, url := range urls {
		if url == "" {
			continue
		}
		t := &text{url: url}
		out[kind] = t
		all.Go(func() { t.sum = p.fetchText(ctx, url) })
	}
	all.Wait()
	return out
}

// fetchText is the sum of the words of a page, "" if it cannot be had.
func (p *Portal) fetchText(ctx context.Context, url string) string {
	ctx, cancel := context.WithTimeout(ctx, textWait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil || r.URL.Scheme != "https" {
		return ""
	}
	r.Header.Set("Accept", "text/html, text/plain, application/pdf")
	client := p.Fetch
	if client == nil {
		client = public
	}
	resp, err := client.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, textBytes+1))
	if err != nil || resp.StatusCode != http.StatusOK || len(body) > textBytes {
		return ""
	}
	return sumOfWords(body)
}

var (
	unread = regexp.MustCompile(`(?is)<!--.*?-->|<(script|style|template|noscript|svg|head)\b.*?</(script|style|template|noscript|svg|head)\s*>`)
	inline = regexp.MustCompile(`(?i)</?(a|abbr|b|code|em|i|small|span|strong|sub|sup|u)(\s[^>]*)?>`)
	tags   = regexp.MustCompile(`(?s)<[a-zA-Z/!?][^>]*>`)
)

// sumOfWords is the SHA-256 of the words of a page or text, so that another look of the same words is no change. What is no
// text, such as a PDF, is taken as it is.
func sumOfWords(page []byte) string {
	if !utf8.Valid(page) || strings.HasPrefix(string(page), "%PDF-") {
		sum := sha256.Sum256(page)
		return hex.EncodeToString(sum[:])
	}
	s := inline.ReplaceAllString(unread.ReplaceAllString(string(page), " "), "")
	s = tags.ReplaceAllString(s, " ")
	words := strings.FieldsFunc(html.UnescapeString(s), func(r rune) bool { return unicode.IsSpace(r) || r == 0xA0 || r == 0x200B })
	sum := sha256.Sum256([]byte(strings.Join(words, " ")))
	return hex.EncodeToString(sum[:])
}

// confirmTexts takes the texts as they are now for those that were agreed on.
func (m *move) confirmTexts(ctx context.Context, tx *step, app string) error {
	if m.app == nil {
		return nil
	}
	if m.Action == "accept_change" { // those of the revision that is accepted
		last, err := m.revision(ctx, tx, m.r.ID, m.r.Revision)
		if err != nil {
			return err
		}
		return m.confirmRevision(ctx, tx, m.app, last)
	}
	for kind, t := range m.seen.texts {
		if t.sum != "" {
			if err := m.keepText(ctx, tx, app, kind, t.url, t.sum); err != nil {
				return err
			}
		}
	}
	// What could not be fetched just now is confirmed as it was last seen.
	_, err := database.Change(ctx, tx.Tx, `UPDATE portal_texts SET confirmed = seen, misses = 0 WHERE app = $1`, app)
	return err
}

// confirmRevision takes the texts of a revision for those that were agreed on.
func (p *Portal) confirmRevision(ctx context.Context, tx *step, app *App, v *Revision) error {
	for kind, url := range policies(v.Settings) {
		if err := p.keepText(ctx, tx, app.ID, kind, url, v.Texts[kind]); err != nil {
			return err
		}
	}
	return nil
}

// keepText keeps what was agreed on. It is looked at again in a month, or soon if it could not be fetched.
func (p *Portal) keepText(ctx context.Context, tx *step, app, kind, url, sum string) error {
	checked := p.Now()
	if sum == "" {
		checked = checked.Add(-textEvery)
	}
	_, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_texts (app, kind, url, confirmed, seen, checked) VALUES ($1, $2, $3, $4, $4, $5)
		ON CONFLICT (app, kind) DO UPDATE SET url = excluded.url, confirmed = excluded.confirmed, seen = excluded.seen, checked = excluded.checked, misses = 0`,
		app, kind, url, sum, database.Millis(checked))
	return err
}
