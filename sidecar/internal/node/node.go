// Package node keeps a view of what is revoked in a realm, and of the keys of the
// issuers that are trusted: the denylist, on disk or in memory, and all that fills it.
// It is what the sidecar and a program with package verify in it have in common.
//
// Invariants:
//
//   - Nothing that denies waits for what allows: neither for keys nor for the disk.
//   - No cursor on disk covers a key that is not: a restart reads its announcement again.
//   - The node says itself whether it may be relied on, by the gate's own judgement.
package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/natsconn"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/replica"
	"github.com/revocast/revocast/sidecar/internal/syncer"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// Config says what is followed and whom to trust.
type Config struct {
	// Dir holds the denylist and the last good key sets, and is this node's alone. Empty
	// keeps both in memory: every start then begins with nothing, and is not ready
	// until the whole feed has been read and the keys have been fetched.
	Dir string
	// NATSURL names the broker's servers, separated by commas, NATSCreds the file with
	// the credentials of the sidecar role, NATSFiles what secures the connection.
	NATSURL, NATSCreds string
	NATSFiles          natsconn.Files
	Realm              subject.Realm
	// Root is the realm's root key. Without it neither lifts nor announced keys count.
	Root ed25519.PublicKey
	// ID names this node in its reports: 1 to 128 letters, digits, '-' and '_'.
	// Version is the program's.
	ID, Version string
	// Trusts are the issuers, at least one, each once.
	Trusts []token.Trust
	// Leeway is that of [token.Config].
	Leeway time.Duration
	// Budget bounds the memory of denylist and verified tokens together, Cache the
	// latter's part, in bytes; no Budget sets no bound, no Cache keeps no tokens.
	Budget, Cache int64
	// Policy is what readiness goes by.
	Policy gate.Policy
	// Changed, unless it is nil, is called when there is more that is denied, by whoever
	// follows the feed. It must not wait.
	Changed func()
}

// Validate names every fault at once.
func (c Config) Validate() error {
	faults := []error{natsconn.CheckServers(c.NATSURL), c.NATSFiles.Check(), token.Config{Leeway: c.Leeway}.Validate(), c.Policy.Validate()}
	if len(c.Trusts) == 0 {
		faults = append(faults, errors.New("no issuer is trusted"))
	}
	for i, t := range c.Trusts {
		if slices.ContainsFunc(c.Trusts[:i], func(have token.Trust) bool { return have.Issuer == t.Issuer }) {
			faults = append(faults, fmt.Errorf("issuer %q: given twice", t.Issuer))
		}
	}
	return errors.Join(faults...)
}

// Feed says which feed is followed, and where. What keeps it from connecting goes to
// warn, as often as it is tried.
func (c Config) Feed(warn func(error)) syncer.Config {
	options := []nats.Option{
		nats.UserCredentials(c.NATSCreds),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { warn(err) }),
	}
	return syncer.Config{
		Realm: c.Realm, URL: c.NATSURL, Options: append(options, c.NATSFiles.Options(warn)...),
		Root: c.Root, ID: c.ID, Version: c.Version, StaleAfter: c.Policy.StaleAfter,
	}
}

// StoreDir is where the denylist of a node with that directory is.
func StoreDir(dir string) string { return filepath.Join(dir, "denylist") }

// Node is such a view. Its parts are for reading; they work while [Node.Run] runs.
type Node struct {
	Denylist *denylist.Denylist
	Syncer   *syncer.Syncer
	// Tokens judges tokens by the keys.
	Tokens *token.Verifier
	// Store is the denylist's on disk; nil where it is in memory.
	Store *badgerstore.Store
	// Instance tells this run from all others.
	Instance string

	cfg     Config
	log     *zap.Logger
	metrics prometheus.Registerer
	keys    []*jwks.Set
	ours    []*jwks.Set // those of the realm's own issuers
	issuers []token.Issuer
	// warm is what an earlier run had proved: its store may answer until that is older
	// than the policy's limit.
	warm time.Time
	// hangs: Run has ended without the disk.
	hangs bool
}

// New opens the denylist and puts the parts together. It connects to nothing and
// starts nothing but the store's own upkeep. Close the node when it is not needed.
func New(cfg Config, log *zap.Logger, metrics prometheus.Registerer) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: log, metrics: metrics, Instance: uuid.NewString()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	for _, step := range []func() error{n.openDenylist, n.openKeys, n.openFeed, n.openTokens, n.registerView} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Close closes the store, unless Run has left it in use by a disk that hangs. Call it
// once, after Run has returned.
func (n *Node) Close() error {
	if n.Store == nil || n.hangs {
		return nil
	}
	return n.Store.Close()
}

