package messages

import "unsafe"

const (
	chunkBytes = 256 << 10
	keptBytes  = 16 << 20 // that an arena keeps for reuse
)

// arena has the text of messages. Strings that it returns are valid until reset.
type arena struct {
	chunks [][]byte
	chunk  int // that is being filled
	used   int // bytes of it
}

// mark is a position in an arena.
type mark struct{ chunk, used int }

func (a *arena) mark() mark { return mark{a.chunk, a.used} }

// release forgets what was added since the mark.
func (a *arena) release(m mark) { a.chunk, a.used = m.chunk, m.used }

// room returns an empty slice with room for n bytes, which is to be filled by append and then kept.
func (a *arena) room(n int) []byte {
	for a.chunk < len(a.chunks) {
		if c := a.chunks[a.chunk]; len(c)-a.used >= n {
			return c[a.used:a.used]
		}
		a.chunk, a.used = a.chunk+1, 0
	}
	a.chunks = append(a.chunks, make([]byte, max(chunkBytes, n)))
	return a.chunks[a.chunk][:0]
}

// keep returns what was appended to the result of room. If it outgrew its room, it is memory of its
// own, which is as good.
func (a *arena) keep(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if c := a.chunks[a.chunk]; a.used < len(c) && &b[0] == &c[a.used] {
		a.used += len(b)
	}
	return view(b)
}

// copy returns a copy of b in the arena.
func (a *arena) copy(b []byte) []byte {
	c := append(a.room(len(b)), b...)
	a.keep(c)
	return c[:len(c):len(c)]
}

func (a *arena) reset() {
	kept := 0
	for i, c := range a.chunks {
		if kept += len(c); kept > keptBytes {
			clear(a.chunks[i:])
			a.chunks = a.chunks[:i]
			break
		}
	}
	a.chunk, a.used = 0, 0
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
