package keeper_test

import (
	"errors"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/keeper"
	"github.com/revocast/revocast/services/internal/keyring"
)

func rotation(overlap time.Duration) keeper.Rotation {
	return keeper.Rotation{Use: keyring.UseSign, Overlap: overlap}
}

func rotationOfMAC() keeper.Rotation { return keeper.Rotation{Use: keyring.UseMAC} }

func phases(t *testing.T, r *replica) map[events.KeyID]keyring.Phase {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[events.KeyID]keyring.Phase{}
	for _, i := range list {
		all[i.ID] = i.Phase
	}
	return all
}

func phaseOf(t *testing.T, r *replica, id events.KeyID) keeper.Info {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if i.ID == id {
			return i
		}
	}
	t.Fatalf("there is no key %s", id)
	return keeper.Info{}
}

// What operators may do, and see.
func TestCommands(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		never := func(s *setup) { s.cfg.Interval = 0 }
		r, other := w.replica(t, never), w.replica(t, never)
		_, old := r.sign(t)
		if _, err := r.Retire(t.Context(), old); !errors.Is(err, keyring.ErrLast) {
			t.Errorf("retiring the only key: %v", err)
		}
		if _, err := r.Retire(t.Context(), "unknown"); !errors.Is(err, keyring.ErrNoKey) {
			t.Errorf("retiring none: %v", err)
		}
		if _, err := r.Rotate(t.Context(), keeper.Rotation{Use: keyring.UseSign, Algorithm: "none"}); !errors.Is(err, keyring.ErrNoKey) {
			t.Errorf("rotating none: %v", err)
		}
		next, err := r.Rotate(t.Context(), rotation(time.Minute))
		if err != nil || next.Phase != keyring.Announced || next.Use != keyring.UseSign || next.Algorithm != "ES256" {
			t.Fatalf("%+v, %v", next, err)
		}
		if wait := time.Until(next.From); wait < 59*time.Second || wait > time.Minute+time.Second {
			t.Errorf("it waits for %s", wait)
		}
		if _, err := r.Retire(t.Context(), old); !errors.Is(err, keyring.ErrLast) {
			t.Errorf("retiring the only key that signs yet: %v", err)
		}
		time.Sleep(90 * time.Second)
		if _, id := other.sign(t); id != next.ID {
			t.Errorf("%s signs", id)
		}
		if p := phases(t, other); p[old] != keyring.Retired || p[next.ID] != keyring.Signing {
			t.Errorf("phases: %v", p)
		}
		again, err := other.Retire(t.Context(), old)
		if err != nil || again.Phase != keyring.Retired || again.Until.IsZero() {
			t.Errorf("retiring twice: %+v, %v", again, err)
		}
		// A key can be called back before its time.
		third, err := r.Rotate(t.Context(), rotation(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := other.Retire(t.Context(), third.ID); err != nil || back.Phase != keyring.Retired {
			t.Errorf("calling a key back: %+v, %v", back, err)
		}
		time.Sleep(2 * time.Hour)
		if _, id := r.sign(t); id != next.ID {
			t.Errorf("%s signs", id)
		}

		rsa, err := r.Rotate(t.Context(), keeper.Rotation{Use: keyring.UseSign, Algorithm: "RS256"})
		if err != nil || rsa.Algorithm != "RS256" {
			t.Errorf("%+v, %v", rsa, err)
		}
		mac, err := r.Rotate(t.Context(), keeper.Rotation{Use: keyring.UseMAC})
		if err != nil || mac.Use != keyring.UseMAC || mac.Phase != keyring.Announced {
			t.Errorf("%+v, %v", mac, err)
		}
		before := other.RefreshKey().ID()
		time.Sleep(20 * time.Second)
		if id := other.RefreshKey().ID(); id != mac.ID {
			t.Errorf("%s is current", id)
		}
		if _, err := other.RefreshKeyByID(before); err != nil {
			t.Errorf("the MAC key before: %v", err)
		}
		list, err := other.List(t.Context())
		current := map[string]events.KeyID{}
		for _, i := range list {
			if i.Current {
				current[i.Use+i.Algorithm] = i.ID
			}
		}
		if err != nil || len(current) != 3 || current["signES256"] != next.ID || current["signRS256"] != rsa.ID || current["macHS256"] != mac.ID {
			t.Errorf("current: %v, %v", current, err)
		}
	})
}

// However often one rotates, there is a bound.
func TestTooManyKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := w.replica(t)
		for _, use := range []string{keyring.UseSign, keyring.UseMAC} {
			made := 1
			for {
				_, err := r.Rotate(t.Context(), keeper.Rotation{Use: use, Overlap: time.Hour})
				if err != nil {
					if !errors.Is(err, keyring.ErrTooMany) {
						t.Error(err)
					}
					break
				}
				if made++; made > 2*keyring.MaxKeys {
					t.Fatal("there is no bound")
				}
			}
			if made != keyring.MaxKeys {
				t.Errorf("%d keys to %s", made, use)
			}
		}
		r.sign(t)
	})
}
