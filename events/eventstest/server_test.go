package eventstest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// The heartbeat takes the road of a revocation: through the feed, to followers,
// between accounts, and expires.
func TestHeartbeatReachesSidecars(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	sub, err := s.Connect(t, topology.Sidecar).SubscribeSync(realm.LiveHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	var last time.Time
	for range 3 {
		msg, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := time.Parse(time.RFC3339Nano, msg.Header.Get("Nats-Time-Stamp"))
		if err != nil || !stored.After(last) {
			t.Errorf("stored at %v (%v), after %v", stored, err, last)
		}
		last = stored
		if got := msg.Header.Get("Nats-TTL"); got != topology.HeartbeatTTL.String() {
			t.Errorf("expires after %q", got)
		}
		if got := msg.Header.Get("Nats-Stream"); got != realm.FeedStream() {
			t.Errorf("from stream %s", got)
		}
	}
}

// Nobody gets in without credentials.
func TestServerRefusesStrangers(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Empty())
	stranger := eventstest.RunServer(t, eventstest.Empty())
	for name, options := range map[string][]nats.Option{
		"nobody":                        nil,
		"a user of another authority's": stranger.Options(topology.Issuer),
		"a password":                    {nats.UserInfo("admin", "admin")},
	} {
		if nc, err := nats.Connect(s.URL(), options...); err == nil {
			nc.Close()
			t.Errorf("%s got in", name)
		}
	}
}

// What was stored, and where clients connect, outlast an orderly restart.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	url, last := s.URL(), publish(t, issuerJS(t, s), 10)
	s.Stop()
	s.Start(t)
	if s.URL() != url {
		t.Errorf("moved from %s to %s", url, s.URL())
	}
	s.WaitReady(t)
	if next := publish(t, issuerJS(t, s), 1); next <= last {
		t.Errorf("sequence %d after %d", next, last)
	}
}
