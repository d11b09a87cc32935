package canary

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/fleet"
)

const realm = eventstest.Realm

// issuer is one with a canary.
type issuer struct {
	*Canary

	fleet *fleet.Fleet
	logs  *observer.ObservedLogs
}

func newIssuer(t *testing.T, server *eventstest.Server) issuer {
	t.Helper()
	conn, metrics := server.Connect(t, topology.Issuer), prometheus.NewRegistry()
	f, err := fleet.New(fleet.Config{Realm: realm, Lifetime: func() time.Duration { return time.Hour }}, fleet.Deps{Conn: conn, Log: zap.NewNop(), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	feed, err := eventstore.NewFeed(conn, realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	c, err := New(Config{Realm: realm, Interval: time.Minute}, Deps{Feed: feed, Fleet: f, Log: zap.New(core), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return issuer{c, f, logs}
}

// sidecar reports whatever live message it gets as enforced, unless it is mute.
type sidecar struct {
	mu      sync.Mutex
	mute    bool
	last    events.Report
	entries []events.Revocation
}

func (s *sidecar) silence(mute bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = mute
}

func newSidecar(t *testing.T, server *eventstest.Server) *sidecar {
	t.Helper()
	conn := server.Connect(t, topology.Sidecar)
	s := &sidecar{last: events.Report{Sidecar: "a", Instance: uuid.NewString(), State: events.StateFollowing}}
	report := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		body, err := codec.EncodeReport(s.last)
		if err == nil && !s.mute {
			err = conn.Publish(realm.Report("a"), body)
		}
		if err != nil {
			t.Error(err)
		}
	}
	live := func(m *nats.Msg) {
		sequence, ok := uint64(0), false
		for _, c := range m.Header.Get("Nats-Sequence") {
			sequence, ok = sequence*10+uint64(c-'0'), true
		}
		e, err := codec.Decode(m.Data)
		if err != nil || !ok {
			t.Errorf("%s: %v", m.Subject, err)
			return
		}
		s.mu.Lock()
		if beat, ok := e.Event.(events.Heartbeat); ok {
			s.last.Epoch = beat.Epoch
		}
		if r, ok := e.Event.(events.Revoked); ok {
			s.entries = append(s.entries, r.Revocation)
		}
		if s.last.Epoch != "" {
			s.last.Sequence = sequence
		}
		s.mu.Unlock()
		report()
	}
	_, err1 := conn.Subscribe(realm.Live(), live)
	_, err2 := conn.Subscribe(realm.FleetAsk(), func(*nats.Msg) { report() })
	if err1 != nil || err2 != nil || conn.Flush() != nil {
		t.Fatal(err1, err2)
	}
	return s
}

// Of two issuers one announces the canary of an interval. It is confirmed; nobody's
// token is of its issuer; and when a sidecar is mute, it is named.
func TestCanary(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	one, two := newIssuer(t, server), newIssuer(t, server)
	follower := newSidecar(t, server)
	eventstest.Eventually(t, func(ctx context.Context) error {
		if e := one.fleet.Confirm(ctx, 0, 2*time.Second); !e.Everywhere() || e.Live != 1 {
			return context.DeadlineExceeded
		}
		return nil
	})
	if _, ok := one.Last(); ok {
		t.Error("there was a canary before the first")
	}
	const slot = 29_000_000
	for _, i := range []issuer{one, two, one} {
		if err := i.send(t.Context(), slot); err != nil {
			t.Fatal(err)
		}
	}
	r, ok := one.Last()
	if !ok || !r.Enforcement.Everywhere() || r.Enforcement.Confirmed != 1 {
		t.Fatalf("the first canary: %+v", r)
	}
	if _, ok := two.Last(); ok || testutil.ToFloat64(two.runs.WithLabelValues("another")) != 1 {
		t.Error("a second issuer announced it, too")
	}
	if n := testutil.ToFloat64(one.runs.WithLabelValues("confirmed")); n != 1 || testutil.ToFloat64(one.missing) != 0 {
		t.Errorf("%v canaries confirmed", n)
	}
	follower.mu.Lock()
	entries := follower.entries
	follower.mu.Unlock()
	if len(entries) != 1 || entries[0].Issuer != Issuer || entries[0].Kind != events.KindToken || entries[0].Reason != Reason ||
		time.Until(entries[0].Until) > lasts+time.Second {
		t.Fatalf("what sidecars got: %+v", entries)
	}

	follower.silence(true)
	one.cfg.Interval = 200 * time.Millisecond
	if err := one.send(t.Context(), slot+1); err != nil {
		t.Fatal(err)
	}
	warnings := one.logs.FilterMessage("a canary is not enforced everywhere").All()
	if len(warnings) != 1 || testutil.ToFloat64(one.missing) != 1 || testutil.ToFloat64(one.runs.WithLabelValues("missing")) != 1 {
		t.Fatalf("a mute sidecar: %v", one.logs.All())
	}
	if names := warnings[0].ContextMap()["missing"]; len(names.([]any)) != 1 || names.([]any)[0] != "a" {
		t.Errorf("the warning names %v", names)
	}
}

// Issuers try near the beginning of the same interval, and never in the past.
func TestWhenCanariesAreSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.Int64Range(int64(Shortest), int64(Longest)).Draw(t, "interval"))
		now := time.Unix(rapid.Int64Range(1e9, 4e9).Draw(t, "now"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		c := &Canary{cfg: Config{Realm: realm, Interval: interval}}
		slot, at := c.next(now)
		other, otherAt := c.next(now)
		begins := time.Unix(0, slot*int64(interval))
		if slot != other || !begins.After(now) || begins.Sub(now) > interval || at.Before(begins) || at.Sub(otherAt).Abs() > spreadAtMost || at.Sub(begins) > interval/4 {
			t.Fatalf("now %s: interval %d at %s, another issuer %d at %s", now, slot, at, other, otherAt)
		}
		if spreadAtMost+events.MaxSkew >= topology.DuplicateWindow {
			t.Fatal("two issuers may be too far apart for the broker to know the id again")
		}
		id := c.eventID(slot)
		if u, err := uuid.Parse(string(id)); err != nil || u.Version() != 7 || u.String() != string(id) || id == c.eventID(slot+1) {
			t.Fatalf("event id %s of %d: %v", id, slot, err)
		}
	})
}

func TestIntervals(t *testing.T) {
	for interval, good := range map[time.Duration]bool{
		0: true, -time.Second: false, time.Second: false, Shortest: true, time.Minute: true, Longest: true, Longest + 1: false,
	} {
		if err := (Config{Interval: interval}).Validate(); (err == nil) != good {
			t.Errorf("%s: %v", interval, err)
		}
	}
	c := &Canary{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
}
