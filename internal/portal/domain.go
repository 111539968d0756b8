package portal

import (
	"context"
	"crypto/subtle"
	"io"
	"net/http"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
)

// Where a domain proves whose it is.
const (
	domainRecord = "_cpcds2fhir."
	domainPath   = "/.well-known/cpcds2fhir.txt"
	domainWait   = 10 * time.Second
	domainMost   = 4 << 10 // bytes of the file
)

// CheckDomain looks for the token, in DNS and on the website. It fails with *InputError domain: not_found, or missing if there
// is no website. Owners and developers do it, and staff.
func (a *Actor) CheckDomain(ctx context.Context, org string) (*Organisation, error) {
	if err := a.mayAct(org, Owner, Developer); err != nil && !a.isStaff(Reviewer) || org == "" {
		if err == nil {
			err = accounts.ErrNotFound
		}
		return nil, err
	}
	o, err := organisation(ctx, a.db, org)
	if err != nil {
		return nil, err
	}
	if o.Domain.Name == "" {
		return nil, &InputError{"domain", codeMissing}
	}
	by := a.proofOf(ctx, o)
	if by == "" {
		return nil, &InputError{"domain", "not_found"}
	}
	checked := o.Domain
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		o, err = a.changeOrganisation(ctx, tx, org, 0, func(o *Organisation) error {
			if o.Domain.Name != checked.Name || o.Domain.Token != checked.Token { // what was looked for is another now
				return ErrStale
			}
			o.Domain.Proofed, o.Domain.By, o.Domain.Checked, o.Domain.Misses = a.Now().UTC(), by, time.Time{}, 0
			return nil
		})
		if err != nil {
			return err
		}
		if err := a.refreshPublisher(ctx, tx, org); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didProofDomain, Org: org, Note: by})
	})
	return o, err
}

// proofOf looks for the token of a domain, and says where it is: dns or web, or "".
func (p *Portal) proofOf(ctx context.Context, o *Organisation) string {
	ctx, cancel := context.WithTimeout(ctx, domainWait)
	defer cancel()
	// A name that is not there, or that does not answer, proves nothing; which of both is all the same.
	records, _ := p.TXT(ctx, domainRecord+o.Domain.Name)
	for _, r := range records {
		if sameText(strings.TrimSpace(r), o.Domain.Token) {
			return "dns"
		}
	}
	host, err := hostOf(o.Website)
	if err == nil && sameText(p.fetchProof(ctx, "https://"+host+domainPath), o.Domain.Token) {
		return "web"
	}
	return ""
}

// fetchProof reads the file of a website, or "". It must be there itself: whoever may redirect from one page need not
// own the site.
func (p *Portal) fetchProof(ctx context.Context, address string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return ""
	}
	client := *public
	if p.Fetch != nil {
		client = *p.Fetch
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.Do(request)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, domainMost))
	if err != nil || answer.StatusCode != http.StatusOK {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func sameText(a, b string) bool {
	return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
