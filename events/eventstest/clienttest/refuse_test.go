package clienttest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/client"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

func TestExistingDurableIsAdaptedOrRefused(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	c, _ := newClient(t, s)
	r := subscribe(t, s, c, "svc", collect(&log[client.Delivery]{}), client.AckWait(time.Minute))
	r.stop(t)
	stream := kept(t, s)
	subscribe(t, s, c, "svc", collect(&log[client.Delivery]{}), client.AckWait(time.Second), client.InOrder(), client.ForgetAfter(time.Hour))
	eventstest.Eventually(t, func(ctx context.Context) error {
		durable, err := stream.Consumer(ctx, "svc")
		if err != nil {
			return err
		}
		if got := durable.CachedInfo().Config; got.AckWait != time.Second || got.MaxAckPending != 1 || got.InactiveThreshold != time.Hour {
			return fmt.Errorf("ack wait %v, at most %d under way, forgotten after %v", got.AckWait, got.MaxAckPending, got.InactiveThreshold)
		}
		return nil
	})
	if _, err := stream.CreatePushConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "push", AckPolicy: jetstream.AckExplicitPolicy, DeliverSubject: "somewhere",
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe(t.Context(), "push", collect(&log[client.Delivery]{})); !errors.Is(err, client.ErrDurable) {
		t.Errorf("push: %v", err)
	}
	for name, config := range map[string]jetstream.ConsumerConfig{
		"none":   {AckPolicy: jetstream.AckNonePolicy},
		"filter": {AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: realm.FeedKeys()},
	} {
		config.Durable = name
		if _, err := stream.CreateConsumer(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		if err := c.Subscribe(t.Context(), name, collect(&log[client.Delivery]{})); !errors.Is(err, client.ErrDurable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatTryingAgainDoesNotMend(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	nothing := func(context.Context, client.Delivery) error { return nil }
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	t.Run("wrong credentials", func(t *testing.T) {
		conn, err := client.Connect(s.URL(), s.Credentials(topology.Sidecar), quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		c, err := client.New(conn, realm)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Subscribe(t.Context(), "svc", nothing); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("Subscribe: %v", err)
		}
	})
	t.Run("wrong realm", func(t *testing.T) {
		conn, err := client.Connect(s.URL(), s.Credentials(topology.Subscriber), quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		c, err := client.New(conn, "other")
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range c.Follow(t.Context(), client.Beginning) {
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("Follow: %v", err)
			}
		}
	})
	t.Run("wrong inbox", func(t *testing.T) {
		if c, err := client.New(s.Connect(t, topology.Sidecar), realm); err == nil {
			t.Errorf("got %v", c)
		}
	})
	t.Run("wrong realm name", func(t *testing.T) {
		if c, err := client.New(s.Connect(t, topology.Subscriber), "a.b"); err == nil {
			t.Errorf("got %v", c)
		}
	})
	t.Run("wrong name", func(t *testing.T) {
		c, _ := newClient(t, s)
		for _, name := range []string{"", "a.b", "a b", "*", ">", "ä", string(make([]byte, 65))} {
			if err := c.Subscribe(t.Context(), name, nothing); !errors.Is(err, client.ErrDurable) {
				t.Errorf("%q: %v", name, err)
			}
		}
		for name, option := range map[string]client.SubscribeOption{
			"no time to handle": client.AckWait(0), "forgotten at once": client.ForgetAfter(time.Second),
		} {
			if err := c.Subscribe(t.Context(), "svc", nothing, option); !errors.Is(err, client.ErrDurable) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("closed connection", func(t *testing.T) {
		conn := s.Connect(t, topology.Subscriber)
		c, err := client.New(conn, realm)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 2)
		go func() { got <- c.Subscribe(t.Context(), "svc", nothing) }()
		go func() {
			for _, err := range c.Follow(t.Context(), client.Beginning) {
				got <- err
			}
		}()
		stream := kept(t, s)
		eventstest.Eventually(t, func(ctx context.Context) error {
			info, err := stream.Info(ctx)
			if err == nil && info.State.Consumers < 2 {
				err = errNotYet
			}
			return err
		})
		conn.Close()
		for range 2 {
			if err := <-got; !errors.Is(err, nats.ErrConnectionClosed) {
				t.Errorf("got %v", err)
			}
		}
	})
}
