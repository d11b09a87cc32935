package eventstest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy stands between clients and a server and loses what the test wants lost. Its
// methods are for the test's goroutine.
type Proxy struct{ link *link }

// RunProxy puts a proxy in front of the server, until the test ends.
func RunProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	return ProxyTo(t, s.clientAddr)
}

// ProxyTo puts one in front of whatever listens at the address of the moment: a
// server in a process of its own, say.
func ProxyTo(t testing.TB, address func() string) *Proxy {
	t.Helper()
	k, err := newLink(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	return &Proxy{link: k}
}

// URL is where clients connect.
func (p *Proxy) URL() string { return "nats://" + p.link.addr() }

// HoldAnswers holds back what the server says. What clients say still arrives.
func (p *Proxy) HoldAnswers() { p.link.set(false, true) }

// Cut holds back everything both sides say, and connections too, until Heal.
func (p *Proxy) Cut() { p.link.set(true, false) }

// Heal lets pass what is held back and what comes.
func (p *Proxy) Heal() { p.link.set(false, false) }

// Lose ends the connections of the moment, with what was held back, and lets new
// ones pass.
func (p *Proxy) Lose() {
	p.link.drop()
	p.link.set(false, false)
}

// link carries the connections from one side to another and can be cut: what is sent
// while it is cut is held back, as on a network that drops every packet, and
// neither side is told.
type link struct {
	listener net.Listener
	target   func() string
	work     sync.WaitGroup

	mu   sync.Mutex
	open *sync.Cond
	// cut holds back everything, mute what the target says.
	cut, mute bool
	closed    bool
	conns     []net.Conn
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

func (k *link) set(cut, mute bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut, k.mute = cut, mute
	k.open.Broadcast()
}

// wait holds the caller, who carries what the target says or else what is said to
// it, while the link is cut; false means that it is closed.
func (k *link) wait(answer bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for (k.cut || answer && k.mute) && !k.closed {
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
	if !k.keep(from) || !k.wait(false) {
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
	both.Go(func() { k.copy(to, from, false) })
	both.Go(func() { k.copy(from, to, true) })
	both.Wait()
}

// copy moves bytes until either side ends, and then ends both.
func (k *link) copy(to, from net.Conn, answer bool) {
	defer shut(to)
	defer shut(from)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !k.wait(answer) {
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
