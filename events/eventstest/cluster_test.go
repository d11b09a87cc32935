package eventstest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/provision"
	"github.com/revocast/revocast/events/topology"
)

// acknowledged publishes n entries one after the other, as an issuer does: each
// again under its message id until it is acknowledged.
func acknowledged(t *testing.T, nc *nats.Conn, from, n int) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < from+n; i++ {
		eventstest.Eventually(t, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, err := js.Publish(ctx, realm.FeedEntry(events.KindToken, "i", strconv.Itoa(i)), []byte(strconv.Itoa(i)),
				jetstream.WithMsgID(strconv.Itoa(i)), jetstream.WithRetryAttempts(0))
			return err
		})
	}
}

// delivered waits until a subscriber has got entries 0 to n-1, and says if any
// came twice.
func delivered(t *testing.T, nc *nats.Conn, n int) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var c jetstream.Consumer
	eventstest.Eventually(t, func(ctx context.Context) error {
		c, err = js.CreateOrUpdateConsumer(ctx, realm.EventsStream(), jetstream.ConsumerConfig{Durable: "svc", AckPolicy: jetstream.AckExplicitPolicy})
		return err
	})
	seen := make(map[string]int)
	eventstest.Eventually(t, func(context.Context) error {
		batch, err := c.Fetch(n, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		for msg := range batch.Messages() {
			seen[string(msg.Data())]++
			if err := msg.Ack(); err != nil {
				return err
			}
		}
		for i := range n {
			if seen[strconv.Itoa(i)] == 0 {
				return fmt.Errorf("entry %d did not arrive; %d did", i, len(seen))
			}
		}
		return nil
	})
}

// INV-1: killing any one node, with whatever it leads, loses nothing that was
// acknowledged, and everything runs again without help.
func TestClusterSurvivesKills(t *testing.T) {
	c := eventstest.RunCluster(t, 3)
	c.WaitReady(t)
	nc := c.Connect(t, topology.Issuer, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	const each = 20
	total := 0
	for i, stream := range []string{realm.FeedStream(), realm.PulseStream()} {
		acknowledged(t, nc, total, each)
		total += each
		leader := c.WaitLeader(t, topology.Issuer.Account(), stream)
		c.Kill(t, leader)
		killed := time.Now()
		acknowledged(t, nc, total, each)
		total += each
		t.Logf("kill %d (%s): publishing again after %v", i, stream, time.Since(killed).Round(time.Millisecond))
		c.WaitReady(t)
		t.Logf("kill %d (%s): ready after %v", i, stream, time.Since(killed).Round(time.Millisecond))
		c.Nodes[leader].Start(t)
		c.WaitReady(t)
	}
	delivered(t, c.Connect(t, topology.Subscriber), total)
}

// An isolated old leader goes on answering reads, and emits no heartbeat, not even
// when an issuer that reaches only it stands in: so no sidecar that hears only it
// believes itself fresh.
func TestIsolatedLeaderIsSilent(t *testing.T) {
	c := eventstest.RunCluster(t, 3)
	c.WaitReady(t)
	old := c.WaitLeader(t, topology.Issuer.Account(), realm.FeedStream())
	others := slices.Delete([]int{0, 1, 2}, old, old+1)
	inside := c.Nodes[old].Connect(t, topology.Sidecar)
	silence, err := inside.SubscribeSync(realm.Live())
	if err != nil {
		t.Fatal(err)
	}
	if err := inside.Flush(); err != nil {
		t.Fatal(err)
	}

	for _, node := range c.Nodes {
		standIn(t, c, node)
	}
	c.Isolate(old)
	outside := c.Nodes[others[0]].Connect(t, topology.Sidecar)
	live, err := outside.SubscribeSync(realm.LiveHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	// The majority elects a new leader and beats on.
	var first uint64
	eventstest.Eventually(t, func(context.Context) error {
		msg, err := live.NextMsg(time.Second)
		if err != nil {
			return err
		}
		first, err = strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
		return err
	})
	acknowledged(t, c.Nodes[others[1]].Connect(t, topology.Issuer), 0, 10)
	for range 3 {
		if _, err := live.NextMsg(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	// Meanwhile the old leader still reads, but nothing that came later is live there.
	// Some requests it hands on to replicas that it cannot reach, in vain.
	eventstest.Eventually(t, func(context.Context) error {
		answer, err := inside.Request("$JS.API.DIRECT.GET."+realm.FeedStream(), []byte(`{"last_by_subj":">"}`), time.Second)
		if err == nil && answer.Header.Get("Nats-Sequence") == "" {
			t.Errorf("the isolated leader answers %v", answer)
		}
		return err
	})
	for {
		msg, err := silence.NextMsg(10 * time.Millisecond)
		if errors.Is(err, nats.ErrTimeout) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sequence, err := strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if sequence >= first {
			t.Errorf("the isolated leader made %s %d, which the majority has too", msg.Subject, sequence)
		}
	}

	c.Heal(old)
	c.WaitReady(t)
	delivered(t, c.Connect(t, topology.Subscriber), 10)
	// And the healed node carries the road again.
	eventstest.Eventually(t, func(context.Context) error {
		_, err := silence.NextMsg(time.Second)
		return err
	})
}

// standIn runs what an issuer that reaches only this node runs.
func standIn(t *testing.T, c *eventstest.Cluster, node *eventstest.Server) {
	t.Helper()
	p, err := provision.New(node.Connect(t, topology.Issuer), c.Topology())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.StandIn(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Each node in turn is stopped in an orderly way and started again.
func TestRollingRestart(t *testing.T) {
	c := eventstest.RunCluster(t, 3)
	c.WaitReady(t)
	nc := c.Connect(t, topology.Issuer, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	total := 0
	for _, node := range c.Nodes {
		node.Stop()
		acknowledged(t, nc, total, 10)
		total += 10
		node.Start(t)
		c.WaitReady(t)
	}
	delivered(t, c.Connect(t, topology.Subscriber), total)
}
