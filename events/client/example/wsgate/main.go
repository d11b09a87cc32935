// Command wsgate is an example to copy: a service whose connections outlive the
// access tokens they were opened with, and which closes them when the session is
// revoked.
//
//	client ── WebSocket ──▶ wsgate ── GET /auth ──▶ sidecar     who is this?
//	                          ▲
//	                          └── client.Subscribe ── broker    who no longer may?
//
// Beside the development stack, with an access token of one of its users:
//
//	go run ./client/example/wsgate -nats-creds DIR/creds/subscriber.creds -durable gate-1
//	websocat -H "Authorization: Bearer $TOKEN" ws://127.0.0.1:8095/ws
//
// A sidecar answers for one request. For a connection that stays open somebody has
// to act when the answer changes: here the events do.
//
// Invariants:
//
//   - An event is acknowledged after its connections have been told to close and
//     its line is on disk, so that no kill loses one.
//   - No connection is without a session that the sidecar has vouched for.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/revocast/revocast/events/client"
	"github.com/revocast/revocast/events/subject"
)

type config struct {
	listen  string
	auth    string
	natsURL string
	creds   string
	realm   string
	durable string
	ackWait time.Duration
	handled string
}

func main() {
	c, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, c, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "wsgate:", err)
		os.Exit(1)
	}
}

// parse has told the user what is wrong when it returns an error.
func parse(args []string) (config, error) {
	var c config
	f := flag.NewFlagSet("wsgate", flag.ContinueOnError)
	f.StringVar(&c.listen, "listen", "127.0.0.1:8095", "where WebSockets connect, path /ws")
	f.StringVar(&c.auth, "auth", "http://127.0.0.1:9470/auth", "the sidecar's forward-auth URL")
	f.StringVar(&c.natsURL, "nats-url", "nats://127.0.0.1:4222", "the broker")
	f.StringVar(&c.creds, "nats-creds", "", "a subscriber's credentials file (required)")
	f.StringVar(&c.realm, "realm", "default", "the realm")
	f.StringVar(&c.durable, "durable", "", "this instance's own name at the broker, the same at every start (required)")
	f.DurationVar(&c.ackWait, "ack-wait", 10*time.Second, "how soon an event comes again that was being handled when the process died")
	f.StringVar(&c.handled, "handled", "", "a file for the lines on standard output as well, synced before each event is acknowledged")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	var err error
	if c.creds == "" || c.durable == "" || f.NArg() > 0 {
		err = errors.New("want -nats-creds and -durable, and no arguments")
		_, _ = fmt.Fprintln(f.Output(), err)
		f.Usage()
	}
	return c, err
}

// run serves until ctx ends or something cannot go on.
func run(ctx context.Context, c config, out io.Writer, log *slog.Logger) (err error) {
	record, err := openRecord(c.handled, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	conn, err := client.Connect(c.natsURL, c.creds)
	if err != nil {
		return err
	}
	defer conn.Close()
	feed, err := client.New(conn, subject.Realm(c.realm), client.OnError(func(err error) {
		log.Warn("events", "error", err)
	}))
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", c.listen, err)
	}
	log.Info("listening", "address", listener.Addr().String())

	g := newGate(c.auth, record)
	server := &http.Server{Handler: g.routes(), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10}
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan error, 2)
	var work sync.WaitGroup
	work.Go(func() { failed <- server.Serve(listener) })
	work.Go(func() {
		// The durable is this instance's alone: every instance has connections of
		// its own to close. A new one has none yet, so it begins with what comes.
		failed <- feed.Subscribe(ctx, c.durable, g.handle, client.AckWait(c.ackWait), client.ForgetAfter(time.Hour))
	})

	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel() // the event at hand is finished and acknowledged, see work.Wait
	stopping, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	err = errors.Join(err, server.Shutdown(stopping))
	g.sessions.close() // Shutdown leaves WebSockets alone
	work.Wait()
	return err
}
