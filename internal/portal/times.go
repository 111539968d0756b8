package portal

import "time"

// Times of what lets people in.
const (
	confirmFor  = 48 * time.Hour   // the link that confirms an address
	resetFor    = time.Hour        // the link by which a password is set anew
	inviteFor   = 48 * time.Hour   // an invitation
	sessionFor  = 12 * time.Hour   // a session, whatever happens
	sessionIdle = 30 * time.Minute // one in which nothing happens
	halfFor     = 10 * time.Minute // one that has no second factor yet

	tokenWindow = time.Hour // in which mails to one address are counted
	tokenMost   = 5         // so many

	inviteMost = 30 // invitations of an organisation, or of a person, in a day
	orgsMost   = 10 // organisations that a person owns
)
