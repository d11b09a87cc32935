package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/client"
)

// sidecar answers as the forward-auth endpoint is documented to.
type sidecar struct {
	mu     sync.Mutex
	tokens map[string]identity
	asked  map[string]int
	// later is how a token is answered when it is asked about again.
	later map[string]int
}

func (s *sidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.asked[token]++
	who, ok := s.tokens[token]
	later := s.later[token]
	switch {
	case later != 0 && s.asked[token] > 1:
		w.WriteHeader(later)
	case token == "stale":
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	case token == "elsewhere":
		http.Redirect(w, r, "/auth?token=alice-phone", http.StatusFound)
	case !ok:
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	default:
		w.Header().Set("X-Auth-Session", who.session)
		w.Header().Set("X-Auth-Subject", who.subject)
		w.Header().Set("X-Auth-Client", who.client)
	}
}

// wait returns when a token has been asked about n times.
func (s *sidecar) wait(t *testing.T, token string, n int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		asked := s.asked[token]
		s.mu.Unlock()
		if asked >= n {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("not asked")
		}
	}
}

// Tokens are named after what they are: subject and device.
func tokens() map[string]identity {
	return map[string]identity{
		"alice-phone":  {session: "s1", subject: "alice", client: "mobile"},
		"alice-laptop": {session: "s2", subject: "alice", client: "web"},
		"bob-phone":    {session: "s3", subject: "bob", client: "mobile"},
		"service":      {subject: "robot", client: "service"},
	}
}

type fixture struct {
	gate    *gate
	sidecar *sidecar
	url     string
	out     *bytes.Buffer
}

func start(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{sidecar: &sidecar{tokens: tokens(), asked: map[string]int{}}, out: &bytes.Buffer{}}
	auth := httptest.NewServer(f.sidecar)
	t.Cleanup(auth.Close)
	f.gate = newGate(auth.URL+"/auth", &record{out: f.out})
	f.gate.settle = time.Hour
	server := httptest.NewServer(f.gate.routes())
	t.Cleanup(server.Close)
	f.url = server.URL + "/ws"
	return f
}

