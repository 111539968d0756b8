package sandbox

// Developer is somebody who can sign in to the developers' portal of a sandbox.
type Developer struct {
	Email, Password string
	Key             string // of the second factor (TOTP), in base32
	Name            string
	Staff           string // role at the agency, "" for a developer
	Description     string // in one sentence
}

// Developers lists who can sign in to the portal: a developer, and somebody of the agency. The slice is the caller's.
func Developers() []Developer {
	return []Developer{
		{Email: "dana@developer.example", Password: "dana-makes-apps", Key: "KRUGKIDEMV3GK3DPOBSXEIDLMV4Q", Name: "Dana Reyes",
			Description: "A developer who has just signed up"},
		{Email: "rita@agency.example", Password: "rita-reviews-apps", Key: "KRUGKIDSMV3GSZLXMVZCA23FPFZQ", Name: "Rita Okafor", Staff: "administrator",
			Description: "A reviewer at the agency, who is administrator too"},
	}
}
