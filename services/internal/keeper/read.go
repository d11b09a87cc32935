package keeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/signing"
)

const (
	// maxSteps bounds what one round does: a handful where everything has to be done.
	maxSteps = 50
	// barrierTTL is how long a barrier's record stays readable.
	barrierTTL = time.Minute
)

var errUnsettled = errors.New("there is always something left to do")

// settle reads, puts what it read in force, and does what is to be done next, until
// nothing is. working must be held.
func (k *Keeper) settle(ctx context.Context) error {
	for range maxSteps {
		ring, err := k.refresh(ctx)
		if err != nil {
			return err
		}
		step := keyring.Next(ring, k.policy())
		if step == nil {
			return nil
		}
		if _, err := k.carryOut(ctx, ring, step); err != nil && !errors.Is(err, events.ErrConflict) {
			return err
		}
	}
	return errUnsettled
}

// refresh reads and puts in force what it read.
func (k *Keeper) refresh(ctx context.Context) (keyring.Ring, error) {
	began := k.cfg.Now()
	ring, err := k.read(ctx)
	if err != nil {
		return keyring.Ring{}, err
	}
	if ring.Unreadable {
		return keyring.Ring{}, fmt.Errorf("reading the keys: %w: written by a newer version", events.ErrUnavailable)
	}
	k.open(ring)
	if !k.recalled {
		if err := k.recall(ctx); err != nil {
			k.log.Warn("not all that the feed says of keys was read", zap.Error(err))
		} else {
			k.recalled = true
		}
		ring = ring.Deny(k.isDenied)
	}
	// First what no longer signs; what does so from now on has to be announced.
	fresh := began.Add(keyring.MaxAge)
	if err := k.putInForce(ring, fresh); err != nil {
		return keyring.Ring{}, err
	}
	told, err := k.announceAll(ctx, ring, began)
	if told {
		err = errors.Join(err, k.putInForce(ring, fresh))
	}
	return ring, err
}

// read gives what was true after the call began: behind a barrier.
func (k *Keeper) read(ctx context.Context) (keyring.Ring, error) {
	r := k.cfg.Realm
	barrier, err := k.journal.Append(ctx, events.Append{
		Subject: r.Barrier(), Envelope: k.envelope(events.BarrierPassed{}), Unguarded: true, TTL: barrierTTL,
	})
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("reading the keys: %w", err)
	}
	records, err := k.journal.Load(ctx, barrier, r.Keys(), r.Secrets(), r.Lifetimes(), r.Barrier())
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("reading the keys: %w", err)
	}
	if cuts := k.cutsOf(records); len(cuts) > 0 {
		more, err := k.journal.Load(ctx, barrier, append(cuts, r.Barrier())...)
		if err != nil {
			return keyring.Ring{}, fmt.Errorf("reading which keys are revoked: %w", err)
		}
		records = append(records, more...)
	}
	return keyring.Fold(k.cfg.Issuer, records).Deny(k.isDenied), nil
}

// cutsOf lists where revocations of the keys are recorded. Not by a wildcard: anybody
// who may revoke can fill that up with keys that are none.
func (k *Keeper) cutsOf(records []events.Record) []string {
	var list []string
	for _, record := range records {
		var id events.KeyID
		switch e := record.Envelope.Event.(type) { //nolint:gochecksumtype // no other is a signing key
		case events.KeyAdded:
			id = e.Key.ID
		case events.KeyRetired:
			id = e.Key.ID
		default:
			continue
		}
		list = append(list, k.cfg.Realm.Cut(events.KindKey, k.keys.Keyer().Key(events.KindKey, k.cfg.Issuer, string(id))))
	}
	return list
}

// isDenied reports whether the feed has lately announced the key's revocation.
func (k *Keeper) isDenied(id events.KeyID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	at, ok := k.heard[id]
	return ok && k.cfg.Now().Sub(at) < heardFor
}

// open opens the secrets that are new. One that does not open is no reason to make
// another key: it is this issuer that has the wrong directory, and others sign.
func (k *Keeper) open(ring keyring.Ring) {
	for _, key := range ring.Keys {
		if k.public[key.ID] == nil {
			public, err := signing.ParsePublic(key.Key)
			if !k.opened(key.ID, err) {
				continue
			}
			k.public[key.ID] = public
		}
		if k.pairs[key.ID] == nil && !key.Retired && key.Secret.ID != "" {
			pair, err := k.keys.OpenPair(k.cfg.Realm, key.Secret)
			if k.opened(key.ID, err) {
				k.pairs[key.ID] = pair
			}
		}
	}
	for _, m := range ring.MACs {
		if _, ok := k.macs[m.ID]; !ok {
			key, err := k.keys.OpenMAC(k.cfg.Realm, m.Secret)
			if k.opened(m.ID, err) {
				k.macs[m.ID] = key
			}
		}
	}
	k.drop(ring)
}

// opened says so in the log, once, where a key did not open.
func (k *Keeper) opened(id events.KeyID, err error) bool {
	if err == nil {
		delete(k.unusable, id)
		return true
	}
	if !k.unusable[id] {
		k.log.Error("a key of the journal cannot be used here: is this the realm's key directory?", zap.String("key", string(id)), zap.Error(err))
	}
	k.unusable[id] = true
	return false
}

// drop lets go of what the journal has forgotten.
func (k *Keeper) drop(ring keyring.Ring) {
	signs, every := map[events.KeyID]bool{}, map[events.KeyID]bool{}
	for _, key := range ring.Keys {
		signs[key.ID], every[key.ID] = true, true
		if key.Retired {
			delete(k.pairs, key.ID)
		}
	}
	for _, m := range ring.MACs {
		every[m.ID] = true
	}
	for _, p := range k.keys.First() {
		every[p.Public().Key().ID] = true
	}
	maps.DeleteFunc(k.pairs, func(id events.KeyID, _ *signing.Pair) bool { return !every[id] })
	maps.DeleteFunc(k.public, func(id events.KeyID, _ *signing.Public) bool { return !every[id] })
	maps.DeleteFunc(k.macs, func(id events.KeyID, _ refresh.Key) bool { return !every[id] })
	maps.DeleteFunc(k.unusable, func(id events.KeyID, _ bool) bool { return !every[id] })
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known = signs
	maps.DeleteFunc(k.announced, func(id events.KeyID, _ time.Time) bool { return !signs[id] })
	maps.DeleteFunc(k.withdrawn, func(id events.KeyID, _ bool) bool { return !signs[id] })
	maps.DeleteFunc(k.heard, func(id events.KeyID, at time.Time) bool { return !signs[id] || k.cfg.Now().Sub(at) >= heardFor })
}

// putInForce hands the keys to package signing: accepted and published all that are
// neither gone nor revoked, to sign those that this issuer can open and that verifiers
// have been told of.
func (k *Keeper) putInForce(ring keyring.Ring, until time.Time) error {
	next := signing.Ring{FreshUntil: until}
	for _, key := range ring.Keys {
		public := k.public[key.ID]
		switch key.Phase(ring.Now) {
		case keyring.Announced, keyring.Signing, keyring.Retired:
			if public != nil {
				next.Accepted = append(next.Accepted, signing.Accepted{Public: public, Until: key.Until})
			}
		case keyring.Gone, keyring.Incomplete, keyring.Revoked:
		}
	}
	for _, c := range ring.Candidates(k.keys.Algorithm()) {
		if pair := k.pairs[c.ID]; pair != nil && k.isAnnounced(c.ID) {
			next.Signers = append(next.Signers, signing.Signer{Pair: pair, From: c.From})
		}
	}
	for _, m := range ring.MACs {
		if key, ok := k.macs[m.ID]; ok {
			next.MACs = append(next.MACs, key)
		}
	}
	for _, c := range ring.MACCandidates() {
		if key, ok := k.macs[c.ID]; ok {
			next.MACSigners = append(next.MACSigners, signing.MACSigner{Key: key, From: c.From})
		}
	}
	k.metrics.show(ring, len(k.unusable))
	return k.keys.Use(next)
}

func (k *Keeper) envelope(e events.Event) events.Envelope {
	return events.Envelope{ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: k.cfg.Now(), Event: e}
}
