package grpcmw_test

import (
	"context"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
	"github.com/revocast/revocast/sidecar/verify"
	"github.com/revocast/revocast/sidecar/verify/grpcmw"
)

// service keeps what the last call told it. It is any service that there is, and the
// health service for calls that are unary.
type service struct {
	healthv1.UnimplementedHealthServer
	mu     sync.Mutex
	told   metadata.MD
	claims verify.Claims
	known  bool
}

func (s *service) learn(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told, _ = metadata.FromIncomingContext(ctx)
	s.claims, s.known = verify.FromContext(ctx)
}

// last is what the last call told, which is then forgotten.
func (s *service) last() (told metadata.MD, c verify.Claims, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.told, s.claims, s.known = nil, verify.Claims{}, false }()
	return s.told, s.claims, s.known
}

func (s *service) any(_ any, stream grpc.ServerStream) error {
	s.learn(stream.Context())
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	return stream.SendMsg(new(emptypb.Empty))
}

// Check is a unary call.
func (s *service) Check(ctx context.Context, _ *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	s.learn(ctx)
	return &healthv1.HealthCheckResponse{}, nil
}

// serve puts the service up behind an interceptor, on TCP.
func serve(t *testing.T, i *grpcmw.Interceptor) (*grpc.ClientConn, *service) {
	t.Helper()
	s, address := listen(t, i)
	c, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // what it was doing is over
	return c, s
}

func listen(t *testing.T, i *grpcmw.Interceptor) (behind *service, address string) {
	t.Helper()
	s := &service{}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(i.Unary), grpc.StreamInterceptor(i.Stream), grpc.UnknownServiceHandler(s.any))
	healthv1.RegisterHealthServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// statuses are what the codes mean to HTTP.
var statuses = map[codes.Code]int{
	codes.OK: 200, codes.InvalidArgument: 400, codes.Unauthenticated: 401, codes.PermissionDenied: 403, codes.Unavailable: 503,
}

// A call is always a POST, and its path has two segments. So here, on the wire, the first
// segment is what the method is in the scripts: "GET host/x" becomes a call of "/GET/x",
// and a rule for "GET /x" one for "/GET/x". Nothing else of a script changes, and none of
// its answers.
var (
	requestLine = regexp.MustCompile(`(?m)^(GET|HEAD|POST) ([^/ ]+)(/.*)$`)
	matches     = regexp.MustCompile(`match=(\S+)`)
)

func calls(script string) string {
	script = requestLine.ReplaceAllString(script, "POST $2/$1$3")
	return matches.ReplaceAllStringFunc(script, func(match string) string {
		var patterns []string
		for pattern := range strings.SplitSeq(strings.TrimPrefix(match, "match="), ",") {
			method, rest, one := strings.Cut(pattern, "_")
			methods := []string{"GET", "HEAD", "POST"}
			switch {
			case !one:
				rest = pattern
			case method == http.MethodGet: // takes HEAD, too
				methods = methods[:2]
			default:
				methods = []string{method}
			}
			host, path, _ := strings.Cut(rest, "/")
			for _, m := range methods {
				patterns = append(patterns, host+"/"+m+"/"+path)
			}
		}
		return "match=" + strings.Join(patterns, ",")
	})
}

