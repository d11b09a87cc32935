package syncer

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// Headers by which the server says where a message stands.
const (
	headerStream   = "Nats-Stream"
	headerSequence = "Nats-Sequence"
	headerTime     = "Nats-Time-Stamp"
	headerLast     = "Nats-Last-Sequence"
	headerStatus   = "Status"
)

// readLive reads one republished message of the stream. A publisher can put such
// headers on a message, too, and the server adds its own to them; so a second
// value means that neither can be believed, and the message is left to a fetch.
func readLive(m *nats.Msg, stream string, arrived time.Time, elapsed time.Duration) (replica.Message, bool) {
	if name, ok := only(m.Header, headerStream); !ok || name != stream {
		return replica.Message{}, false
	}
	sequence, ok := sequenceOf(m.Header, headerSequence)
	if !ok {
		return replica.Message{}, false
	}
	text, ok := only(m.Header, headerTime)
	if !ok {
		return replica.Message{}, false
	}
	stored, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return replica.Message{}, false
	}
	return replica.Message{
		Sequence: sequence, Stored: stored, Arrived: arrived, Elapsed: elapsed,
		Size: len(m.Data), Event: decode(m.Data),
	}, true
}

// only gives the one value of a header.
func only(h nats.Header, name string) (string, bool) {
	if values := h[name]; len(values) == 1 {
		return values[0], true
	}
	return "", false
}

// sequenceOf reads a stream sequence: decimal, not zero, within what the realm's
// streams can ever reach.
func sequenceOf(h nats.Header, name string) (uint64, bool) {
	text, ok := only(h, name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && n > 0 && n <= events.MaxSequence
}

// decode gives the event, nil if there is none in it: one message that cannot be
// read must not keep those behind it from being applied.
func decode(payload []byte) events.Event {
	e, err := codec.Decode(payload)
	if err != nil {
		return nil
	}
	return e.Event
}
