package clienttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/client"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// collect is a handler that keeps what it gets.
func collect(got *log[client.Delivery]) client.Handler {
	return func(_ context.Context, d client.Delivery) error {
		got.add(d)
		return nil
	}
}

func TestHandlerErrorsBringTheEventBack(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, reported := newClient(t, s)
	got := &log[client.Delivery]{}
	failures := map[events.EventID]int{} // touched by the handler alone, then by the test
	r := subscribe(t, s, c, "svc", func(_ context.Context, d client.Delivery) error {
		got.add(d)
		if failures[d.Event.ID]++; failures[d.Event.ID] <= 2 {
			return errNotYet
		}
		return nil
	})
	want := newFeed(t, s).revoke(t, 10)
	got.wait(t, 30)
	settled(t, s, "svc")
	r.stop(t)

	list := got.all()
	if len(list) != 30 {
		t.Fatalf("%d deliveries of 10 events that fail twice", len(list))
	}
	for _, id := range want {
		if failures[id] != 3 {
			t.Errorf("event %s delivered %d times", id, failures[id])
		}
	}
	seen := map[events.EventID]uint64{}
	for _, d := range list {
		if seen[d.Event.ID]++; d.Deliveries != seen[d.Event.ID] {
			t.Errorf("event %s: delivery %d says %d", d.Event.ID, seen[d.Event.ID], d.Deliveries)
		}
	}
	told := 0
	for _, err := range reported.all() {
		if errors.Is(err, errNotYet) {
			told++
		} else {
			t.Log("reported besides:", err) // a busy machine misses a heartbeat
		}
	}
	if told != 20 {
		t.Fatalf("%d of 20 failures of the handler reported", told)
	}
}

func TestSubscriberAwayWhileEntriesExpire(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, _ := newClient(t, s)
	f := newFeed(t, s)
	got := &log[client.Delivery]{}
	r := subscribe(t, s, c, "svc", collect(got))
	want := f.revoke(t, 1)
	cursor := got.wait(t, 1)[0].Cursor
	r.stop(t)

	want = append(want, f.revokeFor(t, 5, time.Second)...)
	stream, err := f.js.Stream(t.Context(), realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	eventstest.Eventually(t, func(ctx context.Context) error {
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter("revocast.test.feed.session.*"))
		if err != nil {
			return err
		}
		left := uint64(0)
		for _, n := range info.State.Subjects {
			left += n
		}
		if left > 1 {
			return fmt.Errorf("FEED still holds %d entries", left)
		}
		return nil
	})

	subscribe(t, s, c, "svc", collect(got))
	if list := ids(got.wait(t, 6)); !slices.Equal(list, want) {
		t.Fatalf("subscriber: got %v, want %v", list, want)
	}
	if list := ids(take(t, c, cursor, 5)); !slices.Equal(list, want[1:]) {
		t.Fatalf("follower: got %v, want %v", list, want[1:])
	}
}

func TestSubscribeSurvivesRestarts(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, _ := newClient(t, s)
	f := newFeed(t, s)
	got := &log[client.Delivery]{}
	subscribe(t, s, c, "svc", collect(got), client.AckWait(time.Second))
	want := f.revoke(t, 5)
	for range 2 {
		s.Stop()
		s.Start(t)
		want = append(want, f.revoke(t, 5)...)
		s.Kill(t)
		s.Start(t)
		want = append(want, f.revoke(t, 5)...)
	}
	eventstest.Eventually(t, func(context.Context) error {
		have := ids(got.all())
		for _, id := range want {
			if !slices.Contains(have, id) {
				return fmt.Errorf("event %s is missing", id)
			}
		}
		return nil
	})
	settled(t, s, "svc")
}

func TestInstancesShareADurable(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	one, _ := newClient(t, s)
	two, _ := newClient(t, s)
	var got [2]log[client.Delivery]
	subscribe(t, s, one, "svc", collect(&got[0]))
	subscribe(t, s, two, "svc", collect(&got[1]))
	want := newFeed(t, s).revoke(t, 200)
	waitKept(t, s, len(want))
	settled(t, s, "svc")
	first, second := ids(got[0].all()), ids(got[1].all())
	if len(first) == 0 || len(second) == 0 {
		t.Fatalf("one of them did everything: %d and %d", len(first), len(second))
	}
	have := append(first, second...)
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Fatalf("%d and %d events handled, want each of %d once", len(first), len(second), len(want))
	}
}

func TestInOrderWaitsForTheOneBefore(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	one, _ := newClient(t, s)
	two, _ := newClient(t, s)
	got := &log[client.Delivery]{}
	h := func(_ context.Context, d client.Delivery) error {
		got.add(d)
		if d.Deliveries == 1 {
			return errNotYet
		}
		return nil
	}
	subscribe(t, s, one, "svc", h, client.InOrder())
	subscribe(t, s, two, "svc", h, client.InOrder())
	var want []events.EventID
	for _, id := range newFeed(t, s).revoke(t, 8) {
		want = append(want, id, id)
	}
	if list := ids(got.wait(t, len(want))); !slices.Equal(list, want) {
		t.Fatalf("got %v, want %v", list, want)
	}
}

