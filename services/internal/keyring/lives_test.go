package keyring_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/keyring"
)

// world is a journal, issuers that follow it, and the tokens they have signed.
type world struct {
	now     time.Time
	journal map[string]stored
	last    uint64
	ids     int
	issuers []*replica
	tokens  []token
	retired map[events.KeyID]bool
	denied  map[events.KeyID]bool
}

type stored struct {
	events.Record
	expires time.Time
}

type token struct {
	key     events.KeyID
	expires time.Time // leeway included
}

// replica is one issuer: its clock, what it last read, and the keys it has made.
type replica struct {
	skew time.Duration
	ring keyring.Ring
	read time.Time
	held map[events.KeyID]bool
}

var errConflict = errors.New("something came first")

// append writes one event after the last sequence on any subject of its kind.
func (w *world) append(kind, place string, after uint64, e events.Event, keep time.Duration) error {
	var last uint64
	for _, s := range w.journal {
		if _, p, _ := subject.Parse(s.Subject); fmt.Sprintf("%T", p) == kind {
			last = max(last, s.Position.Sequence)
		}
	}
	if last != after {
		return errConflict
	}
	w.last++
	s := stored{Record: events.Record{Subject: place, Position: events.Position{Sequence: w.last}, Time: w.now, Envelope: events.Envelope{Event: seconds(e)}}}
	if keep > 0 {
		s.expires = w.now.Add(keep)
	}
	w.journal[place] = s
	return nil
}

// seconds is what the codec does to times.
func seconds(e events.Event) events.Event {
	up := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return t.Add(time.Second - 1).Truncate(time.Second)
	}
	switch v := e.(type) {
	case events.KeyAdded:
		v.Key.NotBefore, v.Key.Until = up(v.Key.NotBefore), up(v.Key.Until)
		return v
	case events.KeyRetired:
		v.Key.NotBefore, v.Key.Until = up(v.Key.NotBefore), up(v.Key.Until)
		return v
	case events.SecretSealed:
		v.Secret.Since, v.Secret.Retired = v.Secret.Since.Truncate(time.Second), up(v.Secret.Retired)
		return v
	}
	return e
}

func (w *world) fold() keyring.Ring {
	w.last++
	records := []events.Record{{
		Subject: realm.Barrier(), Position: events.Position{Sequence: w.last}, Time: w.now, Envelope: events.Envelope{Event: events.BarrierPassed{}},
	}}
	for place, s := range w.journal {
		if !s.expires.IsZero() && !w.now.Before(s.expires) {
			delete(w.journal, place)
			continue
		}
		records = append(records, s.Record)
	}
	records = append(records, events.Record{
		Subject:  realm.Cut(events.KindKey, "00000000000000000000000000000000"),
		Envelope: events.Envelope{Event: revoked(slices.Collect(maps.Keys(w.denied))...)},
	})
	return keyring.Fold(issuer, records)
}

func (w *world) look(r *replica) {
	r.ring, r.read = w.fold(), w.now
}

