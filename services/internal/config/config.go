// Package config is the issuer's configuration: flags, environment and a YAML
// file, in that order of precedence.
//
// Invariants:
//
//   - An invalid set is refused as a whole, with every fault listed, before
//     anything is opened or made.
//   - The key directory is never inside the data directory, so that no backup of
//     the one takes the other along (INV-6).
package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"

	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/session"
)

// Config is everything an issuer is told. Durations are in Go's notation.
type Config struct {
	File kong.ConfigFlag `name:"config" placeholder:"FILE" help:"YAML file with any of these flags, without the dashes. Flags and environment come first."`

	Listen        string `default:":8080" group:"listen" help:"Public listener: login, tokens, sessions, JWKS."`
	AdminListen   string `default:"127.0.0.1:8081" group:"listen" help:"Operators' listener. Every request needs the operator token."`
	MetricsListen string `default:"127.0.0.1:8082" group:"listen" help:"Prometheus metrics; empty for none."`
	Issuer        string `placeholder:"URL" group:"listen" help:"The iss of every token, and the URL clients reach this issuer by. Needed unless --listen is on loopback."`

	Realm      string `default:"default" group:"broker" help:"One set of streams on the broker. Issuers of one realm share keys and users."`
	NATSURL    string `name:"nats-url" env:"REVOCAST_NATS_URL" placeholder:"URL" group:"broker" help:"NATS servers, comma-separated. Empty: run one inside this process."`
	NATSCreds  string `name:"nats-creds" env:"REVOCAST_NATS_CREDS" placeholder:"FILE" type:"path" group:"broker" help:"Credentials of the issuer role for --nats-url."`
	NATSListen string `name:"nats-listen" env:"REVOCAST_NATS_LISTEN" default:"127.0.0.1:4222" group:"broker" help:"Where the broker inside this process listens, for sidecars, subscribers and further issuers."`
	Replicas   int    `default:"1" enum:"1,3,5" group:"broker" help:"Copies of every stream; 3 on a cluster."`

	DataDir        string `default:"./data" type:"path" group:"files" help:"The inner broker's streams and credentials."`
	KeysDir        string `default:"./keys" type:"path" group:"files" help:"Signing keys, refresh-token keys, the realm's root key. Made on first start, readable by its owner alone, never inside the data directory."`
	CredsDir       string `placeholder:"DIR" type:"path" group:"files" help:"Where the inner broker's credentials files are written (default: creds in the data directory)."`
	AdminTokenFile string `placeholder:"FILE" type:"path" group:"files" help:"The operator token, made on first start (default: admin.token in the data directory)."`
	Clients        string `placeholder:"FILE" type:"path" group:"files" help:"OAuth clients, YAML. Without any, nobody can log in."`
	Users          string `placeholder:"FILE" type:"path" group:"files" help:"Users to register at start if they do not exist yet, YAML."`

	AccessTTL       time.Duration `default:"5m" group:"sessions" help:"Lifetime of an access token, unless a client's entry says otherwise; so are the next three."`
	RefreshIdle     time.Duration `default:"720h" group:"sessions" help:"A session that is not refreshed for so long ends; 0 for never."`
	RefreshAbsolute time.Duration `default:"0" group:"sessions" help:"A session ends so long after it began, however busy; 0 for never."`
	RotationGrace   time.Duration `default:"10s" group:"sessions" help:"How long after a refresh the old refresh token gives the same answer again, for concurrent calls and lost answers."`
	SigningAlg      string        `default:"ES256" enum:"ES256,RS256" group:"sessions" help:"What access tokens are signed with; both keys are published."`

	LogLevel  string `default:"info" enum:"debug,info,warn,error" group:"logging" help:"debug, info, warn or error."`
	LogFormat string `default:"json" enum:"json,console" group:"logging" help:"json, or console for people."`

	Version kong.VersionFlag `env:"-" help:"Print the version and leave."`
}

