package extauthz

import (
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

// A message is read as the generated types read it, where these can; no message makes
// Check panic or lets a token pass that is revoked; and they can read every answer.
func FuzzCheck(f *testing.F) {
	world := verifytest.New(f, gate.DefaultPolicy())
	world.Revoke(f, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	routes, err := route.New([]route.Rule{{Match: []string{"/orders/"}, Ask: gate.Ask{Scopes: []string{"orders"}}}})
	if err != nil {
		f.Fatal(err)
	}
	// Nobody waits for the keys that a broken token names.
	check, err := front.NewChecker(front.Config{Realm: "orders", Routes: routes, Within: time.Millisecond, MaxInFlight: 100}, world.Verifier)
	if err != nil {
		f.Fatal(err)
	}
	a := authorization{check: check}
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
		var q question
		var theirs authv3.CheckRequest
		fault := q.read(message)
		if proto.Unmarshal(message, &theirs) == nil {
			if fault != nil {
				t.Fatalf("%v, but it can be read: %v", fault, &theirs)
			}
			alike(t, &q, theirs.GetAttributes())
		}
		if fault != nil {
			return
		}
		answer := parse(t, a.answer(t.Context(), &q))
		if answer.GetStatus().GetCode() == 0 || answer.GetDeniedResponse() == nil {
			t.Fatalf("%v", answer)
		}
	})
}

// alike holds what was read of a message against what the generated types say of it. Where
// it tells of anything twice they have the last, or both merged, and we refuse.
func alike(t *testing.T, q *question, theirs *authv3.AttributeContext) {
	t.Helper()
	asked := theirs.GetRequest().GetHttp()
	if q.described != (asked != nil) || q.joined != (len(asked.GetHeaders()) > 0) || q.raw != (len(asked.GetHeaderMap().GetHeaders()) > 0) {
		t.Fatalf("%+v is not %v", q, asked)
	}
	if !q.twice && (q.method != asked.GetMethod() || q.host != asked.GetHost() || q.path != asked.GetPath()) {
		t.Fatalf("%+v is not %v", q, asked)
	}
	if len(q.demands) != len(theirs.GetContextExtensions()) {
		t.Fatalf("%+v is not %v", q, theirs)
	}
	for name, demand := range theirs.GetContextExtensions() {
		if given := q.demands[name]; len(given) == 0 || given[len(given)-1] != demand {
			t.Fatalf("%+v is not %v", q, theirs)
		}
	}
	has := func(list []string, name, value string) {
		if !slices.Contains(list, value) {
			t.Fatalf("%+v lacks %s %q", q, name, value)
		}
	}
	field := func(name, value string) {
		switch {
		case strings.EqualFold(name, "Authorization"):
			has(q.authorization, name, value)
		case front.IsIdentity(name), front.IsOverride(name):
			has(q.unwanted, name, name)
		}
	}
	for name, value := range asked.GetHeaders() {
		field(name, value)
	}
	for _, h := range asked.GetHeaderMap().GetHeaders() {
		if len(h.GetRawValue()) > 0 {
			field(h.GetKey(), string(h.GetRawValue()))
		}
		if h.GetValue() != "" || len(h.GetRawValue()) == 0 {
			field(h.GetKey(), h.GetValue())
		}
	}
}

// parse reads an answer, all of it.
func parse(t testing.TB, r reply) *authv3.CheckResponse {
	t.Helper()
	answer := new(authv3.CheckResponse)
	if err := (proto.UnmarshalOptions{}).Unmarshal(r, answer); err != nil {
		t.Fatal(err)
	}
	err := protorange.Range(answer.ProtoReflect(), func(p protopath.Values) error {
		if m, ok := p.Index(-1).Value.Interface().(protoreflect.Message); ok && len(m.GetUnknown()) > 0 {
			t.Errorf("%s: unknown %x", p.Path, m.GetUnknown())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}
