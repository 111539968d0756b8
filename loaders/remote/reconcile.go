package remote

// DigestThere digests a resource as the server has it, so that it can be compared with what the index
// knows.
func (l *Loader) DigestThere(resource []byte) (Digest, error) { return l.digestThere(resource) }

// OwnID returns our id of a resource of a server that gives ids, from the identifier that it was loaded
// with; "" if it has none.
func OwnID(resource []byte) string { return idOf(resource) }

// Digest digests a resource of ours, as Load does: that of what was loaded is in There.
func (l *Loader) Digest(resource []byte) (Digest, error) { return l.digester.of(resource, nil) }
