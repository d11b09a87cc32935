package syncer_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/replica"
	"github.com/revocast/revocast/sidecar/internal/syncer"
)

const (
	realm    = eventstest.Realm
	patience = 2 * time.Minute
	instance = "01935f6a-0c00-4000-8000-00000000abcd"
)

// list is a denylist that remembers what it was given.
type list struct {
	mu      sync.Mutex
	entries map[events.RevocationID]bool
	held    atomic.Int64 // how many they are
	lifts   map[events.RevocationID]bool
	cursor  replica.Cursor
	failure error
	lost    chan struct{}
}

func newList() *list {
	return &list{entries: map[events.RevocationID]bool{}, lifts: map[events.RevocationID]bool{}, lost: make(chan struct{}, 1)}
}

func (l *list) Apply(a replica.Apply) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return l.failure
	}
	for _, r := range a.Entries {
		l.entries[r.ID] = true
	}
	l.held.Store(int64(len(l.entries)))
	for _, lift := range a.Lifts {
		l.lifts[lift.RevocationID] = true
	}
	l.cursor = a.Cursor
	return nil
}

func (l *list) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
}

func (l *list) has(ids ...events.RevocationID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if !l.entries[id] {
			return false
		}
	}
	return true
}

func (l *list) lifted(id events.RevocationID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lifts[id]
}

func (l *list) size() int { return int(l.held.Load()) }

func (l *list) stored() replica.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursor
}

// follow runs a syncer on the list until the test ends, or stop is called.
func follow(t *testing.T, cfg syncer.Config, l *list) (s *syncer.Syncer, stop func()) {
	t.Helper()
	cfg.Realm, cfg.ID, cfg.Instance, cfg.Version = realm, "sidecar-1", instance, "test"
	s, err := syncer.New(cfg, syncer.Deps{
		Denylist: l, Cursor: l.stored(), Entries: l.size, Restart: l.lost, Log: zaptest.NewLogger(t), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// followServer does so against one server.
func followServer(t *testing.T, server *eventstest.Server, l *list) (s *syncer.Syncer, stop func()) {
	t.Helper()
	return follow(t, syncer.Config{URL: server.URL(), Options: server.Options(topology.Sidecar)}, l)
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for !is() {
		select {
		case <-deadline.C:
			t.Fatalf("still not: %s", what)
		case <-poll.C:
		}
	}
}

// fresh waits until the syncer has proved itself complete later than a moment.
func fresh(t *testing.T, s *syncer.Syncer, after time.Time) {
	t.Helper()
	eventually(t, "fresh", func() bool {
		st := s.State()
		return st.CaughtUp && st.Phase == replica.Following && st.FreshAsOf.After(after)
	})
}

// issuer publishes to the feed and numbers what it publishes.
type issuer struct {
	conn      *nats.Conn
	next      int // entry
	published int
}

func newIssuer(t *testing.T, server *eventstest.Server) *issuer {
	t.Helper()
	return &issuer{conn: server.Connect(t, topology.Issuer)}
}

func uuid(n int) string { return fmt.Sprintf("01935f6a-0c00-7000-8000-%012x", n) }

// revocation makes the n-th entry.
func revocation(n int) events.Revocation {
	return events.Revocation{
		ID: events.RevocationID(uuid(n)), Kind: events.KindToken, Issuer: "https://id.example", Target: uuid(n),
		Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator", Name: "ops"},
		Until: time.Unix(4102444800, 0),
	}
}

// revoke publishes an entry, durably, with headers of the test's choice.
func (i *issuer) revoke(t *testing.T, h nats.Header) events.RevocationID {
	t.Helper()
	i.next++
	r := revocation(i.next)
	i.publish(t, realm.FeedEntry(r.Kind, r.Issuer, r.Target), encode(t, i.next, events.Revoked{Revocation: r}), h)
	return r.ID
}

func encode(t testing.TB, n int, e events.Event) []byte {
	t.Helper()
	b, err := codec.Encode(events.Envelope{ID: events.EventID(uuid(n)), At: time.Unix(1, 0), Event: e})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// publish repeats itself until it is acknowledged, since a cluster may be electing.
// The feed keeps one of them.
func (i *issuer) publish(t *testing.T, subject string, body []byte, h nats.Header) {
	t.Helper()
	i.published++
	h = maps.Clone(h)
	if h == nil {
		h = nats.Header{}
	}
	h["Nats-Msg-Id"] = []string{uuid(i.published)}
	eventually(t, "published to "+subject, func() bool {
		ack, err := i.conn.RequestMsg(&nats.Msg{Subject: subject, Header: h, Data: body}, time.Second)
		return err == nil && bytes.Contains(ack.Data, []byte(`"seq"`))
	})
}