// act carries out one step of a reading; half leaves a key without its secret, as a
// crash between two writes does.
func (w *world) act(t *rapid.T, r *replica, s keyring.Step, half bool) error {
	const keys, secrets = "subject.Key", "subject.Secret"
	switch s := s.(type) {
	case keyring.Make:
		w.ids++
		k := events.Key{ID: events.KeyID(fmt.Sprint("k", w.ids)), Issuer: issuer, Algorithm: s.Algorithm, NotBefore: s.NotBefore}
		r.held[k.ID] = true
		if err := w.append(keys, realm.Key(k.ID), r.ring.KeysAt, added(k), 0); err != nil {
			return err
		}
		w.checkMade(t, r, k.ID, s.Algorithm)
		if half {
			return nil
		}
		return w.append(secrets, realm.Secret(k.ID), r.ring.SecretsAt, sealed(events.Secret{ID: k.ID, Use: "sign"}), 0)
	case keyring.Seal:
		return w.append(secrets, realm.Secret(s.Key.ID), r.ring.SecretsAt, sealed(events.Secret{ID: s.Key.ID, Use: "sign"}), 0)
	case keyring.Retire:
		err := w.append(keys, realm.Key(s.Key.ID), r.ring.KeysAt, retired(s.Key), s.Key.Until.Sub(w.now)+time.Minute)
		w.retired[s.Key.ID] = w.retired[s.Key.ID] || err == nil
		return err
	case keyring.Forget:
		return w.append(secrets, realm.Secret(s.Secret.ID), r.ring.SecretsAt, sealed(s.Secret), time.Minute)
	case keyring.MakeMAC:
		w.ids++
		id := events.KeyID(fmt.Sprint("m", w.ids))
		return w.append(secrets, realm.Secret(id), r.ring.SecretsAt, sealed(events.Secret{ID: id, Use: "mac", Since: s.Since}), 0)
	case keyring.RetireMAC:
		return w.append(secrets, realm.Secret(s.Secret.ID), r.ring.SecretsAt, sealed(s.Secret), time.Hour)
	}
	return nil
}

// checkMade holds a key that has just been made against all that the journal held:
// unless it replaces what its maker saw revoked, the schedule must have wanted it.
func (w *world) checkMade(t *rapid.T, r *replica, made events.KeyID, algorithm string) {
	for _, k := range w.fold().Keys {
		seen, _ := r.ring.Key(k.ID)
		if k.ID != made && k.Algorithm == algorithm && !k.Retired && !seen.Revoked && w.now.Sub(k.NotBefore) < policy().Interval {
			t.Fatalf("%s was made while %s had signed for %s", made, k.ID, w.now.Sub(k.NotBefore))
		}
	}
}

func (w *world) policy(r *replica) keyring.Policy {
	p := policy()
	p.Holds = func(id events.KeyID) bool { return r.held[id] }
	return p
}

// settle lets one issuer do all there is to do.
func (w *world) settle(t *rapid.T, r *replica) {
	for range 50 {
		w.look(r)
		s := keyring.Next(r.ring, w.policy(r))
		if s == nil {
			return
		}
		if err := w.act(t, r, s, false); err != nil && !errors.Is(err, errConflict) {
			t.Fatal(err)
		}
	}
	t.Fatalf("there is always something to do: %s", describe(keyring.Next(r.ring, w.policy(r))))
}

// sign signs by what the issuer last read, if that is not too old.
func (w *world) sign(r *replica) {
	if r.read.IsZero() || w.now.Sub(r.read) > keyring.MaxAge {
		return
	}
	list := r.ring.Candidates(es)
	if i := keyring.Pick(list, w.now.Add(r.skew)); i >= 0 {
		w.tokens = append(w.tokens, token{list[i].ID, w.now.Add(r.skew + ttl + events.MaxLeeway)})
	}
}

// check holds what must always be true.
func (w *world) check(t *rapid.T) {
	ring := w.fold()
	for _, tok := range w.tokens {
		k, _ := ring.Key(tok.key)
		p := k.Phase(w.now)
		if w.now.Before(tok.expires) && !w.denied[tok.key] && p != keyring.Signing && p != keyring.Retired && p != keyring.Announced {
			t.Fatalf("a token of %s is good until %s, but the key is %v at %s", tok.key, tok.expires, p, w.now)
		}
	}
	for id, is := range w.retired {
		if k, ok := ring.Key(id); is && ok && !k.Retired {
			t.Fatalf("%s has come back", id)
		}
	}
	for _, a := range []string{es, rs} {
		if n := standing(ring, a); n > keyring.MaxKeys+len(w.issuers) {
			t.Fatalf("%d keys of %s", n, a)
		}
	}
	if len(ring.MACs) > 0 && len(ring.MACCandidates()) == 0 {
		t.Fatal("no MAC key is left")
	}
}

