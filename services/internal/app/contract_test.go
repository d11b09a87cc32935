package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/oauth"
)

const outcome = "X-Revocast-Refresh"

// What a login answers, and what its token says (RFC 6749 section 5.1, RFC 9068).
func (p pair) loginAnswers(t *testing.T) {
	began := time.Now().Unix()
	got := p.a.postJSON(t, "/v1/login", "username", alice, "password", alicePassword, "client_id", mobile, "scope", "read").want(t, 200)
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != jsonType {
		t.Errorf("got %v", got.header)
	}
	p.b.login(t, "username", carol, "password", carolPassword)
	mine := decode[tokens](t, got)
	if mine.Type != "Bearer" || mine.Scope != "read" || mine.ExpiresIn < 290 || mine.ExpiresIn > 300 || len(mine.Session) != 36 || mine.Refresh == "" {
		t.Errorf("got %+v", mine)
	}
	f := newForger(t, p.a, mine.Access)
	if f.head["typ"] != "at+jwt" || f.head["alg"] != "ES256" {
		t.Errorf("header %v", f.head)
	}
	number := func(name string) int64 {
		n, err := f.claims[name].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	said := members{"iss": p.a.Issuer, "aud": audience, "client_id": mobile, "sid": mine.Session, "scope": "read", "tsq": f.claims["ssq"]}
	for name, want := range said {
		if f.claims[name] != want {
			t.Errorf("%s is %v, want %v", name, f.claims[name], want)
		}
	}
	if iat, exp := number("iat"), number("exp"); iat < began || exp != iat+300 || number("auth_time") != iat {
		t.Errorf("claims %v", f.claims)
	}
	if roles := fmt.Sprint(f.claims["roles"]); roles != "[reader]" {
		t.Errorf("roles %s", roles)
	}
}

// A refresh is answered once, and again the same at whichever issuer (INV-4).
func (p pair) refreshesRotate(t *testing.T) {
	first := p.a.login(t)
	got := p.b.refresh(t, first.Refresh, mobile).want(t, 200)
	if got.header.Get(outcome) != "rotated" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the first time: %v", got.header)
	}
	second := decode[tokens](t, got)
	if second.Refresh == first.Refresh || second.Access == first.Access || second.Session != first.Session || second.Scope != first.Scope {
		t.Errorf("got %+v after %+v", second, first)
	}
	for _, i := range []*issuer{p.a, p.b} {
		got := i.refresh(t, first.Refresh, mobile).want(t, 200)
		again := decode[tokens](t, got)
		if got.header.Get(outcome) != "concurrent" || again.Refresh != second.Refresh {
			t.Errorf("again: %v, %+v", got.header, again)
		}
		i.call(t, "GET", "/v1/session", again.Access).want(t, 200)
	}
	p.a.refresh(t, second.Refresh, mobile).want(t, 200)
}

func (p pair) deviceSecretsAreAskedFor(t *testing.T) {
	const secret = "AAAAAAAAAAAAAAAAAAAAAA"
	mine := p.a.login(t, "device_secret", secret)
	refresh := func(secret string) reply {
		return p.b.postForm(t, "/oauth/token", "grant_type", "refresh_token", "client_id", mobile, "refresh_token", mine.Refresh, "device_secret", secret)
	}
	next := decode[tokens](t, refresh(secret).want(t, 200))
	for _, wrong := range []string{"", "x", secret + "A", strings.ToLower(secret)} {
		isInvalidGrant(t, refresh(wrong))
	}
	if again := decode[tokens](t, refresh(secret).want(t, 200)); again.Refresh != next.Refresh {
		t.Error("the owner's refresh token has changed")
	}
}