// What has begun when the service stops is finished and acknowledged; what has not
// is there for the next instance at once, not after AckWait.
func TestShutdownFinishesWhatHasBegun(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, _ := newClient(t, s)
	began, finish := make(chan struct{}), make(chan struct{})
	handled := &log[client.Delivery]{}
	r := subscribe(t, s, c, "svc", func(ctx context.Context, d client.Delivery) error {
		close(began)
		<-finish
		handled.add(d)
		return ctx.Err()
	}, client.AckWait(time.Hour))
	want := newFeed(t, s).revoke(t, 3)
	<-began
	r.cancel()
	close(finish)
	r.stop(t) // Subscribe has waited for its handler, or else the list is empty
	if list := ids(handled.all()); !slices.Equal(list, want[:1]) {
		t.Fatalf("handled %v, want %v", list, want[:1])
	}
	rest := &log[client.Delivery]{}
	subscribe(t, s, c, "svc", collect(rest), client.AckWait(time.Hour))
	rest.wait(t, 2)
	settled(t, s, "svc")
	if list := ids(rest.all()); !slices.Equal(list, want[1:]) {
		t.Fatalf("then %v, want %v", list, want[1:])
	}
}

// The request of an instance that stopped, or died, while it was waiting must not
// swallow the next event until AckWait is over.
func TestIdleInstanceLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	f := newFeed(t, s)
	got := &log[client.Delivery]{}
	var want []events.EventID
	for _, orderly := range []bool{true, false, true} {
		conn, err := client.Connect(s.URL(), s.Credentials(topology.Subscriber))
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(conn, realm)
		if err != nil {
			t.Fatal(err)
		}
		r := subscribe(t, s, c, "svc", collect(got), client.AckWait(time.Hour))
		want = append(want, f.revoke(t, 1)...)
		got.wait(t, len(want))
		waiting(t, s, "svc")
		if orderly {
			r.stop(t)
		} else {
			r.ignore = nats.ErrConnectionClosed
		}
		conn.Close()
		<-r.done
	}
	if list := ids(got.all()); !slices.Equal(list, want) {
		t.Fatalf("got %v, want %v", list, want)
	}
}

// A handler that takes too long is told so, and its event comes again.
func TestAckWaitBoundsTheHandler(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, reported := newClient(t, s)
	got := &log[client.Delivery]{}
	subscribe(t, s, c, "svc", func(ctx context.Context, d client.Delivery) error {
		got.add(d)
		if d.Deliveries > 1 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}, client.AckWait(200*time.Millisecond))
	newFeed(t, s).revoke(t, 1)
	got.wait(t, 2)
	settled(t, s, "svc")
	if list := reported.all(); len(list) != 1 || !errors.Is(list[0], context.DeadlineExceeded) {
		t.Fatalf("reported %v", list)
	}
}

func TestNewDurableBeginsWhereItIsTold(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, _ := newClient(t, s)
	f := newFeed(t, s)
	old := f.revoke(t, 4)
	cursor := take(t, c, client.Beginning, 4)[1].Cursor
	for name, from := range map[string]client.Cursor{
		"beginning": client.Beginning, "cursor": cursor, "latest": client.Latest,
	} {
		got := &log[client.Delivery]{}
		subscribe(t, s, c, name, collect(got), client.From(from))
		want := map[string][]events.EventID{"beginning": old, "cursor": old[1:]}[name]
		news := f.revoke(t, 1)
		want = append(slices.Clone(want), news...)
		if list := ids(got.wait(t, len(want))); !slices.Equal(list, want) {
			t.Errorf("from %s: got %v, want %v", name, list, want)
		}
		old = append(old, news...)
	}
}

func TestNewDurableIsNotMadeBehindALoss(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, short())
	c, _ := newClient(t, s)
	newFeed(t, s).revoke(t, 2)
	from := take(t, c, client.Beginning, 1)[0].Cursor
	waitKept(t, s, 0)
	err := c.Subscribe(t.Context(), "svc", collect(&log[client.Delivery]{}), client.From(from))
	if lost, ok := errors.AsType[*client.LostError](err); !ok || lost.From != from || lost.To != from+1 {
		t.Fatalf("got %v", err)
	}
	if _, err := kept(t, s).Consumer(t.Context(), "svc"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Fatalf("the durable: %v", err)
	}
}

func TestDeletedDurableMissesNothing(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, reported := newClient(t, s)
	f := newFeed(t, s)
	got := &log[client.Delivery]{}
	subscribe(t, s, c, "svc", collect(got))
	want := f.revoke(t, 3)
	got.wait(t, 3)
	if err := kept(t, s).DeleteConsumer(t.Context(), "svc"); err != nil {
		t.Fatal(err)
	}
	want = append(want, append(want, f.revoke(t, 2)...)...)
	if list := ids(got.wait(t, len(want))); !slices.Equal(list, want) {
		t.Fatalf("got %v, want %v", list, want)
	}
	if list := reported.all(); len(list) == 0 || !errors.Is(list[0], jetstream.ErrConsumerDeleted) {
		t.Fatalf("reported %v", list)
	}
}
