package keycloak

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/revocast/revocast/services/stack"
)

// front is one of the ways in which sidecars are asked.
type front struct {
	name string
	ask  func(t *testing.T, token string) verdict
}

// verdict is what a front says.
type verdict struct {
	// allowed and refused: it let the token pass, or called it invalid. Neither is any
	// other answer, which said has.
	allowed, refused bool
	// identity is what the application is told, by the headers' names.
	identity map[string]string
	said     string
}

// What a client says of itself, and no application may hear.
const forgedName, forgedSubject = "X-Auth-Subject", "root"

// request is what a client sends.
func request(token string) http.Header {
	header := bearer(token)
	header.Set(forgedName, forgedSubject)
	return header
}

// identityOf gives the identity headers that say something.
func identityOf(h http.Header) map[string]string {
	told := map[string]string{}
	for name := range h {
		if value := h.Get(name); strings.HasPrefix(name, "X-Auth-") && value != "" {
			told[name] = value
		}
	}
	return told
}

func judged(status int, challenge string, identity map[string]string) verdict {
	return verdict{
		allowed: status == http.StatusOK, identity: identity, said: fmt.Sprintf("%d %s", status, challenge),
		refused: status == http.StatusUnauthorized && strings.Contains(challenge, `error="invalid_token"`),
	}
}

// fronts are those of a sidecar that stands beside an application.
func fronts(t *testing.T, sidecar *stack.Server) []front {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+sidecar.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the sidecar may be gone
	envoy := authv3.NewAuthorizationClient(conn)
	return []front{
		{"forward-auth", func(t *testing.T, token string) verdict {
			t.Helper()
			a := send(t.Context(), plain(), http.MethodGet, sidecar.URL()+"/auth", request(token), "")
			return judged(a.status, a.header.Get("WWW-Authenticate"), identityOf(a.header))
		}},
		{"ext_authz", func(t *testing.T, token string) verdict {
			t.Helper()
			return askAsEnvoy(t, envoy, token)
		}},
	}
}

func askAsEnvoy(t *testing.T, envoy authv3.AuthorizationClient, token string) verdict {
	t.Helper()
	sent := request(token)
	headers := map[string]string{}
	for name := range sent {
		headers[strings.ToLower(name)] = sent.Get(name)
	}
	// Right after the sidecar's start the connection may still be the one to its end.
	r, err := envoy.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: http.MethodGet, Host: "api.example", Path: "/orders/5", Headers: headers,
		}},
	}}, grpc.WaitForReady(true))
	if err != nil {
		return verdict{said: err.Error()}
	}
	if denied := r.GetDeniedResponse(); denied != nil {
		challenge := ""
		for _, h := range denied.GetHeaders() {
			if strings.EqualFold(h.GetHeader().GetKey(), "WWW-Authenticate") {
				challenge = h.GetHeader().GetValue()
			}
		}
		return judged(int(denied.GetStatus().GetCode()), challenge, nil)
	}
	for _, h := range r.GetOkResponse().GetHeaders() {
		sent.Set(h.GetHeader().GetKey(), h.GetHeader().GetValue())
	}
	for _, name := range r.GetOkResponse().GetHeadersToRemove() {
		sent.Del(name)
	}
	return judged(http.StatusOK, "", identityOf(sent))
}

// passes wants every front to let one of Keycloak's tokens pass, and to tell the
// application of it what it says.
func (w *world) passes(t *testing.T, token string) {
	t.Helper()
	said := part(t, token, 1)
	access, _ := said["realm_access"].(map[string]any)
	list, _ := access["roles"].([]any)
	var roles []string
	for _, role := range list {
		name, _ := role.(string)
		roles = append(roles, name)
	}
	want := map[string]string{
		"X-Auth-Subject": said.text(t, "sub"), "X-Auth-Session": said.text(t, "sid"), "X-Auth-Client": app, "X-Auth-Scope": said.text(t, "scope"),
		"X-Auth-Roles": strings.Join(roles, ","), "X-Auth-Expires": strconv.FormatInt(said.time(t, "exp").Unix(), 10),
	}
	for _, f := range w.fronts {
		if v := f.ask(t, token); !v.allowed || !maps.Equal(v.identity, want) {
			t.Errorf("%s: %s, the application was told %v, want %v", f.name, v.said, v.identity, want)
		}
	}
}

// denies wants every front to call a token invalid.
func (w *world) denies(t *testing.T, token string) {
	t.Helper()
	for _, f := range w.fronts {
		if v := f.ask(t, token); !v.refused || len(v.identity) != 0 {
			t.Errorf("%s: %s, the application was told %v, want 401 invalid_token", f.name, v.said, v.identity)
		}
	}
}

// allowing counts the fronts that let a token pass.
func (w *world) allowing(t *testing.T, token string) (n int) {
	t.Helper()
	for _, f := range w.fronts {
		if f.ask(t, token).allowed {
			n++
		}
	}
	return n
}
