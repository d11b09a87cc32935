package app

import (
	"fmt"
	"net/http"
	"time"

	"github.com/revocast/revocast/sidecar/internal/clock"
)

// readyz answers 200 while this sidecar may be sent requests, and says whether it is
// on a stale view that the policy allows.
func (a *App) readyz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := a.node.Unready(); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, err) // the prober may be gone
		return
	}
	now := clock.Now()
	asOf, _, _ := a.node.Freshness(now)
	if age := now.Sub(asOf); age >= a.policy.StaleAfter {
		_, _ = fmt.Fprintf(w, "ready, on a view of revocations that is %s old\n", age.Round(time.Second))
		return
	}
	_, _ = fmt.Fprintln(w, "ready")
}
