package proxy_test

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/proxy"
)

// patience is for what is bound to happen.
const patience = 30 * time.Second

// seen is a request as an application got it.
type seen struct {
	method, host, target, proto string
	header                      http.Header
	trailer                     http.Header
	body                        string
}

// application records what it is told and answers by handler.
type application struct {
	server *httptest.Server
	url    string // as --upstream takes it
	ca     string // a file, for https

	mu       sync.Mutex
	requests []seen
}

// take gives what was recorded since it was last asked.
func (a *application) take() []seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	got := a.requests
	a.requests = nil
	return got
}

// newApplication serves by kind, as --upstream spells it: http, https, h2c or unix.
func newApplication(t *testing.T, kind string, handler http.HandlerFunc) *application {
	t.Helper()
	a := &application{}
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := seen{method: r.Method, host: r.Host, target: r.RequestURI, proto: r.Proto, header: r.Header.Clone()}
		if handler != nil {
			a.record(s)
			handler(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client's, or the proxy's, doing
		}
		s.body, s.trailer = string(body), r.Trailer.Clone()
		a.record(s)
	}))
	switch kind {
	case "http":
		a.server.Start()
		a.url = a.server.URL
	case "h2c":
		a.server.Config.Protocols = new(http.Protocols)
		a.server.Config.Protocols.SetHTTP1(true)
		a.server.Config.Protocols.SetUnencryptedHTTP2(true)
		a.server.Start()
		a.url = strings.Replace(a.server.URL, "http:", "h2c:", 1)
	case "https":
		a.server.EnableHTTP2 = true
		a.server.StartTLS()
		a.url, a.ca = a.server.URL, filepath.Join(t.TempDir(), "ca.pem")
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.server.Certificate().Raw})
		if err := os.WriteFile(a.ca, text, 0o600); err != nil {
			t.Fatal(err)
		}
	case "unix":
		path := socket(t)
		_ = a.server.Listener.Close()
		a.server.Listener = listenUnix(t, path)
		a.server.Start()
		a.url = "unix:" + path
	}
	t.Cleanup(a.server.Close)
	return a
}

func (a *application) record(s seen) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, s)
}

// socket is a path short enough for one.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "proxy") //nolint:usetesting // whose path, with the test's name in it, is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func listenUnix(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// entrance is a proxy behind a server of its own, running.
type entrance struct {
	*proxy.Proxy
	server  *httptest.Server
	client  *http.Client
	metrics *prometheus.Registry
	path    string // of a Unix socket
	stop    func()
}

// newEntrance serves clients by kind, within the sidecar's bound of a header: http, h2,
// h2c or unix.
func newEntrance(t *testing.T, kind string, a *application, check *front.Checker, change ...func(*proxy.Config)) *entrance {
	t.Helper()
	upstream, err := proxy.ParseUpstream(a.url)
	if err != nil {
		t.Fatal(err)
	}
	cfg := proxy.Config{Upstream: upstream, CA: a.ca, AnswerWithin: patience}
	for _, f := range change {
		f(&cfg)
	}
	e := &entrance{metrics: prometheus.NewRegistry()}
	metrics, err := proxy.NewMetrics(e.metrics)
	if err != nil {
		t.Fatal(err)
	}
	if e.Proxy, err = proxy.New(cfg, check, metrics, zaptest.NewLogger(t)); err != nil {
		t.Fatal(err)
	}
	e.server = httptest.NewUnstartedServer(e.Proxy)
	e.server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	e.server.Config.DisableGeneralOptionsHandler = true
	e.server.Config.MaxHeaderBytes = 32 << 10
	switch kind {
	case "h2c":
		e.server.Config.Protocols = new(http.Protocols)
		e.server.Config.Protocols.SetUnencryptedHTTP2(true)
		e.server.Start()
		e.client = e.server.Client()
	case "http":
		e.server.Start()
		e.client = e.server.Client()
	case "h2":
		e.server.EnableHTTP2 = true
		e.server.StartTLS()
		e.client = e.server.Client()
	case "unix":
		e.path = socket(t)
		_ = e.server.Listener.Close()
		e.server.Listener = listenUnix(t, e.path)
		e.server.Start()
		e.server.URL = "http://localhost"
		e.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", e.path)
		}}}
		t.Cleanup(e.client.CloseIdleConnections)
	}
	if transport, ok := e.client.Transport.(*http.Transport); ok {
		transport.DisableCompression = true
	}
	e.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	e.stop = func() { cancel(); running.Wait() }
	t.Cleanup(e.server.Close)
	t.Cleanup(e.stop)
	return e
}

// reply is an answer that has been read to its end.
type reply struct {
	StatusCode      int
	Header, Trailer http.Header
	body            string
}

// ask sends a request as it is.
func (e *entrance) ask(t *testing.T, r *http.Request) reply {
	t.Helper()
	answer, err := e.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, answer.Trailer, string(body)}
}

// request makes one with a token.
func (e *entrance) request(t *testing.T, method, target, token string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, e.server.URL+target, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// dial opens a connection to the entrance that bytes can be written to.
func (e *entrance) dial(t *testing.T) net.Conn {
	t.Helper()
	network, address := "tcp", e.server.Listener.Addr().String()
	if e.path != "" {
		network, address = "unix", e.path
	}
	c, err := new(net.Dialer).DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}
