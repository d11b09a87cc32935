package node

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

const patience = 30 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal(what, "does not come")
		}
	}
}

// While a key that was announced cannot be written down, it counts, what denies counts and
// is written, and the cursor is not: a restart would read the announcement again.
func TestCursorWaitsForKeys(t *testing.T) {
	const issuer = events.Issuer("https://id.example")
	dir := filepath.Join(t.TempDir(), "jwks")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // stands in for a disk that takes nothing
		t.Fatal(err)
	}
	metrics, err := jwks.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwks.New(jwks.Config{
		Issuer: issuer, Source: "http://127.0.0.1:1/jwks", Dir: dir, Throttle: time.Millisecond, Announced: func(events.Key, bool) bool { return true },
	}, jwks.Deps{Log: zap.NewNop(), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	n, store := &Node{ours: []*jwks.Set{set}}, memstore.New()
	if n.Denylist, err = denylist.New(denylist.Config{Covered: n.keysSaved}, store); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	for _, run := range []func(context.Context) error{n.Denylist.Run, set.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	told := 0
	in := &sink{denylist: n.Denylist, keys: n.ours, log: zap.NewNop(), changed: func() { told++ }}
	apply := func(sequence uint64, a replica.Apply) {
		t.Helper()
		a.Cursor = replica.Cursor{Epoch: "e", Sequence: sequence, FreshAsOf: time.Now()}
		if err := in.Apply(a); err != nil {
			t.Fatal(err)
		}
	}
	stored := func() (sequence uint64, entries int) {
		for b, err := range store.Load() {
			if err != nil {
				t.Fatal(err)
			}
			sequence, entries = max(sequence, b.Cursor.Sequence), entries+len(b.Entries)
		}
		return sequence, entries
	}

	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour).Truncate(time.Second)
	session := func(name string) []events.Revocation {
		return []events.Revocation{{
			ID: events.RevocationID("r-" + name), Kind: events.KindSession, Issuer: issuer, Target: name, Reason: events.ReasonAdmin, Until: later,
		}}
	}
	apply(5, replica.Apply{
		Begins: true, Entries: session("a"),
		Keys: []events.Key{{
			ID: "k", Issuer: issuer, Algorithm: "EdDSA", Until: later,
			JWK: fmt.Appendf(nil, `{"kty":"OKP","crv":"Ed25519","kid":"k","alg":"EdDSA","use":"sig","x":%q}`, base64.RawURLEncoding.EncodeToString(public)),
		}},
	})
	if _, err := set.Find(t.Context(), "k"); err != nil || told != 1 {
		t.Errorf("the key: %v; told %d times", err, told)
	}
	if at := n.Denylist.Status().Cursor.Sequence; at != 5 {
		t.Errorf("the list is at %d", at)
	}
	apply(6, replica.Apply{Entries: session("b")})
	eventually(t, "what denies, on disk", func() bool { _, entries := stored(); return entries == 2 })
	if at, _ := stored(); at != 0 {
		t.Errorf("the disk is at %d, without the key", at)
	}

	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key on disk", n.keysSaved)
	apply(7, replica.Apply{})
	eventually(t, "the cursor on disk", func() bool { at, _ := stored(); return at == 7 })
}
