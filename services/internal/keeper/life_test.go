package keeper_test

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/signing"
)

// Two hours of three issuers with a key every half hour: one key each time, whoever
// makes it; announced before anything is signed with it; what is signed verifies
// everywhere for as long as it lives; what is over goes away.
func TestSchedule(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		fast := func(s *setup) { s.cfg.Now = func() time.Time { return time.Now().Add(events.MaxSkew / 2) } }
		slow := func(s *setup) { s.cfg.Now = func() time.Time { return time.Now().Add(-events.MaxSkew / 2) } }
		replicas := []*replica{w.replica(t), w.replica(t, fast), w.replica(t, slow)}
		began := time.Now()
		type signed struct {
			token string
			until time.Time
		}
		var alive []signed
		first := map[events.KeyID]time.Time{}
		for time.Since(began) < 130*time.Minute {
			for _, r := range replicas {
				token, id := r.sign(t)
				if first[id].IsZero() {
					first[id] = time.Now()
				}
				alive = append(alive, signed{token, time.Now().Add(ttl - 2*events.MaxSkew)})
			}
			for len(alive) > 0 && !time.Now().Before(alive[0].until) {
				alive = alive[1:]
			}
			for _, s := range []signed{alive[0], alive[len(alive)-1]} {
				for i, r := range replicas {
					if _, _, err := r.Verify(s.token, r.clock()); err != nil {
						t.Fatalf("after %s replica %d refuses a token that lives: %v", time.Since(began), i, err)
					}
				}
			}
			time.Sleep(59 * time.Second)
		}
		if len(first) != 4 {
			t.Errorf("%d keys have signed in two hours, want 4: %v", len(first), first)
		}
		root, _ := replicas[0].keys.Root().Public().(ed25519.PublicKey)
		seen := map[events.KeyID]bool{}
		for _, p := range w.feed.keys() {
			switch e := p.event.(type) {
			case events.KeyAdded:
				if !codec.VerifyKey(root, realm, e.Key) || e.Key.Issuer != issuer || e.Key.Until.Sub(p.at) < 3*24*time.Hour {
					t.Errorf("announced: %+v", e.Key)
				}
				signs := first[e.Key.ID]
				if !seen[e.Key.ID] && !signs.IsZero() && !p.at.Before(signs) && signs.After(began.Add(time.Minute)) {
					t.Errorf("%s was announced at %s and signed at %s", e.Key.ID, p.at, signs)
				}
				if wait := signs.Sub(p.at); !seen[e.Key.ID] && signs.After(began.Add(time.Minute)) && wait < 9*time.Minute {
					t.Errorf("%s signs %s after its announcement", e.Key.ID, wait)
				}
				seen[e.Key.ID] = true
			case events.KeyRetired:
				if !codec.VerifyRetirement(root, realm, e.Key) || e.Key.Until.IsZero() {
					t.Errorf("withdrawn: %+v", e.Key)
				}
			}
		}
		ring := w.ring(t)
		if n := len(ring.Candidates("ES256")); n != 1 {
			t.Errorf("%d keys may sign", n)
		}
		for _, k := range ring.Keys {
			if k.Retired && (k.Secret.ID != "" || ring.Now.Sub(k.Until) > 2*time.Hour) {
				t.Errorf("%s was over at %s, secret %q, and is still in the journal", k.ID, k.Until, k.Secret.ID)
			}
		}
		current := map[events.KeyID]bool{}
		for _, r := range replicas {
			current[r.RefreshKey().ID()] = true
			for _, m := range ring.MACs {
				if key, err := r.RefreshKeyByID(m.ID); err != nil || key.ID() != m.ID {
					t.Errorf("MAC key %s: %v", m.ID, err)
				}
			}
		}
		if len(current) != 1 || len(ring.MACs) != 4 {
			t.Errorf("%d MAC keys are current, of %d", len(current), len(ring.MACs))
		}
		// What the journal holds does not grow with time: it holds what is listed.
		if n := w.log.Len(); n > 40 {
			t.Errorf("%d records are left", n)
		}
	})
}

