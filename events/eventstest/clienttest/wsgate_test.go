package clienttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// line is what the example service writes for every event.
type line struct {
	EventID events.EventID `json:"event_id"`
	Kind    string         `json:"kind"`
	ID      string         `json:"id"`
	Closed  int            `json:"closed"`
}

// build compiles the example service as a reader would.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "wsgate")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./client/example/wsgate")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// process is one run of the example service.
type process struct {
	cmd     *exec.Cmd
	address string
	lines   log[line]
	reading sync.WaitGroup
}

// launch starts one and returns when it listens.
func launch(t *testing.T, bin string, s *eventstest.Server, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), bin, append([]string{
		"-listen", "127.0.0.1:0", "-nats-url", s.URL(), "-nats-creds", s.Credentials(topology.Subscriber),
		"-realm", string(realm), "-durable", "wsgate-1", "-ack-wait", "1s",
	}, args...)...)}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.end(syscall.SIGKILL) })
	said := bufio.NewScanner(stderr)
	for p.address == "" {
		if !said.Scan() {
			t.Fatalf("the service did not start: %v", said.Err())
		}
		if _, address, ok := strings.Cut(said.Text(), "address="); ok {
			p.address = address
		}
	}
	p.reading.Go(func() { _, _ = io.Copy(io.Discard, stderr) })
	p.reading.Go(func() {
		for out := bufio.NewScanner(stdout); out.Scan(); {
			var l line
			if err := json.Unmarshal(out.Bytes(), &l); err == nil {
				p.lines.add(l)
			}
		}
	})
	return p
}

// end signals the process and waits for it.
func (p *process) end(sig syscall.Signal) error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	err := p.cmd.Process.Signal(sig)
	p.reading.Wait()
	return errors.Join(err, p.cmd.Wait())
}

func TestExampleClosesRevokedSessions(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	f := newFeed(t, s)
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sid, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
		}
		w.Header().Set("X-Auth-Session", sid)
		w.Header().Set("X-Auth-Subject", "alice")
		w.Header().Set("X-Auth-Client", "demo-web")
	}))
	t.Cleanup(auth.Close)
	p := launch(t, build(t), s, "-auth", auth.URL+"/auth")
	waiting(t, s, "wsgate-1")

	open := map[string]*websocket.Conn{}
	for _, sid := range []string{"one", "two", "three"} {
		ws, _, err := websocket.Dial(t.Context(), "http://"+p.address+"/ws", &websocket.DialOptions{ //nolint:bodyclose // Dial leaves no body to close
			HTTPHeader: http.Header{"Authorization": {"Bearer " + sid}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ws.CloseNow() })
		var hello map[string]string
		if err := wsjson.Read(t.Context(), ws, &hello); err != nil || hello["session"] != sid {
			t.Fatalf("got %v, %v", hello, err)
		}
		open[sid] = ws
	}
	closes := func(sid string, want websocket.StatusCode) {
		t.Helper()
		_, _, err := open[sid].Read(t.Context())
		if got := websocket.CloseStatus(err); got != want {
			t.Fatalf("session %s: closed with %d, want %d (%v)", sid, got, want, err)
		}
	}
	var want []line
	revoke := func(e events.Envelope, closed int) {
		t.Helper()
		eventstest.Eventually(t, func(ctx context.Context) error { return f.send(ctx, e, time.Minute) })
		r := e.Event.(events.Revoked).Revocation
		want = append(want, line{EventID: e.ID, Kind: r.Kind.String(), ID: r.Target, Closed: closed})
	}

	revoke(revocation(t, events.KindSession, "one"), 1)
	closes("one", 4401)
	s.Stop()
	s.Start(t)
	others := revocation(t, events.KindSubject, "alice")
	r := others.Event.(events.Revoked)
	r.Revocation.Except = "three"
	others.Event = r
	revoke(others, 1)
	closes("two", 4401)
	// An event whose acknowledgement the stop cut off comes again, and closes nothing.
	eventstest.Eventually(t, func(context.Context) error {
		if lines := firsts(p.lines.all()); !slices.Equal(lines, want) {
			return fmt.Errorf("got %+v, want %+v", lines, want)
		}
		return nil
	})

	stopped := make(chan error)
	go func() { stopped <- p.end(syscall.SIGTERM) }()
	closes("three", websocket.StatusGoingAway)
	if err := <-stopped; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// publish sends all events in turn, each once due says nothing against it.
func publish(ctx context.Context, f feed, all []events.Envelope, due func(context.Context, int) error) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i, e := range all {
		for due(ctx, i) != nil {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := f.send(ctx, e, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// Must show 9: killed at 20 random moments while 2,000 revocations are made, every
// one is handled at least once, and what is handled twice has one event id.
func TestExampleSurvivesKills(t *testing.T) {
	t.Parallel()
	const (
		revocations = 2000
		kills       = 20
		// ahead keeps the publisher close to the service, so that the kills spread
		// over the time of publishing. As many events wait for the last kill.
		ahead = 100
	)
	s := eventstest.RunServer(t)
	f := newFeed(t, s)
	bin, path := build(t), filepath.Join(t.TempDir(), "handled")
	reach := func(ctx context.Context, n int) error {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if got := bytes.Count(b, []byte{'\n'}); got < n {
			return fmt.Errorf("%d lines, want %d", got, n)
		}
		return ctx.Err()
	}

	p := launch(t, bin, s, "-handled", path)
	waiting(t, s, "wsgate-1") // the durable begins with what comes after it

	want := make(map[string]events.EventID, revocations)
	published := make(chan error, 1)
	all := make([]events.Envelope, revocations)
	for i := range all {
		all[i] = revocation(t, events.KindSession, newID(t))
		want[all[i].Event.(events.Revoked).Revocation.Target] = all[i].ID
	}
	var killed atomic.Bool
	due := func(ctx context.Context, i int) error {
		if i >= revocations-ahead && !killed.Load() {
			return errors.New("there are kills to come")
		}
		return reach(ctx, i-ahead)
	}
	var publishing sync.WaitGroup
	publishing.Go(func() { published <- publish(t.Context(), f, all, due) })
	t.Cleanup(publishing.Wait)

	for k := range kills {
		step := (revocations - ahead) / kills
		after := k*step + rand.IntN(step)
		eventstest.Eventually(t, func(ctx context.Context) error { return reach(ctx, after) })
		<-time.After(rand.N(5 * time.Millisecond))
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.end(syscall.SIGKILL) // how it ended is known
		p = launch(t, bin, s, "-handled", path)
	}
	killed.Store(true)
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	waitKept(t, s, revocations)
	settled(t, s, "wsgate-1")
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("stopping: %v", err)
	}

	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	times, torn := make(map[string]int), 0
	for text := range bytes.Lines(b) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			torn++
			continue
		}
		times[l.ID]++
		if want[l.ID] != l.EventID || l.Kind != "session" {
			t.Errorf("revocation of %q handled as event %q, want %q", l.ID, l.EventID, want[l.ID])
		}
	}
	duplicates := 0
	for id := range want {
		if times[id] == 0 {
			t.Errorf("revocation of %s was never handled", id)
		}
		duplicates += max(times[id]-1, 0)
	}
	t.Logf("%d revocations, %d kills: all handled, %d of them again with the same event id; %d lines cut off",
		revocations, kills, duplicates, torn)
}

// firsts leaves out redeliveries.
func firsts(lines []line) []line {
	seen := map[events.EventID]bool{}
	return slices.DeleteFunc(slices.Clone(lines), func(l line) bool {
		again := seen[l.EventID]
		seen[l.EventID] = true
		return again
	})
}