// connect returns a WebSocket that was let in.
func (f *fixture) connect(t *testing.T, token string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), f.url, &websocket.DialOptions{ //nolint:bodyclose // Dial leaves no body to close
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// dial returns one that has been told its session.
func (f *fixture) dial(t *testing.T, token string) *websocket.Conn {
	t.Helper()
	ws := f.connect(t, token)
	var hello map[string]string
	if err := wsjson.Read(t.Context(), ws, &hello); err != nil || hello["session"] != tokens()[token].session {
		t.Fatalf("got %v, %v", hello, err)
	}
	return ws
}

// closed waits for the gate to close ws, and says how.
func closed(t *testing.T, ws *websocket.Conn) (websocket.StatusCode, string) {
	t.Helper()
	var err error
	for err == nil {
		_, _, err = ws.Read(t.Context())
	}
	end, ok := errors.AsType[websocket.CloseError](err)
	if !ok {
		t.Fatalf("not closed: %v", err)
	}
	return end.Code, end.Reason
}

func open(t *testing.T, ws *websocket.Conn) bool {
	t.Helper()
	ws.CloseRead(t.Context())
	return ws.Ping(t.Context()) == nil
}

func (f *fixture) revoke(t *testing.T, r events.Revocation) line {
	t.Helper()
	r.Reason = events.ReasonLogout
	d := client.Delivery{Event: events.Envelope{ID: "e", Event: events.Revoked{Revocation: r}}}
	if err := f.gate.handle(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	var l line
	if err := json.Unmarshal(f.out.Bytes(), &l); err != nil {
		t.Fatal(err)
	}
	f.out.Reset()
	return l
}

func TestRevocationsCloseWhatTheyCover(t *testing.T) {
	for name, c := range map[string]struct {
		revocation events.Revocation
		closes     string
	}{
		"session":           {events.Revocation{Kind: events.KindSession, Target: "s1"}, "alice-phone"},
		"subject":           {events.Revocation{Kind: events.KindSubject, Target: "alice"}, "alice-phone alice-laptop"},
		"all others":        {events.Revocation{Kind: events.KindSubject, Target: "alice", Except: "s2"}, "alice-phone"},
		"client":            {events.Revocation{Kind: events.KindClient, Target: "mobile"}, "alice-phone bob-phone"},
		"all":               {events.Revocation{Kind: events.KindAll}, "alice-phone alice-laptop bob-phone"},
		"key":               {events.Revocation{Kind: events.KindKey, Target: "k"}, "alice-phone alice-laptop bob-phone"},
		"token":             {events.Revocation{Kind: events.KindToken, Target: "s1"}, ""},
		"unknown session":   {events.Revocation{Kind: events.KindSession, Target: "s4"}, ""},
		"a subject is none": {events.Revocation{Kind: events.KindSession, Target: "alice"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			connections := map[string]*websocket.Conn{}
			for _, token := range []string{"alice-phone", "alice-laptop", "bob-phone"} {
				connections[token] = f.dial(t, token)
			}
			want := line{EventID: "e", Kind: c.revocation.Kind.String(), ID: c.revocation.Target, Closed: len(strings.Fields(c.closes))}
			if got := f.revoke(t, c.revocation); got != want {
				t.Errorf("got line %+v, want %+v", got, want)
			}
			for token, ws := range connections {
				if !strings.Contains(c.closes, token) {
					if !open(t, ws) {
						t.Errorf("%s: closed", token)
					}
					continue
				}
				if code, reason := closed(t, ws); code != statusRevoked || reason != "revoked: logout" {
					t.Errorf("%s: closed with %d %q", token, code, reason)
				}
			}
			want.Closed = 0
			if got := f.revoke(t, c.revocation); got != want {
				t.Errorf("delivered again: %+v", got)
			}
		})
	}
}

func TestOneSessionManyConnections(t *testing.T) {
	f := start(t)
	first, second := f.dial(t, "alice-phone"), f.dial(t, "alice-phone")
	if l := f.revoke(t, events.Revocation{Kind: events.KindSession, Target: "s1"}); l.Closed != 2 {
		t.Fatalf("closed %d", l.Closed)
	}
	closed(t, first)
	closed(t, second)
	// Denying is the sidecar's business; the gate has no list of its own.
	f.dial(t, "alice-phone")
	if l := f.revoke(t, events.Revocation{Kind: events.KindSession, Target: "s1"}); l.Closed != 1 {
		t.Fatalf("closed %d of the one that came back", l.Closed)
	}
}

func TestOtherEventsCloseNothing(t *testing.T) {
	f := start(t)
	ws := f.dial(t, "alice-phone")
	for _, e := range []events.Event{events.Lifted{}, events.KeyAdded{}, events.Unknown{Number: 99}} {
		if err := f.gate.handle(t.Context(), client.Delivery{Event: events.Envelope{ID: "e", Event: e}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.out.String(); got != strings.Repeat(`{"event_id":"e","kind":"ignored","id":"","closed":0}`+"\n", 3) {
		t.Errorf("wrote %s", got)
	}
	if !open(t, ws) {
		t.Error("closed")
	}
}

func TestRefusalsArePassedOn(t *testing.T) {
	f := start(t)
	for token, want := range map[string]struct {
		status int
		header string
		value  string
	}{
		"nobody":    {http.StatusUnauthorized, "WWW-Authenticate", `Bearer error="invalid_token"`},
		"stale":     {http.StatusServiceUnavailable, "Retry-After", "1"},
		"elsewhere": {http.StatusServiceUnavailable, "Location", ""},
		"service":   {http.StatusForbidden, "X-Auth-Subject", ""},
	} {
		_, answer, err := websocket.Dial(t.Context(), f.url, &websocket.DialOptions{ //nolint:bodyclose // Dial leaves no body to close
			HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
		})
		if err == nil {
			t.Errorf("%s: let in", token)
			continue
		}
		if answer.StatusCode != want.status || answer.Header.Get(want.header) != want.value {
			t.Errorf("%s: %d, %v", token, answer.StatusCode, answer.Header)
		}
	}
}

func TestUnreachableSidecarLetsNobodyIn(t *testing.T) {
	f := start(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	f.gate.auth = gone.URL
	_, answer, err := websocket.Dial(t.Context(), f.url, nil) //nolint:bodyclose // Dial leaves no body to close
	if err == nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("got %v, %v", answer, err)
	}
}

// The revocation came before the connection, and the sidecar learns of it after.
func TestConnectionIsLookedAtAgain(t *testing.T) {
	f := start(t)
	f.gate.settle = 0
	f.sidecar.later = map[string]int{"alice-phone": http.StatusUnauthorized, "alice-laptop": http.StatusServiceUnavailable}
	if code, reason := closed(t, f.connect(t, "alice-phone")); code != statusRevoked || reason != "no longer authorized" {
		t.Errorf("denied: closed with %d %q", code, reason)
	}
	if code, _ := closed(t, f.connect(t, "alice-laptop")); code != websocket.StatusTryAgainLater {
		t.Errorf("sidecar out of order: closed with %d", code)
	}
	ws := f.dial(t, "bob-phone")
	f.sidecar.wait(t, "bob-phone", 2)
	if !open(t, ws) {
		t.Error("still allowed, but closed")
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	f := start(t)
	ws := f.dial(t, "alice-phone")
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.gate.sessions.close()
	}()
	if code, _ := closed(t, ws); code != websocket.StatusGoingAway {
		t.Errorf("closed with %d", code)
	}
	<-done
	if code, _ := closed(t, f.connect(t, "alice-phone")); code != websocket.StatusGoingAway {
		t.Errorf("a late one closed with %d", code)
	}
}

func TestClientsThatGoAreForgotten(t *testing.T) {
	f := start(t)
	ws := f.dial(t, "alice-phone")
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	// Too much is cut off, perhaps before all of it is written.
	ws = f.dial(t, "alice-phone")
	_ = ws.Write(t.Context(), websocket.MessageText, make([]byte, 1<<20))
	if _, _, err := ws.Read(t.Context()); err == nil {
		t.Error("a message of 1 MiB was answered")
	}
	if err := f.dial(t, "alice-phone").CloseNow(); err != nil {
		t.Fatal(err)
	}
	f.gate.sessions.open.Wait()
	if n := len(f.gate.sessions.sessions); n != 0 {
		t.Errorf("%d sessions left", n)
	}
}

func TestReasonFitsACloseFrame(t *testing.T) {
	for _, r := range []string{"", "logout", strings.Repeat("ä", 200), strings.Repeat("x", 256)} {
		if got := reasonText(events.Reason(r)); len(got) > 123 || !utf8.ValidString(got) {
			t.Errorf("%d bytes of %d", len(got), len(r))
		}
	}
}

// A crash cuts a line off; the lines after it are whole.
func TestRecordGoesOnAfterACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handled")
	for _, cut := range []string{"", `{"event_id":"1","ki`} {
		r, err := openRecord(path, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.write(line{EventID: "1", Kind: "session", ID: "s"}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.file.WriteString(cut); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := openRecord(path, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := `{"event_id":"1","kind":"session","id":"s","closed":0}` + "\n"
	if want := whole + whole + `{"event_id":"1","ki` + "\n"; string(got) != want {
		t.Fatalf("got %s", got)
	}
}

// An event whose line cannot be written is not handled.
func TestUnwrittenEventComesAgain(t *testing.T) {
	f := start(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "handled"))
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	f.gate.record.file = file
	err = f.gate.handle(t.Context(), client.Delivery{Event: events.Envelope{ID: "e", Event: events.Lifted{}}})
	if err == nil || f.out.Len() > 0 {
		t.Fatalf("got %v, and %s", err, f.out)
	}
}
