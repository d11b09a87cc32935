package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/local"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/scenario"
	"github.com/revocast/revocast/loadtest/internal/target"
)

type verifyCommand struct {
	URL       string `group:"target" xor:"target" placeholder:"URL" help:"A sidecar's forward-auth, such as http://127.0.0.1:9470/auth; this or --local."`
	Local     bool   `group:"target" xor:"target" env:"-" help:"Start an issuer and a sidecar for this run (the programs beside this one), log in there, and stop them again."`
	TokenFile string `group:"target" placeholder:"FILE" help:"Access tokens for --url, one a line; default: standard input."`
	Logins    int    `group:"target" default:"20" placeholder:"N" help:"How many sessions --local opens, for a token each (${default})."`
	Expect    int    `group:"target" default:"200" placeholder:"STATUS" help:"The status wanted of every answer; any other is an error (${default})."`
	Owned     string `group:"target" name:"i-own-this-target" env:"-" placeholder:"HOST" help:"Send load, and the tokens, off the loopback interface to this host, because it is yours."`

	Rate        float64             `group:"load" default:"1000" placeholder:"N" help:"Requests a second, on average (${default})."`
	Duration    time.Duration       `group:"load" default:"10s" placeholder:"D" help:"How long to measure (${default})."`
	WarmUp      time.Duration       `group:"load" default:"2s" placeholder:"D" help:"How long to send load first, unmeasured (${default})."`
	Connections int                 `group:"load" default:"64" placeholder:"N" help:"Connections, and so requests under way, at most (${default})."`
	Timeout     time.Duration       `group:"load" default:"1s" placeholder:"D" help:"After which a request is given up (${default})."`
	Seed        uint64              `group:"load" default:"1" placeholder:"N" help:"Picks one of the possible series of arrivals (${default})."`
	SLO         []measure.Objective `group:"load" name:"slo" placeholder:"LIMIT" help:"Exit with 1 unless kept, such as p99<5ms, max<1s, mean<2ms, errors<0.1%; repeatable. Without one on errors there must be none."`
}

func (*verifyCommand) Help() string {
	return `Of each request three times are kept: latency from the moment it was due, service time from the moment it was sent, and the delay between the two. A delay because no connection was free is the target's doing, or of too few --connections; any other delay is this program's own, and the result says so.

Examples:

  loadtest verify --local --rate 5000 --duration 30s --slo 'p99<5ms'
  loadtest verify --url http://127.0.0.1:9470/auth --token-file tokens --out results
  loadtest verify --url https://sidecar.example/auth --i-own-this-target sidecar.example < tokens
`
}

// Validate is called by kong and lists every fault.
func (c *verifyCommand) Validate() error {
	var faults []error
	check := func(fine bool, fault string) {
		if !fine {
			faults = append(faults, errors.New(fault))
		}
	}
	check(c.Local || c.URL != "", "--url or --local: one of them is needed")
	check(c.Rate > 0 && c.Rate <= 1e6, "--rate: want more than 0 and at most 1000000")
	check(c.Duration >= 100*time.Millisecond && c.Duration <= 24*time.Hour, "--duration: want 100ms to 24h")
	check(c.WarmUp >= 0 && c.WarmUp <= time.Hour, "--warm-up: want 0 to 1h")
	check(c.Connections >= 1 && c.Connections <= 10_000, "--connections: want 1 to 10000")
	check(c.Timeout >= time.Millisecond && c.Timeout <= time.Minute, "--timeout: want 1ms to 1m")
	check(c.Expect >= 200 && c.Expect <= 599, "--expect: want a status from 200 to 599")
	check(c.Logins >= 1 && c.Logins <= 1000, "--logins: want 1 to 1000")
	check(!c.Local || c.TokenFile == "" && c.Owned == "", "--local: has its own tokens and its own target")
	return errors.Join(faults...)
}

// Run is called by kong.
func (c *verifyCommand) Run(ctx context.Context, g *grammar, streams Streams, version string) error {
	run := verifying{c, running{g, streams, version, "verify"}}
	if err := run.prepare(); err != nil {
		return err
	}
	if c.Local {
		return run.local(ctx)
	}
	to, err := c.target(c.URL)
	if err != nil {
		return usage(err)
	}
	defer to.Close()
	tokens, err := run.readTokens()
	if err != nil {
		return err
	}
	return run.measure(ctx, to, tokens)
}

