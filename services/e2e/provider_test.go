//go:build unix

package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/services/stack"
)

// What the provider calls its API and the client that it logs out.
const (
	foreignAPI   = "https://api.other.test"
	relyingParty = "revocast"
)

// foreignProvider is an OpenID provider that was there before Revocast: it signs RS256
// tokens of the type JWT, which say `sid` and `azp` and know nothing of us.
type foreignProvider struct {
	*httptest.Server

	mu   sync.Mutex
	kid  string
	key  *rsa.PrivateKey
	jwks []map[string]string
}

func newForeignProvider(t *testing.T) *foreignProvider {
	t.Helper()
	p := &foreignProvider{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": p.jwks})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	p.rotate(t)
	return p
}

// rotate signs with a new key; those before are still published.
func (p *foreignProvider) rotate(t *testing.T) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kid, p.key = uuid.NewString(), key
	b64 := base64.RawURLEncoding.EncodeToString
	p.jwks = append(p.jwks, map[string]string{
		"kty": "RSA", "kid": p.kid, "use": "sig", "alg": "RS256", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
	})
}

type claimSet map[string]any

// sign makes a token of the type JWT.
func (p *foreignProvider) sign(t *testing.T, claims claimSet) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(map[string]string{"alg": "RS256", "kid": p.kid, "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// access is an access token of a session of a user with a client; more overrides.
func (p *foreignProvider) access(t *testing.T, sub, sid, client string, more claimSet) string {
	t.Helper()
	now := time.Now().Unix()
	claims := claimSet{
		"iss": p.URL, "aud": foreignAPI, "sub": sub, "sid": sid, "azp": client, "jti": uuid.NewString(), "iat": now, "exp": now + 1800,
	}
	maps.Copy(claims, more)
	return p.sign(t, claims)
}

// later is when what begins after a cut made now begins: cuts by time count whole
// seconds. A sidecar's leeway takes a token from so little ahead.
func later() claimSet { return claimSet{"iat": time.Now().Unix() + 2} }

// logoutToken is one for whom who says.
func (p *foreignProvider) logoutToken(t *testing.T, who claimSet) string {
	t.Helper()
	now := time.Now().Unix()
	claims := claimSet{
		"iss": p.URL, "aud": relyingParty, "jti": uuid.NewString(), "iat": now, "exp": now + 120,
		"events": claimSet{"http://schemas.openid.net/event/backchannel-logout": claimSet{}},
	}
	maps.Copy(claims, who)
	return p.sign(t, claims)
}

// logOut sends a log-out token and wants it taken.
func (p *foreignProvider) logOut(t *testing.T, issuer *stack.Server, who claimSet) (token string) {
	t.Helper()
	token = p.logoutToken(t, who)
	p.send(t, issuer, token).want(t, http.StatusOK)
	return token
}

func (*foreignProvider) send(t *testing.T, issuer *stack.Server, token string) answer {
	t.Helper()
	return do(t, http.MethodPost, issuer.URL()+"/v1/backchannel-logout", "application/x-www-form-urlencoded", "", url.Values{"logout_token": {token}}.Encode())
}

// besideProvider starts an issuer in control mode and a sidecar that trusts the
// provider alone.
func besideProvider(t *testing.T, p *foreignProvider, change ...func(*stack.Config)) *stack.Stack {
	t.Helper()
	return start(t, 1, append(change, func(c *stack.Config) {
		c.Control = true
		c.IssuerFlags = []string{"--provider", "issuer=" + p.URL + ",audience=" + relyingParty, "--foreign-max-lifetime", "1h"}
		c.SidecarFlags = []string{"--trust", "issuer=" + p.URL + ",audience=" + foreignAPI + ",typ=JWT,max-lifetime=1h"}
	})...)
}

// operator is one of the two ways in which an operator revokes and lifts.
type operator struct {
	name   string
	revoke func(t *testing.T, args ...string) string // its id
	lift   func(t *testing.T, id string)
}

// operators revoke through the admin API and with the command line. Both wait until
// every sidecar enforces it.
func operators(s *stack.Stack) []operator {
	cli := func(t *testing.T, args ...string) (done revocationID) {
		t.Helper()
		command(t, 0, &done, "", "revocast", append(args, "--wait", "20s", "-o", "json",
			"--admin-url", s.Issuer().AdminURL(), "--admin-token-file", s.Dir().AdminToken())...)
		return done
	}
	return []operator{
		{
			name: "the admin API",
			revoke: func(t *testing.T, args ...string) string {
				t.Helper()
				body := map[string]string{"kind": args[0], "wait": "20s"}
				if args = args[1:]; len(args)%2 == 1 {
					body["id"], args = args[0], args[1:]
				}
				for ; len(args) > 0; args = args[2:] {
					body[strings.ReplaceAll(strings.TrimPrefix(args[0], "--"), "-", "_")] = args[1]
				}
				text, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				a := operate(t, s, s.Issuer(), http.MethodPost, "/admin/v1/revocations", string(text)).want(t, http.StatusCreated)
				var done revocationID
				if err := json.Unmarshal(a.body, &done); err != nil {
					t.Fatal(err)
				}
				return done.ID
			},
			lift: func(t *testing.T, id string) {
				t.Helper()
				operate(t, s, s.Issuer(), http.MethodDelete, "/admin/v1/revocations/"+id+"?wait=20s", "").want(t, http.StatusOK)
			},
		},
		{
			name: "the command line",
			revoke: func(t *testing.T, args ...string) string {
				t.Helper()
				return cli(t, append([]string{"revoke"}, args...)...).ID
			},
			lift: func(t *testing.T, id string) { t.Helper(); cli(t, "lift", id) },
		},
	}
}

// R25: beside a provider that is there already, with an issuer that logs nobody in: its
// tokens are revoked by jti, sid, subject, client, key and time, each denies what it
// names and nothing else, what is minted later passes, and a lift brings all back.
func TestBesideAnIdentityProvider(t *testing.T) {
	p := newForeignProvider(t)
	s := besideProvider(t, p)
	sidecar := s.Sidecars()[0]
	hour := time.Hour
	for n, by := range operators(s) {
		name := func(of string) string { return fmt.Sprintf("%s-%d", of, n) }
		for _, c := range []struct {
			kind string
			args func(jti string) []string
			// denied are those of the five tokens; of those minted later the same two
			// users pass unless the revocation has no cut.
			denied string
			whole  bool
		}{
			{"token", func(jti string) []string { return []string{jti} }, "1", true},
			{"session", func(string) []string { return []string{name("session")} }, "1 2", true},
			{"subject", func(string) []string { return []string{name("anna")} }, "1 2 3", false},
			{"subject", func(string) []string { return []string{name("anna"), "--except-session", name("session")} }, "3", false},
			{"client", func(string) []string { return []string{name("web")} }, "1 2 4", false},
			{"all", func(string) []string { return nil }, "1 2 3 4 5", false},
		} {
			jti := uuid.NewString()
			tokens := map[string]string{
				"1": p.access(t, name("anna"), name("session"), name("web"), claimSet{"jti": jti}),
				"2": p.access(t, name("anna"), name("session"), name("web"), nil),
				"3": p.access(t, name("anna"), name("other"), name("app"), nil),
				"4": p.access(t, name("bert"), name("third"), name("web"), nil),
				"5": p.access(t, name("bert"), name("fourth"), name("app"), nil),
			}
			for _, token := range tokens {
				passes(t, sidecar, token)
			}
			id := by.revoke(t, append([]string{c.kind}, c.args(jti)...)...)
			for i, token := range tokens {
				if strings.Contains(c.denied, i) {
					denies(t, sidecar, token)
				} else {
					passes(t, sidecar, token)
				}
			}
			if !c.whole {
				passes(t, sidecar, p.access(t, name("anna"), name("session"), name("web"), later()))
			}
			by.lift(t, id)
			for _, token := range tokens {
				passes(t, sidecar, token)
			}
			if t.Failed() {
				t.Fatalf("that was %s by %s", c.kind, by.name)
			}
		}

		// A time in the past, as when one learns late of a theft: by when the session
		// began where the token says so, else by its own time.
		old, fresh := claimSet{"auth_time": time.Now().Add(-2 * hour).Unix()}, claimSet{"auth_time": time.Now().Add(-10 * time.Minute).Unix()}
		before, after := p.access(t, "u", "s", "c", old), p.access(t, "u", "s", "c", fresh)
		stolen := p.access(t, "u", "s", "c", claimSet{"iat": time.Now().Unix() - 1500, "exp": time.Now().Unix() + 300})
		bare := p.access(t, "u", "s", "c", nil)
		id := by.revoke(t, "all", "--issuer", p.URL, "--cut-time", time.Now().Add(-20*time.Minute).UTC().Format(time.RFC3339))
		denies(t, sidecar, before)
		denies(t, sidecar, stolen)
		passes(t, sidecar, after)
		passes(t, sidecar, bare)
		by.lift(t, id)

		// Access tokens alone: the session goes on, its next token passes.
		id = by.revoke(t, "subject", "u", "--scope", "access-tokens")
		denies(t, sidecar, before)
		renewed := later()
		maps.Copy(renewed, old)
		passes(t, sidecar, p.access(t, "u", "s", "c", renewed))
		by.lift(t, id)
		passes(t, sidecar, before)

		// A stolen key; the provider signs with another.
		p.mu.Lock()
		kid := p.kid
		p.mu.Unlock()
		p.rotate(t)
		next := p.access(t, "u", "s", "c", nil)
		eventually(t, time.Minute, "the next key", func() bool { return auth(t, sidecar, next).status == http.StatusOK })
		by.revoke(t, "key", kid)
		denies(t, sidecar, bare)
		passes(t, sidecar, next)
		// Somebody else's tokens of the same names are nobody's business.
		by.revoke(t, "subject", "u", "--issuer", "https://elsewhere.example")
		passes(t, sidecar, next)
		if t.Failed() {
			t.Fatalf("that was %s", by.name)
		}
	}
}

// R25: the provider logs out by itself, by OpenID Connect Back-Channel Logout 1.0: one
// session, or all of a user's. A token counts once, also after the issuer was killed.
func TestProviderLogsOut(t *testing.T) {
	p := newForeignProvider(t)
	s := besideProvider(t, p)
	sidecar := s.Sidecars()[0]
	one, two, other := p.access(t, "anna", "one", "web", nil), p.access(t, "anna", "two", "app", nil), p.access(t, "bert", "three", "web", nil)
	for _, token := range []string{one, two, other} {
		passes(t, sidecar, token)
	}

	p.logOut(t, s.Issuer(), claimSet{"sid": "one", "sub": "anna"})
	firstDenial(t, sidecar, one, time.Now())
	denies(t, sidecar, one)
	passes(t, sidecar, two)
	passes(t, sidecar, other)

	everywhere := p.logOut(t, s.Issuer(), claimSet{"sub": "anna"})
	firstDenial(t, sidecar, two, time.Now())
	denies(t, sidecar, two)
	passes(t, sidecar, other)
	again := p.access(t, "anna", "four", "web", later())
	passes(t, sidecar, again)

	p.send(t, s.Issuer(), everywhere).want(t, http.StatusBadRequest)
	kill(t, s.Issuer())
	up(t, s.Issuer())
	p.send(t, s.Issuer(), everywhere).want(t, http.StatusBadRequest)
	// Had it counted once more, this would be over.
	passes(t, sidecar, again)

	for _, path := range []string{"/v1/login", "/oauth/token", "/oauth/revoke"} {
		do(t, http.MethodPost, s.Issuer().URL()+path, "application/x-www-form-urlencoded", "", "").want(t, http.StatusNotFound)
	}
}

// INV-1: an issuer killed between a provider's log-out and the record that its token was
// taken has logged out. Sent again the token is taken, and after that no more.
func TestKilledWhileAProviderLogsOut(t *testing.T) {
	p := newForeignProvider(t)
	s := besideProvider(t, p, func(c *stack.Config) {
		c.BinDir = mixedBin(t)
		c.Env = append(c.Env, "REVOCAST_FAILPOINT=denied")
	})
	sidecar := s.Sidecars()[0]
	mine, other := p.access(t, "anna", "one", "web", nil), p.access(t, "anna", "two", "web", nil)
	passes(t, sidecar, mine)
	logout := p.logoutToken(t, claimSet{"sid": "one"})
	var asking sync.WaitGroup
	asking.Go(func() {
		if a := p.send(t, s.Issuer(), logout); a.status != 0 {
			t.Errorf("a log-out that was not recorded was answered %s", a)
		}
	})
	eventually(t, 20*time.Second, "the failpoint", func() bool {
		return contains(s.Dir().Log("issuer"), "failpoint reached: denied")
	})
	firstDenial(t, sidecar, mine, time.Now())
	kill(t, s.Issuer())
	asking.Wait()
	s.Issuer().Env = without(s.Issuer().Env, "REVOCAST_FAILPOINT=denied")
	up(t, s.Issuer())
	denies(t, sidecar, mine)
	p.send(t, s.Issuer(), logout).want(t, http.StatusOK)
	p.send(t, s.Issuer(), logout).want(t, http.StatusBadRequest)
	denies(t, sidecar, mine)
	passes(t, sidecar, other)
}
