// Package config is the sidecar's configuration: flags, environment and a YAML
// file, in that order of precedence.
//
// Invariants:
//
//   - An invalid set is refused as a whole, with every fault listed, before
//     anything is opened or made.
//   - What is left out denies or is the documented default; nothing that is
//     misspelt is overlooked.
package config

import (
	"cmp"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"

	"github.com/revocast/revocast/events/natsconn"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// Config is everything a sidecar is told. Durations are in Go's notation.
type Config struct {
	File kong.ConfigFlag `name:"config" placeholder:"FILE" help:"YAML file with any of these flags, without the dashes. Flags and environment come first."`

	Listen        string `default:"127.0.0.1:9470" group:"listen" help:"Forward-auth at /auth: host:port, or unix:/path."`
	GRPCListen    string `name:"grpc-listen" env:"REVOCAST_GRPC_LISTEN" default:"127.0.0.1:9471" group:"listen" help:"Envoy's ext_authz and grpc.health.v1: host:port, or unix:/path; empty for none."`
	AdminListen   string `default:"127.0.0.1:9472" group:"listen" help:"Health, metrics, status, explanations, fsck. Open to whoever reaches it: keep it on loopback."`
	MetricsListen string `group:"listen" help:"Metrics on a listener of their own as well; empty for none."`
	SocketMode    string `default:"0660" group:"listen" help:"File mode of Unix sockets, octal."`

	NATSURL   string `name:"nats-url" env:"REVOCAST_NATS_URL" default:"nats://127.0.0.1:4222" group:"feed" placeholder:"URL,…" help:"NATS servers, nats:// or tls://, comma-separated; any one that answers will do (${default})."`
	NATSCreds string `name:"nats-creds" env:"REVOCAST_NATS_CREDS" placeholder:"FILE" type:"path" group:"feed" help:"Credentials of the sidecar role; required."`
	NATSCA    string `name:"nats-ca" env:"REVOCAST_NATS_CA" placeholder:"FILE" type:"path" group:"feed" help:"Authorities, PEM, that the servers' certificates must come from, instead of the system's. This and the next two demand TLS, and are read again at every connection."`
	NATSCert  string `name:"nats-cert" env:"REVOCAST_NATS_CERT" placeholder:"FILE" type:"path" group:"feed" help:"Client certificate, PEM, with its chain, for servers that want one besides the credentials."`
	NATSKey   string `name:"nats-key" env:"REVOCAST_NATS_KEY" placeholder:"FILE" type:"path" group:"feed" help:"Its key, PEM."`
	Realm     string `default:"default" group:"feed" help:"Whose feed is followed."`
	RealmRoot string `placeholder:"FILE" type:"path" group:"feed" help:"The realm's root public key, PEM. Only what it has signed may allow anything; without it nothing may."`
	ID        string `placeholder:"NAME" group:"feed" help:"Name in reports (default: the host's name)."`
	DataDir   string `default:"./sidecar-data" type:"path" group:"feed" help:"The denylist on disk and the last good key sets. One directory a sidecar."`

	Trust        []string      `sep:"none" placeholder:"RULE" group:"tokens" help:"An issuer whose tokens are accepted; repeatable, and needed once at least. issuer=URL,audience=NAME is enough; also jwks=URL-or-file, require=claim:value, alg=ES256, typ=JWT, max-lifetime=1h."`
	Leeway       time.Duration `default:"5s" group:"tokens" help:"Tolerance for exp, nbf and iat; at most 1m."`
	RequireScope []string      `group:"tokens" placeholder:"SCOPE" help:"A scope that every token must have; repeatable."`

	Routes          string        `placeholder:"FILE" type:"path" group:"requests" help:"YAML list of rules by method, host and path: what they demand besides, or that no token is needed. docs/routes.md teaches them."`
	OriginalHeaders string        `default:"x-forwarded" enum:"x-forwarded,x-original" group:"requests" help:"Where forward-auth reads the client's method, host and path from: X-Forwarded-Method, -Host, -Uri or X-Original-Method, -Host, -Uri. Only rules need them; the proxy must set them always."`
	AnswerWithin    time.Duration `default:"400ms" group:"requests" help:"How long one answer may take, whatever disk and key servers do; then 503. Keep it below the proxy's own limit."`
	MaxInFlight     int           `default:"4096" group:"requests" help:"Requests under way at once; beyond it 503 at once."`

	CacheSize    string `default:"64MiB" group:"memory" help:"For verified tokens; 0 keeps none."`
	MemoryBudget string `default:"0" group:"memory" help:"For denylist and verified tokens together, such as 256MiB; 0 sets none. Over it nothing is forgotten, but the sidecar is not ready and says so. Unless GOMEMLIMIT is set, Go's memory limit becomes a quarter more and 64MiB."`

	StaleAfter time.Duration `default:"30s" group:"stale" help:"Age from which the view of revocations is called stale."`
	WhenStale  string        `default:"allow" enum:"allow,deny" group:"stale" help:"allow: answer from the last view up to --stale-limit, and say so. deny: 503."`
	StaleLimit time.Duration `default:"15m" group:"stale" help:"Age from which a stale view denies even under allow."`
	Enforce    bool          `default:"true" negatable:"" group:"stale" help:"--no-enforce or --enforce=false: count what would be denied, but allow it."`

	LogLevel  string `default:"info" enum:"debug,info,warn,error" group:"logging" help:"debug, info, warn or error."`
	LogFormat string `default:"json" enum:"json,console" group:"logging" help:"json, or console for people."`

	Version kong.VersionFlag `env:"-" help:"Print the version and leave."`

	Run  struct{} `cmd:"" default:"1" help:"Answer requests; what is done without a command."`
	Fsck fsck     `cmd:"" help:"Compare the data directory of a sidecar that does not run with the feed."`

	// Derived by Parse.
	Command    Command           `kong:"-"`
	Trusts     []token.Trust     `kong:"-"`
	Root       ed25519.PublicKey `kong:"-"`
	Rules      []route.Rule      `kong:"-"`
	CacheBytes int64             `kong:"-"`
	// BudgetBytes is for denylist and cache together; zero for none.
	BudgetBytes int64       `kong:"-"`
	Mode        os.FileMode `kong:"-"`
}

// fsck is the command of that name, which has no flags of its own.
type fsck struct{}

// Help is asked by kong.
func (fsck) Help() string {
	return `For one that runs there is revocast fsck. Give it the flags that the sidecar has; those that matter are --data-dir, --realm, --realm-root and all that begin with --nats. It needs no --trust.

A report is printed as JSON on standard output. Nothing is changed: a copy of the denylist is looked at, for which the temporary directory (TMPDIR) needs room. What the feed holds up to the store's position must be in the store, unless it was lifted or is over; what the store holds besides is no fault.

If something is wrong, remove the directory denylist in the data directory: the sidecar reads everything from the feed again when it starts, and is not ready until it has. What only the store held, from an earlier life of the feed, is forgotten by that.

Exit status 0 if nothing is wrong, 1 if something is or the comparison failed, 2 for a command line that was not understood.

Examples:

  sidecar fsck --nats-creds sidecar.creds --realm-root realm-root.pub --data-dir sidecar-data
  sidecar fsck --config sidecar.yaml | jq '.clean, .faults'
`
}

// Command is what the process is to do.
type Command string

// The commands.
const (
	CommandRun  Command = "run"
	CommandFsck Command = "fsck"
)

// Parse reads arguments and environment, prints help or faults as they ask, and
// ends the process for those. A configuration that it returns is valid.
func Parse(args []string, version string, exit func(int), stdout, stderr io.Writer) (Config, error) {
	var c Config
	parser, err := kong.New(&c,
		kong.Name("sidecar"),
		kong.Description("Revocast's verifier: answers, beside an API and from memory, whether an access token may pass and has not been revoked.\n\n"+
			"Try it: sidecar --nats-creds sidecar.creds --trust issuer=https://id.example,audience=https://api.example"),
		kong.Vars{"version": version},
		kong.DefaultEnvars("REVOCAST"),
		kong.Configuration(yamlFile),
		kong.NamedMapper("path", kong.MapperFunc(filePath)),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "listen", Title: "Listeners:"},
			{Key: "feed", Title: "Feed:"},
			{Key: "tokens", Title: "Tokens:"},
			{Key: "requests", Title: "Requests:"},
			{Key: "memory", Title: "Memory:"},
			{Key: "stale", Title: "When the view is stale:"},
			{Key: "logging", Title: "Logging:"},
		}),
		kong.Writers(stdout, stderr), kong.Exit(exit),
	)
	if err != nil {
		return c, fmt.Errorf("describing the flags: %w", err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return c, err
	}
	c.Command = Command(parsed.Command())
	return c, c.derive()
}

// Policy is what the gate decides by.
func (c *Config) Policy() (gate.Policy, error) {
	whenStale, err := gate.ParseWhenStale(c.WhenStale)
	return gate.Policy{
		StaleAfter: c.StaleAfter, WhenStale: whenStale, StaleLimit: c.StaleLimit, Scopes: c.RequireScope, Shadow: !c.Enforce,
	}, err
}

// NATSFiles are what secures the connection to the broker.
func (c *Config) NATSFiles() natsconn.Files {
	return natsconn.Files{CA: c.NATSCA, Cert: c.NATSCert, Key: c.NATSKey}
}

// derive reads what the flags name, and lists every fault.
func (c *Config) derive() error {
	var faults []error
	add := func(flag string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	_, err := subject.ParseRealm(c.Realm)
	add("realm", err)
	add("nats-url", natsconn.CheckServers(c.NATSURL))
	if c.NATSCreds == "" {
		add("nats-creds", errors.New("needed"))
	}
	if err := c.NATSFiles().Check(); err != nil {
		faults = append(faults, err) // with their flags
	}
	if len(c.Trust) == 0 && c.Command == CommandRun {
		add("trust", errors.New("needed: no issuer is trusted"))
	}
	for _, rule := range c.Trust {
		t, err := token.ParseTrust(rule)
		if slices.ContainsFunc(c.Trusts, func(have token.Trust) bool { return err == nil && have.Issuer == t.Issuer }) {
			err = fmt.Errorf("issuer %q: given twice", t.Issuer)
		}
		add("trust", err)
		c.Trusts = append(c.Trusts, t)
	}
	if c.RealmRoot != "" {
		c.Root, err = readRoot(c.RealmRoot)
		add("realm-root", err)
	}
	c.CacheBytes, err = parseBytes(c.CacheSize)
	add("cache-size", err)
	c.BudgetBytes, err = parseBytes(c.MemoryBudget)
	if err == nil && c.BudgetBytes > 0 && c.BudgetBytes < c.CacheBytes+minDenylist {
		err = fmt.Errorf("%s: want at least --cache-size and %d MiB", c.MemoryBudget, minDenylist>>20)
	}
	add("memory-budget", err)
	mode, err := strconv.ParseUint(c.SocketMode, 8, 9)
	if err != nil {
		err = fmt.Errorf("%q is no file mode", c.SocketMode)
	}
	add("socket-mode", err)
	c.Mode = os.FileMode(mode)
	if c.ID == "" {
		name, err := os.Hostname()
		add("id", err)
		c.ID = printable(name)
	}
	if c.ID != printable(c.ID) || len(c.ID) > maxID {
		add("id", fmt.Errorf("%.*q: want 1 to %d letters, digits, '-' and '_'", maxID, c.ID, maxID))
	}
	for _, l := range []struct {
		flag, address string
		needed        bool
	}{{"listen", c.Listen, true}, {"grpc-listen", c.GRPCListen, false}, {"admin-listen", c.AdminListen, true}, {"metrics-listen", c.MetricsListen, false}} {
		switch {
		case l.address != "":
			add(l.flag, checkAddress(l.address))
		case l.needed:
			add(l.flag, errors.New("needed"))
		}
	}
	if c.Routes != "" {
		c.Rules, err = route.Read(c.Routes)
		add("routes", err)
	}
	if c.AnswerWithin <= 0 {
		add("answer-within", fmt.Errorf("%s: want more than nothing", c.AnswerWithin))
	}
	if c.MaxInFlight < 1 {
		add("max-in-flight", fmt.Errorf("%d: want at least 1", c.MaxInFlight))
	}
	add("leeway", token.Config{Leeway: c.Leeway}.Validate())
	policy, err := c.Policy()
	add("when-stale", err)
	add("stale-after", policy.Validate())
	return errors.Join(faults...)
}

// maxID is the longest name that a report may carry.
const maxID = 128

// minDenylist is the least a budget must leave to the denylist: room for about half a
// million revoked sessions.
const minDenylist = 8 << 20

// MemoryLimit is what Go's runtime is to be limited to; zero for no limit, and where
// the environment has set one (GOMEMLIMIT), which the runtime has read by itself.
func (c *Config) MemoryLimit() int64 {
	if c.BudgetBytes == 0 || os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	return c.BudgetBytes + c.BudgetBytes/4 + 64<<20
}

func checkAddress(address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" || len(path) > 100 {
			return fmt.Errorf("%q: want unix: and a path of at most 100 bytes", address)
		}
		return nil
	}
	_, _, err := net.SplitHostPort(address)
	return err
}

