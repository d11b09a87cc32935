package stack_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/bootstrap"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/session"
	"github.com/revocast/revocast/services/stack"
)

func up(t *testing.T, cfg stack.Config) *stack.Stack {
	t.Helper()
	s, err := stack.Start(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return s
}

func TestStart(t *testing.T) {
	t.Setenv("REVOCAST_ISSUER", "https://not.for.you")
	dir := filepath.Join(t.TempDir(), "made")
	s := up(t, stack.Config{
		Dir: dir, BinDir: binDir(t), Sidecars: 2, Env: []string{"EXTRA=1"},
		IssuerFlags: []string{"--access-ttl", "1m"}, SidecarFlags: []string{"--stale-after", "5s"},
	})
	var names []string
	for _, srv := range s.Servers() {
		names = append(names, srv.Name)
		if !srv.Running() {
			t.Errorf("%s does not run", srv.Name)
		}
	}
	if want := []string{"issuer", "sidecar-1", "sidecar-2"}; !slices.Equal(names, want) {
		t.Errorf("servers %v, want %v", names, want)
	}
	issuer, second := s.Issuer(), s.Sidecars()[1]
	says(t, issuer, "--issuer "+issuer.URL()+" ", "--creds-dir "+filepath.Join(dir, "creds"), "--nats-listen "+issuer.NATSURL()[7:],
		"--access-ttl 1m", "variable EXTRA=1", "variable TMPDIR="+filepath.Join(dir, "tmp"))
	says(t, second, "--id sidecar-2", "--nats-url "+s.BrokerURL(), "--nats-creds "+s.Dir().Credentials("sidecar"),
		"--trust issuer="+issuer.URL()+",audience="+stack.Audience, "--realm-root "+s.Dir().RealmRoot(), "--stale-after 5s")
	if log := issuer.Tail(1000); strings.Contains(log, "variable REVOCAST_") {
		t.Error("the caller's configuration reached the issuer")
	}
	if token, err := s.AdminToken(); err != nil || token != "operator" {
		t.Errorf("operator token %q, %v", token, err)
	}
	if root, err := os.ReadFile(s.Dir().RealmRoot()); err != nil || string(root) != "root\n" {
		t.Errorf("root key %q, %v", root, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
}

// says checks what a program wrote about its arguments and its environment.
func says(t *testing.T, srv *stack.Server, wanted ...string) {
	t.Helper()
	log := srv.Tail(1000)
	for _, want := range wanted {
		if !strings.Contains(log, want) {
			t.Errorf("%s was not told %q but\n%s", srv.Name, want, log)
		}
	}
}

func TestJoinAndRestart(t *testing.T) {
	s := up(t, stack.Config{Dir: t.TempDir(), BinDir: binDir(t)})
	other, err := s.AddIssuer(within(t), "--access-ttl", "2m")
	if err != nil {
		t.Fatal(err)
	}
	says(t, other, "--issuer "+s.Issuer().URL()+" ", "--nats-url "+s.Issuer().NATSURL(),
		"--nats-creds "+s.Dir().Credentials("issuer"), "--keys-dir "+s.Dir().Keys(), "--access-ttl 2m")
	if strings.Contains(other.Tail(1000), "--nats-listen") || other.URL() == s.Issuer().URL() {
		t.Error("it is not a second issuer")
	}
	sidecar, err := s.AddSidecar(within(t), "--when-stale", "deny")
	if err != nil {
		t.Fatal(err)
	}
	says(t, sidecar, "--id sidecar-1", "--when-stale deny")
	url, pid := sidecar.URL(), sidecar.PID()
	if err := sidecar.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := sidecar.Restart(within(t), "--stale-after", "7s"); err != nil {
		t.Fatal(err)
	}
	says(t, sidecar, "--when-stale deny --stale-after 7s")
	if err := sidecar.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(sidecar.Tail(1000), "--stale-after 7s"); n != 1 {
		t.Errorf("a flag given for one run was used in %d", n)
	}
	if sidecar.URL() != url || sidecar.PID() == pid {
		t.Errorf("after a restart: %s, process %d", sidecar.URL(), sidecar.PID())
	}
}

func TestBrokerElsewhere(t *testing.T) {
	s := up(t, stack.Config{Dir: t.TempDir(), BinDir: binDir(t), BrokerURL: "nats://127.0.0.1:4999"})
	says(t, s.Issuer(), "--nats-url nats://127.0.0.1:4999", "--nats-creds "+s.Dir().Credentials("issuer"))
	if strings.Contains(s.Issuer().Tail(1000), "--nats-listen") {
		t.Error("it was told to embed a broker")
	}
}

func TestStartRefusesTakenPorts(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	dir := filepath.Join(t.TempDir(), "d")
	_, err = stack.Start(within(t), stack.Config{
		Dir: dir, BinDir: binDir(t), Sidecars: 1, IssuerPorts: stack.Ports{NATS: port}, SidecarPorts: []stack.Ports{{Admin: port}},
	})
	if err == nil {
		t.Fatal("it started")
	}
	_, number, _ := net.SplitHostPort(taken.Addr().String())
	for _, want := range []string{"port " + number + ", for the issuer, is not free", "port " + number + ", for sidecar 1, is not free"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
}

func TestStartNeedsThePrograms(t *testing.T) {
	_, err := stack.Start(within(t), stack.Config{Dir: t.TempDir(), BinDir: t.TempDir()})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "issuer") || !strings.Contains(err.Error(), "sidecar") {
		t.Errorf("got %v", err)
	}
}

func TestStartStopsWhatItStarted(t *testing.T) {
	dir := t.TempDir()
	_, err := stack.Start(within(t), stack.Config{Dir: dir, BinDir: binDir(t), Sidecars: 2, Env: []string{"PLAY=sidecar=fail"}})
	if !errors.Is(err, stack.ErrEnded) || !strings.Contains(err.Error(), "cannot go on, because") || !strings.Contains(err.Error(), "sidecar-2") {
		t.Errorf("got %v", err)
	}
	nothingListens(t, dir)
}

func TestStartStopsWhenTold(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		defer cancel()
		for ctx.Err() == nil { // until the second sidecar waits for itself
			if _, err := os.Stat(stack.Dir(dir).Log("sidecar-2")); err == nil {
				return
			}
			runtime.Gosched()
		}
	}()
	_, err := stack.Start(ctx, stack.Config{Dir: dir, BinDir: binDir(t), Sidecars: 2, Env: []string{"PLAY=sidecar=never-ready"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	nothingListens(t, dir)
}

// nothingListens checks that every address the programs were told is free again.
func nothingListens(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs: %v", err)
	}
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Fields(string(text))
		for i, w := range words {
			if w != "--listen" {
				continue
			}
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", words[i+1])
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(name), err)
				continue
			}
			_ = l.Close()
		}
	}
}

// What the directory is given must be what issuers read.
func TestFilesOfTheDirectory(t *testing.T) {
	dir := t.TempDir()
	own := "users:\n  - username: carol\n    password: mine-alone\n"
	first := up(t, stack.Config{Dir: dir, BinDir: binDir(t)})
	registry, err := clients.Load(first.Dir().Clients(), session.Policy{AccessTTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	mobile, _ := registry.Find(stack.MobileClient)
	web, _ := registry.Find(stack.WebClient)
	_, proved := registry.Authenticate(stack.ServiceClient, stack.ServiceClientSecret)
	if !mobile.FirstPartyLogin || !mobile.Allows(clients.RefreshToken) || !web.Allows(clients.AuthorizationCode) || !proved {
		t.Errorf("clients: %+v, %+v, %t", mobile, web, proved)
	}
	users, err := bootstrap.Load(first.Dir().Users())
	if err != nil || len(users) != 2 || users[0].Username != stack.Alice || string(users[1].Password) != stack.BobPassword {
		t.Errorf("users: %v, %v", users, err)
	}
	if err := os.WriteFile(first.Dir().Users(), []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	up(t, stack.Config{Dir: dir, BinDir: binDir(t)})
	if text, err := os.ReadFile(first.Dir().Users()); err != nil || string(text) != own {
		t.Errorf("the users file was replaced: %q, %v", text, err)
	}
}
