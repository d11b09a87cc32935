// Package broker runs NATS inside the issuer: the default for one machine and for
// development. It is the same broker as outside, with the same accounts: nobody
// connects without credentials (ADR-0007).
//
// Invariants:
//
//   - What is acknowledged is on disk: every write is synced first (INV-1).
//   - Accounts, not passwords, separate the roles (INV-8).
//   - Stopping it flushes and closes its stores before it returns.
//   - One broker has a directory: two would each acknowledge what the other loses.
package broker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events/natsauth"
)

// readyWithin bounds how long the server may take to recover its stores.
const readyWithin = time.Minute

// Config says where the broker listens and keeps its streams.
type Config struct {
	// Listen is host:port for clients; port 0 takes a free one.
	Listen string
	// Dir holds the streams; made if missing.
	Dir string
}

// Broker is a running server.
type Broker struct {
	server *server.Server
	lock   *os.File
}

var errInUse = errors.New("another process uses it")

// Start runs a server under the authority's accounts and waits until it accepts
// connections. The caller stops it.
func Start(cfg Config, authority *natsauth.Authority, log *zap.Logger) (*Broker, error) {
	options, err := cfg.options(authority)
	if err != nil {
		return nil, fmt.Errorf("configuring the broker: %w", err)
	}
	held, err := hold(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("locking the broker's directory %s: %w", cfg.Dir, err)
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("creating the broker: %w", errors.Join(err, held.Close()))
	}
	fatal := make(chan string, 1)
	s.SetLoggerV2(logger{log.Named("broker").Sugar(), fatal}, false, false, false)
	s.Start()
	b := &Broker{server: s, lock: held}
	if err := b.await(fatal); err != nil {
		b.Stop()
		return nil, fmt.Errorf("starting the broker on %s, stored in %s: %w", cfg.Listen, cfg.Dir, err)
	}
	return b, nil
}

// hold makes the directory if need be, and ours until the file is closed.
func hold(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // below the directory that was asked for
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// await waits until the server accepts connections or gives up on something. It
// would have ended the process for that, and so goes on as if it had started.
func (b *Broker) await(fatal <-chan string) error {
	for deadline := time.Now().Add(readyWithin); ; {
		ready := b.server.ReadyForConnections(100 * time.Millisecond)
		select {
		case why := <-fatal:
			return errors.New(why)
		default:
		}
		if ready && b.server.JetStreamEnabled() {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready within %s", readyWithin)
		}
	}
}

func (c Config) options(authority *natsauth.Authority) (*server.Options, error) {
	host, portText, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", portText, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	token, err := authority.Operator()
	if err != nil {
		return nil, err
	}
	operator, err := jwt.DecodeOperatorClaims(token)
	if err != nil {
		return nil, err
	}
	accounts, err := authority.Accounts()
	if err != nil {
		return nil, err
	}
	resolver := &server.MemAccResolver{}
	for _, a := range accounts {
		err = errors.Join(err, resolver.Store(a.ID, a.JWT))
	}
	return &server.Options{
		ServerName: "revocast", Host: host, Port: port,
		JetStream: true, StoreDir: c.Dir, SyncAlways: true,
		TrustedOperators: []*jwt.OperatorClaims{operator}, SystemAccount: operator.SystemAccount, AccountResolver: resolver,
		NoSigs: true, DisableShortFirstPing: true,
	}, err
}

// URL is where clients connect.
func (b *Broker) URL() string { return b.server.ClientURL() }

// Stop shuts the server down in good order and waits for it.
func (b *Broker) Stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
	_ = b.lock.Close() // nothing was written to it
}

// logger hands the server's log on. The server never prints credentials, and its
// notices of every start are of interest only to those who look for them.
type logger struct {
	log   *zap.SugaredLogger
	fatal chan<- string
}

func (l logger) Noticef(format string, v ...any) { l.log.Debugf(format, v...) }
func (l logger) Warnf(format string, v ...any)   { l.log.Warnf(format, v...) }
func (l logger) Errorf(format string, v ...any)  { l.log.Errorf(format, v...) }
func (l logger) Debugf(string, ...any)           {}
func (l logger) Tracef(string, ...any)           {}

// Fatalf keeps the first reason for whoever starts the server, who reports it.
func (l logger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
		l.log.Errorf(format, v...)
	}
}
