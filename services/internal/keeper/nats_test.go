package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/signing"
)

// onServer is an issuer with a connection of its own. Its clock can be set ahead.
func onServer(t *testing.T, s *eventstest.Server, change ...func(*setup)) (*replica, *eventstore.Journal) {
	t.Helper()
	conn := s.Connect(t, topology.Issuer, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	journal, err1 := eventstore.NewJournal(conn, realm.JournalStream())
	feed, err2 := eventstore.NewFeed(conn, realm.FeedStream())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	own := defaults(journal, feed)
	for _, f := range change {
		f(&own)
	}
	own.keys.Now = own.cfg.Now
	r := newReplica(t, own)
	for _, place := range realm.LiveOfKeys() {
		if _, err := conn.Subscribe(place, func(m *nats.Msg) { r.Heard(m.Data) }); err != nil {
			t.Fatal(err)
		}
	}
	return r, journal
}

func running(t *testing.T, s *eventstest.Server, change ...func(*setup)) *replica {
	t.Helper()
	r, _ := onServer(t, s, change...)
	r.run(t)
	return r
}

// deaf hears nothing of the feed: what others do it learns from the journal.
func deaf(t *testing.T, s *eventstest.Server) *replica {
	t.Helper()
	conn := s.Connect(t, topology.Issuer)
	journal, err1 := eventstore.NewJournal(conn, realm.JournalStream())
	feed, err2 := eventstore.NewFeed(conn, realm.FeedStream())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	r := newReplica(t, defaults(journal, feed))
	r.run(t)
	return r
}

// onEveryBroker runs a test of three issuers that share one server, and of three that have
// a node of a cluster each.
func onEveryBroker(t *testing.T, test func(*testing.T, []*eventstest.Server)) {
	t.Helper()
	t.Run("one server", func(t *testing.T) {
		s := eventstest.RunServer(t)
		test(t, []*eventstest.Server{s, s, s})
	})
	t.Run("a cluster", func(t *testing.T) { test(t, eventstest.RunCluster(t, 3).Nodes) })
}

// Issuers that start at once on an empty journal with a key due have one key each of
// the first generation, one of the next, and agree.
func TestOneKeyHoweverManyWantIt(t *testing.T) {
	t.Parallel()
	onEveryBroker(t, oneKey)
}

func oneKey(t *testing.T, nodes []*eventstest.Server) {
	t.Helper()
	var replicas []*replica
	for _, s := range nodes {
		// Due at once, and then not before the announced one has begun.
		r, _ := onServer(t, s, func(s *setup) { s.cfg.Interval, s.cfg.Overlap = 1, time.Hour })
		replicas = append(replicas, r)
	}
	var start sync.WaitGroup
	for _, r := range replicas {
		start.Go(func() {
			if err := r.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	start.Wait()
	for _, r := range replicas {
		r.run(t)
	}
	list, err := replicas[0].List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, i := range list {
		count[fmt.Sprint(i.Use, " ", i.Algorithm, " ", i.Phase)]++
	}
	want := map[string]int{
		"sign ES256 signing": 1, "sign ES256 announced": 1, "sign RS256 signing": 1, "mac HS256 signing": 1, "mac HS256 announced": 1,
	}
	if fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("keys: %v, want %v", count, want)
	}
	feed, err := eventstore.NewFeed(nodes[0].Connect(t, topology.Issuer), realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	announced := map[events.KeyID]int{}
	for record, err := range feed.Entries(t.Context(), 0, time.Time{}, realm.FeedKeys()) {
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := record.Envelope.Event.(events.KeyAdded); ok {
			announced[e.Key.ID]++
		}
	}
	for _, i := range list {
		if want := map[string]int{keyring.UseSign: 1}[i.Use]; announced[i.ID] != want {
			t.Errorf("key %s to %s was announced %d times", i.ID, i.Use, announced[i.ID])
		}
	}
	// What is retired is alone on its subject, also where several servers agree on it.
	for _, i := range list {
		if i.Phase == keyring.Announced && i.Use == keyring.UseSign {
			if back, err := replicas[1].Retire(t.Context(), i.ID); err != nil || back.Phase != keyring.Retired {
				t.Errorf("calling a key back: %+v, %v", back, err)
			}
		}
	}
	first := replicas[0].keys.First()[0].Public().Key().ID
	for _, r := range replicas {
		token, id := r.sign(t)
		if id != first {
			t.Errorf("%s signs, want the directory's %s", id, first)
		}
		for _, other := range replicas {
			if _, _, err := other.Verify(token, time.Now()); err != nil {
				t.Errorf("one refuses what the other signed: %v", err)
			}
		}
	}
}

// A token of a key that another issuer has just made is good here at once, whether
// or not this one has heard of the key; and what nobody has made is not.
func TestNewKeyVerifiesEverywhere(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	// By the clock of the one that rotates, every new key's time has come.
	ahead := running(t, s, func(s *setup) {
		s.cfg.Now = func() time.Time { return time.Now().Add(keyring.Propagation + 2*time.Second) }
	})
	hears, hearsNot := running(t, s), deaf(t, s)
	made, err := ahead.Rotate(t.Context(), rotation(0))
	if err != nil {
		t.Fatal(err)
	}
	eventstest.Eventually(t, func(context.Context) error {
		for _, k := range hears.keys.Public() {
			if k.ID == made.ID {
				return nil
			}
		}
		return errors.New("the feed's news have not arrived")
	})
	token, id := ahead.sign(t)
	if id != made.ID {
		t.Fatalf("%s signs, want %s", id, made.ID)
	}
	for _, r := range []*replica{hears, hearsNot} {
		if _, got, err := r.Verify(token, ahead.clock()); err != nil || got != made.ID {
			t.Errorf("a fresh token: %s, %v", got, err)
		}
	}
	for range 3 {
		if _, _, err := hearsNot.Verify(forge(t), time.Now()); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("a stranger's token: %v", err)
		}
	}

	mac, err := ahead.Rotate(t.Context(), rotationOfMAC())
	if err != nil {
		t.Fatal(err)
	}
	if got := ahead.RefreshKey().ID(); got != mac.ID {
		t.Errorf("%s is current, want %s", got, mac.ID)
	}
	if key, err := hearsNot.RefreshKeyByID(mac.ID); err != nil || key.ID() != mac.ID {
		t.Errorf("a fresh MAC key: %v, %v", key, err)
	}
	if _, err := hearsNot.RefreshKeyByID("AAAAAAAAAAA"); !errors.Is(err, signing.ErrUnknownKey) {
		t.Errorf("a MAC key that nobody made: %v", err)
	}
	s.Stop()
	if _, err := hearsNot.RefreshKeyByID("BAAAAAAAAAA"); !errors.Is(err, signing.ErrUnknownKey) || !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("without the broker: %v", err)
	}
	if _, _, err := hears.Verify(forge(t), time.Now()); !errors.Is(err, events.ErrUnavailable) || errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("without the broker: %v", err)
	}
}

// deny announces a key's revocation, past every issuer.
func deny(t *testing.T, s *eventstest.Server, id events.KeyID) {
	t.Helper()
	feed, err := eventstore.NewFeed(s.Connect(t, topology.Operator), realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	n := revocation(id)
	n.Until = time.Now().Add(time.Hour)
	if _, err := feed.Publish(t.Context(), realm.FeedEntry(n.Kind, n.Issuer, n.Target), envelope(events.Revoked{Revocation: n}), time.Hour); err != nil {
		t.Fatal(err)
	}
}

// A revocation that was announced while no issuer lived, and that nobody records, makes
// those that start next sign with another key, the same one, from their first token on.
func TestSuccessorOfAKeyThatNobodyRecorded(t *testing.T) {
	t.Parallel()
	onEveryBroker(t, unrecorded)
}

func unrecorded(t *testing.T, nodes []*eventstest.Server) {
	t.Helper()
	before := running(t, nodes[0])
	token, stolen := before.sign(t)
	before.stop()
	deny(t, nodes[0], stolen)
	var replicas []*replica
	for _, s := range nodes {
		r, _ := onServer(t, s)
		replicas = append(replicas, r)
	}
	var start sync.WaitGroup
	for _, r := range replicas {
		start.Go(func() {
			if err := r.Start(t.Context()); err != nil {
				t.Error(err)
			}
			// Whoever was not first may have to wait for the other's second write.
			if fresh, err := r.try(); err == nil {
				if _, id, err := r.keys.Verify(fresh, time.Now()); err != nil || id == stolen {
					t.Errorf("its first token is of %s: %v", id, err)
				}
			} else if !errors.Is(err, events.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	start.Wait()
	successors := map[events.KeyID]bool{}
	for _, r := range replicas {
		r.run(t)
		eventstest.Eventually(t, func(context.Context) error { _, err := r.try(); return err })
		_, id := r.sign(t)
		successors[id] = true
		if _, _, err := r.Verify(token, time.Now()); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("a token of the stolen key: %v", err)
		}
	}
	if len(successors) != 1 || successors[stolen] {
		t.Errorf("successors of %s: %v", stolen, successors)
	}
}

// A revocation that anybody announces makes every issuer change keys, at once and to
// the same one; the old key's record then goes from the journal, and does not return
// as what it was.
func TestSuccessorOfAStolenKey(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	replicas := []*replica{running(t, s), running(t, s), running(t, s)}
	token, stolen := replicas[1].sign(t)
	deny(t, s, stolen)
	successors := map[events.KeyID]bool{}
	for _, r := range replicas {
		var id events.KeyID
		eventstest.Eventually(t, func(context.Context) error {
			fresh, err := r.try()
			if err != nil {
				return err
			}
			if _, id, err = r.Verify(fresh, time.Now()); err == nil && id == stolen {
				err = errors.New("the stolen key signs")
			}
			return err
		})
		successors[id] = true
		if _, _, err := r.Verify(token, time.Now()); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("a token of the stolen key: %v", err)
		}
	}
	if len(successors) != 1 {
		t.Errorf("successors: %v", successors)
	}
	_, journal := onServer(t, s)
	eventstest.Eventually(t, func(ctx context.Context) error {
		records, err := journal.Load(ctx, events.Position{}, realm.Key(stolen), realm.Secret(stolen))
		if err != nil {
			return err
		}
		for _, r := range records {
			switch e := r.Envelope.Event.(type) {
			case events.KeyAdded:
				return errors.New("not retired")
			case events.SecretSealed:
				if e.Secret.Retired.IsZero() {
					return errors.New("its secret is kept")
				}
			}
		}
		return nil
	})
}
