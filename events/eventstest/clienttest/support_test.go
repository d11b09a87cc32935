// Package clienttest holds the tests of package client and of its example service
// that need a real broker. They are apart from it because module events must not
// depend on one.
package clienttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/client"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

const (
	realm  = eventstest.Realm
	issuer = events.Issuer("https://id.example")
)

// feed publishes as an issuer does.
type feed struct{ js jetstream.JetStream }

func newFeed(t *testing.T, s *eventstest.Server) feed {
	t.Helper()
	js, err := jetstream.New(s.Connect(t, topology.Issuer, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond)))
	if err != nil {
		t.Fatal(err)
	}
	return feed{js: js}
}

func newID(t *testing.T) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// revocation gives an event that denies the target for a minute.
func revocation(t *testing.T, kind events.Kind, target string) events.Envelope {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	return events.Envelope{
		ID: events.EventID(newID(t)), At: now,
		Event: events.Revoked{Revocation: events.Revocation{
			ID: events.RevocationID(newID(t)), Kind: kind, Issuer: issuer, Target: target,
			Reason: events.ReasonLogout, By: events.Initiator{Role: "user"},
			Until: now.Truncate(time.Second).Add(time.Minute),
		}},
	}
}

// send puts a revocation into the feed, where it lives for ttl.
func (f feed) send(ctx context.Context, e events.Envelope, ttl time.Duration) error {
	body, err := codec.Encode(e)
	if err != nil {
		return err
	}
	r := e.Event.(events.Revoked).Revocation
	_, err = f.js.Publish(ctx, realm.FeedEntry(r.Kind, r.Issuer, r.Target), body,
		jetstream.WithMsgID(string(e.ID)), jetstream.WithMsgTTL(ttl))
	return err
}

// revoke publishes n revocations of sessions, and again until it succeeds, as an
// issuer would. It gives the events' ids in order.
func (f feed) revoke(t *testing.T, n int) []events.EventID {
	t.Helper()
	return f.revokeFor(t, n, time.Minute)
}

func (f feed) revokeFor(t *testing.T, n int, ttl time.Duration) []events.EventID {
	t.Helper()
	var list []events.EventID
	for range n {
		e := revocation(t, events.KindSession, newID(t))
		eventstest.Eventually(t, func(ctx context.Context) error { return f.send(ctx, e, ttl) })
		list = append(list, e.ID)
	}
	return list
}

// raw publishes any bytes.
func (f feed) raw(t *testing.T, subject string, body []byte) {
	t.Helper()
	if _, err := f.js.Publish(t.Context(), subject, body); err != nil {
		t.Fatal(err)
	}
}

// kept looks at EVENTS from inside its own account, which no service can.
func kept(t *testing.T, s *eventstest.Server) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(s.Superuser(t, topology.Vault))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), realm.EventsStream())
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// waitKept waits until EVENTS holds exactly n events.
func waitKept(t *testing.T, s *eventstest.Server, n int) jetstream.StreamState {
	t.Helper()
	stream := kept(t, s)
	var state jetstream.StreamState
	eventstest.Eventually(t, func(ctx context.Context) error {
		info, err := stream.Info(ctx)
		if err != nil {
			return err
		}
		if state = info.State; state.Msgs != uint64(n) {
			return fmt.Errorf("EVENTS holds %d events, want %d", state.Msgs, n)
		}
		return nil
	})
	return state
}

// newClient connects a service as the documentation says, and gives what it reports.
func newClient(t *testing.T, s *eventstest.Server) (*client.Client, *log[error]) {
	t.Helper()
	conn, err := client.Connect(s.URL(), s.Credentials(topology.Subscriber), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	reported := &log[error]{}
	c, err := client.New(conn, realm, client.OnError(reported.add))
	if err != nil {
		t.Fatal(err)
	}
	return c, reported
}

// log is a list that grows in one goroutine and is read in another.
type log[T any] struct {
	mu   sync.Mutex
	list []T
}

func (l *log[T]) add(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, v)
}

func (l *log[T]) all() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]T(nil), l.list...)
}

// wait gives the list once it has n members or more.
func (l *log[T]) wait(t *testing.T, n int) []T {
	t.Helper()
	eventstest.Eventually(t, func(context.Context) error {
		if got := len(l.all()); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
	return l.all()
}

func ids(list []client.Delivery) []events.EventID {
	var got []events.EventID
	for _, d := range list {
		got = append(got, d.Event.ID)
	}
	return got
}

// running is a Subscribe in a goroutine.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	ignore error
}

// subscribe starts one that has attached when subscribe returns, and stops it at
// the end of the test.
func subscribe(t *testing.T, s *eventstest.Server, c *client.Client, durable string, h client.Handler, opts ...client.SubscribeOption) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = c.Subscribe(ctx, durable, h, opts...)
	}()
	t.Cleanup(func() { r.stop(t) })
	stream := kept(t, s)
	eventstest.Eventually(t, func(ctx context.Context) error {
		_, err := stream.Consumer(ctx, durable)
		return err
	})
	return r
}

// stop ends it in an orderly way.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	<-r.done
	if r.err != nil && !errors.Is(r.err, r.ignore) {
		t.Error(r.err)
	}
}

// settled waits until nothing of the durable is under way or waiting.
func settled(t *testing.T, s *eventstest.Server, durable string) {
	t.Helper()
	stream := kept(t, s)
	eventstest.Eventually(t, func(ctx context.Context) error {
		c, err := stream.Consumer(ctx, durable)
		if err != nil {
			return err
		}
		info := c.CachedInfo()
		if info.NumAckPending != 0 || info.NumPending != 0 {
			return fmt.Errorf("%d under way, %d waiting", info.NumAckPending, info.NumPending)
		}
		return nil
	})
}

// waiting waits until the durable has a request for more, and nothing to send.
func waiting(t *testing.T, s *eventstest.Server, durable string) {
	t.Helper()
	stream := kept(t, s)
	eventstest.Eventually(t, func(ctx context.Context) error {
		c, err := stream.Consumer(ctx, durable)
		if err != nil {
			return err
		}
		if info := c.CachedInfo(); info.NumWaiting != 1 || info.NumAckPending != 0 || info.NumPending != 0 {
			return fmt.Errorf("%d requests, %d under way, %d waiting", info.NumWaiting, info.NumAckPending, info.NumPending)
		}
		return nil
	})
}

var errNotYet = errors.New("not yet")
