package stack_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/revocast/revocast/services/stack"
)

// TestMain makes the test binary play the programs that this package starts: called
// "issuer" or "sidecar" it listens and gets ready as they do, and nothing else.
func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); name {
	case "issuer", "sidecar":
		os.Exit(play(name, os.Args[1:]))
	case "parent":
		os.Exit(parent(os.Args[1]))
	default:
		// Or every program built with the race detector takes a second to end.
		_ = os.Setenv("GORACE", noPause)
		os.Exit(m.Run())
	}
}

const noPause = "atexit_sleep_ms=0"

// play is a program. The variable PLAY says how it misbehaves, if it names it.
func play(program string, args []string) int {
	values := map[string]string{}
	for i := 0; i+1 < len(args); i += 2 {
		values[strings.TrimPrefix(args[i], "--")] = args[i+1]
	}
	fmt.Println("arguments", strings.Join(args, " "))
	for _, v := range os.Environ() {
		fmt.Println("variable", v)
	}
	who, how, _ := strings.Cut(os.Getenv("PLAY"), "=")
	if who != program {
		how = ""
	}
	if how == "fail" {
		fmt.Fprintln(os.Stderr, "cannot go on, because")
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if program == "issuer" {
		keys := values["keys-dir"]
		_ = os.MkdirAll(keys, 0o700)
		_ = os.WriteFile(filepath.Join(keys, "realm-root.pub"), []byte("root\n"), 0o600)
		_ = os.WriteFile(values["admin-token-file"], []byte("operator\n"), 0o600)
	}
	for _, flag := range []string{"listen", "admin-listen"} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", values[flag])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		go func() { _ = http.Serve(l, ready(how != "never-ready")) }()
	}
	if how == "deaf" {
		ctx = context.Background()
	}
	<-ctx.Done()
	if how == "sick" {
		return 4
	}
	return 0
}

func ready(yes bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !yes || r.URL.Path != "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
}

// parent starts a child that outlives anything but its parent, and prints its id.
func parent(dir string) int {
	p := program(dir, "sidecar", "PLAY=sidecar=deaf")
	if err := p.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(p.PID())
	<-p.Done()
	return 0
}

// program is the named program as a process of its own, with free ports.
func program(dir, name string, env ...string) *stack.Process {
	ports, err := stack.FreePorts(2)
	if err != nil {
		panic(err)
	}
	return &stack.Process{
		Name: name, Path: filepath.Join(dir, name), Dir: dir, Log: filepath.Join(dir, name+".log"),
		Env: append(env, "GORACE="+noPause),
		Args: []string{
			"--listen", fmt.Sprintf("127.0.0.1:%d", ports[0]), "--admin-listen", fmt.Sprintf("127.0.0.1:%d", ports[1]),
			"--keys-dir", filepath.Join(dir, "keys"), "--admin-token-file", filepath.Join(dir, "admin.token"),
		},
	}
}

// binDir holds the programs.
func binDir(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"issuer", "sidecar", "parent"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// within bounds what ought to take no time at all.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := within(t)
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}
