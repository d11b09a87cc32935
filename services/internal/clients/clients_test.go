package clients_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/session"
)

func defaults() session.Policy {
	return session.Policy{AccessTTL: 5 * time.Minute, IdleLimit: 720 * time.Hour, Grace: 10 * time.Second}
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "clients.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func load(t *testing.T, text string) clients.Registry {
	t.Helper()
	r, err := clients.Load(write(t, text), defaults())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const secret = "demo-service-secret"

func demo() string {
	return `
clients:
  - id: demo-mobile
    type: public
    grants: [refresh_token]
    first_party_login: true
    scopes: [read, write]
    audiences: ["https://api.revocast.test"]
  - id: demo-web
    type: public
    grants: [authorization_code, refresh_token]
    redirect_uris: ["http://127.0.0.1:8090/callback", "https://app.example/cb", "com.example.app:/cb", "http://[::1]/cb"]
    audiences: ["https://api.revocast.test", "https://other.test"]
    replay: access-only
    access_ttl: 15m
    refresh_idle: 0s
    refresh_absolute: 24h
    rotation_grace: 500ms
  - id: demo-service
    type: confidential
    secret_hash: ` + clients.HashSecret(secret) + `
    grants: [client_credentials]
    introspection: true
    audiences: ["https://api.revocast.test"]
    replay: refuse
`
}

func TestLoad(t *testing.T) {
	r := load(t, demo())
	mobile, ok := r.Find("demo-mobile")
	want := defaults()
	want.OnReplay, want.OnNetworkChange, want.OnSuspicion = session.ReplaySuccessor, session.Ignore, session.Ignore
	want.RolesClaim, want.Scopes, want.Audiences = "roles", []string{"read", "write"}, []string{"https://api.revocast.test"}
	if !ok || !mobile.Public || !mobile.FirstPartyLogin || mobile.Introspection || !reflect.DeepEqual(mobile.Policy, want) {
		t.Errorf("demo-mobile: %+v", mobile)
	}
	if !mobile.Allows(clients.RefreshToken) || mobile.Allows(clients.AuthorizationCode) || mobile.Allows(clients.ClientCredentials) {
		t.Errorf("demo-mobile has grants %v", mobile.Grants)
	}
	web, ok := r.Find("demo-web")
	want = session.Policy{
		AccessTTL: 15 * time.Minute, AbsoluteLimit: 24 * time.Hour, Grace: 500 * time.Millisecond, OnReplay: session.ReplayAccessOnly,
		OnNetworkChange: session.Ignore, OnSuspicion: session.Ignore, RolesClaim: "roles",
		Scopes: []string{}, Audiences: []string{"https://api.revocast.test", "https://other.test"},
	}
	if !ok || web.FirstPartyLogin || !reflect.DeepEqual(web.Policy, want) || len(web.RedirectURIs) != 4 {
		t.Errorf("demo-web: %+v", web)
	}
	service, ok := r.Find("demo-service")
	if !ok || service.Public || !service.Introspection || service.Policy.OnReplay != session.ReplayRefuse || !service.Allows(clients.ClientCredentials) {
		t.Errorf("demo-service: %+v", service)
	}
	if got := r.MaxAccessTTL(); got != 15*time.Minute {
		t.Errorf("longest access token %s", got)
	}
	if got := r.Audiences(); !slices.Equal(got, []string{"https://api.revocast.test", "https://other.test"}) {
		t.Errorf("audiences %v", got)
	}
	if _, ok := r.Find("nobody"); ok {
		t.Error("nobody was found")
	}
}

func TestAuthenticate(t *testing.T) {
	r := load(t, demo())
	for name, c := range map[string]struct {
		id, secret string
		want       bool
	}{
		"confidential":               {"demo-service", secret, true},
		"wrong secret":               {"demo-service", secret + "x", false},
		"no secret":                  {"demo-service", "", false},
		"the hash as the secret":     {"demo-service", clients.HashSecret(secret), false},
		"public":                     {"demo-mobile", "", true},
		"public with a secret":       {"demo-mobile", secret, false},
		"unknown":                    {"nobody", secret, false},
		"unknown, no secret":         {"nobody", "", false},
		"nobody":                     {"", "", false},
		"another case":               {"Demo-Mobile", "", false},
		"another client's secret, #": {"demo-web", secret, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := r.Authenticate(events.ClientID(c.id), c.secret)
			if ok != c.want || ok && string(got.ID) != c.id || !ok && got.ID != "" {
				t.Errorf("got %q, %t", got.ID, ok)
			}
		})
	}
	if _, ok := (clients.Registry{}).Authenticate("demo-mobile", ""); ok {
		t.Error("the zero Registry knows somebody")
	}
}

