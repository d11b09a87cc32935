package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
)

func feedOn(t *testing.T, s *eventstest.Server) *eventstore.Feed {
	t.Helper()
	f, err := eventstore.NewFeed(s.Connect(t, topology.Issuer), eventstest.Realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func announcement(kind events.Kind, target string) events.Envelope {
	return events.Envelope{ID: newEventID(), At: time.Now(), Event: events.Revoked{Revocation: events.Revocation{
		ID: events.RevocationID(newEventID()), Kind: kind, Issuer: "https://id.example", Target: target, Reason: "test",
		By: events.Initiator{Role: "operator"}, Until: time.Now().Add(time.Hour),
	}}}
}

func newEventID() events.EventID { return events.EventID(uuid.Must(uuid.NewV7()).String()) }

func place(e events.Envelope) string {
	r := e.Event.(events.Revoked).Revocation
	return eventstest.Realm.FeedEntry(r.Kind, r.Issuer, r.Target)
}

// targets reads the feed to its end.
func targets(t *testing.T, f *eventstore.Feed, after uint64, since time.Time, subject string) (names []string, last uint64) {
	t.Helper()
	for r, err := range f.Entries(t.Context(), after, since, subject) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Position.Sequence <= last || r.Time.IsZero() {
			t.Errorf("%d at %v follows %d", r.Position.Sequence, r.Time, last)
		}
		last = r.Position.Sequence
		if e, ok := r.Envelope.Event.(events.Revoked); ok {
			names = append(names, e.Revocation.Target)
		}
	}
	return names, last
}

// The feed is read back whole, from a place or from a time, by subject or not, and
// what nobody can read does not stand in the way.
func TestEntries(t *testing.T) {
	s := eventstest.RunServer(t, eventstest.Lazy())
	f := feedOn(t, s)
	if names, _ := targets(t, f, 0, time.Time{}, "revocast.test.feed.*.*"); len(names) != 0 {
		t.Errorf("an empty feed holds %q", names)
	}
	const many = 1200 // more than one answer holds
	var want []string
	var middle uint64
	var half time.Time
	for i := range many {
		if i == many/2 {
			half = time.Now()
			rubbish(t, s)
		}
		e := announcement(events.KindToken, fmt.Sprint("t", i))
		sequence, err := f.Publish(t.Context(), place(e), e, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if i == many/2 {
			middle = sequence
		}
		want = append(want, fmt.Sprint("t", i))
	}
	one := announcement(events.KindClient, "c")
	if _, err := f.Publish(t.Context(), place(one), one, time.Hour); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		after   uint64
		since   time.Time
		subject string
		want    []string
	}{
		"all":             {want: append(slices.Clone(want), "c")},
		"entries":         {subject: "revocast.test.feed.*.*", want: append(slices.Clone(want), "c")},
		"one kind":        {subject: "revocast.test.feed.token.*", want: want},
		"another":         {subject: "revocast.test.feed.client.*", want: []string{"c"}},
		"no such kind":    {subject: "revocast.test.feed.key.*"},
		"after a place":   {after: middle, subject: "revocast.test.feed.token.*", want: want[many/2+1:]},
		"since a time":    {since: half, subject: "revocast.test.feed.token.*", want: want[many/2:]},
		"since, all":      {since: half, want: append(slices.Clone(want[many/2:]), "c")},
		"since the end":   {since: time.Now().Add(time.Hour), subject: "revocast.test.feed.token.*"},
		"after the end":   {after: 1 << 52, subject: "revocast.test.feed.token.*"},
		"all after it":    {after: 1 << 52},
		"before it began": {since: time.Now().Add(-24 * time.Hour), subject: "revocast.test.feed.client.*", want: []string{"c"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := targets(t, f, c.after, c.since, c.subject)
			if !slices.Equal(got, c.want) {
				t.Errorf("%d entries, want %d", len(got), len(c.want))
			}
		})
	}
	n := 0
	for _, err := range f.Entries(t.Context(), 0, time.Time{}, "") {
		if n++; err != nil || n == 5 {
			break
		}
	}
	if n != 5 {
		t.Errorf("the reader could not stop: %d", n)
	}
}

// rubbish is announced as an operator may.
func rubbish(t *testing.T, s *eventstest.Server) {
	t.Helper()
	m := nats.NewMsg(eventstest.Realm.FeedEntry(events.KindToken, "x", "rubbish"))
	m.Data = []byte("\xff\xff rubbish")
	if _, err := s.Connect(t, topology.Operator).RequestMsg(m, 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

// Without a broker it says so, and does not take what it has for everything.
func TestEntriesOfNoBroker(t *testing.T) {
	s := eventstest.RunServer(t, eventstest.Lazy())
	f := feedOn(t, s)
	e := announcement(events.KindToken, "t")
	if _, err := f.Publish(t.Context(), place(e), e, time.Hour); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	for _, subject := range []string{"", "revocast.test.feed.*.*"} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		last := lastError(f.Entries(ctx, 0, time.Time{}, subject))
		cancel()
		if !errors.Is(last, events.ErrUnavailable) && !errors.Is(last, context.DeadlineExceeded) {
			t.Errorf("subject %q: %v", subject, last)
		}
	}
}

// The last of every subject, however many; what comes meanwhile does not make it go
// on for ever, and the server keeps nothing of it.
func TestLatest(t *testing.T) {
	s := eventstest.RunServer(t, eventstest.Lazy())
	j := open(t, s)
	late := 0
	survey := func(subjects ...string) (found []string) {
		t.Helper()
		for r, err := range j.Latest(t.Context(), subjects...) {
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, r.Envelope.Event.(events.CutsRecorded).Cuts[0].Target)
			late++
			append1(t, j, fmt.Sprint("late", late), 0, "late")
		}
		return found
	}
	before := consumers(t, s)
	if found := survey("revocast.test.journal.cut.token.*"); len(found) != 0 {
		t.Errorf("an empty journal holds %v", found)
	}
	const many = 600
	var want []string
	for i := range many {
		first := append1(t, j, fmt.Sprint("k", i), 0, "older")
		want = append(want, fmt.Sprint("t", i))
		append1(t, j, fmt.Sprint("k", i), first, want[i])
	}
	if found := survey("revocast.test.journal.cut.token.*", "revocast.test.journal.cut.client.*"); !slices.Equal(found, want) {
		t.Errorf("%d found, want %d", len(found), many)
	}
	for _, err := range j.Latest(t.Context(), "revocast.test.journal.cut.token.*") {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	eventstest.Eventually(t, func(context.Context) error {
		if n := consumers(t, s); n != before {
			return fmt.Errorf("%d consumers, were %d", n, before)
		}
		return nil
	})
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if last := lastError(j.Latest(ctx, "revocast.test.journal.cut.token.*")); !errors.Is(last, events.ErrUnavailable) {
		t.Errorf("without a broker: %v", last)
	}
}

// lastError reads to the end.
func lastError(all iter.Seq2[events.Record, error]) (last error) {
	for _, err := range all {
		last = err
	}
	return last
}

func consumers(t *testing.T, s *eventstest.Server) int {
	t.Helper()
	js, err := jetstream.New(s.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	journal, err := js.Stream(t.Context(), eventstest.Realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	return journal.CachedInfo().State.Consumers
}

// append1 puts the record of one revoked token on a subject.
func append1(t *testing.T, j *eventstore.Journal, key string, after uint64, target string) uint64 {
	t.Helper()
	r := announcement(events.KindToken, target).Event.(events.Revoked).Revocation
	p, err := j.Append(t.Context(), events.Append{
		Subject: eventstest.Realm.Cut(events.KindToken, events.SubjectKey(key)), After: after,
		Envelope: events.Envelope{ID: newEventID(), At: time.Now(), Event: events.CutsRecorded{Cuts: []events.Revocation{r}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p.Sequence
}
