package proxy_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// partly is a store of which some reads hang until they are let go.
type partly struct {
	denylist.Store
	mu    sync.Mutex
	letGo chan struct{} // nil: none hangs
}

func (s *partly) Find(k events.Kind, i events.Issuer, name string) ([]events.Revocation, error) {
	s.mu.Lock()
	letGo := s.letGo
	s.mu.Unlock()
	if letGo != nil && strings.HasPrefix(name, "slow") {
		<-letGo
	}
	return s.Store.Find(k, i, name)
}

func (s *partly) hang() (letGo func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letGo = make(chan struct{})
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.letGo)
		s.letGo = nil
	})
}

// Those who have to be waited for hold up nobody's end, and are not ended for it; and the
// disk alone may know of a revocation.
func TestSlowJudgements(t *testing.T) {
	store, until := &partly{Store: memstore.New()}, time.Now().Add(time.Hour)
	revoked := func(session string, by events.Issuer) denylist.Batch {
		return denylist.Batch{Entries: []events.Revocation{{
			ID: "0190c8a1-0000-7000-8000-000000000002", Kind: events.KindSession, Issuer: by, Target: session, Reason: events.ReasonAdmin, Until: until,
		}}}
	}
	// As long as what was on disk is not in memory, every token is asked for there; and
	// nobody runs this denylist.
	if err := store.Apply(revoked("another", "https://id.example")); err != nil {
		t.Fatal(err)
	}
	rig := verifytest.NewOn(t, gate.DefaultPolicy(), store)
	cfg := front.Defaults()
	cfg.Within = time.Hour
	check, err := front.NewChecker(cfg, rig.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	e := newEntrance(t, "http", newApplication(t, "http", echo), check)
	open := func(session string) socketClient {
		c, _ := e.open(t, "/", rig.Good(t, object{"sid": session}))
		c.says(t, "hello")
		return c
	}
	var slow []socketClient
	for n := range 40 {
		slow = append(slow, open(fmt.Sprint("slow-", n)))
	}
	ends := func(c socketClient, session string) {
		t.Helper()
		rig.Revoke(t, events.KindSession, session, until)
		e.Changed()
		c.ends(t, 1008, revokedReason)
	}
	first, second, third := open("first"), open("second"), open("third")
	letGo := store.hang()
	defer letGo()
	ends(first, "first")
	ends(second, "second")
	for _, c := range slow {
		c.says(t, "still here")
	}
	letGo()
	if err := store.Apply(revoked("third", rig.Issuer.ID())); err != nil {
		t.Fatal(err)
	}
	third.ends(t, 1008, revokedReason)
	for _, c := range slow {
		c.says(t, "still here")
	}
	defer store.hang()()
	ends(open("fourth"), "fourth")
	e.stop() // with reads under way
	for _, c := range slow {
		c.ends(t, 1001, "")
	}
}
