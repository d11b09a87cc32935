// Package app puts a sidecar together and runs it. It is the one package that
// knows all the others; what it opens it closes, last first.
package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/replica"
	"github.com/revocast/revocast/sidecar/internal/syncer"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/verify"
)

const (
	// drainWithin bounds how long requests under way may take at the end.
	drainWithin = 5 * time.Second
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
	syncer   *syncer.Syncer
	view     *view
	auth     *forwardauth.Handler
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
	if err := a.openDenylist(); err != nil {
		return nil, err
	}
	if err := a.openFeed(); err != nil {
		return nil, err
	}
	return a, a.openFront()
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
	a.denylist, err = denylist.New(denylist.Config{}, a.store)
	return err
}

func (a *App) openFeed() (err error) {
	cursor := a.denylist.Status().Cursor
	a.syncer, err = syncer.New(syncer.Config{
		Realm: subject.Realm(a.cfg.Realm), URL: a.cfg.NATSURL, Options: []nats.Option{nats.UserCredentials(a.cfg.NATSCreds)},
		Root: a.cfg.Root, ID: a.cfg.ID, Instance: uuid.NewString(),
	}, syncer.Deps{
		Denylist: &sink{denylist: a.denylist}, Cursor: replica.Cursor(cursor), Log: a.log, Metrics: a.metrics,
	})
	if err != nil {
		return err
	}
	a.view = &view{syncer: a.syncer, warm: cursor.FreshAsOf, limit: a.cfg.StaleLimit}
	return registerDenylist(a.metrics, a.denylist)
}

func (a *App) openFront() error {
	keyMetrics, err1 := jwks.NewMetrics(a.metrics)
	tokenMetrics, err2 := token.NewMetrics(a.metrics)
	verifyMetrics, err3 := verify.NewMetrics(a.metrics)
	policy, err4 := a.cfg.Policy()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	var issuers []token.Issuer
	for _, trust := range a.cfg.Trusts {
		keys, err := jwks.New(jwks.Config{
			Issuer: trust.Issuer, Source: trust.JWKS, Dir: filepath.Join(a.cfg.DataDir, "jwks"),
		}, jwks.Deps{Log: a.log, Metrics: keyMetrics})
		if err != nil {
			return err
		}
		a.keys = append(a.keys, keys)
		issuers = append(issuers, token.Issuer{Trust: trust, Keys: keys})
	}
	tokens, err := token.New(token.Config{Leeway: a.cfg.Leeway, CacheBytes: a.cfg.CacheBytes}, issuers, a.denylist, tokenMetrics)
	if err != nil {
		return err
	}
	verifier, err := verify.Assemble(verify.Parts{
		Tokens: tokens, Denylist: a.denylist, Freshness: a.view, Policy: policy, Metrics: verifyMetrics, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.auth, err = forwardauth.New(challengeRealm, verifier)
	return err
}

// maxUnwritten bounds how much a cold start may hold in memory alone.
const maxUnwritten = 2_000_000

// awaitColdStart returns when the disk may be written. A sidecar that starts from
// nothing first becomes able to answer: until it has caught up there is nothing on
// disk that a restart could use, and two cores have better things to do.
func (a *App) awaitColdStart(ctx context.Context) {
	if a.denylist.Status().Cursor.Epoch != "" {
		return
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !a.syncer.State().CaughtUp && a.denylist.Status().Queued < maxUnwritten {
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
	for _, s := range servers {
		group.Go(func() error { return s.serve(a.log) })
		group.Go(func() error {
			<-ctx.Done()
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
			defer cancel()
			if err := s.Shutdown(drain); err != nil && !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("draining %s: %w", s.name, err)
			}
			return nil
		})
	}
	err = group.Wait()
	stopWriting()
	return errors.Join(err, <-written)
}
