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
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"

	"github.com/revocast/revocast/events/natsconn"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/tlsfiles"
	"github.com/revocast/revocast/services/internal/canary"
	"github.com/revocast/revocast/services/internal/remote"
	"github.com/revocast/revocast/services/internal/risk"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/internal/signals/provider"
	"github.com/revocast/revocast/services/internal/throttle"
)

// Config is everything an issuer is told. Durations are in Go's notation.
type Config struct {
	File kong.ConfigFlag `name:"config" placeholder:"FILE" help:"YAML file with any of these flags, without the dashes. Flags and environment come first."`

	Mode          string `default:"full" enum:"full,control" group:"listen" help:"full, or control: beside an identity provider that is there already. Then nobody logs in here and nothing is signed; there are revocations, and log-outs that providers report."`
	Listen        string `default:":8080" group:"listen" help:"Public listener: login, tokens, sessions, JWKS, log-outs."`
	AdminListen   string `default:"127.0.0.1:8081" group:"listen" help:"Operators' listener. Every request needs an operator's token or client certificate; not on loopback it needs TLS."`
	MetricsListen string `default:"127.0.0.1:8082" group:"listen" help:"Prometheus metrics; empty for none."`
	Issuer        string `placeholder:"URL" group:"listen" help:"The iss of every token, and the URL clients reach this issuer by. Needed unless --listen is on loopback."`

	AdminTLSCert  string `name:"admin-tls-cert" env:"REVOCAST_ADMIN_TLS_CERT" placeholder:"FILE" type:"path" group:"listen" help:"Certificate of the operators' listener, PEM, with its chain. It is read again when it changes."`
	AdminTLSKey   string `name:"admin-tls-key" env:"REVOCAST_ADMIN_TLS_KEY" placeholder:"FILE" type:"path" group:"listen" help:"Its key, PEM."`
	AdminClientCA string `name:"admin-client-ca" env:"REVOCAST_ADMIN_CLIENT_CA" placeholder:"FILE" type:"path" group:"listen" help:"Authorities, PEM, whose certificates may prove operators who were added with a certificate: its common name is the operator's."`

	TrustedProxies []string `placeholder:"CIDR,…" group:"listen" help:"Reverse proxies whose X-Forwarded-For says where a request really comes from: networks or addresses, comma-separated. Without them it is the connection's other end."`

	Realm      string `default:"default" group:"broker" help:"One set of streams on the broker. Issuers of one realm share keys and users."`
	NATSURL    string `name:"nats-url" env:"REVOCAST_NATS_URL" placeholder:"URL,…" group:"broker" help:"NATS servers, nats:// or tls://, comma-separated; any one that answers will do. Empty: run one inside this process."`
	NATSCreds  string `name:"nats-creds" env:"REVOCAST_NATS_CREDS" placeholder:"FILE" type:"path" group:"broker" help:"Credentials of the issuer role for --nats-url."`
	NATSCA     string `name:"nats-ca" env:"REVOCAST_NATS_CA" placeholder:"FILE" type:"path" group:"broker" help:"Authorities, PEM, that the certificates of the servers at --nats-url must come from, instead of the system's. This and the next two demand TLS, and are read again at every connection."`
	NATSCert   string `name:"nats-cert" env:"REVOCAST_NATS_CERT" placeholder:"FILE" type:"path" group:"broker" help:"Client certificate, PEM, with its chain, for servers that want one besides the credentials."`
	NATSKey    string `name:"nats-key" env:"REVOCAST_NATS_KEY" placeholder:"FILE" type:"path" group:"broker" help:"Its key, PEM."`
	NATSListen string `name:"nats-listen" env:"REVOCAST_NATS_LISTEN" default:"127.0.0.1:4222" group:"broker" help:"Where the broker inside this process listens, for sidecars, subscribers and further issuers."`
	Replicas   int    `default:"1" enum:"1,3,5" group:"broker" help:"Copies of every stream; 3 on a cluster."`

	AuditMaxAge time.Duration `default:"9600h" group:"broker" help:"How long the audit remembers; 9600h are 400 days. The longest of all issuers counts, and none shortens what there is."`

	SnapshotInterval time.Duration `default:"10m" group:"broker" help:"The feed is packed for sidecars that start from nothing at most so often, by one of the issuers, and only when enough has changed; 0 is never."`

	DataDir        string `default:"./data" type:"path" group:"files" help:"The inner broker's streams and credentials."`
	KeysDir        string `default:"./keys" type:"path" group:"files" help:"Signing keys, refresh-token keys, the realm's root key. Made on first start, readable by its owner alone, never inside the data directory."`
	CredsDir       string `placeholder:"DIR" type:"path" group:"files" help:"Where the inner broker's credentials files are written (default: creds in the data directory)."`
	AdminTokenFile string `placeholder:"FILE" type:"path" group:"files" help:"The operator token, made on first start (default: admin.token in the data directory)."`
	Clients        string `placeholder:"FILE" type:"path" group:"files" help:"OAuth clients, YAML. Without any, nobody can log in."`
	Users          string `placeholder:"FILE" type:"path" group:"files" help:"Users to register at start if they do not exist yet, YAML."`

	AccessTTL           time.Duration `default:"5m" group:"sessions" help:"Lifetime of an access token, unless a client's entry says otherwise; so are the next three."`
	RefreshIdle         time.Duration `default:"720h" group:"sessions" help:"A session that is not refreshed for so long ends; 0 for never."`
	RefreshAbsolute     time.Duration `default:"0" group:"sessions" help:"A session ends so long after it began, however busy; 0 for never."`
	RotationGrace       time.Duration `default:"10s" group:"sessions" help:"How long after a refresh the old refresh token gives the same answer again, for concurrent calls and lost answers."`
	SigningAlg          string        `default:"ES256" enum:"ES256,RS256" group:"sessions" help:"What access tokens are signed with; both keys are published."`
	KeyRotationInterval time.Duration `default:"2160h" group:"keys" help:"Signing keys and keys of refresh tokens are replaced so often; 2160h are 90 days, 0 is never by itself."`
	KeyOverlap          time.Duration `default:"10m" group:"keys" help:"How long a new key is announced before it is used. Sidecars need seconds; whoever reads the key set alone needs longer than he caches it."`

	Provider           []string      `sep:"none" placeholder:"RULE" group:"providers" help:"An identity provider whose back-channel log-outs are obeyed; repeatable. issuer=URL,audience=NAME is enough, the audience being the client that the provider logs out; also jwks=URL-or-file, alg=ES256 (RS256 is the default), typ=logout+jwt to demand that."`
	ForeignMaxLifetime time.Duration `default:"24h" group:"providers" help:"How long other issuers' tokens may live: for so long they are revoked where nobody says how long. At least the max-lifetime of the sidecars' rules."`
	ForeignMaxSession  time.Duration `default:"720h" group:"providers" help:"How long other issuers' sessions may go on refreshing. Their issuer is not told of what an operator revokes, so revocations of a session, or of the sessions of a subject, a client or all, last so much longer where nobody says how long."`
	// Providers is what Provider says.
	Providers []provider.Provider `kong:"-"`

	RiskHook        string        `placeholder:"URL" group:"sessions" help:"Your own service that is asked about every refresh and may want a step-up: https, or http on loopback."`
	RiskHookTimeout time.Duration `default:"300ms" group:"sessions" help:"How long it may take."`
	RiskHookFailure string        `default:"step-up" enum:"step-up,allow" group:"sessions" help:"What it counts for when it fails: step-up, or allow where going on matters more."`

	ThrottleLogin   throttle.Limit `default:"10/10m" placeholder:"N/TIME" group:"throttling" help:"Logins of one user from one address, or from one device the user is logged in on (${default})."`
	ThrottleUser    throttle.Limit `default:"100/10m" placeholder:"N/TIME" group:"throttling" help:"Logins of one user from anywhere but such devices (${default})."`
	ThrottleAddress throttle.Limit `default:"300/5m" placeholder:"N/TIME" group:"throttling" help:"Logins, and forged refresh tokens, from one address (${default}). Behind a proxy that is not trusted everybody has the same."`
	ThrottleRefresh throttle.Limit `default:"60/1m" placeholder:"N/TIME" group:"throttling" help:"Refused refreshes of one session (${default})."`

	CanaryInterval time.Duration `default:"1m" group:"fleet" help:"How often a token that does not exist is revoked, to see whether every sidecar enforces it; 10s to 1h, 0 for never. Of several issuers one does it. Metrics, the log and revocast fleet say how that went."`

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
		kong.NamedMapper("path", kong.MapperFunc(filePath)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: false, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "listen", Title: "Listeners:"},
			{Key: "broker", Title: "Broker (NATS JetStream):"},
			{Key: "files", Title: "Files:"},
			{Key: "sessions", Title: "Sessions:"},
			{Key: "providers", Title: "Identity providers:"},
			{Key: "keys", Title: "Keys:"},
			{Key: "throttling", Title: "Throttling: so many may fail at once, and again in each such time; or off"},
			{Key: "fleet", Title: "Sidecars:"},
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
	c.fillIn()
	return c, errors.Join(c.Check(), c.checkControl(parsed))
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
		OnReplay: session.ReplaySuccessor, OnNetworkChange: session.Ignore, OnSuspicion: session.Ignore,
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
	c.checkBroker(add)
	c.checkAdmin(add)
	c.readProviders(add)
	if c.AuditMaxAge < minAudit {
		add("--audit-max-age %s: want %s or more; what a crash left undone is finished from the audit", c.AuditMaxAge, minAudit)
	}
	if c.SnapshotInterval != 0 && c.SnapshotInterval < time.Second {
		add("--snapshot-interval %s: want 0, or 1s or more", c.SnapshotInterval)
	}
	if inside(c.KeysDir, c.DataDir) {
		add("--keys-dir %s: lies inside --data-dir; keep them apart", c.KeysDir)
	}
	if c.AccessTTL < time.Second || c.AccessTTL > 24*time.Hour {
		add("--access-ttl %s: want 1s to 24h", c.AccessTTL)
	}
	if c.ForeignMaxLifetime < time.Minute || c.ForeignMaxLifetime > 10*366*24*time.Hour {
		add("--foreign-max-lifetime %s: want 1m to 10 years", c.ForeignMaxLifetime)
	}
	if c.ForeignMaxSession < c.ForeignMaxLifetime || c.ForeignMaxSession > 10*366*24*time.Hour {
		add("--foreign-max-session %s: want --foreign-max-lifetime, which is %s, to 10 years", c.ForeignMaxSession, c.ForeignMaxLifetime)
	}
	if c.RefreshIdle < 0 || c.RefreshAbsolute < 0 {
		add("--refresh-idle and --refresh-absolute: want 0 or more")
	}
	if _, err := remote.ParseProxies(c.TrustedProxies); err != nil {
		add("--trusted-proxies: %w", err)
	}
	if c.RotationGrace < 0 || c.RotationGrace > 5*time.Minute {
		add("--rotation-grace %s: want 0 to 5m", c.RotationGrace)
	}
	if err := (canary.Config{Interval: c.CanaryInterval}).Validate(); err != nil {
		add("--canary-interval: %w", err)
	}
	if c.KeyOverlap < 0 || c.KeyOverlap > 30*24*time.Hour {
		add("--key-overlap %s: want 0 to 720h", c.KeyOverlap)
	}
	if c.KeyRotationInterval < 0 || c.KeyRotationInterval > 0 && c.KeyRotationInterval <= c.KeyOverlap {
		add("--key-rotation-interval %s: want 0, or more than --key-overlap", c.KeyRotationInterval)
	}
	if err := risk.CheckURL(c.RiskHook); c.RiskHook != "" && err != nil {
		add("--risk-hook: %w", err)
	}
	if c.RiskHookTimeout <= 0 || c.RiskHookTimeout > 5*time.Second {
		add("--risk-hook-timeout %s: want more than 0, at most 5s", c.RiskHookTimeout)
	}
	return errors.Join(faults...)
}

