package introspect_test

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/introspect"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
	"github.com/revocast/revocast/sidecar/internal/verifytest"
)

type object = tokentest.Object

const (
	client, secret       = "orders-api", "k2Qv0Vd0lZ3mXw7eJt1uHg"
	oddClient, oddSecret = "a:b+c%", "p:a ss%+ü&="
	mesh                 = "api.mesh.example" // has a certificate alone
)

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func clientsFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "clients.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// endpoint is a handler as a server would call it.
type endpoint struct{ http.Handler }

func newEndpoint(t *testing.T, check *front.Checker) endpoint {
	t.Helper()
	clients, err := introspect.ReadClients(clientsFile(t, `
- {id: `+client+`, secret_hash: "`+hash(secret)+`", certificate: true}
- {id: "`+oddClient+`", secret_hash: "`+hash(oddSecret)+`"}
- {id: `+mesh+`, certificate: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	return endpoint{introspect.New(clients, check)}
}

type reply struct {
	status int
	header http.Header
	body   string
}

// claims are those of an answer that says active.
func (r reply) claims(t *testing.T) (said map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &said); err != nil {
		t.Fatal(err)
	}
	return said
}

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

// change is what a test changes of a request.
type change func(*http.Request)

func basic(id, secret string) change {
	return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret))))
}

func header(name string, values ...string) change {
	return func(r *http.Request) { r.Header[name] = values }
}

// by is a connection whose certificate TLS has verified.
func by(name string) change {
	return func(r *http.Request) {
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: name}}}}}
	}
}

// unverified is one whose certificate nobody has.
func unverified(name string) change {
	return func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: name}}}}
	}
}

func nothing(*http.Request) {}

func (e endpoint) ask(t *testing.T, v url.Values, changes ...change) reply {
	t.Helper()
	return e.raw(t, v.Encode(), changes...)
}

func (e endpoint) raw(t *testing.T, body string, changes ...change) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/introspect", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, f := range changes {
		f(r)
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d: headers %v", w.Code, w.Header())
	}
	return reply{w.Code, w.Header(), w.Body.String()}
}

// Everything that is known of a token that passes, and {"active":false} once it does not.
func TestAnswer(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	e := newEndpoint(t, rig.Checker(t))
	now := time.Now()
	token := rig.Good(t, object{
		"aud": []string{tokentest.Audience, "https://other.example"}, "acr": "urn:two", "amr": []string{"pwd", "otp"}, "auth_time": now.Add(-time.Minute).Unix(), "nbf": now.Add(-time.Second).Unix(),
	})
	said := e.ask(t, form("token", token, "token_type_hint", "refresh_token"), basic(client, secret)).claims(t)
	for name, want := range map[string]any{
		"active": true, "token_type": "Bearer", "iss": string(rig.Issuer.ID()), "sub": "alice", "client_id": "demo", "sid": "sid-1", "scope": "read write",
		"acr": "urn:two", "auth_time": float64(now.Add(-time.Minute).Unix()), "nbf": float64(now.Add(-time.Second).Unix()),
	} {
		if said[name] != want {
			t.Errorf("%s: %v, want %v", name, said[name], want)
		}
	}
	for name, want := range map[string]int{"aud": 2, "amr": 2, "roles": 2} {
		if list, ok := said[name].([]any); !ok || len(list) != want {
			t.Errorf("%s: %v", name, said[name])
		}
	}
	for _, name := range []string{"exp", "iat", "jti"} {
		if said[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if one := e.ask(t, form("token", rig.Good(t, object{"sid": nil})), basic(client, secret)).claims(t); one["aud"] != tokentest.Audience || one["sid"] != nil {
		t.Errorf("one audience, no session: %v", one)
	}
	rig.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	for name, raw := range map[string]string{"revoked": token, "garbage": "x", "unknown": "a.b.c"} {
		if got := e.ask(t, form("token", raw), basic(client, secret)); got.status != http.StatusOK || got.body != `{"active":false}` {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// While nothing is enforced, what is not genuine is not called active all the same.
func TestShadow(t *testing.T) {
	policy := gate.DefaultPolicy()
	policy.Shadow = true
	rig := verifytest.New(t, policy)
	e := newEndpoint(t, rig.Checker(t))
	rig.Revoke(t, events.KindSession, "sid-1", time.Now().Add(time.Hour))
	if said := e.ask(t, form("token", rig.Good(t, nil)), basic(client, secret)).claims(t); said["active"] != true {
		t.Errorf("revoked: %v", said)
	}
	if got := e.ask(t, form("token", "x"), basic(client, secret)); got.body != `{"active":false}` {
		t.Errorf("garbage: %+v", got)
	}
}

// Nobody is waited for who does not send its form, and whose header proves nothing is told
// so without it.
func TestFormThatDoesNotCome(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	server := httptest.NewServer(newEndpoint(t, rig.Checker(t)))
	t.Cleanup(server.Close)
	text := form("token", rig.Good(t, nil)).Encode()
	send := func(r *http.Request, body string) (net.Conn, *bufio.Reader) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		head := "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
		if given := r.Header.Get("Authorization"); given != "" {
			head += "Authorization: " + given + "\r\n"
		}
		_, err = fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, len(text), body)
		if err = errors.Join(err, conn.SetDeadline(time.Now().Add(30*time.Second))); err != nil {
			t.Fatal(err)
		}
		return conn, bufio.NewReader(conn)
	}
	for name, c := range map[string]struct {
		who    change
		status int
	}{
		"nobody":       {nothing, http.StatusRequestTimeout},
		"known":        {basic(client, secret), http.StatusRequestTimeout},
		"wrong secret": {basic(client, "x"), http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{}}
			c.who(r)
			_, in := send(r, "t")
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := answer.Body.Close(); err != nil || answer.StatusCode != c.status {
				t.Errorf("%d, %v, want %d", answer.StatusCode, err, c.status)
			}
		})
	}
	r := &http.Request{Header: http.Header{}}
	basic(client, secret)(r)
	conn, in := send(r, text[:10])
	for _, rest := range []string{text[10:], ""} { // and another request on the same connection
		if _, err := io.WriteString(conn, rest); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil || !strings.HasPrefix(string(body), `{"active":true,`) {
			t.Fatalf("%d %s, %v", answer.StatusCode, body, err)
		}
		if rest == "" {
			break
		}
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s",
			r.Header.Get("Authorization"), len(text), text)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoAsks(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	e := newEndpoint(t, rig.Checker(t))
	token := rig.Good(t, nil)
	var refused string
	for name, c := range map[string]struct {
		form   url.Values
		who    change
		status int
	}{
		"basic":                      {form(), basic(client, secret), 200},
		"basic, encoded":             {form(), basic(oddClient, oddSecret), 200},
		"basic, id in the form":      {form("client_id", client), basic(client, secret), 200},
		"post":                       {form("client_id", client, "client_secret", secret), nothing, 200},
		"bearer":                     {form(), header("Authorization", "Bearer "+secret), 200},
		"certificate":                {form(), by(mesh), 200},
		"certificate, id":            {form("client_id", mesh), by(mesh), 200},
		"certificate and secret":     {form(), func(r *http.Request) { by(client)(r); basic(client, secret)(r) }, 200},
		"secret by another's mesh":   {form(), func(r *http.Request) { by("proxy.mesh")(r); basic(client, secret)(r) }, 200},
		"secret, other's proof":      {form(), func(r *http.Request) { by(mesh)(r); basic(client, secret)(r) }, 401},
		"certificate, other id":      {form("client_id", client), by(mesh), 401},
		"certificate of a secret's":  {form(), by(oddClient), 401},
		"certificate of nobody":      {form(), by("nobody"), 401},
		"certificate without a name": {form(), by(""), 401},
		"certificate not verified":   {form(), unverified(mesh), 401},
		"nobody":                     {form(), nothing, 401},
		"id alone":                   {form("client_id", client), nothing, 401},
		"secret alone":               {form("client_secret", secret), nothing, 401},
		"wrong secret":               {form(), basic(client, "x"), 401},
		"empty secret":               {form(), basic(client, ""), 401},
		"no secret has been given":   {form(), basic(mesh, ""), 401},
		"wrong by post":              {form("client_id", client, "client_secret", "x"), nothing, 401},
		"unknown":                    {form(), basic("nobody", secret), 401},
		"another's secret":           {form(), basic(oddClient, secret), 401},
		"wrong bearer":               {form(), header("Authorization", "Bearer x"), 401},
		"bearer, an access token":    {form(), header("Authorization", "Bearer "+token), 401},
		"empty bearer":               {form(), header("Authorization", "Bearer "), 401},
		"other scheme":               {form(), header("Authorization", "Digest "+secret), 401},
		"basic, not base64":          {form(), header("Authorization", "Basic "+client+":"+secret), 401},
		"basic, no colon":            {form(), header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(client))), 401},
		"basic, bad escape":          {form(), header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("%zz:x"))), 401},
		"basic, huge":                {form(), basic(client, strings.Repeat("x", 1<<15)), 401},
		"post, huge":                 {form("client_id", client, "client_secret", strings.Repeat("x", 2000)), nothing, 401},
		"two methods":                {form("client_id", client, "client_secret", secret), basic(client, secret), 400},
		"two headers":                {form(), header("Authorization", "Bearer "+secret, "Bearer "+secret), 400},
		"two ids":                    {form("client_id", mesh), basic(client, secret), 400},
	} {
		t.Run(name, func(t *testing.T) {
			c.form.Set("token", token)
			got := e.ask(t, c.form, c.who)
			if got.status != c.status {
				t.Fatalf("%+v, want %d", got, c.status)
			}
			switch got.status {
			case 200:
				if got.claims(t)["active"] != true {
					t.Errorf("%+v", got)
				}
			case 401:
				all := got.body + strings.Join(got.header["Www-Authenticate"], "|")
				if got.body != `{"error":"invalid_client"}` || len(got.header["Www-Authenticate"]) != 2 || refused != "" && all != refused {
					t.Errorf("%+v: failures differ", got)
				}
				refused = all
			case 400:
				if got.body != `{"error":"invalid_request"}` {
					t.Errorf("%+v", got)
				}
			}
		})
	}
}

func TestForm(t *testing.T) {
	rig := verifytest.New(t, gate.DefaultPolicy())
	e := newEndpoint(t, rig.Checker(t))
	token := rig.Good(t, nil)
	good := form("token", token).Encode()
	for name, c := range map[string]struct {
		body   string
		change change
		status int
	}{
		"good":                  {good, nothing, 200},
		"charset":               {good, header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), 200},
		"unknown parameter":     {good + "&resource=x", nothing, 200},
		"unknown hint":          {good + "&token_type_hint=pigeon", nothing, 200},
		"no token":              {"token_type_hint=access_token", nothing, 400},
		"empty token":           {"token=", nothing, 400},
		"empty body":            {"", nothing, 400},
		"token twice":           {good + "&token=x", nothing, 400},
		"hint twice":            {good + "&token_type_hint=a&token_type_hint=b", nothing, 400},
		"semicolon":             {good + ";token=x", nothing, 400},
		"bad escape":            {"token=%zz", nothing, 400},
		"not UTF-8":             {good + "&x=%ff", nothing, 400},
		"in the query":          {"", func(r *http.Request) { r.URL.RawQuery = good }, 400},
		"in the query, too":     {good, func(r *http.Request) { r.URL.RawQuery = "x=y" }, 400},
		"JSON":                  {`{"token":"x"}`, header("Content-Type", "application/json"), 400},
		"no type":               {good, func(r *http.Request) { r.Header.Del("Content-Type") }, 400},
		"two types":             {good, header("Content-Type", "application/x-www-form-urlencoded", "text/plain"), 400},
		"too large":             {"token=" + strings.Repeat("x", 64<<10), nothing, 413},
		"get":                   {"", func(r *http.Request) { r.Method = http.MethodGet }, 405},
		"signed only":           {good, header("Accept", "application/token-introspection+jwt"), 406},
		"signed only, weighted": {good, header("Accept", "application/token-introspection+jwt;q=0.9"), 406},
		"signed or not":         {good, header("Accept", "application/token-introspection+jwt, application/json;q=0.5"), 200},
		"anything":              {good, header("Accept", "*/*"), 200},
	} {
		t.Run(name, func(t *testing.T) {
			got := e.raw(t, c.body, basic(client, secret), c.change)
			if got.status != c.status || c.status >= 400 && got.body != `{"error":"invalid_request"}` {
				t.Errorf("%+v, want %d", got, c.status)
			}
			if strings.Contains(got.body, token) {
				t.Error("the answer repeats the token")
			}
		})
	}
}

func TestReadClients(t *testing.T) {
	good, err := introspect.ReadClients(clientsFile(t, `[{id: a, secret_hash: "`+hash(secret)+`"}]`))
	if err != nil || good.Empty() || !(introspect.Clients{}).Empty() {
		t.Errorf("%+v, %v", good, err)
	}
	for text, want := range map[string]string{
		"":                                   "no clients",
		"[]":                                 "no clients",
		"{id: a, certificate: true}":         "no list",
		"[{id: a, secret: hush-hush}]":       "line 1",
		"[{id: a, certificate: hush-hush}]":  "line 1",
		"[{id: a}]":                          "by nothing",
		"[{certificate: true}]":              "client 1: id",
		"[{id: \"a b\", certificate: true}]": "client 1: id",
		"[{id: " + strings.Repeat("a", 256) + ", certificate: true}]":                                "client 1: id",
		"[{id: a, certificate: true}, {id: a, certificate: true}]":                                   "client 2: its id is given twice",
		"[{id: a, secret_hash: hush-hush}]":                                                          "secret_hash: want",
		"[{id: a, secret_hash: \"sha256:hush\"}]":                                                    "secret_hash: want",
		"[{id: a, secret_hash: \"" + hash(secret) + "=\"}]":                                          "secret_hash: want",
		"[{id: a, secret_hash: \"" + strings.TrimPrefix(hash(secret), "sha256:") + "\"}]":            "secret_hash: want",
		"[{id: a, secret_hash: \"" + hash("") + "\"}]":                                               "the hash of nothing",
		"[{id: a, secret_hash: \"" + hash("x") + "\"}, {id: b, secret_hash: \"" + hash("x") + "\"}]": "another client has it",
		"[{id: a, certificate: true}]\n---\n[]":                                                      "more than one document",
		"# " + strings.Repeat("a", 1<<20):                                                            "larger than",
	} {
		got, err := introspect.ReadClients(clientsFile(t, text))
		if err == nil || !got.Empty() || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	if _, err := introspect.ReadClients("/nowhere"); err == nil {
		t.Error("a file that is not there")
	}
}
