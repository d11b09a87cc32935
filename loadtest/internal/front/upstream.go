package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Upstream is an application that answers all requests alike, for a proxy to stand before.
type Upstream struct {
	listener net.Listener
	server   *fasthttp.Server
	served   atomic.Int64
}

// NewUpstream makes one that serves what the listener accepts, and closes it in the end.
func NewUpstream(l net.Listener) *Upstream {
	u := &Upstream{listener: l}
	u.server = &fasthttp.Server{
		Name: agent, NoDefaultDate: true, ReadBufferSize: maxHead, IdleTimeout: 2 * time.Minute, CloseOnShutdown: true,
		Handler: func(c *fasthttp.RequestCtx) {
			u.served.Add(1)
			c.SetBodyString("ok\n")
		},
	}
	return u
}

// URL is what a sidecar's --upstream is to be.
func (u *Upstream) URL() string {
	if a := u.listener.Addr(); a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "http://" + u.listener.Addr().String()
}

// Served is how many requests it has answered.
func (u *Upstream) Served() int64 { return u.served.Load() }

const endWithin = 5 * time.Second

// Run serves until ctx ends, and then ends what is open.
func (u *Upstream) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- u.server.Serve(u.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the application behind the proxy: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	if err := errors.Join(u.server.ShutdownWithContext(ending), <-served); err != nil {
		return fmt.Errorf("stopping the application behind the proxy: %w", err)
	}
	return nil
}
