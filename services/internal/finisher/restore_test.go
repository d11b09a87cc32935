package finisher_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
)

// A feed alone that was put back to an older copy of itself hides from AUDIT what is
// announced next, until the next issuer starts; then what nobody recorded is finished,
// what was announced before that start too.
func TestFinishesAfterTheFeedWasPutBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	early, _ := h.login(t, "alice")
	late, _ := h.login(t, "alice")
	h.server.Stop()
	saved := h.server.Save(t)
	h.server.Start(t)
	for range 100 {
		h.announce(t, entry(events.KindSession, newID()))
	}
	eventstest.Eventually(t, func(ctx context.Context) error {
		n, err := h.held(ctx, realm.AuditStream(), "revocast.test.audit.feed.session.*")
		if err == nil && n != 100 {
			err = fmt.Errorf("AUDIT has %d", n)
		}
		return err
	})
	h.server.Stop()
	h.server.PutBackStream(t, saved, realm.FeedStream())
	h.server.Start(t)
	before, after := entry(events.KindSession, string(early.Session)), entry(events.KindSession, string(late.Session))
	eventstest.Eventually(t, func(ctx context.Context) error {
		_, err := h.feed.Publish(ctx, realm.FeedEntry(before.Kind, before.Issuer, before.Target),
			events.Envelope{ID: events.EventID(newID()), At: time.Now(), Event: events.Revoked{Revocation: before}}, time.Hour)
		return err
	})
	h.server.Provision(t)
	h.announce(t, after)
	h.finish(t)
	for _, n := range []events.Revocation{before, after} {
		eventstest.Eventually(t, func(ctx context.Context) error { return h.ended(ctx, n) })
	}
}

// ended reports what is wrong if the journal does not say that n ended its session.
func (h house) ended(ctx context.Context, n events.Revocation) error {
	journal, err := h.js.Stream(ctx, realm.JournalStream())
	if err != nil {
		return err
	}
	m, err := journal.GetLastMsgForSubject(ctx, realm.SessionByID(events.SessionID(n.Target)))
	if err != nil {
		return err
	}
	e, err := codec.Decode(m.Data)
	if err != nil {
		return err
	}
	if end, ok := e.Event.(events.SessionRevoked); !ok || end.Session.Ended == nil || end.Session.Ended.RevocationID != n.ID {
		return fmt.Errorf("the last of session %s is %T", n.Target, e.Event)
	}
	return nil
}
