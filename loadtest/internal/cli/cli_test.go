package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/revocast/revocast/loadtest/internal/cli"
)

// TestMain lets scripts run the command as a process of its own. What needs the other
// programs is tested with them, in services/e2e.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"loadtest": loadtest})
}

func loadtest() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := cli.Run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, "v1.2.3")
	stop()
	os.Exit(status)
}

// sidecar answers as one does; tokens that begin with good pass, and with loose those
// that begin with revoked.
func sidecar(w http.ResponseWriter, r *http.Request) {
	passes := func(token string) bool {
		return strings.HasPrefix(token, "good") || r.URL.Query().Has("loose") && strings.HasPrefix(token, "revoked")
	}
	switch r.URL.Path {
	case "/auth":
		if !passes(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) || len(r.Header.Get("Authorization")) > 4096 {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	case "/introspect":
		if id, secret, _ := r.BasicAuth(); id != "orders" || secret != "open-sesame" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, `{"active":%t}`, passes(r.PostFormValue("token")))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// TestScripts runs the command against real servers on the loopback interface.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			asked := filepath.Join(e.WorkDir, "asked")
			var requests atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sidecar(w, r)
				if requests.Add(1) == 20 {
					_ = os.WriteFile(asked, nil, 0o600) // who waits for it will tell
				}
			}))
			e.Defer(s.Close)
			e.Setenv("SIDECAR", s.URL)
			// Or every process built with the race detector takes a second to end.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "eventually": eventually},
	})
}

// status runs a command and wants an exit status: status 2 loadtest frobnicate.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command…")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = err.Error()
	}
	if want := map[string]string{"0": "0", "1": "exit status 1", "2": "exit status 2"}[args[0]]; got != want {
		ts.Fatalf("ended with %q, want %s", got, args[0])
	}
}

// eventually waits for a file: eventually NAME.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-ticker.C {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
	}
	ts.Fatalf("%s did not appear", args[0])
}
