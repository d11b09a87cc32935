package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/revocast/revocast/loadtest/internal/cli"
)

// TestMain lets scripts run the command as a process of its own, beside a program
// revocast that stands for the development stack.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"loadtest": loadtest, "revocast": revocast})
}

func loadtest() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := cli.Run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, "v1.2.3")
	stop()
	os.Exit(status)
}

// sidecar answers as forward-auth does; tokens that begin with good pass.
func sidecar(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/auth":
		w.WriteHeader(http.StatusNotFound)
	case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer good"):
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// revocast is `revocast dev -o json`. The variable PLAY says how it misbehaves.
func revocast() {
	play := os.Getenv("PLAY")
	if play == "fail" || len(os.Args) < 2 || os.Args[1] != "dev" {
		fmt.Fprintln(os.Stderr, "revocast: port 8080, for the issuer, is not free")
		os.Exit(1)
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "REVOCAST_") {
			fmt.Fprintln(os.Stderr, "configured by the environment")
			os.Exit(1)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sidecar(w, r)
		if f := os.Getenv("LOADED"); f != "" && asked.Add(1) == 20 {
			_ = os.WriteFile(f, nil, 0o600)
		}
	}))
	var logins atomic.Int32
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in map[string]string
		switch {
		case json.NewDecoder(r.Body).Decode(&in) != nil, r.URL.Path != "/v1/login",
			in["username"] != "alice", in["password"] != "wonderland-42", in["client_id"] != "demo-mobile":
			w.WriteHeader(http.StatusUnauthorized)
		case play == "close":
			s.Close()
			fallthrough
		default:
			lifetime := 300
			if play == "short" {
				lifetime = 2
			}
			_, _ = fmt.Fprintf(w, `{"access_token":"good-%d","expires_in":%d}`, logins.Add(1), lifetime)
		}
	}))
	if play == "mute" {
		fmt.Println(`{}`)
	} else {
		fmt.Printf(`{"issuer_url":%q,"sidecar_urls":[%q,"http://127.0.0.1:1"]}`+"\n", issuer.URL, s.URL)
	}
	<-ctx.Done()
	stop()
	if play == "sick" {
		fmt.Fprintln(os.Stderr, "revocast: cannot remove its files")
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "stopped") // only shown with an error
	if f := os.Getenv("STOPPED"); f != "" {
		_ = os.WriteFile(f, fmt.Appendln(nil, "logins:", logins.Load()), 0o600)
	}
}

// TestScripts runs the command against real servers on the loopback interface.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			s := httptest.NewServer(http.HandlerFunc(sidecar))
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
