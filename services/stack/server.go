package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Server is one issuer or sidecar: a process that listens and says when it is ready.
type Server struct {
	Process

	// Ports are where it listens.
	Ports Ports
	// readyPort serves /readyz.
	readyPort int
	client    *http.Client
	// kept is what Args were made of, for Restart.
	kept []string
}

// Ports are the ports of one server on 127.0.0.1. A sidecar has neither Metrics nor
// NATS, an issuer no GRPC, and one that joins another's broker no NATS.
type Ports struct {
	HTTP, GRPC, Admin, Metrics, NATS int
}

// tail is how much of a log an error quotes.
const tail = 15

// ErrEnded is returned for a server that ended before it was ready.
var ErrEnded = errors.New("it ended before it was ready")

// URL is the base of its public HTTP listener, without a slash at the end.
func (s *Server) URL() string { return "http://" + address(s.Ports.HTTP) }

// GRPCAddress is where it takes gRPC, as host:port; for sidecars.
func (s *Server) GRPCAddress() string { return address(s.Ports.GRPC) }

// AdminURL is the base of its admin listener, without a slash at the end.
func (s *Server) AdminURL() string { return "http://" + address(s.Ports.Admin) }

// NATSURL is where its embedded broker takes clients; for issuers that have one.
func (s *Server) NATSURL() string { return "nats://" + address(s.Ports.NATS) }

// Up starts the server and waits until it is ready. If that does not come to pass
// while ctx lasts, the server is stopped and the error shows the end of its log.
func (s *Server) Up(ctx context.Context) error {
	if err := s.Start(); err != nil {
		return err
	}
	if err := s.WaitReady(ctx); err != nil {
		return errors.Join(err, s.Kill())
	}
	return nil
}

// Restart stops the server if it runs and starts it again, until it is ready, with
// its own flags and then those given here instead of any that an earlier Restart
// gave. Of a flag that occurs twice the later one counts.
func (s *Server) Restart(ctx context.Context, flags ...string) error {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	s.Args = slices.Concat(s.kept, flags)
	return s.Up(ctx)
}

// WaitReady returns when /readyz answers 200. It gives up with [ErrEnded] when the
// process ends, and with the cause of ctx.
func (s *Server) WaitReady(ctx context.Context) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		if s.ready(ctx) {
			return nil
		}
		select {
		case <-s.Done():
			return fmt.Errorf("waiting for %s: %w: %w", s.Name, ErrEnded, s.EndedBy())
		case <-ctx.Done():
			err := fmt.Errorf("waiting for %s: %w", s.Name, context.Cause(ctx))
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("%w\n%s", err, s.Tail(tail))
			}
			return err
		case <-ticker.C:
		}
	}
}

// EndedBy says how a server that nobody stopped ended, with the end of its log.
func (s *Server) EndedBy() error {
	err := s.Err()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("%w\n%s", err, s.Tail(tail))
}

func (s *Server) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address(s.readyPort)+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // its status is all that counts
	return resp.StatusCode == http.StatusOK
}
