package session_test

import (
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// Each generation keeps the key that it was made with, however the keys change, and
// for as long as it can be replayed.
func TestKeyOf(t *testing.T) {
	p := session.Policy{AccessTTL: time.Minute, Grace: time.Hour, OnReplay: session.ReplaySuccessor}
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	event, err := session.Decide(session.State{}, session.Start{
		Session: events.Session{ID: "s", Issuer: "i", Subject: "u", Client: "c", KeyID: "k0"}, Policy: p,
	}, at)
	var s session.State
	keys := []events.KeyID{"k0", "k0", "k1", "k1", "k2"}
	for g := range keys {
		if err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
		s = session.Apply(s, events.Record{
			Position: events.Position{Sequence: uint64(g + 1)}, Time: at, Envelope: events.Envelope{Event: event},
		})
		s.Now = at
		for before := range g + 1 {
			id, ok := s.KeyOf(uint64(before))
			// The first generation followed none.
			if known := before > 0 || g == 0; ok != known || known && id != keys[before] {
				t.Errorf("at generation %d the key of %d is %s, %v; want %s", g, before, id, ok, keys[before])
			}
		}
		if id, ok := s.KeyOf(uint64(g + 1)); ok {
			t.Errorf("at generation %d the next one has a key already: %s", g, id)
		}
		if g+1 < len(keys) {
			event, err = session.Decide(s, session.Refresh{
				Generation: uint64(g), KeyID: keys[g+1], Policy: p, Proof: session.Proof{Client: "c"},
			}, at)
		}
	}
	if id, ok := (session.State{}).KeyOf(0); ok {
		t.Errorf("no session has the key %s", id)
	}
}
