package codec

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/revocast/revocast/events"
)

// Reader reads revocations of tokens and sessions by the thousand. Texts that occur
// again and again it makes once, and the ids of all that it reads lie in one piece of
// memory: whoever keeps a few of them for long copies those (strings.Clone). The
// zero Reader is ready; use one for a batch and let it go. It is not safe for
// concurrent use.
type Reader struct {
	ids   strings.Builder
	texts [8]string
	next  int
}

// Grow makes room for the ids of so many revocations.
func (t *Reader) Grow(n int) { t.ids.Grow(n * 2 * textUUID) }

// Revocation reads an envelope into r if it is a revocation of a token or a session
// in its common form, and valid. If not, r is left in any state, and [Decode] says
// what the envelope is.
func (t *Reader) Revocation(b []byte, r *events.Revocation) bool {
	*r = events.Revocation{}
	if len(b) > MaxSize {
		return false
	}
	var e events.Envelope
	if _, ok := readRevoked(b, &e, r, t); !ok || r.Kind.Wide() {
		return false
	}
	c := checker{}
	c.time("event time", e.At)
	c.revocation(*r)
	return c.err == nil
}

const (
	textUUID = 36
	digits   = "0123456789abcdef"
)

// uuid reads one as text. A nil Reader, like all of these, makes every text anew.
func (t *Reader) uuid(r *wireReader, wire protowire.Type) string {
	raw := r.bytes(wire)
	if r.ok = r.ok && len(raw) == 16; !r.ok {
		return ""
	}
	var text [textUUID]byte
	at := 0
	for i, v := range raw {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text[at] = '-'
			at++
		}
		text[at], text[at+1] = digits[v>>4], digits[v&15]
		at += 2
	}
	return t.keep(text[:])
}

// once reads a text that will hardly occur again.
func (t *Reader) once(r *wireReader, wire protowire.Type) string {
	raw := r.bytes(wire)
	if r.ok = r.ok && utf8.Valid(raw); !r.ok {
		return ""
	}
	return t.keep(raw)
}

// often reads a text that has probably occurred.
func (t *Reader) often(r *wireReader, wire protowire.Type) string {
	raw := r.bytes(wire)
	if t != nil {
		for _, known := range t.texts {
			if known == string(raw) {
				return known
			}
		}
	}
	if r.ok = r.ok && utf8.Valid(raw); !r.ok {
		return ""
	}
	text := string(raw)
	if t != nil {
		t.texts[t.next%len(t.texts)] = text
		t.next++
	}
	return text
}

func (t *Reader) keep(b []byte) string {
	if t == nil {
		return string(b)
	}
	at := t.ids.Len()
	_, _ = t.ids.Write(b) // a Builder never fails
	return t.ids.String()[at:]
}
