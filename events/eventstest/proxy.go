package eventstest

import (
	"context"
	"io"
	"net"
	"sync"
)

// link carries the route from one node to another and can be cut: what is sent
// while it is cut is held back, as on a network that drops every packet, and
// neither side is told.
type link struct {
	listener net.Listener
	target   func() string
	work     sync.WaitGroup

	mu     sync.Mutex
	open   *sync.Cond
	cut    bool
	closed bool
	conns  []net.Conn
}

func newLink(ctx context.Context, target func() string) (*link, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{listener: l, target: target}
	k.open = sync.NewCond(&k.mu)
	k.work.Go(func() { k.accept(ctx) })
	return k, nil
}

func (k *link) addr() string { return k.listener.Addr().String() }

func (k *link) setCut(cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = cut
	k.open.Broadcast()
}

// wait holds the caller while the link is cut; false means that it is closed.
func (k *link) wait() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.cut && !k.closed {
		k.open.Wait()
	}
	return !k.closed
}

// keep remembers a connection so that close can end it; false: too late.
func (k *link) keep(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	k.conns = append(k.conns, c)
	return true
}

func (k *link) accept(ctx context.Context) {
	for {
		from, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.work.Go(func() { k.carry(ctx, from) })
	}
}

func (k *link) carry(ctx context.Context, from net.Conn) {
	defer shut(from)
	if !k.keep(from) || !k.wait() {
		return
	}
	to, err := new(net.Dialer).DialContext(ctx, "tcp", k.target())
	if err != nil {
		return
	}
	defer shut(to)
	if !k.keep(to) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { k.copy(to, from) })
	both.Go(func() { k.copy(from, to) })
	both.Wait()
}

// copy moves bytes until either side ends, and then ends both.
func (k *link) copy(to, from net.Conn) {
	defer shut(to)
	defer shut(from)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !k.wait() {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// drop ends the connections of the moment, with what they hold back.
func (k *link) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		shut(c)
	}
	k.conns = nil
}

func (k *link) close() {
	k.mu.Lock()
	k.closed = true
	k.open.Broadcast()
	k.mu.Unlock()
	shut(k.listener)
	k.drop()
	k.work.Wait()
}

// shut closes what another goroutine may have closed already.
func shut(c io.Closer) { _ = c.Close() }
