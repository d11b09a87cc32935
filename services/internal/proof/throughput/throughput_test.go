package throughput

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
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
	"github.com/revocast/revocast/services/internal/signing"
)

const (
	issuer   = events.Issuer("http://127.0.0.1:8080")
	audience = "https://api.revocast.test"
	client   = events.ClientID("demo-mobile")
	users    = 512
	// callers are under way at the same time.
	callers = 32
)

// plain takes passwords as they are: the hash is not what is measured here.
type plain struct{}

// Hash implements [issue.Passwords].
func (plain) Hash(_ context.Context, word string) (string, error) { return "plain:" + word, nil }

// Verify implements [issue.Passwords].
func (plain) Verify(_ context.Context, hash, word string) (bool, error) {
	return hash == "plain:"+word, nil
}

// Outdated implements [issue.Passwords].
func (plain) Outdated(string) bool { return false }

func name(n int) string { return "user-" + strconv.Itoa(n%users) }

// open gives issuers on one broker, each with a connection of its own.
func open(b *testing.B, issuers int, opts ...eventstest.Option) []*issue.Service {
	b.Helper()
	server := eventstest.RunServer(b, opts...)
	keys, err := signing.Open(signing.Config{Dir: b.TempDir() + "/keys", Issuer: issuer, Audiences: []string{audience}})
	if err != nil {
		b.Fatal(err)
	}
	var all []*issue.Service
	for range issuers {
		all = append(all, join(b, keys, server.Connect(b, topology.Issuer)))
	}
	for n := range users {
		hash, _ := plain{}.Hash(b.Context(), "word")
		if _, err := all[0].Register(b.Context(), name(n), hash, []string{"customer"}); err != nil {
			b.Fatal(err)
		}
	}
	return all
}

func join(b *testing.B, keys *signing.Keys, conn *nats.Conn) *issue.Service {
	b.Helper()
	journal, err1 := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	feed, err2 := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	notes, err3 := eventstore.NewNotes(conn, eventstest.Realm.AuditStream())
	if err := errors.Join(err1, err2, err3); err != nil {
		b.Fatal(err)
	}
	return issue.New(issue.Config{Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{Journal: journal, Feed: feed, Notes: notes, Passwords: plain{}, Keys: keys, Keyer: keys.Keyer(), Root: keys})
}

func policy() session.Policy {
	return session.Policy{
		AccessTTL: 5 * time.Minute, Grace: 10 * time.Second, IdleLimit: 720 * time.Hour, OnReplay: session.ReplaySuccessor,
	}
}

func login(b *testing.B, s *issue.Service, n int) (issue.Grant, bool) {
	b.Helper()
	g, err := s.Login(b.Context(), issue.Login{
		Username: name(n), Password: "word", Client: client, Policy: policy(), Scope: "read write", Audience: []string{audience},
	})
	if err != nil {
		b.Error(err)
	}
	return g, err == nil
}

// owner is one client, which refreshes what it got last.
type owner struct{ token string }

func (o *owner) refresh(b *testing.B, s *issue.Service) bool {
	b.Helper()
	g, err := s.Refresh(b.Context(), issue.Refresh{Token: o.token, Policy: policy(), Proof: session.Proof{Client: client}})
	if err != nil {
		b.Error(err)
		return false
	}
	o.token = g.RefreshToken
	return true
}

// sessions are so many that nobody refreshes faster than a session remembers: with the
// usual grace window, eight times in ten seconds.
const sessions = 8_000

// owners logs them in.
func owners(b *testing.B, s *issue.Service, n int) chan *owner {
	b.Helper()
	free := make(chan *owner, n)
	parallel(n, func(i int) {
		if g, ok := login(b, s, i); ok {
			free <- &owner{g.RefreshToken}
		}
	})
	return free
}

// parallel does n things, callers at a time.
func parallel(n int, do func(i int)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	group.Wait()
}

// durability is how the broker writes.
var durability = []struct {
	name string
	opts []eventstest.Option
}{
	{"synced", nil},
	{"lazy", []eventstest.Option{eventstest.Lazy()}},
}

// each runs a benchmark with one issuer and with three, which share the machine.
func each(b *testing.B, run func(b *testing.B, one func(i int) *issue.Service)) {
	for _, d := range durability {
		for _, issuers := range []int{1, 3} {
			b.Run(fmt.Sprintf("%s/issuers=%d", d.name, issuers), func(b *testing.B) {
				all := open(b, issuers, d.opts...)
				run(b, func(i int) *issue.Service { return all[i%issuers] })
			})
		}
	}
}

// measured runs b.N of something as fast as it goes and reports rate and latency.
func measured(b *testing.B, do func(i int)) {
	b.Helper()
	took := make([]time.Duration, b.N)
	runtime.GC()
	b.ResetTimer()
	parallel(b.N, func(i int) {
		began := time.Now()
		do(i)
		took[i] = time.Since(began)
	})
	b.StopTimer()
	report(b, took)
}

func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "/s")
	for _, p := range []struct {
		name string
		of   float64
	}{{"p50-ms", 0.5}, {"p99-ms", 0.99}} {
		at := took[min(int(p.of*float64(len(took))), len(took)-1)]
		b.ReportMetric(float64(at.Microseconds())/1000, p.name)
	}
}

