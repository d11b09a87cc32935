package app

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/sidecar/internal/config"
)

// Envoy is answered from the same view as everybody else, healthy as readyz says, and
// its open connection does not hold up the end.
func TestExtAuthz(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	i := newIssuance(t, s)
	socket := "unix:" + filepath.Join(t.TempDir(), "s")
	r := startSidecar(t, s, i.public(), t.TempDir(), func(c *config.Config) { c.GRPCListen = socket })
	conn, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	if health, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil || health.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", health, err)
	}
	signer, k := newKey(t, "k-1", unreachable)
	i.announce(t, events.KeyAdded{Key: codec.SignKey(i.root, eventstest.Realm, k)})
	i.revoke(t, revocation(events.KindSession, "ended"))
	becomes := func(token string, want codes.Code) {
		t.Helper()
		eventstest.Eventually(t, func(ctx context.Context) error {
			answer, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
				Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
					Method: "GET", Path: "/", Headers: map[string]string{"authorization": "Bearer " + token},
				}},
			}})
			if got := codes.Code(answer.GetStatus().GetCode()); err != nil || got != want {
				return fmt.Errorf("%s, want %s; %w", got, want, err)
			}
			return nil
		})
	}
	becomes(tokenWith(t, signer, "here"), codes.OK)
	becomes(tokenWith(t, signer, "ended"), codes.Unauthenticated)
	r.stop()
	if _, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err == nil {
		t.Error("it answers after the end")
	}
}
