package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// echo upgrades and sends back what comes.
func echo(w http.ResponseWriter, r *http.Request) {
	conn := upgrade(w, r)
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.Copy(conn, conn)
}

// upgrade answers as RFC 6455 section 4.2.2 has it, but for the key, and with a header
// that only the front may set.
func upgrade(w http.ResponseWriter, r *http.Request) net.Conn {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.WriteHeader(http.StatusUpgradeRequired)
		return nil
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Auth-Subject: told\r\nX-Own: kept\r\n\r\n")
	return conn
}

// socketClient is a client's end.
type socketClient struct {
	net.Conn
	in *bufio.Reader
}

// open upgrades a connection, with headers besides.
func (e *entrance) open(t *testing.T, target, token string, headers ...string) (socketClient, reply) {
	t.Helper()
	conn := e.dial(t)
	if e.server.TLS != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	if len(headers) == 0 {
		headers = []string{"Connection: Upgrade", "Upgrade: websocket"}
	}
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n\r\n", target, token, strings.Join(headers, "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := socketClient{conn, bufio.NewReader(conn)}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close() // there is none
	return c, reply{StatusCode: answer.StatusCode, Header: answer.Header}
}

// frame is one text frame.
func frame(text string) []byte { return append([]byte{0x81, byte(len(text))}, text...) }

// says sends a frame and wants it back.
func (c socketClient) says(t *testing.T, text string) {
	t.Helper()
	want := frame(text)
	if _, err := c.Write(want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.in, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// ends reads to the end, which must be a close frame of that code.
func (c socketClient) ends(t *testing.T, code uint16, reason string) {
	t.Helper()
	rest, err := io.ReadAll(c.in)
	want := append([]byte{0x88, byte(2 + len(reason))}, binary.BigEndian.AppendUint16(nil, code)...)
	if err != nil || string(rest) != string(want)+reason {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

const revokedReason = "The access token was revoked"

// A WebSocket passes through, and ends with its session: at once where the proxy is told
// of a revocation, within a second where it is not.
func TestRevokedWebSocket(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	for _, c := range []struct{ client, application string }{{"http", "http"}, {"h2", "https"}, {"http", "h2c"}, {"unix", "unix"}} {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s to %s, told %t", c.client, c.application, told), func(t *testing.T) {
				e := newEntrance(t, c.client, newApplication(t, c.application, echo), rig.Checker(t))
				session := t.Name()
				gone, answer := e.open(t, "/", rig.Good(t, object{"sid": session}))
				if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("X-Own") != "kept" ||
					answer.Header["X-Auth-Subject"] != nil || len(answer.Header[front.FreshAsOf]) != 1 {
					t.Fatalf("%d %v", answer.StatusCode, answer.Header)
				}
				here, _ := e.open(t, "/", rig.Good(t, nil))
				gone.says(t, "one")
				here.says(t, "two")
				if n := metric(t, e, "revocast_sidecar_proxy_websockets"); n != 2 {
					t.Errorf("%v WebSockets are counted", n)
				}
				rig.Revoke(t, events.KindSession, session, time.Now().Add(time.Hour))
				if told {
					e.Changed()
				}
				gone.ends(t, 1008, revokedReason)
				here.says(t, "three")
			})
		}
	}
}

// Each of these ends a WebSocket, and in each case it says why.
func TestEndsOfWebSockets(t *testing.T) {
	for name, c := range map[string]struct {
		policy gate.Policy
		rules  []route.Rule
		claims func(now time.Time) object
		change func(*verifytest.Rig, *entrance)
		code   uint16
		reason string
	}{
		"expired": { // the leeway is five seconds
			policy: gate.DefaultPolicy(), claims: func(now time.Time) object {
				return object{"exp": now.Add(-time.Second).Unix(), "iat": now.Add(-time.Minute).Unix()}
			},
			code: 1008, reason: "The access token expired",
		},
		"stale": {
			policy: gate.Policy{StaleAfter: time.Minute, WhenStale: gate.DenyStale},
			change: func(r *verifytest.Rig, _ *entrance) { r.View.Set(time.Now().Add(-2*time.Minute), true) },
			code:   1008, reason: "Revocations cannot be checked at present",
		},
		"authenticated too long ago": {
			policy: gate.DefaultPolicy(), rules: []route.Rule{{Match: []string{"/"}, Ask: gate.Ask{MaxAge: time.Minute}}},
			claims: func(now time.Time) object { return object{"auth_time": now.Add(-55 * time.Second).Unix()} },
			code:   1008, reason: "A more recent or a stronger authentication is required",
		},
		"the process ends": {policy: gate.DefaultPolicy(), change: func(_ *verifytest.Rig, e *entrance) { e.stop() }, code: 1001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := verifytest.New(t, c.policy)
			e := newEntrance(t, "http", newApplication(t, "http", echo), rig.Checker(t, c.rules...))
			claims := object(nil)
			if c.claims != nil {
				claims = c.claims(time.Now())
			}
			conn, answer := e.open(t, "/", rig.Good(t, claims))
			if answer.StatusCode != http.StatusSwitchingProtocols {
				t.Fatal(answer.StatusCode)
			}
			if c.change != nil {
				conn.says(t, "hello")
				c.change(rig, e)
			}
			conn.ends(t, c.code, c.reason)
		})
	}
}

