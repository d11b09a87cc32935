package front

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/revocast/revocast/loadtest/internal/token"
)

// overGRPC asks as Envoy does, which has a connection a thread, and as many calls at once
// on each as there are requests.
type overGRPC struct {
	timeout     time.Duration
	connections []*grpc.ClientConn
	next        atomic.Uint64
}

func newGRPC(cfg Config, a address) (_ *overGRPC, err error) {
	secured := insecure.NewCredentials()
	if a.secure {
		secured = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	f := &overGRPC{timeout: cfg.Timeout}
	for range min(cfg.Connections, runtime.GOMAXPROCS(0)) {
		c, err := grpc.NewClient("passthrough:///"+a.host,
			grpc.WithTransportCredentials(secured), grpc.WithUserAgent(agent),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return a.dialer.DialContext(ctx, a.network, a.address)
			}),
			grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0), grpc.WithMaxHeaderListSize(maxHead),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBody)),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, MaxDelay: time.Second}, MinConnectTimeout: cfg.Timeout,
			}),
		)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.connections = append(f.connections, c)
	}
	return f, nil
}

// Ask implements [Front].
func (f *overGRPC) Ask(ctx context.Context, t token.Token) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	c := f.connections[f.next.Add(1)%uint64(len(f.connections))]
	answer := new(authv3.CheckResponse)
	if err := c.Invoke(ctx, authv3.Authorization_Check_FullMethodName, question(t), answer); err != nil {
		if status.Code(err) == codes.DeadlineExceeded {
			return 0, lateError{}
		}
		return 0, err
	}
	switch denied := answer.GetDeniedResponse().GetStatus().GetCode(); {
	case codes.Code(answer.GetStatus().GetCode()) == codes.OK: //nolint:gosec // a code has few values
		return http.StatusOK, nil
	case denied != 0:
		return int(denied), nil
	}
	return http.StatusForbidden, nil // what Envoy makes of it
}

// question is what Envoy tells of a request.
func question(t token.Token) *authv3.CheckRequest {
	const method, host, path = http.MethodGet, "loadtest.invalid", "/"
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{
			Method: method, Host: host, Path: path, Scheme: "http", Protocol: "HTTP/1.1",
			Headers: map[string]string{
				":authority": host, ":method": method, ":path": path, ":scheme": "http",
				"accept": "*/*", "user-agent": agent, "authorization": t.Authorization(),
			},
		},
	}}}
}

// Close implements [Front].
func (f *overGRPC) Close() error {
	var errs []error
	for _, c := range f.connections {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
