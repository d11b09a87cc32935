package codec

import (
	"unicode/utf8"

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

func (r *wireReader) text(wire protowire.Type) string {
	b := r.bytes(wire)
	r.ok = r.ok && utf8.Valid(b)
	return string(b)
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

func (r *wireReader) uuid(wire protowire.Type) string {
	u, err := uuid.FromBytes(r.bytes(wire))
	r.ok = r.ok && err == nil
	return u.String()
}

// decodeRevoked reports whether it has read the envelope.
func decodeRevoked(b []byte) (events.Envelope, bool) {
	var e events.Envelope
	var n events.Revocation
	r := wireReader{b: b, ok: true}
	for {
		number, wire, more := r.next()
		if !more {
			break
		}
		switch int(number) {
		case fieldID:
			e.ID = events.EventID(r.uuid(wire))
		case fieldAt:
			e.At = fromMillis(int64(r.varint(wire))) //nolint:gosec // as protobuf reads an int64
		case fieldRevoked:
			body := wireReader{b: r.bytes(wire), ok: true}
			inner, wire, some := body.next()
			revocation := body.bytes(wire)
			r.ok = r.ok && some && body.ok && inner == 1 && len(body.b) == 0
			if r.ok {
				n, r.ok = readRevocation(revocation)
			}
		default:
			r.ok = false
		}
	}
	const both = 1<<fieldID | 1<<fieldRevoked
	e.Event = events.Revoked{Revocation: n}
	return e, r.ok && r.seen&both == both
}

func readRevocation(b []byte) (n events.Revocation, ok bool) {
	r := wireReader{b: b, ok: true}
	for {
		number, wire, more := r.next()
		if !more {
			return n, r.ok
		}
		switch int(number) {
		case 1:
			n.ID = events.RevocationID(r.uuid(wire))
		case 2:
			kind := r.varint(wire)
			r.ok = r.ok && kind <= uint64(eventsv1.Kind_KIND_ALL)
			n.Kind = events.Kind(kind) //nolint:gosec // bounded above
		case 3:
			n.Issuer = events.Issuer(r.text(wire))
		case 4:
			n.Target = r.text(wire)
		case 9:
			n.Reason = events.Reason(r.text(wire))
		case 10:
			n.By = readInitiator(&r, wire)
		case 11:
			n.Until = fromUnix(int64(r.varint(wire))) //nolint:gosec // as protobuf reads an int64
		default: // a cut, a scope, an exception: rare
			return n, false
		}
	}
}

func readInitiator(outer *wireReader, wire protowire.Type) (i events.Initiator) {
	r := wireReader{b: outer.bytes(wire), ok: outer.ok}
	for {
		number, wire, more := r.next()
		if !more {
			outer.ok = outer.ok && r.ok
			return i
		}
		switch int(number) {
		case 1:
			i.Role = r.text(wire)
		case 2:
			i.Name = r.text(wire)
		default:
			r.ok = false
		}
	}
}
