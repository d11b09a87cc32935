package keeper

import (
	"cmp"
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/keyring"
)

// Info is what operators see of a key.
type Info struct {
	ID        events.KeyID
	Use       string // keyring.UseSign or keyring.UseMAC
	Algorithm string
	Phase     keyring.Phase
	// From is when it is first used, Until when nothing made with it is accepted any
	// more; zero where that is not known.
	From, Until time.Time
	// Current: new tokens are made with it.
	Current bool
}

// List gives all keys that are not gone, as they are now: signing keys and then MAC
// keys, the newest first.
func (k *Keeper) List(ctx context.Context) ([]Info, error) {
	k.working.Lock()
	defer k.working.Unlock()
	ring, err := k.read(ctx)
	if err != nil {
		return nil, err
	}
	return list(ring), nil
}

func list(ring keyring.Ring) []Info {
	var all []Info
	current := map[events.KeyID]bool{}
	pick := func(candidates []keyring.Candidate) {
		if i := keyring.Pick(candidates, ring.Now); i >= 0 {
			current[candidates[i].ID] = true
		}
	}
	for _, key := range ring.Keys {
		pick(ring.Candidates(key.Algorithm))
	}
	pick(ring.MACCandidates())
	for _, key := range ring.Keys {
		if phase := key.Phase(ring.Now); phase != keyring.Gone {
			all = append(all, Info{
				ID: key.ID, Use: keyring.UseSign, Algorithm: key.Algorithm, Phase: phase,
				From: key.NotBefore, Until: key.Until, Current: current[key.ID],
			})
		}
	}
	for _, m := range ring.MACs {
		all = append(all, Info{
			ID: m.ID, Use: keyring.UseMAC, Algorithm: m.Algorithm, Phase: m.Phase(ring.Now), From: m.Since, Current: current[m.ID],
		})
	}
	return all
}

// Rotation asks for a new key.
type Rotation struct {
	// Use is keyring.UseSign, or keyring.UseMAC.
	Use string
	// Algorithm is of a signing key; empty for the one that this issuer signs with.
	Algorithm string
	// Overlap is how long it is announced before it is used; [keyring.Propagation] if
	// that is longer.
	Overlap time.Duration
}

// Rotate makes a key. Its predecessor is retired when it is first used. Errors match
// those of package keyring, [events.ErrConflict] if another rotation came first, or
// mean "try again later".
func (k *Keeper) Rotate(ctx context.Context, r Rotation) (Info, error) {
	return k.command(ctx, "", func(ring keyring.Ring) (keyring.Step, error) {
		if r.Use == keyring.UseMAC {
			return keyring.RotateMAC(ring, r.Overlap)
		}
		return keyring.Rotate(ring, cmp.Or(r.Algorithm, k.keys.Algorithm()), r.Overlap)
	})
}

// Retire ends the use of a signing key of which another can take the place. Errors
// are those of Rotate.
func (k *Keeper) Retire(ctx context.Context, id events.KeyID) (Info, error) {
	return k.command(ctx, id, func(ring keyring.Ring) (keyring.Step, error) { return keyring.End(ring, k.policy(), id) })
}

// command decides on a reading, does what was decided, and tells what became of the
// key. Once it is done it stays done, whatever becomes of the rest.
func (k *Keeper) command(ctx context.Context, id events.KeyID, decide func(keyring.Ring) (keyring.Step, error)) (Info, error) {
	k.working.Lock()
	defer k.working.Unlock()
	ring, err := k.read(ctx)
	if err != nil {
		return Info{}, err
	}
	step, err := decide(ring)
	if err != nil {
		return Info{}, err
	}
	if step != nil {
		if id, err = k.carryOut(ctx, ring, step); err != nil {
			return Info{}, err
		}
		if err := k.settle(ctx); err != nil {
			k.log.Warn("what follows from a command on keys is left to later", zap.Error(err))
		}
	}
	if ring, err = k.read(ctx); err != nil {
		return Info{}, err
	}
	for _, info := range list(ring) {
		if info.ID == id {
			return info, nil
		}
	}
	return Info{ID: id}, nil
}
