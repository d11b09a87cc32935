package front_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/revocast/revocast/loadtest/internal/front"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/target"
	"github.com/revocast/revocast/loadtest/internal/token"
)

// judge is what all servers of these tests answer by: the status for a token's holder, or
// 0 to hang until the caller is gone.
func judge(authorization string) int {
	switch authorization {
	case "Bearer good":
		return http.StatusOK
	case "Bearer stale":
		return http.StatusServiceUnavailable
	case "Bearer slow":
		return 0
	}
	return http.StatusUnauthorized
}

// client of the introspection below.
const (
	clientID = "orders-api"
	secret   = "a&secret=%"
)

// sidecar answers as a sidecar's HTTP fronts do.
func sidecar(w http.ResponseWriter, r *http.Request) {
	says := func(code int, body string) {
		if code == 0 {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
	switch r.URL.Path {
	case "/auth":
		if r.Method != http.MethodGet || r.Header.Get("X-Forwarded-Method") != http.MethodGet || r.Header.Get("X-Forwarded-Uri") == "" || r.Header.Get("X-Forwarded-Host") == "" {
			says(http.StatusTeapot, "")
			return
		}
		says(judge(r.Header.Get("Authorization")), "")
	case "/introspect":
		if id, given, _ := r.BasicAuth(); r.Method != http.MethodPost || id != clientID || given != "a%26secret%3D%25" {
			says(http.StatusUnauthorized, `{"error":"invalid_client"}`)
			return
		}
		switch code := judge("Bearer " + r.PostFormValue("token")); code {
		case http.StatusOK, http.StatusUnauthorized:
			says(http.StatusOK, fmt.Sprintf(`{"active":%t}`, code == http.StatusOK))
		default:
			says(code, "")
		}
	case "/orders":
		if r.URL.RawQuery != "page=2" {
			says(http.StatusTeapot, "")
			return
		}
		says(judge(r.Header.Get("Authorization")), "orders\n")
	case "/redirect":
		http.Redirect(w, r, "/orders?page=2", http.StatusFound)
	case "/flood":
		says(http.StatusOK, strings.Repeat("x", 100<<10))
	case "/reset":
		panic(http.ErrAbortHandler)
	default:
		says(http.StatusOK, "no JSON")
	}
}

// authorization is Envoy's, by the types that Envoy's authors generate.
type authorization struct {
	authv3.UnimplementedAuthorizationServer
}

func (authorization) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	asked := r.GetAttributes().GetRequest().GetHttp()
	code := judge(asked.GetHeaders()["authorization"])
	switch {
	case code == 0:
		<-ctx.Done()
		return nil, ctx.Err()
	case asked.GetMethod() != http.MethodGet || asked.GetHost() == "" || asked.GetPath() == "":
		return nil, errors.New("no description of a request")
	case code == http.StatusOK:
		return &authv3.CheckResponse{Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "X-Auth-Subject", Value: "alice"}}},
		}}}, nil
	}
	return &authv3.CheckResponse{
		Status:       &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(code)}}},
	}, nil
}

// listeners are the networks that fronts are asked over: their base is http://host:port
// or unix:/path.
func listeners(t *testing.T) map[string]net.Listener {
	t.Helper()
	tcp, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	unix, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]net.Listener{"http://" + tcp.Addr().String(): tcp, "unix:" + path: unix}
}

func serveHTTP(t *testing.T, l net.Listener, h http.HandlerFunc) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close() // of its own choice
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}

func serveGRPC(t *testing.T, l net.Listener) {
	t.Helper()
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, authorization{})
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		s.Stop()
		serving.Wait()
	})
}

func open(t *testing.T, kind front.Kind, url string, timeout time.Duration) front.Front {
	t.Helper()
	f, err := front.Open(front.Config{Kind: kind, URL: url, Connections: 4, Timeout: timeout, ClientID: clientID, ClientSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// verdicts asks about every token, many at a time.
func verdicts(t *testing.T, f front.Front) {
	t.Helper()
	for raw, want := range map[string]int{"good": http.StatusOK, "bad": http.StatusUnauthorized, "b+d/=&x": http.StatusUnauthorized, "stale": http.StatusServiceUnavailable} {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got, err := f.Ask(t.Context(), token.New(raw)); err != nil || got != want {
					t.Errorf("%s: %d, %v, want %d", raw, got, err, want)
				}
			})
		}
		all.Wait()
	}
}