// RFC 7009.
func (p pair) tokensAreRevoked(t *testing.T) {
	revoke := func(token, hint, client string) reply {
		return p.b.postForm(t, "/oauth/revoke", "token", token, "token_type_hint", hint, "client_id", client)
	}
	for _, hint := range []string{"", "access_token", "refresh_token", "id_token", "x"} {
		mine := p.a.login(t)
		isOAuthError(t, "another client's refresh token", revoke(mine.Refresh, hint, tablet), 400, oauth.UnauthorizedClient)
		isOAuthError(t, "another client's access token", revoke(mine.Access, hint, tablet), 400, oauth.UnauthorizedClient)
		p.a.call(t, "GET", "/v1/session", mine.Access).want(t, 200)
		for range 2 {
			got := revoke(mine.Access, hint, mobile).want(t, 200)
			if got.body != "" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("got %v %q", got.header, got.body)
			}
		}
		refuses(t, "the revoked access token", p.a.call(t, "GET", "/v1/session", mine.Access))
		fresh := decode[tokens](t, p.a.refresh(t, mine.Refresh, mobile).want(t, 200))
		for range 2 {
			revoke(mine.Refresh, hint, mobile).want(t, 200) // an older generation, as good as any
		}
		refuses(t, "the session's access token", p.a.call(t, "GET", "/v1/session", fresh.Access))
		isInvalidGrant(t, p.a.refresh(t, fresh.Refresh, mobile))
	}
	isOAuthError(t, "no token", p.b.postForm(t, "/oauth/revoke", "client_id", mobile), 400, oauth.InvalidRequest)
	for _, unknown := range []string{"x", "a.b.c", strings.Repeat("x", 4096)} {
		revoke(unknown, "", mobile).want(t, 200)
	}
}

// Revoking again what is revoked costs the fleet nothing: every entry of the feed goes
// to every sidecar, and whoever is logged in could fill it.
func (p pair) revokingAgainAnnouncesNothing(t *testing.T) {
	mine, other := p.a.login(t), p.a.login(t)
	once := func(what string, revoke func() reply, status int) {
		t.Helper()
		before := p.announced(t)
		for range 5 {
			revoke().want(t, status)
		}
		if n := p.announced(t) - before; n != 1 {
			t.Errorf("%s, five times: %d entries", what, n)
		}
	}
	once("logging out others", func() reply { return p.b.call(t, "DELETE", "/v1/sessions?which=others", mine.Access) }, 204)
	isInvalidGrant(t, p.b.refresh(t, other.Refresh, mobile))
	for _, token := range []string{mine.Access, mine.Refresh} {
		once("revoking a token", func() reply { return p.b.postForm(t, "/oauth/revoke", "token", token, "client_id", mobile) }, 200)
	}
}

// Who is logged in where, and logging out here, there, elsewhere, everywhere.
func (p pair) sessionsAreListedAndEnded(t *testing.T) {
	phone := p.a.login(t, "username", bob, "password", bobPassword, "device_name", "phone")
	laptop := p.b.login(t, "username", bob, "password", bobPassword, "device_name", "läptop", "client_id", tablet)
	type entry struct {
		SID        string    `json:"sid"`
		DeviceName string    `json:"device_name"`
		ClientID   string    `json:"client_id"`
		StartedAt  time.Time `json:"started_at"`
		LastSeenAt time.Time `json:"last_seen_at"`
		Current    bool      `json:"current"`
	}
	list := func(who tokens) []entry {
		t.Helper()
		got := p.b.call(t, "GET", "/v1/sessions", who.Access).want(t, 200)
		if got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %v", got.header)
		}
		return decode[struct{ Sessions []entry }](t, got).Sessions
	}
	both := list(phone)
	if len(both) != 2 || both[0].SID != phone.Session || !both[0].Current || both[1].SID != laptop.Session || both[1].Current ||
		both[1].DeviceName != "läptop" || both[1].ClientID != tablet || time.Since(both[1].StartedAt).Abs() > patience {
		t.Fatalf("got %+v", both)
	}
	me := decode[map[string]any](t, p.b.call(t, "GET", "/v1/session", laptop.Access).want(t, 200))
	if me["sid"] != laptop.Session || me["client_id"] != tablet || me["scope"] != "read" {
		t.Errorf("got %v", me)
	}
	stranger := p.a.login(t)
	for range 2 {
		p.a.call(t, "DELETE", "/v1/sessions/"+phone.Session, stranger.Access).want(t, 204)
		p.a.call(t, "DELETE", "/v1/sessions/"+laptop.Session, phone.Access).want(t, 204)
	}
	if left := list(phone); len(left) != 1 || left[0].SID != phone.Session {
		t.Fatalf("got %+v", left)
	}
	for _, query := range []string{"", "?which=", "?which=mine", "?which=others&which=all", "?Which=all", "?which=ALL"} {
		isProblem(t, query, p.a.call(t, "DELETE", "/v1/sessions"+query, phone.Access), 400)
	}
	next := p.b.login(t, "username", bob, "password", bobPassword)
	p.a.call(t, "DELETE", "/v1/sessions?which=others", next.Access).want(t, 204)
	if left := list(next); len(left) != 1 || left[0].SID != next.Session {
		t.Fatalf("got %+v", left)
	}
	for range 2 {
		got := p.b.call(t, "DELETE", "/v1/session", next.Access).want(t, 204)
		if got.body != "" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %v %q", got.header, got.body)
		}
	}
	p.a.call(t, "GET", "/v1/session", stranger.Access).want(t, 200)
}

