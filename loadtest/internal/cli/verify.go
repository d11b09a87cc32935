package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/local"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/scenario"
)

type verifyCommand struct {
	URL       string `group:"target" xor:"target" required:"" placeholder:"URL" help:"A sidecar's forward-auth, such as http://127.0.0.1:9470/auth."`
	Local     bool   `group:"target" xor:"target" required:"" env:"-" help:"Start the development stack for this run (the programs beside this one, usual ports), log in there, and stop it again."`
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

func (verifyCommand) Help() string {
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

func (c *verifyCommand) Run(ctx context.Context, g *grammar, streams Streams, version string) (err error) {
	if g.Out != "" {
		if err := os.MkdirAll(g.Out, 0o750); err != nil {
			return fmt.Errorf("making the directory for the result: %w", err)
		}
	}
	var address string
	var tokens scenario.Tokens
	if c.Local {
		_, _ = fmt.Fprintln(streams.Err, "loadtest: starting the local stack")
		stack, tokens0, err0 := c.startLocal(ctx)
		if err0 != nil {
			return err0
		}
		defer func() { err = errors.Join(err, stack.Stop()) }()
		address, tokens = stack.SidecarURL+"/auth", tokens0
	} else if address = c.URL; true {
		if tokens, err = c.readTokens(streams); err != nil {
			return err
		}
	}
	return c.send(ctx, g, streams, version, address, tokens)
}