// printable makes a host's name one that reports may carry.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
}

// readRoot reads an Ed25519 public key in PEM (RFC 8410).
func readRoot(path string) (ed25519.PublicKey, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(content)
	if block == nil || block.Type != "PUBLIC KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%s: want one PEM block, PUBLIC KEY", path)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	root, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s: want an Ed25519 key, got %T", path, key)
	}
	return root, nil
}

// parseBytes reads a size with a binary unit: 64MiB, 512KiB, 1GiB, or bytes.
func parseBytes(s string) (int64, error) {
	number, unit := s, int64(1)
	for suffix, factor := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = n, factor
		}
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no size; want for example 64MiB", s)
	}
	return int64(n) * unit, nil
}

// filePath reads a path. One that is set to nothing is not set: kong alone would take
// it for the working directory.
func filePath(ctx *kong.DecodeContext, target reflect.Value) error {
	var path string
	if err := ctx.Scan.PopValueInto("file", &path); err != nil {
		return err
	}
	if path = cmp.Or(path, ctx.Value.Default); path != "" {
		path = kong.ExpandPath(path)
	}
	target.SetString(path)
	return nil
}

// yamlFile makes a configuration file answer for flags that neither the command
// line nor the environment has set. Names that are no flag are refused.
func yamlFile(r io.Reader) (kong.Resolver, error) {
	values := map[string]any{}
	if err := yaml.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the configuration file: %w", err)
	}
	return resolver(values), nil
}

type resolver map[string]any

// Validate implements [kong.Resolver].
func (r resolver) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flag := range app.Flags {
		known[flag.Name] = true
	}
	var faults []error
	for name := range r {
		if !known[name] {
			faults = append(faults, fmt.Errorf("configuration file: no flag is called %q", name))
		}
	}
	return errors.Join(faults...)
}

// Resolve implements [kong.Resolver].
func (r resolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := r[flag.Name]
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			ok = false // kong asks resolvers last, and would let them win
		}
	}
	if !ok {
		return nil, nil //nolint:nilnil // kong's way to say "not here"
	}
	if list, many := value.([]any); many {
		return list, nil
	}
	return fmt.Sprint(value), nil
}

// Logger makes the process's logger, on standard error.
func (c *Config) Logger() (*zap.Logger, error) {
	level, err := zap.ParseAtomicLevel(c.LogLevel)
	if err != nil {
		return nil, fmt.Errorf("making the logger: %w", err)
	}
	cfg := zap.NewProductionConfig()
	cfg.Level, cfg.Encoding = level, c.LogFormat
	cfg.DisableStacktrace, cfg.Sampling = true, nil
	cfg.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return cfg.Build()
}
