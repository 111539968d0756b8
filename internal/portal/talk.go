package portal

import (
	"context"
	"strings"
	"time"

	"cpcds2fhir/internal/database"
)

// Message is part of the talk between applicant and staff. Staff's notes among themselves are Private.
type Message struct {
	ID, Application, By, Name string
	Staff, Private            bool
	At                        time.Time
	Text                      string
}

// didSay is the event of a message; what it says is not in it.
const didSay = "message"

// messageMost is the most characters of a message.
const messageMost = 10_000

// Say adds a message to an application, and notifies the other side. It fails with *InputError.
func (a *Actor) Say(ctx context.Context, application, text string, private bool) (*Message, error) {
	r, err := a.see(ctx, a.db, application)
	if err != nil {
		return nil, err
	}
	staff := a.roleIn(r.Org) == ""
	if !staff {
		if err := a.mayAct(r.Org, Owner, Developer); err != nil {
			return nil, err
		}
		if private {
			return nil, &DeniedError{"notes are for staff"}
		}
	}
	if text, err = reasonOf("text", text, messageMost); err != nil {
		return nil, err
	}
	m := &Message{Application: application, By: a.id(), Staff: staff, Private: private, Text: text}
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		m.ID, m.At = a.inOrder(), a.Now().UTC()
		if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_messages (id, application, person, staff, private, at, text) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			m.ID, application, m.By, database.Bit(staff), database.Bit(private), database.Millis(m.At), text); err != nil {
			return err
		}
		if private {
			return nil
		}
		if err := a.keep(ctx, tx, &Event{Actor: m.By, Action: didSay, Application: application, Org: r.Org, App: r.App}); err != nil {
			return err
		}
		data := map[string]string{"Number": r.ID, "App": titleOf(r), "Text": text}
		if staff {
			data["Link"] = a.link(pageApplications + r.ID)
			return a.tellApplicant(ctx, tx, r, "message", data)
		}
		data["Link"] = a.link(pageReview + r.ID)
		return a.tellStaff(ctx, tx, r, Reviewer, "message_staff", data)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// titleOf is what people call an application besides its number.
func titleOf(r *record) string {
	if r.AppName != "" {
		return r.AppName
	}
	return r.OrgName
}

// Messages lists them, oldest first. Applicants see no notes, and of staff no names.
func (a *Actor) Messages(ctx context.Context, application string) ([]*Message, error) {
	r, err := a.see(ctx, a.db, application)
	if err != nil {
		return nil, err
	}
	mine := a.roleIn(r.Org) != ""
	list, err := database.List(ctx, a.db, func(row database.Row) (*Message, error) {
		m := &Message{Application: application}
		var staff, private, at int64
		if err := row.Scan(&m.ID, &m.By, &m.Name, &staff, &private, &at, &m.Text); err != nil {
			return nil, err
		}
		m.Staff, m.Private, m.At = staff != 0, private != 0, database.Instant(at)
		return m, nil
	}, `SELECT m.id, m.person, COALESCE(p.name, ''), m.staff, m.private, m.at, m.text FROM portal_messages m LEFT JOIN portal_people p ON p.id = m.person
		WHERE m.application = $1 ORDER BY m.id`, application)
	if err != nil || !mine {
		return list, err
	}
	out := list[:0]
	for _, m := range list {
		if m.Private {
			continue
		}
		if m.Staff {
			m.By, m.Name = "", strings.TrimSpace(a.Agency)
		}
		out = append(out, m)
	}
	return out, nil
}
