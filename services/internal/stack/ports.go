package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const loopback = "127.0.0.1"

// Free ports are looked for below the range from which systems take the local ports
// of outgoing connections (32768 and up on Linux, 49152 elsewhere), since such a
// connection could take the port of a server that is being restarted.
const (
	firstPort = 18_000
	lastPort  = 32_700
	portTries = 200
)

// ErrPorts is returned when no free port was found.
var ErrPorts = errors.New("found no free port on " + loopback)

// FreePorts finds n different ports on the loopback address that nothing listens on.
// Somebody else may take one before it is used; nothing can rule that out.
func FreePorts(n int) (ports []int, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			err = errors.Join(err, l.Close())
		}
	}()
	for range portTries + n {
		if len(ports) == n {
			return ports, nil
		}
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // a port is no secret
		l, err := net.Listen("tcp", address(port))        //nolint:noctx // binding does not block
		if err != nil {
			continue // taken, by us or by another
		}
		held, ports = append(held, l), append(ports, port)
	}
	return nil, ErrPorts
}

// fill picks a free port for everyone that is zero, and none that it has given to
// a server that may not listen yet.
func (s *Stack) fill(wanted ...*int) error {
	for _, port := range wanted {
		for *port == 0 || s.picked[*port] {
			free, err := FreePorts(1)
			if err != nil {
				return err
			}
			*port = free[0]
		}
		s.picked[*port] = true
	}
	return nil
}

// checkPorts reports every fixed port that something listens on already, all at
// once and before anything is started.
func (cfg Config) checkPorts() error {
	errs := cfg.IssuerPorts.check("the issuer")
	for i, p := range cfg.SidecarPorts {
		errs = append(errs, p.check("sidecar "+strconv.Itoa(i+1))...)
	}
	return errors.Join(errs...)
}

func (p Ports) check(whose string) (errs []error) {
	for _, port := range []int{p.HTTP, p.GRPC, p.Admin, p.Metrics, p.NATS} {
		if port == 0 {
			continue
		}
		l, err := net.Listen("tcp", address(port)) //nolint:noctx // binding does not block
		if failed, ok := errors.AsType[*net.OpError](err); ok {
			err = failed.Err // the rest of it is the address again
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("port %d, for %s, is not free: %w", port, whose, err))
			continue
		}
		if err := l.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }
