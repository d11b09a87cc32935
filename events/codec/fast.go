package codec

import (
	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/revocast/revocast/events"
	eventsv1 "github.com/revocast/revocast/events/proto/revocast/events/v1"
)

// A sidecar that starts from nothing reads the feed's one common event by the
// million, and the generated code takes most of that time. decodeRevoked reads it
// straight off the wire. Whatever it does not expect to see, it leaves to the
// generated code, so the two cannot disagree about more than speed (FuzzDecode
// compares them).

// Field numbers of the schema.
const (
	fieldID      = 1
	fieldAt      = 2
	fieldRevoked = 19
)

// wireReader walks one message. It stops for good at the first surprise.
type wireReader struct {
	b    []byte
	seen uint64 // fields met, by number
	ok   bool
}

// next gives the number and type of the next field. A field that occurs twice is a
// surprise: which one counts, the generated code shall say.
func (r *wireReader) next() (protowire.Number, protowire.Type, bool) {
	if !r.ok || len(r.b) == 0 {
		return 0, 0, false
	}
	number, wire, n := protowire.ConsumeTag(r.b)
	if n < 0 || number > 63 || r.seen&(1<<number) != 0 {
		r.ok = false
		return 0, 0, false
	}
	r.seen |= 1 << number
	r.b = r.b[n:]
	return number, wire, true
}

func (r *wireReader) bytes(wire protowire.Type) []byte {
	if wire != protowire.BytesType {
		r.ok = false
		return nil
	}
	b, n := protowire.ConsumeBytes(r.b)
	if n < 0 {
		r.ok = false
		return nil
	}
	r.b = r.b[n:]
	return b
}

func (r *wireReader) varint(wire protowire.Type) uint64 {
	if wire != protowire.VarintType {
		r.ok = false
		return 0
	}
	v, n := protowire.ConsumeVarint(r.b)
	if n < 0 {
		r.ok = false
		return 0
	}
	r.b = r.b[n:]
	return v
}

// decodeRevoked reports whether it has read the envelope.
func decodeRevoked(b []byte) (events.Envelope, bool) {
	var e events.Envelope
	var n events.Revocation
	id, ok := readRevoked(b, &e, &n, nil)
	if ok {
		e.ID = events.EventID(uuid.UUID(id).String())
		e.Event = events.Revoked{Revocation: n}
	}
	return e, ok
}

// readRevoked reads all but the envelope's event and its id, which it returns.
func readRevoked(b []byte, e *events.Envelope, n *events.Revocation, t *Reader) (id [16]byte, ok bool) {
	r := wireReader{b: b, ok: true}
	for {
		number, wire, more := r.next()
		if !more {
			break
		}
		switch int(number) {
		case fieldID:
			raw := r.bytes(wire)
			r.ok = r.ok && len(raw) == len(id)
			copy(id[:], raw)
		case fieldAt:
			e.At = fromMillis(int64(r.varint(wire))) //nolint:gosec // as protobuf reads an int64
		case fieldRevoked:
			body := wireReader{b: r.bytes(wire), ok: true}
			inner, wire, some := body.next()
			revocation := body.bytes(wire)
			r.ok = r.ok && some && body.ok && inner == 1 && len(body.b) == 0
			r.ok = r.ok && readRevocation(revocation, n, t)
		default:
			r.ok = false
		}
	}
	const both = 1<<fieldID | 1<<fieldRevoked
	return id, r.ok && r.seen&both == both
}

func readRevocation(b []byte, n *events.Revocation, t *Reader) bool {
	r := wireReader{b: b, ok: true}
	for {
		number, wire, more := r.next()
		if !more {
			return r.ok
		}
		switch int(number) {
		case 1:
			n.ID = events.RevocationID(t.uuid(&r, wire))
		case 2:
			kind := r.varint(wire)
			r.ok = r.ok && kind <= uint64(eventsv1.Kind_KIND_ALL)
			n.Kind = events.Kind(kind) //nolint:gosec // bounded above
		case 3:
			n.Issuer = events.Issuer(t.often(&r, wire))
		case 4:
			n.Target = t.once(&r, wire)
		case 9:
			n.Reason = events.Reason(t.often(&r, wire))
		case 10:
			n.By = readInitiator(&r, wire, t)
		case 11:
			n.Until = fromUnix(int64(r.varint(wire))) //nolint:gosec // as protobuf reads an int64
		default: // a cut, a scope, an exception: rare
			return false
		}
	}
}

func readInitiator(outer *wireReader, wire protowire.Type, t *Reader) (i events.Initiator) {
	r := wireReader{b: outer.bytes(wire), ok: outer.ok}
	for {
		number, wire, more := r.next()
		if !more {
			outer.ok = outer.ok && r.ok
			return i
		}
		switch int(number) {
		case 1:
			i.Role = t.often(&r, wire)
		case 2:
			i.Name = t.often(&r, wire)
		default:
			r.ok = false
		}
	}
}
