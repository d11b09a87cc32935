package syncer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// Config says which feed is followed, and where.
type Config struct {
	Realm subject.Realm
	// URL of the broker; several are separated by commas. Required.
	URL string
	// Options say how to connect: credentials, TLS. They cannot change what the
	// syncer needs of the connection itself: its inbox, its handlers, its patience.
	Options []nats.Option
	// Root is the realm's root key, without which no lift and no key counts.
	Root ed25519.PublicKey
	// ID names this sidecar in reports: letters, digits, '-' and '_', at most 128.
	ID string
	// Instance tells one run of this sidecar from the next: a random UUID, required.
	Instance string
	// Replaces is the instance that had the same store before; empty for none.
	Replaces string
	// Version is the program's.
	Version string
	// StaleAfter is the age from which reports call the view stale; zero for never.
	StaleAfter time.Duration
}

// Validate lists every fault.
func (c Config) Validate() error {
	var faults []error
	if _, err := subject.ParseRealm(string(c.Realm)); err != nil {
		faults = append(faults, err)
	}
	if c.URL == "" {
		faults = append(faults, errors.New("the broker's URL is missing"))
	}
	if len(c.Root) != 0 && len(c.Root) != ed25519.PublicKeySize {
		faults = append(faults, fmt.Errorf("realm root key of %d bytes, not %d", len(c.Root), ed25519.PublicKeySize))
	}
	if _, place, err := subject.Parse(c.Realm.Report(c.ID)); err != nil || place != (subject.Report{Sidecar: c.ID}) {
		faults = append(faults, fmt.Errorf("sidecar id %q: want 1 to 128 letters, digits, '-' and '_'", c.ID))
	}
	if _, err := codec.EncodeReport(events.Report{
		Sidecar: "any", Instance: c.Instance, Replaces: c.Replaces, Version: c.Version,
	}); err != nil {
		faults = append(faults, fmt.Errorf("what reports say of instance and version: %w", err))
	}
	return errors.Join(faults...)
}

// Denylist takes in what the feed says.
type Denylist interface {
	// Apply must deny by the entries, and know the keys, once it returns. It may be
	// given what it has already, and a cursor behind its last. After an error it is
	// given the same again. One caller at a time.
	Apply(a replica.Apply) error
}

// Deps are what a [Syncer] works with. All are required.
type Deps struct {
	Denylist Denylist
	// Cursor is what the denylist's store last kept.
	Cursor replica.Cursor
	// Entries is how many revocations the denylist holds.
	Entries func() int
	// Restart has a value when the feed is to be followed from its beginning, since
	// the denylist's store has lost what it held. Optional.
	Restart <-chan struct{}
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Syncer follows the feed. State may be called from anywhere, at any time.
type Syncer struct {
	cfg      Config
	denylist Denylist
	entries  func() int
	restart  <-chan struct{}
	log      *zap.Logger
	reported reportMetrics

	machine *replica.Machine // Run's alone
	state   atomic.Pointer[replica.State]
	// rejected counts live messages whose place in the feed is not certain.
	rejected atomic.Uint64
}

// New checks the configuration and registers the metrics. It connects to nothing.
func New(cfg Config, deps Deps) (*Syncer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Syncer{
		cfg: cfg, denylist: deps.Denylist, entries: deps.Entries, restart: deps.Restart, log: deps.Log,
		machine: replica.New(replica.Config{
			Snapshots:        len(cfg.Root) > 0, // nobody else's word is good enough
			VerifyLift:       func(l events.Lift) bool { return codec.VerifyLift(cfg.Root, cfg.Realm, l) },
			VerifyKey:        func(k events.Key) bool { return codec.VerifyKey(cfg.Root, cfg.Realm, k) },
			VerifyRetirement: func(k events.Key) bool { return codec.VerifyRetirement(cfg.Root, cfg.Realm, k) },
		}, deps.Cursor),
	}
	s.publish()
	if err := deps.Metrics.Register(newCollector(s)); err != nil {
		return nil, fmt.Errorf("registering the feed's metrics: %w", err)
	}
	var err error
	if s.reported, err = newReportMetrics(deps.Metrics); err != nil {
		return nil, err
	}
	return s, nil
}

// State is what may be claimed of the denylist at this moment: it was applied
// before it could be read here.
func (s *Syncer) State() replica.State { return *s.state.Load() }

// Rejected counts live messages that were left to a fetch, because what the server
// says of them cannot be told from what their publisher said.
func (s *Syncer) Rejected() uint64 { return s.rejected.Load() }

func (s *Syncer) publish() {
	st := s.machine.State()
	s.state.Store(&st)
}

// Run follows the feed until ctx is done, and then returns nil. A broker that is
// away or refuses is tried for ever. It is called once.
func (s *Syncer) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := &run{
		Syncer: s, stop: ctx.Done(), loads: make(chan replica.Load, 1),
		inputs: make(chan input, queue), closed: make(chan struct{}), told: s.State(),
		reports: newReporter(s.reported, s.State().Cursor, time.Now()),
	}
	options := append(slices.Clone(s.cfg.Options), r.options()...)
	conn, err := nats.Connect(s.cfg.URL, options...)
	if err != nil {
		return fmt.Errorf("connecting to the broker: %w", err)
	}
	defer conn.Close()
	if err := r.subscribe(conn); err != nil {
		return err
	}
	var loading sync.WaitGroup
	loading.Go(func() { r.loader(ctx) })
	err = r.loop()
	stop()
	loading.Wait()
	if err != nil {
		return err
	}
	r.signOff(context.WithoutCancel(ctx))
	return nil
}
