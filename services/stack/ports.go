package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

const loopback = "127.0.0.1"

// Free ports are looked for below the range from which systems take the local ports
// of outgoing connections (32768 and up on Linux, 49152 elsewhere), since such a
// connection could take the port of a server that is being restarted.
//
// They are dealt out in blocks, one to each process. A process that listens on the first
// port of a block owns the others, until it ends by whatever means: two that look for
// free ports at once, such as the tests of two packages, never find the same.
const (
	firstPort = 18_000
	blockSize = 500
	blocks    = 29
)

// ErrPorts is returned when no free port was found.
var ErrPorts = errors.New("found no free port on " + loopback)

// block is the one of this process.
var block ports //nolint:gochecknoglobals // what it owns is the process's

// ports are dealt out in turn, so that a port found free comes up again only after all
// the others have: it need not be listened on at once.
type ports struct {
	mu    sync.Mutex
	owned net.Listener // on the first one; nil until there is need of any
	first int
	last  int // the last one dealt out, counted from the first
}

// FreePorts finds n different ports on the loopback address that nothing listens on.
// No other process that calls it is given one of them, and this one only after some
// hundred others. Who does not ask here may still take one before it is used; nothing
// can rule that out.
func FreePorts(n int) ([]int, error) { return block.free(n) }

func (p *ports) free(n int) (found []int, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.own(); err != nil {
		return nil, err
	}
	for range blockSize - 1 {
		if len(found) == n {
			break
		}
		p.last = p.last%(blockSize-1) + 1
		if l, err := listen(p.first + p.last); err == nil {
			if err := l.Close(); err != nil {
				return nil, err
			}
			found = append(found, p.first+p.last)
		}
	}
	if len(found) < n {
		return nil, ErrPorts
	}
	return found, nil
}

// own takes a block that nobody has.
func (p *ports) own() error {
	if p.owned != nil {
		return nil
	}
	for _, i := range rand.Perm(blocks) { //nolint:gosec // a port is no secret
		first := firstPort + i*blockSize
		if l, err := listen(first); err == nil {
			p.owned, p.first = l, first
			return nil
		}
	}
	return ErrPorts
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", address(port)) //nolint:noctx // binding does not block
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
		l, err := listen(port)
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
