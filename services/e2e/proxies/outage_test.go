//go:build unix

package proxies

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A sidecar that is frozen lets nothing through, not even what needs no token, and when it
// thaws the proxy goes on as before.
func testFrozen(t *testing.T, r *rig, token string) {
	late := r.login(t, 1)
	if err := r.sidecar.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	thaw := sync.OnceFunc(func() {
		if err := r.sidecar.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	defer thaw()
	// The kernel takes a moment until the last thread has stopped.
	eventually(t, "the sidecar's silence", func() bool { return !r.healthy(t) })
	t.Logf("frozen: %s", r.nothingPasses(t, token, r.proxy.frozen))
	r.missed(t, late)
	thaw()
	r.enforces(t, late)
	r.recovers(t, token)
}

// A sidecar that is killed lets nothing through either.
func testKilled(t *testing.T, r *rig, token string) {
	late := r.login(t, 1)
	if err := r.sidecar.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Logf("killed: %s", r.nothingPasses(t, token, r.proxy.killed))
	r.missed(t, late)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.sidecar.Up(ctx); err != nil {
		t.Fatal(err)
	}
	r.enforces(t, late)
	r.recovers(t, token)
}

// missed ends a session while the sidecar is away, which nobody takes for enforced.
func (r *rig) missed(t *testing.T, s session) {
	t.Helper()
	if e := r.end(t, s, "100ms"); e.Confirmed != 0 || len(e.Missing) != 1 {
		t.Errorf("the sidecar is away, and yet: %+v", e)
	}
}

// enforces waits until a session that has ended while the sidecar was away is refused,
// and for good.
func (r *rig) enforces(t *testing.T, s session) {
	t.Helper()
	began, passed := time.Now(), 0
	refused := func() bool {
		a := send(t, r.address, get("/orders", "api.example", s.tokens[0]))
		if a.status == http.StatusOK {
			passed++
		}
		return a.status == http.StatusUnauthorized
	}
	eventually(t, "what the sidecar has missed being enforced", refused)
	t.Logf("what it has missed is enforced after %s; %d requests had passed", time.Since(began).Round(time.Millisecond), passed)
	for range 20 {
		if !refused() {
			t.Error("and then it is not any more")
		}
	}
}

// healthy reports whether the sidecar answers anything at all, within half a second.
func (r *rig) healthy(t *testing.T) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.sidecar.AdminURL()+"/healthz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}

// nothingPasses sends requests of all kinds at once, and again, over new connections and
// kept ones, wants each answered with this status, and says how long that took.
func (r *rig) nothingPasses(t *testing.T, token string, want int) string {
	t.Helper()
	mark := r.app.mark()
	var mu sync.Mutex
	saw := map[string][]time.Duration{}
	note := func(status int, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		what := "no answer"
		if status > 0 {
			what = fmt.Sprint(status)
		}
		saw[what] = append(saw[what], took)
		if status != want {
			t.Errorf("status %d while the sidecar answers nothing, want %d", status, want)
		}
	}
	client := newClient()
	defer client.CloseIdleConnections()
	var group sync.WaitGroup
	for _, text := range []string{
		get("/orders", "api.example", token), get("/public/a", "api.example", ""), get("/orders", "api.example", ""), get("/orders", "api.example", "x"),
		get("/public/a", "api.example", token, "X-Auth-Subject: forged"), request("POST", "/orders", "api.example", token),
	} {
		group.Go(func() {
			for range 2 {
				a := send(t, r.address, text)
				note(a.status, a.took)
			}
		})
		group.Go(func() {
			for range 2 {
				began := time.Now()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.address+"/orders", http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+token)
				status := 0
				if resp, err := client.Do(req); err == nil {
					status = resp.StatusCode
					_ = resp.Body.Close()
				}
				note(status, time.Since(began))
			}
		})
	}
	group.Wait()
	if n := len(r.app.since(mark)); n > 0 {
		t.Errorf("%d requests reached the application", n)
	}
	var told []string
	for _, what := range slices.Sorted(maps.Keys(saw)) {
		took := saw[what]
		slices.Sort(took)
		told = append(told, fmt.Sprintf("%d times %s after %s to %s", len(took), what, took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond)))
	}
	return strings.Join(told, ", ")
}

// recovers waits until good requests pass again.
func (r *rig) recovers(t *testing.T, token string) {
	t.Helper()
	began := time.Now()
	eventually(t, "a good request passing again", func() bool {
		return send(t, r.address, get("/orders", "api.example", token)).status == http.StatusOK
	})
	t.Logf("good requests pass again after %s", time.Since(began).Round(time.Millisecond))
	for range 20 {
		if a := send(t, r.address, get("/orders", "api.example", token)); a.status != http.StatusOK {
			t.Errorf("and then: %s", a)
		}
	}
}

// After all that nothing is different.
func testAfterwards(t *testing.T, r *rig, token string, revoked session) {
	testIdentity(t, r, token)
	testRefusals(t, r, token)
	for _, gone := range revoked.tokens {
		mark := r.app.mark()
		if a := send(t, r.address, get("/orders", "api.example", gone)); a.status != http.StatusUnauthorized || len(r.app.since(mark)) > 0 {
			t.Errorf("a token of a revoked session: %s", a)
		}
	}
}
