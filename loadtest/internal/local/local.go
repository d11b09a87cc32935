// Package local runs a system of its own for the time of a load test: the real programs
// as processes, on free ports of the loopback interface.
//
// Invariants:
//
//   - What is started is stopped, on Linux also when this process is killed. It keeps
//     its files in a temporary directory of its own, which is removed.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/target"
	"github.com/revocast/revocast/services/stack"
)

// Config says what to run.
type Config struct {
	// Bin is the directory of the programs.
	Bin string
	// Sidecars is how many there are at first.
	Sidecars int
	// Broker is what carries the events.
	Broker Broker
	// IssuerFlags and SidecarFlags are added to those of every issuer and sidecar.
	IssuerFlags, SidecarFlags []string
}

// System is an issuer with its broker, and sidecars. Its methods are those of
// [stack.Stack], and no more safe for concurrent use than they are.
type System struct {
	*stack.Stack

	dir     string
	brokers brokers
	issuer  *issuer.Issuer
}

const (
	startWithin = 2 * time.Minute
	stopWithin  = 30 * time.Second
	callWithin  = 30 * time.Second
	callers     = 64
)

// Start returns when everything is ready. If that fails, or ctx ends first, what was
// started is stopped. The caller stops it otherwise.
func Start(ctx context.Context, cfg Config) (_ *System, err error) {
	s := &System{}
	if s.dir, err = os.MkdirTemp("", "revocast-loadtest-"); err != nil {
		return nil, fmt.Errorf("starting the local system: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("starting the local system: %w", errors.Join(err, s.end()))
		}
	}()
	starting, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if cfg.Broker.Nodes > 0 {
		if err := s.brokers.start(starting, stack.Dir(s.dir), cfg.Bin, cfg.Broker); err != nil {
			return nil, err
		}
	}
	// All load comes from one address, and mostly for one user.
	flags := []string{"--throttle-login", "off", "--throttle-user", "off", "--throttle-address", "off", "--throttle-refresh", "off"}
	if cfg.Broker.Nodes > 1 {
		flags = append(flags, "--replicas", strconv.Itoa(cfg.Broker.Nodes))
	}
	if s.Stack, err = stack.Start(starting, stack.Config{
		Dir: s.dir, BinDir: cfg.Bin, Sidecars: cfg.Sidecars, BrokerURL: s.brokers.url(),
		IssuerFlags: append(flags, cfg.IssuerFlags...), SidecarFlags: cfg.SidecarFlags,
	}); err != nil {
		return nil, err
	}
	s.issuer, err = s.Reach(s.Issuer())
	return s, err
}

// Reach gives a client of an issuer of the system, by as many connections as it takes.
// The caller need not close it.
func (s *System) Reach(srv *stack.Server) (*issuer.Issuer, error) {
	public, err := target.New(target.Config{URL: srv.URL(), Connections: callers, Timeout: callWithin})
	if err != nil {
		return nil, err
	}
	admin, err := target.New(target.Config{URL: srv.AdminURL(), Connections: callers, Timeout: callWithin})
	if err != nil {
		return nil, err
	}
	operator, err := s.AdminToken()
	return &issuer.Issuer{Public: public, Admin: admin, Operator: operator}, err
}

// API is a client of the first issuer.
func (s *System) API() *issuer.Issuer { return s.issuer }

// Somebody is a user of the system, who may log in.
func Somebody() issuer.Login {
	return issuer.Login{Username: stack.Alice, Password: stack.AlicePassword, Client: stack.MobileClient}
}

// Stop stops everything and waits until it is gone. A server that had ended by itself is
// no error here: who depends on it has noticed.
func (s *System) Stop() error {
	if err := s.end(); err != nil {
		return fmt.Errorf("stopping the local system: %w", err)
	}
	return nil
}

// end takes a system as far as it was started.
func (s *System) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	var err error
	if s.Stack != nil {
		err = s.Stack.Stop(ctx)
	}
	return errors.Join(err, s.brokers.stop(ctx), os.RemoveAll(s.dir))
}

// Grants opens as many sessions, and says how long the first access token to expire is
// good for from now.
func (s *System) Grants(ctx context.Context, sessions int) (all []issuer.Grant, valid time.Duration, err error) {
	began := time.Now()
	for range sessions {
		g, err := s.issuer.LogIn(ctx, Somebody())
		if err != nil {
			return nil, 0, err
		}
		if all = append(all, g); valid == 0 || g.Lifetime < valid {
			valid = g.Lifetime
		}
	}
	return all, valid - time.Since(began), nil
}
