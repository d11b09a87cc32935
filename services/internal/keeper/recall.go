package keeper

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
)

const (
	// recallWithin bounds how long the feed is read, maxRecalled how many announcements
	// are verified and how many revocations are remembered to look for their lifts.
	recallWithin = 5 * time.Second
	maxRecalled  = 10_000
)

// recall learns what stands on the feed already: announcements, so that issuers that
// start again and again announce nothing again; and which of the keys are revoked,
// since whoever announced that may not have lived to record it. What it misses is
// announced once more than needed, or denied by sidecars alone.
func (k *Keeper) recall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recallWithin)
	defer cancel()
	seen := 0
	err1 := k.standing(ctx, "keys", func(e events.Event) bool {
		seen++
		k.learned(e)
		return seen < maxRecalled
	})
	denied := map[events.RevocationID]events.Revoked{}
	err2 := k.standing(ctx, events.KindKey.String()+".*", func(e events.Event) bool {
		switch r, ok := e.(events.Revoked); {
		case !ok || !k.isKnown(events.KeyID(r.Revocation.Target)):
		case len(denied) < maxRecalled:
			denied[r.Revocation.ID] = r
		default:
			k.learned(r) // lifted or not
		}
		return true
	})
	var err3 error
	if len(denied) > 0 {
		err3 = k.standing(ctx, "lift.*", func(e events.Event) bool {
			if l, ok := e.(events.Lifted); ok && denied[l.Lift.RevocationID].Revocation.Target == l.Lift.Target && k.isLift(l.Lift) {
				delete(denied, l.Lift.RevocationID)
			}
			return true
		})
	}
	for _, r := range denied {
		k.learned(r)
	}
	return errors.Join(err1, err2, err3)
}

// standing reads what the feed holds of one kind, until f has seen enough.
func (k *Keeper) standing(ctx context.Context, kind string, f func(events.Event) bool) error {
	place := strings.TrimSuffix(k.cfg.Realm.Feed(), ">") + kind
	for record, err := range k.feed.Entries(ctx, 0, time.Time{}, place) {
		if err != nil {
			return fmt.Errorf("reading %s: %w", place, err)
		}
		if !f(record.Envelope.Event) {
			break
		}
	}
	return nil
}

func (k *Keeper) isKnown(id events.KeyID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known[id]
}
