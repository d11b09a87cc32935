package cli

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/sessions"
)

type issueCommand struct {
	URL            []string `group:"target" placeholder:"URL" help:"Issuers of one realm that run already, such as https://issuer.example, asked in turn. Default: a system of its own, on this machine, of the programs beside this one."`
	AdminURL       string   `group:"target" placeholder:"URL" help:"Where operators revoke; without it apps revoke their own refresh tokens. For --url."`
	AdminTokenFile string   `group:"target" placeholder:"FILE" help:"The operator token for --admin-url."`
	Client         string   `group:"target" placeholder:"ID" help:"A public client with first-party login. For --url."`
	User           []string `group:"target" placeholder:"NAME" help:"Who logs in, in turn; the more, the less their logins wait for each other. For --url."`
	PasswordFile   string   `group:"target" placeholder:"FILE" help:"The password of them all, one line. For --url."`
	Owned          string   `group:"target" name:"i-own-this-target" env:"-" placeholder:"HOST" help:"Send load, and the passwords, off the loopback interface to this host, because it is yours."`
	Issuers        int      `group:"target" placeholder:"N" help:"How many issuers its own system has; the first also holds the broker (1)."`
	Users          int      `group:"target" placeholder:"N" help:"How many users its own system has (500)."`

	Mix         sessions.Mix        `group:"load" default:"logins=1,refreshes=20,revocations=1" placeholder:"MIX" help:"How often each operation is asked for in relation to the others (${default})."`
	Rate        []float64           `group:"load" default:"50" placeholder:"N" help:"Operations a second, on average; several are measured one after the other (${default})."`
	Duration    time.Duration       `group:"load" default:"10s" placeholder:"D" help:"How long to measure each rate (${default})."`
	WarmUp      time.Duration       `group:"load" default:"2s" placeholder:"D" help:"How long to send each rate first, unmeasured (${default})."`
	Contention  int                 `group:"load" default:"1" placeholder:"N" help:"Send each refresh so often at once, with the same token, to all issuers (${default})."`
	Sessions    int                 `group:"load" placeholder:"N" help:"Sessions opened beforehand. Default: enough that none is refreshed more often than an issuer remembers."`
	Connections int                 `group:"load" default:"64" placeholder:"N" help:"Operations under way at most (${default})."`
	Timeout     time.Duration       `group:"load" default:"5s" placeholder:"D" help:"After which a request is given up (${default}). Less than the 10s for which an issuer takes parallel refreshes for one."`
	Seed        uint64              `group:"load" default:"1" placeholder:"N" help:"Picks one of the possible series of arrivals (${default})."`
	SLO         []measure.Objective `group:"load" name:"slo" placeholder:"LIMIT" help:"Exit with 1 unless kept by all operations at all rates, such as p99<50ms, max<1s, errors<0.1%; repeatable. Without one on errors there must be none."`
}

// Help is called by kong.
func (*issueCommand) Help() string {
	return `Sessions are opened, and then used by the mix, at moments drawn beforehand. In the end every session's last refresh token must work, a second use of it must give no second successor, all sessions are revoked, and none of those may refresh. What each step costs the issuers is told.

Examples:

  loadtest issue --rate 50,100,200 --issuers 3
  loadtest issue --mix refreshes=1 --contention 20 --slo 'errors<=0%'
  loadtest issue --url https://issuer.example --i-own-this-target issuer.example \
    --client app --user load1,load2,load3 --password-file password
`
}

// Bounds of a run.
const (
	maxRates    = 20
	maxIssuers  = 16
	maxSessions = 100_000
	maxUsers    = 10_000
	// grace is the shortest window in which issuers usually take refreshes with one token
	// for one. An answer that comes later would be about something else.
	grace = 10 * time.Second
)

// Validate is called by kong and lists every fault.
func (c *issueCommand) Validate() error {
	var faults []error
	check := func(fine bool, fault string) {
		if !fine {
			faults = append(faults, errors.New(fault))
		}
	}
	there := len(c.URL) > 0
	named := c.Client != "" && len(c.User) > 0 && c.PasswordFile != ""
	check(!there || named, "--url: needs --client, --user and --password-file")
	check(there || c.Client == "" && len(c.User) == 0 && c.PasswordFile == "" && c.AdminURL == "" && c.Owned == "",
		"--client, --user, --password-file, --admin-url, --i-own-this-target: are about --url")
	check((c.AdminURL == "") == (c.AdminTokenFile == ""), "--admin-url, --admin-token-file: both or none")
	check(!there || c.Issuers == 0 && c.Users == 0, "--issuers, --users: there are those at --url")
	check(c.Issuers >= 0 && c.Issuers <= maxIssuers, "--issuers: want 1 to 16")
	check(c.Users >= 0 && c.Users <= maxUsers, "--users: want 1 to 10000")
	check(len(c.Rate) >= 1 && len(c.Rate) <= maxRates, "--rate: want 1 to 20 of them")
	for _, rate := range c.Rate {
		check(rate > 0 && rate <= 1e5, "--rate: want more than 0 and at most 100000")
	}
	check(c.Duration >= 100*time.Millisecond && c.Duration <= 24*time.Hour, "--duration: want 100ms to 24h")
	check(c.WarmUp >= 0 && c.WarmUp <= time.Hour, "--warm-up: want 0 to 1h")
	check(c.Contention >= 1 && c.Contention <= 100, "--contention: want 1 to 100")
	check(c.Sessions >= 0 && c.Sessions <= maxSessions, "--sessions: want 1 to 100000")
	check(c.Connections >= 1 && c.Connections <= 1000, "--connections: want 1 to 1000")
	check(c.Timeout >= time.Millisecond && c.Timeout < grace, "--timeout: want 1ms and less than 10s")
	return errors.Join(faults...)
}

// Run is called by kong.
func (c *issueCommand) Run(ctx context.Context, g *grammar, streams Streams, version string) (err error) {
	run := issuing{issueCommand: c, running: running{g, streams, version, "issue"}}
	if err := run.prepare(); err != nil {
		return err
	}
	slices.Sort(c.Rate)
	c.Rate = slices.Compact(c.Rate)
	site, err := run.site(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.close()) }()
	return run.measure(ctx, site)
}

// opened is how many sessions there are at first: so many that nobody refreshes faster
// than a session remembers, which is eight times within the grace window, and that
// revocations leave some.
func (c *issueCommand) opened() int {
	if c.Sessions > 0 {
		return c.Sessions
	}
	const least, margin = 200, 1.5
	var most, fewer float64
	for _, rate := range c.Rate {
		most = max(most, rate*c.Mix.Share(sessions.Refreshes))
		fewer += rate * (c.Mix.Share(sessions.Revocations) - c.Mix.Share(sessions.Logins)) * (c.WarmUp + c.Duration).Seconds()
	}
	return min(max(least, int(margin*most))+int(margin*max(fewer, 0))+c.Connections, maxSessions)
}
