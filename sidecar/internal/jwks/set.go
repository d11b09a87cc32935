package jwks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/revocast/revocast/events"
)

// Why [Set.Find] gives no key.
var (
	// ErrUnknownKey: the set as last read, with success and since the question first
	// came up, has no such key, or the key is over.
	ErrUnknownKey = errors.New("the issuer publishes no such key")
	// ErrUnavailable: the set could not be read, or not in time, so whether it
	// has such a key is not known.
	ErrUnavailable = errors.New("the issuer's keys are unavailable")
)

// Config says where one issuer's keys are and how often they are asked for.
type Config struct {
	// Issuer is the `iss` whose keys these are: a URL as [ParseURL] wants it,
	// without a query. Required.
	Issuer events.Issuer
	// Source is the set's URL, or the path of a file (without "://"). Empty
	// finds the set by the issuer's metadata.
	Source string
	// Dir is where the last set is kept for a start without network, made with
	// mode 0700 if missing. Empty keeps none; sets from files need none.
	Dir string
	// Refresh is how often the set is read, jittered by a tenth. 0: 5 minutes, or 10
	// seconds from a file, which costs nobody anything.
	Refresh time.Duration
	// Throttle is the least time from the end of one attempt to the start of
	// the next, whatever asks for it. 0: 5 seconds.
	Throttle time.Duration
	// Timeout bounds one attempt, discovery included; each of the two places where
	// metadata may be has a third of it. 0: 5 seconds.
	Timeout time.Duration
	// Wait is the longest a request waits for a kid not in the set. 0: 1 second.
	Wait time.Duration
	// Announced says whether the realm's root has signed a key as announced, or as
	// retired. Nil is for an issuer outside the realm: of its keys the feed says
	// nothing.
	Announced func(k events.Key, retired bool) bool
}

// Deps are what a [Set] works with.
type Deps struct {
	// Transport carries the requests; nil takes one of its own with the system's
	// roots.
	Transport http.RoundTripper
	// Log and Metrics are required.
	Log     *zap.Logger
	Metrics *Metrics
}

// Set is the keys of one issuer. It is safe for concurrent use.
type Set struct {
	cfg     Config
	source  source
	copy    diskCopy
	log     *zap.Logger
	seldom  *zap.Logger
	metrics *Metrics

	// keys is replaced whole and never changed.
	keys atomic.Pointer[map[events.KeyID]*Key]

	// changing is held by whoever replaces keys. They are made of what the issuer
	// published last, which text was parsed into, and of what was announced.
	changing  sync.Mutex
	text      string
	published map[events.KeyID]*Key
	announced map[events.KeyID]announced
	saved     diskCopy

	// said counts what changed what was announced, kept is how much of that is on disk;
	// fresh is a set that was read and is not yet; keeping says that there is either.
	said, kept atomic.Uint64
	fresh      atomic.Pointer[string]
	keeping    chan struct{}

	// wake asks Run for an attempt.
	wake chan struct{}

	mu sync.Mutex
	// changed is closed, and replaced, when keys are.
	changed chan struct{}
	// round is closed, and replaced, when an attempt ends.
	round chan struct{}
	// began and ended are when the last attempt did; zero before the first.
	began, ended time.Time
	// good says whether it read a set.
	good bool
	// waiting counts the requests that wait for round.
	waiting int
	// asked is since when a kid that is not in the set has been asked for, by its
	// hash. A set that was read before says nothing of a key that is younger.
	asked map[uint64]time.Time
	hash  maphash.Seed
}

// maxAsked bounds what strangers can make us remember. Which is forgotten beyond it
// does not matter: it is asked for anew.
const maxAsked = 1024

// maxWaiting bounds the requests that wait for an attempt: an issuer that hangs
// must not fill the process with tokens of unknown kids.
const maxWaiting = 256

