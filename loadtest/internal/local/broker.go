package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/revocast/revocast/events/natsauth"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/stack"
)

// Broker says what a system has for a broker. The zero Broker is the one inside the
// first issuer.
type Broker struct {
	// Nodes is how many nats-servers there are: one, or three for a cluster.
	Nodes int
	// Leaves is how many leaf nodes sidecars may connect to instead; they take part in
	// nothing but passing on what the sidecar's account may see.
	Leaves int
	// Lazy has writes synced to disk now and then, not each before it is acknowledged.
	Lazy bool
}

// Node is one nats-server. Like every [stack.Process] it can be stopped, killed,
// suspended and started again.
type Node struct {
	stack.Process

	// Name is also what the server calls itself.
	client, monitor int
	dir             string
	ask             *http.Client
}

// URL is where the node takes clients.
func (n *Node) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.client) }

// Up starts the node and waits until it takes clients and its streams are whole.
func (n *Node) Up(ctx context.Context) error {
	if err := n.Start(); err != nil {
		return err
	}
	return n.WaitReady(ctx)
}

// WaitReady returns when the node says that it is healthy.
func (n *Node) WaitReady(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if n.get(ctx, "/healthz", nil) == nil {
			return nil
		}
		select {
		case <-n.Done():
			return fmt.Errorf("waiting for %s: it ended: %w\n%s", n.Name, n.Err(), n.Tail(tail))
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w\n%s", n.Name, context.Cause(ctx), n.Tail(tail))
		case <-ticker.C:
		}
	}
}

// tail is how much of a log an error quotes.
const tail = 15

// maxMonitor bounds what a node says of itself.
const maxMonitor = 16 << 20

// get asks the node's monitoring port, and reads JSON unless v is nil.
func (n *Node) get(ctx context.Context, path string, v any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", n.monitor, path), http.NoBody)
	if err != nil {
		return err
	}
	answer, err := n.ask.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // read as far as it is wanted
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", n.Name, answer.Status)
	}
	if v == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(answer.Body, maxMonitor)).Decode(v)
}

// brokers are the nodes of a system.
type brokers struct {
	nodes, leaves []*Node
}

// Nodes are the broker's nodes; none if it is inside the issuer.
func (s *System) Nodes() []*Node { return s.brokers.nodes }

// Leaves are the leaf nodes.
func (s *System) Leaves() []*Node { return s.brokers.leaves }

// Leader is the node that leads the realm's feed, or an error while there is none.
func (s *System) Leader(ctx context.Context) (*Node, error) {
	var why []error
	feed := subject.Realm(stack.Realm).FeedStream()
	for _, n := range s.brokers.nodes {
		var says struct {
			Accounts []struct {
				Streams []struct {
					Name    string `json:"name"`
					Cluster struct {
						Leader string `json:"leader"`
					} `json:"cluster"`
				} `json:"stream_detail"`
			} `json:"account_details"`
		}
		if err := n.get(ctx, "/jsz?accounts=true&streams=true", &says); err != nil {
			why = append(why, err)
			continue
		}
		for _, account := range says.Accounts {
			for _, stream := range account.Streams {
				if stream.Name == feed && stream.Cluster.Leader == n.Name {
					return n, nil
				}
			}
		}
	}
	return nil, fmt.Errorf("looking for the leader of %s: %w", feed, errors.Join(append(why, errNoLeader)...))
}

var errNoLeader = errors.New("no node says that it leads")

