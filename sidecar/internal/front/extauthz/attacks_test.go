package extauthz_test

import (
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/extauthz"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// Whatever is refused is a denial in Check's answer. The call itself fails only for
// messages beyond the bound, which no proxy with Envoy's own bounds sends.
func TestAttacks(t *testing.T) {
	for name, raw := range map[string]bool{"joined": false, "raw": true} {
		t.Run(name, func(t *testing.T) {
			fronttest.Attacks(t, func(t *testing.T, check *front.Checker) fronttest.Do {
				c := serve(t, extauthz.New(check, ready, zap.NewNop()), "tcp")
				return envoy{authv3.NewAuthorizationClient(c), raw}.do
			})
		})
	}
}

// Who tells of a request in two ways is not believed in either, also where one of them
// would do, and where the rules would let it pass without a token.
func TestToldTwice(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	c := authv3.NewAuthorizationClient(serve(t, extauthz.New(rig.Checker(t, route.Rule{Match: []string{"/public/"}, Anonymous: true}), ready, zap.NewNop()), "tcp"))
	good, bad := "Bearer "+rig.Good(t, nil), "Bearer a.b.c"
	type fields = []*corev3.HeaderValue
	raw := func(value string) *corev3.HeaderValue {
		return &corev3.HeaderValue{Key: "authorization", RawValue: []byte(value)}
	}
	for name, x := range map[string]struct {
		joined map[string]string
		raw    fields
		path   string
		want   codes.Code
	}{
		"joined":                 {map[string]string{"authorization": good}, nil, "/", codes.OK},
		"raw":                    {nil, fields{raw(good)}, "/", codes.OK},
		"as a value":             {nil, fields{{Key: "Authorization", Value: good}}, "/", codes.OK},
		"value and raw value":    {nil, fields{{Key: "authorization", Value: bad, RawValue: []byte(good)}}, "/", codes.InvalidArgument},
		"raw value and value":    {nil, fields{{Key: "authorization", Value: good, RawValue: []byte(bad)}}, "/", codes.InvalidArgument},
		"two raw":                {nil, fields{raw(good), raw(bad)}, "/", codes.InvalidArgument},
		"two raw, one in value":  {nil, fields{raw(good), {Key: "Authorization", Value: bad}}, "/", codes.InvalidArgument},
		"two spellings":          {map[string]string{"authorization": good, "Authorization": bad}, nil, "/", codes.InvalidArgument},
		"both":                   {map[string]string{"authorization": good}, fields{raw(good)}, "/", codes.InvalidArgument},
		"joined good, raw bad":   {map[string]string{"authorization": good}, fields{raw(bad)}, "/", codes.InvalidArgument},
		"joined bad, raw good":   {map[string]string{"authorization": bad}, fields{raw(good)}, "/", codes.InvalidArgument},
		"joined good, raw other": {map[string]string{"authorization": good}, fields{{Key: "accept", RawValue: []byte("*/*")}}, "/", codes.InvalidArgument},
		"joined other, raw good": {map[string]string{":path": "/"}, fields{raw(good)}, "/", codes.InvalidArgument},
		"both, public":           {map[string]string{":path": "/public/"}, fields{{Key: ":path", RawValue: []byte("/")}}, "/public/", codes.InvalidArgument},
		"one, public":            {map[string]string{":path": "/public/"}, nil, "/public/", codes.OK},
		"no headers at all":      {nil, nil, "/", codes.Unauthenticated},
	} {
		answer := ask(t, c, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "api.example", Path: x.path, Headers: x.joined, HeaderMap: &corev3.HeaderMap{Headers: x.raw}},
		}}})
		if got := codes.Code(answer.GetStatus().GetCode()); got != x.want || (answer.GetOkResponse() != nil) != (x.want == codes.OK) {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
}

// While nothing is enforced, a request told in two ways loses the look-alikes of both.
func TestToldTwiceInShadow(t *testing.T) {
	policy := gate.DefaultPolicy()
	policy.Shadow = true
	rig := verifytest.New(t, policy)
	c := authv3.NewAuthorizationClient(serve(t, extauthz.New(rig.Checker(t), ready, zap.NewNop()), "tcp"))
	answer := ask(t, c, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "api.example", Path: "/", Headers: map[string]string{"x_auth_subject": "root"},
			HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "x_auth_roles", RawValue: []byte("root")}}},
		},
	}}})
	if removed := answer.GetOkResponse().GetHeadersToRemove(); len(removed) != 2 || removed[0] != "x_auth_subject" || removed[1] != "x_auth_roles" {
		t.Errorf("%v", answer)
	}
}

// verbatim sends bytes as a message, whatever they are.
type verbatim struct{ encoding.Codec }

func (verbatim) Name() string { return "proto" }

func (verbatim) Marshal(v any) ([]byte, error) { return v.([]byte), nil } //nolint:forcetypeassert // of no other use

func (verbatim) Unmarshal(b []byte, v any) error { return proto.Unmarshal(b, v.(proto.Message)) } //nolint:forcetypeassert // as above

// By these an application may take a request for another than was judged.
func TestOverridesAreRemoved(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	c := authv3.NewAuthorizationClient(serve(t, extauthz.New(rig.Checker(t), ready, zap.NewNop()), "tcp"))
	for _, name := range []string{"x-http-method-override", "X-HTTP-Method", "x_method.override", "x-original-url"} {
		r := request(rig.Good(t, nil), nil)
		r.GetAttributes().GetRequest().GetHttp().Headers[name] = "DELETE"
		if removed := ask(t, c, r).GetOkResponse().GetHeadersToRemove(); !slices.Contains(removed, name) {
			t.Errorf("%s stays: %v", name, removed)
		}
	}
}

// identityNamed is a message about a request with a header of that name.
func identityNamed(name string) (message []byte) {
	nest := func(number protowire.Number, inner []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), inner)
	}
	return nest(1, nest(4, nest(2, nest(3, nest(1, []byte(name))))))
}

// A message that is none fails the call and nothing else: the next is answered.
func TestNoMessage(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	c := serve(t, extauthz.New(rig.Checker(t), ready, zap.NewNop()), "tcp")
	good, err := proto.Marshal(request(rig.Good(t, nil), nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, message := range map[string][]byte{
		"cut off":   good[:len(good)-1],
		"garbage":   []byte("GET / HTTP/1.1"),
		"not UTF-8": identityNamed("X-Auth-\xff"),
		"too long":  append(good, make([]byte, 1<<20)...),
	} {
		var answer authv3.CheckResponse
		err := c.Invoke(t.Context(), authv3.Authorization_Check_FullMethodName, message, &answer, grpc.ForceCodec(verbatim{}))
		if code := status.Code(err); code != codes.Internal && code != codes.ResourceExhausted {
			t.Errorf("%s: %v, %v", name, &answer, err)
		}
		if answer := ask(t, authv3.NewAuthorizationClient(c), request(rig.Good(t, nil), nil)); answer.GetOkResponse() == nil {
			t.Errorf("%s: then %v", name, answer)
		}
	}
}