// New checks cfg and loads the saved copy, if there is one. A copy that cannot be
// used is reported in the log and otherwise as good as none. It starts nothing:
// keys are read by [Set.Run].
func New(cfg Config, deps Deps) (*Set, error) {
	for _, d := range []time.Duration{cfg.Refresh, cfg.Throttle, cfg.Timeout, cfg.Wait} {
		if d < 0 {
			return nil, fmt.Errorf("key set of %q: a negative duration", cfg.Issuer)
		}
	}
	cfg.Throttle = cmp.Or(cfg.Throttle, 5*time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	cfg.Wait = cmp.Or(cfg.Wait, time.Second)
	if deps.Transport == nil {
		deps.Transport = newTransport()
	}
	from, err := newSource(cfg, deps.Transport)
	if err != nil {
		return nil, err
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = 5 * time.Minute
		if from.path != "" {
			cfg.Refresh = 10 * time.Second
		}
	}
	log := deps.Log.With(zap.String("issuer", string(cfg.Issuer)))
	s := &Set{
		cfg: cfg, source: from, log: log, metrics: deps.Metrics,
		// What goes on being wrong is said once a minute; the metric counts all.
		seldom: log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
			return zapcore.NewSamplerWithOptions(core, time.Minute, 1, 0)
		})),
		wake: make(chan struct{}, 1), keeping: make(chan struct{}, 1), round: make(chan struct{}), changed: make(chan struct{}),
		announced: map[events.KeyID]announced{},
		asked:     map[uint64]time.Time{}, hash: maphash.MakeSeed(),
	}
	s.keys.Store(&map[events.KeyID]*Key{})
	if cfg.Dir != "" && from.path == "" {
		// What another source said counts no longer once the operator has named this one.
		s.copy = newDiskCopy(cfg.Dir, string(cfg.Issuer)+" "+cfg.Source, ".jwks.json")
		s.loadCopy()
	}
	if cfg.Dir != "" && cfg.Announced != nil {
		s.saved = newDiskCopy(cfg.Dir, string(cfg.Issuer), ".announced.json")
		s.loadAnnounced(time.Now())
	}
	return s, nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           2,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func (s *Set) loadCopy() {
	text, saved, err := s.copy.load()
	if err == nil && text != "" {
		err = s.apply(text)
	}
	switch {
	case err != nil:
		s.log.Warn("saved keys are not used", zap.Error(err))
	case text != "":
		s.metrics.fetched.WithLabelValues(string(s.cfg.Issuer)).Set(float64(saved.Unix()))
	}
}

// Find gives the key of that id. One that is not in the set makes it wait, at
// most Config.Wait, for Run to read the set anew, unless that has just happened.
// The error is [ErrUnknownKey] or [ErrUnavailable].
func (s *Set) Find(ctx context.Context, id events.KeyID) (*Key, error) {
	if k := s.usable(id); k != nil {
		return k, nil
	}
	since := s.since(id)
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Wait)
	defer cancel()
	for range 2 { // the first attempt to end may have been under way
		if !s.await(ctx, id) {
			return nil, ErrUnavailable
		}
		if k := s.usable(id); k != nil {
			return k, nil
		}
		if s.missing(id, since) {
			return nil, ErrUnknownKey
		}
	}
	return nil, ErrUnavailable
}

// since is when a kid that is not in the set was first asked for.
func (s *Set) since(id events.KeyID) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := maphash.String(s.hash, string(id))
	at, ok := s.asked[key]
	if ok {
		return at
	}
	if len(s.asked) >= maxAsked {
		for other := range s.asked { // any will do: the map begins anywhere
			delete(s.asked, other)
			break
		}
	}
	at = time.Now()
	s.asked[key] = at
	return at
}

// missing reports whether the issuer is known to have no such key: its set was read
// later than since, or holds the key as one that is over.
func (s *Set) missing(id events.KeyID, since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := *s.keys.Load()
	return s.good && len(keys) > 0 && (keys[id] != nil || s.began.After(since))
}

// usable gives the key of that id if it counts now.
func (s *Set) usable(id events.KeyID) *Key {
	if k := (*s.keys.Load())[id]; k != nil && k.Usable(time.Now()) {
		return k
	}
	return nil
}

