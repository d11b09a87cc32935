package keeper

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/refresh"
	"github.com/revocast/revocast/services/internal/signing"
)

const (
	// poll is how often the journal is read without a reason: how late an issuer is
	// at most that hears nothing of the feed. Well below [keyring.MaxAge].
	poll = 10 * time.Second
	// askEvery bounds how often unknown key ids make the keeper read: anyone can make
	// up ids.
	askEvery = time.Second
	// newsEvery does the same for what the feed says of keys.
	newsEvery = 100 * time.Millisecond
	// askWithin is how long such a question waits for its answer, and maxAsking how
	// many may.
	askWithin = 3 * time.Second
	maxAsking = 256
	// heardFor is how long a revocation counts that the feed announced: by then the
	// journal has it, or the finisher is stuck and sidecars alone deny.
	heardFor = 5 * time.Minute
)

// Journal is the conditional log (package eventstore, or memlog in tests).
type Journal interface {
	Append(ctx context.Context, a events.Append) (events.Position, error)
	Load(ctx context.Context, atLeast events.Position, subjects ...string) ([]events.Record, error)
}

// Feed is where keys are announced, and what was announced can be read.
type Feed interface {
	Publish(ctx context.Context, subject string, e events.Envelope, ttl time.Duration) (uint64, error)
	Entries(ctx context.Context, after uint64, since time.Time, subject string) iter.Seq2[events.Record, error]
}

// Config says how keys follow each other. Issuers of one realm should agree on it.
type Config struct {
	Realm  subject.Realm
	Issuer events.Issuer
	// Interval is the time from one key to the next, for signing and MAC keys alike;
	// zero rotates nothing by itself.
	Interval time.Duration
	// Overlap is how long a key is announced before it is used, by the schedule.
	Overlap time.Duration
	// AccessTTL is the longest lifetime that access tokens get here, now.
	AccessTTL func() time.Duration
	// IdleLimit is how long the longest session may sleep; zero for ever.
	IdleLimit func() time.Duration
	// Now is this issuer's clock, [time.Now] if nil.
	Now func() time.Time
}

// Deps are what a [Keeper] works with. All are required.
type Deps struct {
	Journal Journal
	Feed    Feed
	Keys    *signing.Keys
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Keeper keeps the keys. It signs and verifies as [signing.Keys] does, and looks
// again before it calls a key unknown. It is safe for concurrent use.
type Keeper struct {
	cfg     Config
	journal Journal
	feed    Feed
	keys    *signing.Keys
	log     *zap.Logger
	metrics metrics

	// news asks Run to read at once, asked to read as soon as it may.
	news, asked chan struct{}

	// working is held by whoever reads and writes.
	working sync.Mutex
	// What has been opened, and what does not open, by key id.
	pairs    map[events.KeyID]*signing.Pair
	public   map[events.KeyID]*signing.Public
	macs     map[events.KeyID]refresh.Key
	unusable map[events.KeyID]bool
	// recalled: what the feed held has been read.
	recalled bool

	mu sync.Mutex
	// next is the reading that has not begun yet.
	next   *reading
	asking int
	// known are the signing keys of the last reading; announced says until when each
	// one's announcement holds, withdrawn which retirements are on the feed, heard when
	// a key's revocation came from there.
	known     map[events.KeyID]bool
	announced map[events.KeyID]time.Time
	withdrawn map[events.KeyID]bool
	heard     map[events.KeyID]time.Time
}

// reading is one round of reading and doing what is to be done.
type reading struct {
	done chan struct{}
	err  error // once done is closed
}

// New registers the keeper's metrics. It reads nothing yet.
func New(cfg Config, deps Deps) (*Keeper, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Keeper{
		cfg: cfg, journal: deps.Journal, feed: deps.Feed, keys: deps.Keys, log: deps.Log, metrics: newMetrics(),
		news: make(chan struct{}, 1), asked: make(chan struct{}, 1),
		pairs: map[events.KeyID]*signing.Pair{}, public: map[events.KeyID]*signing.Public{},
		macs: map[events.KeyID]refresh.Key{}, unusable: map[events.KeyID]bool{},
		next:  &reading{done: make(chan struct{})},
		known: map[events.KeyID]bool{}, announced: map[events.KeyID]time.Time{}, withdrawn: map[events.KeyID]bool{}, heard: map[events.KeyID]time.Time{},
	}
	for _, p := range deps.Keys.First() {
		k.pairs[p.Public().Key().ID] = p
	}
	if err := k.metrics.register(deps.Metrics); err != nil {
		return nil, fmt.Errorf("registering the keys' metrics: %w", err)
	}
	return k, nil
}

// errForeign means that this issuer has no business in the realm.
var errForeign = errors.New("the journal's keys were sealed under another root: this is not the realm's key directory")

// Start brings the keys in order for the first time. Before it has returned without
// error nothing should be signed.
func (k *Keeper) Start(ctx context.Context) error {
	for {
		err := k.round(ctx)
		if err == nil {
			return k.belongs()
		}
		k.log.Warn("keys are not in order yet", zap.Error(err))
		if !pause(ctx, time.Second) {
			return fmt.Errorf("reading the keys: %w", err)
		}
	}
}

// belongs refuses to go on where keys could sign, and this issuer can open none.
func (k *Keeper) belongs() error {
	k.working.Lock()
	defer k.working.Unlock()
	if len(k.unusable) > 0 && k.keys.CanSign() != nil {
		return fmt.Errorf("reading the keys: %w", errForeign)
	}
	return nil
}

// Run keeps the keys in order until ctx ends, then returns nil. An error of the
// journal or the feed is logged and tried again; one Run may be under way.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	var ended, answered time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-k.news:
			pause(ctx, newsEvery-time.Since(ended))
		case <-k.asked:
			k.wait(ctx, askEvery-time.Since(answered))
			answered = time.Now()
		}
		if err := k.round(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("keys are not in order", zap.Error(err))
		}
		ended = time.Now()
		timer.Reset(poll)
	}
}

