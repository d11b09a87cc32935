package app

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"
)

// A connection that a client opened ahead of its first request ends with the process,
// and is no failure of it.
func TestDrainEndsWhatNobodyUses(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server{name: "test", listener: l, protocol: &http.Server{
		Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute,
	}}
	served := make(chan error, 1)
	go func() { served <- s.serve(zap.NewNop()) }()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the other end has closed it
	if _, err := io.WriteString(c, "GET /"); err != nil {
		t.Fatal(err)
	}
	if err := s.drain(t.Context(), zap.NewNop()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}
