package keeper

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/signing"
)

const (
	// keepRetired is how long a key's record stays after nothing of it is accepted: not
	// long, since all of them are read together, and whoever may revoke makes many.
	keepRetired = 10 * time.Minute
	// keepForgotten is how long an emptied place says that it is.
	keepForgotten = time.Minute
)

// carryOut does one step and names the key that it was about. [events.ErrConflict]
// says that another issuer was first.
func (k *Keeper) carryOut(ctx context.Context, ring keyring.Ring, step keyring.Step) (events.KeyID, error) {
	switch s := step.(type) {
	case keyring.Make:
		return k.makeKey(ctx, ring, s)
	case keyring.Seal:
		return s.Key.ID, k.sealKey(ctx, ring, s.Key)
	case keyring.Retire:
		return s.Key.ID, k.retireKey(ctx, ring, s.Key)
	case keyring.Forget:
		return s.Secret.ID, k.appendSecret(ctx, ring, s.Secret, keepForgotten)
	case keyring.MakeMAC:
		return k.makeMAC(ctx, ring, s)
	case keyring.RetireMAC:
		return s.Secret.ID, k.appendSecret(ctx, ring, s.Secret, k.policy().KeepMAC)
	}
	return "", nil
}

// makeKey makes a key in two writes: first its name, which one issuer alone can
// write, then its secret. If the second does not happen, a later round writes it.
func (k *Keeper) makeKey(ctx context.Context, ring keyring.Ring, s keyring.Make) (events.KeyID, error) {
	pair, err := k.newPair(s)
	if err != nil {
		return "", err
	}
	key := pair.Public().Key()
	key.Issuer, key.NotBefore = k.cfg.Issuer, s.NotBefore
	// Held before it is known, so that nobody has to guess what became of it.
	k.pairs[key.ID] = pair
	_, err = k.journal.Append(ctx, events.Append{
		Subject: k.cfg.Realm.Key(key.ID), Envelope: k.envelope(events.KeyAdded{Key: key}),
		Guard: k.cfg.Realm.Keys(), After: ring.KeysAt,
	})
	if err != nil {
		return key.ID, fmt.Errorf("adding signing key %s: %w", key.ID, err)
	}
	k.log.Info("a signing key was made", zap.String("key", string(key.ID)), zap.String("algorithm", key.Algorithm), zap.Time("signs_from", key.NotBefore))
	if err := k.sealKey(ctx, ring, key); err != nil {
		k.log.Warn("its secret is left to a later round", zap.String("key", string(key.ID)), zap.Error(err))
	}
	return key.ID, nil
}

// newPair takes the directory's key where there was never another.
func (k *Keeper) newPair(s keyring.Make) (*signing.Pair, error) {
	if s.First {
		for _, p := range k.keys.First() {
			if p.Public().Key().Algorithm == s.Algorithm {
				return p, nil
			}
		}
	}
	return signing.NewPair(s.Algorithm)
}

func (k *Keeper) sealKey(ctx context.Context, ring keyring.Ring, key events.Key) error {
	secret, err := k.keys.SealPair(k.cfg.Realm, k.pairs[key.ID])
	if err != nil {
		return err
	}
	secret.Since = key.NotBefore
	return k.appendSecret(ctx, ring, secret, 0)
}

func (k *Keeper) retireKey(ctx context.Context, ring keyring.Ring, key events.Key) error {
	_, err := k.journal.Append(ctx, events.Append{
		Subject: k.cfg.Realm.Key(key.ID), Envelope: k.envelope(events.KeyRetired{Key: key}),
		Guard: k.cfg.Realm.Keys(), After: ring.KeysAt,
		// Alone on its subject: what comes before it would outlive it.
		Rollup: true, TTL: max(key.Until.Sub(ring.Now), 0) + keepRetired,
	})
	if err != nil {
		return fmt.Errorf("retiring signing key %s: %w", key.ID, err)
	}
	k.log.Info("a signing key was retired", zap.String("key", string(key.ID)), zap.Time("accepted_until", key.Until))
	return nil
}

func (k *Keeper) makeMAC(ctx context.Context, ring keyring.Ring, s keyring.MakeMAC) (events.KeyID, error) {
	create := k.keys.NewMAC
	if s.First {
		create = k.keys.FirstMAC
	}
	secret, err := create(k.cfg.Realm)
	if err != nil {
		return "", err
	}
	secret.Since = s.Since
	if err := k.appendSecret(ctx, ring, secret, 0); err != nil {
		return secret.ID, err
	}
	k.log.Info("a refresh-token key was made", zap.String("key", string(secret.ID)), zap.Time("used_from", secret.Since))
	return secret.ID, nil
}

// appendSecret writes one secret in the place of what stood there; keep is for how
// long, zero for ever.
func (k *Keeper) appendSecret(ctx context.Context, ring keyring.Ring, s events.Secret, keep time.Duration) error {
	_, err := k.journal.Append(ctx, events.Append{
		Subject: k.cfg.Realm.Secret(s.ID), Envelope: k.envelope(events.SecretSealed{Secret: s}),
		Guard: k.cfg.Realm.Secrets(), After: ring.SecretsAt, Rollup: true, TTL: keep,
	})
	if err != nil {
		return fmt.Errorf("writing the secret of %s key %s: %w", s.Use, s.ID, err)
	}
	return nil
}
