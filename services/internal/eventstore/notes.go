package eventstore

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// Notes is the AUDIT stream, seen by those who put something on record that
// changes no state. It is safe for concurrent use.
type Notes struct {
	js     jetstream.JetStream
	stream string
}

// NewNotes uses a connection that the caller owns and closes.
func NewNotes(conn *nats.Conn, stream string) (*Notes, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	return &Notes{js: js, stream: stream}, nil
}

// Note publishes an event to AUDIT and returns once it is durable. AUDIT does not
// know a message id again, so what had to be sent twice may stand there twice,
// under one event id.
func (n *Notes) Note(ctx context.Context, subject string, e events.Envelope) error {
	data, err := codec.Encode(e)
	if err != nil {
		return fmt.Errorf("noting on %s: %w", subject, err)
	}
	m := nats.NewMsg(subject)
	m.Data = data
	m.Header.Set(jetstream.MsgIDHeader, string(e.ID))
	m.Header.Set(jetstream.ExpectedStreamHeader, n.stream)
	if _, err := publish(ctx, n.js, m); err != nil {
		return fmt.Errorf("noting on %s: %w", subject, err)
	}
	return nil
}
