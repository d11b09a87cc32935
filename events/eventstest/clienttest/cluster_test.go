package clienttest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/client"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// The leader of EVENTS is killed, and perhaps the follower's consumer with it.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := eventstest.RunCluster(t, 3)
	cluster.WaitReady(t)
	soon := nats.ReconnectWait(50 * time.Millisecond)
	js, err := jetstream.New(cluster.Connect(t, topology.Issuer, nats.MaxReconnects(-1), soon))
	if err != nil {
		t.Fatal(err)
	}
	f := feed{js: js}
	c, err := client.New(cluster.Connect(t, topology.Subscriber, nats.MaxReconnects(-1), soon), realm)
	if err != nil {
		t.Fatal(err)
	}
	followed, failed := follow(t, c, client.Beginning)
	handled := &log[client.Delivery]{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- c.Subscribe(ctx, "svc", collect(handled), client.From(client.Beginning), client.AckWait(5*time.Second))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	want := f.revoke(t, 20)
	cluster.Kill(t, cluster.WaitLeader(t, topology.Vault, realm.EventsStream()))
	want = append(want, f.revoke(t, 20)...)
	if list := ids(followed.wait(t, len(want))); !slices.Equal(list, want) {
		t.Fatalf("got %v, want %v", list, want)
	}
	eventstest.Eventually(t, func(context.Context) error {
		have := ids(handled.all())
		for _, id := range want {
			if !slices.Contains(have, id) {
				return fmt.Errorf("event %s was not handled", id)
			}
		}
		return nil
	})
	if list := failed.all(); len(list) > 0 {
		t.Fatal(list)
	}
}
