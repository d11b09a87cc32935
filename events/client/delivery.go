package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
)

// Delivery is one event as it reached this service. The receiver owns it.
type Delivery struct {
	// Event is the event with its id. Delivered again, or published twice, it has
	// the same id: deduplicate by that where acting twice would harm. An event of
	// a kind that this version of the module does not know is events.Unknown, so
	// a switch over Event.Event should say what not knowing means to it.
	Event events.Envelope
	// Cursor is the place behind this event.
	Cursor Cursor
	// Stored is when the broker took the event up for subscribers, by its clock:
	// moments after whoever published it was told that it is durable.
	Stored time.Time
	// Deliveries is how often the broker has sent this event to the durable, this
	// time included; always 1 from Follow. More than 1 does not mean that a handler
	// has seen it before.
	Deliveries uint64
}

// PoisonError is about one event that cannot be read: not an envelope, invalid, or
// of a kind that does not belong to the subject it was published on. It is skipped
// for good, and stays in the stream at its place until it is as old as any.
type PoisonError struct {
	// Cursor is the place behind the event.
	Cursor Cursor
	// Subject is the one it was published on.
	Subject string
	// Stored is when the broker took it up.
	Stored time.Time
	// Err says what is wrong; it matches codec.ErrMalformed, codec.ErrInvalid or
	// [ErrMisplaced].
	Err error
}

// Error names the event and what is wrong with it.
func (e *PoisonError) Error() string {
	return fmt.Sprintf("reading event at cursor %s, subject %q: %v", e.Cursor, e.Subject, e.Err)
}

// Unwrap gives what is wrong with the event.
func (e *PoisonError) Unwrap() error { return e.Err }

// ErrMisplaced is returned for an event on a subject where its kind does not
// belong. Who may publish what is decided by subject, so it is not believed.
var ErrMisplaced = errors.New("event on a subject that is not its own")

// decode reads one message. Of an event that cannot be read, the delivery still
// says where it is, beside the [PoisonError].
func (c *Client) decode(msg jetstream.Msg, meta *jetstream.MsgMetadata) (Delivery, error) {
	d := Delivery{
		Cursor:     Cursor(meta.Sequence.Stream),
		Stored:     meta.Timestamp,
		Deliveries: meta.NumDelivered,
	}
	var err error
	if d.Event, err = read(c.realm, msg.Subject(), msg.Data()); err != nil {
		err = &PoisonError{Cursor: d.Cursor, Subject: msg.Subject(), Stored: d.Stored, Err: err}
	}
	return d, err
}

// read decodes an event and checks that it belongs where it was found.
func read(realm subject.Realm, subj string, body []byte) (events.Envelope, error) {
	e, err := codec.Decode(body)
	if err != nil {
		return events.Envelope{}, err
	}
	if !belongs(realm, subj, e.Event) {
		return events.Envelope{}, ErrMisplaced
	}
	return e, nil
}

func belongs(realm subject.Realm, subj string, e events.Event) bool {
	if _, unknown := e.(events.Unknown); unknown {
		return true // its subject may be as new as its kind
	}
	of, place, err := subject.Parse(subj)
	if err != nil || of != realm {
		return false
	}
	switch e := e.(type) {
	case events.Revoked:
		entry, ok := place.(subject.FeedEntry)
		return ok && entry.Kind == e.Revocation.Kind
	case events.Lifted:
		_, ok := place.(subject.FeedLift)
		return ok
	case events.KeyAdded, events.KeyRetired:
		_, ok := place.(subject.FeedKeys)
		return ok
	case events.SessionStarted, events.SessionRefreshed, events.SessionRevoked,
		events.CutsRecorded, events.UserRegistered, events.PasswordChanged,
		events.UserUpdated, events.ClientUpdated, events.OperatorAdded, events.OperatorRemoved,
		events.SecretSealed, events.LifetimesDeclared, events.SessionReplayed, events.Noted,
		events.BarrierPassed, events.Heartbeat, events.Unknown:
		// The journal's, which subscribers never get, and the heartbeat.
	}
	return false
}
