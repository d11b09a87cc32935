package keeper_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/services/internal/signing"
)

// What only somebody with the root's key may say is not believed of anybody else, and
// what is said of strangers is of no interest.
func TestForgedNews(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := w.replica(t)
		_, old := r.sign(t)
		w.feed.set(true)
		next, err := r.Rotate(t.Context(), rotation(0))
		if err != nil {
			t.Fatal(err)
		}
		k, _ := w.ring(t).Key(next.ID)
		k.Until = time.Now().Add(100 * time.Hour)
		_, stranger, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		other := k.Key
		other.Issuer = "https://other.example"
		current, _ := w.ring(t).Key(old)
		for _, e := range []events.Event{
			events.KeyAdded{Key: k.Key},
			events.KeyAdded{Key: codec.SignKey(stranger, realm, k.Key)},
			events.KeyAdded{Key: codec.SignKey(r.keys.Root(), "other", k.Key)},
			events.KeyAdded{Key: codec.SignRetirement(r.keys.Root(), realm, k.Key)},
			events.KeyAdded{Key: codec.SignKey(r.keys.Root(), realm, other)},
			events.KeyRetired{Key: current.Key},
			events.KeyRetired{Key: codec.SignRetirement(stranger, realm, current.Key)},
			events.Revoked{Revocation: func() events.Revocation {
				n := revocation(old)
				n.Issuer = "https://other.example"
				return n
			}()},
			events.Revoked{Revocation: func() events.Revocation {
				n := revocation(old)
				n.Kind = events.KindToken
				return n
			}()},
			events.Heartbeat{Epoch: "e"},
		} {
			payload, err := codec.Encode(envelope(e))
			if err != nil {
				t.Fatal(err)
			}
			r.Heard(payload)
		}
		r.Heard([]byte("no event"))
		time.Sleep(time.Minute)
		if _, id := r.sign(t); id != old {
			t.Errorf("%s signs, which was never announced", id)
		}
		// A revocation needs no signature; a lift does.
		w.feed.set(false)
		w.announce(t, old)
		time.Sleep(time.Second)
		if _, id := r.sign(t); id != next.ID {
			t.Errorf("%s signs", id)
		}
	})
}

// Where tokens live for long, a retired key is announced for as long, and no longer.
func TestRetiredKeyIsAnnouncedWhileItsTokensLive(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		long := func(s *setup) {
			s.cfg.Interval, s.cfg.AccessTTL = 0, func() time.Duration { return 10 * 24 * time.Hour }
		}
		r := w.replica(t, long)
		_, old := r.sign(t)
		if _, err := r.Rotate(t.Context(), rotation(0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		end := phaseOf(t, r, old).Until
		r.stop()
		announcedUntil := func() (until time.Time) {
			for _, p := range w.feed.keys() {
				if e, ok := p.event.(events.KeyAdded); ok && e.Key.ID == old {
					until = e.Key.Until
				}
			}
			return until
		}
		for time.Now().Before(end.Add(-24 * time.Hour)) {
			if until := announcedUntil(); time.Until(until) < 24*time.Hour || until.After(end) {
				t.Fatalf("it is over at %s and announced until %s at %s", end, until, time.Now())
			}
			time.Sleep(24 * time.Hour)
			w.replica(t, long).stop()
		}
		if until := announcedUntil(); !until.Equal(end) {
			t.Errorf("it is over at %s and announced until %s", end, until)
		}
	})
}

// Whoever may publish revocations cannot make issuers work, or remember, by keys that
// are none; nor by one that is more than once in a while.
func TestFloodOfRevocations(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		journal := &faulty{Log: w.log}
		r := w.replica(t, func(s *setup) { s.journal = journal })
		_, id := r.sign(t)
		flood := func(target func(i int) events.KeyID) int {
			synctest.Wait()
			journal.mu.Lock()
			before := journal.appends
			journal.mu.Unlock()
			for i := range 2000 {
				w.announce(t, target(i))
			}
			time.Sleep(time.Second)
			journal.mu.Lock()
			defer journal.mu.Unlock()
			return journal.appends - before
		}
		if n := flood(func(i int) events.KeyID { return events.KeyID(fmt.Sprint("stranger-", i)) }); n != 0 {
			t.Errorf("%d appends for keys that nobody knows", n)
		}
		if n := flood(func(int) events.KeyID { return id }); n == 0 || n > 20 {
			t.Errorf("%d appends for one key that was revoked again and again", n)
		}
	})
}

// A lifted revocation lets its key go on, unless that was retired meanwhile.
func TestLiftedKeyRevocation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := w.replica(t)
		_, old := r.sign(t)
		next, err := r.Rotate(t.Context(), rotation(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		n := revocation(old)
		hear := func(e events.Event) {
			payload, err := codec.Encode(envelope(e))
			if err != nil {
				t.Fatal(err)
			}
			r.Heard(payload)
			time.Sleep(time.Second)
		}
		hear(events.Revoked{Revocation: n})
		if _, id := r.sign(t); id != next.ID {
			t.Fatalf("%s signs", id)
		}
		lift := liftOf(n)
		hear(events.Lifted{Lift: lift})
		if _, id := r.sign(t); id != next.ID {
			t.Error("an unsigned lift lets the key sign again")
		}
		hear(events.Lifted{Lift: codec.SignLift(r.keys.Root(), realm, lift)})
		if _, id := r.sign(t); id != old {
			t.Errorf("%s signs, though %s was lifted and is due", id, old)
		}
	})
}

