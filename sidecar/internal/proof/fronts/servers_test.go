//go:build linux

package fronts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// process runs a program on the servers' core until the test ends.
func (w *world) process(t *testing.T, env []string, program string, args ...string) int {
	t.Helper()
	var says bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, args...)
	cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1"), env...)
	cmd.Stdout, cmd.Stderr = &says, &says
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startOn(w.servers, cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has nothing to lose
		_ = cmd.Wait()         // it was killed
		if t.Failed() {
			t.Logf("%s says:\n%s", filepath.Base(program), says.Bytes()[max(0, says.Len()-4000):])
		}
	})
	return cmd.Process.Pid
}

// world is what the servers share: an issuer, its tokens, and a feed.
type world struct {
	issuer *tokentest.Issuer
	broker *eventstest.Server
	tokens []string
	// servers is their core; whoever asks has another.
	servers unix.CPUSet
}

// revoked is how many sessions are denied.
const revoked = 100_000

// newWorld makes tokens of sessions that are not revoked, beside so many that are.
func newWorld(t *testing.T, tokens int) *world {
	t.Helper()
	w := &world{issuer: tokentest.NewIssuer(t, ""), broker: eventstest.RunServer(t, eventstest.Lazy())}
	servers, client := cores(t)
	w.servers = servers
	keepTo(t, client)
	now := time.Now()
	until := now.Add(2 * time.Hour).Truncate(time.Second)
	w.broker.Announce(t, revoked, func(i int) events.Revocation {
		return events.Revocation{
			ID: events.RevocationID(fmt.Sprintf("0198f3a2-7c1e-7b3d-aa4f-%012x", i)), Kind: events.KindSession, Issuer: w.issuer.ID(), Target: session(i),
			Reason: events.ReasonLogout, By: events.Initiator{Role: "user"}, Until: until,
		}
	})
	for n := range tokens {
		w.tokens = append(w.tokens, w.sign(t, revoked+n))
	}
	return w
}

// session is the i-th; the first ones are revoked.
func session(i int) string { return fmt.Sprintf("0198f3a2-7c1e-7b3d-9a4f-%012x", i) }

func (w *world) sign(t *testing.T, i int) string {
	t.Helper()
	return w.issuer.Good(t, time.Now(), tokentest.Object{
		"sid": session(i), "jti": fmt.Sprintf("0198f3a2-7c1e-7b3d-8a4f-%012x", i), "exp": time.Now().Add(time.Hour).Unix(),
	})
}

// addresses of a sidecar's fronts.
type addresses struct{ auth, grpc, admin string }

// ports and sockets are where a sidecar may listen.
func ports(t *testing.T) addresses {
	t.Helper()
	return addresses{free(t), free(t), free(t)}
}

func sockets(t *testing.T) addresses {
	t.Helper()
	dir := t.TempDir()
	return addresses{"unix:" + filepath.Join(dir, "auth"), "unix:" + filepath.Join(dir, "grpc"), free(t)}
}

// free is an address of a port that was free a moment ago.
func free(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// sidecar starts the built program and returns when it is ready.
func (w *world) sidecar(t *testing.T, program string, at addresses) int {
	t.Helper()
	pid := w.process(t, nil, program, "--listen", at.auth, "--grpc-listen", at.grpc, "--admin-listen", at.admin,
		"--nats-url", w.broker.URL(), "--nats-creds", w.broker.Credentials(topology.Sidecar), "--realm", "test", "--id", "fronts",
		"--trust", fmt.Sprintf("issuer=%s,jwks=%s,audience=%s", w.issuer.ID(), w.issuer.ID(), tokentest.Audience), "--data-dir", t.TempDir(), "--log-level", "warn")
	await(t, "http://"+at.admin+"/readyz")
	return pid
}

// await returns when the address answers 200.
func await(t *testing.T, url string) {
	t.Helper()
	eventstest.Eventually(t, func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		if err := answer.Body.Close(); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, answer.Status)
		}
		return nil
	})
}

// build gives the sidecar as `make build` makes it.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sidecar")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "./cmd/sidecar")
	cmd.Dir, cmd.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the sidecar: %v\n%s", err, out)
	}
	return path
}

// policy does what a sidecar's trust and denylist do.
const policy = `package revocast

import rego.v1

default allow := false

allow if {
	[valid, _, payload] := io.jwt.decode_verify(input.token, {"cert": data.jwks, "iss": data.issuer, "aud": data.audience})
	valid
	not data.revoked[payload.sid]
}
`

// opa starts Open Policy Agent with the revoked ids as data. It may remember tokens it
// has verified, as a sidecar does.
func (w *world) opa(t *testing.T, program, address string, remember bool) int {
	t.Helper()
	dir := t.TempDir()
	sessions := map[string]bool{}
	for i := range revoked {
		sessions[session(i)] = true
	}
	data, err := json.Marshal(map[string]any{
		"jwks": fetch(t, string(w.issuer.ID())), "issuer": w.issuer.ID(), "audience": tokentest.Audience, "revoked": sessions,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"data.json": data, "policy.rego": []byte(policy)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	health := free(t)
	listen := address
	if path, is := strings.CutPrefix(address, "unix:"); is {
		listen = "unix://" + path
	}
	args := []string{"run", "--server", "--addr", listen, "--diagnostic-addr", health, "--log-level", "error", "--disable-telemetry"}
	if remember {
		args = append(args, "--set", "caching.inter_query_builtin_value_cache.named.io_jwt.max_num_entries=100000")
	}
	pid := w.process(t, nil, program, append(args, filepath.Join(dir, "policy.rego"), filepath.Join(dir, "data.json"))...)
	await(t, "http://"+health+"/health")
	return pid
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status, err)
	}
	return b.String()
}
