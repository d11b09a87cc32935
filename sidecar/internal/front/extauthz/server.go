package extauthz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/revocast/revocast/sidecar/internal/front"
)

// The bounds of what one who connects may take.
const (
	// maxMessage is room for all headers that Envoy takes of a request by default
	// (60 KiB) and for a client's certificates besides. A body has no business here.
	maxMessage = 256 << 10
	// maxMetadata bounds the headers of a call; Envoy's own are few.
	maxMetadata = 16 << 10
	// maxStreams is how many calls may be under way on one connection. Envoy opens a
	// connection for each of its threads, and more where these do not suffice.
	maxStreams = 1024
	// window is how much all calls of a connection may send before they are read. It is
	// fixed: grpc-go otherwise measures each connection in order to adapt it, with a ping
	// and a window update every round trip, which for calls of a kilobyte is as much
	// traffic as the calls are.
	window = 1 << 20
	// workers answer calls; beyond so many at once each has a goroutine of its own, whose
	// stack grows anew every time. That is a sixth of what a call costs.
	workers = 32
	// handshakeWithin bounds how long a connection may take to become one.
	handshakeWithin = 5 * time.Second
	// connectionAge is when a connection is ended and its client connects again, so
	// that many sidecars behind one address get their shares.
	connectionAge      = 30 * time.Minute
	connectionAgeGrace = 10 * time.Second
	// A client that says nothing is asked after aliveAfter whether it lives, and given
	// up on aliveWithin later. It may not ask us more often than pingEvery.
	aliveAfter  = time.Minute
	aliveWithin = 10 * time.Second
	pingEvery   = 5 * time.Second
)

// Server serves the authorization service and its health. It has the methods of an
// [net/http.Server] that matter.
type Server struct {
	grpc    *grpc.Server
	health  *health
	log     *zap.Logger
	end     func() // closes health.ending
	drained chan struct{}
}

// New makes a server whose health is SERVING while ready returns nil. It listens to
// nothing yet.
func New(check *front.Checker, ready func() error, log *zap.Logger) *Server {
	s := &Server{health: &health{ready: ready, ending: make(chan struct{})}, log: log, drained: make(chan struct{})}
	s.end = sync.OnceFunc(func() {
		close(s.health.ending)
		go func() { // whoever shuts down waits for it, or closes
			defer close(s.drained)
			s.grpc.GracefulStop()
		}()
	})
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(maxMetadata), grpc.MaxConcurrentStreams(maxStreams),
		grpc.StaticStreamWindowSize(maxMessage), grpc.StaticConnWindowSize(window),
		grpc.ConnectionTimeout(handshakeWithin), grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: connectionAgeGrace, Time: aliveAfter, Timeout: aliveWithin,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery, PermitWithoutStream: true}),
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(proto.Name)}), grpc.NumStreamWorkers(workers),
		grpc.UnaryInterceptor(s.survive), grpc.StreamInterceptor(s.surviveStream),
	)
	authorization{check}.register(s.grpc)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	return s
}

// Serve serves whoever connects to l until [Server.Shutdown] or [Server.Close], and
// returns nil for these, also if they came first.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Shutdown takes no more calls and waits until those under way are answered, or until
// ctx ends, whose error it returns; then call Close.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for calls under way: %w", ctx.Err())
	}
}

// Close ends everything at once.
func (s *Server) Close() error {
	s.end()
	s.grpc.Stop()
	<-s.drained
	return nil
}

// survive keeps a panic from ending the process. Whoever asked about a request is
// told the answer of the zero decision, which denies.
func (s *Server) survive(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			s.panicked(info.FullMethod, fault)
			response, err = nil, status.Error(codes.Internal, "internal error")
			if info.FullMethod == checkMethod {
				response, err = word(front.Answer{}, nil), nil
			}
		}
	}()
	return handle(ctx, request)
}

func (s *Server) surviveStream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			s.panicked(info.FullMethod, fault)
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	return handle(service, stream)
}

// panicked logs where, and of what only the kind: its text may hold what a request said.
func (s *Server) panicked(method string, fault any) {
	s.log.Error("a call panicked", zap.String("method", method), zap.String("kind", fmt.Sprintf("%T", fault)), zap.ByteString("stack", debug.Stack()))
}
