// Package app puts a sidecar together and runs it. It is the one package that
// knows all the others; what it opens it closes, last first.
package app

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/front/proxy"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/node"
	"github.com/revocast/revocast/sidecar/internal/route"
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

	policy   gate.Policy
	node     *node.Node
	verifier *verify.Verifier
	check    *front.Checker
	auth     *forwardauth.Handler
	proxy    *proxy.Proxy // nil where there is no application
	tls      listenerFiles
	crowded  *prometheus.CounterVec // by listener
}

// New opens the denylist and puts the parts together. It connects to nothing and
// starts nothing but the store's own upkeep.
func New(cfg config.Config, version string, log *zap.Logger) (_ *App, err error) {
	a := &App{cfg: cfg, version: version, log: log, metrics: prometheus.NewRegistry()}
	a.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if a.policy, err = cfg.Policy(); err != nil {
		return nil, err
	}
	if err := a.openListeners(); err != nil {
		return nil, err
	}
	followed := nodeConfig(cfg, a.policy, version)
	followed.Changed = a.revoked
	if a.node, err = node.New(followed, log, a.metrics); err != nil {
		return nil, err
	}
	if err := a.openFront(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Close closes the store. Call it once, after Run has returned.
func (a *App) Close() {
	if err := a.node.Close(); err != nil {
		a.log.Error("closing the denylist's store", zap.Error(err))
	}
}

// nodeConfig is the part of cfg that says what is followed and whom to trust.
func nodeConfig(cfg config.Config, policy gate.Policy, version string) node.Config {
	return node.Config{
		Dir: cfg.DataDir, NATSURL: cfg.NATSURL, NATSCreds: cfg.NATSCreds, NATSFiles: cfg.NATSFiles(),
		Realm: subject.Realm(cfg.Realm), Root: cfg.Root, ID: cfg.ID, Version: version, Trusts: cfg.Trusts, Leeway: cfg.Leeway,
		Budget: cfg.BudgetBytes, Cache: cfg.CacheBytes, Policy: policy,
	}
}

func (a *App) openFront() error {
	metrics, err := verify.NewMetrics(a.metrics)
	if err != nil {
		return err
	}
	a.verifier, err = verify.Assemble(verify.Parts{
		Tokens: a.node.Tokens, Denylist: a.node.Denylist, Freshness: a.node, Policy: a.policy, Metrics: metrics, Log: a.log,
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
	return a.openProxy()
}

// Run serves and follows the feed until ctx ends, then lets requests under way
// finish and writes what is not yet on disk. It returns nil for an end that was
// asked for.
func (a *App) Run(ctx context.Context) error {
	servers, err := a.servers(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.node.Run(ctx) })
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
	return group.Wait()
}
