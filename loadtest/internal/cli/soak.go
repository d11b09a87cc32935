package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/revocast/revocast/loadtest/internal/front"
	"github.com/revocast/revocast/loadtest/internal/local"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/soak"
)

type soakCommand struct {
	Sidecars int `group:"target" default:"1" placeholder:"N" help:"How many sidecars the local system has; they are asked in turn (${default})."`

	Sessions    int           `group:"tokens" default:"200" placeholder:"N" help:"How many sessions are open at all times (${default})."`
	MaxExposure time.Duration `group:"tokens" default:"1s" placeholder:"D" help:"How long after the receipt of its revocation a session's token may still pass; beyond it that is wrong (${default})."`

	Rate        float64             `group:"load" default:"500" placeholder:"N" help:"Verifications a second, by forward-auth (${default})."`
	Refreshes   float64             `group:"load" default:"10" placeholder:"N" help:"Refreshes a second, of the session that has waited longest (${default})."`
	Turnover    float64             `group:"load" default:"1" placeholder:"N" help:"Sessions a second that are ended by an operator, each after another has logged in (${default})."`
	Duration    time.Duration       `group:"load" default:"1h" placeholder:"D" help:"How long (${default})."`
	Every       time.Duration       `group:"load" default:"0s" placeholder:"D" help:"How often to look at the servers; 0: 120 times in all, but at most once a second."`
	Connections int                 `group:"load" default:"16" placeholder:"N" help:"Connections, and so verifications under way, at most, to each sidecar (${default})."`
	Timeout     time.Duration       `group:"load" default:"1s" placeholder:"D" help:"After which a verification is given up (${default})."`
	Seed        uint64              `group:"load" default:"1" placeholder:"N" help:"Picks one of the possible series of arrivals (${default})."`
	MaxGrowth   growth              `group:"load" default:"10%" placeholder:"SHARE" help:"How much more memory, open files or goroutines a server may have at the end than halfway (${default})."`
	SLO         []measure.Objective `group:"load" name:"slo" placeholder:"LIMIT" help:"Exit with 1 unless kept by verifications, such as p99<5ms, errors<0.1%; repeatable. Without one on errors there must be none, of whatever is done."`
}

func (*soakCommand) Help() string {
	return `Logs in, refreshes, verifies and revokes at a local system, at steady rates, and holds every answer against what is right. Memory, open files, goroutines, disk and entries of every server are looked at all the time. In the end a line is fitted through the later half of each, since the first half fills caches and denylists: what grows by more than --max-growth over that half is a leak, and the exit status is 1.

One hour is enough for what grows quickly; a night is better.

Examples:

  loadtest soak --duration 8h --out results
  loadtest soak --duration 20m --rate 5000 --sidecars 2 --slo 'p99<5ms'
`
}

// samples is how often servers are looked at unless it is said.
const samples = 120

// Validate is called by kong and lists every fault.
func (c *soakCommand) Validate() error {
	var faults []error
	check := func(fine bool, fault string) {
		if !fine {
			faults = append(faults, errors.New(fault))
		}
	}
	check(c.Sidecars >= 1 && c.Sidecars <= 100, "--sidecars: want 1 to 100")
	check(c.Sessions >= 1 && c.Sessions <= 10_000, "--sessions: want 1 to 10000")
	check(c.MaxExposure >= 0 && c.MaxExposure <= time.Hour, "--max-exposure: want 0 to 1h")
	check(c.Rate > 0 && c.Rate <= 1e6, "--rate: want more than 0 and at most 1000000")
	check(c.Refreshes >= 0 && c.Refreshes <= 10_000, "--refreshes: want 0 to 10000")
	check(c.Turnover >= 0 && c.Turnover <= 1000, "--turnover: want 0 to 1000")
	check(c.Duration >= time.Second && c.Duration <= 30*24*time.Hour, "--duration: want 1s to 720h")
	check(c.Every == 0 || c.Every >= 10*time.Millisecond && c.Every <= c.Duration/10, "--every: want 10ms to a tenth of --duration")
	check(c.Connections >= 1 && c.Connections <= 10_000, "--connections: want 1 to 10000")
	check(c.Timeout >= time.Millisecond && c.Timeout <= time.Minute, "--timeout: want 1ms to 1m")
	if c.Duration > accessLife/2 {
		check(c.Refreshes*accessLife.Seconds()/2 >= float64(c.Sessions),
			fmt.Sprintf("--refreshes: each session needs one in %s at least: want more of them, or fewer --sessions", accessLife/2))
	}
	return errors.Join(faults...)
}

