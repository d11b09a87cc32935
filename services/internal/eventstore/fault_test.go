package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/eventstest/logsuite"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
)

var stream = logsuite.Realm.JournalStream()

// journalOn uses a connection with these options, as an issuer connects.
func journalOn(t *testing.T, s *eventstest.Server, more ...nats.Option) *eventstore.Journal {
	t.Helper()
	conn := s.Connect(t, topology.Issuer, append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectBufSize(-1),
	}, more...)...)
	j, err := eventstore.NewJournal(conn, stream)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// through sends the connection by way of the proxy.
func through(p *eventstest.Proxy) nats.Option {
	return func(o *nats.Options) error {
		o.Url, o.Servers = p.URL(), nil
		return nil
	}
}

// stored is how many messages the stream holds on a subject.
func stored(t *testing.T, s *eventstest.Server, place string) uint64 {
	t.Helper()
	js, err := jetstream.New(s.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	journal, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := journal.Info(t.Context(), jetstream.WithSubjectFilter(place))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects[place]
}

// last waits for the record that is the last of its subject.
func last(t *testing.T, j *eventstore.Journal, place string, id events.EventID) events.Record {
	t.Helper()
	var found events.Record
	eventstest.Eventually(t, func(ctx context.Context) error {
		records, err := j.Load(ctx, events.Position{}, place)
		if err != nil {
			return err
		}
		if len(records) != 1 || records[0].Envelope.ID != id {
			return fmt.Errorf("%d records at %s, or another", len(records), place)
		}
		found = records[0]
		return nil
	})
	return found
}

type outcome struct {
	position events.Position
	err      error
}

// appending is an append under way, which gives up after a time.
func appending(t *testing.T, j *eventstore.Journal, a events.Append, within time.Duration) <-chan outcome {
	t.Helper()
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		p, err := j.Append(ctx, a)
		done <- outcome{p, err}
	}()
	return done
}

// INV-1: an append whose acknowledgement is lost has happened once, and says where,
// whatever has happened since.
func TestLostAcknowledgements(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	direct := open(t, s)
	for name, meanwhile := range map[string]func(t *testing.T, place string, at events.Position) uint64{
		"nothing more": func(*testing.T, string, events.Position) uint64 { return 1 },
		"another follows": func(t *testing.T, place string, at events.Position) uint64 {
			if _, err := direct.Append(t.Context(), logsuite.Write(place, at.Sequence)); err != nil {
				t.Fatal(err)
			}
			return 2
		},
		"many follow": func(t *testing.T, place string, _ events.Position) uint64 {
			for range 10 {
				if _, err := direct.Append(t.Context(), events.Append{Subject: place, Envelope: logsuite.Event(), Unguarded: true}); err != nil {
					t.Fatal(err)
				}
			}
			return 11
		},
		"the server restarts": func(t *testing.T, _ string, _ events.Position) uint64 {
			s.Stop()
			s.Start(t)
			return 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := eventstest.RunProxy(t, s)
			j := journalOn(t, s, through(proxy))
			place, _ := logsuite.Place()
			a := logsuite.Write(place, 0)
			proxy.HoldAnswers()
			done := appending(t, j, a, time.Minute)
			at := last(t, direct, place, a.Envelope.ID).Position
			want := meanwhile(t, place, at)
			select {
			case got := <-done:
				t.Fatalf("answered without an acknowledgement: %+v", got)
			default:
			}
			proxy.Lose()
			if got := <-done; got.err != nil || got.position != at {
				t.Errorf("got %v, %v; it is at %v", got.position, got.err, at)
			}
			if n := stored(t, s, place); n != want {
				t.Errorf("%d messages, want %d", n, want)
			}
		})
	}
}

