// Package logsuite is the contract of the journal, as tests. Whatever passes
// [Run] may stand under the issuer; memlog is the reference, the JetStream log
// the real thing.
package logsuite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

// Log is what the suite proves.
type Log interface {
	Append(ctx context.Context, a events.Append) (events.Position, error)
	Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error)
}

// Realm is the realm whose journal the suite writes to.
const Realm = subject.Realm("test")

// Run proves a log. open gives handles on one and the same log, as several
// issuers have; each test works on subjects of its own.
func Run(t *testing.T, open func(t *testing.T) Log) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(*testing.T) Log){
		"positions grow and records come back":     recordsComeBack,
		"an expectation that fails writes nothing": expectationsHold,
		"a repeated append happens once":           repeatsHappenOnce,
		"one of many wins":                         oneOfManyWins,
		"a wildcard guard orders its users":        guardsOrder,
		"a load gives the last of each subject":    lastOfEach,
		"a load with nothing to give is empty":     emptyLoad,
		"an empty answer proves nothing":           emptyProvesNothing,
		"what expires is gone and its place free":  expiry,
		"a roll-up replaces the history":           rollup,
		"an invalid event is refused":              invalid,
		"a cancelled context is unavailability":    cancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// Place is a fresh journal subject of one session, and Key its subject key.
func Place() (string, events.SubjectKey) {
	key := events.SubjectKey(fmt.Sprintf("%x", [16]byte(uuid.New())))
	return Realm.Session(key, events.SessionID(newID())), key
}

// Write is an append of a barrier event: any event will do for a log.
func Write(place string, after uint64) events.Append {
	return events.Append{Subject: place, Envelope: Event(), After: after}
}

// Event is a fresh valid envelope.
func Event() events.Envelope {
	return events.Envelope{ID: events.EventID(newID()), At: time.Now().UTC().Truncate(time.Millisecond), Event: events.BarrierPassed{}}
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func must(t *testing.T, l Log, a events.Append) events.Position {
	t.Helper()
	p, err := l.Append(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func load(t *testing.T, l Log, atLeast events.Position, subjects ...string) []events.Record {
	t.Helper()
	records, err := l.Load(t.Context(), atLeast, subjects...)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func recordsComeBack(t *testing.T, open func(*testing.T) Log) {
	l := open(t)
	place, _ := Place()
	first := Write(place, 0)
	p := must(t, l, first)
	q := must(t, l, Write(place, p.Sequence))
	if q.Sequence <= p.Sequence || q.Shard != p.Shard {
		t.Fatalf("%v follows %v", q, p)
	}
	other, _ := Place()
	a := Write(other, 0)
	at := must(t, l, a)
	records := load(t, l, at, other)
	if len(records) != 1 {
		t.Fatalf("%d records, want 1", len(records))
	}
	r := records[0]
	if r.Subject != other || r.Position != at || r.Envelope != a.Envelope {
		t.Errorf("got %+v, want %+v at %v", r, a.Envelope, at)
	}
	if age := time.Since(r.Time); age < -time.Minute || age > time.Minute {
		t.Errorf("record's time is %s ago", age)
	}
}

func expectationsHold(t *testing.T, open func(*testing.T) Log) {
	l := open(t)
	place, _ := Place()
	p := must(t, l, Write(place, 0))
	for _, after := range []uint64{0, p.Sequence - 1, p.Sequence + 1} {
		if _, err := l.Append(t.Context(), Write(place, after)); !errors.Is(err, events.ErrConflict) {
			t.Errorf("after %d: got %v, want ErrConflict", after, err)
		}
	}
	if records := load(t, l, p, place); len(records) != 1 || records[0].Position != p {
		t.Errorf("a refused append left %+v", records)
	}
	must(t, l, events.Append{Subject: place, Envelope: Event(), Unguarded: true})
}

func repeatsHappenOnce(t *testing.T, open func(*testing.T) Log) {
	l, again := open(t), open(t)
	place, _ := Place()
	a := Write(place, 0)
	p := must(t, l, a)
	for range 3 {
		if q := must(t, again, a); q != p {
			t.Fatalf("repeated append went to %v, first to %v", q, p)
		}
	}
	next := must(t, l, Write(place, p.Sequence))
	if records := load(t, l, next, place); len(records) != 1 || records[0].Position != next {
		t.Errorf("got %+v", records)
	}
}

func oneOfManyWins(t *testing.T, open func(*testing.T) Log) {
	const writers, rounds = 8, 20
	place, _ := Place()
	logs := make([]Log, writers)
	for i := range logs {
		logs[i] = open(t)
	}
	var after uint64
	for range rounds {
		var won atomic.Uint64
		var wins atomic.Int32
		var group sync.WaitGroup
		for _, l := range logs {
			group.Go(func() {
				p, err := l.Append(t.Context(), Write(place, after))
				switch {
				case err == nil:
					won.Store(p.Sequence)
					wins.Add(1)
				case !errors.Is(err, events.ErrConflict):
					t.Errorf("losing: %v", err)
				}
			})
		}
		group.Wait()
		if wins.Load() != 1 {
			t.Fatalf("%d writers won, want 1", wins.Load())
		}
		after = won.Load()
	}
}

func guardsOrder(t *testing.T, open func(*testing.T) Log) {
	const writers = 8
	_, key := Place()
	guard := Realm.Sessions(key)
	logs := make([]Log, writers)
	for i := range logs {
		logs[i] = open(t)
	}
	var after uint64
	for range 10 {
		var won atomic.Uint64
		var wins atomic.Int32
		var group sync.WaitGroup
		for _, l := range logs {
			group.Go(func() {
				a := Write(Realm.Session(key, events.SessionID(newID())), after)
				a.Guard = guard
				p, err := l.Append(t.Context(), a)
				switch {
				case err == nil:
					won.Store(p.Sequence)
					wins.Add(1)
				case !errors.Is(err, events.ErrConflict):
					t.Errorf("losing: %v", err)
				}
			})
		}
		group.Wait()
		if wins.Load() != 1 {
			t.Fatalf("%d writers passed one guard, want 1", wins.Load())
		}
		after = won.Load()
	}
}

func lastOfEach(t *testing.T, open func(*testing.T) Log) {
	l := open(t)
	_, key := Place()
	var last events.Position
	want := map[string]events.Position{}
	for range 5 {
		place := Realm.Session(key, events.SessionID(newID()))
		p := must(t, l, Write(place, 0))
		last = must(t, l, Write(place, p.Sequence))
		want[place] = last
	}
	alone, _ := Place()
	last = must(t, l, Write(alone, 0))
	want[alone] = last

	records := load(t, l, last, Realm.Sessions(key), alone)
	if len(records) != len(want) {
		t.Fatalf("%d records, want %d", len(records), len(want))
	}
	var previous uint64
	for _, r := range records {
		if r.Position != want[r.Subject] {
			t.Errorf("%s is at %v, want %v", r.Subject, r.Position, want[r.Subject])
		}
		if r.Position.Sequence <= previous {
			t.Error("records are out of order")
		}
		previous = r.Position.Sequence
	}
}

func emptyLoad(t *testing.T, open func(*testing.T) Log) {
	place, _ := Place()
	if records := load(t, open(t), events.Position{}, place); len(records) != 0 {
		t.Errorf("got %+v", records)
	}
}

// A replica that has nothing to give cannot say how far it has come.
func emptyProvesNothing(t *testing.T, open func(*testing.T) Log) {
	l := open(t)
	place, _ := Place()
	p := must(t, l, Write(place, 0))
	nowhere, _ := Place()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if records, err := l.Load(ctx, p, nowhere); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("got %+v, %v, want ErrUnavailable", records, err)
	}
}

func expiry(t *testing.T, open func(*testing.T) Log) {
	l := open(t)
	place, _ := Place()
	a := Write(place, 0)
	a.TTL = time.Second
	must(t, l, a)
	deadline := time.Now().Add(20 * time.Second)
	for len(load(t, l, events.Position{}, place)) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("a message with a TTL of one second is still there")
		}
		wait(t)
	}
	must(t, l, Write(place, 0))
}

// wait yields for a moment between two looks at something that takes its time.
func wait(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func rollup(t *testing.T, open func(*testing.T) Log) {
	l := open(t)
	place, _ := Place()
	p := must(t, l, Write(place, 0))
	p = must(t, l, Write(place, p.Sequence))
	stale := Write(place, p.Sequence-1)
	stale.Rollup = true
	if _, err := l.Append(t.Context(), stale); !errors.Is(err, events.ErrConflict) {
		t.Errorf("a stale roll-up gave %v, want ErrConflict", err)
	}
	fresh := Write(place, p.Sequence)
	fresh.Rollup = true
	q := must(t, l, fresh)
	if records := load(t, l, q, place); len(records) != 1 || records[0].Position != q {
		t.Errorf("got %+v", records)
	}
	must(t, l, Write(place, q.Sequence))
}

func invalid(t *testing.T, open func(*testing.T) Log) {
	l := open(t)
	place, _ := Place()
	a := Write(place, 0)
	a.Envelope.Event = events.Heartbeat{}
	if _, err := l.Append(t.Context(), a); err == nil {
		t.Error("an invalid event was written")
	}
	if records := load(t, l, events.Position{}, place); len(records) != 0 {
		t.Errorf("an invalid event left %+v", records)
	}
}

func cancelled(t *testing.T, open func(*testing.T) Log) {
	l := open(t)
	place, _ := Place()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ctx, Write(place, 0)); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("append gave %v, want ErrUnavailable", err)
	}
	if _, err := l.Load(ctx, events.Position{}, place); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("load gave %v, want ErrUnavailable", err)
	}
}
