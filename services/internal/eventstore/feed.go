package eventstore

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// Feed is one FEED stream, seen by those who announce. It is safe for concurrent
// use.
type Feed struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	stream string
}

// NewFeed uses a connection that the caller owns and closes.
func NewFeed(conn *nats.Conn, stream string) (*Feed, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	return &Feed{conn: conn, js: js, stream: stream}, nil
}

// Publish announces an event and returns its feed sequence once it is durable.
// Publishing the same event id again is harmless: inside the server's window it
// is stored once, beyond it sidecars apply it twice to the same effect. Every
// announcement expires; ttl is rounded up to whole seconds.
func (f *Feed) Publish(ctx context.Context, subject string, e events.Envelope, ttl time.Duration) (uint64, error) {
	m, err := f.message(subject, e, ttl)
	if err != nil {
		return 0, err
	}
	sequence, err := publish(ctx, f.js, m)
	if err != nil {
		return 0, fmt.Errorf("announcing on %s: %w", subject, err)
	}
	return sequence, nil
}

// PublishOnce announces an event that others may announce too, under the same id. It is
// tried once, and first says whether it was this call that the feed stored: of those
// within the server's window, one is.
func (f *Feed) PublishOnce(ctx context.Context, subject string, e events.Envelope, ttl time.Duration) (sequence uint64, first bool, err error) {
	m, err := f.message(subject, e, ttl)
	if err != nil {
		return 0, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	ack, err := f.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, false, fmt.Errorf("announcing on %s: %w: %w", subject, events.ErrUnavailable, err)
	}
	return ack.Sequence, !ack.Duplicate, nil
}

func (f *Feed) message(subject string, e events.Envelope, ttl time.Duration) (*nats.Msg, error) {
	data, err := codec.Encode(e)
	if err != nil {
		return nil, fmt.Errorf("announcing on %s: %w", subject, err)
	}
	m := nats.NewMsg(subject)
	m.Data = data
	m.Header.Set(jetstream.MsgIDHeader, string(e.ID))
	m.Header.Set(jetstream.ExpectedStreamHeader, f.stream)
	setTTL(m, max(ttl, time.Second))
	return m, nil
}
