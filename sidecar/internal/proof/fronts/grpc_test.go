//go:build linux

package fronts

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
)

// grpcCaller asks as Envoy does, which has one connection a thread and as many calls
// on it as there are requests.
type grpcCaller struct{ client authv3.AuthorizationClient }

// threads of the proxy that asks.
const threads = 2

// callers share connections, which last as long as the test.
func callers(t *testing.T, address string) func() (caller, error) {
	t.Helper()
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		address = "unix://" + path
	} else {
		address = "passthrough:///" + address
	}
	var clients []authv3.AuthorizationClient
	for range threads {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() }) // the server may be gone
		clients = append(clients, authv3.NewAuthorizationClient(conn))
	}
	var next atomic.Int64
	return func() (caller, error) { return grpcCaller{clients[next.Add(1)%threads]}, nil }
}

func (grpcCaller) close() error { return nil }

func (c grpcCaller) call(token string) (bool, error) {
	r, err := c.client.Check(context.Background(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "api.example", Path: "/orders/5", Scheme: "http", Protocol: "HTTP/1.1",
			Headers: map[string]string{
				":authority": "api.example", ":method": "GET", ":path": "/orders/5", ":scheme": "http", "accept": "application/json",
				"user-agent": "Mozilla/5.0", "x-request-id": "0198f3a2-7c1e-7b3d-9a4f-000000000001", "authorization": "Bearer " + token,
			},
		}},
	}})
	if err != nil {
		return false, err
	}
	return codes.Code(r.GetStatus().GetCode()) == codes.OK, nil
}

// bareGRPCAt tells the bare gRPC server's process where to listen.
const bareGRPCAt = "FRONTS_BARE_GRPC"

// constant answers every request alike, with what ext_authz gives for a good token.
type constant struct {
	authv3.UnimplementedAuthorizationServer
}

func (constant) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	ok := &authv3.OkHttpResponse{}
	for _, f := range identity() {
		ok.Headers = append(ok.Headers, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: f[0], Value: f[1]}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return &authv3.CheckResponse{Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}, nil
}

// TestBareGRPC is a process of its own: grpc-go with an answer that never changes.
func TestBareGRPC(t *testing.T) {
	address := os.Getenv(bareGRPCAt)
	if address == "" {
		t.Skip("not a bare server's process")
	}
	l := listen(t, address)
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, constant{})
	t.Fatal(server.Serve(l))
}

// listen opens "host:port" or "unix:path".
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	network := "tcp"
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, address = "unix", path
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// reachable waits until someone listens.
func reachable(ctx context.Context, address string) error {
	network := "tcp"
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, address = "unix", path
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return errors.Join(c.Close())
}
