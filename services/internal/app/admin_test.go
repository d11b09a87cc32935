package app_test

import (
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/problem"
)

const revocations = "/admin/v1/revocations"

// Nobody gets past the admin listener without its token, and none of its endpoints
// is on the public one.
func (p pair) strangersAreNoOperators(t *testing.T) {
	mine, operator := p.a.login(t), p.a.operatorToken(t)
	before := p.journal(t)
	for _, e := range []struct{ method, path, body string }{
		{"POST", revocations, object("kind", "all")},
		{"GET", "/admin/v1/subjects/" + p.subject(t, mine) + "/sessions", ""},
		{"POST", "/admin/v1/users", object("username", "mallory", "password", "not-to-be-set-7")},
		{"PUT", "/admin/v1/users/" + p.subject(t, mine) + "/password", object("password", "not-to-be-set-7")},
		{"GET", "/admin/v1/users?username=" + alice, ""},
		{"GET", "/admin/v1/users/" + p.subject(t, mine), ""},
		{"PUT", "/admin/v1/users/" + p.subject(t, mine) + "/roles", `{"roles":["admin"]}`},
		{"PUT", "/admin/v1/users/" + p.subject(t, mine) + "/status", object("status", "disabled")},
		{"GET", "/admin/v1/clients", ""},
		{"PUT", "/admin/v1/clients/" + mobile + "/status", object("status", "disabled")},
	} {
		for name, c := range map[string]struct {
			token string
			code  string
		}{
			"no token":           {"", ""},
			"a wrong token":      {strings.Repeat("A", len(operator)), "invalid_token"},
			"half the token":     {operator[:len(operator)/2], "invalid_token"},
			"a longer token":     {operator + "A", "invalid_token"},
			"in capitals":        {strings.ToUpper(operator), "invalid_token"},
			"an access token":    {mine.Access, "invalid_token"},
			"a refresh token":    {mine.Refresh, "invalid_token"},
			"a password":         {alicePassword, "invalid_token"},
			"a client's secret":  {backendSecret, "invalid_token"},
			"an oversized token": {strings.Repeat("A", 9<<10), "invalid_token"},
		} {
			r := request{method: e.method, url: p.b.admin + e.path, bearer: c.token, contentType: jsonType, body: e.body}
			where := name + " at " + e.path
			got := must(t, r)
			isProblem(t, where, got, 401)
			if challenge := got.header.Get("WWW-Authenticate"); c.code == "" && strings.Contains(challenge, "error=") || !strings.Contains(challenge, c.code) {
				t.Errorf("%s: challenge %q", where, challenge)
			}
			leakless(t, where, got, operator)
		}
		isProblem(t, e.path+" on the public listener", must(t, request{
			method: e.method, url: p.b.public + e.path, bearer: operator, contentType: jsonType, body: e.body,
		}), 404)
	}
	for _, path := range []string{"/v1/session", "/v1/sessions", "/v1/login", "/oauth/token", "/metrics"} {
		isProblem(t, path+" on the admin listener", must(t, request{method: "GET", url: p.b.admin + path, bearer: operator}), 404)
	}
	refuses(t, "the operator's token at a user's endpoint", p.b.call(t, "GET", "/v1/session", operator), operator)
	if n := p.grown(t, before); n != 0 {
		t.Errorf("strangers made the journal grow by %d", n)
	}
}