// Parse reads arguments and environment, prints help or faults as they ask, and
// ends the process for those. A configuration that it returns is valid.
func Parse(args []string, version string, exit func(int), stdout, stderr io.Writer) (Config, error) {
	var c Config
	parser, err := kong.New(&c,
		kong.Name("issuer"),
		kong.Description("Revocast's issuer: logs users in, rotates refresh tokens, and announces every revocation to the sidecars that enforce it.\n\n"+
			"Try it: issuer --listen 127.0.0.1:8080 --clients clients.yaml --users users.yaml"),
		kong.Vars{"version": version},
		kong.DefaultEnvars("REVOCAST"),
		kong.Configuration(yamlFile),
		kong.ConfigureHelp(kong.HelpOptions{Compact: false, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "listen", Title: "Listeners:"},
			{Key: "broker", Title: "Broker (NATS JetStream):"},
			{Key: "files", Title: "Files:"},
			{Key: "sessions", Title: "Sessions:"},
			{Key: "logging", Title: "Logging:"},
		}),
		kong.Writers(stdout, stderr), kong.Exit(exit),
	)
	if err != nil {
		return c, fmt.Errorf("describing the flags: %w", err)
	}
	if _, err := parser.Parse(args); err != nil {
		return c, err
	}
	c.fillIn()
	return c, c.Check()
}

// fillIn derives what was left out.
func (c *Config) fillIn() {
	if c.CredsDir == "" {
		c.CredsDir = filepath.Join(c.DataDir, "creds")
	}
	if c.AdminTokenFile == "" {
		c.AdminTokenFile = filepath.Join(c.DataDir, "admin.token")
	}
	if c.Issuer == "" && onLoopback(c.Listen) {
		c.Issuer = "http://" + c.Listen
	}
}

// Policy is what sessions get unless their client says otherwise.
func (c *Config) Policy() session.Policy {
	return session.Policy{
		AccessTTL: c.AccessTTL, Grace: c.RotationGrace, IdleLimit: c.RefreshIdle, AbsoluteLimit: c.RefreshAbsolute,
		OnReplay: session.ReplaySuccessor,
	}
}

// Check lists every fault. (kong would call a method named Validate too early.)
func (c *Config) Check() error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if _, err := subject.ParseRealm(c.Realm); err != nil {
		add("--realm: %w", err)
	}
	if c.Issuer == "" {
		add("--issuer: needed, because --listen %s is not on loopback", c.Listen)
	} else if err := checkIssuer(c.Issuer); err != nil {
		add("--issuer: %w", err)
	}
	for flag, address := range map[string]string{
		"--listen": c.Listen, "--admin-listen": c.AdminListen, "--metrics-listen": c.MetricsListen, "--nats-listen": c.NATSListen,
	} {
		if _, _, err := net.SplitHostPort(address); err != nil && address != "" {
			add("%s %s: want host:port", flag, address)
		}
	}
	if c.Listen == "" || c.AdminListen == "" {
		add("--listen and --admin-listen: needed")
	}
	if c.NATSURL != "" && c.NATSCreds == "" {
		add("--nats-creds: needed with --nats-url; the broker takes nobody without credentials")
	}
	if inside(c.KeysDir, c.DataDir) {
		add("--keys-dir %s: lies inside --data-dir; keep them apart", c.KeysDir)
	}
	if c.AccessTTL < time.Second || c.AccessTTL > 24*time.Hour {
		add("--access-ttl %s: want 1s to 24h", c.AccessTTL)
	}
	if c.RefreshIdle < 0 || c.RefreshAbsolute < 0 {
		add("--refresh-idle and --refresh-absolute: want 0 or more")
	}
	if c.RotationGrace < 0 || c.RotationGrace > 5*time.Minute {
		add("--rotation-grace %s: want 0 to 5m", c.RotationGrace)
	}
	return errors.Join(faults...)
}

// checkIssuer is RFC 8414 section 2: https, no query, no fragment; plain http only
// on loopback.
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("%q is not a URL", s)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil || strings.HasSuffix(s, "/"):
		return fmt.Errorf("%q: want no user, query, fragment or slash at its end", s)
	case u.Scheme == "https", u.Scheme == "http" && onLoopback(u.Host):
		return nil
	}
	return fmt.Errorf("%q: want https, or http on loopback", s)
}

func onLoopback(address string) bool {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// inside reports whether path is dir or below it.
func inside(path, dir string) bool {
	p, err1 := filepath.Abs(path)
	d, err2 := filepath.Abs(dir)
	if err1 != nil || err2 != nil {
		return true // cannot tell: refuse
	}
	rel, err := filepath.Rel(d, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
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
