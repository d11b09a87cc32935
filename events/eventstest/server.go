// Package eventstest runs real NATS servers inside a test, as an issuer embeds
// them: JetStream on disk, synced on every write, one account a role, no access
// without credentials. A single server or a cluster whose nodes can be stopped,
// killed and cut off from each other.
//
// Everything belongs to the test that made it and is gone when the test ends.
package eventstest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events/natsauth"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
)

// Realm is the realm of every test server.
const Realm = subject.Realm("test")

const (
	// patience is how long a test waits for a server before it gives up: longer
	// than NATS takes to notice that a source is lost and to set it up again.
	patience = 3 * time.Minute
	attempt  = 3 * time.Second
)

// Server is one NATS server of a test. Its methods are for the test's goroutine.
type Server struct {
	party
	options *server.Options
	// home is the test that the server belongs to; its directories outlive subtests.
	home testing.TB
	// running is nil while the server is down; links look at it too.
	running atomic.Pointer[server.Server]
}

// RunServer starts a server with the realm's streams in place (see [Empty] for one
// without) and stops it when the test ends.
func RunServer(t testing.TB, opts ...Option) *Server {
	t.Helper()
	c := settings(1, opts)
	s := newServer(t, newParty(t, c.topology))
	s.options.SyncAlways = !c.lazy
	s.options.TLSConfig, s.secure = c.serverTLS, c.clientTLS
	s.Start(t)
	t.Cleanup(s.Stop)
	if !c.empty {
		s.Provision(t)
	}
	return s
}

// Option changes what RunServer and RunCluster start.
type Option func(*config)

type config struct {
	empty    bool
	lazy     bool
	topology topology.Options

	serverTLS, clientTLS *tls.Config
}

// TLS makes a single server refuse whoever does not speak TLS as the first argument
// wants it. The test's own connections are made with the second.
func TLS(server, client *tls.Config) Option {
	return func(c *config) { c.serverTLS, c.clientTLS = server, client }
}

// Topology changes how the realm is laid out; its name and replicas stay the
// test's.
func Topology(o topology.Options) Option {
	return func(c *config) {
		o.Realm, o.Replicas = c.topology.Realm, c.topology.Replicas
		c.topology = o
	}
}

// Lazy lets the server acknowledge before it syncs: for benchmarks that load much and
// do not measure that.
func Lazy() Option { return func(c *config) { c.lazy = true } }

// Empty leaves out the streams.
func Empty() Option { return func(c *config) { c.empty = true } }

func settings(replicas int, opts []Option) config {
	c := config{topology: topology.Options{Realm: Realm, Replicas: replicas}}
	for _, o := range opts {
		o(&c)
	}
	return c
}

func newServer(t testing.TB, p party) *Server {
	t.Helper()
	options, err := serverOptions(p.authority, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &Server{party: p, options: options, home: t}
}

// serverOptions configures a server to trust the authority and nothing else.
func serverOptions(a *natsauth.Authority, dir string) (*server.Options, error) {
	token, err := a.Operator()
	if err != nil {
		return nil, err
	}
	operator, err := jwt.DecodeOperatorClaims(token)
	if err != nil {
		return nil, err
	}
	accounts, err := a.Accounts()
	if err != nil {
		return nil, err
	}
	resolver := &server.MemAccResolver{}
	for _, acc := range accounts {
		if err := resolver.Store(acc.ID, acc.JWT); err != nil {
			return nil, fmt.Errorf("storing account %s: %w", acc.Name, err)
		}
	}
	return &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: dir, SyncAlways: true,
		TrustedOperators: []*jwt.OperatorClaims{operator},
		SystemAccount:    operator.SystemAccount,
		AccountResolver:  resolver,
		NoSigs:           true, NoLog: true,
	}, nil
}

// Start starts a server that is not running, on the port and the data it had.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.running.Load() != nil {
		t.Fatal("server is running already")
	}
	running, err := server.NewServer(s.options.Clone())
	if err != nil {
		t.Fatal(err)
	}
	running.Start()
	if !running.ReadyForConnections(patience) {
		running.Shutdown()
		t.Fatal("server does not accept connections")
	}
	addr, ok := running.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("server listens on %v", running.Addr())
	}
	if s.options.Port != addr.Port { // a proxy in front of it may be reading it
		s.options.Port = addr.Port
	}
	s.running.Store(running)
}

// Stop shuts the server down in an orderly way. Stopping it twice is no error.
func (s *Server) Stop() {
	running := s.running.Swap(nil)
	if running == nil {
		return
	}
	running.Shutdown()
	running.WaitForShutdown()
}

// URL is where clients connect; it stays the same over restarts.
func (s *Server) URL() string { return "nats://" + s.clientAddr() }

func (s *Server) clientAddr() string { return fmt.Sprintf("127.0.0.1:%d", s.options.Port) }

// Kill ends the server as kill -9 would: what it does on its way out never
// reaches the disk that [Server.Start] will find, which goes with t.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	left := s.home.TempDir()
	if err := copyTree(left, s.options.StoreDir); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.options.StoreDir = left
}

// copyTree copies a directory that is in use: a file that vanishes on the way was
// a temporary one.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return ignoreVanished(err)
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		content, err := os.ReadFile(path) //nolint:gosec // below the test's own directory
		if err != nil {
			return ignoreVanished(err)
		}
		return os.WriteFile(target, content, 0o600) //nolint:gosec // both directories are the test's own
	})
}

func ignoreVanished(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Connect returns a connection of the role, closed when the test ends. Further
// options are applied last.
func (s *Server) Connect(t testing.TB, r topology.Role, more ...nats.Option) *nats.Conn {
	t.Helper()
	return s.connect(t, s.URL(), r, more)
}

// Superuser returns a connection of a user of the account whom no permission holds
// back, for what no role may do: deleting a stream, say. Closed when the test ends.
func (s *Server) Superuser(t testing.TB, a topology.Account) *nats.Conn {
	t.Helper()
	return s.superuser(t, s.URL(), a)
}

// Provision creates the realm's streams, as an issuer does at start.
func (s *Server) Provision(t testing.TB) {
	t.Helper()
	s.provision(t, s.URL())
}

// WaitReady waits until an issuer would call the broker ready.
func (s *Server) WaitReady(t testing.TB) {
	t.Helper()
	s.waitReady(t, s.URL())
}