// Where enforcement is off, or no token was needed, a revocation ends nothing.
func TestLastingWebSockets(t *testing.T) {
	shadow := gate.DefaultPolicy()
	shadow.Shadow = true
	for name, c := range map[string]struct {
		policy gate.Policy
		target string
	}{"shadow": {shadow, "/"}, "anonymous": {gate.DefaultPolicy(), "/public/"}} {
		rig := verifytest.New(t, c.policy)
		e := newEntrance(t, "http", newApplication(t, "http", echo), rig.Checker(t, route.Rule{Match: []string{"/public/"}, Anonymous: true}))
		conn, _ := e.open(t, c.target, rig.Good(t, nil))
		bystander, _ := e.open(t, "/", rig.Good(t, object{"sid": "sid-2"}))
		rig.Revoke(t, events.KindSubject, "alice", time.Now().Add(time.Hour))
		e.Changed()
		if c.policy.Shadow {
			bystander.says(t, "x") // the sweep cannot be seen; this one lives by the same rule
		} else {
			bystander.ends(t, 1008, revokedReason)
		}
		conn.says(t, name)
	}
}

// In the middle of a frame nothing can be said, and the connection just ends.
func TestEndsWithinAFrame(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	e := newEntrance(t, "http", newApplication(t, "http", func(w http.ResponseWriter, r *http.Request) {
		conn := upgrade(w, r)
		defer func() { _ = conn.Close() }()
		_, _ = conn.Write(frame("whole message")[:6])
		_, _ = io.Copy(io.Discard, conn)
	}), rig.Checker(t))
	conn, _ := e.open(t, "/", rig.Good(t, nil))
	if _, err := io.ReadFull(conn.in, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	rig.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	e.Changed()
	if rest, err := io.ReadAll(conn.in); len(rest) != 0 {
		t.Errorf("behind half a frame: %q, %v", rest, err)
	}
}

// A client that takes nothing of what it is sent holds up nobody's end.
func TestStalledClient(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	e := newEntrance(t, "http", newApplication(t, "http", func(w http.ResponseWriter, r *http.Request) {
		conn := upgrade(w, r)
		defer func() { _ = conn.Close() }()
		if r.URL.Path == "/flood" {
			for endless := bytes.Repeat(frame("x"), 1<<14); ; {
				if _, err := conn.Write(endless); err != nil {
					return
				}
			}
		}
		_, _ = io.Copy(conn, conn)
	}), rig.Checker(t))
	for range 8 {
		stalled, _ := e.open(t, "/flood", rig.Good(t, nil))
		_, _ = io.ReadFull(stalled.in, make([]byte, 1<<16))
	}
	conn, _ := e.open(t, "/", rig.Good(t, nil))
	conn.says(t, "hello")
	rig.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	e.Changed()
	conn.ends(t, 1008, revokedReason)
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(10 * time.Millisecond); metric(t, e, "revocast_sidecar_proxy_websockets") != 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("stalled clients keep their connections")
		}
	}
}

// Nothing but WebSocket is upgraded to: a tunnel that speaks HTTP/2 would carry requests
// that nobody judges.
func TestOtherUpgrades(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	a := newApplication(t, "http", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	e := newEntrance(t, "http", a, rig.Checker(t))
	for _, headers := range [][]string{
		{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"},
		{"Connection: Upgrade", "Upgrade: websocket, h2c"},
		{"Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"},
		{"Connection: Upgrade", "Upgrade: TLS/1.3"},
		{"Upgrade: websocket"}, // without being one
	} {
		_, answer := e.open(t, "/", rig.Good(t, nil), headers...)
		if got := a.take(); answer.StatusCode != http.StatusNoContent || len(got) != 1 || got[0].header["Upgrade"] != nil || got[0].header["Http2-Settings"] != nil {
			t.Errorf("%q: %d, %+v", headers, answer.StatusCode, got)
		}
	}
}

// An application that declines is answered like any other.
func TestDeclined(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	e := newEntrance(t, "http", newApplication(t, "http", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUpgradeRequired)
	}), rig.Checker(t))
	conn, answer := e.open(t, "/", rig.Good(t, nil))
	if answer.StatusCode != http.StatusUpgradeRequired {
		t.Fatal(answer.StatusCode)
	}
	// What follows is a request, and judged.
	if _, err := io.WriteString(conn, "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	next, err := http.ReadResponse(conn.in, nil)
	if err != nil || next.StatusCode != http.StatusUnauthorized {
		t.Fatalf("%+v, %v", next, err)
	}
	_ = next.Body.Close()
}
