package clienttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/client"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// take follows until it has n events.
func take(t *testing.T, c *client.Client, from client.Cursor, n int) []client.Delivery {
	t.Helper()
	var got []client.Delivery
	for d, err := range c.Follow(t.Context(), from) {
		if err != nil {
			t.Fatalf("after %d events: %v", len(got), err)
		}
		if got = append(got, d); len(got) == n {
			break
		}
	}
	return got
}

// follow does so in a goroutine, until the test ends.
func follow(t *testing.T, c *client.Client, from client.Cursor) (*log[client.Delivery], *log[error]) {
	t.Helper()
	got, failed := &log[client.Delivery]{}, &log[error]{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for d, err := range c.Follow(ctx, from) {
			if err != nil {
				failed.add(err)
				continue
			}
			got.add(d)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return got, failed
}

func TestFollowFromCursorGivesExactlyTheRest(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, _ := newClient(t, s)
	want := newFeed(t, s).revoke(t, 40)
	all := take(t, c, client.Beginning, len(want))
	if !slices.Equal(ids(all), want) {
		t.Fatalf("from the beginning: got %v, want %v", ids(all), want)
	}
	for i, d := range all[:len(all)-1] {
		cursor, err := client.ParseCursor(d.Cursor.String())
		if err != nil {
			t.Fatal(err)
		}
		if got := take(t, c, cursor, len(want)-i-1); !slices.Equal(ids(got), want[i+1:]) {
			t.Fatalf("behind event %d: got %v, want %v", i, ids(got), want[i+1:])
		}
		if d.Deliveries != 1 || d.Stored.IsZero() {
			t.Fatalf("event %d: delivered %d times, stored %v", i, d.Deliveries, d.Stored)
		}
	}
}

func TestFollowLatestSkipsThePastAndTidiesUp(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, _ := newClient(t, s)
	f := newFeed(t, s)
	f.revoke(t, 3)
	waitKept(t, s, 3)
	got, failed := follow(t, c, client.Latest)
	stream := kept(t, s)
	followers := func(want int) func(context.Context) error {
		return func(ctx context.Context) error {
			info, err := stream.Info(ctx)
			if err == nil && info.State.Consumers != want {
				err = fmt.Errorf("%d consumers, want %d", info.State.Consumers, want)
			}
			return err
		}
	}
	eventstest.Eventually(t, followers(1))
	want := f.revoke(t, 3)
	if list := ids(got.wait(t, 3)); !slices.Equal(list, want) {
		t.Fatalf("got %v, want %v", list, want)
	}
	take(t, c, client.Beginning, 1)
	eventstest.Eventually(t, followers(1))
	if list := failed.all(); len(list) > 0 {
		t.Fatal(list)
	}
}

func TestFollowSurvivesRestarts(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, reported := newClient(t, s)
	f := newFeed(t, s)
	got, failed := follow(t, c, client.Beginning)
	want := f.revoke(t, 5)
	got.wait(t, 5)
	for range 2 {
		s.Stop()
		s.Start(t)
		want = append(want, f.revoke(t, 5)...)
		got.wait(t, len(want))
		s.Kill(t)
		s.Start(t)
		want = append(want, f.revoke(t, 5)...)
		got.wait(t, len(want))
	}
	if list := ids(got.all()); !slices.Equal(list, want) {
		t.Fatalf("got %v, want %v", list, want)
	}
	if list := failed.all(); len(list) > 0 {
		t.Fatal(list)
	}
	if len(reported.all()) == 0 {
		t.Fatal("four restarts, and nothing was reported")
	}
}

// Events that are on their way when a connection breaks come again, and nobody
// mistakes them for lost.
func TestFollowLosesNothingWithAConnection(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	conn := s.Connect(t, topology.Subscriber, nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond))
	c, err := client.New(conn, realm)
	if err != nil {
		t.Fatal(err)
	}
	want := newFeed(t, s).revoke(t, 1500)
	var got []client.Delivery
	for d, err := range c.Follow(t.Context(), client.Beginning) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, d); len(got) == len(want) {
			break
		}
		if len(got)%50 == 0 {
			if err := conn.ForceReconnect(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(ids(got), want) {
		t.Fatalf("got %v, want %v", ids(got), want)
	}
}

// One event is sent to somebody else, who asks in the follower's name.
func TestFollowAsksAgainForWhatWentAstray(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, reported := newClient(t, s)
	got, failed := follow(t, c, client.Beginning)
	stream := kept(t, s)
	var thief jetstream.Consumer
	eventstest.Eventually(t, func(ctx context.Context) (err error) {
		for info := range stream.ListConsumers(ctx).Info() {
			if thief, err = stream.Consumer(ctx, info.Name); err != nil || info.NumWaiting == 1 {
				return err
			}
		}
		return errNotYet
	})
	loot, err := thief.Fetch(1)
	if err != nil {
		t.Fatal(err)
	}
	eventstest.Eventually(t, func(ctx context.Context) error {
		info, err := thief.Info(ctx)
		if err == nil && info.NumWaiting != 2 {
			err = errNotYet
		}
		return err
	})
	want := newFeed(t, s).revoke(t, 10)
	if list := ids(got.wait(t, len(want))); !slices.Equal(list, want) {
		t.Fatalf("got %v, want %v", list, want)
	}
	if list := failed.all(); len(list) > 0 || len(reported.all()) == 0 || len(loot.Messages()) != 1 {
		t.Fatalf("failed %v, reported %v, stolen %d", list, reported.all(), len(loot.Messages()))
	}
}

func TestFollowSaysWhatTheBrokerLost(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, _ := newClient(t, s)
	want := newFeed(t, s).revoke(t, 5)
	all := take(t, c, client.Beginning, 5)
	if err := kept(t, s).DeleteMsg(t.Context(), uint64(all[2].Cursor)); err != nil {
		t.Fatal(err)
	}
	var got []client.Delivery
	var lost *client.LostError
	for d, err := range c.Follow(t.Context(), client.Beginning) {
		if err == nil {
			got = append(got, d)
		} else if !errors.As(err, &lost) {
			t.Fatal(err)
		}
	}
	if !slices.Equal(ids(got), want[:2]) || lost == nil || *lost != (client.LostError{From: all[1].Cursor, To: all[2].Cursor}) {
		t.Fatalf("got %v, then %+v", ids(got), lost)
	}
	if list := ids(take(t, c, lost.To, 2)); !slices.Equal(list, want[3:]) {
		t.Fatalf("behind the loss: got %v, want %v", list, want[3:])
	}
}

// short has EVENTS forget after a moment.
func short() eventstest.Option {
	return eventstest.Topology(topology.Options{EventsMaxAge: time.Second})
}

func TestFollowSaysWhatWasLost(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, short())
	c, _ := newClient(t, s)
	f := newFeed(t, s)
	got, _ := follow(t, c, client.Beginning)
	f.revoke(t, 3)
	from := got.wait(t, 3)[0].Cursor

	state := waitKept(t, s, 0)
	var lost *client.LostError
	for d, err := range c.Follow(t.Context(), from) {
		if !errors.As(err, &lost) {
			t.Fatalf("got %v, %v; want LostError", d, err)
		}
	}
	if want := (client.LostError{From: from, To: from + 2}); *lost != want || uint64(lost.To) != state.LastSeq {
		t.Fatalf("got %+v, want %+v", *lost, want)
	}
	// The cursor of the last event is as good as ever, though that event is gone.
	want := f.revoke(t, 1)
	if list := ids(take(t, c, lost.To, 1)); !slices.Equal(list, want) {
		t.Fatalf("behind the loss: got %v, want %v", list, want)
	}
}

func TestFollowSaysWhatWasLostUnderWay(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, short())
	c, _ := newClient(t, s)
	f := newFeed(t, s)
	f.revoke(t, 1)
	var at client.Cursor
	for d, err := range c.Follow(t.Context(), client.Beginning) {
		if at != client.Beginning {
			lost, ok := errors.AsType[*client.LostError](err)
			if !ok || *lost != (client.LostError{From: at, To: at + 4}) {
				t.Fatalf("got %v, %v; want what lies between %v and %v", d, err, at, at+5)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		at = d.Cursor
		// The caller is slow, the broker restarts, and what comes meanwhile is gone
		// before anyone asks.
		s.Stop()
		s.Start(t)
		f.revoke(t, 4)
		waitKept(t, s, 0)
		f.revoke(t, 1)
	}
	t.Fatal("the sequence ended without an error")
}

func TestFollowSaysThatTheStreamIsAnother(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]uint64{"put back": 1, "made anew": uint64(time.Now().Add(time.Hour).UnixMicro())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := eventstest.RunServer(t)
			c, _ := newClient(t, s)
			f := newFeed(t, s)
			f.revoke(t, 3)
			from := take(t, c, client.Beginning, 3)[2].Cursor

			js, err := jetstream.New(s.Superuser(t, topology.Vault))
			if err != nil {
				t.Fatal(err)
			}
			config := kept(t, s).CachedInfo().Config
			if err := js.DeleteStream(t.Context(), config.Name); err != nil {
				t.Fatal(err)
			}
			config.FirstSeq = first
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			var lost *client.LostError
			for d, err := range c.Follow(t.Context(), from) {
				if !errors.As(err, &lost) {
					t.Fatalf("got %v, %v; want LostError", d, err)
				}
			}
			if lost.From != from || (lost.To == client.Beginning) != (first == 1) {
				t.Fatalf("got %+v", *lost)
			}
		})
	}
}

