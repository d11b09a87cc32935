// Package app puts an issuer together and runs it. It is the one package that
// knows all the others; what it starts it stops, last first.
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/natsauth"
	"github.com/revocast/revocast/events/provision"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/bootstrap"
	"github.com/revocast/revocast/services/internal/broker"
	"github.com/revocast/revocast/services/internal/canary"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/config"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/finisher"
	"github.com/revocast/revocast/services/internal/fleet"
	"github.com/revocast/revocast/services/internal/guard"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/keeper"
	"github.com/revocast/revocast/services/internal/notary"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/risk"
	"github.com/revocast/revocast/services/internal/signing"
	"github.com/revocast/revocast/services/internal/snapshot"
)

const (
	// provisionWithin bounds how long the broker may take to be there at start.
	provisionWithin = 2 * time.Minute
	// drainWithin bounds how long requests under way may take at the end.
	drainWithin = 10 * time.Second
)

// App is an issuer. Make one with [New], let [App.Run] run, then call [App.Close].
type App struct {
	cfg     config.Config
	log     *zap.Logger
	metrics *prometheus.Registry
	stops   []func()

	conn      *nats.Conn
	unreached func(error) // logs why there is no connection, now and then
	realm     *provision.Realm
	keys      *signing.Keys
	keeper    *keeper.Keeper
	clients   *clients.Live
	hasher    *password.Hasher
	service   *issue.Service
	finisher  *finisher.Finisher
	guard     *guard.Guard
	reloads   reloads
	clock     *clock
	admin     administration
	notary    *notary.Notary
	snapshots *snapshot.Writer
	fleet     *fleet.Fleet
	canary    *canary.Canary
	providers providers

	// unready says why this issuer should not be sent requests: empty for no
	// reason, nil before anyone has looked.
	unready atomic.Pointer[string]
}

// New opens everything an issuer needs: keys, broker, streams, users. On error
// whatever was opened is closed again.
func New(ctx context.Context, cfg config.Config, log *zap.Logger) (_ *App, err error) {
	a := &App{cfg: cfg, log: log, metrics: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	a.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, step := range []func(context.Context) error{
		a.openKeys, a.openAdmin, a.openBroker, a.openStreams, a.openService, a.openProviders, a.openSnapshots, a.openAudit, a.registerUsers,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Close stops what New opened, last first. It may be called once.
func (a *App) Close() {
	for _, v := range slices.Backward(a.stops) {
		v()
	}
}

func (a *App) onClose(f func()) { a.stops = append(a.stops, f) }

func (a *App) openKeys(context.Context) (err error) {
	if err := a.openClients(); err != nil {
		return err
	}
	audiences := a.clients.Registry().Audiences()
	if len(audiences) == 0 {
		audiences = []string{a.cfg.Issuer}
	}
	a.keys, err = signing.Open(signing.Config{
		Dir: a.cfg.KeysDir, Issuer: events.Issuer(a.cfg.Issuer), Audiences: audiences,
		Algorithm: a.cfg.SigningAlg, Now: now,
		MaxSkew: 2 * events.MaxSkew, // of two clocks, each off the other way
	})
	if err != nil {
		return err
	}
	a.hasher, err = password.New(password.Config{})
	return err
}

// openBroker starts the inner broker unless there is one outside, and connects.
func (a *App) openBroker(context.Context) error {
	url, creds := a.cfg.NATSURL, a.cfg.NATSCreds
	if url == "" {
		streams, keys := filepath.Join(a.cfg.DataDir, "broker"), filepath.Join(a.cfg.KeysDir, "broker")
		if exists(streams) && !exists(keys) {
			return fmt.Errorf("%s holds streams, but %s is gone: restore the keys they belong to, or remove both to start afresh", streams, keys)
		}
		authority, err := natsauth.LoadOrCreate(keys, a.topology())
		if err != nil {
			return fmt.Errorf("opening the broker's keys: %w", err)
		}
		if err := authority.WriteCredentials(a.cfg.CredsDir); err != nil {
			return fmt.Errorf("writing the broker's credentials: %w", err)
		}
		b, err := broker.Start(broker.Config{Listen: a.cfg.NATSListen, Dir: streams}, authority, a.log)
		if err != nil {
			return err
		}
		a.onClose(b.Stop)
		url, creds = b.URL(), filepath.Join(a.cfg.CredsDir, topology.Issuer.String()+".creds")
	}
	a.unreached = logSeldom(a.log)
	options := append(a.cfg.NATSFiles().Options(a.unreached),
		nats.Name("revocast issuer"), nats.UserCredentials(creds), nats.CustomInboxPrefix(topology.Issuer.InboxPrefix()),
		nats.RetryOnFailedConnect(true), nats.PingInterval(10*time.Second), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond),
		nats.ReconnectJitter(200*time.Millisecond, time.Second),
		// Refused twice is not for ever: somebody may be mending the accounts.
		nats.IgnoreAuthErrorAbort(),
		// What could not be sent is not sent later: its caller was told that it
		// did not happen, or knows that it may ask again.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { a.log.Warn("broker disconnected", zap.Error(err)) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { a.unreached(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { a.log.Info("broker connected again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { a.log.Error("broker reports", zap.Error(err)) }),
	)
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return fmt.Errorf("connecting to the broker: %w", err)
	}
	a.onClose(conn.Close)
	a.conn = conn
	return nil
}

// logSeldom logs each reason once a minute, for a broker that is away is tried often.
// The reason is in the message, since that is what the sampler goes by.
func logSeldom(log *zap.Logger) func(error) {
	log = log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 1, 0)
	}))
	return func(err error) { log.Warn("connecting to the broker: " + err.Error()) }
}

