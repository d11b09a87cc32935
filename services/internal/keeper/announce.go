package keeper

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/services/internal/keyring"
)

const (
	day = 24 * time.Hour
	// announcedFor is how long an announcement holds from the beginning of the day on
	// which it is made. It is made anew every day, so it holds three days at least:
	// longer than a week-end without issuers.
	announcedFor = 4 * day
)

// announceAll tells the feed of every key that may sign, and of every one that no
// longer does, and reports whether there was anything to tell. What cannot be told now
// is tried again by the next round, and does not sign here until then.
func (k *Keeper) announceAll(ctx context.Context, ring keyring.Ring, now time.Time) (told bool, err error) {
	tell := func(signed events.Key, e events.Event, keep time.Duration) {
		fault := k.tell(ctx, signed, e, now, keep)
		told, err = told || fault == nil, errors.Join(err, fault)
	}
	for _, key := range ring.Keys {
		phase := key.Phase(ring.Now)
		if phase == keyring.Retired && !k.isWithdrawn(key.ID) {
			// On the feed for longer than any announcement from before.
			signed := codec.SignRetirement(k.keys.Root(), k.cfg.Realm, key.Key)
			tell(signed, events.KeyRetired{Key: signed}, announcedFor)
		}
		if until := k.announceUntil(key, phase, now); until.After(k.announcedUntil(key.ID)) {
			key.Until = until
			signed := codec.SignKey(k.keys.Root(), k.cfg.Realm, key.Key)
			tell(signed, events.KeyAdded{Key: signed}, until.Sub(now))
		}
	}
	return told, err
}

// announceUntil is how long today's announcement of a key holds; zero for none. It
// counts from the beginning of the day, so that every issuer says the same under the
// same id, and the feed has it once where several say it at once.
func (k *Keeper) announceUntil(key keyring.Key, phase keyring.Phase, now time.Time) time.Time {
	until := now.Truncate(day).Add(announcedFor)
	switch {
	case (phase == keyring.Announced || phase == keyring.Signing) && k.pairs[key.ID] != nil:
		return until
	case phase == keyring.Retired && k.public[key.ID] != nil && key.Until.Before(until):
		return key.Until
	case phase == keyring.Retired && k.public[key.ID] != nil:
		return until // its tokens live for longer than that
	}
	return time.Time{}
}

// tell publishes one event of a key, and learns from it as from what others publish.
func (k *Keeper) tell(ctx context.Context, key events.Key, e events.Event, now time.Time, keep time.Duration) error {
	place := k.cfg.Realm.FeedKeys()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %T %s %d", place, e, key.ID, key.Until.Unix()))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8: made by the application (RFC 9562 section 5.8)
	id[8] = id[8]&0x3f | 0x80
	if _, err := k.feed.Publish(ctx, place, events.Envelope{ID: events.EventID(id.String()), At: now, Event: e}, keep); err != nil {
		return fmt.Errorf("announcing signing key %s: %w", key.ID, err)
	}
	k.learned(e)
	return nil
}

// Heard takes in one message of the live feed: of keys, of revocations or lifts of
// keys. Whatever else it is, or nobody with the root's key could have written, is
// ignored; what denies a key that is known here counts at once.
func (k *Keeper) Heard(payload []byte) {
	e, err := codec.Decode(payload)
	if err != nil {
		return
	}
	if k.learned(e.Event) {
		signal(k.news)
	}
}

// learned takes in what is said of this issuer's keys, and reports whether there is a
// reason to read the journal.
func (k *Keeper) learned(e events.Event) bool {
	root, ok := k.keys.Root().Public().(ed25519.PublicKey)
	if !ok {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch e := e.(type) { //nolint:gochecksumtype // nothing else is of interest
	case events.KeyAdded:
		if e.Key.Issuer != k.cfg.Issuer || !codec.VerifyKey(root, k.cfg.Realm, e.Key) || !e.Key.Until.After(k.announced[e.Key.ID]) {
			return false
		}
		k.announced[e.Key.ID] = e.Key.Until
		return true
	case events.KeyRetired:
		if e.Key.Issuer != k.cfg.Issuer || !codec.VerifyRetirement(root, k.cfg.Realm, e.Key) || k.withdrawn[e.Key.ID] {
			return false
		}
		k.withdrawn[e.Key.ID] = true
		return true
	case events.Revoked:
		id := events.KeyID(e.Revocation.Target)
		if e.Revocation.Kind != events.KindKey || e.Revocation.Issuer != k.cfg.Issuer || !k.known[id] {
			return false
		}
		k.heard[id] = k.cfg.Now()
		return true
	case events.Lifted:
		id := events.KeyID(e.Lift.Target)
		if !k.known[id] || !k.isLift(e.Lift) {
			return false
		}
		delete(k.heard, id) // from here on the journal alone says
		return true
	}
	return false
}

// isLift reports whether the realm's root lets a key of this issuer pass again.
func (k *Keeper) isLift(l events.Lift) bool {
	root, ok := k.keys.Root().Public().(ed25519.PublicKey)
	return ok && l.Kind == events.KindKey && l.Issuer == k.cfg.Issuer && codec.VerifyLift(root, k.cfg.Realm, l)
}

func (k *Keeper) announcedUntil(id events.KeyID) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.announced[id]
}

func (k *Keeper) isAnnounced(id events.KeyID) bool { return k.cfg.Now().Before(k.announcedUntil(id)) }

func (k *Keeper) isWithdrawn(id events.KeyID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.withdrawn[id]
}
