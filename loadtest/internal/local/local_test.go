//go:build unix

package local_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/issuer"
	"github.com/revocast/revocast/loadtest/internal/local"
	"github.com/revocast/revocast/loadtest/internal/target"
)

// programs builds those that a system is made of.
func programs(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the real programs")
	}
	dir := t.TempDir()
	for module, packages := range map[string][]string{
		"services": {"./cmd/issuer", "github.com/nats-io/nats-server/v2"}, "sidecar": {"./cmd/sidecar"},
	} {
		for _, p := range packages {
			name := filepath.Base(p)
			if name == "v2" {
				name = "nats-server"
			}
			cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, name), p)
			cmd.Dir = filepath.Join("../../..", module)
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
		}
	}
	return dir
}

// A system with each kind of broker does its work, on leaf nodes too: a token passes until
// its session is revoked.
func TestBrokers(t *testing.T) {
	bin := programs(t)
	for name, broker := range map[string]local.Broker{
		"embedded": {}, "single, with leaves": {Nodes: 1, Leaves: 2}, "cluster": {Nodes: 3, Leaves: 1, Lazy: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			s, err := local.Start(ctx, local.Config{Bin: bin, Sidecars: 1, Broker: broker})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
				if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
			}()
			for n, leaf := range s.Leaves() {
				within, cancel := context.WithTimeout(ctx, 2*time.Minute)
				defer cancel()
				if _, err := s.AddSidecar(within, "--nats-url", leaf.URL(), "--id", fmt.Sprint("leaf-", n)); err != nil {
					t.Fatal(err)
				}
			}
			grants, _, err := s.Grants(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			want(t, s, grants[0], http.StatusOK)
			if _, err := s.API().Revoke(ctx, issuer.Revocation{Kind: "session", ID: grants[0].Session}); err != nil {
				t.Fatal(err)
			}
			want(t, s, grants[0], http.StatusUnauthorized)
			if broker.Nodes > 0 {
				leads(t, s)
			}
		})
	}
}

// want waits until every sidecar answers with the status.
func want(t *testing.T, s *local.System, g issuer.Grant, status int) {
	t.Helper()
	for _, sidecar := range s.Sidecars() {
		to, err := target.New(target.Config{URL: sidecar.URL() + "/auth", Connections: 1, Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		eventually(t, fmt.Sprintf("%s answers %d", sidecar.Name, status), func() bool {
			got, err := to.Status(t.Context(), target.Request{Authorization: "Bearer " + g.Access})
			return err == nil && got == status
		})
	}
}

// leads waits for a leader, kills it, and waits for another one, or for the same one
// started again where it is alone.
func leads(t *testing.T, s *local.System) {
	t.Helper()
	leader := func() (n *local.Node) {
		eventually(t, "somebody leads", func() bool {
			var err error
			n, err = s.Leader(t.Context())
			return err == nil
		})
		return n
	}
	first := leader()
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	if len(s.Nodes()) > 1 {
		if second := leader(); second == first {
			t.Errorf("%s leads, and is dead", second.Name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := first.Up(ctx); err != nil {
		t.Fatal(err)
	}
	leader()
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