// Each fault of a revocation is named so that it can be mended.
func (p pair) badRevocationsAreRefused(t *testing.T) {
	const sid = "01935f6a-0c00-7000-8000-000000000001"
	journal, feed := p.journal(t), p.announced(t)
	for name, c := range map[string]struct {
		pairs []string
		says  string
	}{
		"no kind":                   {[]string{"id", "x"}, "kind is one of"},
		"unknown kind":              {[]string{"kind", "device", "id", "x"}, "kind is one of"},
		"kind unknown":              {[]string{"kind", "unknown", "id", "x"}, "kind is one of"},
		"kind in capitals":          {[]string{"kind", "SESSION", "id", sid}, "kind is one of"},
		"no id":                     {[]string{"kind", "token"}, "id has 1 to 512"},
		"empty id":                  {[]string{"kind", "subject", "id", ""}, "id has 1 to 512"},
		"long id":                   {[]string{"kind", "client", "id", strings.Repeat("x", 513)}, "id has 1 to 512"},
		"a line break in the id":    {[]string{"kind", "subject", "id", "a\nb"}, "no control characters"},
		"a zero byte in the id":     {[]string{"kind", "key", "id", "a\x00"}, "no control characters"},
		"everything with an id":     {[]string{"kind", "all", "id", "x"}, "has no id"},
		"a session that is no UUID": {[]string{"kind", "session", "id", "x"}, "UUID"},
		"a session in capitals":     {[]string{"kind", "session", "id", strings.ToUpper(sid)}, "UUID"},
		"a session by wildcard":     {[]string{"kind", "session", "id", "*"}, "UUID"},
		"all sessions by wildcard":  {[]string{"kind", "session", "id", ">"}, "UUID"},
		"unknown scope":             {[]string{"kind", "subject", "id", "x", "scope", "refresh-tokens"}, "scope is"},
		"scope of a token":          {[]string{"kind", "token", "id", "x", "scope", "access-tokens"}, "scope is for the other kinds"},
		"scope of a session":        {[]string{"kind", "session", "id", sid, "scope", "sessions"}, "scope is for the other kinds"},
		"a client but one session":  {[]string{"kind", "client", "id", "x", "except_session", sid}, "except_session is for"},
		"all but one session":       {[]string{"kind", "all", "except_session", sid}, "except_session is for"},
		"a long exception":          {[]string{"kind", "subject", "id", "x", "except_session", strings.Repeat("x", 513)}, "except_session has"},
		"a line break there":        {[]string{"kind", "subject", "id", "x", "except_session", "a\nb"}, "except_session has"},
		"a long reason":             {[]string{"kind", "subject", "id", "x", "reason", strings.Repeat("x", 257)}, "reason has"},
		"a line break in it":        {[]string{"kind", "subject", "id", "x", "reason", "a\r\nb"}, "reason has"},
		"a long issuer":             {[]string{"kind", "subject", "id", "x", "issuer", strings.Repeat("x", 513)}, "issuer has"},
		"a tab in the issuer":       {[]string{"kind", "subject", "id", "x", "issuer", "a\tb"}, "issuer has"},
		"a member too many":         {[]string{"kind", "subject", "id", "x", "colour", "red"}, "does not know"},
	} {
		got := p.b.operate(t, "POST", revocations, object(c.pairs...))
		isProblem(t, name, got, 400)
		if detail := decode[struct{ Detail string }](t, got).Detail; !strings.Contains(detail, c.says) {
			t.Errorf("%s: detail %q does not say %q", name, detail, c.says)
		}
	}
	if p.grown(t, journal) != 0 || p.announced(t) != feed {
		t.Error("a refused revocation left something behind")
	}
}

