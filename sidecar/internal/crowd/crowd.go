// Package crowd bounds how many connections a listener has, so that those which are
// opened and not used keep nobody out.
//
// Beyond the bound a new connection takes the place of one on which nothing is being
// answered: of a few such, looked at in no order, the one that has been so longest.
// Whoever opens connections by the thousand thus mostly loses his own. Where there is
// none, the new one is closed.
//
// A request is being answered once all of it has come, or its answer has begun: who
// takes a long time to send one keeps no place by that.
//
// Invariants:
//
//   - No connection on which a request is being answered is closed for another, with
//     [Limit.Handler]. Where there is none, as for gRPC, what has been sent last counts
//     instead.
//   - There are never more connections than the bound.
package crowd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// candidates is how many unused connections are compared.
	candidates = 16
	// looks bounds how many are looked at for them.
	looks = 1024
)

// Limit bounds the connections of one listener. It is safe for concurrent use.
type Limit struct {
	most    int
	crowded func()

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// New makes a limit of so many connections, at least 1. It calls crowded, which must not
// block, for every connection that is closed for the sake of the bound.
func New(most int, crowded func()) (*Limit, error) {
	if most < 1 {
		return nil, fmt.Errorf("connections %d: want at least 1", most)
	}
	return &Limit{most: most, crowded: crowded, conns: map[*conn]struct{}{}}, nil
}

// conn is a connection that counts.
type conn struct {
	net.Conn
	limit *Limit
	// traffic: what is read counts as use.
	traffic bool
	// answering is how many requests are, or leaving; used is when it was used last, in
	// Unix nanoseconds.
	answering atomic.Int64
	used      atomic.Int64
	closing   sync.Once
}

// leaving instead of a number of requests: another is taking the connection's place.
const leaving = -1

// begin counts a request, unless the connection is to be closed.
func (c *conn) begin() bool {
	for {
		n := c.answering.Load()
		if n == leaving {
			return false
		}
		if c.answering.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *conn) end() {
	c.touch()
	c.answering.Add(-1)
}

func (c *conn) touch() { c.used.Store(time.Now().UnixNano()) }

// Listener gives connections of l that are used as [Limit.Handler] is told.
func (l *Limit) Listener(inner net.Listener) net.Listener { return listener{inner, l, false} }

// Traffic gives connections of l that are used when something is read from them.
func (l *Limit) Traffic(inner net.Listener) net.Listener { return listener{inner, l, true} }

type listener struct {
	net.Listener
	limit   *Limit
	traffic bool
}

// Accept implements [net.Listener].
func (l listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: inner, limit: l.limit, traffic: l.traffic}
		c.touch()
		out := l.limit.admit(c)
		if out != nil {
			l.limit.crowded()
			_ = out.Close() // whatever comes of it, it is not counted any more
		}
		if out != c {
			return c, nil
		}
	}
}

// admit counts c, and gives whom to close for it: another, c itself, or nobody.
func (l *Limit) admit(c *conn) (out *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.most {
		if out = l.unused(); out == nil {
			return c
		}
		delete(l.conns, out)
	}
	l.conns[c] = struct{}{}
	return out
}

// unused finds one to close, on which no request begins from then on. It is called with
// the lock held.
func (l *Limit) unused() *conn {
	for range candidates { // each but the last may be taken into use meanwhile
		if c := l.longest(); c == nil || c.answering.CompareAndSwap(0, leaving) {
			return c
		}
	}
	return nil
}

func (l *Limit) longest() (longest *conn) {
	looked, found := 0, 0
	for c := range l.conns { // which begins anywhere
		if looked++; looked > looks || found == candidates {
			break
		}
		if c.answering.Load() > 0 {
			continue
		}
		found++
		if longest == nil || c.used.Load() < longest.used.Load() {
			longest = c
		}
	}
	return longest
}

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.traffic && n > 0 {
		c.touch()
	}
	return n, err
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.closing.Do(func() {
		c.limit.mu.Lock()
		defer c.limit.mu.Unlock()
		delete(c.limit.conns, c)
	})
	return c.Conn.Close()
}

// CloseWrite ends one direction, where the connection can do that.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

type connKey struct{}

// Context is for [http.Server.ConnContext].
func (l *Limit) Context(ctx context.Context, c net.Conn) context.Context {
	if secured, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = secured.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}
