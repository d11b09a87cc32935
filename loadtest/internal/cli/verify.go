package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/revocast/revocast/loadtest/internal/cores"
	"github.com/revocast/revocast/loadtest/internal/front"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/scenario"
)

type verifyCommand struct {
	URL              string       `group:"target" xor:"target" placeholder:"URL" help:"A front that runs already, such as http://127.0.0.1:9470/auth, unix:/path or, of ext-authz, host:port; this or --local."`
	Local            bool         `group:"target" xor:"target" env:"-" help:"Start an issuer and sidecars for this run (the programs beside this one), mint tokens that they trust, and stop them again."`
	Front            []front.Kind `group:"target" placeholder:"FRONT,…" help:"How to ask: library, forward-auth, ext-authz, introspection, proxy; repeatable. Default: with --local all, else what the URL looks like."`
	Unix             bool         `group:"target" help:"Ask the local system over Unix sockets; a library is asked over none."`
	TokenFile        string       `group:"target" placeholder:"FILE" help:"Good access tokens for --url, one a line; default: standard input."`
	RevokedTokenFile string       `group:"target" placeholder:"FILE" help:"Revoked ones for --url, one a line."`
	ClientID         string       `group:"target" name:"client-id" placeholder:"ID" help:"Whom introspection at --url answers."`
	ClientSecretFile string       `group:"target" placeholder:"FILE" help:"File with its secret."`
	Expect           int          `group:"target" default:"200" placeholder:"STATUS" help:"The status of what passes (${default}); what must not is 401."`
	Owned            string       `group:"target" name:"i-own-this-target" env:"-" placeholder:"HOST" help:"Send load, and the tokens, off the loopback interface to this host, because it is yours."`

	Tokens      int           `group:"tokens" default:"1000" placeholder:"N" help:"How many good tokens --local asks about again and again (${default})."`
	Zipf        float64       `group:"tokens" default:"1.1" placeholder:"S" help:"How popularity falls: the k-th token is asked about in proportion to 1/k^S (${default}); 0: all alike."`
	Cold        *share        `group:"tokens" placeholder:"SHARE" help:"Share of requests with a token never seen before; with --local only (5%)."`
	Revoked     *share        `group:"tokens" placeholder:"SHARE" help:"Share with a revoked token (5%; with --url if there are any)."`
	Garbage     *share        `group:"tokens" placeholder:"SHARE" help:"Share with what never was a good token: forged, expired, broken (1%; with --url 0)."`
	Alg         string        `group:"tokens" enum:"ES256,EdDSA,RS256" default:"ES256" placeholder:"ALG" help:"What --local signs with: ES256, EdDSA or RS256 (${default})."`
	RevokeRate  float64       `group:"tokens" default:"0" placeholder:"N" help:"Good tokens of --local revoked a second while they are asked about (${default})."`
	MaxExposure time.Duration `group:"tokens" default:"1s" placeholder:"D" help:"How long after the receipt of its revocation a token may still pass; beyond it that is wrong (${default})."`

	Rate        []rate              `group:"load" default:"1000" placeholder:"N,…" help:"Requests a second, on average, or max for as many as are answered; one run each (${default})."`
	Duration    time.Duration       `group:"load" default:"10s" placeholder:"D" help:"How long to measure, each front at each rate (${default})."`
	WarmUp      time.Duration       `group:"load" default:"2s" placeholder:"D" help:"How long to send load first, unmeasured (${default})."`
	Connections int                 `group:"load" default:"64" placeholder:"N" help:"Connections, and so requests under way, at most (${default}). gRPC has one a processor for them, as Envoy has."`
	Timeout     time.Duration       `group:"load" default:"1s" placeholder:"D" help:"After which a request is given up (${default})."`
	Seed        uint64              `group:"load" default:"1" placeholder:"N" help:"Picks one of the possible series of arrivals and tokens (${default})."`
	ClientCPUs  cores.List          `group:"load" name:"client-cpus" placeholder:"LIST" help:"Processors for this program, such as 0-3; those that --local starts get the others. Linux only."`
	SLO         []measure.Objective `group:"load" name:"slo" placeholder:"LIMIT" help:"Exit with 1 unless kept by every run, such as p99<5ms, max<1s, mean<2ms, errors<0.1%; repeatable. Without one on errors there must be none."`
}

func (*verifyCommand) Help() string {
	return `Every answer is held against what is right for its token. One that lets a token pass which must not is wrong whatever --slo says.

Of each request three times are kept: latency from the moment it was due, service time from the moment it was sent, and the delay between the two. A delay because no connection was free is the target's doing, or of too few --connections; any other delay is this program's own, and the result says so. At --rate max requests are due when a connection is free: that finds out how many are answered, and nothing about how long people would wait.

Examples:

  loadtest verify --local --rate 5000 --duration 30s --slo 'p99<5ms'
  loadtest verify --local --front forward-auth --unix --rate 1000,5000,10000,max
  loadtest verify --local --tokens 10000 --cold 20% --revoke-rate 50
  loadtest verify --url http://127.0.0.1:9470/auth --token-file tokens --out results
  loadtest verify --url 127.0.0.1:9471 --front ext-authz --token-file good --revoked-token-file revoked --revoked 10%
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
	check(c.Duration >= 100*time.Millisecond && c.Duration <= 20*time.Hour, "--duration: want 100ms to 20h")
	check(c.WarmUp >= 0 && c.WarmUp <= time.Hour, "--warm-up: want 0 to 1h")
	check(c.Connections >= 1 && c.Connections <= 10_000, "--connections: want 1 to 10000")
	check(c.Timeout >= time.Millisecond && c.Timeout <= time.Minute, "--timeout: want 1ms to 1m")
	check(c.Expect >= 200 && c.Expect <= 599 && c.Expect != 401, "--expect: want a status from 200 to 599, and not 401")
	check(c.Tokens >= 1 && c.Tokens <= 1_000_000, "--tokens: want 1 to 1000000")
	check(c.Zipf == 0 || c.Zipf > 1 && c.Zipf <= 10, "--zipf: want 0, or more than 1 and at most 10")
	check(c.MaxExposure >= 0 && c.MaxExposure <= time.Hour, "--max-exposure: want 0 to 1h")
	check(c.shares().Cold+c.shares().Revoked+c.shares().Garbage <= 1, "--cold, --revoked, --garbage: want at most 100% together")
	check(c.RevokeRate >= 0 && c.RevokeRate <= 10_000, "--revoke-rate: want 0 to 10000")
	check(scenario.Arrivals(c.RevokeRate, c.Duration) <= uint64(c.Tokens/2) || c.RevokeRate == 0, //nolint:gosec // checked above
		"--revoke-rate: would revoke more than half of the good tokens; want more --tokens, or a shorter --duration")
	for _, at := range c.Rate {
		cold := float64(scenario.Arrivals(float64(at), c.WarmUp+c.Duration)) * c.shares().Cold
		check(cold <= coldAtMost, fmt.Sprintf("--rate %s: some %.0f cold tokens would be needed, and there are at most %d; want a smaller --cold, --rate or --duration", at, cold, coldAtMost))
	}
	if c.Local {
		check(c.TokenFile == "" && c.RevokedTokenFile == "" && c.Owned == "" && c.ClientID == "" && c.ClientSecretFile == "" && c.Expect == 200,
			"--local: has its own tokens and its own target; --token-file, --revoked-token-file, --client-id, --client-secret-file, --expect and --i-own-this-target are for --url")
	} else {
		check(len(c.Front) <= 1, "--front: one way to ask a --url")
		check(c.kind() != front.Library, "--front: a library has no --url")
		check(!c.Unix, "--unix: for --local; want --url unix:/path")
		check(c.Cold == nil && c.RevokeRate == 0, "--cold, --revoke-rate: for --local, which mints tokens and may revoke them")
		check(c.Revoked == nil || *c.Revoked == 0 || c.RevokedTokenFile != "", "--revoked: needs --revoked-token-file")
		introspects := c.kind() == front.Introspection
		check((c.ClientID != "") == introspects && (c.ClientSecretFile != "") == introspects, "--client-id, --client-secret-file: introspection needs them, and nothing else takes them")
	}
	return errors.Join(append(faults, c.checkObjectives())...)
}

// checkObjectives refuses those that nothing can be held against.
func (c *verifyCommand) checkObjectives() error {
	for _, r := range c.Rate {
		if r != atMost {
			return nil
		}
	}
	for _, o := range c.SLO {
		if !o.OnErrors() {
			return errors.New("--slo: at --rate max only errors can be limited, for latencies excuse what slows the sender down")
		}
	}
	return nil
}

// shares are those asked for, or else the usual ones.
func (c *verifyCommand) shares() scenario.Shares {
	s := scenario.Shares{Cold: 0.05, Revoked: 0.05, Garbage: 0.01}
	if !c.Local {
		s = scenario.Shares{}
		if c.RevokedTokenFile != "" {
			s.Revoked = 0.05
		}
	}
	for _, one := range []struct {
		given *share
		of    *float64
	}{{c.Cold, &s.Cold}, {c.Revoked, &s.Revoked}, {c.Garbage, &s.Garbage}} {
		if one.given != nil {
			*one.of = float64(*one.given)
		}
	}
	return s
}

// kinds are the fronts to ask of the local system.
func (c *verifyCommand) kinds() []front.Kind {
	if len(c.Front) == 0 {
		return front.Kinds()
	}
	return c.Front
}

// kind is that of the URL.
func (c *verifyCommand) kind() front.Kind {
	switch {
	case len(c.Front) > 0:
		return c.Front[0]
	case strings.HasSuffix(c.URL, "/introspect"):
		return front.Introspection
	case !strings.Contains(c.URL, "://") && !strings.HasPrefix(c.URL, "unix:"):
		return front.ExtAuthz
	}
	return front.ForwardAuth
}

// Run is called by kong.
func (c *verifyCommand) Run(ctx context.Context, g *grammar, streams Streams, version string) (err error) {
	run := &verifying{verifyCommand: c, running: running{g, streams, version, "verify"}}
	if err := run.prepare(); err != nil {
		return err
	}
	if run.pins, err = cores.Pin(c.ClientCPUs); err != nil {
		return usage(fmt.Errorf("--client-cpus: %w", err))
	}
	defer func() { err = errors.Join(err, run.pins.Release()) }()
	if c.Local {
		return run.local(ctx)
	}
	return run.remote(ctx)
}

// rate is how many requests a second there are.
type rate float64

// atMost is as many as are answered.
const atMost rate = 0

// UnmarshalText reads a number, or max.
func (r *rate) UnmarshalText(text []byte) error {
	if string(text) == "max" {
		*r = atMost
		return nil
	}
	n, err := strconv.ParseFloat(string(text), 64)
	// The comparison also refuses what is not a number.
	if err != nil || !(n > 0 && n <= 1e6) {
		return fmt.Errorf("%q: want more than 0 and at most 1000000, or max", text)
	}
	*r = rate(n)
	return nil
}

// String is the rate with its unit.
func (r rate) String() string {
	if r == atMost {
		return "max"
	}
	return strconv.FormatFloat(float64(r), 'g', -1, 64) + "/s"
}

// share is a part of a whole, from 0 to 1.
type share float64

// UnmarshalText reads a share such as 5% or 0.05.
func (s *share) UnmarshalText(text []byte) error {
	n, ok := readShare(string(text))
	if !ok || n > 1 {
		return fmt.Errorf("%q: want a share such as 5%% or 0.05", text)
	}
	*s = share(n)
	return nil
}

// readShare reads what may be more than the whole.
func readShare(text string) (float64, bool) {
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(number, 64)
	if percent {
		n /= 100
	}
	return n, err == nil && n >= 0 && !math.IsInf(n, 0)
}