// Keys that are gone make room: whoever is robbed again and again has a new key each
// time, and the journal does not fill up.
func TestStolenAgainAndAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := w.replica(t)
		seen := map[events.KeyID]bool{}
		for range 4 * keyring.MaxKeys {
			_, stolen := r.sign(t)
			if seen[stolen] {
				t.Fatalf("%s signs again", stolen)
			}
			seen[stolen] = true
			w.announce(t, stolen)
			w.record(t, r, stolen)
			time.Sleep(30 * time.Second)
		}
		if n := len(w.ring(t).Keys); n > 3*keyring.MaxKeys {
			t.Errorf("the journal holds %d keys", n)
		}
	})
}

// A revocation on the feed stops every issuer at once, and one of them makes the one
// successor.
func TestStolenKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		replicas := []*replica{w.replica(t), w.replica(t), w.replica(t)}
		token, stolen := replicas[0].sign(t)
		synctest.Wait()
		w.announce(t, stolen) // before anything is recorded
		time.Sleep(time.Second)
		successors := map[events.KeyID]bool{}
		for i, r := range replicas {
			if _, _, err := r.Verify(token, time.Now()); !errors.Is(err, signing.ErrUntrusted) {
				t.Errorf("replica %d takes a token of the stolen key: %v", i, err)
			}
			_, id := r.sign(t)
			successors[id] = true
			for _, other := range replicas {
				fresh, _ := r.sign(t)
				if _, _, err := other.Verify(fresh, time.Now()); err != nil {
					t.Errorf("a fresh token is refused: %v", err)
				}
			}
		}
		if len(successors) != 1 || successors[stolen] {
			t.Errorf("signing now: %v; stolen: %s", successors, stolen)
		}
		if k, _ := w.ring(t).Key(stolen); !k.Retired {
			t.Error("the stolen key was not retired")
		}
		// Nobody recorded it, so it could come back; but it is retired.
		time.Sleep(15 * time.Minute)
		if _, id := replicas[0].sign(t); !successors[id] {
			t.Errorf("later %s signs", id)
		}
	})
}

// An issuer that hears nothing of the feed notices by the journal, within a poll.
func TestStolenKeyByTheJournalAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := w.replica(t)
		_, stolen := r.sign(t)
		w.record(t, r, stolen)
		time.Sleep(11 * time.Second)
		if _, id := r.sign(t); id == stolen {
			t.Error("it signs with the stolen key")
		}
	})
}

// A key that waits already takes over before its time.
func TestStolenKeyWhileAnotherWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := w.replica(t)
		_, stolen := r.sign(t)
		next, err := r.Rotate(t.Context(), rotation(time.Hour))
		if err != nil || next.Phase != keyring.Announced || next.Current {
			t.Fatalf("%+v, %v", next, err)
		}
		w.announce(t, stolen)
		time.Sleep(time.Second)
		if _, id := r.sign(t); id != next.ID {
			t.Errorf("%s signs, want %s", id, next.ID)
		}
		if n := len(w.ring(t).Keys); n != 3 { // ES256 twice, RS256
			t.Errorf("%d keys, want no third of one algorithm", n)
		}
	})
}

// Without the feed a new key signs nothing; the old one goes on.
func TestUnannouncedKeySignsNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := w.replica(t)
		_, old := r.sign(t)
		w.feed.set(true)
		next, err := r.Rotate(t.Context(), rotation(0))
		if err != nil || next.ID == old {
			t.Fatalf("%+v, %v", next, err)
		}
		time.Sleep(time.Minute)
		if _, id := r.sign(t); id != old {
			t.Errorf("%s signs, and no sidecar knows it", id)
		}
		w.feed.set(false)
		time.Sleep(11 * time.Second)
		if _, id := r.sign(t); id != next.ID {
			t.Errorf("%s signs, want %s", id, next.ID)
		}
	})
}

