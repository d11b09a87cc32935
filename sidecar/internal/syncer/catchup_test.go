package syncer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/replica"
	"github.com/revocast/revocast/sidecar/internal/syncer"
)

// From nothing to ready against a broker in the same process, through the
// sidecars' account: one operation reads the whole feed. With -short only the
// smaller feed. It includes waiting for a heartbeat, half a second on average.
func BenchmarkCatchUp(b *testing.B) {
	for _, size := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			if testing.Short() && size > 100_000 {
				b.Skip("loads a million entries first")
			}
			cfg := loadedBroker(b, size)
			b.ReportAllocs()
			for b.Loop() {
				catchUp(b, cfg, size)
			}
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// count is a denylist that costs nothing.
type count struct{ entries atomic.Int64 }

func (c *count) Apply(a replica.Apply) error {
	c.entries.Add(int64(len(a.Entries)))
	return nil
}

func catchUp(b *testing.B, cfg syncer.Config, size int) {
	b.Helper()
	c := &count{}
	s, err := syncer.New(cfg, syncer.Deps{Denylist: c, Entries: func() int { return 0 }, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	eventually(b, "ready", func() bool { return s.State().CaughtUp })
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if n := c.entries.Load(); n != int64(size) {
		b.Fatalf("ready with %d of %d entries", n, size)
	}
}

// loadedBroker runs a broker with so many entries in the feed. It syncs lazily,
// since loading it is not what is measured.
func loadedBroker(b *testing.B, size int) syncer.Config {
	b.Helper()
	s := eventstest.RunServer(b, eventstest.Lazy())
	s.Announce(b, size, revocation)
	return syncer.Config{
		Realm: realm, URL: s.URL(), Options: s.Options(topology.Sidecar), ID: "sidecar-1", Instance: instance,
	}
}
