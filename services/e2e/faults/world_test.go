package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/stack"
)

// world is everything that runs in a fault run.
type world struct {
	t        *testing.T
	stack    *stack.Stack
	operator string
	sidecars []*sidecar
	// cluster is the broker where it is not the issuer's own.
	cluster *eventstest.Cluster
	*ledger

	// revoking is held for reading by whoever revokes, and for writing while nobody may.
	revoking sync.RWMutex
	// issuerDown is while a fault keeps the issuer from answering.
	issuerDown atomic.Bool
	// broad is while nothing may be revoked that denies a great part of all tokens.
	broad atomic.Bool

	// fault lets one fault at a time strike issuer and broker.
	fault sync.Mutex
	dealt map[string]int // faults by kind
}

// clients and users of the run. Two clients, so that revoking one leaves somebody.
var (
	clients = []string{"tablet-app", stack.MobileClient}
	users   = []string{"ada", "bert", "cleo", "dora"}
)

const password = "a fault in every round"

// seed writes the clients and users that a stack finds when it starts.
func seed(t *testing.T, dir string) {
	t.Helper()
	var c, u strings.Builder
	c.WriteString("clients:\n")
	for _, id := range clients {
		fmt.Fprintf(&c, "  - id: %s\n    type: public\n    grants: [refresh_token]\n    first_party_login: true\n    scopes: [read]\n    audiences: [%q]\n", id, stack.Audience)
	}
	u.WriteString("users:\n")
	for _, name := range users {
		fmt.Fprintf(&u, "  - username: %s\n    password: %s\n", name, password)
	}
	for path, text := range map[string]string{stack.Dir(dir).Clients(): c.String(), stack.Dir(dir).Users(): u.String()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// issuerFlags let the load be what it is.
var issuerFlags = []string{
	"--rotation-grace", "0", "--throttle-login", "off", "--throttle-user", "off", "--throttle-address", "off", "--throttle-refresh", "off",
}

// begin starts an issuer.
func (w *world) begin(cfg stack.Config) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	cfg.BinDir = os.Getenv(binaries)
	cfg.IssuerFlags = append(cfg.IssuerFlags, issuerFlags...)
	var err error
	if w.stack, err = stack.Start(ctx, cfg); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := w.stack.Stop(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	if w.operator, err = w.stack.AdminToken(); err != nil {
		w.t.Fatal(err)
	}
}

func newWorld(t *testing.T) *world {
	return &world{t: t, ledger: newLedger(), dealt: map[string]int{}}
}

// newSingle is an issuer with the broker inside, and three sidecars: one behind a proxy,
// one that denies when stale, in a network namespace of its own if there can be one, and
// one on a small disk, if there can be one.
func newSingle(t *testing.T, program string) *world {
	t.Helper()
	w, dir := newWorld(t), t.TempDir()
	seed(t, dir)
	ports, err := stack.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stack.Config{Dir: dir, IssuerPorts: stack.Ports{NATS: ports[0]}}
	why := outside()
	if why == "" {
		cfg.IssuerFlags = []string{"--nats-listen", fmt.Sprintf("0.0.0.0:%d", ports[0])}
	}
	w.begin(cfg)
	at := place{
		creds: w.stack.Dir().Credentials("sidecar"), root: w.stack.Dir().RealmRoot(), realm: stack.Realm,
		trust: "issuer=" + w.stack.Issuer().URL() + ",audience=" + stack.Audience,
	}
	w.deploy(dir, program, "plain", at.behindProxy(t, ports[0]), "--stale-limit", "1m")
	if why != "" {
		t.Logf("no partition by the kernel and no full disk: %s", why)
		w.deploy(dir, program, "strict", at.behindProxy(t, ports[0]), "--when-stale", "deny")
		w.deploy(dir, program, "small", at.behindProxy(t, ports[0]))
		return w
	}
	w.deploy(dir, program, "strict", at.inPod(t, ports[0]), "--when-stale", "deny")
	small := newDisk(t, filepath.Join(dir, "small"))
	w.deploy(dir, program, "small", at.behindProxy(t, ports[0])).disk = small
	return w
}

// deploy starts a sidecar.
func (w *world) deploy(dir, program, name string, p place, flags ...string) *sidecar {
	w.t.Helper()
	s := newSidecar(w.t, dir, program, name, p, flags...)
	if err := s.up(); err != nil {
		w.t.Fatal(err)
	}
	w.sidecars = append(w.sidecars, s)
	return s
}

func (p place) behindProxy(t *testing.T, port int) place {
	t.Helper()
	proxy := eventstest.ProxyTo(t, func() string { return fmt.Sprintf("127.0.0.1:%d", port) })
	return p.through(proxy)
}

func (p place) through(proxy *eventstest.Proxy) place {
	p.broker = proxy.URL
	p.cut = func() error { proxy.Cut(); return nil }
	p.heal = func() error { proxy.Heal(); return nil }
	p.drop = func() error { proxy.Lose(); return nil }
	return p
}

// inPod has only a cable to the broker: keys come by the feed alone, and the test asks
// over Unix sockets.
func (p place) inPod(t *testing.T, port int) place {
	t.Helper()
	pod := newPod(t)
	p.unix, p.prefix = true, pod.prefix()
	p.broker = func() string { return fmt.Sprintf("nats://%s:%d", pod.address, port) }
	p.trust += ",jwks=http://127.0.0.1:1/jwks.json"
	p.cut, p.heal = pod.pull, pod.plug
	return p
}

// newCluster is three brokers, an issuer at the last of them, and three sidecars: two that
// know one of the others only, and one that knows all.
func newCluster(t *testing.T, program string) *world {
	t.Helper()
	w, dir := newWorld(t), t.TempDir()
	seed(t, dir)
	w.cluster = eventstest.RunCluster(t, 3)
	if err := os.MkdirAll(stack.Dir(dir).Creds(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, role := range topology.Roles() {
		content, err := os.ReadFile(w.cluster.Credentials(role))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(stack.Dir(dir).Credentials(role.String()), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	realm := string(eventstest.Realm)
	// The last one is never isolated: whoever revokes there is heard by two of three.
	w.begin(stack.Config{Dir: dir, BrokerURL: w.cluster.Nodes[pinned].URL(), IssuerFlags: []string{"--realm", realm}})
	at := place{
		creds: w.cluster.Credentials(topology.Sidecar), root: w.stack.Dir().RealmRoot(), realm: realm,
		trust: "issuer=" + w.stack.Issuer().URL() + ",audience=" + stack.Audience,
	}
	for i, flags := range [][]string{{"--when-stale", "deny"}, nil} {
		proxy := eventstest.RunProxy(t, w.cluster.Nodes[i])
		w.deploy(dir, program, fmt.Sprintf("node-%d", i), at.through(proxy), flags...)
	}
	at.broker = w.cluster.URL
	w.deploy(dir, program, "any-node", at)
	return w
}
