//go:build unix

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/canary"
	"github.com/revocast/revocast/services/stack"
)

// enforcement is what a wait is answered with.
type enforcement struct {
	Live      int      `json:"live"`
	Confirmed int      `json:"confirmed"`
	P50       float64  `json:"p50_ms"`
	Max       float64  `json:"max_ms"`
	Missing   []string `json:"missing"`
	Sidecars  []struct {
		ID        string   `json:"id"`
		Confirmed bool     `json:"confirmed"`
		Took      *float64 `json:"ms"`
	} `json:"sidecars"`
	Incomplete string `json:"incomplete"`
}

// fleetNow is the answer of GET /admin/v1/fleet.
type fleetNow struct {
	Sidecars []struct {
		ID       string `json:"id"`
		State    string `json:"state"`
		Version  string `json:"version"`
		Position string `json:"position"`
		Entries  int    `json:"entries"`
	} `json:"sidecars"`
	Canary *struct {
		enforcement

		RevocationID string `json:"revocation_id"`
	} `json:"canary"`
}

// states gives every sidecar's state by its name.
func (f fleetNow) states() map[string]string {
	m := map[string]string{}
	for _, s := range f.Sidecars {
		m[s.ID] = s.State
	}
	return m
}

func fleetOf(t *testing.T, s *stack.Stack, issuer *stack.Server) (f fleetNow) {
	t.Helper()
	a := operate(t, s, issuer, http.MethodGet, "/admin/v1/fleet", "").want(t, http.StatusOK)
	if err := json.Unmarshal(a.body, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// revokeAndWait runs the command line, as a script does.
func revokeAndWait(t *testing.T, s *stack.Stack, issuer *stack.Server, session, wait string) (e enforcement, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "revocast"), "revoke", "session", session, "--wait", wait, "-o", "json",
		"--admin-url", issuer.AdminURL(), "--admin-token-file", s.Dir().AdminToken())
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		exit = failed.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Position    string      `json:"position"`
		Enforcement enforcement `json:"enforcement"`
	}
	if err := json.Unmarshal(out, &got); err != nil || got.Position == "" {
		t.Fatalf("revoking: %v: %s (exit %d)", err, out, exit)
	}
	return got.Enforcement, exit
}

// INV-2: whoever revokes and waits learns which sidecars enforce it, and is told
// nothing that is not so: of one that does not run, one that has said good-bye, one
// that was killed and came back, and from an issuer that has just been started.
func TestFleet(t *testing.T) {
	s := start(t, 3, func(c *stack.Config) { c.IssuerFlags = []string{"--canary-interval", "10s"} })
	all := s.Sidecars()
	last := all[2]
	confirmed := func(what string, issuer *stack.Server, among []*stack.Server) {
		t.Helper()
		victim := login(t, s.Issuer(), nil)
		for _, sidecar := range among {
			passes(t, sidecar, victim.Access)
		}
		e, exit := revokeAndWait(t, s, issuer, victim.Session, "10s")
		for _, sidecar := range among {
			denies(t, sidecar, victim.Access)
		}
		if exit != 0 || e.Live != len(among) || e.Confirmed != len(among) || len(e.Missing) != 0 || e.Incomplete != "" || e.Max < e.P50 {
			t.Errorf("%s: exit %d, %+v", what, exit, e)
		}
		for _, one := range e.Sidecars {
			if one.Took == nil || *one.Took > 10_000 {
				t.Errorf("%s: no time of %s", what, one.ID)
			}
		}
		t.Logf("%s: %d of %d, median %.2f ms, slowest %.2f ms", what, e.Confirmed, e.Live, e.P50, e.Max)
	}
	confirmed("three", s.Issuer(), all)
	for _, m := range []struct{ address, name string }{
		{"http://" + metricsAddress(s.Issuer()), "revocast_fleet_propagation_seconds_count"},
		{all[0].AdminURL(), "revocast_sidecar_propagation_seconds_count"},
	} {
		metrics := do(t, http.MethodGet, m.address+"/metrics", "", "", "").want(t, http.StatusOK)
		if !regexp.MustCompile(`(?m)^` + m.name + ` [1-9]`).Match(metrics.body) {
			t.Errorf("%s counts nothing", m.name)
		}
	}

	signal(t, last, syscall.SIGSTOP)
	victim := login(t, s.Issuer(), nil)
	e, exit := revokeAndWait(t, s, s.Issuer(), victim.Session, "700ms")
	if exit != 1 || e.Live != 3 || e.Confirmed != 2 || !slices.Equal(e.Missing, []string{last.Name}) {
		t.Errorf("one does not run: exit %d, %+v", exit, e)
	}
	for _, sidecar := range all[:2] {
		denies(t, sidecar, victim.Access)
	}
	if states := fleetOf(t, s, s.Issuer()).states(); states[last.Name] != "silent" || states[all[0].Name] != "following" {
		t.Errorf("one does not run: %v", states)
	}
	signal(t, last, syscall.SIGCONT)
	firstDenial(t, last, victim.Access, time.Now())
	eventually(t, 20*time.Second, "the third again", func() bool { return fleetOf(t, s, s.Issuer()).states()[last.Name] == "following" })
	confirmed("three again", s.Issuer(), all)

	if err := last.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	confirmed("one has said good-bye", s.Issuer(), all[:2])

	kill(t, all[1])
	victim = login(t, s.Issuer(), nil)
	if e, exit := revokeAndWait(t, s, s.Issuer(), victim.Session, "300ms"); exit != 1 || !slices.Equal(e.Missing, []string{all[1].Name}) {
		t.Errorf("one was killed: exit %d, %+v", exit, e)
	}
	up(t, all[1])
	// It answers from its store at once, and has what it missed a moment later.
	firstDenial(t, all[1], victim.Access, time.Now())
	confirmed("it has come back", s.Issuer(), all[:2])

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	second, err := s.AddIssuer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	confirmed("a new issuer", second, all[:2])

	// Of two issuers one sends each canary; sooner or later the first does.
	eventually(t, time.Minute, "a canary", func() bool {
		c := fleetOf(t, s, s.Issuer()).Canary
		return c != nil && c.Live == 2 && c.Confirmed == 2
	})
	list := operate(t, s, s.Issuer(), http.MethodGet, "/admin/v1/revocations?kind=token", "").want(t, http.StatusOK)
	if !bytesContain(list.body, string(canary.Issuer)) && !bytesContain(list.body, `"reason":"canary"`) {
		t.Errorf("nothing marks the canary: %s", list)
	}
}

