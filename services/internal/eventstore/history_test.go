package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/eventstest/logsuite"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
)

func history(t *testing.T, s *eventstest.Server, stream string) *eventstore.History {
	t.Helper()
	h, err := eventstore.NewHistory(s.Connect(t, topology.Issuer), stream)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func all(t *testing.T, h *eventstore.History, r eventstore.Range) []eventstore.Past {
	t.Helper()
	var list []eventstore.Past
	for p, err := range h.Read(t.Context(), r) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func TestHistory(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Lazy())
	conn := s.Connect(t, topology.Issuer)
	notes, err := eventstore.NewNotes(conn, logsuite.Realm.AuditStream())
	if err != nil {
		t.Fatal(err)
	}
	const written = 1203 // more than two batches
	var ids []events.EventID
	for i := range written {
		e := logsuite.Event()
		e.Event = events.Noted{Note: events.Note{Action: "n", By: events.Initiator{Role: "user"}, Issuer: "i", Detail: fmt.Sprint(i)}}
		subject := logsuite.Realm.Note("i", events.Subject(fmt.Sprint(i%3)))
		if err := notes.Note(t.Context(), subject, e); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	h := history(t, s, logsuite.Realm.AuditStream())
	everything := eventstore.Range{Subjects: []string{logsuite.Realm.Notes()}}
	list := all(t, h, everything)
	if len(list) != written {
		t.Fatalf("read %d of %d", len(list), written)
	}
	for i, p := range list {
		if p.Envelope.ID != ids[i] || !p.Origin.IsZero() || p.Rollup || i > 0 && p.Position.Sequence <= list[i-1].Position.Sequence {
			t.Fatalf("message %d: %+v", i, p)
		}
	}

	after, since := everything, everything
	after.After, since.Since = list[700].Position.Sequence, list[700].Time
	if rest := all(t, h, after); len(rest) != written-701 || rest[0].Envelope.ID != ids[701] {
		t.Errorf("after the 701st come %d", len(rest))
	}
	if rest := all(t, h, since); len(rest) < written-700 || rest[len(rest)-1].Envelope.ID != ids[written-1] || rest[0].Time.Before(since.Since) {
		t.Errorf("since the 701st come %d", len(rest))
	}
	one := eventstore.Range{Subjects: []string{logsuite.Realm.Note("i", "1")}}
	if part := all(t, h, one); len(part) == 0 || len(part) == written || slices.ContainsFunc(part, func(p eventstore.Past) bool { return p.Subject != one.Subjects[0] }) {
		t.Errorf("of one subject come %d", len(part))
	}
	after.After = list[written-1].Position.Sequence
	if rest := all(t, h, after); len(rest) != 0 {
		t.Errorf("after the last come %d", len(rest))
	}
	if none := all(t, h, eventstore.Range{Subjects: []string{logsuite.Realm.Note("i", "1") + "9"}}); len(none) != 0 {
		t.Errorf("of no subject come %d", len(none))
	}

	// A reader that stops early, and one that has come to its end, leave nothing behind.
	for p, err := range h.Read(t.Context(), everything) {
		if err != nil || p.Envelope.ID != ids[0] {
			t.Errorf("first comes %+v, %v", p, err)
		}
		break
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	audit, err := js.Stream(t.Context(), logsuite.Realm.AuditStream())
	if err != nil {
		t.Fatal(err)
	}
	if n := audit.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers were left", n)
	}
}

// Reading ends with what was there, however much comes meanwhile.
func TestHistoryEnds(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Lazy())
	j, h := open(t, s), history(t, s, stream)
	place, _ := logsuite.Place()
	write := func() {
		if _, err := j.Append(t.Context(), events.Append{Subject: place, Envelope: logsuite.Event(), Unguarded: true}); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		write()
	}
	n := 0
	for _, err := range h.Read(t.Context(), eventstore.Range{Subjects: []string{logsuite.Realm.Journal()}}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		write()
	}
	if n != 3 {
		t.Errorf("read %d", n)
	}
}

// What cannot be read is said to be so, and what follows is read.
func TestHistoryOfTheMalformed(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	conn := s.Connect(t, topology.Issuer)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	place := logsuite.Realm.Note("i", "s")
	good := logsuite.Event()
	good.Event = events.Noted{Note: events.Note{Action: "n", By: events.Initiator{Role: "user"}, Issuer: "i"}}
	data, err := codec.Encode(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range [][]byte{[]byte("not an event"), nil, data} {
		if _, err := js.Publish(t.Context(), place, body); err != nil {
			t.Fatal(err)
		}
	}
	var bad int
	var read []eventstore.Past
	for p, err := range history(t, s, logsuite.Realm.AuditStream()).Read(t.Context(), eventstore.Range{Subjects: []string{place}}) {
		switch {
		case err == nil:
			read = append(read, p)
		case errors.Is(err, codec.ErrMalformed) && !p.Position.IsZero() && !p.Time.IsZero():
			bad++
		default:
			t.Errorf("got %+v, %v", p, err)
		}
	}
	if bad != 2 || len(read) != 1 || read[0].Envelope.ID != good.ID {
		t.Errorf("%d bad, %+v", bad, read)
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Topology(topology.Options{AuditMaxAge: time.Second}))
	h := history(t, s, logsuite.Realm.AuditStream())
	made, err := h.Reach(t.Context())
	if err != nil || time.Since(made) > time.Hour || time.Since(made) < 0 {
		t.Fatalf("reaches back to %v, %v", made, err)
	}
	notes, err := eventstore.NewNotes(s.Connect(t, topology.Issuer), logsuite.Realm.AuditStream())
	if err != nil {
		t.Fatal(err)
	}
	write := func() {
		e := logsuite.Event()
		e.Event = events.Noted{Note: events.Note{Action: "n", By: events.Initiator{Role: "user"}, Issuer: "i"}}
		if err := notes.Note(t.Context(), logsuite.Realm.Note("i", "s"), e); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if again, err := h.Reach(t.Context()); err != nil || !again.Equal(made) {
		t.Errorf("reaches back to %v, %v; want %v", again, err, made)
	}
	// First everything goes, then something comes again.
	eventstest.Eventually(t, func(ctx context.Context) error {
		reach, err := h.Reach(ctx)
		if err == nil && !reach.After(made) {
			err = errors.New("nothing has gone")
		}
		return err
	})
	write()
	list := all(t, h, eventstore.Range{Subjects: []string{logsuite.Realm.Notes()}})
	if reach, err := h.Reach(t.Context()); err != nil || len(list) == 1 && !reach.Equal(list[0].Time) && !reach.After(list[0].Time) {
		t.Errorf("reaches back to %v, %v; holds %+v", reach, err, list)
	}
}
