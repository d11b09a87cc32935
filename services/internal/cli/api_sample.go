package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

type sampleCommand struct {
	Listen string `default:"127.0.0.1:9000" help:"Where to listen: host:port of this machine (${default})."`
}

func (*sampleCommand) Help() string {
	return `An API to put behind a proxy or a sidecar and to try revocations on. It judges nothing: whatever reaches it is answered with what it was told of who asks, so it listens on this machine only.

Examples:

  revocast sample-api
  curl http://127.0.0.1:9000/orders/5
`
}

// told is what the API answers, and what its log shows.
type told struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Subject   string `json:"subject"`
	Session   string `json:"session"`
	Client    string `json:"client"`
	Scope     string `json:"scope"`
	Roles     string `json:"roles"`
	Expires   string `json:"expires"`
	FreshAsOf string `json:"fresh_as_of"`
}

// maxPath keeps a line of the log a line.
const maxPath = 200

func toldBy(r *http.Request) told {
	only := func(name string) string { return strings.Join(r.Header.Values(name), ", ") }
	path := r.URL.EscapedPath()
	return told{
		Method: r.Method, Path: path[:min(len(path), maxPath)],
		Subject: only("X-Auth-Subject"), Session: only("X-Auth-Session"), Client: only("X-Auth-Client"),
		Scope: only("X-Auth-Scope"), Roles: only("X-Auth-Roles"), Expires: only("X-Auth-Expires"), FreshAsOf: only("X-Revocast-Fresh-As-Of"),
	}
}

func (c *sampleCommand) Run(ctx context.Context, t *terminal) error {
	host, _, err := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return usage(fmt.Errorf("--listen %q: want a loopback address such as 127.0.0.1:9000: this API lets everybody in", c.Listen))
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	requests := make(chan told)
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who := toldBy(r)
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(who) // who asked has gone
			select {
			case requests <- who:
			case <-ctx.Done():
			}
		}),
	}
	t.printf("A sample API listens on http://%s. Ctrl-C ends it.\n", l.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	for {
		select {
		case who := <-requests:
			if err := t.printLine(who); err != nil {
				return errors.Join(err, server.Close())
			}
		case err := <-served:
			return fmt.Errorf("serving: %w", err)
		case <-ctx.Done():
			err := server.Close()
			if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
				err = errors.Join(err, ended)
			}
			return err
		}
	}
}
