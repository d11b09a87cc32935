package jwks

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/strict"
)

// remembered is how long what was announced of a key is known after it has ended:
// longer than any earlier announcement of it holds that somebody might repeat.
const remembered = 7 * 24 * time.Hour

// announced is what the realm's root has signed about one key: the announcement that
// holds for longest, and the retirement that ends it first. The zero Key stands for
// what was not said.
type announced struct {
	Added   events.Key `json:"added"`
	Retired events.Key `json:"retired"`

	key *Key // parsed from Added; nil without
}

// over says when the key ends; false if only the issuer's own set says anything.
func (a announced) over(published bool) (time.Time, bool) {
	switch {
	case !a.Retired.Until.IsZero() && (published || a.key == nil || a.Retired.Until.Before(a.Added.Until)):
		return a.Retired.Until, true
	case !published:
		return a.Added.Until, true
	}
	return time.Time{}, false
}

// Announce takes in signing keys that the realm's root has announced or retired, whose
// signatures the caller has verified; those of other issuers are left out. It may be
// given what it has already, in any order. An error is about keys that cannot be used;
// the others count. It does not wait for the disk: [Set.Run] writes them down, and
// [Set.Saved] says whether it has.
func (s *Set) Announce(added, retired []events.Key, now time.Time) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	var faults []error
	news := false
	for _, k := range added {
		is, err := s.add(k, now)
		news, faults = news || is, append(faults, err)
	}
	for _, k := range retired {
		news = s.retire(k, now) || news
	}
	if news {
		s.merge(now)
		if s.saved.path != "" {
			s.said.Add(1)
			s.signalKeep()
		}
	}
	return errors.Join(faults...)
}

// Saved reports whether a restart would know of all keys that have been announced, as far
// as it can: without a directory it would not, and nobody waits for that. It does not wait.
func (s *Set) Saved() bool { return s.kept.Load() == s.said.Load() }

// add reports whether the announcement says anything new.
func (s *Set) add(k events.Key, now time.Time) (bool, error) {
	a, known := s.announced[k.ID]
	if k.Issuer != s.cfg.Issuer || !now.Before(k.Until) || !k.Until.After(a.Added.Until) {
		return false, nil
	}
	if !known && len(s.announced) >= maxKeys {
		return false, fmt.Errorf("announced key %.64q: there are %d already", k.ID, maxKeys)
	}
	jwk, err := strict.ParseObject(string(k.JWK), strict.Limits{Depth: 8, Members: 100})
	if err != nil {
		return false, fmt.Errorf("announced key %.64q: %w", k.ID, err)
	}
	key, err := parseKey(jwk)
	if err != nil {
		return false, fmt.Errorf("announced key %.64q: %w", k.ID, err)
	}
	if key.ID != k.ID || key.Algorithm != k.Algorithm {
		return false, fmt.Errorf("announced key %.64q: it is not the key that it says", k.ID)
	}
	a.Added, a.key = k, key
	s.announced[k.ID] = a
	return true, nil
}

// retire reports whether the retirement says anything new.
func (s *Set) retire(k events.Key, now time.Time) bool {
	a, known := s.announced[k.ID]
	if k.Issuer != s.cfg.Issuer || k.Until.IsZero() || now.Sub(k.Until) > remembered {
		return false
	}
	if !a.Retired.Until.IsZero() && !k.Until.Before(a.Retired.Until) || !known && len(s.announced) >= maxKeys {
		return false
	}
	a.Retired = k
	s.announced[k.ID] = a
	return true
}

// merge makes the keys that count of what is published and what was announced: keys
// that stay keep their identity, keys that are gone are withdrawn. changing must be
// held.
func (s *Set) merge(now time.Time) {
	maps.DeleteFunc(s.announced, func(_ events.KeyID, a announced) bool {
		return now.Sub(a.Added.Until) > remembered && now.Sub(a.Retired.Until) > remembered
	})
	keys := maps.Clone(s.published)
	if keys == nil {
		keys = map[events.KeyID]*Key{}
	}
	until := map[events.KeyID]int64{}
	for id, a := range s.announced {
		of := keys[id]
		published := of != nil && (a.key == nil || a.key.same(of))
		if !published && a.key != nil {
			// A kid that means another key to the issuer's web server than to the realm's
			// root means what the root says.
			keys[id] = a.key
		}
		switch end, ends := a.over(published); {
		case ends && now.Before(end):
			until[id] = end.Unix()
		case ends:
			delete(keys, id)
		}
	}
	before := *s.keys.Load()
	for id, key := range keys {
		if old := before[id]; old != nil && old.same(key) {
			keys[id] = old
		}
		keys[id].until.Store(until[id])
	}
	s.keys.Store(&keys)
	for id, old := range before {
		if keys[id] != old {
			old.withdrawn.Store(true)
		}
	}
	s.metrics.announced.WithLabelValues(string(s.cfg.Issuer)).Set(float64(len(s.announced)))
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// saveAnnounced keeps what was announced for the next start: the feed will not say it
// again, and a start without issuer needs it.
func (s *Set) saveAnnounced() error {
	if s.Saved() {
		return nil
	}
	s.changing.Lock()
	said, list := s.said.Load(), slices.Collect(maps.Values(s.announced))
	s.changing.Unlock()
	text, err := json.Marshal(list)
	if err == nil {
		err = s.saved.save(string(text)) // with no lock held: the disk may hang
	}
	if err != nil {
		return fmt.Errorf("saving announced keys: %w", err)
	}
	s.kept.Store(said)
	return nil
}

// loadAnnounced reads what an earlier run saved. Each signature is verified again, so
// that whoever could write here could at most make it forget.
func (s *Set) loadAnnounced(now time.Time) {
	text, _, err := s.saved.load()
	if text == "" || err != nil {
		s.complain(err)
		return
	}
	var list []announced
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		s.complain(fmt.Errorf("reading announced keys: %w", err))
		return
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, a := range list {
		if a.Added.ID != "" && s.cfg.Announced(a.Added, false) {
			_, err := s.add(a.Added, now)
			s.complain(err)
		}
		if a.Retired.ID != "" && s.cfg.Announced(a.Retired, true) {
			s.retire(a.Retired, now)
		}
	}
	s.merge(now)
}

func (s *Set) complain(err error) {
	if err != nil {
		s.log.Warn("announced keys are not used", zap.Error(err))
	}
}
