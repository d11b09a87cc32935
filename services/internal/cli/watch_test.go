package cli_test

import (
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
)

// TestWatch follows a real broker.
func TestWatch(t *testing.T) {
	s := eventstest.RunServer(t)
	feed, err := eventstore.NewFeed(s.Connect(t, topology.Issuer), eventstest.Realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	for i, n := range []events.Revocation{
		{Kind: events.KindSession, Target: sid, Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator", Name: "olga"}},
		{
			Kind: events.KindSubject, Target: "alice\u202e", Reason: "roles_changed", Scope: events.ScopeAccessTokens,
			Cut: events.Position{Sequence: 42}, CutTime: at, By: events.Initiator{Role: "policy"},
		},
	} {
		n.ID = events.RevocationID("01890a5d-ac96-774b-bcce-00000000000" + string(rune('1'+i)))
		n.Issuer, n.Until = "https://id.example", at.Add(time.Hour)
		e := events.Envelope{ID: events.EventID("01890a5d-ac96-774b-bcce-10000000000" + string(rune('1'+i))), At: at, Event: events.Revoked{Revocation: n}}
		if _, err := feed.Publish(t.Context(), eventstest.Realm.FeedEntry(n.Kind, n.Issuer, n.Target), e, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/watch",
		Setup: func(e *testscript.Env) error {
			e.Setenv("REVOCAST_NATS_URL", s.URL())
			e.Setenv("GORACE", "atexit_sleep_ms=0") // or each command takes a second to end
			e.Setenv("REVOCAST_REALM", string(eventstest.Realm))
			e.Setenv("CREDS", s.Credentials(topology.Subscriber))
			e.Setenv("SIDECAR_CREDS", s.Credentials(topology.Sidecar))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}
