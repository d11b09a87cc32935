package extauthz

import (
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// No message makes Check panic or fail, or lets a token pass that is revoked. What it
// answers can always be sent.
func FuzzCheck(f *testing.F) {
	world := verifytest.New(f, gate.DefaultPolicy())
	world.Revoke(f, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	a := authorization{check: world.Checker(f, route.Rule{Match: []string{"/orders/"}, Ask: gate.Ask{Scopes: []string{"orders"}}})}
	raw := world.Issuer.Good(f, time.Now(), tokentest.Object{"exp": time.Now().Add(time.Hour).Unix()})
	for _, headers := range []map[string]string{nil, {"authorization": "Bearer " + raw}, {"authorization": "Bearer " + raw, "x_auth_subject": "root"}} {
		seed, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			ContextExtensions: map[string]string{"scope": "read"},
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Method: "POST", Host: "api.example", Path: "/orders/5?x=%2f", Headers: headers,
			}},
		}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		var r authv3.CheckRequest
		if proto.Unmarshal(message, &r) != nil {
			return
		}
		answer, err := a.Check(t.Context(), &r)
		if err != nil || answer.GetStatus().GetCode() == 0 || answer.GetDeniedResponse() == nil {
			t.Fatalf("%v, %v", answer, err)
		}
		if _, err := proto.Marshal(answer); err != nil {
			t.Fatal(err)
		}
	})
}