// wait lets some time pass, less if there is news.
func (k *Keeper) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-k.news:
	}
}

// round reads and does what is to be done, and answers those who asked before it
// began.
func (k *Keeper) round(ctx context.Context) error {
	k.working.Lock()
	defer k.working.Unlock()
	k.mu.Lock()
	now := k.next
	k.next = &reading{done: make(chan struct{})}
	k.mu.Unlock()
	now.err = k.settle(ctx)
	k.metrics.count(now.err)
	close(now.done)
	return now.err
}

// ask waits for a reading that begins after this call.
func (k *Keeper) ask() error {
	k.mu.Lock()
	if k.asking >= maxAsking {
		k.mu.Unlock()
		return fmt.Errorf("%w: too many ask for unknown keys", events.ErrUnavailable)
	}
	k.asking++
	next := k.next
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.asking--
		k.mu.Unlock()
	}()
	signal(k.asked)
	timer := time.NewTimer(askWithin)
	defer timer.Stop()
	select {
	case <-next.done:
		return next.err
	case <-timer.C:
		return fmt.Errorf("%w: the keys were not read within %s", events.ErrUnavailable, askWithin)
	}
}

// Sign is [signing.Keys.Sign].
func (k *Keeper) Sign(c claims.Access) (string, error) { return k.keys.Sign(c) }

// Verify is [signing.Keys.Verify], after another look if the token's key is not known
// here. If that is not possible the error matches [events.ErrUnavailable]: another
// issuer may have made the key, so the token is neither good nor bad.
func (k *Keeper) Verify(token string, now time.Time) (claims.Access, events.KeyID, error) {
	c, id, err := k.keys.Verify(token, now)
	if !errors.Is(err, signing.ErrUnknownSigner) {
		return c, id, err
	}
	if err := k.ask(); err != nil {
		return claims.Access{}, "", fmt.Errorf("looking for the token's key: %w: %w", events.ErrUnavailable, err)
	}
	return k.keys.Verify(token, now)
}

// RefreshKey is [signing.Keys.RefreshKey].
func (k *Keeper) RefreshKey() refresh.Key { return k.keys.RefreshKey() }

// RefreshKeyByID is [signing.Keys.RefreshKeyByID], after another look if the key is
// not known here.
func (k *Keeper) RefreshKeyByID(id events.KeyID) (refresh.Key, error) {
	key, err := k.keys.RefreshKeyByID(id)
	if !errors.Is(err, signing.ErrUnknownKey) {
		return key, err
	}
	if err := k.ask(); err != nil {
		return refresh.Key{}, fmt.Errorf("%w: looking again: %w", signing.ErrUnknownKey, err)
	}
	return k.keys.RefreshKeyByID(id)
}

func (k *Keeper) policy() keyring.Policy {
	algorithms := []string{k.keys.Algorithm()}
	for _, p := range k.keys.First() {
		if a := p.Public().Key().Algorithm; a != algorithms[0] {
			algorithms = append(algorithms, a)
		}
	}
	p := keyring.Policy{
		Algorithms: algorithms, Interval: k.cfg.Interval, Overlap: k.cfg.Overlap, AccessTTL: k.cfg.AccessTTL(),
		Holds: func(id events.KeyID) bool { return k.pairs[id] != nil },
	}
	if idle := k.cfg.IdleLimit(); idle > 0 {
		p.KeepMAC = max(idle, keepMAC)
	}
	return p
}

// keepMAC is the shortest time that a retired MAC key stays known where every session
// has an idle limit: the limit may have been longer while the key was current.
const keepMAC = 365 * 24 * time.Hour

// signal asks, unless that has been done.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause reports whether it waited to the end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
