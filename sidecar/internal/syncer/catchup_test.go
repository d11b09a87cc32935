package syncer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/natsauth"
	"github.com/revocast/revocast/events/provision"
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
	s, err := syncer.New(cfg, syncer.Deps{Denylist: c, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()})
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

// loadedBroker runs a broker with the realm's accounts and so many entries in the
// feed. It syncs lazily, since loading it is not what is measured.
func loadedBroker(b *testing.B, size int) syncer.Config {
	b.Helper()
	o := topology.Options{Realm: realm}
	authority, err := natsauth.Generate(o)
	if err != nil {
		b.Fatal(err)
	}
	creds := b.TempDir()
	if err := authority.WriteCredentials(creds); err != nil {
		b.Fatal(err)
	}
	url := runBroker(b, authority)
	as := func(r topology.Role) []nats.Option {
		return []nats.Option{
			nats.UserCredentials(creds + "/" + r.String() + ".creds"), nats.CustomInboxPrefix(r.InboxPrefix()),
		}
	}
	conn, err := nats.Connect(url, as(topology.Issuer)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	streams, err := provision.New(conn, o)
	if err != nil {
		b.Fatal(err)
	}
	if err := streams.Ensure(b.Context()); err != nil {
		b.Fatal(err)
	}
	load(b, conn, size)
	// AUDIT and EVENTS take their copies; they are not what is measured either.
	for _, request := range []string{
		"$JS.API.STREAM.INFO." + realm.AuditStream(), o.EventsAPI() + ".STREAM.INFO." + realm.EventsStream(),
	} {
		eventually(b, "copied", func() bool { return messages(b, conn, request) >= size })
	}
	return syncer.Config{Realm: realm, URL: url, Options: as(topology.Sidecar), ID: "sidecar-1", Instance: "run-1"}
}

func messages(b *testing.B, conn *nats.Conn, request string) int {
	b.Helper()
	m, err := conn.Request(request, nil, patience)
	if err != nil {
		b.Fatal(err)
	}
	var info struct {
		State struct{ Messages int }
	}
	if err := json.Unmarshal(m.Data, &info); err != nil {
		b.Fatal(err)
	}
	return info.State.Messages
}

func runBroker(b *testing.B, authority *natsauth.Authority) (url string) {
	b.Helper()
	token, err := authority.Operator()
	if err != nil {
		b.Fatal(err)
	}
	operator, err := jwt.DecodeOperatorClaims(token)
	if err != nil {
		b.Fatal(err)
	}
	accounts, err := authority.Accounts()
	if err != nil {
		b.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	for _, a := range accounts {
		if err := resolver.Store(a.ID, a.JWT); err != nil {
			b.Fatal(err)
		}
	}
	broker, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: b.TempDir(),
		TrustedOperators: []*jwt.OperatorClaims{operator}, SystemAccount: operator.SystemAccount,
		AccountResolver: resolver, NoSigs: true, NoLog: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	broker.Start()
	b.Cleanup(func() {
		broker.Shutdown()
		broker.WaitForShutdown()
	})
	if !broker.ReadyForConnections(patience) {
		b.Fatal("the broker does not accept connections")
	}
	return broker.ClientURL()
}

func load(b *testing.B, conn *nats.Conn, size int) {
	b.Helper()
	const window = 2000
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(window))
	if err != nil {
		b.Fatal(err)
	}
	acks := make([]jetstream.PubAckFuture, 0, window)
	settle := func() {
		for _, ack := range acks {
			select {
			case <-ack.Ok():
			case err := <-ack.Err():
				b.Fatal(err)
			}
		}
		acks = acks[:0]
	}
	for n := range size {
		r := revocation(n)
		subject, body := realm.FeedEntry(r.Kind, r.Issuer, r.Target), encode(b, n, events.Revoked{Revocation: r})
		ack, err := js.PublishAsync(subject, body)
		if err != nil {
			b.Fatal(err)
		}
		if acks = append(acks, ack); len(acks) == window {
			settle()
		}
	}
	settle()
}
