package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// one is a listener with one connection.
type one struct {
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *one) Accept() (c net.Conn, err error) {
	l.once.Do(func() { c = l.conn })
	if c == nil {
		<-l.closed
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *one) Close() error   { close(l.closed); return nil }
func (l *one) Addr() net.Addr { return l.conn.LocalAddr() }

// A client that takes nothing of its answer is given up after a while, known or not; one
// that takes what comes is not, however seldom something comes.
func TestPatience(t *testing.T) {
	for _, judged := range []bool{true, false} {
		for name, takes := range map[string]bool{"takes nothing": false, "seldom gets something": true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					metrics, err := NewMetrics(prometheus.NewRegistry())
					if err != nil {
						t.Fatal(err)
					}
					var took time.Duration
					var failed error
					server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						e := &exchange{
							ResponseWriter: w, control: http.NewResponseController(w), live: newLive(metrics.tunnels), begun: time.Now(), cancel: func(error) {}, judged: judged,
						}
						e.open(r)
						defer e.close(r)
						for range 3 {
							time.Sleep(time.Hour) // of the bubble's
							began := time.Now()
							_, failed = io.WriteString(e, "data: x\n\n")
							if failed == nil {
								failed = e.FlushError()
							}
							took = time.Since(began)
							if failed != nil {
								return
							}
						}
					})}
					near, far := net.Pipe()
					l := &one{conn: far, closed: make(chan struct{})}
					var serving sync.WaitGroup
					serving.Go(func() { _ = server.Serve(l) })
					if _, err := io.WriteString(near, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
						t.Fatal(err)
					}
					if takes {
						answer, err := http.ReadResponse(bufio.NewReader(near), nil)
						if err != nil {
							t.Fatal(err)
						}
						if _, err := io.Copy(io.Discard, answer.Body); err != nil {
							t.Error(err)
						}
						_ = answer.Body.Close()
					} else {
						time.Sleep(time.Hour + 2*stall)
					}
					synctest.Wait()
					if !takes && (failed == nil || took != stall) || takes && (failed != nil || took != 0) {
						t.Errorf("judged %t: %v after %v", judged, failed, took)
					}
					_ = near.Close()
					_ = server.Close()
					serving.Wait()
				})
			})
		}
	}
}