// All six kinds can be revoked, ours and others', and the answer says what was done.
func (p pair) sixKindsCanBeRevoked(t *testing.T) {
	const other = "https://other.example"
	for _, c := range [][]string{
		{"kind", "token", "id", "jti-7"},
		{"kind", "session", "id", "01935f6a-0c00-7000-8000-000000000001"},
		{"kind", "subject", "id", "nobody"},
		{"kind", "subject", "id", "* > .", "scope", "access-tokens", "except_session", "x"},
		{"kind", "client", "id", "no-client"},
		{"kind", "key", "id", "no-key"},
		{"kind", "token", "id", "*", "issuer", other},
		{"kind", "session", "id", "any > * form", "issuer", other},
		{"kind", "subject", "id", strings.Repeat("ü", 256), "issuer", other},
		{"kind", "client", "id", "x", "issuer", other, "reason", "broken_contract"},
		{"kind", "key", "id", "x", "issuer", other},
		{"kind", "all", "issuer", other},
		{"kind", "all", "scope", "access-tokens"},
		{"kind", "all"},
	} {
		got := p.a.operate(t, "POST", revocations, object(c...)).want(t, 201)
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != jsonType {
			t.Errorf("%v: %v", c, got.header)
		}
		answer := decode[struct {
			RevocationID string    `json:"revocation_id"`
			Kind, ID     string    `json:",omitempty"`
			Position     string    `json:"position"`
			ExpiresAt    time.Time `json:"expires_at"`
			Reason       string    `json:"reason"`
		}](t, got)
		id := ""
		if len(c) > 2 && c[2] == "id" {
			id = c[3]
		}
		if answer.Kind != c[1] || answer.ID != id || len(answer.RevocationID) != 36 || !strings.HasPrefix(answer.Position, "0:") ||
			time.Until(answer.ExpiresAt) < 5*time.Minute || answer.Reason == "" {
			t.Errorf("%v: %s", c, got.body)
		}
	}
	p.b.call(t, "GET", "/v1/session", p.a.login(t).Access).want(t, 200)
}

// Users can be made once, and not badly.
func (p pair) operatorsMakeUsers(t *testing.T) {
	const users = "/admin/v1/users"
	for name, body := range map[string]string{
		"no name":             object("password", "long-enough"),
		"an empty name":       object("username", "", "password", "long-enough"),
		"a space before it":   object("username", " eve", "password", "long-enough"),
		"a control character": object("username", "e\x07ve", "password", "long-enough"),
		"a hidden character":  object("username", "e\u200bve", "password", "long-enough"),
		"one more hidden":     object("username", "e\u0085ve", "password", "long-enough"),
		"a long name":         object("username", strings.Repeat("x", 129), "password", "long-enough"),
		"no password":         object("username", "eve"),
		"a short password":    object("username", "eve", "password", "short-7"),
		"a long password":     object("username", "eve", "password", strings.Repeat("x", 1025)),
		"a role with a comma": `{"username":"eve","password":"long-enough","roles":["a,b"]}`,
		"an empty role":       `{"username":"eve","password":"long-enough","roles":[""]}`,
		"a role twice":        `{"username":"eve","password":"long-enough","roles":["a","a"]}`,
		"many roles":          `{"username":"eve","password":"long-enough","roles":["` + strings.Repeat(`a","`, 64) + `a"]}`,
	} {
		isProblem(t, name, p.a.operate(t, "POST", users, body), 400)
	}
	made := p.a.operate(t, "POST", users, `{"username":"eve","password":"long-enough","roles":["a"]}`).want(t, 201)
	sub := decode[struct{ Sub string }](t, made).Sub
	isProblem(t, "the same name", p.b.operate(t, "POST", users, object("username", "eve", "password", "another-one")), 409)
	isProblem(t, "nobody's password", p.b.operate(t, "PUT", users+"/nobody/password", object("password", "another-one")), 404)
	mine := p.b.login(t, "username", "eve", "password", "long-enough")
	if got := p.subject(t, mine); got != sub {
		t.Errorf("logged in as %s, made %s", got, sub)
	}
	list := decode[struct {
		Sessions []struct {
			SID, ClientID string
			Current       bool
		}
	}](t, p.a.operate(t, "GET", "/admin/v1/subjects/"+sub+"/sessions", "").want(t, 200))
	if len(list.Sessions) != 1 || list.Sessions[0].SID != mine.Session || list.Sessions[0].Current {
		t.Errorf("got %+v", list)
	}
	got := p.a.operate(t, "GET", "/admin/v1/subjects/nobody/sessions", "").want(t, 200)
	if strings.TrimSpace(got.body) != `{"sessions":[]}` || got.header.Get("Content-Type") == problem.MediaType {
		t.Errorf("nobody's sessions: %s", got.body)
	}
}