// By a reading that is too old nothing is signed, and everything is accepted that was.
func TestJournalAway(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		journal := &faulty{Log: w.log}
		r := w.replica(t, func(s *setup) { s.journal = journal })
		token, _ := r.sign(t)
		journal.set(".")
		time.Sleep(25 * time.Second)
		if _, err := r.try(); err != nil && !errors.Is(err, events.ErrUnavailable) {
			t.Error(err)
		}
		time.Sleep(15 * time.Second)
		if _, err := r.try(); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("after 40 s: %v", err)
		}
		if _, _, err := r.Verify(token, time.Now()); err != nil {
			t.Errorf("what was signed before: %v", err)
		}
		stranger := forge(t)
		if _, _, err := r.Verify(stranger, time.Now()); !errors.Is(err, events.ErrUnavailable) || errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("of an unknown key: %v", err)
		}
		if _, err := r.RefreshKeyByID("AAAAAAAAAAA"); !errors.Is(err, signing.ErrUnknownKey) || !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("an unknown MAC key: %v", err)
		}
		journal.set("")
		time.Sleep(11 * time.Second)
		r.sign(t)
		if _, _, err := r.Verify(stranger, time.Now()); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("of an unknown key, once it was looked for: %v", err)
		}
	})
}

// forge is a token of another realm, whose key could be one of ours by its looks.
func forge(t *testing.T) string {
	t.Helper()
	keys, err := signing.Open(signing.Config{Dir: strangerDir, Issuer: issuer, Audiences: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	s := defaults(nil, nil)
	s.keys.Dir = strangerDir
	r := newReplica(t, s)
	r.keys = keys
	token, err := r.try()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// An issuer that dies between a key's name and its secret leaves nothing that lasts;
// one that lives completes it.
func TestHalfAKey(t *testing.T) {
	for name, dies := range map[string]bool{"dies": true, "lives": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				journal := &faulty{Log: w.log}
				a := w.replica(t, func(s *setup) { s.journal = journal })
				_, old := a.sign(t)
				journal.set("secret")
				half, err := a.Rotate(t.Context(), rotation(0))
				if err != nil || half.Phase != keyring.Incomplete {
					t.Fatalf("%+v, %v", half, err)
				}
				if dies {
					a.stop()
				}
				journal.set("")
				b := w.replica(t)
				time.Sleep(time.Minute)
				_, id := b.sign(t)
				k, _ := w.ring(t).Key(half.ID)
				if dies && (id != old || !k.Retired) {
					t.Errorf("%s signs, and the half key is %v", id, k.Phase(time.Now()))
				}
				if !dies && id != half.ID {
					t.Errorf("%s signs, want %s", id, half.ID)
				}
			})
		})
	}
}

// A directory's key that was replaced long ago does not come back with an issuer that
// starts, nor does its MAC key.
func TestFirstGenerationStaysGone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.replica(t)
		_, first := a.sign(t)
		firstMAC := a.RefreshKey().ID()
		time.Sleep(2 * time.Hour)
		if _, ok := w.ring(t).Key(first); ok {
			t.Fatal("the first key is still known")
		}
		b := w.replica(t)
		if _, id := b.sign(t); id == first {
			t.Error("the first key signs again")
		}
		if id := b.RefreshKey().ID(); id == firstMAC {
			t.Error("the first MAC key is current again")
		}
		// Refresh tokens of it are good for as long as somebody may have one.
		if _, err := b.RefreshKeyByID(firstMAC); err != nil {
			t.Error(err)
		}
	})
}

// An issuer with another realm's directory does not start, and changes nothing.
func TestWrongDirectory(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.replica(t)
		_, id := a.sign(t)
		before := len(w.feed.keys())
		s := defaults(w.log, w.feed)
		s.keys.Dir = strangerDir
		b := newReplica(t, s)
		if err := b.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "directory") {
			t.Errorf("it starts: %v", err)
		}
		if _, err := b.try(); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("it signs: %v", err)
		}
		time.Sleep(time.Minute)
		if ring := w.ring(t); len(ring.Keys) != 2 || len(ring.MACs) != 1 {
			t.Errorf("%d keys, %d MAC keys", len(ring.Keys), len(ring.MACs))
		}
		if n := len(w.feed.keys()); n != before {
			t.Errorf("it announced %d keys", n-before)
		}
		if _, now := a.sign(t); now != id {
			t.Errorf("%s signs, want %s", now, id)
		}
	})
}