func (p pair) passwordsAreChanged(t *testing.T) {
	mine := p.a.login(t, "username", bob, "password", bobPassword)
	for name, c := range map[string]struct {
		current, wanted string
		status          int
	}{
		"wrong":        {"x", "a-new-password", 403},
		"empty":        {"", "a-new-password", 403},
		"someone's":    {alicePassword, "a-new-password", 403},
		"too short":    {bobPassword, "1234567", 400},
		"none":         {bobPassword, "", 400},
		"too long":     {bobPassword, strings.Repeat("x", 1025), 400},
		"a long guess": {strings.Repeat("x", 1025), "a-new-password", 403},
	} {
		got := p.b.changePassword(t, mine, c.current, c.wanted)
		isProblem(t, name, got, c.status)
		leakless(t, name, got, bobPassword, "a-new-password")
	}
	p.b.changePassword(t, mine, bobPassword, "a-new-password").want(t, 204)
	isProblem(t, "the old one", p.a.postJSON(t, "/v1/login", "username", bob, "password", bobPassword, "client_id", mobile), 401)
	p.a.login(t, "username", bob, "password", "a-new-password")
	p.a.changePassword(t, mine, "a-new-password", bobPassword).want(t, 204)
}

// RFC 8414 and RFC 7517.
func (p pair) descriptionsAreTrue(t *testing.T) {
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		got := p.b.call(t, "GET", path, "").want(t, 200)
		about := decode[map[string]any](t, got)
		if about["issuer"] != p.a.Issuer || got.header.Get("Content-Type") != jsonType {
			t.Errorf("%s: %v %s", path, got.header, got.body)
		}
		for _, endpoint := range []string{"token_endpoint", "revocation_endpoint", "jwks_uri"} {
			url, _ := about[endpoint].(string)
			if got := must(t, request{method: "GET", url: url}); !strings.HasPrefix(url, p.a.Issuer+"/") || got.status == 404 {
				t.Errorf("%s is %q, which answers %d", endpoint, url, got.status)
			}
		}
		for name, v := range about {
			if list, ok := v.([]any); ok && len(list) == 0 {
				t.Errorf("%s is empty", name)
			}
		}
	}
	a, b := p.a.call(t, "GET", "/.well-known/jwks.json", "").want(t, 200), p.b.call(t, "GET", "/.well-known/jwks.json", "").want(t, 200)
	if a.body != b.body || a.header.Get("ETag") == "" || !strings.Contains(a.header.Get("Cache-Control"), "max-age=") {
		t.Errorf("%v %s\n%v %s", a.header, a.body, b.header, b.body)
	}
	set := decode[struct{ Keys []map[string]string }](t, a)
	var algorithms []string
	for _, key := range set.Keys {
		algorithms = append(algorithms, key["alg"])
		if key["kid"] == "" || key["use"] != "sig" {
			t.Errorf("got %v", key)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, there := key[private]; there {
				t.Errorf("a published key has the member %q", private)
			}
		}
	}
	if slices.Sort(algorithms); !slices.Equal(algorithms, []string{"ES256", "RS256"}) {
		t.Errorf("algorithms %v", algorithms)
	}
}