var errNotConnected = errors.New("not connected to the broker")

func (a *App) topology() topology.Options {
	return topology.Options{Realm: subject.Realm(a.cfg.Realm), Replicas: a.cfg.Replicas, AuditMaxAge: a.cfg.AuditMaxAge}
}

// openStreams creates or updates the streams, waiting for a broker that is not
// there yet.
func (a *App) openStreams(ctx context.Context) (err error) {
	if a.realm, err = provision.New(a.conn, a.topology()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, provisionWithin)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 10*time.Second)
		err := a.realm.Ensure(attempt)
		done()
		if err == nil {
			return nil
		}
		if !a.conn.IsConnected() {
			err = errors.Join(err, errNotConnected, a.conn.LastError())
		}
		a.log.Warn("streams are not ready", zap.Error(err))
		if !aSecond(ctx) {
			return fmt.Errorf("provisioning realm %s: %w", a.cfg.Realm, err)
		}
	}
}

func (a *App) openService(ctx context.Context) error {
	realm := subject.Realm(a.cfg.Realm)
	journal, err1 := eventstore.NewJournal(a.conn, realm.JournalStream())
	feed, err2 := eventstore.NewFeed(a.conn, realm.FeedStream())
	notes, err3 := eventstore.NewNotes(a.conn, realm.AuditStream())
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	err := a.openKeeper(ctx, journal, feed)
	if err != nil {
		return err
	}
	if err := a.openFleet(feed); err != nil {
		return err
	}
	if a.notary, err = notary.New(realm, notes, a.log, a.metrics); err != nil {
		return err
	}
	hook, err := a.riskHook()
	if err != nil {
		return err
	}
	a.service = issue.New(issue.Config{
		Realm: realm, Issuer: events.Issuer(a.cfg.Issuer), MaxAccessTTL: a.clients.MaxAccessTTL,
		ForeignLifetime: a.cfg.ForeignMaxLifetime, ForeignSession: a.cfg.ForeignMaxSession,
	}, issue.Deps{
		Journal: journal, Feed: a.fleet.Watch(feed), Notes: notes, Noter: a.notary, Risk: hook, Passwords: a.hasher, Keys: a.keeper, Keyer: a.keys.Keyer(),
		Root: a.keys, Announced: feed, Survey: journal, Now: now,
	})
	limits := guard.Limits{Login: a.cfg.ThrottleLogin, User: a.cfg.ThrottleUser, Address: a.cfg.ThrottleAddress, Refresh: a.cfg.ThrottleRefresh}
	if a.guard, err = guard.New(limits, a.service, a.service, time.Now, a.metrics); err != nil {
		return err
	}
	if a.finisher, err = finisher.New(a.conn, realm, a.service, a.log, a.metrics); err != nil {
		return err
	}
	a.clock, err = watchClock(a.conn, realm, a.metrics)
	return err
}