// The interceptor answers as all fronts do, over a real connection.
func TestScripts(t *testing.T) {
	for name, script := range fronttest.Scripts(t) {
		t.Run(name, func(t *testing.T) {
			want := calls(script)
			got := fronttest.Play(t, want, func(t *testing.T, check *front.Checker) fronttest.Do {
				conn, s := serve(t, grpcmw.Over(check))
				return func(t *testing.T, r fronttest.Request) fronttest.Response {
					t.Helper()
					return call(t, conn, s, r)
				}
			})
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func call(t *testing.T, conn *grpc.ClientConn, s *service, r fronttest.Request) fronttest.Response {
	t.Helper()
	sent := metadata.MD{}
	for name, values := range r.Header {
		sent.Append(name, values...)
	}
	var header, trailer metadata.MD
	err := conn.Invoke(metadata.NewOutgoingContext(t.Context(), sent), r.Target, new(emptypb.Empty), new(emptypb.Empty),
		grpc.CallAuthority(r.Host), grpc.Header(&header), grpc.Trailer(&trailer))
	code, ok := statuses[status.Code(err)]
	if !ok {
		t.Fatalf("%s: %v", r.Target, err)
	}
	told, claims, known := s.last()
	if (code == http.StatusOK) != (told != nil) {
		t.Errorf("%d; the service was called: %t", code, told != nil)
	}
	response := fronttest.Response{Status: code, Header: http.Header{}}
	for name, values := range metadata.Join(header, trailer) {
		response.Header[http.CanonicalHeaderKey(name)] = values
	}
	if told != nil {
		response.Application = http.Header{}
		for name, values := range told {
			response.Application[http.CanonicalHeaderKey(name)] = values
		}
		if subject := response.Application.Get("X-Auth-Subject"); string(claims.Subject) != subject || known != (subject != "") {
			t.Errorf("the context says %q, %t; the metadata %q", claims.Subject, known, subject)
		}
	}
	return response
}

// Made by its public constructor it does what its options say, to unary calls and to
// streams.
func TestNew(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	i, err := grpcmw.New(rig.Verifier, grpcmw.Realm("orders"), grpcmw.Within(time.Minute), grpcmw.MaxInFlight(10), grpcmw.Rules(
		verify.Rule{Match: []string{"/grpc.health.v1.Health/List"}, Anonymous: true},
	), grpcmw.Rules( // all hold
		verify.Rule{Match: []string{"/orders.v1.Orders/"}, Ask: verify.Ask{Scopes: []string{"orders"}}},
	))
	if err != nil {
		t.Fatal(err)
	}
	conn, s := serve(t, i)
	rig.Revoke(t, events.KindSession, "sid-2", time.Now().Add(time.Hour))
	good, ended := "Bearer "+rig.Good(t, nil), "Bearer "+rig.Good(t, tokentest.Object{"sid": "sid-2"})
	for name, c := range map[string]struct {
		method        string
		authorization []string
		code          codes.Code
		message       string
	}{
		"good":           {"/grpc.health.v1.Health/Check", []string{good}, codes.OK, ""},
		"revoked":        {"/grpc.health.v1.Health/Check", []string{ended}, codes.Unauthenticated, "The access token was revoked"},
		"none":           {"/grpc.health.v1.Health/Check", nil, codes.Unauthenticated, "no_credentials"},
		"two":            {"/grpc.health.v1.Health/Check", []string{good, good}, codes.InvalidArgument, "The request carries credentials more than once"},
		"anonymous":      {"/grpc.health.v1.Health/List", nil, codes.Unimplemented, "method List not implemented"},
		"stream":         {"/users.v1.Users/Get", []string{good}, codes.OK, ""},
		"stream revoked": {"/users.v1.Users/Get", []string{ended}, codes.Unauthenticated, "The access token was revoked"},
		"stream, scope":  {"/orders.v1.Orders/Cancel", []string{good}, codes.PermissionDenied, "The access token lacks a required scope"},
	} {
		sent := metadata.MD{"authorization": c.authorization, "x-auth-subject": {"root"}, "x_auth_roles": {"root"}}
		var trailer metadata.MD
		err := conn.Invoke(metadata.NewOutgoingContext(t.Context(), sent), c.method, new(emptypb.Empty), new(emptypb.Empty), grpc.Trailer(&trailer))
		if got := status.Convert(err); got.Code() != c.code || got.Message() != c.message {
			t.Errorf("%s: %v", name, err)
		}
		challenged := len(trailer["www-authenticate"]) == 1 && strings.HasPrefix(trailer["www-authenticate"][0], `Bearer realm="orders"`)
		if challenged != (c.message != "" && c.code != codes.Unimplemented) {
			t.Errorf("%s: %v", name, trailer)
		}
		told, _, _ := s.last()
		if subject := told["x-auth-subject"]; told != nil && (len(subject) != 1 || subject[0] != "alice" || told["x_auth_roles"] != nil) {
			t.Errorf("%s: the service is told %v", name, told)
		}
	}
}

// What is judged too late, or too much at once, is UNAVAILABLE and says when to come
// again.
func TestStale(t *testing.T) {
	rig := verifytest.New(t, gate.Policy{StaleAfter: 30 * time.Second})
	i, err := grpcmw.New(rig.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	conn, _ := serve(t, i)
	rig.View.Set(time.Now().Add(-time.Minute), true)
	var trailer metadata.MD
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+rig.Good(t, nil))
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{}, grpc.Trailer(&trailer))
	if status.Code(err) != codes.Unavailable || len(trailer["retry-after"]) != 1 || trailer["retry-after"][0] != "5" || len(trailer["x-revocast-fresh-as-of"]) != 1 {
		t.Errorf("%v, %v", err, trailer)
	}
}

func TestNewRefuses(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	for name, option := range map[string]grpcmw.Option{
		"realm":  grpcmw.Realm("a\r\nb"),
		"within": grpcmw.Within(0),
		"flight": grpcmw.MaxInFlight(0),
		"rules":  grpcmw.Rules(verify.Rule{Match: []string{"nowhere"}}),
	} {
		if _, err := grpcmw.New(rig.Verifier, option); err == nil {
			t.Errorf("%s: it passes", name)
		}
	}
}