// What was announced of a key while no issuer lived counts for the next one from its
// first token on, whoever was to record it; unless it was lifted.
func TestAnnouncedWhileNobodyListened(t *testing.T) {
	for name, c := range map[string]struct {
		say    func(r *replica, first, second events.Revocation) []events.Event
		stolen bool
	}{
		"nothing": {func(*replica, events.Revocation, events.Revocation) []events.Event { return nil }, false},
		"revoked": {func(_ *replica, first, _ events.Revocation) []events.Event {
			return []events.Event{events.Revoked{Revocation: first}}
		}, true},
		"revoked at another issuer": {func(_ *replica, first, _ events.Revocation) []events.Event {
			first.Issuer = "https://other.example"
			return []events.Event{events.Revoked{Revocation: first}}
		}, false},
		"lifted": {func(r *replica, first, _ events.Revocation) []events.Event {
			return []events.Event{events.Revoked{Revocation: first}, events.Lifted{Lift: codec.SignLift(r.keys.Root(), realm, liftOf(first))}}
		}, false},
		"a lift that nobody signed": {func(_ *replica, first, _ events.Revocation) []events.Event {
			return []events.Event{events.Revoked{Revocation: first}, events.Lifted{Lift: liftOf(first)}}
		}, true},
		"lifted and revoked again": {func(r *replica, first, second events.Revocation) []events.Event {
			return []events.Event{
				events.Revoked{Revocation: first},
				events.Lifted{Lift: codec.SignLift(r.keys.Root(), realm, liftOf(first))},
				events.Revoked{Revocation: second},
			}
		}, true},
		"one of two lifted": {func(r *replica, first, second events.Revocation) []events.Event {
			return []events.Event{
				events.Revoked{Revocation: first},
				events.Revoked{Revocation: second},
				events.Lifted{Lift: codec.SignLift(r.keys.Root(), realm, liftOf(first))},
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				before := newReplica(t, defaults(w.log, w.feed))
				before.run(t)
				token, old := before.sign(t)
				before.stop()
				for _, e := range c.say(before, revocation(old), revocation(old)) {
					w.publish(t, e)
				}
				replicas := []*replica{w.replica(t), w.replica(t)}
				signs := map[events.KeyID]bool{}
				for _, r := range replicas {
					_, id := r.sign(t)
					signs[id] = true
					if _, _, err := r.Verify(token, time.Now()); errors.Is(err, signing.ErrUntrusted) != c.stolen {
						t.Errorf("the old key's token: %v", err)
					}
				}
				if len(signs) != 1 || signs[old] == c.stolen {
					t.Errorf("%s was there, now %v", old, signs)
				}
				// Nobody records it: what was retired stays so.
				time.Sleep(15 * time.Minute)
				if _, id := replicas[0].sign(t); !signs[id] {
					t.Errorf("later %s signs", id)
				}
			})
		})
	}
}

// A feed that cannot be read at the start is read when it can.
func TestRecalledLater(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		before := newReplica(t, defaults(w.log, w.feed))
		before.run(t)
		_, old := before.sign(t)
		before.stop()
		w.publish(t, events.Revoked{Revocation: revocation(old)})
		w.feed.set(true)
		time.AfterFunc(time.Minute, func() { w.feed.set(false) })
		r := w.replica(t)
		if _, id := r.sign(t); id == old {
			t.Error("the stolen key signs")
		}
	})
}

func liftOf(n events.Revocation) events.Lift {
	return events.Lift{RevocationID: n.ID, Kind: n.Kind, Issuer: n.Issuer, Target: n.Target, Until: n.Until, Signature: make([]byte, 64)}
}

// publish says something of a key on the feed.
func (w *world) publish(t *testing.T, e events.Event) {
	t.Helper()
	var place string
	switch e := e.(type) {
	case events.Revoked:
		place = realm.FeedEntry(e.Revocation.Kind, e.Revocation.Issuer, e.Revocation.Target)
	case events.Lifted:
		place = realm.FeedLift(e.Lift.Issuer, e.Lift.Target)
	default:
		t.Fatalf("%T is not said of keys here", e)
	}
	if _, err := w.feed.Publish(t.Context(), place, envelope(e), time.Hour); err != nil {
		t.Fatal(err)
	}
}

// Every key is announced again each day, by one of the issuers, so that an
// announcement that somebody repeats is soon worth nothing.
func TestAnnouncedEveryDay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		never := func(s *setup) { s.cfg.Interval = 0 }
		w.replica(t, never)
		w.replica(t, never)
		// Issuers that come later, or again, say nothing that was said.
		for range 10 {
			time.Sleep(time.Hour)
			w.replica(t, never).stop()
		}
		time.Sleep(15 * time.Hour)
		days := map[events.KeyID]map[time.Time]int{}
		for _, p := range w.feed.keys() {
			e, ok := p.event.(events.KeyAdded)
			if !ok {
				t.Fatalf("%T", p.event)
			}
			if days[e.Key.ID] == nil {
				days[e.Key.ID] = map[time.Time]int{}
			}
			days[e.Key.ID][e.Key.Until]++
			if p.expires.Before(e.Key.Until) || p.expires.After(e.Key.Until.Add(time.Minute)) {
				t.Errorf("it stays until %s and holds until %s", p.expires, e.Key.Until)
			}
		}
		for id, d := range days {
			if len(d) != 2 {
				t.Errorf("%s was announced on %d days", id, len(d))
			}
			for until, n := range d {
				if n != 1 {
					t.Errorf("%s was announced %d times until %s", id, n, until)
				}
			}
		}
		if len(days) != 2 {
			t.Errorf("%d keys announced", len(days))
		}
	})
}