func TestZeroClientMayNothing(t *testing.T) {
	var c clients.Client
	if c.Allows(clients.RefreshToken) || c.Public || c.FirstPartyLogin || c.Introspection {
		t.Errorf("it may: %+v", c)
	}
	if s, ok := c.Scope("read"); ok {
		t.Errorf("scope %q", s)
	}
	if a, ok := c.Audience(""); ok {
		t.Errorf("audience %q", a)
	}
}

func TestScope(t *testing.T) {
	c, _ := load(t, demo()).Find("demo-mobile")
	for asked, want := range map[string]string{
		"": "read write", "read": "read", "write read": "write read", "read read write": "read write",
	} {
		if got, ok := c.Scope(asked); !ok || got != want {
			t.Errorf("%q: %q, %t", asked, got, ok)
		}
	}
	for _, asked := range []string{"admin", "read admin", " read", "read ", "read  write", "READ", "read\twrite", "read\n"} {
		if got, ok := c.Scope(asked); ok || got != "" {
			t.Errorf("%q: %q", asked, got)
		}
	}
}

func TestAudience(t *testing.T) {
	c, _ := load(t, demo()).Find("demo-web")
	if got, ok := c.Audience(""); !ok || len(got) != 2 {
		t.Errorf("none asked for: %v, %t", got, ok)
	}
	if got, ok := c.Audience("https://other.test"); !ok || !slices.Equal(got, []string{"https://other.test"}) {
		t.Errorf("one asked for: %v, %t", got, ok)
	}
	for _, asked := range []string{"https://other.test/", "https://evil.test", "https://api.revocast.test https://other.test"} {
		if got, ok := c.Audience(asked); ok || got != nil {
			t.Errorf("%s: %v", asked, got)
		}
	}
}

func TestNewSecret(t *testing.T) {
	s, hash := clients.NewSecret()
	other, _ := clients.NewSecret()
	if s == other || len(s) != 43 || strings.Contains(hash, s) {
		t.Errorf("secrets of %d characters, equal: %t", len(s), s == other)
	}
	r := load(t, "clients:\n  - id: c\n    type: confidential\n    audiences: [a]\n    secret_hash: "+hash+"\n")
	if _, ok := r.Authenticate("c", s); !ok {
		t.Error("the secret does not fit its hash")
	}
}

