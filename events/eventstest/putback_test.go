package eventstest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// missing lists which of n announcements from number first on a copy does not have.
func missing(t *testing.T, s *eventstest.Server, a topology.Account, stream string, first, n int) error {
	t.Helper()
	str, err := admin(t, s, a).Stream(t.Context(), stream)
	if err != nil {
		return err
	}
	last := str.CachedInfo().State.LastSeq
	have := map[string]bool{}
	for seq := str.CachedInfo().State.FirstSeq; seq <= last; seq++ {
		if m, err := str.GetMsg(t.Context(), seq); err == nil {
			have[string(m.Data)] = true
		}
	}
	for i := first; i < first+n; i++ {
		if !have[fmt.Sprint("n", i)] {
			return fmt.Errorf("%s has not got announcement %d", stream, i)
		}
	}
	return nil
}

// announceNumbered gives the place of the last one.
func announceNumbered(t *testing.T, s *eventstest.Server, first, n int) (last uint64) {
	t.Helper()
	js := issuerJS(t, s)
	for i := first; i < first+n; i++ {
		name := fmt.Sprint("n", i)
		ack, err := js.Publish(t.Context(), realm.FeedEntry(events.KindToken, "i", name), []byte(name))
		if err != nil {
			t.Fatal(err)
		}
		last = ack.Sequence
	}
	return last
}

func inBoth(t *testing.T, s *eventstest.Server, first, n int) {
	t.Helper()
	eventstest.Eventually(t, func(context.Context) error {
		if err := missing(t, s, topology.Issuer.Account(), realm.AuditStream(), first, n); err != nil {
			return err
		}
		return missing(t, s, topology.Vault, realm.EventsStream(), first, n)
	})
}

// A feed alone that was put back to an older copy of itself gives out again sequences
// that AUDIT and EVENTS have had. The next issuers to start, however many, see to it
// that what is announced from then on reaches both all the same; and the second time too.
func TestFeedPutBack(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	announceNumbered(t, s, 0, 5)
	inBoth(t, s, 0, 5)
	s.Stop()
	saved := s.Save(t)
	s.Start(t)
	next := 5
	for round := range 2 {
		announceNumbered(t, s, next, 200)
		inBoth(t, s, next, 200)
		next += 200
		s.Stop()
		s.PutBackStream(t, saved, realm.FeedStream())
		s.Start(t)
		var start sync.WaitGroup
		for range 3 {
			p := provisioner(t, s, s.Topology())
			start.Go(func() {
				if err := p.Ensure(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		start.Wait()
		s.WaitReady(t)
		announceNumbered(t, s, next, 10)
		inBoth(t, s, next, 10)
		next += 10
		// Both follow it through one consumer each. The second time the copy brings back
		// those of before, which deliver to nobody.
		before := configs(t, s)
		for _, consumer := range look(t, s).consumers {
			if stream, name, _ := strings.Cut(consumer, " "); stream == realm.FeedStream() && round == 0 && !strings.Contains(before, name) {
				t.Errorf("consumer %s belongs to no stream", consumer)
			}
		}
		// Nothing more changes.
		s.Provision(t)
		if after := configs(t, s); after != before {
			t.Errorf("before %s\nafter %s", before, after)
		}
	}
}

// The reason for that: the server takes what an origin gives out again for what the
// stream has, and says nothing.
func TestSequencesGivenOutAgainAreSkipped(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	announceNumbered(t, s, 0, 5)
	inBoth(t, s, 0, 5)
	s.Stop()
	saved := s.Save(t)
	s.Start(t)
	announceNumbered(t, s, 5, 200)
	inBoth(t, s, 5, 200)
	s.Stop()
	s.PutBackStream(t, saved, realm.FeedStream())
	s.Start(t)
	js := admin(t, s, topology.Issuer.Account())
	last := announceNumbered(t, s, 300, 10)
	eventstest.Eventually(t, func(ctx context.Context) error {
		feed, err := js.Stream(ctx, realm.FeedStream())
		if err != nil {
			return err
		}
		consumers := feed.ListConsumers(ctx)
		for c := range consumers.Info() {
			if c.Delivered.Stream < last {
				return fmt.Errorf("%s has delivered %d of %d", c.Name, c.Delivered.Stream, last)
			}
		}
		return consumers.Err()
	})
	settle(t, s)
	audit, err := js.Stream(t.Context(), realm.AuditStream())
	if err != nil {
		t.Fatal(err)
	}
	var source *jetstream.StreamSourceInfo
	for _, src := range audit.CachedInfo().Sources {
		if src.Name == realm.FeedStream() {
			source = src
		}
	}
	if source == nil || source.Lag > 0 || source.Error != nil {
		t.Errorf("the server says that something is wrong: %+v", source)
	}
	if missing(t, s, topology.Issuer.Account(), realm.AuditStream(), 300, 10) == nil {
		t.Error("the server no longer skips; provisioning need not look for it")
	}
}
