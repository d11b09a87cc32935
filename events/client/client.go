// Package client is for services that act on what Revocast denies: close the
// connections of a session that has ended, drop a cache, tell another system. It
// reads EVENTS, the subscribers' copy of the feed, which keeps every event for
// days, longer than the feed's own entries live (ADR-1, stream topology).
//
//	conn, err := client.Connect("nats://127.0.0.1:4222", "subscriber.creds")
//	c, err := client.New(conn, "default", client.OnError(logIt))
//	err = c.Subscribe(ctx, "billing", func(ctx context.Context, d client.Delivery) error {
//		…
//	})
//
// There are two ways to read. [Client.Subscribe] leaves the place to the broker:
// a durable, shared by all instances that name it, each event handled by one of
// them until it succeeds. [Client.Follow] leaves it to the caller, who keeps a
// [Cursor]: every event, once, in order, and an error if one was missed.
//
// Invariants:
//
//   - An event is acknowledged only after its handler has returned nil.
//   - Follow never skips an event in silence.
//   - An event that cannot be read holds up none behind it, and is reported.
//   - What the broker sends is checked before it becomes a value: it decodes, and
//     it is of a kind that its publisher may publish there.
//
// What is delivered can only deny, except for [events.Lifted] and
// [events.KeyAdded]: whoever acts on those must verify the realm root's signature
// first (codec.VerifyLift, codec.VerifyKey).
package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
)

// Client reads the events of one realm over one connection. Safe for concurrent
// use; nothing runs in it but what its methods' callers wait for.
type Client struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	realm  subject.Realm
	report func(error)
}

// Option changes a Client.
type Option func(*Client)

// OnError has f told of everything that the client gets over by itself: the broker
// is out of reach, a handler has failed and will be called again, an event cannot
// be read ([PoisonError]). Without it these are met in silence, so log or count
// them. Calls come from the goroutines of Follow and Subscribe, which wait for f.
func OnError(f func(error)) Option { return func(c *Client) { c.report = f } }

// Connect opens a connection as a subscriber: it answers to the role's inbox, never
// gives up reconnecting and notices a dead server within half a minute. Several
// URLs are separated by commas. Further options are applied last. The caller closes
// the connection.
func Connect(url, credentials string, more ...nats.Option) (*nats.Conn, error) {
	options := []nats.Option{
		nats.UserCredentials(credentials),
		nats.CustomInboxPrefix(topology.Subscriber.InboxPrefix()),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.PingInterval(pingInterval),
	}
	conn, err := nats.Connect(url, append(options, more...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting as subscriber: %w", err) // the URL may hold a password
	}
	return conn, nil
}

const (
	reconnectWait = 500 * time.Millisecond
	pingInterval  = 10 * time.Second
)

// New does not touch the network. The connection stays the caller's; it must have
// a subscriber's credentials and inbox, as [Connect] gives it.
func New(conn *nats.Conn, realm subject.Realm, opts ...Option) (*Client, error) {
	if _, err := subject.ParseRealm(string(realm)); err != nil {
		return nil, err
	}
	// With any other inbox the broker would refuse every answer, one timeout at a time.
	if want := topology.Subscriber.InboxPrefix(); conn.Opts.InboxPrefix != want {
		return nil, fmt.Errorf("the connection's inbox prefix is %q, not %q: use client.Connect or nats.CustomInboxPrefix",
			conn.Opts.InboxPrefix, want)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	c := &Client{conn: conn, js: js, realm: realm, report: func(error) {}}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// How long to wait before another attempt: the first, doubled up to the last.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
)

// persist runs one session after another until ctx ends, which is no error, or
// until one ends in a way that another cannot mend. What it mends, it reports.
func (c *Client) persist(ctx context.Context, session func(context.Context) error) error {
	wait := firstWait
	for {
		began := time.Now()
		err := c.whileConnected(ctx, session)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // that ctx has ended is no error
		case c.conn.IsClosed():
			return errors.Join(err, nats.ErrConnectionClosed, c.conn.LastError())
		case errors.Is(err, errDisconnected):
			continue
		case final(err):
			return err
		}
		if refused := c.refused(); refused != nil {
			return errors.Join(err, refused)
		}
		c.report(err)
		if time.Since(began) > lastWait {
			wait = firstWait // it worked for a while
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, lastWait)
	}
}

var errDisconnected = errors.New("no connection to the broker")

// whileConnected waits for the connection and runs session with a context that ends
// when it is lost. What the session had asked for may die with the server; missing
// heartbeats would tell, but only after seconds.
func (c *Client) whileConnected(ctx context.Context, session func(context.Context) error) error {
	status := c.conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer c.conn.RemoveStatusListener(status)
	if !c.conn.IsConnected() {
		c.report(errDisconnected)
	}
	for !c.conn.IsConnected() && !c.conn.IsClosed() {
		select {
		case <-status:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-status:
			cancel(errDisconnected)
		case <-ctx.Done():
		}
	})
	err := session(ctx)
	if errors.Is(context.Cause(ctx), errDisconnected) {
		err = errDisconnected
	}
	cancel(nil)
	watching.Wait()
	return err
}

// final reports whether an error is an answer, not an accident.
func final(err error) bool {
	if _, lost := errors.AsType[*LostError](err); lost {
		return true
	}
	return errors.Is(err, ErrDurable)
}

// refused returns the broker's refusal of something this client needs. It comes
// apart from the request it answers, which only times out.
func (c *Client) refused() error {
	err := c.conn.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	text, stream := strings.ToUpper(err.Error()), c.realm.EventsStream()
	if !strings.Contains(text, "$JS.API.CONSUMER.") || !strings.Contains(text, stream) {
		return nil // somebody else's, on a shared connection
	}
	return err
}

// The rhythm of a pull request: it is renewed after requestExpiry, and the broker
// is given up when it has been silent for twice its heartbeat.
const (
	requestExpiry    = 30 * time.Second
	requestHeartbeat = 2 * time.Second
)

// open starts to read a consumer, never asking for more than ahead events before
// they are wanted.
func open(consumer jetstream.Consumer, ahead int) (jetstream.MessagesContext, error) {
	return consumer.Messages(jetstream.PullMaxMessages(ahead),
		jetstream.PullExpiry(requestExpiry), jetstream.PullHeartbeat(requestHeartbeat))
}

// farewell bounds what is still said to the broker when a context has ended.
const farewell = 2 * time.Second

// afterwards gives a context for that.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), farewell)
}
