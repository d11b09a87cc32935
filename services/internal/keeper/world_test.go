package keeper_test

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/memlog"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/keeper"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/signing"
)

const (
	realm    = subject.Realm("test")
	issuer   = events.Issuer("https://id.example")
	audience = "https://api.example"
	ttl      = 5 * time.Minute
)

// keysDir and strangerDir are key directories of two realms, made once: nobody writes
// them after the first start.
var keysDir, strangerDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "keeper-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	keysDir, strangerDir = filepath.Join(dir, "keys"), filepath.Join(dir, "stranger")
	for _, d := range []string{keysDir, strangerDir} {
		if _, err := signing.Open(signing.Config{Dir: d, Issuer: issuer, Audiences: []string{audience}}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// replica is one issuer's keys.
type replica struct {
	*keeper.Keeper
	keys  *signing.Keys
	clock func() time.Time
	stop  func()
}

// setup is what a replica is made with.
type setup struct {
	cfg     keeper.Config
	keys    signing.Config
	journal keeper.Journal
	feed    keeper.Feed
}

func newReplica(t testing.TB, s setup) *replica {
	t.Helper()
	keys, err := signing.Open(s.keys)
	if err != nil {
		t.Fatal(err)
	}
	k, err := keeper.New(s.cfg, keeper.Deps{
		Journal: s.journal, Feed: s.feed, Keys: keys, Log: zap.NewNop(), Metrics: prometheus.NewPedanticRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &replica{Keeper: k, keys: keys, clock: s.cfg.Now}
}

func defaults(journal keeper.Journal, feed keeper.Feed) setup {
	return setup{
		cfg: keeper.Config{
			Realm: realm, Issuer: issuer, Interval: 30 * time.Minute, Overlap: 10 * time.Minute,
			AccessTTL: func() time.Duration { return ttl }, IdleLimit: func() time.Duration { return 24 * time.Hour },
			Now: time.Now,
		},
		keys:    signing.Config{Dir: keysDir, Issuer: issuer, Audiences: []string{audience}},
		journal: journal, feed: feed,
	}
}

// run starts it and keeps it running until the test ends or stop is called.
func (r *replica) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
}

// sign makes a token and says with which key, by this replica's clock.
func (r *replica) sign(t testing.TB) (string, events.KeyID) {
	t.Helper()
	token, err := r.try()
	if err != nil {
		t.Fatal(err)
	}
	_, id, err := r.Verify(token, r.clock())
	if err != nil {
		t.Fatalf("the replica that signed refuses: %v", err)
	}
	return token, id
}

func (r *replica) try() (string, error) {
	now := r.clock()
	return r.Sign(claims.Access{
		Issuer: string(issuer), Subject: "u-7", Audience: claims.Audience{audience}, ClientID: "app",
		IssuedAt: now.Unix(), Expires: now.Add(ttl).Unix(), ID: uuid.NewString(),
	})
}

// world is a journal and a feed in memory, for time that passes in no time.
type world struct {
	log  *memlog.Log
	feed *feed
}

// inWorld runs f where time passes when all wait.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, &world{log: memlog.New(1, 16), feed: &feed{ids: map[events.EventID]bool{}}})
	})
}

// replica is one more issuer, which runs and hears the feed.
func (w *world) replica(t *testing.T, change ...func(*setup)) *replica {
	t.Helper()
	s := defaults(w.log, w.feed)
	for _, f := range change {
		f(&s)
	}
	s.keys.Now = s.cfg.Now
	r := newReplica(t, s)
	w.feed.listen(r.Heard)
	r.run(t)
	return r
}