// standing counts the keys of an algorithm that are not gone.
func standing(r keyring.Ring, algorithm string) (n int) {
	for _, k := range r.Keys {
		if k.Algorithm == algorithm && k.Phase(r.Now) != keyring.Gone {
			n++
		}
	}
	return n
}

// Several issuers, of which any may act at any time by an old reading or die half
// way, under revocations and rotations: what is signed stays good for its life, what
// is retired stays retired, nothing is made twice, and there is always a signer.
func TestLives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: began, journal: map[string]stored{}, retired: map[events.KeyID]bool{}, denied: map[events.KeyID]bool{}}
		for range rapid.IntRange(1, 3).Draw(t, "issuers") {
			skew := time.Duration(rapid.IntRange(-2000, 2000).Draw(t, "skew in ms")) * time.Millisecond
			w.issuers = append(w.issuers, &replica{skew: skew, held: map[events.KeyID]bool{}})
		}
		some := func(t *rapid.T) *replica { return rapid.SampledFrom(w.issuers).Draw(t, "issuer") }
		t.Repeat(map[string]func(*rapid.T){
			"":     w.check,
			"look": func(t *rapid.T) { w.look(some(t)) },
			"act": func(t *rapid.T) {
				r := some(t)
				if s := keyring.Next(r.ring, w.policy(r)); s != nil && w.now.Sub(r.read) < 10*time.Second {
					_ = w.act(t, r, s, rapid.IntRange(0, 4).Draw(t, "dies half way") == 0)
				}
			},
			"round": func(t *rapid.T) { w.settle(t, some(t)) },
			"sign":  func(t *rapid.T) { w.sign(some(t)) },
			"restart": func(t *rapid.T) {
				r := some(t)
				r.held, r.ring, r.read = map[events.KeyID]bool{}, keyring.Ring{}, time.Time{}
			},
			"revoke": func(t *rapid.T) {
				if ring := w.fold(); len(ring.Keys) > 0 {
					w.denied[rapid.SampledFrom(ring.Keys).Draw(t, "key").ID] = true
				}
			},
			"lift": func(*rapid.T) { clear(w.denied) },
			"rotate": func(t *rapid.T) {
				r := some(t)
				w.look(r)
				if len(r.ring.Candidates(es)) > 0 && len(r.ring.Keys) < keyring.MaxKeys {
					w.ids++
					k := events.Key{ID: events.KeyID(fmt.Sprint("k", w.ids)), Issuer: issuer, Algorithm: es, NotBefore: w.now.Add(keyring.Propagation)}
					r.held[k.ID] = true
					if w.append("subject.Key", realm.Key(k.ID), r.ring.KeysAt, added(k), 0) == nil {
						_ = w.append("subject.Secret", realm.Secret(k.ID), r.ring.SecretsAt, sealed(events.Secret{ID: k.ID, Use: "sign"}), 0)
					}
				}
			},
			"wait": func(t *rapid.T) {
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{
					time.Millisecond, 700 * time.Millisecond, 4 * time.Second, 20 * time.Second, time.Minute, 5*time.Minute + 50*time.Second, 13 * time.Hour,
				}).Draw(t, "how long"))
			},
		})
		// In the end everything is in order.
		for range 3 {
			w.now = w.now.Add(20 * time.Second)
			for _, r := range w.issuers {
				w.settle(t, r)
			}
			w.check(t)
		}
		ring := w.fold()
		list := ring.Candidates(es)
		if i := keyring.Pick(list, w.now); i != len(list)-1 {
			t.Fatalf("%d of %d keys may sign", len(list)-i, len(list))
		}
		if n := standing(ring, es); len(list) == 0 && n < keyring.MaxKeys {
			t.Fatalf("no key may sign, and only %d stand", n)
		}
		if len(ring.Stray) > 0 {
			t.Fatalf("stray secrets: %v", ring.Stray)
		}
		for _, k := range ring.Keys {
			if k.Retired && k.Secret.ID != "" && k.Secret.Retired.IsZero() {
				t.Fatalf("%s is retired and its secret kept", k.ID)
			}
		}
	})
}