// minAudit is longer than any outage of the issuers should last.
const minAudit = 24 * time.Hour

// NATSFiles are what secures the connection to the servers at --nats-url.
func (c *Config) NATSFiles() natsconn.Files {
	return natsconn.Files{CA: c.NATSCA, Cert: c.NATSCert, Key: c.NATSKey}
}

// checkBroker looks at how the broker is reached.
func (c *Config) checkBroker(add func(format string, args ...any)) {
	if c.NATSURL == "" {
		if c.NATSFiles() != (natsconn.Files{}) {
			add("--nats-ca, --nats-cert, --nats-key: need --nats-url; nothing connects to the broker inside this process by TLS")
		}
		return
	}
	if err := natsconn.CheckServers(c.NATSURL); err != nil {
		add("--nats-url: %w", err)
	}
	if c.NATSCreds == "" {
		add("--nats-creds: needed with --nats-url; the broker takes nobody without credentials")
	}
	if err := c.NATSFiles().Check(); err != nil {
		add("%w", err) // with its flags
	}
}

// AdminTLS are the files that secure the operators' listener.
func (c *Config) AdminTLS() tlsfiles.Files {
	return tlsfiles.Files{Cert: c.AdminTLSCert, Key: c.AdminTLSKey, ClientCA: c.AdminClientCA}
}

// checkAdmin looks at how operators' credentials travel.
func (c *Config) checkAdmin(add func(format string, args ...any)) {
	if err := c.AdminTLS().Check(); err != nil {
		add("--admin-tls-cert, --admin-tls-key, --admin-client-ca: %w", err)
	}
	if c.AdminListen != "" && c.AdminTLSCert == "" && !onLoopback(c.AdminListen) {
		add("--admin-listen %s: is not on loopback; operators' credentials would travel in the clear without --admin-tls-cert and --admin-tls-key", c.AdminListen)
	}
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
	if list, ok := value.([]any); ok {
		var texts []string
		for _, v := range list {
			texts = append(texts, fmt.Sprint(v))
		}
		if flag.Tag.Sep == -1 { // commas are part of what it takes
			return list, nil
		}
		return strings.Join(texts, ","), nil
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
