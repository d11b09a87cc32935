package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/client"
)

// A service that acts on every revocation at least once, however often it or the
// broker is restarted.
func ExampleClient_Subscribe() {
	conn, err := client.Connect("nats://127.0.0.1:4222", "creds/subscriber.creds")
	if err != nil {
		slog.Error("connecting", "error", err)
		return
	}
	defer conn.Close()
	c, err := client.New(conn, "default", client.OnError(func(err error) {
		slog.Warn("events", "error", err)
	}))
	if err != nil {
		slog.Error("starting", "error", err)
		return
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err = c.Subscribe(ctx, "mailer", func(ctx context.Context, d client.Delivery) error {
		revoked, ok := d.Event.Event.(events.Revoked)
		if !ok || revoked.Revocation.Reason != events.ReasonTokenReuse {
			return nil // nothing to do is done
		}
		return sendMail(ctx, string(d.Event.ID), revoked.Revocation.Target)
	})
	if err != nil {
		slog.Error("events", "error", err)
	}
}

// sendMail must not send twice for one key.
func sendMail(_ context.Context, key, session string) error {
	_, err := fmt.Println(key, session)
	return err
}

// A program that keeps its own place, here as its only argument, and is told if it
// was away for too long.
func ExampleClient_Follow() {
	conn, err := client.Connect("nats://127.0.0.1:4222", "creds/subscriber.creds")
	if err != nil {
		slog.Error("connecting", "error", err)
		return
	}
	defer conn.Close()
	c, err := client.New(conn, "default")
	if err != nil {
		slog.Error("starting", "error", err)
		return
	}

	from := client.Latest
	if len(os.Args) > 1 {
		if from, err = client.ParseCursor(os.Args[1]); err != nil {
			slog.Error("reading the cursor", "error", err)
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for d, err := range c.Follow(ctx, from) {
		if poison, ok := errors.AsType[*client.PoisonError](err); ok {
			slog.Warn("skipping", "error", poison)
			continue
		}
		if lost, ok := errors.AsType[*client.LostError](err); ok {
			slog.Error("start over", "from", lost.To, "error", lost)
			return
		}
		if err != nil {
			slog.Error("following", "error", err)
			return
		}
		switch e := d.Event.Event.(type) {
		case events.Revoked:
			fmt.Println(d.Cursor, "revoked", e.Revocation.Kind, e.Revocation.Target, e.Revocation.Reason)
		case events.Unknown:
			fmt.Println(d.Cursor, "something newer than this program, number", e.Number)
		default:
			fmt.Printf("%s %T\n", d.Cursor, e)
		}
	}
}

func ExampleParseCursor() {
	for _, s := range []string{"beginning", "1795326704369617", "-1"} {
		cursor, err := client.ParseCursor(s)
		fmt.Println(cursor, err)
	}
	// Output:
	// beginning <nil>
	// 1795326704369617 <nil>
	// beginning not a cursor: want beginning, latest or the number given with an event
}