// await asks for an attempt and waits for its end, or until there is such a key, as long
// as ctx lasts. It reports whether either is so, or the last attempt is recent.
func (s *Set) await(ctx context.Context, id events.KeyID) bool {
	s.mu.Lock()
	if s.recent() {
		s.mu.Unlock()
		return true
	}
	if s.waiting >= maxWaiting {
		s.mu.Unlock()
		return false
	}
	s.waiting++
	round := s.round
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}()

	select {
	case s.wake <- struct{}{}:
	default: // asked for already
	}
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if s.usable(id) != nil {
			return true
		}
		select {
		case <-round:
			return true
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// recent reports whether the throttle forbids another attempt. mu must be held.
func (s *Set) recent() bool {
	return !s.ended.IsZero() && time.Since(s.ended) < s.cfg.Throttle
}

// Run reads the set at once, then whenever it is due or a request wants a key
// that is not in it, until ctx ends; then it returns nil, unless the disk hangs on which
// it keeps what it has read and what was announced. Failures are logged and
// counted, and tried again after a growing pause. Only one Run may be under way.
func (s *Set) Run(ctx context.Context) error {
	defer s.source.client.CloseIdleConnections()
	kept := make(chan struct{})
	go func() { // awaitKept waits
		defer close(kept)
		s.keep(ctx)
	}()
	failures := 0
	for {
		if s.refresh(ctx) {
			failures = 0
		} else {
			failures++
		}
		if !s.pause(ctx, s.next(failures)) {
			return s.awaitKept(kept)
		}
	}
}

// next is the pause before the next attempt.
func (s *Set) next(failures int) time.Duration {
	pause := s.cfg.Refresh
	if failures > 0 {
		pause = min(pause, s.cfg.Throttle<<min(failures-1, 10))
	}
	// Jitter keeps a fleet that started together from asking together.
	return pause - pause/10 + rand.N(pause/5+1) //nolint:gosec // spreads load, keeps no secret
}

// pause waits, less if a request asks and the throttle lets it. It reports
// whether ctx goes on.
func (s *Set) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-s.wake:
			s.mu.Lock()
			recent := s.recent() // it asked while the last attempt was ending
			s.mu.Unlock()
			if !recent {
				return true
			}
		}
	}
}

// refresh makes one attempt, reports it to log and metrics, and ends the round.
// It reports whether a set was read.
func (s *Set) refresh(ctx context.Context) bool {
	began := time.Now()
	text, err := s.source.read(ctx)
	if err == nil {
		err = s.apply(text)
	}
	issuer, result := string(s.cfg.Issuer), "ok"
	switch {
	case err == nil:
		s.metrics.fetched.WithLabelValues(issuer).SetToCurrentTime()
	case ctx.Err() != nil:
		return false // told to stop, which is no failure of the issuer's
	default:
		result = "error"
		// The reason is in the message, since that is what the sampler goes by.
		s.seldom.Warn("keys could not be read, those read before go on counting: " + err.Error())
	}
	s.metrics.refreshes.WithLabelValues(issuer, result).Inc()

	s.mu.Lock()
	s.began, s.ended, s.good = began, time.Now(), err == nil
	close(s.round)
	s.round = make(chan struct{})
	s.mu.Unlock()
	if err == nil && s.copy.path != "" {
		s.fresh.Store(&text)
		s.signalKeep()
	}
	return err == nil
}

// apply makes text what the issuer publishes.
func (s *Set) apply(text string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	now := time.Now()
	if text == s.text {
		s.merge(now) // announcements end
		return nil
	}
	keys, refused, err := parseSet(text)
	if err != nil {
		return fmt.Errorf("reading key set: %w", err)
	}
	s.text, s.published = text, keys
	s.merge(now)
	issuer := string(s.cfg.Issuer)
	s.metrics.keys.WithLabelValues(issuer, "usable").Set(float64(len(keys)))
	s.metrics.keys.WithLabelValues(issuer, "refused").Set(float64(len(refused)))
	if len(refused) > 0 {
		s.log.Warn("keys are left out", zap.Error(errors.Join(refused...)))
	}
	if len(keys) == 0 {
		s.log.Warn("the issuer publishes no key that could be used")
	} else {
		s.log.Info("keys are in use", zap.Int("usable", len(keys)))
	}
	return nil
}
