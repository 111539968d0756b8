package portal

import (
	"context"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// Times that pages tell people who fill in long forms.
const (
	IdleFor  = sessionIdle // how long a session lasts in which nothing happens
	TypedFor = time.Hour   // how long a form is kept that came after that
)

// KeepTyped keeps a form that came after its session was over, sealed, until its sender has signed in again, for TypedFor.
// It returns an id that is good for DropTyped and Typed. Of each session the last form is kept.
func (p *Portal) KeepTyped(ctx context.Context, session string, form []byte) (id string, err error) {
	id = database.NewSecret()
	sum := database.Sum(id)
	sealed, err := p.seal("typed "+sum, form)
	if err != nil {
		return "", err
	}
	_, err = p.db.Change(ctx, `INSERT INTO portal_typed (id_sum, session_sum, sealed, expires) VALUES ($1, $2, $3, $4)
		ON CONFLICT (session_sum) DO UPDATE SET id_sum = excluded.id_sum, sealed = excluded.sealed, expires = excluded.expires`,
		sum, database.Sum(session), sealed, database.Millis(p.Now().Add(TypedFor)))
	return id, err
}

// Typed finds what KeepTyped has kept. It fails with accounts.ErrNotFound.
func (p *Portal) Typed(ctx context.Context, id string) (form []byte, err error) {
	sum := database.Sum(id)
	list, err := database.Column(ctx, p.db, `SELECT sealed FROM portal_typed WHERE id_sum = $1 AND expires > $2`, sum, database.Millis(p.Now()))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, accounts.ErrNotFound
	}
	return form, p.unseal("typed "+sum, list[0], &form)
}

// DropTyped forgets it; an unknown one is no error.
func (p *Portal) DropTyped(ctx context.Context, id string) error {
	_, err := p.db.Change(ctx, `DELETE FROM portal_typed WHERE id_sum = $1`, database.Sum(id))
	return err
}
