// Package codec turns events into bytes and back: Protocol Buffers, version 1
// (proto/revocast/events/v1).
//
// Invariants:
//
//   - What [Encode] accepts, [Decode] gives back equal, and encoding that again
//     gives the same bytes.
//   - What [Decode] accepts is valid: ids are well formed, strings bounded and
//     free of control characters, kinds known. A reader need not check again.
//   - A kind of event or of revocation that this version does not know is
//     events.Unknown, a value; every other surprise is an error.
//   - Fields are added, never reused, so an older reader skips what it does not
//     know and a newer one reads every golden file under testdata.
package codec

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/revocast/revocast/events"
	eventsv1 "github.com/revocast/revocast/events/proto/revocast/events/v1"
)

// MaxSize bounds an encoded envelope in bytes. The largest legitimate event, a
// subject with hundreds of standing cuts, stays well below.
const MaxSize = 256 << 10

var (
	// ErrMalformed is returned for bytes that are no envelope.
	ErrMalformed = errors.New("malformed event")
	// ErrInvalid is returned for an envelope whose contents break a rule of the
	// contract. Such an event is never written, and never believed when read.
	ErrInvalid = errors.New("invalid event")
)

// firstEventField is where the oneof's numbers begin in the schema.
const firstEventField = 16

// Encode validates e and gives its bytes, the same for equal envelopes.
// [events.Unknown] cannot be written.
func Encode(e events.Envelope) ([]byte, error) {
	if err := validate(e); err != nil {
		return nil, err
	}
	m, err := toProto(e)
	if err != nil {
		return nil, err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(b), MaxSize)
	}
	return b, nil
}

// Decode reads one envelope. It keeps no reference to b. Errors match
// [ErrMalformed] or [ErrInvalid].
func Decode(b []byte) (events.Envelope, error) {
	if len(b) > MaxSize {
		return events.Envelope{}, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(b), MaxSize)
	}
	if e, ok := decodeRevoked(b); ok {
		return e, validate(e)
	}
	return decodeAny(b)
}

// decodeAny reads an envelope by the generated code.
func decodeAny(b []byte) (events.Envelope, error) {
	var m eventsv1.Envelope
	if err := proto.Unmarshal(b, &m); err != nil {
		return events.Envelope{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	id, err := uuid.FromBytes(m.GetId())
	if err != nil {
		return events.Envelope{}, fmt.Errorf("%w: event id of %d bytes", ErrMalformed, len(m.GetId()))
	}
	e := events.Envelope{ID: events.EventID(id.String()), At: fromMillis(m.GetAtMs())}
	if e.Event, err = fromProto(&m); err != nil {
		return events.Envelope{}, err
	}
	if e.Event == nil {
		unknown, err := unknownEvent(m.ProtoReflect().GetUnknown())
		if err != nil {
			return events.Envelope{}, err
		}
		e.Event = unknown
	}
	return e, validate(e)
}

// unknownEvent finds the body of a oneof member that this version lacks.
func unknownEvent(fields []byte) (events.Event, error) {
	for len(fields) > 0 {
		number, wire, n := protowire.ConsumeTag(fields)
		if n < 0 {
			return nil, ErrMalformed
		}
		fields = fields[n:]
		size := protowire.ConsumeFieldValue(number, wire, fields)
		if size < 0 {
			return nil, ErrMalformed
		}
		if number >= firstEventField && wire == protowire.BytesType {
			body, _ := protowire.ConsumeBytes(fields)
			return events.Unknown{Number: int32(number), Raw: append([]byte(nil), body...)}, nil
		}
		fields = fields[size:]
	}
	return nil, fmt.Errorf("%w: no event in the envelope", ErrMalformed)
}

// unix gives whole seconds, zero for the zero time.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// unixUp rounds up, for deadlines: an entry may live longer, never shorter.
func unixUp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	s := t.Unix()
	if t.Nanosecond() > 0 && s < math.MaxInt64 {
		s++
	}
	return s
}

func fromUnix(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func uuidBytes(s string) []byte {
	if s == "" {
		return nil
	}
	u, err := uuid.Parse(s)
	if err != nil {
		return nil // validate has refused it before
	}
	return u[:]
}

func uuidText(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	u, err := uuid.FromBytes(b)
	if err != nil {
		return "malformed" // validate refuses it next
	}
	return u.String()
}
