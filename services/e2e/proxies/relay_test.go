//go:build unix

package proxies

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
)

// relay stands between a proxy and the sidecar and keeps what the proxy says.
type relay struct {
	port int

	mu    sync.Mutex
	heard bytes.Buffer
}

// startRelay passes on to a port on loopback.
func startRelay(t *testing.T, to int) *relay {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{port: l.Addr().(*net.TCPAddr).Port}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { r.pass(t, from, to) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		passing.Wait()
	})
	return r
}

func (r *relay) pass(t *testing.T, proxy net.Conn, to int) {
	defer func() { _ = proxy.Close() }()
	// The test's context ends before its clean-ups, and with it every connection.
	sidecar, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(to))
	if err != nil {
		return
	}
	defer func() { _ = sidecar.Close() }()
	ended := make(chan struct{})
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(proxy, sidecar)
		_ = proxy.Close()
	})
	back.Go(func() {
		select {
		case <-t.Context().Done():
			_, _ = proxy.Close(), sidecar.Close()
		case <-ended:
		}
	})
	_, _ = io.Copy(io.MultiWriter(sidecar, r), proxy)
	close(ended)
	_ = sidecar.Close()
	back.Wait()
}

// Write implements [io.Writer].
func (r *relay) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard.Write(p)
}

// said is all that proxies have said.
func (r *relay) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard.String()
}
