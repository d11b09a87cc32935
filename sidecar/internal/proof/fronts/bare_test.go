//go:build linux

package fronts

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/revocast/revocast/events/eventstest"
)

// identity are headers of the size that a sidecar gives for a good token.
func identity() [][2]string {
	return [][2]string{
		{"X-Auth-Subject", "alice"},
		{"X-Auth-Session", "0198f3a2-7c1e-7b3d-9a4f-000000000001"},
		{"X-Auth-Client", "demo"},
		{"X-Auth-Scope", "read write"},
		{"X-Auth-Roles", "admin,user"},
		{"X-Auth-Expires", "1795310000"},
		{"X-Revocast-Fresh-As-Of", "2026-11-22T12:00:00.000Z"},
	}
}

// bareHTTPAt tells the bare HTTP server's process where to listen.
const bareHTTPAt = "FRONTS_BARE_HTTP"

// TestBareHTTP is a process of its own: net/http with an answer that never changes.
func TestBareHTTP(t *testing.T) {
	address := os.Getenv(bareHTTPAt)
	if address == "" {
		t.Skip("not a bare server's process")
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for _, f := range identity() {
			h[f[0]] = []string{f[1]}
		}
		h["Cache-Control"], h["Content-Length"] = []string{"no-store"}, []string{"0"}
		w.WriteHeader(http.StatusOK)
	})}
	t.Fatal(server.Serve(listen(t, address)))
}

// bare starts one of the two, by the variable that tells it where to listen.
func (w *world) bare(t *testing.T, at, test, address string) int {
	t.Helper()
	pid := w.process(t, []string{at + "=" + address}, os.Args[0], "-test.run=^"+test+"$", "-test.timeout=0")
	eventstest.Eventually(t, func(ctx context.Context) error { return reachable(ctx, address) })
	return pid
}