// A conflict with somebody else is one, even if the answer that said so was lost.
func TestLostConflict(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	proxy := eventstest.RunProxy(t, s)
	j, direct := journalOn(t, s, through(proxy)), open(t, s)
	place, _ := logsuite.Place()
	first := logsuite.Write(place, 0)
	at, err := direct.Append(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	proxy.HoldAnswers()
	done := appending(t, j, logsuite.Write(place, 0), time.Minute)
	proxy.Lose()
	if got := <-done; !errors.Is(got.err, events.ErrConflict) {
		t.Errorf("got %+v", got)
	}
	if records, err := direct.Load(t.Context(), at, place); err != nil || len(records) != 1 || records[0].Envelope != first.Envelope {
		t.Errorf("left %+v, %v", records, err)
	}
}

// An append that gave up is over: it does not happen later by itself, and happens
// once when it is repeated.
func TestBrokerStoppedDuringAppend(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	j := journalOn(t, s)
	place, _ := logsuite.Place()
	a := logsuite.Write(place, 0)
	s.Stop()
	if got := <-appending(t, j, a, 3*time.Second); !errors.Is(got.err, events.ErrUnavailable) {
		t.Fatalf("append gave %+v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := j.Load(ctx, events.Position{}, place); !errors.Is(err, events.ErrUnavailable) {
		t.Fatalf("load gave %v", err)
	}
	s.Start(t)
	// A later append of the same connection comes after whatever it had queued.
	other, _ := logsuite.Place()
	if _, err := j.Append(t.Context(), logsuite.Write(other, 0)); err != nil {
		t.Fatal(err)
	}
	if n := stored(t, s, place); n != 0 {
		t.Errorf("an append that had given up happened after all")
	}
	p, err := j.Append(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if q, err := j.Append(t.Context(), a); err != nil || q != p {
		t.Errorf("repeated: %v, %v; want %v", q, err, p)
	}
	if n := stored(t, s, place); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// A connection that its owner has closed is unavailable, not a mystery.
func TestClosedConnection(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	conn := s.Connect(t, topology.Issuer)
	j, err1 := eventstore.NewJournal(conn, stream)
	f, err2 := eventstore.NewFeed(conn, logsuite.Realm.FeedStream())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	place, _ := logsuite.Place()
	if _, err := j.Append(t.Context(), logsuite.Write(place, 0)); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("append: %v", err)
	}
	if _, err := j.Load(t.Context(), events.Position{}, place); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("load: %v", err)
	}
	if _, err := f.Publish(t.Context(), logsuite.Realm.FeedEntry(events.KindToken, "i", "t"), logsuite.Event(), time.Minute); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("publish: %v", err)
	}
}

// What is kept for very long is kept: neither our arithmetic nor the server's
// overflows into a message that is gone at once.
func TestLongLives(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	j := open(t, s)
	f, err := eventstore.NewFeed(s.Connect(t, topology.Issuer), logsuite.Realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	const year = 365 * 24 * time.Hour
	// The one that must go proves that the server has looked at the others by then.
	brief, _ := logsuite.Place()
	for _, ttl := range []time.Duration{50 * year, 240 * year, 280 * year, math.MaxInt64} {
		place, _ := logsuite.Place()
		a := logsuite.Write(place, 0)
		a.TTL = ttl
		at, err := j.Append(t.Context(), a)
		if err != nil {
			t.Errorf("%s: %v", ttl, err)
			continue
		}
		short := logsuite.Write(brief, 0)
		short.TTL = time.Second
		if _, err := j.Append(t.Context(), short); err != nil {
			t.Fatal(err)
		}
		eventstest.Eventually(t, func(context.Context) error {
			if n := stored(t, s, brief); n != 0 {
				return errors.New("what should expire in a second has not")
			}
			return nil
		})
		if records, err := j.Load(t.Context(), at, place); err != nil || len(records) != 1 {
			t.Errorf("%s: %d records, %v", ttl, len(records), err)
		}
		e := logsuite.Event()
		if _, err := f.Publish(t.Context(), logsuite.Realm.FeedEntry(events.KindToken, "i", "t"), e, ttl); err != nil {
			t.Errorf("announcing for %s: %v", ttl, err)
		}
	}
}
