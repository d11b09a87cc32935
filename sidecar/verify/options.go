package verify

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events/natsconn"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/node"
	"github.com/revocast/revocast/sidecar/internal/realmroot"
	"github.com/revocast/revocast/sidecar/internal/syncer"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// Option says one thing about a [Verifier] that [New] makes. What none says is as the
// sidecar has it by default.
type Option func(*settings)

// settings are what options turn.
type settings struct {
	node    node.Config
	log     *zap.Logger
	metrics prometheus.Registerer
	faults  []error
}

func defaults() *settings {
	s := &settings{log: zap.NewNop(), metrics: prometheus.NewRegistry(), node: node.Config{
		Realm: "default", Version: "verify", Leeway: 5 * time.Second, Cache: 64 << 20, Policy: gate.DefaultPolicy(),
	}}
	host, err := os.Hostname()
	s.node.ID = syncer.ID(host)
	s.fault("naming it after the host", err)
	return s
}

func (s *settings) fault(doing string, err error) {
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: %w", doing, err))
	}
}

// Feed names the broker, nats:// or tls:// URLs separated by commas, and the file with
// the credentials of the sidecar role. Needed.
func Feed(servers, credentials string) Option {
	return func(s *settings) { s.node.NATSURL, s.node.NATSCreds = servers, credentials }
}

// FeedTLS names the files, PEM, that secure the connection to the broker: the
// authorities that its certificate must come from, instead of the system's, and a
// client certificate with its key. Any may be empty. They are read again at every
// connection.
func FeedTLS(authorities, certificate, key string) Option {
	return func(s *settings) {
		s.node.NATSFiles = natsconn.Files{CA: authorities, Cert: certificate, Key: key}
	}
}

// Realm is whose feed is followed; by default "default".
func Realm(name string) Option {
	return func(s *settings) {
		realm, err := subject.ParseRealm(name)
		s.node.Realm = realm
		s.fault("Realm", err)
	}
}

// RealmRoot names the file, PEM, with the realm's root public key. Only what it has
// signed may allow anything; without it nothing may, and no revocation can be lifted.
func RealmRoot(file string) Option {
	return func(s *settings) {
		root, err := realmroot.Read(file)
		s.node.Root = root
		s.fault("RealmRoot", err)
	}
}

// Trust accepts the tokens of one issuer. Needed at least once, once an issuer. A rule
// is what the sidecar's --trust takes: "issuer=URL,audience=NAME" is enough.
func Trust(rule string) Option {
	return func(s *settings) {
		trust, err := token.ParseTrust(rule)
		s.node.Trusts = append(s.node.Trusts, trust)
		s.fault("Trust", err)
	}
}

// DataDir keeps the denylist and the last good key sets in a directory of this
// program's own, for a start that need not wait for anybody. By default they are in
// memory, and every start begins with nothing.
func DataDir(dir string) Option { return func(s *settings) { s.node.Dir = dir } }

// Name is what reports call this program: 1 to 128 letters, digits, '-' and '_'. By
// default it is the host's name. Programs on one host may share it.
func Name(id string) Option { return func(s *settings) { s.node.ID = id } }

// StaleAfter is the age from which the view of revocations is called stale; by default
// 30 s, at least 10 s.
func StaleAfter(age time.Duration) Option {
	return func(s *settings) { s.node.Policy.StaleAfter = age }
}

// StaleLimit is the age up to which a stale view is answered from; by default 15 min.
func StaleLimit(age time.Duration) Option {
	return func(s *settings) { s.node.Policy.StaleLimit = age }
}

// DenyStale answers [ErrStale] as soon as the view is stale.
func DenyStale() Option { return func(s *settings) { s.node.Policy.WhenStale = gate.DenyStale } }

// RequireScopes demands scopes of every token.
func RequireScopes(scopes ...string) Option {
	return func(s *settings) { s.node.Policy.Scopes = append(s.node.Policy.Scopes, scopes...) }
}

// Shadow counts what would be denied, but allows it.
func Shadow() Option { return func(s *settings) { s.node.Policy.Shadow = true } }

// Leeway is the tolerance for times in tokens, by default 5 s and at most 1 min.
func Leeway(d time.Duration) Option { return func(s *settings) { s.node.Leeway = d } }

// CacheBytes is the memory that verified tokens may take, by default 64 MiB; 0 keeps none.
func CacheBytes(n int64) Option {
	return func(s *settings) { s.node.Cache = n }
}

// MemoryBudget is that of denylist and verified tokens together. Over it nothing is
// forgotten, but [Verifier.Ready] says so. By default there is none.
func MemoryBudget(bytes int64) Option { return func(s *settings) { s.node.Budget = bytes } }

// Log takes what operators should know. No token is ever in it. By default nothing is
// logged.
func Log(log *zap.Logger) Option { return func(s *settings) { s.log = log } }

// WithMetrics registers the sidecar's metrics of decisions, view and denylist. By
// default they are nobody's.
func WithMetrics(r prometheus.Registerer) Option { return func(s *settings) { s.metrics = r } }

// validate checks what only the library leaves to the caller.
func (s *settings) validate() {
	if s.node.NATSURL == "" || s.node.NATSCreds == "" {
		s.faults = append(s.faults, errors.New("Feed: needed, with credentials"))
	}
	if s.node.Cache < 0 || s.node.Budget < 0 {
		s.faults = append(s.faults, fmt.Errorf("CacheBytes %d, MemoryBudget %d: want none below zero", s.node.Cache, s.node.Budget))
	}
	if s.node.Budget > 0 && s.node.Budget <= s.node.Cache {
		s.faults = append(s.faults, fmt.Errorf("MemoryBudget %d: want more than CacheBytes, %d", s.node.Budget, s.node.Cache))
	}
	if s.log == nil || s.metrics == nil {
		s.faults = append(s.faults, errors.New("Log, WithMetrics: want none rather than nil"))
	}
}