// unknown is an event of a kind that nobody knows yet.
func unknown(t *testing.T) ([]byte, events.EventID) {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, id[:])
	b = protowire.AppendTag(b, 900, protowire.BytesType)
	return protowire.AppendBytes(b, []byte("later")), events.EventID(id.String())
}

func TestPoisonHoldsNothingUp(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, reported := newClient(t, s)
	f := newFeed(t, s)
	handled := &log[client.Delivery]{}
	subscribe(t, s, c, "svc", func(_ context.Context, d client.Delivery) error {
		handled.add(d)
		return nil
	}, client.InOrder())

	subj := realm.FeedEntry(events.KindSession, issuer, "s")
	want := f.revoke(t, 1)
	f.raw(t, subj, []byte("not an event"))
	misplaced, err := codec.Encode(revocation(t, events.KindAll, ""))
	if err != nil {
		t.Fatal(err)
	}
	f.raw(t, subj, misplaced) // who may revoke a session may not revoke all
	later, id := unknown(t)
	f.raw(t, subj, later)
	want = append(want, id)
	want = append(want, f.revoke(t, 1)...)

	check := func(who string, list []client.Delivery, failed []error) {
		if !slices.Equal(ids(list), want) {
			t.Errorf("%s: got %v, want %v", who, ids(list), want)
		}
		if u, ok := list[1].Event.Event.(events.Unknown); !ok || u.Number != 900 || string(u.Raw) != "later" {
			t.Errorf("%s: the unknown event is %#v", who, list[1].Event.Event)
		}
		if len(failed) != 2 || !errors.Is(failed[0], codec.ErrMalformed) || !errors.Is(failed[1], client.ErrMisplaced) {
			t.Fatalf("%s: errors %v", who, failed)
		}
		for i, err := range failed {
			poison, ok := errors.AsType[*client.PoisonError](err)
			if !ok || poison.Subject != subj || poison.Cursor != list[0].Cursor+client.Cursor(i)+1 || poison.Stored.IsZero() {
				t.Errorf("%s: %#v", who, err)
			}
		}
	}
	check("subscriber", handled.wait(t, 3), reported.all())
	settled(t, s, "svc")

	got, failed := follow(t, c, client.Beginning)
	check("follower", got.wait(t, 3), failed.all())
}
