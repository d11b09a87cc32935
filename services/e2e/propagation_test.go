package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// INV-2: from the acknowledgement of a revocation to the first denial, at a sidecar that
// answers some thousand other requests a second. How long it takes is printed. What is
// asserted: once denied a token stays denied, and no request begun after the sidecar's
// own word that it is that far is allowed.
func TestPropagationUnderLoad(t *testing.T) {
	s := start(t, 1, func(c *stack.Config) { c.IssuerFlags = []string{"--rotation-grace", "0"} })
	sidecar := s.Sidecars()[0]
	victims := size(50, 2000)
	minted := mint(t, s, victims+64)
	if t.Failed() {
		return
	}
	bystanders := minted[victims:]
	stop := bystanding(t, sidecar, bystanders)

	var toDenial, toReceipt, early []time.Duration
	for _, victim := range minted[:victims] {
		d := propagate(t, s, sidecar, victim)
		if t.Failed() {
			break
		}
		if d.denied = d.denied.Round(time.Microsecond); d.denied < 0 {
			early, d.denied = append(early, -d.denied), 0
		}
		toDenial, toReceipt = append(toDenial, d.denied), append(toReceipt, d.receipt)
	}
	requests, rate := stop()
	if t.Failed() {
		return
	}
	t.Logf("acknowledgement to first denial, over %d revocations beside %d other requests (%.0f/s): p50 %s, p99 %s, at most %s; %d were denied before the acknowledgement",
		victims, requests, rate, share(toDenial, 50), share(toDenial, 99), slices.Max(toDenial), len(early))
	t.Logf("acknowledgement to the sidecar's own word, as polled: p50 %s, p99 %s", share(toReceipt, 50), share(toReceipt, 99))
}

// mint gives so many access tokens, of a few sessions that are refreshed in turn.
func mint(t *testing.T, s *stack.Stack, n int) []string {
	t.Helper()
	const sessions = 4
	minted := make([]string, n)
	work(sessions, sessions, func(session int) {
		for i, last := session, login(t, s.Issuer(), nil); i < n; i += sessions {
			minted[i] = last.Access
			last = refresh(t, s.Issuer(), last.Refresh, nil).tokens(t)
		}
	})
	return minted
}

// bystanding asks the sidecar about tokens that nobody revokes, about 3,000 times a
// second over kept connections, until stopped. All must pass.
func bystanding(t *testing.T, sidecar *stack.Server, tokens []string) (stop func() (requests int64, rate float64)) {
	t.Helper()
	const askers, every = 6, 2 * time.Millisecond
	var asked atomic.Int64
	var group sync.WaitGroup
	done, began := make(chan struct{}), time.Now()
	for i := range askers {
		group.Go(func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for n := i; ; n += askers {
				select {
				case <-done:
					return
				case <-ticker.C:
				}
				if a := auth(t, sidecar, tokens[n%len(tokens)]); a.status != http.StatusOK {
					t.Errorf("a token that nobody revoked: %s", a)
					return
				}
				asked.Add(1)
			}
		})
	}
	var once sync.Once
	end := func() {
		once.Do(func() { close(done) })
		group.Wait()
	}
	t.Cleanup(end)
	return func() (int64, float64) {
		end()
		return asked.Load(), float64(asked.Load()) / time.Since(began).Seconds()
	}
}

// delays are counted from the acknowledgement; denied is negative if the denial came
// first.
type delays struct{ denied, receipt time.Duration }

// propagate revokes a token while it is asked for without pause.
func propagate(t *testing.T, s *stack.Stack, sidecar *stack.Server, victim string) (d delays) {
	t.Helper()
	passes(t, sidecar, victim)
	var denied time.Time
	var asking sync.WaitGroup
	received := make(chan struct{})
	asking.Go(func() {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			must := false
			select {
			case <-received:
				must = true // this one begins after the sidecar's word
			default:
			}
			a := auth(t, sidecar, victim)
			switch {
			case a.status == http.StatusUnauthorized && denied.IsZero():
				denied = time.Now()
			case a.status == http.StatusOK && (must || !denied.IsZero()):
				t.Errorf("allowed after it was applied (denied before: %t)", !denied.IsZero())
			case a.status != http.StatusOK && a.status != http.StatusUnauthorized:
				t.Errorf("the victim: %s", a)
			}
			if must || t.Failed() {
				return
			}
		}
		t.Error("the sidecar never said that it was that far")
	})
	a := revoke(t, s, s.Issuer(), "token", partOf(t, victim, 1, "jti"))
	acknowledged := time.Now()
	var done struct{ Position string }
	if err := json.Unmarshal(a.body, &done); a.status != http.StatusCreated || err != nil {
		t.Errorf("revoking: %s (%v)", a, err)
	}
	for position(t, done.Position) > applied(t, sidecar) && !t.Failed() {
		continue // as fast as it answers
	}
	d.receipt = time.Since(acknowledged)
	close(received)
	asking.Wait()
	d.denied = denied.Sub(acknowledged)
	return d
}

// applied is how far the sidecar says it enforces the feed.
func applied(t *testing.T, sidecar *stack.Server) uint64 {
	t.Helper()
	var status struct{ Feed struct{ Position string } }
	a := do(t, http.MethodGet, sidecar.AdminURL()+"/v1/status", "", "", "")
	if err := json.Unmarshal(a.body, &status); err != nil {
		t.Errorf("status: %s (%v)", a, err)
	}
	return position(t, status.Feed.Position)
}

// position reads the sequence of "shard:sequence".
func position(t *testing.T, text string) uint64 {
	t.Helper()
	_, sequence, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil || n == 0 {
		t.Errorf("position %q: %v", text, err)
	}
	return n
}

// share is the smallest of the values that so many percent do not exceed.
func share(d []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[(len(sorted)*percent+99)/100-1]
}
