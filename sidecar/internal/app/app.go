// Package app puts a sidecar together and runs it. It is the one package that
// knows all the others; what it opens it closes, last first.
package app

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/front/proxy"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/replica"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/syncer"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/verify"
)

const (
	// challengeRealm is what challenges name (RFC 9110 section 11.5).
	challengeRealm = "revocast"
)

// App is a sidecar. Make one with [New], let [App.Run] run, then call [App.Close].
type App struct {
	cfg     config.Config
	version string
	log     *zap.Logger
	metrics *prometheus.Registry

	store    *badgerstore.Store
	denylist *denylist.Denylist
	keys     []*jwks.Set
	ours     []*jwks.Set // those of the realm's own issuers
	issuers  []token.Issuer
	syncer   *syncer.Syncer
	view     *view
	policy   gate.Policy
	verifier *verify.Verifier
	check    *front.Checker
	auth     *forwardauth.Handler
	proxy    *proxy.Proxy // nil where there is no application
	tls      listenerFiles
	crowded  *prometheus.CounterVec // by listener
	instance string
}

// New opens the denylist and puts the parts together. It connects to nothing and
// starts nothing but the store's own upkeep.
func New(cfg config.Config, version string, log *zap.Logger) (_ *App, err error) {
	a := &App{cfg: cfg, version: version, log: log, metrics: prometheus.NewRegistry()}
	a.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	for _, step := range []func() error{a.openListeners, a.openDenylist, a.openKeys, a.openFeed, a.openFront} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Close closes the store. Call it once, after Run has returned.
func (a *App) Close() {
	if a.store == nil {
		return
	}
	if err := a.store.Close(); err != nil {
		a.log.Error("closing the denylist's store", zap.Error(err))
	}
}

func (a *App) openDenylist() (err error) {
	log := a.log.Named("store")
	a.store, err = badgerstore.Open(badgerstore.Config{
		Dir: filepath.Join(a.cfg.DataDir, "denylist"), Warn: func(message string) { log.Warn(message) },
	})
	if err != nil {
		return err
	}
	if damage := a.store.Damage(); damage != nil {
		a.log.Error("the denylist on disk was damaged and is fetched anew", zap.Error(damage))
	}
	a.denylist, err = denylist.New(denylist.Config{Budget: int(max(a.cfg.BudgetBytes-a.cfg.CacheBytes, 0))}, a.store)
	return err
}

// openKeys makes a key set for every trusted issuer. Those of the realm learn of their
// keys by the feed, too.
func (a *App) openKeys() error {
	metrics, err := jwks.NewMetrics(a.metrics)
	if err != nil {
		return err
	}
	if len(a.cfg.Root) == 0 {
		a.log.Warn("no realm root is pinned (--realm-root): neither lifts nor announced keys are believed")
	}
	realm := subject.Realm(a.cfg.Realm)
	for _, trust := range a.cfg.Trusts {
		cfg := jwks.Config{Issuer: trust.Issuer, Source: trust.JWKS, Dir: filepath.Join(a.cfg.DataDir, "jwks")}
		if trust.InRealm() {
			cfg.Announced = func(k events.Key, retired bool) bool {
				if retired {
					return codec.VerifyRetirement(a.cfg.Root, realm, k)
				}
				return codec.VerifyKey(a.cfg.Root, realm, k)
			}
		}
		keys, err := jwks.New(cfg, jwks.Deps{Log: a.log, Metrics: metrics})
		if err != nil {
			return err
		}
		a.keys = append(a.keys, keys)
		if trust.InRealm() {
			a.ours = append(a.ours, keys)
		}
		a.issuers = append(a.issuers, token.Issuer{Trust: trust, Keys: keys})
	}
	return nil
}

func (a *App) openFeed() (err error) {
	cursor := a.denylist.Status().Cursor
	a.instance = uuid.NewString()
	replaces, err := takeOver(a.cfg.DataDir, a.instance)
	if err != nil {
		a.log.Warn("the instance before this one is not known; issuers may miss it for a while", zap.Error(err))
	}
	if a.store.Unusable() != nil {
		replaces = "" // the directory may be another's, who is alive
	}
	cfg := feed(a.cfg, logSeldom(a.log))
	cfg.Instance, cfg.Replaces, cfg.Version = a.instance, replaces, a.version
	a.syncer, err = syncer.New(cfg, syncer.Deps{
		Denylist: &sink{denylist: a.denylist, keys: a.ours, log: a.log, changed: a.revoked}, Cursor: replica.Cursor(cursor), Entries: a.denylist.Entries, Restart: a.denylist.Lost(), Log: a.log, Metrics: a.metrics,
	})
	if err != nil {
		return err
	}
	a.view = &view{syncer: a.syncer, warm: cursor.FreshAsOf, limit: a.cfg.StaleLimit}
	return registerDenylist(a.metrics, a.denylist, a.cfg.BudgetBytes)
}

// feed says which feed is followed, and where. What keeps it from connecting goes to
// warn, as often as it is tried.
func feed(cfg config.Config, warn func(error)) syncer.Config {
	options := []nats.Option{
		nats.UserCredentials(cfg.NATSCreds),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { warn(err) }),
	}
	return syncer.Config{
		Realm: subject.Realm(cfg.Realm), URL: cfg.NATSURL, Options: append(options, cfg.NATSFiles().Options(warn)...),
		Root: cfg.Root, ID: cfg.ID, StaleAfter: cfg.StaleAfter,
	}
}

