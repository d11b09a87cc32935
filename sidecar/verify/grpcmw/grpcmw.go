// Package grpcmw puts a verifier before the services of a gRPC server: calls that may
// not pass are answered with the code that goes with the status of the sidecar's fronts,
// and services learn who calls.
//
// The token is in the call's `authorization` metadata. Rules take a call for a POST to
// "/package.Service/Method" at its `:authority`, which is what it is on the wire. A
// denial has UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE or INVALID_ARGUMENT as its
// code; `www-authenticate`, `retry-after` and `x-revocast-fresh-as-of` are in the
// trailing metadata. A stream is judged when it begins, and not again.
//
// Services learn who calls by [verify.FromContext], and by the x-auth-* metadata, which
// is what a sidecar would have set.
//
// Invariants:
//
//   - No service sees x-auth-* metadata that a client has sent, nor any that could be
//     taken for it, whether the call needs a token or not.
//   - The decision is that of the sidecar's fronts; there is none in this package.
package grpcmw

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/grpccode"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/verify"
)

// Option changes an [Interceptor].
type Option func(*settings)

// settings are what options change. All rules make one table.
type settings struct {
	front.Config

	rules []verify.Rule
}

// Realm is what challenges name (RFC 9110 section 11.5), 1 to 128 characters of ASCII;
// by default "revocast".
func Realm(name string) Option {
	return func(s *settings) { s.Realm = name }
}

// Rules are what is demanded of calls by their host and path, or that they need no token:
// "/orders.v1.Orders/Cancel", "/grpc.health.v1.Health/". Given more than once, all of them
// hold; errors count them through.
func Rules(rules ...verify.Rule) Option {
	return func(s *settings) { s.rules = append(s.rules, rules...) }
}

// Within bounds how long an answer may take, whatever disk and key servers do; then it
// is UNAVAILABLE. By default 400 ms.
func Within(d time.Duration) Option {
	return func(s *settings) { s.Within = d }
}

// MaxInFlight is how many calls may be judged at once; beyond it they are UNAVAILABLE.
// By default 4,096.
func MaxInFlight(n int) Option {
	return func(s *settings) { s.MaxInFlight = n }
}

// Interceptor stands before services. It is safe for concurrent use.
type Interceptor struct{ check *front.Checker }

// New makes an interceptor, or names what is wrong with the options. The verifier must
// run.
func New(v *verify.Verifier, options ...Option) (*Interceptor, error) {
	s := settings{Config: front.Defaults()}
	for _, set := range options {
		set(&s)
	}
	routes, err := route.New(s.rules)
	if err != nil {
		return nil, fmt.Errorf("reading rules: %w", err)
	}
	s.Routes = routes
	check, err := front.NewChecker(s.Config, v)
	if err != nil {
		return nil, err
	}
	return &Interceptor{check}, nil
}

// Unary is a [grpc.UnaryServerInterceptor].
func (i *Interceptor) Unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	passed, told, err := i.judge(ctx, info.FullMethod)
	if err != nil {
		_ = grpc.SetTrailer(ctx, told) // the denial counts, also without its reasons
		return nil, err
	}
	if err := grpc.SetHeader(ctx, told); err != nil {
		return nil, err
	}
	return handle(passed, request)
}

// Stream is a [grpc.StreamServerInterceptor].
func (i *Interceptor) Stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	passed, told, err := i.judge(stream.Context(), info.FullMethod)
	if err != nil {
		stream.SetTrailer(told)
		return err
	}
	if err := stream.SetHeader(told); err != nil {
		return err
	}
	return handle(service, &known{stream, passed})
}

// known is a stream whose service learns who calls.
type known struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // it is the stream's own
}

// Context implements [grpc.ServerStream].
func (k *known) Context() context.Context { return k.ctx }

// judge gives the context that the service gets, or the error that the caller does, and
// the metadata that the caller is told in either case.
func (i *Interceptor) judge(ctx context.Context, method string) (passed context.Context, told metadata.MD, err error) {
	sent, _ := metadata.FromIncomingContext(ctx) // a copy
	host := ""
	if authority := sent[":authority"]; len(authority) == 1 {
		host = authority[0]
	}
	answer := i.check.Check(ctx, front.Request{
		Method: http.MethodPost, Host: host, Target: method, Authorization: sent["authorization"],
	})
	told = of(append(answer.Refusal(), answer.Fresh())...)
	if !answer.Allowed() {
		return nil, told, status.Error(grpccode.Of(answer.Decision), cmp.Or(answer.Decision.Description(), answer.Decision.Reason.String()))
	}
	for name := range sent {
		if front.IsIdentity(name) {
			delete(sent, name)
		}
	}
	identity := answer.Identity()
	if answer.Known() {
		ctx = verify.NewContext(ctx, answer.Claims)
	}
	return metadata.NewIncomingContext(ctx, metadata.Join(sent, of(identity[:]...))), told, nil
}

// of gives fields as metadata, whose names are in lower case.
func of(fields ...front.Field) metadata.MD {
	md := make(metadata.MD, len(fields))
	for _, f := range fields {
		md[strings.ToLower(f.Name)] = []string{f.Value}
	}
	return md
}