// Every front gives the same verdicts, over TCP and over Unix sockets.
func TestFronts(t *testing.T) {
	for base, l := range listeners(t) {
		serveHTTP(t, l, sidecar)
		for _, kind := range []front.Kind{front.ForwardAuth, front.Introspection} {
			t.Run(string(kind)+" "+base[:4], func(t *testing.T) { verdicts(t, open(t, kind, kind.At(base), 20*time.Second)) })
		}
		if strings.HasPrefix(base, "http") {
			t.Run("proxy", func(t *testing.T) { verdicts(t, open(t, front.Proxy, base+"/orders?page=2", 20*time.Second)) })
		}
	}
	for base, l := range listeners(t) {
		serveGRPC(t, l)
		for _, url := range []string{base, strings.TrimPrefix(base, "http://")} {
			t.Run("ext-authz "+url[:4], func(t *testing.T) { verdicts(t, open(t, front.ExtAuthz, url, 20*time.Second)) })
		}
	}
}

// No answer in time is a timeout, whoever is asked.
func TestTooLate(t *testing.T) {
	late := func(t *testing.T, f front.Front) {
		t.Helper()
		_, err := f.Ask(t.Context(), token.New("slow"))
		if err == nil || measure.FailureOf(err) != measure.Timeout {
			t.Errorf("%T: %v", err, err)
		}
	}
	for base, l := range listeners(t) {
		serveHTTP(t, l, sidecar)
		for _, kind := range []front.Kind{front.ForwardAuth, front.Introspection} {
			late(t, open(t, kind, kind.At(base), 50*time.Millisecond))
		}
	}
	for base, l := range listeners(t) {
		serveGRPC(t, l)
		late(t, open(t, front.ExtAuthz, base, 50*time.Millisecond))
	}
}