// logSeldom logs each reason once a minute, for a broker that is away is tried often.
// The reason is in the message, since that is what the sampler goes by.
func logSeldom(log *zap.Logger) func(error) {
	log = log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 1, 0)
	}))
	return func(err error) { log.Warn("connecting to the broker: " + err.Error()) }
}

func (a *App) openFront() error {
	tokenMetrics, err1 := token.NewMetrics(a.metrics)
	verifyMetrics, err2 := verify.NewMetrics(a.metrics)
	var err3 error
	a.policy, err3 = a.cfg.Policy()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	tokens, err := token.New(token.Config{Leeway: a.cfg.Leeway, CacheBytes: a.cfg.CacheBytes}, a.issuers, a.denylist, tokenMetrics)
	if err != nil {
		return err
	}
	a.verifier, err = verify.Assemble(verify.Parts{
		Tokens: tokens, Denylist: a.denylist, Freshness: a.view, Policy: a.policy, Metrics: verifyMetrics, Log: a.log,
	})
	if err != nil {
		return err
	}
	routes, err := route.New(a.cfg.Rules)
	if err != nil {
		return err
	}
	a.check, err = front.NewChecker(front.Config{
		Realm: challengeRealm, Routes: routes, Within: a.cfg.AnswerWithin, MaxInFlight: a.cfg.MaxInFlight,
	}, a.verifier)
	if err != nil {
		return err
	}
	if a.auth, err = forwardauth.New(forwardauth.Family(a.cfg.OriginalHeaders), a.check); err != nil {
		return err
	}
	if err := a.openProxy(); err != nil {
		return err
	}
	return a.registerView()
}

// awaitColdStart returns when the disk may be written. A sidecar that starts from
// nothing first becomes able to answer: until it has caught up there is nothing on
// disk that a restart could use, and two cores have better things to do.
func (a *App) awaitColdStart(ctx context.Context) {
	if a.denylist.Status().Cursor.Epoch != "" {
		return
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !a.syncer.State().CaughtUp && a.denylist.Status().Queued < a.denylist.MostUnwritten() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Run serves and follows the feed until ctx ends, then lets requests under way
// finish and writes what is not yet on disk. It returns nil for an end that was
// asked for.
func (a *App) Run(ctx context.Context) error {
	servers, err := a.servers(ctx)
	if err != nil {
		return err
	}
	// The disk writer outlives whatever feeds it.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	written := make(chan error, 1)
	go func() {
		a.awaitColdStart(writing)
		written <- a.denylist.Run(writing)
	}()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.syncer.Run(ctx) })
	for _, keys := range a.keys {
		group.Go(func() error { return keys.Run(ctx) })
	}
	group.Go(func() error { return a.watchReadiness(ctx) })
	group.Go(func() error { return a.giveMemoryBack(ctx) })
	group.Go(func() error { return a.tls.followFiles(ctx, a.log) })
	if a.proxy != nil {
		group.Go(func() error { return a.proxy.Run(ctx) })
	}
	for _, s := range servers {
		group.Go(func() error { return s.serve(a.log) })
		group.Go(func() error {
			<-ctx.Done()
			return s.drain(context.WithoutCancel(ctx), a.log)
		})
	}
	err = group.Wait()
	stopWriting()
	return errors.Join(err, <-written)
}
