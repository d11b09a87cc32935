package extauthz

import (
	"bytes"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// A length is written in as many bytes as it takes, and no more.
func TestNested(t *testing.T) {
	for _, size := range []int{0, 1, 1<<7 - 1, 1 << 7, 1<<14 - 1, 1 << 14, 1 << 21} {
		content := bytes.Repeat([]byte{'x'}, size)
		b := nested([]byte("before"), 5, func(b []byte) []byte { return append(b, content...) })
		want := protowire.AppendBytes(protowire.AppendTag([]byte("before"), 5, protowire.BytesType), content)
		if !bytes.Equal(b, want) {
			t.Errorf("%d bytes: begins %x, want %x", size, b[:min(len(b), 20)], want[:min(len(want), 20)])
		}
	}
}

// BenchmarkCheck is what ext_authz adds to grpc-go for a token that was seen before.
func BenchmarkCheck(b *testing.B) {
	rig := verifytest.New(b, gate.DefaultPolicy())
	a := authorization{rig.Checker(b)}
	headers := []*corev3.HeaderValue{
		{Key: ":authority", RawValue: []byte("api.example")},
		{Key: ":path", RawValue: []byte("/orders/5")},
		{Key: ":method", RawValue: []byte("GET")},
		{Key: ":scheme", RawValue: []byte("https")},
		{Key: "accept", RawValue: []byte("application/json")},
		{Key: "user-agent", RawValue: []byte("Mozilla/5.0")},
		{Key: "x-request-id", RawValue: []byte("0198f3a2-7c1e-7b3d-9a4f-000000000001")},
		{Key: "authorization", RawValue: []byte("Bearer " + rig.Issuer.Good(b, time.Now(), tokentest.Object{"exp": time.Now().Add(time.Hour).Unix()}))},
	}
	message, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "api.example", Path: "/orders/5", HeaderMap: &corev3.HeaderMap{Headers: headers}},
	}}})
	if err != nil {
		b.Fatal(err)
	}
	check := func() reply {
		q := new(question)
		if err := q.read(message); err != nil {
			b.Fatal(err)
		}
		return a.answer(b.Context(), q)
	}
	if parse(b, check()).GetOkResponse() == nil {
		b.Fatal("it does not pass")
	}
	b.ReportAllocs()
	for b.Loop() {
		check()
	}
}