// start starts all of them, and leaves the credentials where the system's servers look.
func (b *brokers) start(ctx context.Context, dir stack.Dir, bin string, cfg Broker) error {
	authority, err := natsauth.LoadOrCreate(filepath.Join(string(dir), "broker", "keys"), topology.Options{Realm: stack.Realm})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir.Creds(), 0o700); err != nil {
		return err
	}
	if err := authority.WriteCredentials(dir.Creds()); err != nil {
		return err
	}
	trust, err := authority.Configuration()
	if err != nil {
		return err
	}
	atLeaves, err := authority.LeafConfiguration()
	if err != nil {
		return err
	}
	accounts, err := authority.LeafAccounts()
	if err != nil {
		return err
	}
	ports, err := stack.FreePorts(4*cfg.Nodes + 2*cfg.Leaves)
	if err != nil {
		return err
	}
	next := func() int { p := ports[0]; ports = ports[1:]; return p }
	monitor := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	node := func(name string) *Node {
		at := filepath.Join(string(dir), "broker", name)
		return &Node{
			client: next(), monitor: next(), dir: at, ask: monitor,
			Process: stack.Process{
				Name: name, Path: filepath.Join(bin, "nats-server"), Args: []string{"--config", filepath.Join(at, "nats.conf")},
				Dir: at, Env: []string{"TMPDIR=" + at}, Log: filepath.Join(at, "log"),
			},
		}
	}
	var routes, joins []string
	var own []int
	for n := range cfg.Nodes {
		b.nodes = append(b.nodes, node(fmt.Sprintf("nats-%d", n+1)))
		route, join := next(), next()
		own = append(own, route, join)
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", route))
		joins = append(joins, fmt.Sprintf("nats-leaf://127.0.0.1:%d", join))
	}
	for n, hub := range b.nodes {
		text := fmt.Sprintf("jetstream {\n  store_dir: %q\n%s}\nleafnodes { listen: \"127.0.0.1:%d\" }\n",
			filepath.Join(hub.dir, "jetstream"), map[bool]string{false: "  sync_interval: always\n"}[cfg.Lazy], own[2*n+1])
		if cfg.Nodes > 1 {
			text += fmt.Sprintf("cluster {\n  name: revocast\n  listen: \"127.0.0.1:%d\"\n  routes: [%s]\n}\n", own[2*n], quoted(routes))
		}
		if err := hub.configure(text + trust); err != nil {
			return err
		}
	}
	for n := range cfg.Leaves {
		leaf := node(fmt.Sprintf("leaf-%d", n+1))
		b.leaves = append(b.leaves, leaf)
		if err := leaf.configure(fmt.Sprintf("leafnodes {\n  remotes: [{urls: [%s], account: %q, credentials: %q}]\n}\n%s",
			quoted(joins), accountOf(accounts, topology.Sidecar), dir.Credentials(topology.Sidecar.String()), atLeaves)); err != nil {
			return err
		}
	}
	return b.up(ctx)
}

func quoted(urls []string) string { return `"` + strings.Join(urls, `", "`) + `"` }

func accountOf(accounts []natsauth.Account, r topology.Role) string {
	for _, a := range accounts {
		if a.Name == string(r.Account()) {
			return a.ID
		}
	}
	return ""
}

// configure writes the node's configuration file.
func (n *Node) configure(text string) error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	text = fmt.Sprintf("server_name: %q\nlisten: \"127.0.0.1:%d\"\nhttp: \"127.0.0.1:%d\"\n%s", n.Name, n.client, n.monitor, text)
	return os.WriteFile(filepath.Join(n.dir, "nats.conf"), []byte(text), 0o600)
}

// up starts every node before it waits for any: a cluster is ready when it has a leader.
func (b *brokers) up(ctx context.Context) error {
	all := append(b.nodes, b.leaves...)
	for _, n := range all {
		if err := n.Start(); err != nil {
			return err
		}
	}
	for _, n := range all {
		if err := n.WaitReady(ctx); err != nil {
			return err
		}
	}
	for _, n := range b.leaves {
		if err := n.waitJoined(ctx); err != nil {
			return err
		}
	}
	return nil
}

// waitJoined returns when a leaf node is connected to the broker.
func (n *Node) waitJoined(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		var says struct {
			Leaves int `json:"leafnodes"`
		}
		if err := n.get(ctx, "/leafz", &says); err == nil && says.Leaves > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to join: %w\n%s", n.Name, context.Cause(ctx), n.Tail(tail))
		case <-ticker.C:
		}
	}
}

// stop stops leaves first.
func (b *brokers) stop(ctx context.Context) error {
	var errs []error
	for _, n := range append(b.leaves, b.nodes...) {
		errs = append(errs, n.Stop(ctx))
	}
	return errors.Join(errs...)
}

// url names every node.
func (b *brokers) url() string {
	urls := make([]string, len(b.nodes))
	for i, n := range b.nodes {
		urls[i] = n.URL()
	}
	return strings.Join(urls, ",")
}