func TestLoadRefuses(t *testing.T) {
	base := func(change string) string {
		return "clients:\n  - id: c\n    type: public\n    audiences: [a]\n" + change
	}
	confidential := func(change string) string {
		return "clients:\n  - id: c\n    type: confidential\n    audiences: [a]\n" + change
	}
	if _, err := clients.Load(write(t, base("")), defaults()); err != nil {
		t.Fatalf("the pattern itself is refused: %v", err)
	}
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct{ text, want string }{
		"empty":                      {"", "empty"},
		"unknown field":              {base("    secret: hunter2\n"), "unknown field"},
		"no id":                      {"clients:\n  - type: public\n    audiences: [a]\n", "id"},
		"id with a space":            {"clients:\n  - id: a b\n    type: public\n    audiences: [a]\n", "id"},
		"long id":                    {"clients:\n  - id: " + long + "\n    type: public\n    audiences: [a]\n", "id"},
		"two of one id":              {base("  - id: c\n    type: public\n    audiences: [a]\n"), "earlier client"},
		"no type":                    {"clients:\n  - id: c\n    audiences: [a]\n", "type"},
		"another type":               {"clients:\n  - id: c\n    type: Public\n    audiences: [a]\n", "type"},
		"no audience":                {"clients:\n  - id: c\n    type: public\n", "audiences"},
		"audience with a quote":      {"clients:\n  - id: c\n    type: public\n    audiences: ['a\"']\n", "audiences"},
		"empty audience":             {"clients:\n  - id: c\n    type: public\n    audiences: ['']\n", "audiences"},
		"public with a secret":       {base("    secret_hash: " + clients.HashSecret("x") + "\n"), "secret_hash"},
		"public machine":             {base("    grants: [client_credentials]\n"), "client_credentials"},
		"public introspection":       {base("    introspection: true\n"), "introspection"},
		"confidential, no secret":    {confidential(""), "secret_hash"},
		"plain secret":               {confidential("    secret_hash: hunter2\n"), "secret_hash"},
		"hash of another kind":       {confidential("    secret_hash: md5:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU\n"), "secret_hash"},
		"short hash":                 {confidential("    secret_hash: sha256:47DEQpj8HBSa\n"), "secret_hash"},
		"padded hash":                {confidential("    secret_hash: sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=\n"), "secret_hash"},
		"hash with bits to spare":    {confidential("    secret_hash: sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFV\n"), "secret_hash"},
		"hash with a line break":     {confidential("    secret_hash: \"sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hS\\nuFU\"\n"), "secret_hash"},
		"unknown grant":              {base("    grants: [password]\n"), "grants"},
		"grant twice":                {base("    grants: [refresh_token, refresh_token]\n"), "twice"},
		"code without redirect":      {base("    grants: [authorization_code]\n"), "redirect_uris"},
		"redirect without code":      {base("    redirect_uris: ['https://a.example/cb']\n"), "redirect_uris"},
		"redirect with fragment":     {code("https://a.example/cb#x"), "redirect_uris"},
		"redirect, empty fragment":   {code("https://a.example/cb#"), "redirect_uris"},
		"redirect with user":         {code("https://u@a.example/cb"), "redirect_uris"},
		"redirect, plain http":       {code("http://a.example/cb"), "redirect_uris"},
		"redirect, localhost":        {code("http://localhost/cb"), "redirect_uris"},
		"redirect, loopback prefix":  {code("http://127.0.0.1.evil.example/cb"), "redirect_uris"},
		"redirect, no host":          {code("https:///cb"), "redirect_uris"},
		"redirect, relative":         {code("/cb"), "redirect_uris"},
		"redirect, javascript":       {code("javascript:alert(1)"), "redirect_uris"},
		"redirect, data":             {code("data:text/html,x"), "redirect_uris"},
		"redirect, scheme, no dot":   {code("myapp:/cb"), "redirect_uris"},
		"redirect, opaque":           {code("com.example.app:cb"), "redirect_uris"},
		"redirect, not a URI":        {code("https://a b/cb"), "redirect_uris"},
		"redirect, long":             {code("https://a.example/" + long), "redirect_uris"},
		"scope with a space":         {base("    scopes: ['a b']\n"), "scopes"},
		"scope twice":                {base("    scopes: [a, a]\n"), "scopes"},
		"scope with a control":       {base("    scopes: [\"a\\x07\"]\n"), "scopes"},
		"too many scopes":            {base("    scopes: [" + numbers(65) + "]\n"), "scopes"},
		"another replay policy":      {base("    replay: always\n"), "replay"},
		"no access lifetime":         {base("    access_ttl: 0s\n"), "access_ttl"},
		"negative lifetime":          {base("    access_ttl: -5m\n"), "access_ttl"},
		"fraction of a second":       {base("    access_ttl: 1500ms\n"), "access_ttl"},
		"centuries":                  {base("    refresh_idle: 2000000h\n"), "refresh_idle"},
		"negative absolute":          {base("    refresh_absolute: -1s\n"), "refresh_absolute"},
		"an hour's grace":            {base("    rotation_grace: 1h\n"), "rotation_grace"},
		"a number for a duration":    {base("    access_ttl: 300\n"), "access_ttl: want a duration"},
		"a list for a duration":      {base("    access_ttl: [5m]\n"), "wrong type"},
		"beyond what Go can express": {base("    access_ttl: 99999999999999h\n"), "access_ttl: want a duration"},
		"years beyond that":          {base("    refresh_absolute: 65535y\n"), "refresh_absolute: want a duration"},
		"a century":                  {base("    refresh_absolute: 100y\n"), "refresh_absolute of"},
		"half a year":                {base("    refresh_absolute: 0.5y\n"), "refresh_absolute: want a duration"},
		"years and days":             {base("    refresh_absolute: 1y1d\n"), "refresh_absolute: want a duration"},
		"minus a day":                {base("    refresh_absolute: -1d\n"), "refresh_absolute: want a duration"},
		"no access lifetime, said":   {base("    access_ttl: none\n"), "access_ttl of"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := clients.Load(write(t, c.text), defaults())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "clients.yaml") {
				t.Fatalf("got %v, want it to say %q", err, c.want)
			}
			if _, ok := r.Find("c"); ok {
				t.Error("a refused file left a client behind")
			}
			if strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 2000 {
				t.Errorf("%.200q… repeats the file", err)
			}
		})
	}
}

func code(uri string) string {
	return "clients:\n  - id: c\n    type: public\n    audiences: [a]\n    grants: [authorization_code]\n    redirect_uris: ['" + uri + "']\n"
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		_, _ = fmt.Fprintf(&b, "s%d,", i)
	}
	return b.String()
}

func TestLoadNamesEveryFault(t *testing.T) {
	_, err := clients.Load(write(t, "clients:\n  - id: one\n    type: x\n    replay: y\n  - id: two\n    type: z\n"), defaults())
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`client 1 ("one")`, `client 2 ("two")`, "replay", "type", "audiences"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestLoadBadDefaults(t *testing.T) {
	if _, err := clients.Load(write(t, demo()), session.Policy{}); err == nil {
		t.Error("access tokens without a lifetime were accepted")
	}
	if _, err := clients.Load(filepath.Join(t.TempDir(), "none.yaml"), defaults()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := clients.Load(write(t, "clients:\n"+strings.Repeat("  - id: x\n", 10_001)), defaults()); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too many clients: %.100v", err)
	}
}
