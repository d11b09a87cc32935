package app_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/services/internal/audit"
)

// logoutPath is where log-outs are received, relyingParty whom the provider knows us as.
const (
	logoutPath   = "/v1/backchannel-logout"
	relyingParty = "revocast-at-the-provider"
	logoutEvent  = "http://schemas.openid.net/event/backchannel-logout"
)

// identityProvider is an OpenID provider with keys of its own, on a real listener.
type identityProvider struct {
	*httptest.Server

	es256 *ecdsa.PrivateKey

	mu        sync.Mutex
	kid       string
	rs256     *rsa.PrivateKey
	published []members
	asked     int  // how often for the keys
	broken    bool // answers 500
}

// newIdentityProvider publishes an RSA and an EC key.
func newIdentityProvider(t *testing.T) *identityProvider {
	t.Helper()
	p := &identityProvider{}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		if p.isBroken() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, members{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "backchannel_logout_supported": true})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		p.asked++
		set := members{"keys": append([]members(nil), p.published...)}
		p.mu.Unlock()
		answer(w, set)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	var err error
	if p.es256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	point, err := p.es256.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	p.published = []members{{"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256", "x": b64(point[1:33]), "y": b64(point[33:])}}
	p.rotate(t, false)
	return p
}

// rotate signs with a new key from now on, and withdraws the one before if told to.
func (p *identityProvider) rotate(t *testing.T, withdraw bool) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if withdraw {
		p.published = p.published[:len(p.published)-1]
	}
	p.kid, p.rs256 = uuid.NewString(), key
	b64 := base64.RawURLEncoding.EncodeToString
	p.published = append(p.published, members{
		"kty": "RSA", "kid": p.kid, "use": "sig", "alg": "RS256",
		"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
	})
}

func (p *identityProvider) isBroken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken
}

func (p *identityProvider) breakDown(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = broken
}

// rule is what --provider takes.
func (p *identityProvider) rule(more string) string {
	return "issuer=" + p.URL + ",audience=" + relyingParty + more
}

func (p *identityProvider) head() members {
	p.mu.Lock()
	defer p.mu.Unlock()
	return members{"alg": "RS256", "kid": p.kid, "typ": "logout+jwt"}
}

// claims are those of a good log-out token for a session.
func (p *identityProvider) claims(sid string) members {
	now := time.Now().Unix()
	return members{
		"iss": p.URL, "aud": relyingParty, "iat": now, "exp": now + 120, "jti": uuid.NewString(), "sid": sid,
		"events": members{logoutEvent: members{}},
	}
}

// token signs a good log-out token with some changes to it.
func (p *identityProvider) token(sid string, head, claims members) string {
	return join(p.head().with(head).text(), p.claims(sid).with(claims).text(), p.sign)
}

func (p *identityProvider) sign(text string) []byte {
	p.mu.Lock()
	key := p.rs256
	p.mu.Unlock()
	return signRS256(key)(text)
}

func signRS256(key *rsa.PrivateKey) func(string) []byte {
	return func(text string) []byte {
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return signature
	}
}

// logOut sends a log-out token.
func (i *issuer) logOut(t *testing.T, token string) reply {
	t.Helper()
	return i.postForm(t, logoutPath, "logout_token", token)
}

// loggedOut wants the answer to a log-out that is done.
func loggedOut(t *testing.T, where string, got reply) {
	t.Helper()
	if got.status != http.StatusOK || got.header.Get("Cache-Control") != "no-store" || got.body != "" {
		t.Errorf("%s: %d %v %q", where, got.status, got.header, got.body)
	}
}

// revokedOf lists what stands of a target.
func (i *issuer) revokedOf(t *testing.T, kind, target string) []revoked {
	t.Helper()
	return i.listRevocations(t, fmt.Sprintf("kind=%s&id=%s", kind, target)).Revocations
}

// audited is what the first operator reads in the audit.
func (i *issuer) audited(t *testing.T, query string) []audit.Entry {
	t.Helper()
	return decode[struct{ Events []audit.Entry }](t, i.operate(t, "GET", auditPath+"?"+query, "").want(t, 200)).Events
}
