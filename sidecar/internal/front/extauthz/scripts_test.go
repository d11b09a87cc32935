package extauthz_test

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/extauthz"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
)

func ready() error { return nil }

// serve puts a server up on a socket and connects to it.
func serve(t *testing.T, s *extauthz.Server, network string) *grpc.ClientConn {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	target := l.Addr().String()
	if network == "unix" {
		target = "unix://" + target
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

// envoy asks as Envoy does, and does to requests what Envoy does when it is answered.
type envoy struct {
	client authv3.AuthorizationClient
	raw    bool // encode_raw_headers
}

func (e envoy) do(t *testing.T, r fronttest.Request) fronttest.Response {
	t.Helper()
	asked := &authv3.AttributeContext_HttpRequest{Method: r.Method, Host: r.Host, Path: r.Target, Protocol: "HTTP/1.1"}
	if e.raw {
		asked.HeaderMap = &corev3.HeaderMap{}
	} else {
		asked.Headers = map[string]string{":method": r.Method, ":path": r.Target, ":authority": r.Host}
	}
	upstream := http.Header{}
	for name, values := range r.Header {
		name = strings.ToLower(name)
		upstream[name] = append(upstream[name], values...)
	}
	for name, values := range upstream {
		if !e.raw {
			// Envoy does so, too, since what is no UTF-8 cannot be sent.
			asked.Headers[name] = strings.ToValidUTF8(strings.Join(values, ","), "!")
			continue
		}
		for _, v := range values {
			asked.HeaderMap.Headers = append(asked.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(v)})
		}
	}
	answer, err := e.client.Check(t.Context(), &authv3.CheckRequest{
		Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: asked}},
	})
	if status.Code(err) == codes.ResourceExhausted {
		return fronttest.Response{Status: http.StatusForbidden} // of Envoy's own, unless it is told otherwise
	}
	if err != nil {
		t.Fatal(err)
	}
	if denied := answer.GetDeniedResponse(); denied != nil {
		if codes.Code(answer.GetStatus().GetCode()) == codes.OK || denied.GetBody() != "" {
			t.Errorf("a denial with code %d and body %q", answer.GetStatus().GetCode(), denied.GetBody())
		}
		return fronttest.Response{Status: int(denied.GetStatus().GetCode()), Header: overwrite(t, http.Header{}, denied.GetHeaders())}
	}
	allowed := answer.GetOkResponse()
	if codes.Code(answer.GetStatus().GetCode()) != codes.OK || allowed == nil {
		t.Fatalf("neither allowed nor denied: %v", answer.GetStatus())
	}
	overwrite(t, upstream, allowed.GetHeaders())
	for _, name := range allowed.GetHeadersToRemove() {
		delete(upstream, strings.ToLower(name))
	}
	application := http.Header{}
	for name, values := range upstream {
		application[http.CanonicalHeaderKey(name)] = values
	}
	response := overwrite(t, http.Header{}, allowed.GetResponseHeadersToAdd())
	if fresh := application.Get(front.FreshAsOf); fresh != response.Get(front.FreshAsOf) {
		t.Errorf("fresh as of %q to the application, %q to the client", fresh, response.Get(front.FreshAsOf))
	}
	return fronttest.Response{Status: http.StatusOK, Header: response, Application: application}
}

// overwrite sets fields, which in Envoy have names in lower case when they are the
// request's. Those of a response are read by their canonical names.
func overwrite(t *testing.T, header http.Header, options []*corev3.HeaderValueOption) http.Header {
	t.Helper()
	for _, o := range options {
		if o.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD || !o.GetKeepEmptyValue() {
			t.Errorf("%s would not replace what a client has sent", o.GetHeader().GetKey())
		}
		delete(header, strings.ToLower(o.GetHeader().GetKey()))
		header.Set(o.GetHeader().GetKey(), o.GetHeader().GetValue())
	}
	return header
}

// The front answers as all others do, over TCP and over a Unix socket, whichever of
// its two ways Envoy uses to tell headers.
func TestScripts(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for name, raw := range map[string]bool{"joined": false, "raw": true} {
			t.Run(network+" "+name, func(t *testing.T) {
				fronttest.Run(t, func(t *testing.T, check *front.Checker) fronttest.Do {
					c := serve(t, extauthz.New(check, ready, zap.NewNop()), network)
					return envoy{authv3.NewAuthorizationClient(c), raw}.do
				})
			})
		}
	}
}
