package app

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/config"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// From nothing to ready, the whole sidecar with Badger behind, against a broker in
// the same process: one operation reads the feed and enforces all of it. It includes
// waiting for heartbeats, a second on average.
func BenchmarkColdStart(b *testing.B) {
	for _, size := range []int{100_000, 300_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			if testing.Short() && size > 100_000 {
				b.Skip("loads a million entries first")
			}
			s := eventstest.RunServer(b, eventstest.Lazy())
			until := time.Now().Add(time.Hour)
			s.Announce(b, size, func(int) events.Revocation {
				return events.Revocation{
					ID: events.RevocationID(uuid.Must(uuid.NewV7()).String()), Kind: events.KindSession,
					Issuer: "https://id.example", Target: uuid.NewString(), Reason: events.ReasonLogout,
					By: events.Initiator{Role: "user"}, Until: until,
				}
			})
			for b.Loop() {
				coldStart(b, s, size)
			}
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

func coldStart(b *testing.B, s *eventstest.Server, size int) {
	b.Helper()
	trust, err := token.ParseTrust("issuer=http://127.0.0.1:1,audience=https://api.example")
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	a, err := New(config.Config{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", NATSURL: s.URL(), NATSCreds: s.Credentials(topology.Sidecar),
		Realm: string(eventstest.Realm), ID: "bench", DataDir: filepath.Join(dir, "data"), Trusts: []token.Trust{trust},
		Leeway: 5 * time.Second, StaleAfter: 30 * time.Second, WhenStale: "allow", StaleLimit: 15 * time.Minute, Enforce: true,
		OriginalHeaders: "x-forwarded", AnswerWithin: time.Second, MaxInFlight: 100,
	}, "bench", zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for a.unready() != nil {
		if b.Context().Err() != nil {
			b.Fatal("never ready")
		}
		pause := time.NewTimer(time.Millisecond)
		<-pause.C
	}
	b.StopTimer()
	if n := a.denylist.Status().Narrow; n < size*999/1000 {
		b.Errorf("ready with %d of %d entries", n, size)
	}
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	a.Close()
	b.StartTimer()
}
