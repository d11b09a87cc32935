package cli_test

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/revocast/revocast/services/internal/cli"
)

// TestMain lets scripts run the command as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"revocast": revocast})
}

func revocast() {
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := cli.Run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, "v1.2.3")
	stop()
	os.Exit(status)
}

// TestScripts runs the command against servers that answer as documented.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			s := newServers()
			e.Defer(s.close)
			e.Setenv("ISSUER", s.issuer.URL)
			e.Setenv("ADMIN", s.admin.URL)
			e.Setenv("SIDECAR", s.sidecar.URL)
			e.Setenv("TZ", "UTC")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // or each command takes a second to end
			for _, sub := range []string{"alice", "bob", "carol", "nobody"} {
				if err := os.WriteFile(filepath.Join(e.WorkDir, sub+".jwt"), []byte(unsigned(sub)+"\n"), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "mode": mode},
	})
}

// status runs a command and wants an exit status: status 2 revocast frobnicate.
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

// mode wants a file to have a mode: mode 0600 login.json.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := "0" + string(rune('0'+info.Mode().Perm()>>6)) + string(rune('0'+info.Mode().Perm()>>3&7)) + string(rune('0'+info.Mode().Perm()&7)); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}