func (n *Node) openDenylist() error {
	var store denylist.Store = memstore.New()
	if n.cfg.Dir != "" {
		log := n.log.Named("store")
		var err error
		n.Store, err = badgerstore.Open(badgerstore.Config{
			Dir: StoreDir(n.cfg.Dir), Warn: func(message string) { log.Warn(message) },
		})
		if err != nil {
			return err
		}
		if damage := n.Store.Damage(); damage != nil {
			n.log.Error("the denylist on disk was damaged and is fetched anew", zap.Error(damage))
		}
		store = n.Store
	}
	var err error
	n.Denylist, err = denylist.New(denylist.Config{Budget: int(max(n.cfg.Budget-n.cfg.Cache, 0)), Covered: n.keysSaved}, store)
	return err
}

// keysSaved reports whether a restart would know of all keys that the feed has brought.
func (n *Node) keysSaved() bool {
	return !slices.ContainsFunc(n.ours, func(s *jwks.Set) bool { return !s.Saved() })
}

// openKeys makes a key set for every trusted issuer. Those of the realm learn of their
// keys by the feed, too.
func (n *Node) openKeys() error {
	metrics, err := jwks.NewMetrics(n.metrics)
	if err != nil {
		return err
	}
	if len(n.cfg.Root) == 0 {
		n.log.Warn("no realm root is pinned: neither lifts nor announced keys are believed")
	}
	dir := ""
	if n.cfg.Dir != "" {
		dir = filepath.Join(n.cfg.Dir, "jwks")
	}
	for _, trust := range n.cfg.Trusts {
		cfg := jwks.Config{Issuer: trust.Issuer, Source: trust.JWKS, Dir: dir}
		if trust.InRealm() {
			cfg.Announced = func(k events.Key, retired bool) bool {
				if retired {
					return codec.VerifyRetirement(n.cfg.Root, n.cfg.Realm, k)
				}
				return codec.VerifyKey(n.cfg.Root, n.cfg.Realm, k)
			}
		}
		keys, err := jwks.New(cfg, jwks.Deps{Log: n.log, Metrics: metrics})
		if err != nil {
			return err
		}
		n.keys = append(n.keys, keys)
		if trust.InRealm() {
			n.ours = append(n.ours, keys)
		}
		n.issuers = append(n.issuers, token.Issuer{Trust: trust, Keys: keys})
	}
	return nil
}

func (n *Node) openFeed() error {
	cursor := n.Denylist.Status().Cursor
	n.warm = cursor.FreshAsOf
	cfg := n.cfg.Feed(logSeldom(n.log))
	cfg.Instance = n.Instance
	if n.Store != nil {
		replaces, err := takeOver(n.cfg.Dir, n.Instance)
		if err != nil {
			n.log.Warn("the instance before this one is not known; issuers may miss it for a while", zap.Error(err))
		}
		if n.Store.Unusable() == nil { // else the directory may be another's, who is alive
			cfg.Replaces = replaces
		}
	}
	in := &sink{denylist: n.Denylist, keys: n.ours, log: n.log, changed: n.cfg.Changed}
	if in.changed == nil {
		in.changed = func() {}
	}
	var err error
	n.Syncer, err = syncer.New(cfg, syncer.Deps{
		Denylist: in, Cursor: replica.Cursor(cursor), Entries: n.Denylist.Entries,
		Restart: n.Denylist.Lost(), Log: n.log, Metrics: n.metrics,
	})
	if err != nil {
		return err
	}
	return registerDenylist(n.metrics, n.Denylist, n.cfg.Budget)
}

func (n *Node) openTokens() error {
	metrics, err := token.NewMetrics(n.metrics)
	if err != nil {
		return err
	}
	n.Tokens, err = token.New(token.Config{Leeway: n.cfg.Leeway, CacheBytes: n.cfg.Cache}, n.issuers, n.Denylist, metrics)
	return err
}

// logSeldom logs each reason once a minute, for a broker that is away is tried often.
// The reason is in the message, since that is what the sampler goes by.
func logSeldom(log *zap.Logger) func(error) {
	log = log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 1, 0)
	}))
	return func(err error) { log.Warn("connecting to the broker: " + err.Error()) }
}

// awaitColdStart returns when the disk may be written. A node that starts from nothing
// first becomes able to answer: until it has caught up there is nothing on disk that a
// restart could use, and two cores have better things to do.
func (n *Node) awaitColdStart(ctx context.Context) {
	if n.Denylist.Status().Cursor.Epoch != "" {
		return
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !n.Syncer.State().CaughtUp && n.Denylist.Status().Queued < n.Denylist.MostUnwritten() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Run follows the feed and the keys until ctx ends, then writes what is not yet on
// disk. It returns nil for an end that was asked for, unless the disk does not answer any
// more. Call it once.
func (n *Node) Run(ctx context.Context) error {
	// The disk writer outlives whatever feeds it.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	written := make(chan error, 1)
	go func() {
		n.awaitColdStart(writing)
		written <- n.Denylist.Run(writing)
	}()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.Syncer.Run(ctx) })
	for _, keys := range n.keys {
		group.Go(func() error { return keys.Run(ctx) })
	}
	group.Go(func() error { return n.watchReadiness(ctx) })
	err := group.Wait()
	stopWriting()
	end := <-written
	n.hangs = errors.Is(end, denylist.ErrHangs)
	return errors.Join(err, end)
}
