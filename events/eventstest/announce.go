package eventstest

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/topology"
)

// announceWindow is how many announcements may be under way at once.
const announceWindow = 2000

// Announce puts n revocations into the feed as an issuer would, and returns when
// AUDIT and EVENTS have their copies, so that nothing is left to be done.
func (s *Server) Announce(t testing.TB, n int, revocation func(i int) events.Revocation) {
	t.Helper()
	conn := s.Connect(t, topology.Issuer)
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(announceWindow))
	if err != nil {
		t.Fatal(err)
	}
	acks := make([]jetstream.PubAckFuture, 0, announceWindow)
	settle := func() {
		for _, ack := range acks {
			select {
			case <-ack.Ok():
			case err := <-ack.Err():
				t.Fatal(err)
			}
		}
		acks = acks[:0]
	}
	for i := range n {
		r := revocation(i)
		body, err := codec.Encode(events.Envelope{ID: events.EventID(uuid.Must(uuid.NewV7()).String()), Event: events.Revoked{Revocation: r}})
		if err != nil {
			t.Fatal(err)
		}
		ack, err := js.PublishAsync(Realm.FeedEntry(r.Kind, r.Issuer, r.Target), body)
		if err != nil {
			t.Fatal(err)
		}
		if acks = append(acks, ack); len(acks) == announceWindow {
			settle()
		}
	}
	settle()
	vault, err := jetstream.NewWithAPIPrefix(conn, s.Topology().EventsAPI())
	if err != nil {
		t.Fatal(err)
	}
	for _, copied := range []struct {
		js     jetstream.JetStream
		stream string
	}{{js, Realm.AuditStream()}, {vault, Realm.EventsStream()}} {
		Eventually(t, func(ctx context.Context) error {
			stream, err := copied.js.Stream(ctx, copied.stream)
			if err != nil {
				return err
			}
			if have := stream.CachedInfo().State.Msgs; have < uint64(n) { //nolint:gosec // a count
				return fmt.Errorf("%s has %d of %d", copied.stream, have, n)
			}
			return nil
		})
	}
}
