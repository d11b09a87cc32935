package eventstest_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/provision"
	"github.com/revocast/revocast/events/topology"
)

func TestBase(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("N"))
	for range n {
		c := eventstest.RunCluster(t, 3)
		c.WaitReady(t)
		js, _ := jetstream.New(c.Nodes[0].Superuser(t, topology.Issuer.Account()))
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BASE", Subjects: []string{"base.*"}, AllowMsgSchedules: true, AllowMsgTTL: true, Replicas: 3, RePublish: &jetstream.RePublish{Source: "base.>", Destination: "liveb.>"}}); err != nil {
			t.Fatal(err)
		}
		m := nats.NewMsg("base.schedule")
		m.Header.Set("Nats-Schedule", "@every 1s")
		m.Header.Set("Nats-Schedule-Target", "base.beat")
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		old := c.WaitLeader(t, topology.Issuer.Account(), "BASE")
		t.Log("base", old, "meta", c.WaitLeader(t, "", ""))
		other := c.Nodes[(old+1)%3]
		sub, _ := other.Superuser(t, topology.Issuer.Account()).SubscribeSync("liveb.beat")
		sub.NextMsg(5 * time.Second)
		c.Isolate(old)
		killed := time.Now()
		for {
			_, err := sub.NextMsg(100 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(killed); d > 1500*time.Millisecond {
				t.Log("heartbeat again after", d)
				break
			}
		}
		c.Heal(old)
		for _, n := range c.Nodes {
			n.Stop()
		}
	}
}

func TestProbe(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("N"))
	for range n {
		c := eventstest.RunCluster(t, 3)
		c.WaitReady(t)
		old := c.WaitLeader(t, topology.Issuer.Account(), realm.FeedStream())
		t.Log("feed", old, "pulse", c.WaitLeader(t, topology.Issuer.Account(), realm.PulseStream()), "meta", c.WaitLeader(t, "", ""))
		other := c.Nodes[(old+1)%3]
		sub, _ := other.Connect(t, topology.Sidecar).SubscribeSync(realm.LiveHeartbeat())
		sub.NextMsg(5 * time.Second)
		c.Isolate(old)
		killed := time.Now()
		for {
			_, err := sub.NextMsg(100 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(killed); d > 500*time.Millisecond {
				t.Log("heartbeat again after", d)
				break
			}
		}
		p, _ := provision.New(other.Connect(t, topology.Issuer, nats.MaxReconnects(-1)), c.Topology())
		last := ""
		eventstest.Eventually(t, func(ctx context.Context) error {
			err := p.Ready(ctx)
			s := "ok"
			if err != nil {
				s = err.Error()
			}
			if s != last {
				t.Log(time.Since(killed), s)
				last = s
			}
			return err
		})
		c.Heal(old)
		for _, n := range c.Nodes {
			n.Stop()
		}
	}
}
