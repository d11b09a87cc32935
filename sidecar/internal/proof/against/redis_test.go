package against

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify"
)

// redisServer is a real one, in memory only, that ends with the test.
type redisServer struct{ tcp, unix *redis.Client }

// startRedis gives false where Redis is not installed.
func startRedis(t *testing.T) (redisServer, bool) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if errors.Is(err, exec.ErrNotFound) {
		return redisServer{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	port, socket := freePort(t), filepath.Join(t.TempDir(), "redis.sock")
	cmd := exec.CommandContext(t.Context(), program,
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()         // it was killed
	})
	s := redisServer{
		tcp:  redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port)}),
		unix: redis.NewClient(&redis.Options{Network: "unix", Addr: socket}),
	}
	for _, c := range []*redis.Client{s.tcp, s.unix} {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for c.Ping(deadline).Err() != nil {
			if deadline.Err() != nil {
				t.Fatal("Redis does not answer")
			}
		}
	}
	return s, true
}

func freePort(t *testing.T) int {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // its number is all that is wanted
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("listening on %v", l.Addr())
	}
	return addr.Port
}

// revokeSessions denies what [verifytest.Rig.RevokeSessions] does.
func (s redisServer) revokeSessions(t *testing.T, n int) {
	t.Helper()
	const step = 10_000
	for first := 0; first < n; first += step {
		if _, err := s.unix.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for k := first; k < min(first+step, n); k++ {
				p.Set(t.Context(), key(events.KindSession, verifytest.Ended(k)), "", time.Hour)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func key(k events.Kind, name string) string { return k.String() + ":" + name }

// remote is a denylist in Redis: one EXISTS with all names of a token, which is the
// least that can be asked. It keeps no cuts and no reasons.
type remote struct{ client *redis.Client }

// Prepare implements [token.Preparer]. There is nothing to prepare.
func (remote) Prepare(*denylist.Token) {}

// Lookup implements [verify.Denylist].
func (r remote) Lookup(ctx context.Context, t *denylist.Token, _ time.Time) (denylist.Finding, error) {
	n, err := r.client.Exists(ctx,
		key(events.KindToken, string(t.ID)), key(events.KindSession, string(t.Session)), key(events.KindSubject, string(t.Subject)),
		key(events.KindClient, string(t.Client)), key(events.KindKey, string(t.Key)), key(events.KindAll, ""),
	).Result()
	return denylist.Finding{Denied: n > 0}, err
}

// list is a denylist of any kind.
type list interface {
	verify.Denylist
	token.Preparer
}

// verifierOn is the library of the rig with a cache of its own and another denylist.
func verifierOn(t *testing.T, r *verifytest.Rig, l list) *verify.Verifier {
	t.Helper()
	reg := prometheus.NewRegistry()
	cache, err1 := token.NewMetrics(reg)
	metrics, err2 := verify.NewMetrics(reg)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	cfg := token.Config{Leeway: 5 * time.Second, CacheBytes: 1 << 30}
	tokens, err := token.New(cfg, []token.Issuer{{Trust: r.Issuer.Trust(), Keys: r.Issuer.Keys(t)}}, l, cache)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.Assemble(verify.Parts{
		Tokens: tokens, Denylist: l, Freshness: r.View, Policy: gate.DefaultPolicy(), Metrics: metrics, Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}
