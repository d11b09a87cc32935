package replicas

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/session"
)

// R11: however many log in at once, on whatever replicas, no more sessions live at
// any instant than allowed, and everybody gets in.
func TestDeviceLimitUnderACrowd(t *testing.T) {
	t.Run("one server", func(t *testing.T) {
		s := eventstest.RunServer(t)
		crowd(t, func(t *testing.T) *nats.Conn { t.Helper(); return s.Connect(t, topology.Issuer, insistent()...) }, size(45, 200))
	})
	t.Run("three nodes", func(t *testing.T) {
		c := eventstest.RunCluster(t, 3)
		node := 0
		crowd(t, func(t *testing.T) *nats.Conn {
			t.Helper()
			node++
			return c.Nodes[node%3].Connect(t, topology.Issuer, insistent()...)
		}, size(24, 200))
	})
}

func insistent() []nats.Option {
	return []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectBufSize(-1)}
}

func crowd(t *testing.T, connect func(*testing.T) *nats.Conn, logins int) {
	h := newHouse(t)
	replicas := []*issue.Service{h.issuer(t, connect(t)), h.issuer(t, connect(t)), h.issuer(t, connect(t))}
	for _, limit := range []int{3, 1} {
		t.Run(fmt.Sprintf("limit %d", limit), func(t *testing.T) {
			name := fmt.Sprintf("%s-%d", alice, limit)
			sub := h.register(t, replicas[0], name)
			p := policy()
			p.MaxSessions, p.OnLimit = limit, session.EvictOldest
			seen := watch(t, connect(t))
			var in, again atomic.Int64
			var group sync.WaitGroup
			for i := range logins {
				group.Go(func() {
					for {
						_, err := replicas[i%3].Login(t.Context(), login(name, word, p))
						switch {
						case err == nil:
							in.Add(1)
							return
						case errors.Is(err, events.ErrUnavailable), errors.Is(err, events.ErrConflict):
							again.Add(1) // as a client does that is told 503
						default:
							t.Errorf("login %d: %v", i, err)
							return
						}
					}
				})
			}
			group.Wait()
			most, living := mostAtOnce(sub, seen.upTo(t.Context(), t, barrier(t, connect(t))))
			if most > limit || living != limit || in.Load() != int64(logins) {
				t.Errorf("%d sessions lived at once, %d at the end; want %d", most, living, limit)
			}
			t.Logf("%d logins, %d of them asked again; at most %d sessions at once", in.Load(), again.Load(), most)
		})
	}
}

// mostAtOnce replays a journal: how many of a user's sessions lived at once, and how
// many at the end.
func mostAtOnce(sub events.Subject, records []events.Record) (most, now int) {
	living := map[events.SessionID]bool{}
	for _, r := range records {
		switch e := r.Envelope.Event.(type) {
		case events.SessionStarted:
			if e.Session.Subject == sub {
				living[e.Session.ID] = true
			}
		case events.SessionRevoked:
			delete(living, e.Session.ID)
		}
		most = max(most, len(living))
	}
	return most, len(living)
}

// barrier is a place in the journal behind everything that has happened.
func barrier(t *testing.T, conn *nats.Conn) uint64 {
	t.Helper()
	j, err := eventstore.NewJournal(conn, realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	p, err := j.Append(t.Context(), events.Append{
		Subject: realm.Barrier(), Unguarded: true, TTL: time.Minute,
		Envelope: events.Envelope{ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: time.Now(), Event: events.BarrierPassed{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p.Sequence
}

// R9, R23: logins with the old password that race its change, on three replicas; no
// session born of the old password outlives it.
func TestPasswordChangeUnderACrowd(t *testing.T) {
	s := eventstest.RunServer(t)
	h := newHouse(t)
	var replicas []*issue.Service
	for range 3 {
		replicas = append(replicas, h.issuer(t, s.Connect(t, topology.Issuer)))
	}
	sub := h.register(t, replicas[0], alice)
	seen := watch(t, s.Connect(t, topology.Issuer))
	logins := size(120, 500)
	var mu sync.Mutex
	var grants []issue.Grant
	var refused atomic.Int64
	var group sync.WaitGroup
	some := make(chan struct{}) // closed when some have passed, and the others are on their way
	for i := range logins {
		group.Go(func() {
			g, err := replicas[i%3].Login(t.Context(), login(alice, word, policy()))
			switch {
			case err == nil:
				mu.Lock()
				if grants = append(grants, g); len(grants) == logins/10 {
					close(some)
				}
				mu.Unlock()
			case errors.Is(err, issue.ErrCredentials):
				refused.Add(1)
			case !errors.Is(err, events.ErrConflict) && !errors.Is(err, events.ErrUnavailable):
				t.Errorf("login %d: %v", i, err)
			}
		})
	}
	var done issue.Revoked
	group.Go(func() {
		<-some
		var err error
		if done, err = replicas[1].SetPassword(t.Context(), sub, "looking-glass", events.Initiator{Role: "operator"}); err != nil {
			t.Error(err)
		}
	})
	group.Wait()
	if len(grants) == 0 || refused.Load() == 0 {
		t.Fatalf("%d logins passed, %d were refused: they did not race", len(grants), refused.Load())
	}
	for i, g := range grants {
		if _, err := replicas[i%3].Refresh(t.Context(), use(g.RefreshToken, policy())); !errors.Is(err, issue.ErrGrant) {
			t.Errorf("a session of the old password is refreshed: %v", err)
		}
		if _, err := replicas[(i+1)%3].Authenticate(t.Context(), g.AccessToken, true); !errors.Is(err, issue.ErrToken) {
			t.Errorf("a token of the old password passes: %v", err)
		}
	}
	// In the journal: whatever began behind the change was ended, and nobody got
	// anything from it.
	late := 0
	ended := map[events.SessionID]bool{}
	for _, r := range seen.upTo(t.Context(), t, barrier(t, s.Connect(t, topology.Issuer))) {
		switch e := r.Envelope.Event.(type) {
		case events.SessionStarted:
			if r.Position.Sequence > done.Revocation.Cut.Sequence {
				late++
				ended[e.Session.ID] = false
			}
		case events.SessionRevoked:
			ended[e.Session.ID] = true
		}
	}
	for id, over := range ended {
		if !over {
			t.Errorf("session %s began behind the change and lives", id)
		}
	}
	t.Logf("%d logins with the old password: %d passed and ended with it, %d were refused, of which %d had begun a session behind the change",
		logins, len(grants), refused.Load(), late)
	if living, err := replicas[2].Sessions(context.WithoutCancel(t.Context()), sub); err != nil || len(living) != 0 {
		t.Errorf("%d sessions live, %v", len(living), err)
	}
}