// BenchmarkAppend is what the broker and its disk can do: a conditional append of an
// event of a refresh's size, and nothing else.
func BenchmarkAppend(b *testing.B) {
	for _, d := range durability {
		b.Run(d.name, func(b *testing.B) {
			journal, err := eventstore.NewJournal(eventstest.RunServer(b, d.opts...).Connect(b, topology.Issuer), eventstest.Realm.JournalStream())
			if err != nil {
				b.Fatal(err)
			}
			measured(b, func(i int) {
				n := events.Session{
					ID: events.SessionID(uuid.NewString()), Issuer: issuer, Subject: "alice", Client: client, Scope: "read write",
					Audience: []string{audience}, Salt: make([]byte, 32), KeyID: "ouDx3UwOd28",
				}
				if _, err := journal.Append(b.Context(), events.Append{
					Subject:  eventstest.Realm.Session(events.SubjectKey(fmt.Sprintf("%022d", i%users)), n.ID),
					Envelope: events.Envelope{ID: events.EventID(uuid.NewString()), At: time.Now(), Event: events.SessionRefreshed{Session: n}},
					TTL:      time.Hour,
				}); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

func BenchmarkLogin(b *testing.B) {
	each(b, func(b *testing.B, one func(int) *issue.Service) {
		measured(b, func(i int) { login(b, one(i), i) })
	})
}

func BenchmarkRefresh(b *testing.B) {
	each(b, func(b *testing.B, one func(int) *issue.Service) {
		free := owners(b, one(0), min(b.N, sessions))
		measured(b, func(i int) {
			o := <-free
			o.refresh(b, one(i))
			free <- o
		})
	})
}

func BenchmarkRevokeSession(b *testing.B) {
	each(b, func(b *testing.B, one func(int) *issue.Service) {
		sessions := make([]events.SessionID, b.N)
		parallel(b.N, func(i int) {
			if g, ok := login(b, one(i), i); ok {
				sessions[i] = g.Session
			}
		})
		measured(b, func(i int) {
			if _, err := one(i).Revoke(b.Context(), issue.Revocation{
				Kind: events.KindSession, Target: string(sessions[i]), Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"},
			}); err != nil {
				b.Error(err)
			}
		})
	})
}

// BenchmarkRefreshAtRate sends refreshes at moments drawn beforehand, whether or not
// the answers keep up; latency counts from those moments.
func BenchmarkRefreshAtRate(b *testing.B) {
	for _, c := range []struct {
		rate float64
		opts []eventstest.Option
		name string
	}{{1000, nil, "synced"}, {1500, []eventstest.Option{eventstest.Lazy()}, "lazy"}} {
		b.Run(fmt.Sprintf("%s-%.0f", c.name, c.rate), func(b *testing.B) {
			all := open(b, 3, c.opts...)
			free := owners(b, all[0], min(b.N, sessions))
			rng := rand.New(rand.NewPCG(1, 1))
			took := make([]time.Duration, b.N)
			var group sync.WaitGroup
			runtime.GC()
			b.ResetTimer()
			due := time.Now()
			for i := range b.N {
				due = due.Add(time.Duration(rng.ExpFloat64() / c.rate * float64(time.Second)))
				time.Sleep(time.Until(due))
				began := due
				group.Go(func() {
					o := <-free
					o.refresh(b, all[i%len(all)])
					took[i] = time.Since(began)
					free <- o
				})
			}
			group.Wait()
			b.StopTimer()
			report(b, took)
		})
	}
}
