package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/proxy"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

type object = tokentest.Object

// Both sides get what the other sends when it is sent: each line is answered before the
// next is written.
func TestStreamsBothWays(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	for _, c := range []struct{ client, application string }{{"http", "http"}, {"h2", "h2c"}, {"h2", "https"}, {"unix", "unix"}} {
		t.Run(c.client+" to "+c.application, func(t *testing.T) {
			a := newApplication(t, c.application, func(w http.ResponseWriter, r *http.Request) {
				control := http.NewResponseController(w)
				_ = control.EnableFullDuplex()
				w.WriteHeader(http.StatusOK)
				_ = control.Flush()
				for lines := bufio.NewScanner(r.Body); lines.Scan(); {
					_, _ = fmt.Fprintf(w, "got %s\n", lines.Text())
					_ = control.Flush()
				}
			})
			e := newEntrance(t, c.client, a, rig.Checker(t))
			in, out := io.Pipe()
			r := e.request(t, "POST", "/", rig.Good(t, nil), in)
			answer, err := e.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = answer.Body.Close() }()
			lines := bufio.NewScanner(answer.Body)
			for n := range 20 {
				if _, err := fmt.Fprintf(out, "line %d\n", n); err != nil {
					t.Fatal(err)
				}
				if !lines.Scan() || lines.Text() != fmt.Sprintf("got line %d", n) {
					t.Fatalf("%q, %v", lines.Text(), lines.Err())
				}
			}
			if err := out.Close(); err != nil || lines.Scan() || lines.Err() != nil {
				t.Errorf("at the end: %v, %q, %v", err, lines.Text(), lines.Err())
			}
		})
	}
}

// stream is an endless answer, read line by line.
func stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(w, "data: x\n"); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// A stream of events breaks off once its session is revoked; another's goes on.
func TestRevokedStreams(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	for _, kind := range []string{"http", "h2"} {
		t.Run(kind, func(t *testing.T) {
			e := newEntrance(t, kind, newApplication(t, "http", stream), rig.Checker(t))
			gone, here := "gone-"+kind, "here-"+kind
			open := func(session string) io.Reader {
				answer, err := e.client.Do(e.request(t, "GET", "/", rig.Good(t, object{"sid": session}), http.NoBody))
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Fatalf("%+v, %v", answer, err)
				}
				t.Cleanup(func() { _ = answer.Body.Close() })
				return answer.Body
			}
			revoked, other := open(gone), open(here)
			rig.Revoke(t, events.KindSession, gone, time.Now().Add(time.Hour))
			e.Changed()
			if _, err := io.Copy(io.Discard, revoked); err == nil {
				t.Error("the stream came to an end as if it were whole")
			}
			if _, err := io.ReadFull(other, make([]byte, 1024)); err != nil {
				t.Errorf("another's stream: %v", err)
			}
			if n := metric(t, e, "revocast_sidecar_proxy_ended_total"); n != 1 {
				t.Errorf("%v are counted as ended", n)
			}
		})
	}
}

// An answer that has not begun when its session is revoked is the refusal.
func TestRevokedBeforeTheAnswer(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	a := newApplication(t, "http", func(_ http.ResponseWriter, r *http.Request) {
		rig.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
		<-r.Context().Done()
	})
	e := newEntrance(t, "http", a, rig.Checker(t))
	answer := e.ask(t, e.request(t, "GET", "/", rig.Good(t, nil), http.NoBody))
	if answer.StatusCode != http.StatusUnauthorized || !strings.Contains(answer.Header.Get("WWW-Authenticate"), "invalid_token") ||
		!strings.Contains(answer.body, "The access token was revoked") || answer.Header.Get(front.FreshAsOf) == "" {
		t.Errorf("%d %v %s", answer.StatusCode, answer.Header, answer.body)
	}
}

