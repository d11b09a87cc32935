//go:build unix

package proxies

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Under load: the sessions that are revoked in the middle of it, those that are not, how
// many tokens each has, and the connections.
const (
	victims    = 8
	bystanders = 4
	perSession = 3
	callers    = 8
)

// lateMark is set by clients on requests that they began with the receipt in their hands.
const lateMark = "X-Began-After-Receipt"

// INV-2: no request that begins after the receipt of its session's revocation reaches the
// application, while others go on. It returns a session that is revoked.
func testLoad(t *testing.T, r *rig) session {
	sessions := make([]session, victims+bystanders)
	for i := range sessions {
		sessions[i] = r.login(t, perSession)
	}
	receipts := make([]atomic.Bool, len(sessions)) // set when the receipt is there
	var late [victims]atomic.Int64
	var allowed, refused, other atomic.Int64
	mark := r.app.mark()

	client := newClient()
	defer client.CloseIdleConnections()
	ask := func(n int) {
		which := n % len(sessions)
		after := receipts[which].Load()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.address+"/orders/"+strconv.Itoa(n), http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		tokens := sessions[which].tokens
		req.Header.Set("Authorization", "Bearer "+tokens[n/len(sessions)%len(tokens)])
		if after {
			req.Header.Set(lateMark, strconv.Itoa(which))
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("under load: %v", err)
			return
		}
		_ = resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusOK && after:
			t.Errorf("session %d: a request that began after the receipt was allowed", which)
		case resp.StatusCode == http.StatusOK:
			allowed.Add(1)
		case resp.StatusCode == http.StatusUnauthorized && which < victims:
			refused.Add(1)
			if after {
				late[which].Add(1)
			}
		default:
			t.Errorf("session %d: status %d", which, resp.StatusCode)
			other.Add(1)
		}
	}
	began, stop := time.Now(), make(chan struct{})
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			ticker := time.NewTicker(8 * time.Millisecond)
			defer ticker.Stop()
			for n := i; other.Load() < 10; n += callers {
				select {
				case <-stop:
					return
				case <-ticker.C:
					ask(n)
				}
			}
		})
	}
	end := sync.OnceFunc(func() {
		close(stop)
		group.Wait()
	})
	defer end()

	eventually(t, "some load", func() bool { return allowed.Load() >= 200 || t.Failed() })
	var took []time.Duration
	for i := range victims {
		took = append(took, r.revoke(t, sessions[i]))
		receipts[i].Store(true)
		eventually(t, "requests after the receipt", func() bool { return late[i].Load() >= 5 || t.Failed() })
	}
	before := allowed.Load()
	eventually(t, "load after all receipts", func() bool { return allowed.Load() >= before+100 || t.Failed() })
	end()

	rate := float64(allowed.Load()+refused.Load()) / time.Since(began).Seconds()
	arrived := r.app.since(mark)
	for _, s := range arrived {
		if after := s.Header.Get(lateMark); after != "" {
			t.Errorf("session %s: a request that began after the receipt reached the application", after)
		}
	}
	if int64(len(arrived)) != allowed.Load() {
		t.Errorf("%d requests reached the application, %d were answered 200", len(arrived), allowed.Load())
	}
	total := int64(0)
	for i := range late {
		total += late[i].Load()
	}
	t.Logf("%.0f requests/s over %d connections with %d tokens: %d allowed, %d refused, of these %d begun after a receipt; a receipt took at most %s",
		rate, callers, len(sessions)*perSession, allowed.Load(), refused.Load(), total, slices.Max(took).Round(time.Millisecond))
	return sessions[0]
}