// riskHook is the operator's own judgement of refreshes; nil for none.
func (a *App) riskHook() (issue.Risk, error) {
	if a.cfg.RiskHook == "" {
		return nil, nil //nolint:nilnil // none is configured
	}
	cfg := risk.Config{URL: a.cfg.RiskHook, Timeout: a.cfg.RiskHookTimeout, Failure: issue.RiskStepUp}
	if a.cfg.RiskHookFailure == "allow" {
		cfg.Failure = issue.RiskAllow
	}
	hook, err := risk.New(cfg, a.log, a.metrics)
	if err != nil {
		return nil, fmt.Errorf("opening the risk hook: %w", err)
	}
	a.onClose(hook.Close)
	return hook, nil
}

// registerUsers registers those of the users file that do not exist yet. Whoever
// does keeps the password they have.
func (a *App) registerUsers(ctx context.Context) error {
	if a.cfg.Users == "" {
		return nil
	}
	users, err := bootstrap.Load(a.cfg.Users)
	if err != nil {
		return err
	}
	for _, u := range users {
		known, err := a.service.HasUser(ctx, u.Username)
		if err != nil {
			return fmt.Errorf("looking for user %q: %w", u.Username, err)
		}
		if known {
			continue
		}
		hash := u.PasswordHash
		if hash == "" {
			if hash, err = a.hasher.Hash(ctx, string(u.Password)); err != nil {
				return fmt.Errorf("hashing the password of user %q: %w", u.Username, err)
			}
		}
		if _, err := a.service.Register(ctx, u.Username, hash, u.Roles); err != nil && !errors.Is(err, issue.ErrExists) {
			return fmt.Errorf("registering user %q: %w", u.Username, err)
		}
	}
	return nil
}

// Run serves until ctx ends, then lets requests under way finish. It returns nil
// for an end that was asked for.
func (a *App) Run(ctx context.Context) error {
	servers, err := a.servers()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.finisher.Run(ctx) })
	group.Go(func() error { return a.readiness(ctx) })
	if !a.cfg.Control() {
		group.Go(func() error { return a.declareLifetimes(ctx) })
	}
	for _, keys := range a.providers.keys {
		group.Go(func() error { return keys.Run(ctx) })
	}
	group.Go(func() error { return a.standIn(ctx) })
	group.Go(func() error { return a.reload(ctx) })
	group.Go(func() error { return a.notary.Run(ctx) })
	group.Go(func() error { return a.keeper.Run(ctx) })
	group.Go(func() error { return a.writeSnapshots(ctx) })
	group.Go(func() error { return a.fleet.Run(ctx) })
	group.Go(func() error { return a.canary.Run(ctx) })
	if a.admin.tls != nil {
		group.Go(func() error { return a.admin.tls.Run(ctx, a.certificatesRead) })
	}
	for _, s := range servers {
		group.Go(func() error {
			a.log.Info("listening", zap.String("for", s.name), zap.String("address", s.listener.Addr().String()))
			serve := func() error { return s.Serve(s.listener) }
			if s.TLSConfig != nil {
				serve = func() error { return s.ServeTLS(s.listener, "", "") }
			}
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving %s: %w", s.name, err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
			defer cancel()
			if err := s.Shutdown(drain); err != nil {
				// A client that never ends its request is no fault of ours.
				a.log.Warn("requests were cut off", zap.String("for", s.name), zap.Error(err), zap.NamedError("closing", s.Close()))
			}
			return nil
		})
	}
	return group.Wait()
}

// listen opens a listener that Run serves and closes.
func listen(ctx context.Context, address string) (net.Listener, error) {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	return l, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// aSecond waits one, and reports whether ctx let it.
func aSecond(ctx context.Context) bool {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
