package keycloak

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the realm's file says.
const (
	app      = "shop-app"
	api      = "https://api.example"
	callback = "http://127.0.0.1:8090/callback"
)

// passwords are those of its users.
func passwords() map[string]string {
	return map[string]string{"anna": "correct-horse-1", "bert": "battery-staple-2"}
}

// realm is one of Keycloak's, as those see it who log in.
type realm struct {
	keycloak  *server
	name      string
	algorithm string // of its tokens
}

// issuer is its `iss`.
func (r realm) issuer() string { return r.keycloak.url + "/realms/" + r.name }

func (r realm) endpoint(name string) string { return r.issuer() + "/protocol/openid-connect/" + name }

// session is what somebody has who is logged in.
type session struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`

	browser *http.Client
}

// claimSet is what a token says. Nobody's signature is looked at here.
type claimSet map[string]any

func part(t *testing.T, token string, n int) claimSet {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		t.Fatal(err)
	}
	var c claimSet
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// text is a claim that has to be a string that is not empty.
func (c claimSet) text(t *testing.T, name string) string {
	t.Helper()
	s, ok := c[name].(string)
	if !ok || s == "" {
		t.Fatalf("%s is %v", name, c[name])
	}
	return s
}

// time is a claim that has to be a time.
func (c claimSet) time(t *testing.T, name string) time.Time {
	t.Helper()
	f, ok := c[name].(float64)
	if !ok {
		t.Fatalf("%s is %v", name, c[name])
	}
	return time.Unix(int64(f), 0)
}

func (s session) claim(t *testing.T, name string) string {
	t.Helper()
	return part(t, s.Access, 1).text(t, name)
}

func (s session) kid(t *testing.T) string {
	t.Helper()
	return part(t, s.Access, 0).text(t, "kid")
}

// grant asks the token endpoint.
func (r realm) grant(t *testing.T, browser *http.Client, values url.Values) session {
	t.Helper()
	values.Set("client_id", app)
	a := send(t.Context(), browser, http.MethodPost, r.endpoint("token"), form(), values.Encode()).want(t, http.StatusOK)
	s := session{browser: browser}
	if err := json.Unmarshal(a.body, &s); err != nil || s.Access == "" || s.Refresh == "" || s.ID == "" {
		t.Fatalf("no tokens in %s (%v)", a, err)
	}
	return s
}

// direct logs a user in without a browser.
func (r realm) direct(t *testing.T, user string) session {
	t.Helper()
	return r.grant(t, plain(), url.Values{"grant_type": {"password"}, "scope": {"openid"}, "username": {user}, "password": {passwords()[user]}})
}

func (r realm) refresh(t *testing.T, s session) session {
	t.Helper()
	return r.grant(t, s.browser, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.Refresh}})
}

// formAction is where the login page sends what is typed.
var formAction = regexp.MustCompile(`<form[^>]+id="kc-form-login"[^>]+action="([^"]+)"`)

// login logs a user in with a browser of his own: authorization code with PKCE.
func (r realm) login(t *testing.T, user string) session {
	t.Helper()
	browser := plain()
	browser.Jar = &jar{cookies: map[string]*http.Cookie{}}
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	page := send(t.Context(), browser, http.MethodGet, r.endpoint("auth")+"?"+url.Values{
		"client_id": {app}, "response_type": {"code"}, "scope": {"openid"}, "redirect_uri": {callback}, "state": {rand.Text()}, "nonce": {rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode(), http.Header{}, "").want(t, http.StatusOK)
	action := formAction.FindSubmatch(page.body)
	if action == nil {
		t.Fatalf("no login form in %s", page)
	}
	sent := send(t.Context(), browser, http.MethodPost, html.UnescapeString(string(action[1])), form(),
		url.Values{"username": {user}, "password": {passwords()[user]}, "credentialId": {""}}.Encode()).want(t, http.StatusFound)
	back, err := url.Parse(sent.header.Get("Location"))
	if err != nil || back.Query().Get("code") == "" {
		t.Fatalf("sent to %s: %v", sent.header.Get("Location"), err)
	}
	return r.grant(t, browser, url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {callback}, "code_verifier": {verifier},
	})
}

// logout is what the application does when its user logs out: RP-initiated logout.
func (r realm) logout(t *testing.T, s session) {
	t.Helper()
	send(t.Context(), s.browser, http.MethodGet, r.endpoint("logout")+"?"+url.Values{
		"id_token_hint": {s.ID}, "post_logout_redirect_uri": {callback},
	}.Encode(), http.Header{}, "").want(t, http.StatusFound)
}

// logoutByRefreshToken is what applications without a browser do at Keycloak.
func (r realm) logoutByRefreshToken(t *testing.T, s session) {
	t.Helper()
	send(t.Context(), plain(), http.MethodPost, r.endpoint("logout"), form(),
		url.Values{"client_id": {app}, "refresh_token": {s.Refresh}}.Encode()).want(t, http.StatusNoContent)
}

// alive reports whether Keycloak itself still knows the session.
func (r realm) alive(ctx context.Context, s session) bool {
	return send(ctx, plain(), http.MethodPost, r.endpoint("token"), form(),
		url.Values{"client_id": {app}, "grant_type": {"refresh_token"}, "refresh_token": {s.Refresh}}.Encode()).status == http.StatusOK
}

// jar keeps the cookies of one host. Like a browser, and unlike the one of net/http, it
// gives those marked Secure to http on the loopback interface, too.
type jar struct {
	mu      sync.Mutex
	cookies map[string]*http.Cookie
}

// SetCookies implements [http.CookieJar].
func (j *jar) SetCookies(_ *url.URL, cookies []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range cookies {
		if c.MaxAge < 0 || c.Value == "" {
			delete(j.cookies, c.Name)
			continue
		}
		j.cookies[c.Name] = c
	}
}

// Cookies implements [http.CookieJar].
func (j *jar) Cookies(*url.URL) (all []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.cookies {
		all = append(all, &http.Cookie{Name: c.Name, Value: c.Value})
	}
	return all
}