func signal(t *testing.T, s *stack.Server, sig syscall.Signal) {
	t.Helper()
	if err := s.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// request is one request to a sidecar.
type request struct {
	sidecar, victim int
	began           time.Time
	status          int
}

// INV-2: no request that is started after a sidecar's own receipt for a revocation is
// ever let through by it. Every sidecar is asked without pause while sessions are
// revoked, so that many requests begin around each receipt.
func TestNothingPassesAfterTheReceipt(t *testing.T) {
	s := start(t, 2)
	victims := make([]tokens, size(12, 200))
	for i := range victims {
		victims[i] = login(t, s.Issuer(), nil)
	}
	receipts := hearReceipts(t, s)

	var current, asked atomic.Int64
	stop, asking := make(chan struct{}), sync.WaitGroup{}
	const workers = 3
	seen := make([][]request, workers*len(s.Sidecars()))
	for w := range seen {
		sidecar := w % len(s.Sidecars())
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				victim := int(current.Load())
				began := time.Now()
				status := auth(t, s.Sidecars()[sidecar], victims[victim].Access).status
				seen[w] = append(seen[w], request{sidecar, victim, began, status})
				asked.Add(1)
			}
		})
	}
	positions := make([]events.Position, len(victims))
	for i, victim := range victims {
		current.Store(int64(i))
		body := fmt.Sprintf(`{"kind":"session","id":%q,"wait":"10s"}`, victim.Session)
		a := operate(t, s, s.Issuer(), http.MethodPost, "/admin/v1/revocations", body)
		var got struct {
			Position    string      `json:"position"`
			Enforcement enforcement `json:"enforcement"`
		}
		if err := json.Unmarshal(a.body, &got); err != nil || a.status != http.StatusCreated || got.Enforcement.Confirmed != len(s.Sidecars()) {
			t.Fatalf("revoking: %s (%v)", a, err)
		}
		var err error
		if positions[i], err = events.ParsePosition(got.Position); err != nil {
			t.Fatal(err)
		}
		enough := asked.Load() + 100
		eventually(t, 20*time.Second, "requests after the receipts", func() bool { return asked.Load() >= enough })
	}
	close(stop)
	asking.Wait()

	before, after := 0, 0
	for _, r := range slices.Concat(seen...) {
		at, ok := receipts.of(s.Sidecars()[r.sidecar].Name, positions[r.victim].Sequence)
		switch {
		case !ok:
			t.Fatalf("no receipt of %s for %s", s.Sidecars()[r.sidecar].Name, positions[r.victim])
		case r.began.Before(at):
			before++
			if r.status != http.StatusOK && r.status != http.StatusUnauthorized {
				t.Errorf("a request before the receipt: %d", r.status)
			}
		default:
			after++
			if r.status != http.StatusUnauthorized {
				t.Errorf("a request that began %s after the receipt for %s: %d", r.began.Sub(at), positions[r.victim], r.status)
			}
		}
	}
	t.Logf("%d requests before their receipts, %d after", before, after)
	if before == 0 || after == 0 {
		t.Error("the receipts came when nobody asked")
	}
}

// receipts are the reports of every sidecar, in the order in which they came.
type receipts struct {
	mu  sync.Mutex
	all map[string][]receipt
}

type receipt struct {
	sequence uint64
	at       time.Time
}

// hearReceipts listens as an issuer does.
func hearReceipts(t *testing.T, s *stack.Stack) *receipts {
	t.Helper()
	r := &receipts{all: map[string][]receipt{}}
	conn := connect(t, s, topology.Issuer)
	_, err := conn.Subscribe(subject.Realm(stack.Realm).Reports(), func(m *nats.Msg) {
		at := time.Now()
		report, err := codec.DecodeReport(m.Data)
		if err != nil {
			t.Errorf("a report that cannot be read: %v", err)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all[report.Sidecar] = append(r.all[report.Sidecar], receipt{report.Sequence, at})
	})
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// of is when a sidecar first said to enforce a sequence.
func (r *receipts) of(sidecar string, sequence uint64) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.all[sidecar] {
		if one.sequence >= sequence {
			return one.at, true
		}
	}
	return time.Time{}, false
}