func (c *verifyCommand) target(address string) (*target.Target, error) {
	return target.New(target.Config{URL: address, Owned: c.Owned, Connections: c.Connections, Timeout: c.Timeout})
}

// verifying is one run of the command.
type verifying struct {
	*verifyCommand
	running
}

func (r verifying) readTokens() (_ scenario.Tokens, err error) {
	if r.TokenFile != "" {
		f, err := os.Open(r.TokenFile)
		if err != nil {
			return scenario.Tokens{}, fmt.Errorf("reading tokens: %w", err)
		}
		defer func() { _ = f.Close() }() // opened for reading only
		return scenario.ReadTokens(f)
	}
	if isTerminal(r.In) {
		r.note("paste tokens, one a line, then Ctrl-D")
	}
	return scenario.ReadTokens(r.In)
}

// local measures a stack that lives as long as the run.
func (r verifying) local(ctx context.Context) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the programs beside this one: %w", err)
	}
	r.note("starting the local system")
	system, err := local.Start(ctx, local.Config{Bin: filepath.Dir(self), Sidecars: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, system.Stop()) }()
	grants, valid, err := system.Grants(ctx, r.Logins)
	if err != nil {
		return err
	}
	if needed := r.WarmUp + r.Duration + r.Timeout; needed > valid {
		return usage(fmt.Errorf("the tokens of the local system are good for %s, too short for %s of load", valid.Round(time.Second), needed))
	}
	fresh := make([]string, len(grants))
	for n, g := range grants {
		fresh[n] = g.Access
	}
	tokens, err := scenario.NewTokens(fresh)
	if err != nil {
		return err
	}
	to, err := r.target(system.Sidecars()[0].URL() + "/auth")
	if err != nil {
		return err
	}
	defer to.Close()
	return r.measure(ctx, to, tokens)
}

// measure sends the load, shows and keeps the result, and judges it.
func (r verifying) measure(ctx context.Context, to *target.Target, tokens scenario.Tokens) error {
	v := scenario.Verify{
		Target: to, Tokens: tokens, Expect: r.Expect, WarmUp: r.WarmUp, Duration: r.Duration,
		Plan: gen.Plan{Rate: r.Rate, Workers: r.Connections, Patience: r.Timeout, Seed: r.Seed},
	}
	if err := v.Probe(ctx); err != nil {
		return err
	}
	began := time.Now()
	measured := began.Add(r.WarmUp)
	recorder := measure.New(measured)
	self, err := measure.Watch(os.Getpid())
	if err != nil {
		return err
	}
	r.watch(ctx, report.Progress{Began: began, WarmUp: r.WarmUp, Length: r.WarmUp + r.Duration}, recorder, func() { v.Run(ctx, began, recorder) })

	requests := report.Table{Name: "requests", Of: "front"}
	s, seconds := recorder.Summary(), max(0, time.Since(measured).Seconds())
	const row = "forward-auth"
	requests.Requests(row, s, seconds)
	requests.Set(row, report.Column{Name: "client", Unit: "CPUs"}, self.Busy())
	where := to.URL()
	if r.Local {
		where += " (local system, same machine)"
	}
	result := report.Result{
		Began: began, Tables: []report.Table{requests},
		Plots: []report.Plot{report.Distribution("Latency", "latency", map[string]measure.Times{row: s.Latency})},
		Setting: []report.Fact{
			{Name: "target", Value: where},
			{Name: "load", Value: fmt.Sprintf("%g/s for %s after %s of warm-up, open loop (Poisson, seed %d)", r.Rate, r.Duration, r.WarmUp, r.Seed)},
			{Name: "with", Value: fmt.Sprintf("%d connections, %d tokens, timeout %s, wanted %d", r.Connections, tokens.Len(), r.Timeout, r.Expect)},
		},
	}
	result.Tell(row, s)
	return r.finish(ctx, result, s, r.SLO)
}