// What is no answer is a failure, and what is one goes no further.
func TestNoAnswer(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		sidecar(w, r)
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	for path, want := range map[string]int{"/reset": 0, "/flood": 0, "/redirect": http.StatusFound} {
		asked.Store(0)
		got, err := open(t, front.Proxy, s.URL+path, 20*time.Second).Ask(t.Context(), token.New("good"))
		if got != want || (err == nil) != (want != 0) || err != nil && measure.FailureOf(err) != measure.Connection {
			t.Errorf("%s: %d, %v", path, got, err)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
	if got, err := open(t, front.Introspection, s.URL+"/elsewhere", 20*time.Second).Ask(t.Context(), token.New("good")); got != http.StatusBadGateway || err != nil {
		t.Errorf("an introspection without JSON: %d, %v", got, err)
	}
	for _, kind := range []front.Kind{front.ForwardAuth, front.Introspection, front.ExtAuthz} {
		got, err := open(t, kind, "http://127.0.0.1:1/", 20*time.Second).Ask(t.Context(), token.New("hunter2"))
		if err == nil || measure.FailureOf(err) != measure.Connection || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s of nobody: %d, %v", kind, got, err)
		}
	}
}

// A client that is not let in is not mistaken for a token that is not.
func TestIntrospectionRefusesTheClient(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(sidecar))
	t.Cleanup(s.Close)
	f, err := front.Open(front.Config{Kind: front.Introspection, URL: s.URL + "/introspect", Connections: 1, Timeout: 20 * time.Second, ClientID: clientID, ClientSecret: "another"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Ask(t.Context(), token.New("good")); got != http.StatusForbidden || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestWhereItGoes(t *testing.T) {
	for _, c := range []struct {
		kind       front.Kind
		url, owned string
		err        error
	}{
		{front.ForwardAuth, "http://127.0.0.1:9470/auth", "", nil},
		{front.ForwardAuth, "https://localhost/auth?scope=read", "", nil},
		{front.ForwardAuth, "unix:/run/sidecar", "", nil},
		{front.ExtAuthz, "127.0.0.1:9471", "", nil},
		{front.ExtAuthz, "[::1]:9471", "", nil},
		{front.ExtAuthz, "https://sidecar.example:9471", "sidecar.example", nil},
		{front.ExtAuthz, "sidecar.example:9471", "", target.ErrNotYours},
		{front.ExtAuthz, "192.0.2.1:9471", "", target.ErrNotYours},
		{front.Introspection, "http://sidecar.example/introspect", "", target.ErrNotYours},
		{front.Proxy, "http://api.example/", "sidecar.example", target.ErrNotYours},
		{front.Proxy, "http://api.example/", "api.example", nil},
	} {
		f, err := front.Open(front.Config{Kind: c.kind, URL: c.url, Owned: c.owned, Connections: 1, Timeout: time.Second})
		if !errors.Is(err, c.err) {
			t.Errorf("%s at %s: %v", c.kind, c.url, err)
		}
		if f != nil {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	for kind, urls := range map[front.Kind][]string{
		front.ForwardAuth: {"", "127.0.0.1:9470", "unix:", "ftp://127.0.0.1/", "http:///auth", "http://a:hunter2@127.0.0.1/", "http://127.0.0.1/#x"},
		front.ExtAuthz:    {"", "127.0.0.1", "http://127.0.0.1", "grpc://127.0.0.1:1"},
		front.Library:     {"http://127.0.0.1/"},
		"telepathy":       {"http://127.0.0.1/"},
	} {
		for _, url := range urls {
			if f, err := front.Open(front.Config{Kind: kind, URL: url, Connections: 1, Timeout: time.Second}); err == nil || f != nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s at %q: %v", kind, url, err)
			}
		}
	}
}

func TestKinds(t *testing.T) {
	for _, k := range front.Kinds() {
		var got front.Kind
		if err := got.UnmarshalText([]byte(k)); err != nil || got != k {
			t.Errorf("%s: %s, %v", k, got, err)
		}
	}
	var k front.Kind
	if err := k.UnmarshalText([]byte("telepathy")); err == nil || k != "" {
		t.Errorf("%q, %v", k, err)
	}
}

// The application behind a proxy serves until it is told to stop, and counts.
func TestUpstream(t *testing.T) {
	for base, l := range listeners(t) {
		u := front.NewUpstream(l)
		if u.URL() != base {
			t.Errorf("it is at %s, and says %s", base, u.URL())
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- u.Run(ctx) }()
		f := open(t, front.Proxy, base, 20*time.Second)
		for range 3 {
			if got, err := f.Ask(t.Context(), token.New("anything")); got != http.StatusOK || err != nil {
				t.Errorf("%d, %v", got, err)
			}
		}
		if n := u.Served(); n != 3 {
			t.Errorf("served %d", n)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("stopping: %v", err)
		}
		if _, err := open(t, front.Proxy, base, 20*time.Second).Ask(t.Context(), token.New("anything")); err == nil {
			t.Error("it answers after its end")
		}
	}
	u := front.NewUpstream(closed{})
	if err := u.Run(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("on a listener that does not listen: %v", err)
	}
}

type closed struct{ net.Listener }

func (closed) Accept() (net.Conn, error) { return nil, os.ErrClosed }
func (closed) Close() error              { return nil }

// What a request costs, with a server in the same process that does next to nothing;
// beside it the client that everything else here uses.
func BenchmarkAsk(b *testing.B) {
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	u := front.NewUpstream(l)
	ctx, stop := context.WithCancel(b.Context())
	var serving sync.WaitGroup
	serving.Go(func() { _ = u.Run(ctx) })
	b.Cleanup(serving.Wait)
	b.Cleanup(stop)
	good := token.New(strings.Repeat("x", 600))
	b.Run("front", func(b *testing.B) {
		f, err := front.Open(front.Config{Kind: front.ForwardAuth, URL: u.URL() + "/auth", Connections: 64, Timeout: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := f.Ask(ctx, good); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("net-http", func(b *testing.B) {
		to, err := target.New(target.Config{URL: u.URL() + "/auth", Connections: 64, Timeout: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := to.Status(ctx, target.Request{Authorization: good.Authorization()}); err != nil {
					b.Error(err)
				}
			}
		})
		to.Close()
	})
}
