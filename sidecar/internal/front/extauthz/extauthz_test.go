package extauthz_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/extauthz"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify"
)

// request is one for a token, from a route with these extensions.
func request(token string, extensions map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: extensions,
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "api.example", Path: "/", Headers: map[string]string{"authorization": "Bearer " + token},
		}},
	}}
}

func ask(t *testing.T, c authv3.AuthorizationClient, r *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	answer, err := c.Check(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// A route can demand more, and what it spells wrongly is refused.
func TestContextExtensions(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	rig.View.Set(time.Now().Add(-10*time.Second), true)
	c := authv3.NewAuthorizationClient(serve(t, extauthz.New(rig.Checker(t), ready, zap.NewNop()), "tcp"))
	good := rig.Good(t, nil)
	for name, x := range map[string]struct {
		extensions map[string]string
		code       codes.Code
		status     int32
	}{
		"none":             {nil, codes.OK, 0},
		"scope":            {map[string]string{"scope": "read write"}, codes.OK, 0},
		"both":             {map[string]string{"scope": "read", "max_stale": "1m"}, codes.OK, 0},
		"scope missing":    {map[string]string{"scope": "read delete"}, codes.PermissionDenied, 403},
		"staler than that": {map[string]string{"max_stale": "5s"}, codes.Unavailable, 503},
		"scope empty":      {map[string]string{"scope": ""}, codes.InvalidArgument, 400},
		"max_stale empty":  {map[string]string{"max_stale": ""}, codes.InvalidArgument, 400},
		"misspelt":         {map[string]string{"scopes": "delete"}, codes.InvalidArgument, 400},
		"another's":        {map[string]string{"scope": "read", "virtual_host": "a"}, codes.InvalidArgument, 400},
	} {
		answer := ask(t, c, request(good, x.extensions))
		if got := codes.Code(answer.GetStatus().GetCode()); got != x.code || int32(answer.GetDeniedResponse().GetStatus().GetCode()) != x.status {
			t.Errorf("%s: %s, %d", name, got, answer.GetDeniedResponse().GetStatus().GetCode())
		}
	}
}

// A call that describes no request is answered, and the answer is a denial.
func TestUndescribed(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	c := authv3.NewAuthorizationClient(serve(t, extauthz.New(rig.Checker(t), ready, zap.NewNop()), "tcp"))
	for name, r := range map[string]*authv3.CheckRequest{
		"nothing":       {},
		"no request":    {Attributes: &authv3.AttributeContext{}},
		"no http":       {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
		"only demanded": {Attributes: &authv3.AttributeContext{ContextExtensions: map[string]string{"scope": "read"}}},
	} {
		answer := ask(t, c, r)
		if codes.Code(answer.GetStatus().GetCode()) != codes.InvalidArgument || answer.GetDeniedResponse().GetStatus().GetCode() != 400 {
			t.Errorf("%s: %v", name, answer)
		}
	}
}

// What the filters behind are told: the same of every answer, and of a denial nothing
// about who asked.
func TestDynamicMetadata(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	asOf := time.Now().Add(-3 * time.Second)
	rig.View.Set(asOf, true)
	c := authv3.NewAuthorizationClient(serve(t, extauthz.New(rig.Checker(t), ready, zap.NewNop()), "tcp"))
	expires := time.Now().Add(5 * time.Minute).Unix()
	for reason, x := range map[string]struct {
		token string
		want  map[string]any
	}{
		"good": {rig.Good(t, tokentest.Object{"exp": expires, "sub": "älice"}), map[string]any{
			"subject": "älice", "session": "sid-1", "client": "demo", "scope": "read write", "expires": float64(expires),
		}},
		"malformed": {"a.b.c", map[string]any{"subject": "", "session": "", "client": "", "scope": "", "expires": nil}},
	} {
		got := ask(t, c, request(x.token, nil)).GetDynamicMetadata().AsMap()
		roles, _ := got["roles"].([]any)
		if (len(roles) == 2 && roles[0] == "admin" && roles[1] == "user") != (reason == "good") {
			t.Errorf("%s: roles %v", reason, got["roles"])
		}
		delete(got, "roles")
		x.want["reason"], x.want["fresh_as_of"] = reason, asOf.UTC().Format("2006-01-02T15:04:05.000Z")
		if !maps.Equal(got, x.want) {
			t.Errorf("%s:\n got %v\nwant %v", reason, got, x.want)
		}
	}
}

// Health is what readiness is when it is asked for; whoever watches is told of changes,
// and of the end.
func TestHealth(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	var up atomic.Bool
	s := extauthz.New(rig.Checker(t), func() error {
		if up.Load() {
			return nil
		}
		return errors.New("not caught up")
	}, zap.NewNop())
	c := healthv1.NewHealthClient(serve(t, s, "tcp"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch, err := c.Watch(ctx, &healthv1.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"})
	if err != nil {
		t.Fatal(err)
	}
	become := func(want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
			if got, err := c.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service}); err != nil || got.GetStatus() != want {
				t.Errorf("%q: %v, %v; want %s", service, got, err, want)
			}
		}
		list, err := c.List(t.Context(), &healthv1.HealthListRequest{})
		if err != nil || len(list.GetStatuses()) != 2 || list.GetStatuses()[""].GetStatus() != want {
			t.Errorf("%v, %v", list, err)
		}
		if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
			t.Errorf("watching: %v, %v; want %s", got, err, want)
		}
	}
	become(healthv1.HealthCheckResponse_NOT_SERVING)
	up.Store(true)
	become(healthv1.HealthCheckResponse_SERVING)
	up.Store(false)
	become(healthv1.HealthCheckResponse_NOT_SERVING)
	up.Store(true)
	become(healthv1.HealthCheckResponse_SERVING)
	if _, err := c.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("another service: %v", err)
	}
	stranger, err := c.Watch(ctx, &healthv1.HealthCheckRequest{Service: "other"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := stranger.Recv(); err != nil || got.GetStatus() != healthv1.HealthCheckResponse_SERVICE_UNKNOWN {
		t.Errorf("watching another service: %v, %v", got, err)
	}
	// Those who watch do not hold up the end.
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("at the end: %v, %v", got, err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("after the end: %v", err)
	}
}

// judge answers as its verdict says.
type judge struct {
	*verify.Verifier
	verdict func() gate.Decision
}

func (j judge) Judge(context.Context, string, gate.Ask) (verify.Claims, gate.Decision) {
	return verify.Claims{}, j.verdict()
}

func over(t *testing.T, verdict func() gate.Decision) *front.Checker {
	t.Helper()
	rig := verifytest.New(t, gate.DefaultPolicy())
	c, err := front.NewChecker(front.Config{Realm: "orders", Within: time.Minute, MaxInFlight: 10}, judge{rig.Verifier, verdict})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A panic denies, ends neither process nor connection, and nothing of the request gets
// into the log.
func TestPanic(t *testing.T) {
	core, logged := observer.New(zapcore.DebugLevel)
	const secret = "a-token-that-nobody-may-see"
	s := extauthz.New(over(t, func() gate.Decision { panic("about " + secret) }), ready, zap.New(core))
	c := authv3.NewAuthorizationClient(serve(t, s, "tcp"))
	for range 2 {
		answer := ask(t, c, request(secret, nil))
		if codes.Code(answer.GetStatus().GetCode()) != codes.Unavailable || answer.GetDeniedResponse().GetStatus().GetCode() != 503 {
			t.Errorf("%v", answer)
		}
	}
	if logged.Len() != 2 {
		t.Errorf("%d lines in the log, want 2", logged.Len())
	}
	for _, line := range logged.All() {
		text, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "m"}).EncodeEntry(line.Entry, line.Context)
		if err != nil || strings.Contains(text.String(), secret) {
			t.Errorf("%s, %v", text, err)
		}
	}
}

func TestPanicOfHealth(t *testing.T) {
	s := extauthz.New(over(t, nil), func() error { panic("readiness") }, zap.NewNop())
	c := healthv1.NewHealthClient(serve(t, s, "tcp"))
	if _, err := c.Check(t.Context(), &healthv1.HealthCheckRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
	watch, err := c.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
}

// What is larger than any request that Envoy takes is not even read.
func TestTooLarge(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	c := authv3.NewAuthorizationClient(serve(t, extauthz.New(rig.Checker(t), ready, zap.NewNop()), "tcp"))
	r := request(rig.Good(t, nil), nil)
	r.Attributes.Request.Http.Headers["x-large"] = strings.Repeat("a", 60<<10)
	if answer := ask(t, c, r); codes.Code(answer.GetStatus().GetCode()) != codes.OK {
		t.Errorf("60 KiB of headers: %v", answer)
	}
	r.Attributes.Request.Http.Body = strings.Repeat("a", 256<<10)
	if _, err := c.Check(t.Context(), r); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("with a body: %v", err)
	}
	r.Attributes.Request.Http.Body = ""
	if answer := ask(t, c, r); codes.Code(answer.GetStatus().GetCode()) != codes.OK {
		t.Errorf("afterwards: %v", answer)
	}
}

// A call under way is answered before the server ends; a connection that is none yet
// does not hold it up for longer than it was given.
func TestShutdown(t *testing.T) {
	called, answer := make(chan struct{}), make(chan struct{})
	s := extauthz.New(over(t, func() gate.Decision {
		close(called)
		<-answer
		return gate.Decision{Verdict: gate.Allow, Reason: gate.ReasonGood}
	}), ready, zap.NewNop())
	c := authv3.NewAuthorizationClient(serve(t, s, "tcp"))
	got := make(chan error, 1)
	go func() {
		r, err := c.Check(t.Context(), request("a", nil))
		if err == nil && r.GetOkResponse() == nil {
			err = errors.New("denied")
		}
		got <- err
	}()
	<-called
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while a call is under way: %v", err)
	}
	close(answer)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Errorf("the call under way: %v", err)
	}
}

func TestCloseCutsOff(t *testing.T) {
	s := extauthz.New(over(t, nil), ready, zap.NewNop())
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the other end has closed it
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// Who is told to end before it began has ended.
func TestServeAfterClose(t *testing.T) {
	s := extauthz.New(over(t, nil), ready, zap.NewNop())
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener: %v", err)
	}
}
