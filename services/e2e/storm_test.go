package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/stack"
)

// R4, INV-4: a thousand sessions, each refreshed by twenty callers at the same moment,
// over three issuer processes of which one is killed and started again throughout.
// Nobody is logged out, no lineage forks, and no token that was handed out is lost.
func TestRefreshStormWithKills(t *testing.T) {
	s, issuers := threeIssuers(t, 1)
	anyone := func() *stack.Server { return issuers[rand.IntN(len(issuers))] }
	sessions, callers := size(40, 1000), 20
	kills := killing(t, issuers[2])
	began := time.Now()
	var refreshes, replayed, loggedOut, forked, lost atomic.Int64
	var done sync.Map
	work(sessions, 16, func(int) {
		mine := logInAt(t, anyone, stack.AlicePassword)
		if mine.status != http.StatusOK {
			t.Errorf("logging in: %s", mine)
			return
		}
		session := mine.tokens(t)
		var mu sync.Mutex
		successors := map[string]int{}
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				a := refreshAt(t, anyone, session.Refresh)
				refreshes.Add(1)
				if a.status != http.StatusOK {
					loggedOut.Add(1)
					t.Errorf("a refresh: %s", a)
					return
				}
				if a.header.Get("X-Revocast-Refresh") != "rotated" {
					replayed.Add(1)
				}
				mu.Lock()
				defer mu.Unlock()
				successors[a.tokens(t).Refresh]++
			})
		}
		group.Wait()
		if len(successors) != 1 {
			forked.Add(1)
			t.Errorf("session %s has %d successors", session.Session, len(successors))
		}
		for next := range successors {
			a := refreshAt(t, anyone, next)
			if a.status != http.StatusOK {
				lost.Add(1)
				t.Errorf("the token that was handed out: %s", a)
				return
			}
			done.Store(events.SessionID(session.Session), a.tokens(t))
		}
	})
	killed := kills()
	if killed == 0 {
		t.Error("nothing was killed")
	}
	// In the journal each session is at its second generation: one rotation for the
	// crowd, one after it.
	checked := 0
	for id, n := range sessionsOf(t, s) {
		if _, ok := done.Load(id); ok {
			checked++
			if n.Generation != 2 || n.Ended != nil {
				t.Errorf("session %s is at generation %d, ended %v", id, n.Generation, n.Ended)
			}
		}
	}
	if checked != sessions {
		t.Errorf("%d sessions in the journal, want %d", checked, sessions)
	}
	// All of them live. On a busy machine the first access tokens have expired by now.
	done.Range(func(_, v any) bool {
		passes(t, s.Sidecars()[0], refreshAt(t, anyone, v.(tokens).Refresh).tokens(t).Access)
		return true
	})
	t.Logf("%d sessions, %d refreshes in %s, %d of them replays, %d kills: %d logged out, %d forks, %d lost",
		sessions, refreshes.Load(), time.Since(began).Round(time.Millisecond), replayed.Load(), killed, loggedOut.Load(), forked.Load(), lost.Load())
	if n := reuses(t, issuers); n != 0 {
		t.Errorf("%d reuse alarms", n)
	}
}

// work does n things, so many at a time.
func work(n, atATime int, do func(i int)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range atATime {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	group.Wait()
}

// killing kills a server again and again and starts it each time, until the function
// it returns is called; that gives how often.
func killing(t *testing.T, victim *stack.Server) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		kills := 0
		defer func() { ended <- kills }()
		for ctx.Err() == nil {
			// Right after it is ready again: the time in between is its life.
			if err := errors.Join(victim.Kill(), victim.Up(context.WithoutCancel(ctx))); err != nil {
				t.Error(err)
				return
			}
			kills++
			timer := time.NewTimer(time.Duration(rand.IntN(1500)) * time.Millisecond)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	}()
	return func() int {
		cancel()
		return <-ended
	}
}

// sessionsOf reads the last state of every session in the journal.
func sessionsOf(t *testing.T, s *stack.Stack) map[events.SessionID]events.Session {
	t.Helper()
	all := map[events.SessionID]events.Session{}
	for _, r := range follow(t, s)() {
		switch e := r.Envelope.Event.(type) {
		case events.SessionStarted:
			all[e.Session.ID] = e.Session
		case events.SessionRefreshed:
			all[e.Session.ID] = e.Session
		case events.SessionRevoked:
			all[e.Session.ID] = e.Session
		}
	}
	return all
}
