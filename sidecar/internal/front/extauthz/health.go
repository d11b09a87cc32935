package extauthz

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// watchEvery is how often those who watch are told of a change at the latest.
const watchEvery = time.Second

// health implements grpc.health.v1 by asking for readiness when it is asked.
type health struct {
	healthv1.UnimplementedHealthServer
	ready func() error
	// ending is closed when the server is to end; nothing is ready from then on.
	ending chan struct{}
}

// knows reports whether service is served here; the empty name means the whole server.
func knows(service string) bool {
	return service == "" || service == serviceName
}

func (h *health) status(service string) *healthv1.HealthCheckResponse {
	answer := &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_NOT_SERVING}
	select {
	case <-h.ending:
		return answer
	default:
	}
	switch {
	case !knows(service):
		answer.Status = healthv1.HealthCheckResponse_SERVICE_UNKNOWN
	case h.ready() == nil:
		answer.Status = healthv1.HealthCheckResponse_SERVING
	}
	return answer
}

// Check implements [healthv1.HealthServer].
func (h *health) Check(_ context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if !knows(r.GetService()) {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return h.status(r.GetService()), nil
}

// List implements [healthv1.HealthServer].
func (h *health) List(context.Context, *healthv1.HealthListRequest) (*healthv1.HealthListResponse, error) {
	statuses := map[string]*healthv1.HealthCheckResponse{}
	for _, service := range []string{"", serviceName} {
		statuses[service] = h.status(service)
	}
	return &healthv1.HealthListResponse{Statuses: statuses}, nil
}

// Watch implements [healthv1.HealthServer].
func (h *health) Watch(r *healthv1.HealthCheckRequest, stream grpc.ServerStreamingServer[healthv1.HealthCheckResponse]) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	told := healthv1.HealthCheckResponse_UNKNOWN
	for {
		if now := h.status(r.GetService()); now.GetStatus() != told {
			if err := stream.Send(now); err != nil {
				return err
			}
			told = now.GetStatus()
		}
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-h.ending:
			if told == healthv1.HealthCheckResponse_NOT_SERVING {
				return status.Error(codes.Unavailable, "the server is ending")
			}
		case <-ticker.C:
		}
	}
}
