package portal

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// applying are the events that only somebody of the applicant can have.
var applying = func() []string {
	list := []string{didStart, didUpload, didRemoveDocument}
	for i := range lifecycle.Moves {
		m := &lifecycle.Moves[i]
		if (slices.Contains(m.By, lifecycle.Owner) || slices.Contains(m.By, lifecycle.Developer)) && !slices.Contains(list, string(m.Action)) {
			list = append(list, string(m.Action))
		}
	}
	return list
}()

// joined are the events by which somebody becomes one of an organisation.
var joined = []string{didAddOrganisation, didJoin}

// related reports whether a person has or ever had to do with an applicant: belongs to the organisation or did so once,
// has acted for it, or is who sent the form. Whoever leaves an organisation does not become impartial by it.
func (p *Portal) related(ctx context.Context, q database.Queryer, r *record, who *Person) (bool, error) {
	found, err := database.Column(ctx, q, `SELECT application FROM portal_visitors WHERE application = $1 AND address_mac = $2
		UNION SELECT org FROM portal_members WHERE org = $3 AND person = $4`, r.ID, p.mac("visitor", who.Email), r.Org, who.ID)
	if err != nil || len(found) > 0 {
		return len(found) > 0, err
	}
	v := values{r.Org, r.ID, who.ID} // in the order of their first use
	found, err = database.Column(ctx, q, `SELECT id FROM portal_events WHERE (org = $1 AND org <> '' OR application = $2) AND
		(actor = $3 AND action IN (`+v.list(slices.Concat(joined, applying))+`) OR subject = $3 AND action IN (`+v.list([]string{didJoin, didSetOrgRole, didRemoveMember})+`)) LIMIT 1`, v...)
	return len(found) > 0, err
}

// troubled reports whether an organisation was refused or cut off once, or another one that somebody of its people belongs or
// belonged to: it is events that say so, since they stay.
func (p *Portal) troubled(ctx context.Context, q database.Queryer, org string) (bool, error) {
	v := values{}
	bad := v.list([]string{string(lifecycle.Declined), string(lifecycle.Denied), string(lifecycle.Suspended), string(lifecycle.Revoked)})
	this := v.list([]string{org})
	found, err := database.Column(ctx, q, `SELECT id FROM portal_events WHERE state_to IN (`+bad+`) AND (org = `+this+` OR org IN (
		SELECT theirs.org FROM portal_members mine JOIN portal_members theirs ON theirs.person = mine.person WHERE mine.org = `+this+`
		UNION SELECT e.org FROM portal_members mine JOIN portal_events e ON e.actor = mine.person
			WHERE mine.org = `+this+` AND e.org <> '' AND e.action IN (`+v.list(joined)+`))) LIMIT 1`, v...)
	return len(found) > 0, err
}

// values are those of a query.
type values []any

// list adds texts, and gives their places: in the order of their first use, as SQLite wants it.
func (v *values) list(texts []string) string {
	places := make([]string, len(texts))
	for i, s := range texts {
		*v = append(*v, s)
		places[i] = "$" + strconv.Itoa(len(*v))
	}
	return strings.Join(places, ", ")
}
