package crowd_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/crowd"
)

const patience = 30 * time.Second

// site is a server that answers when it has read the request, or at /hold when it is let
// go besides, and at /early before.
type site struct {
	server  *httptest.Server
	closed  atomic.Int64  // for the bound
	sending chan struct{} // a body is about to be read
	held    chan struct{}
	release chan struct{}
}

func newSite(t *testing.T, most int, secured bool) *site {
	t.Helper()
	s := &site{sending: make(chan struct{}, 100), held: make(chan struct{}, 100), release: make(chan struct{})}
	limit, err := crowd.New(most, func() { s.closed.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewUnstartedServer(limit.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			control := http.NewResponseController(w)
			_, _ = control.EnableFullDuplex(), control.Flush()
		} else if r.ContentLength > 0 {
			s.sending <- struct{}{}
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/hold" {
			s.held <- struct{}{}
			<-s.release
		}
		_, _ = io.WriteString(w, "here")
	})))
	s.server.Config.ConnContext = limit.Context
	s.server.Listener = limit.Listener(s.server.Listener)
	if secured {
		s.server.EnableHTTP2 = true
		s.server.StartTLS()
	} else {
		s.server.Start()
	}
	t.Cleanup(s.server.Close)
	return s
}

// client is one connection.
type client struct {
	net.Conn
	in *bufio.Reader
}

func (s *site) dial(t *testing.T) client {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if s.server.TLS != nil {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	return client{c, bufio.NewReader(c)}
}

func (c client) send(path string) error {
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
	return err
}

// answered reads an answer.
func (c client) answered() error {
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return err
}

// Idle connections, ten times as many as there may be, keep nobody out: not who has a
// request under way, nor who comes anew.
func TestIdleKeepNobodyOut(t *testing.T) {
	for _, secured := range []bool{false, true} {
		t.Run(fmt.Sprint("secured ", secured), func(t *testing.T) {
			const most = 8
			s := newSite(t, most, secured)
			var busy []client
			for range 3 {
				c := s.dial(t)
				if err := c.send("/hold"); err != nil {
					t.Fatal(err)
				}
				<-s.held
				busy = append(busy, c)
			}
			for n := range 10 * most {
				s.dial(t) // and nothing
				if n%most != 0 {
					continue
				}
				honest := s.dial(t)
				if err := honest.send("/"); err != nil {
					t.Fatal(err)
				}
				if err := honest.answered(); err != nil {
					t.Fatalf("who came behind %d idle ones: %v", n+1, err)
				}
			}
			close(s.release)
			for _, c := range busy {
				if err := c.answered(); err != nil {
					t.Errorf("who was being answered: %v", err)
				}
			}
			if s.closed.Load() == 0 {
				t.Error("none was closed for the bound")
			}
		})
	}
}

// Where every connection is in use, a new one is turned away, until one is free.
func TestAllInUse(t *testing.T) {
	s := newSite(t, 2, false)
	var busy []client
	for range 2 {
		c := s.dial(t)
		if err := c.send("/hold"); err != nil {
			t.Fatal(err)
		}
		<-s.held
		busy = append(busy, c)
	}
	late := s.dial(t)
	_ = late.send("/")
	if err := late.answered(); err == nil {
		t.Error("a third of two was answered")
	}
	close(s.release)
	for _, c := range busy {
		if err := c.answered(); err != nil {
			t.Error(err)
		}
	}
	for deadline := time.Now().Add(patience); ; {
		next := s.dial(t)
		if next.send("/") == nil && next.answered() == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody gets in any more")
		}
	}
}

// Without a handler to tell, who has sent something last stays.
func TestTraffic(t *testing.T) {
	limit, err := crowd.New(4, func() {})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit.Traffic(inner)
	t.Cleanup(func() { _ = l.Close() })
	open := func() (near, far net.Conn) {
		near, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = near.Close() })
		far, err = l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return near, far
	}
	near, far := open()
	for range 40 { // each would close the first but for what it sends
		if _, err := near.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := far.Read(make([]byte, 1)); err != nil {
			t.Fatalf("who uses its connection: %v", err)
		}
		open()
	}
}

func TestNew(t *testing.T) {
	if _, err := crowd.New(0, func() {}); err == nil {
		t.Error("a limit of nobody")
	}
}

// Who sends a request slowly keeps nobody out; who has sent all of it, or is being
// answered while it sends, keeps its place.
func TestSlowSenders(t *testing.T) {
	const most = 8
	s := newSite(t, most, false)
	release := sync.OnceFunc(func() { close(s.release) })
	t.Cleanup(release)
	post := func(path, body string) client {
		c := s.dial(t)
		if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n%s", path, body); err != nil {
			t.Fatal(err)
		}
		return c
	}
	whole, early := post("/hold", "body"), post("/early", "b")
	<-s.held
	<-s.sending
	if _, err := early.in.Peek(1); err != nil { // its answer has begun
		t.Fatal(err)
	}
	var slow []client
	for range most - 2 {
		slow = append(slow, post("/", "b"))
		<-s.sending
	}
	for range 2 * most {
		honest := s.dial(t)
		if err := honest.send("/"); err != nil {
			t.Fatal(err)
		}
		if err := honest.answered(); err != nil {
			t.Fatalf("who came behind those who send slowly: %v", err)
		}
	}
	if _, err := slow[0].in.ReadByte(); err == nil {
		t.Error("the slowest is still there")
	}
	if _, err := io.WriteString(early, "ody"); err != nil {
		t.Fatal(err)
	}
	release()
	for name, c := range map[string]client{"sent": whole, "being answered": early} {
		if err := c.answered(); err != nil {
			t.Errorf("whose request was %s: %v", name, err)
		}
	}
}

// A request that comes when its connection has been chosen to be closed is not begun.
func TestChosenWhileARequestComes(t *testing.T) {
	conns := make(chan net.Conn, 2)
	begun, gone := make(chan struct{}, 1), make(chan struct{})
	limit, err := crowd.New(1, func() { // between being chosen and being closed
		first := <-conns
		_, _ = io.WriteString(first, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		go func() {
			_, _ = first.Read(make([]byte, 1))
			close(gone)
		}()
		select {
		case <-begun:
			t.Error("a request was begun whose connection is then closed")
		case <-gone:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 2)
	server := httptest.NewUnstartedServer(limit.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
	})))
	server.Config.ConnContext = limit.Context
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			accepted <- struct{}{}
		}
	}
	server.Listener = limit.Listener(server.Listener)
	server.Start()
	t.Cleanup(server.Close)
	for range 2 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		conns <- c
		<-accepted
	}
}
