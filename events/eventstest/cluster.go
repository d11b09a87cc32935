package eventstest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events/topology"
)

// Cluster is a JetStream cluster of one test: every stream lies on every node.
// Its methods are for the test's goroutine.
type Cluster struct {
	party
	// Nodes can be stopped, started and connected to one by one.
	Nodes []*Server
	// links carry the route that node i opens to node j.
	links map[[2]int]*link
}

// RunCluster starts n nodes, 3 or 5, with the realm's streams in place, and stops
// them when the test ends.
func RunCluster(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	s := settings(n, opts)
	c := &Cluster{party: newParty(t, s.topology), links: make(map[[2]int]*link)}
	for range n {
		c.Nodes = append(c.Nodes, newServer(t, c.party))
	}
	for i := range n {
		c.wire(t, i)
	}
	t.Cleanup(func() {
		for _, node := range c.Nodes {
			node.Stop()
		}
		for _, k := range c.links {
			k.close()
		}
	})
	for _, node := range c.Nodes {
		node.Start(t)
	}
	c.WaitLeader(t, "", "")
	if !s.empty {
		c.provision(t, c.URL())
	}
	return c
}

// nowhere is an address that refuses connections.
const nowhere = "127.0.0.1:1"

// wire tells node i to reach every other node through a link of its own.
func (c *Cluster) wire(t testing.TB, i int) {
	t.Helper()
	o := c.Nodes[i].options
	o.ServerName = fmt.Sprintf("node-%d", i)
	o.Cluster = server.ClusterOpts{
		Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		// Nodes must not find each other past the links, nor clients other nodes.
		Advertise: nowhere, NoAdvertise: true,
	}
	for j, other := range c.Nodes {
		if i == j {
			continue
		}
		k, err := newLink(t.Context(), other.routeAddr)
		if err != nil {
			t.Fatal(err)
		}
		c.links[[2]int{i, j}] = k
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: k.addr()})
	}
}

// URL names every node.
func (c *Cluster) URL() string {
	var list []string
	for _, node := range c.Nodes {
		list = append(list, node.URL())
	}
	return strings.Join(list, ",")
}

// Connect returns a connection of the role to some node, closed when the test ends.
func (c *Cluster) Connect(t testing.TB, r topology.Role, more ...nats.Option) *nats.Conn {
	t.Helper()
	return c.connect(t, c.URL(), r, more)
}

// WaitReady waits until an issuer would call the broker ready.
func (c *Cluster) WaitReady(t testing.TB) {
	t.Helper()
	c.waitReady(t, c.URL())
}

// Isolate cuts node i off from the others. Clients still reach it, and nobody is
// told: what the nodes say to each other is held back until Heal.
func (c *Cluster) Isolate(i int) { c.setCut(i, true) }

// Heal undoes Isolate.
func (c *Cluster) Heal(i int) { c.setCut(i, false) }

func (c *Cluster) setCut(i int, cut bool) {
	for ends, k := range c.links {
		if ends[0] == i || ends[1] == i {
			k.set(cut, false)
		}
	}
}

// Kill ends node i as kill -9 would: it says goodbye to nobody (see [Server.Kill]).
func (c *Cluster) Kill(t testing.TB, i int) {
	t.Helper()
	c.Isolate(i)
	c.Nodes[i].Kill(t)
	for ends, k := range c.links {
		if ends[0] == i || ends[1] == i {
			k.drop()
		}
	}
	c.Heal(i)
}

// WaitLeader waits until a stream of an account has exactly one leader among the
// running nodes, and returns the node's index. Without an account it waits for
// the leader of the cluster itself.
func (c *Cluster) WaitLeader(t testing.TB, a topology.Account, stream string) int {
	t.Helper()
	account := c.accountID(t, a)
	var leader int
	Eventually(t, func(context.Context) error {
		var leaders []int
		for i, node := range c.Nodes {
			if node.leads(account, stream) {
				leaders = append(leaders, i)
			}
		}
		if len(leaders) != 1 {
			return fmt.Errorf("stream %q has leaders %v", stream, leaders)
		}
		leader = leaders[0]
		return nil
	})
	return leader
}

func (c *Cluster) accountID(t testing.TB, name topology.Account) string {
	t.Helper()
	if name == "" {
		return ""
	}
	accounts, err := c.authority.Accounts()
	for _, a := range accounts {
		if a.Name == string(name) {
			return a.ID
		}
	}
	t.Fatal(errors.Join(fmt.Errorf("no account %s", name), err))
	return ""
}

// routeAddr is where the node listens for other nodes; nowhere while it is down.
func (s *Server) routeAddr() string {
	running := s.running.Load()
	if running == nil {
		return nowhere
	}
	return running.ClusterAddr().String()
}

func (s *Server) leads(account, stream string) bool {
	running := s.running.Load()
	switch {
	case running == nil:
		return false
	case account == "":
		return running.JetStreamIsLeader()
	default:
		return running.JetStreamIsStreamLeader(account, stream)
	}
}
