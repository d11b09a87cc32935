package app_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// A feed alone that was put back to an older copy of itself, under an issuer that goes
// on running: the issuer notices, and what an operator announces from then on, past it,
// is recorded as ever.
func TestFeedPutBackUnderARunningIssuer(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	saved := func() string {
		s.Stop()
		defer s.Start(t)
		return s.Save(t)
	}()
	i := start(t, on(t, s, t.TempDir()))
	mine, other := i.login(t), i.login(t)
	operator := s.Connect(t, topology.Operator, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	announce := func(n events.Revocation) error {
		n.ID, n.Reason, n.By = events.RevocationID(uuid.NewString()), events.ReasonAdmin, events.Initiator{Role: "operator"}
		n.Until = time.Now().Add(time.Hour)
		body, err := codec.Encode(events.Envelope{
			ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: time.Now(), Event: events.Revoked{Revocation: n},
		})
		if err != nil {
			return err
		}
		m := nats.NewMsg(eventstest.Realm.FeedEntry(n.Kind, n.Issuer, n.Target))
		m.Data = body
		m.Header.Set("Nats-TTL", "1h")
		ack, err := operator.RequestMsg(m, 5*time.Second)
		if err == nil && strings.Contains(string(ack.Data), `"error"`) {
			err = errors.New(string(ack.Data))
		}
		return err
	}
	for range 300 {
		if err := announce(events.Revocation{Kind: events.KindToken, Issuer: "https://other.example", Target: uuid.NewString()}); err != nil {
			t.Fatal(err)
		}
	}
	beats, err := operator.SubscribeSync(eventstest.Realm.LiveHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // one of them the issuer has heard as well
		if _, err := beats.NextMsg(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()
	s.PutBackStream(t, saved, eventstest.Realm.FeedStream())
	s.Start(t)
	eventually(t, func() error {
		if !strings.Contains(i.log.String(), "the feed's sequences have gone back") {
			return errors.New("the issuer has not noticed")
		}
		return nil
	})
	i.waitFor(t, 200)
	eventually(t, func() error {
		return announce(events.Revocation{Kind: events.KindSession, Issuer: events.Issuer(i.Issuer), Target: mine.Session})
	})
	eventually(t, func() error {
		list := decode[struct{ Sessions []any }](t, i.call(t, "GET", "/v1/sessions", other.Access).want(t, 200))
		if len(list.Sessions) != 1 {
			return fmt.Errorf("%d sessions, want one", len(list.Sessions))
		}
		return nil
	})
}