// A client that goes away is gone for the application, too.
func TestClientGoes(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	for _, kind := range []string{"http", "h2"} {
		t.Run(kind, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan struct{})
			a := newApplication(t, "http", func(_ http.ResponseWriter, r *http.Request) {
				close(began)
				<-r.Context().Done()
				close(ended)
			})
			e := newEntrance(t, kind, a, rig.Checker(t))
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-began; cancel() }()
			answer, err := e.client.Do(e.request(t, "GET", "/", rig.Good(t, nil), http.NoBody).WithContext(ctx))
			if !errors.Is(err, context.Canceled) {
				_ = answer.Body.Close()
				t.Fatalf("%+v, %v", answer, err)
			}
			select {
			case <-ended:
			case <-time.After(patience):
				t.Error("the application still works for nobody")
			}
		})
	}
}

// What the application fails to answer is 502 or 504, without a word about it.
func TestApplicationFails(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	hold := make(chan struct{})
	defer close(hold)
	for name, c := range map[string]struct {
		handler http.HandlerFunc // nil: nobody listens
		status  int
	}{
		"nobody there": {nil, http.StatusBadGateway},
		"hangs up": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		}, http.StatusBadGateway},
		"no HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "secret of the application\r\n\r\n")
				_ = conn.Close()
			}
		}, http.StatusBadGateway},
		"huge header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Own", strings.Repeat("secret ", 1<<16))
		}, http.StatusBadGateway},
		"switches unasked": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				_ = conn.Close()
			}
		}, http.StatusBadGateway},
		"silent": {func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}, http.StatusGatewayTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApplication(t, "http", c.handler)
			if c.handler == nil {
				a.server.Close()
			}
			e := newEntrance(t, "http", a, rig.Checker(t), func(cfg *proxy.Config) {
				if c.status == http.StatusGatewayTimeout {
					cfg.AnswerWithin = 50 * time.Millisecond
				}
			})
			answer := e.ask(t, e.request(t, "GET", "/", rig.Good(t, nil), http.NoBody))
			if answer.StatusCode != c.status || answer.body != fmt.Sprintf(`{"title":%q,"status":%d}`, http.StatusText(c.status), c.status) ||
				answer.Header.Get("Content-Type") != "application/problem+json" || answer.Header.Get(front.FreshAsOf) == "" {
				t.Errorf("%d %v %s", answer.StatusCode, answer.Header, answer.body)
			}
			if n := metric(t, e, "revocast_sidecar_proxy_failures_total"); n != 1 {
				t.Errorf("%v failures are counted", n)
			}
		})
	}
}

// A body that is not what it says is the client's fault.
func TestBrokenBody(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	e := newEntrance(t, "http", newApplication(t, "http", nil), rig.Checker(t))
	conn := e.dial(t)
	_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", rig.Good(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusBadRequest {
		t.Fatalf("%+v, %v", answer, err)
	}
	_ = answer.Body.Close()
}

// Who is refused is so before the body is sent, and the application hears nothing of it;
// who is let in is asked for it by the application.
func TestExpect(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	a := newApplication(t, "http", nil)
	e := newEntrance(t, "http", a, rig.Checker(t))
	begin := func(token string) (net.Conn, *bufio.Reader) {
		conn := e.dial(t)
		_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", token)
		if err != nil {
			t.Fatal(err)
		}
		return conn, bufio.NewReader(conn)
	}
	_, in := begin("none")
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusUnauthorized || !answer.Close {
		t.Fatalf("refused: %+v, %v", answer, err)
	}
	_ = answer.Body.Close()
	conn, in := begin(rig.Good(t, nil))
	answer, err = http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusContinue {
		t.Fatalf("let in: %+v, %v", answer, err)
	}
	_ = answer.Body.Close()
	if _, err := io.WriteString(conn, "body"); err != nil {
		t.Fatal(err)
	}
	for err == nil && answer.StatusCode == http.StatusContinue { // the application's own, too
		answer, err = http.ReadResponse(in, nil)
	}
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("let in: %+v, %v", answer, err)
	}
	_ = answer.Body.Close()
	if got := a.take(); len(got) != 1 || got[0].body != "body" {
		t.Errorf("the application got %+v", got)
	}
}

// metric sums what a counter or a gauge says.
func metric(t *testing.T, e *entrance, name string) (sum float64) {
	t.Helper()
	families, err := e.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