// ring is what the journal says, and nobody else does.
func (w *world) ring(t *testing.T) keyring.Ring {
	t.Helper()
	at, err := w.log.Append(t.Context(), events.Append{
		Subject: realm.Barrier(), Envelope: envelope(events.BarrierPassed{}), Unguarded: true, TTL: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	records, err := w.log.Load(t.Context(), at, realm.Keys(), realm.Secrets(), realm.Barrier())
	if err != nil {
		t.Fatal(err)
	}
	return keyring.Fold(issuer, records)
}

func envelope(e events.Event) events.Envelope {
	return events.Envelope{ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: time.Now(), Event: e}
}

func revocation(id events.KeyID) events.Revocation {
	return events.Revocation{
		ID: events.RevocationID(uuid.NewString()), Kind: events.KindKey, Issuer: issuer, Target: string(id),
		Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"}, Until: time.Now().Add(1000 * time.Hour),
	}
}

// announce denies a key on the feed.
func (w *world) announce(t *testing.T, id events.KeyID) {
	t.Helper()
	w.publish(t, events.Revoked{Revocation: revocation(id)})
}

// record writes a key's revocation into the journal.
func (w *world) record(t *testing.T, r *replica, id events.KeyID) {
	t.Helper()
	_, err := w.log.Append(t.Context(), events.Append{
		Subject:  realm.Cut(events.KindKey, r.keys.Keyer().Key(events.KindKey, issuer, string(id))),
		Envelope: envelope(events.CutsRecorded{Cuts: []events.Revocation{revocation(id)}}),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// feed is a FEED stream in memory: it knows a message again by its id, and tells
// those who listen.
type feed struct {
	mu        sync.Mutex
	down      bool
	messages  []published
	ids       map[events.EventID]bool
	listeners []func([]byte)
}

type published struct {
	at, expires time.Time
	subject     string
	event       events.Event
}

func (f *feed) listen(hear func([]byte)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners = append(f.listeners, hear)
}

func (f *feed) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Publish implements keeper.Feed.
func (f *feed) Publish(_ context.Context, place string, e events.Envelope, keep time.Duration) (uint64, error) {
	payload, err := codec.Encode(e)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	if f.down {
		f.mu.Unlock()
		return 0, events.ErrUnavailable
	}
	sequence, listeners, known := uint64(len(f.messages)+1), slices.Clone(f.listeners), f.ids[e.ID]
	if !known {
		decoded, err := codec.Decode(payload)
		if err != nil {
			f.mu.Unlock()
			return 0, err
		}
		f.ids[e.ID] = true
		f.messages = append(f.messages, published{time.Now(), time.Now().Add(keep), place, decoded.Event})
	}
	f.mu.Unlock()
	for _, hear := range listeners {
		if !known {
			hear(payload)
		}
	}
	return sequence, nil
}

// Entries implements keeper.Feed.
func (f *feed) Entries(_ context.Context, _ uint64, _ time.Time, place string) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		f.mu.Lock()
		messages, down := slices.Clone(f.messages), f.down
		f.mu.Unlock()
		if down {
			yield(events.Record{}, events.ErrUnavailable)
			return
		}
		for _, m := range messages {
			if matches(m.subject, place) && time.Now().Before(m.expires) && !yield(events.Record{Envelope: events.Envelope{Event: m.event}}, nil) {
				return
			}
		}
	}
}

// matches knows the one wildcard that keepers use, at the end.
func matches(place, pattern string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return place == pattern || wild && strings.HasPrefix(place, prefix)
}

// keys gives what was published about keys.
func (f *feed) keys() []published {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.messages), func(p published) bool { return p.subject != realm.FeedKeys() })
}

// faulty is a journal whose appends to some subjects fail.
type faulty struct {
	*memlog.Log
	mu      sync.Mutex
	fail    string // part of a subject; empty for none, "." for all
	appends int
}

func (f *faulty) set(fail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// Append implements keeper.Journal.
func (f *faulty) Append(ctx context.Context, a events.Append) (events.Position, error) {
	f.mu.Lock()
	fails := f.fail != "" && strings.Contains(a.Subject, f.fail)
	f.appends++
	f.mu.Unlock()
	if fails {
		return events.Position{}, events.ErrUnavailable
	}
	return f.Log.Append(ctx, a)
}
