package race

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// asked is one token under fire.
type asked struct {
	raw   string
	state atomic.Int32
	given atomic.Int32 // answers
}

// INV-2: the same with whole requests for signed tokens, through the front, the
// verifier and its cache: once the entry is applied, no request that begins is
// allowed; until it is, none is denied.
func TestRequestsAtTheMomentOfRevocation(t *testing.T) {
	rounds := size(200, 10_000)
	rig := verifytest.NewOn(t, gate.DefaultPolicy(), slowDisk(t))
	write(t, rig.Denylist)
	front, err := forwardauth.New(forwardauth.Forwarded, rig.Checker(t))
	if err != nil {
		t.Fatal(err)
	}
	var now atomic.Pointer[asked]
	var done atomic.Bool
	var requests, refused, crossed atomic.Int64
	ask := func() {
		n := now.Load()
		if n == nil {
			runtime.Gosched()
			return
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/auth", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+n.raw)
		w := httptest.NewRecorder()
		before := n.state.Load()
		front.ServeHTTP(w, r)
		after := n.state.Load()
		requests.Add(1)
		n.given.Add(1)
		if before < applied && after > untouched {
			crossed.Add(1)
		}
		switch {
		case w.Code == http.StatusUnauthorized && after > untouched:
			refused.Add(1)
		case w.Code != http.StatusOK || before == applied:
			t.Errorf("request %d: %d in state %d, then %d", requests.Load(), w.Code, before, after)
		}
	}
	var askers sync.WaitGroup
	for range 3 {
		askers.Go(func() {
			for !done.Load() && !t.Failed() {
				ask()
			}
		})
	}
	for i := range rounds {
		jti, sid := fmt.Sprint("jti-", i), fmt.Sprint("sid-", i)
		n := &asked{raw: rig.Good(t, tokentest.Object{"jti": jti, "sid": sid})}
		entry := events.Revocation{
			ID: denylisttest.RevocationID(i), Kind: events.KindToken, Issuer: rig.Issuer.ID(), Target: jti,
			Reason: events.ReasonAdmin, Until: time.Now().Add(10 * time.Minute),
		}
		if i%2 == 1 {
			entry.Kind, entry.Target = events.KindSession, sid
		}
		now.Store(n)
		passed := func(n *asked, times int32) {
			for n.given.Load() < times && !t.Failed() {
				runtime.Gosched()
			}
		}
		passed(n, 3) // it is in the cache of verified tokens by now
		rig.View.Set(time.Now(), true)
		n.state.Store(applying)
		if err := rig.Denylist.Apply(denylist.Batch{
			Entries: []events.Revocation{entry}, Cursor: denylist.Cursor{Epoch: "e", Sequence: uint64(i) + 1},
		}); err != nil {
			t.Fatal(err)
		}
		n.state.Store(applied)
		passed(n, n.given.Load()+3)
		if t.Failed() {
			break
		}
	}
	done.Store(true)
	askers.Wait()
	t.Logf("%d rounds: %d requests, %d of them refused, %d under way while the entry was applied", rounds, requests.Load(), refused.Load(), crossed.Load())
	if refused.Load() == 0 || crossed.Load() == 0 {
		t.Error("nothing raced")
	}
}