// growth is how much more there may be, as a part of what there was.
type growth float64

// UnmarshalText reads a share such as 10% or 0.1, or one of more than the whole.
func (g *growth) UnmarshalText(text []byte) error {
	n, ok := readShare(string(text))
	if !ok {
		return fmt.Errorf("%q: want a share such as 10%% or 0.1", text)
	}
	*g = growth(n)
	return nil
}

// accessLife is how long the issuer's access tokens are good for.
const accessLife = 5 * time.Minute

// Run is called by kong.
func (c *soakCommand) Run(ctx context.Context, g *grammar, streams Streams, version string) (err error) {
	r := soaking{c, running{g, streams, version, "soak"}}
	if err := r.prepare(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the programs beside this one: %w", err)
	}
	r.note("starting the local system")
	system, err := local.Start(ctx, local.Config{Bin: filepath.Dir(self), Sidecars: c.Sidecars, IssuerFlags: []string{"--access-ttl", accessLife.String()}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, system.Stop()) }()
	fronts, closeFronts, err := r.fronts(system)
	defer closeFronts()
	if err != nil {
		return err
	}
	watched, closeWatched, err := watch(system)
	defer closeWatched()
	if err != nil {
		return err
	}
	r.note("opening %d sessions", c.Sessions)
	load, err := soak.Prepare(ctx, soak.Soak{
		Fronts: fronts, Issuer: system.API(), Login: local.Somebody(), Sessions: c.Sessions,
		Verifications: c.Rate, Refreshes: c.Refreshes, Turnover: c.Turnover, Duration: c.Duration,
		Workers: c.Connections * len(fronts), Patience: c.Timeout, Bound: c.MaxExposure, Seed: c.Seed,
	})
	if err != nil {
		return err
	}
	return r.run(ctx, load, watched)
}

// soaking is one run of the command.
type soaking struct {
	*soakCommand
	running
}

// fronts are the sidecars'.
func (r soaking) fronts(system *local.System) (all []front.Front, closeAll func(), err error) {
	closeAll = func() {
		for _, f := range all {
			_ = f.Close() // of HTTP, which does not fail
		}
	}
	for _, s := range system.Sidecars() {
		f, err := front.Open(front.Config{
			Kind: front.ForwardAuth, URL: front.ForwardAuth.At(s.URL()), Connections: r.Connections, Timeout: r.Timeout,
		})
		if err != nil {
			return all, closeAll, err
		}
		all = append(all, f)
	}
	return all, closeAll, nil
}

// watch begins to watch every server.
func watch(system *local.System) (all []*soak.Watched, closeAll func(), err error) {
	closeAll = func() {
		for _, w := range all {
			w.Close()
		}
	}
	for _, s := range system.Servers() {
		metrics, data := s.AdminURL()+"/metrics", filepath.Join(string(system.Dir()), s.Name)
		if s.Ports.Metrics != 0 { // an issuer's
			metrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", s.Ports.Metrics)
			data = filepath.Join(string(system.Dir()), "data")
		}
		w, err := soak.Watch(s.Name, s.PID(), metrics, data)
		if err != nil {
			return all, closeAll, err
		}
		all = append(all, w)
	}
	return all, closeAll, nil
}

// run sends the load and looks at the servers meanwhile.
func (r soaking) run(ctx context.Context, load *soak.Load, watched []*soak.Watched) error {
	began := time.Now()
	latency := &soak.Series{}
	// The first fault ends the looking, not the load, and is told in the end.
	var errLook error
	looking, stop := context.WithCancel(ctx)
	defer stop()
	var beside sync.WaitGroup
	beside.Go(func() {
		errLook = r.look(looking, began, load, watched, latency)
	})
	r.watch(ctx, report.Progress{Began: began, Length: r.Duration}, load.Recorder(soak.Verify), func() { load.Run(ctx, began) })
	stop()
	beside.Wait()
	return errors.Join(r.finishSoak(ctx, began, load, watched, latency), errLook)
}

// look looks at the servers until ctx ends.
func (r soaking) look(ctx context.Context, began time.Time, load *soak.Load, watched []*soak.Watched, latency *soak.Series) error {
	every := r.Every
	if every == 0 {
		every = max(r.Duration/samples, time.Second)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		at := time.Since(began)
		for _, w := range watched {
			if err := w.Look(ctx, at); err != nil {
				if ctx.Err() != nil {
					return nil // the end came between
				}
				return err
			}
		}
		if s := load.Interval(); s.Latency.Count() > 0 {
			latency.Add(at, measure.Milliseconds(s.Latency.At(99)))
		}
	}
}
