package guard_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/guard"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signing"
	"github.com/revocast/revocast/services/internal/throttle"
)

const (
	issuer   = events.Issuer("http://127.0.0.1:8080")
	audience = "https://api.revocast.test"
	client   = events.ClientID("demo-mobile")
	alice    = "alice"
	bob      = "bob" // disabled
	word     = "wonderland-42"
)

// house is an issuer on a broker, with a guard before it.
type house struct {
	*guard.Guard

	service *issue.Service
	server  *eventstest.Server
	metrics *prometheus.Registry
	noted   *book

	mu sync.Mutex
	at time.Time // of the guard's clock
}

// book keeps the notes that were taken.
type book struct {
	mu    sync.Mutex
	notes []events.Note
}

func (b *book) Note(n events.Note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = append(b.notes, n)
}

func (b *book) about(a events.Action) []events.Note {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []events.Note
	for _, n := range b.notes {
		if n.Action == a {
			found = append(found, n)
		}
	}
	return found
}

func limit(t *testing.T, text string) throttle.Limit {
	t.Helper()
	var l throttle.Limit
	if err := l.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return l
}

func limits(t *testing.T) guard.Limits {
	t.Helper()
	return guard.Limits{Login: limit(t, "10/10m"), User: limit(t, "100/10m"), Address: limit(t, "300/5m"), Refresh: limit(t, "60/1m")}
}

func open(t *testing.T, l guard.Limits, cost password.Config) *house {
	t.Helper()
	h := &house{server: eventstest.RunServer(t), metrics: prometheus.NewRegistry(), noted: &book{}, at: time.Now()}
	keys, err := signing.Open(signing.Config{Dir: filepath.Join(t.TempDir(), "keys"), Issuer: issuer, Audiences: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := password.New(cost)
	if err != nil {
		t.Fatal(err)
	}
	conn := h.server.Connect(t, topology.Issuer)
	journal, err1 := eventstore.NewJournal(conn, eventstest.Realm.JournalStream())
	feed, err2 := eventstore.NewFeed(conn, eventstest.Realm.FeedStream())
	notes, err3 := eventstore.NewNotes(conn, eventstest.Realm.AuditStream())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	h.service = issue.New(
		issue.Config{Realm: eventstest.Realm, Issuer: issuer, MaxAccessTTL: func() time.Duration { return 5 * time.Minute }},
		issue.Deps{Journal: journal, Feed: feed, Notes: notes, Noter: h.noted, Passwords: hasher, Keys: keys, Keyer: keys.Keyer(), Root: keys},
	)
	hash, err := hasher.Hash(t.Context(), word)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{alice, bob} {
		sub, err := h.service.Register(t.Context(), name, hash, nil)
		if err == nil && name == bob {
			_, err = h.service.SetStatus(t.Context(), sub, issue.Status{By: events.Initiator{Role: "operator"}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if h.Guard, err = guard.New(l, h.service, h.service, h.now, h.metrics); err != nil {
		t.Fatal(err)
	}
	return h
}

func cheap() password.Config { return password.Config{Memory: 64, Time: 1, Queue: 1000} }

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

func policy() session.Policy {
	return session.Policy{
		AccessTTL: 5 * time.Minute, Grace: 10 * time.Second, IdleLimit: time.Hour,
		OnReplay: session.ReplaySuccessor, OnNetworkChange: session.Ignore, OnSuspicion: session.Ignore,
	}
}

// from is a login with the right password.
func from(address, name string) issue.Login {
	return issue.Login{
		Username: name, Password: word, Client: client, Policy: policy(), Audience: []string{audience},
		Address: netip.MustParseAddr(address),
	}
}

func wrong(l issue.Login) issue.Login {
	l.Password = "wonderland-43"
	return l
}

func secret() string {
	b := make([]byte, 16)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// anywhere is an address that nobody else has.
func anywhere() string {
	if rand.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{203, byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())}).String()
	}
	return fmt.Sprintf("2001:db8:%x:%x::1", rand.Uint32N(1<<16), rand.Uint32N(1<<16))
}

// in logs in and fails the test if that fails.
func (h *house) in(t *testing.T, l issue.Login) issue.Grant {
	t.Helper()
	g, err := h.Login(t.Context(), l)
	if err != nil {
		t.Fatalf("%s from %s: %v", l.Username, l.Address, err)
	}
	return g
}

// wait is how long a throttled attempt was told to wait, zero for any other.
func wait(t *testing.T, err error) time.Duration {
	t.Helper()
	throttled, ok := errors.AsType[*issue.ThrottledError](err)
	if !ok {
		return 0
	}
	if throttled.After <= 0 || !errors.Is(err, issue.ErrSlowDown) || errors.Is(err, issue.ErrCredentials) || errors.Is(err, issue.ErrGrant) {
		t.Fatalf("throttled with %v", err)
	}
	return throttled.After
}

// throttled reads the counter.
func (h *house) throttled(t *testing.T, what string) int {
	t.Helper()
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "revocast_issuer_throttled_total" && m.GetLabel()[0].GetValue() == what {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	t.Fatalf("nothing counts %s", what)
	return 0
}

// strictest is one failure at a time.
func strictest(t *testing.T) guard.Limits {
	t.Helper()
	one := limit(t, "1/1h")
	return guard.Limits{Login: one, User: one, Address: one, Refresh: one}
}
