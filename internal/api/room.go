package api

import (
	"errors"
	"net/http"
	"time"
)

const (
	// entryRoom is what an entry of an answer takes on average, and a bit: claims have 8 to 18 KB.
	entryRoom = 20 << 10

	// littleRoom is what an answer may take without waiting for room.
	littleRoom = 256 << 10

	// pieceSize is how much of an answer is written at a time, and pieceTime how long a client may take for it.
	// Whoever reads more slowly, or takes longer than answerTime for all of it, is cut off: the answer takes the
	// memory of others.
	pieceSize  = 256 << 10
	pieceTime  = 10 * time.Second
	answerTime = time.Minute
)

// room waits for memory for an answer with so many entries. It is given back when the answer was sent.
func (x *exchange) room(entries int) error {
	n := min(int64(entries)*entryRoom, x.Limits.Memory)
	if n <= littleRoom {
		return nil
	}
	if err := x.answers.Acquire(x.r.Context(), n); err != nil {
		return errors.Join(&Error{Status: http.StatusServiceUnavailable, Code: "throttled", Text: "there are too many large answers at a time; try again, or ask for less", Retry: 5}, err)
	}
	x.held += n
	return nil
}

// leave gives the room of the answer back.
func (x *exchange) leave() {
	if x.held > 0 {
		x.answers.Release(x.held)
		x.held = 0
	}
}

// write writes the body of an answer. A client that has gone, or does not read, needs no more of it.
func (x *exchange) write(text []byte) {
	c := http.NewResponseController(x.w)
	for end := time.Now().Add(answerTime); len(text) > 0; {
		n := min(len(text), pieceSize)
		until := time.Now().Add(pieceTime)
		if until.After(end) {
			until = end
		}
		_ = c.SetWriteDeadline(until) // fails only if there can be none
		if _, err := x.w.Write(text[:n]); err != nil {
			return
		}
		text = text[n:]
	}
}
