package portal

import (
	"context"
	"net/url"

	"cpcds2fhir/internal/database"
)

// Pages that mails link to. They ask before they do anything: programs that read mails follow links.
const (
	pageConfirm    = "/developers/confirm"    // token
	pageReset      = "/developers/reset"      // token
	pageForgot     = "/developers/forgot"     //
	pageSignIn     = "/developers/sign-in"    //
	pageInvitation = "/developers/invitation" // token
	pageAccount    = "/developers/profile"    //
	pageStaff      = "/staff"                 //
	pageTrack      = "/phr/status"            // number
	pageForm       = "/phr/confirm"           // token

	pageApplications  = "/developers/applications/"  // and a number
	pageReview        = "/staff/applications/"       // and a number
	pageOrganisations = "/developers/organisations/" // and an id
	pageStaffOrgs     = "/staff/organisations/"      // and an id
	pageLogo          = "/developers/logo/"          // and the id of a picture
)

// link is the address of a page, with values as pairs.
func (p *Portal) link(page string, values ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		q.Set(values[i], values[i+1])
	}
	if len(q) == 0 {
		return p.URL + page
	}
	return p.URL + page + "?" + q.Encode()
}

// mailStaff writes a letter to all staff with a role, or a higher one, in the language of each.
func (p *Portal) mailStaff(ctx context.Context, tx *step, least StaffRole, kind string, data map[string]string) error {
	all, err := database.List(ctx, tx, readPerson, personQuery+` WHERE p.staff <> '' AND p.status = $1 ORDER BY p.id`, registered)
	if err != nil {
		return err
	}
	for _, who := range all {
		if (&Actor{Person: who}).isStaff(least) {
			if err := p.mail(ctx, tx, kind, who.Email, who.Language, data); err != nil {
				return err
			}
		}
	}
	return nil
}
