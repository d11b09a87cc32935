package eventstest_test

import (
	"testing"
	"time"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

func TestHeartbeatReachesSidecars(t *testing.T) {
	s := eventstest.RunServer(t)
	nc := s.Connect(t, topology.Sidecar)
	sub, err := nc.SubscribeSync(eventstest.Realm.LiveHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(time.Now(), m.Subject, m.Header, len(m.Data))
	}
}

func TestClusterStarts(t *testing.T) {
	start := time.Now()
	c := eventstest.RunCluster(t, 3)
	t.Log("up", time.Since(start))
	c.WaitReady(t)
	t.Log("ready", time.Since(start))
	l := c.WaitLeader(t, topology.Issuer.Account(), eventstest.Realm.FeedStream())
	t.Log("feed leader", l)
}

func TestReady(t *testing.T) {
	start := time.Now()
	s := eventstest.RunServer(t)
	t.Log("up", time.Since(start))
	s.WaitReady(t)
	t.Log("ready", time.Since(start))
	s.Provision(t)
}
