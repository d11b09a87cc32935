// Package tokentest is an issuer of access tokens for tests: real keys of every
// algorithm, published by a real site on loopback, and signers that also sign
// what is wrong.
package tokentest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/jwks"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// Audience is whom the tokens are for.
const Audience = "https://api.example"

// Object is a JSON object: a header or a payload.
type Object = map[string]any

// With gives o with some members changed; nil takes one out.
func With(o, changes Object) Object {
	all := maps.Clone(o)
	for name, v := range changes {
		if all[name] = v; v == nil {
			delete(all, name)
		}
	}
	return all
}

// Text is v in JSON.
func Text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Encode is base64url without padding.
func Encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Signer is one private key with its kid and algorithm.
type Signer struct {
	ID     string
	Method jwt.SigningMethod
	Key    crypto.Signer
}

// Header is that of a good access token.
func (s Signer) Header() Object {
	return Object{"typ": "at+jwt", "alg": s.Method.Alg(), "kid": s.ID}
}

// Sign signs any header and payload.
func (s Signer) Sign(t testing.TB, header, payload Object) string {
	t.Helper()
	return s.Raw(t, Text(t, header), Text(t, payload))
}

// Raw signs any two texts.
func (s Signer) Raw(t testing.TB, header, payload string) string {
	t.Helper()
	signed := Encode([]byte(header)) + "." + Encode([]byte(payload))
	signature, err := s.Method.Sign(signed, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + Encode(signature)
}

// Issuer has a key of each algorithm and publishes the public halves.
type Issuer struct {
	ES256, RS256, EdDSA Signer
	site                *httptest.Server

	mu          sync.Mutex
	unpublished []string
}

// NewIssuer makes an issuer that lives until the test ends. Its kids are the
// algorithms' names after prefix.
func NewIssuer(t testing.TB, prefix string) *Issuer {
	t.Helper()
	es, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{
		ES256: Signer{prefix + jwks.ES256, jwt.SigningMethodES256, es},
		RS256: Signer{prefix + jwks.RS256, jwt.SigningMethodRS256, rs},
		EdDSA: Signer{prefix + jwks.EdDSA, jwt.SigningMethodEdDSA, ed},
	}
	point, err := es.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	keys := []Object{
		{"kty": "EC", "crv": "P-256", "kid": i.ES256.ID, "use": "sig", "alg": jwks.ES256, "x": Encode(point[1:33]), "y": Encode(point[33:])},
		{"kty": "RSA", "kid": i.RS256.ID, "n": Encode(rs.N.Bytes()), "e": Encode(big.NewInt(int64(rs.E)).Bytes())},
		{"kty": "OKP", "crv": "Ed25519", "kid": i.EdDSA.ID, "x": Encode(edPublic)},
	}
	i.site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { i.publish(w, keys) }))
	t.Cleanup(i.site.Close)
	return i
}

func (i *Issuer) publish(w http.ResponseWriter, keys []Object) {
	i.mu.Lock()
	defer i.mu.Unlock()
	published := slices.DeleteFunc(slices.Clone(keys), func(k Object) bool {
		return slices.ContainsFunc(i.unpublished, func(kid string) bool { return k["kid"] == kid })
	})
	if err := json.NewEncoder(w).Encode(Object{"keys": published}); err != nil {
		http.Error(w, "", http.StatusInternalServerError)
	}
}

// Unpublish takes a key out of the set.
func (i *Issuer) Unpublish(kid string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.unpublished = append(i.unpublished, kid)
}

// Vanish makes the issuer unreachable.
func (i *Issuer) Vanish() { i.site.Close() }

// ID is the `iss`, and the address of the site.
func (i *Issuer) ID() events.Issuer { return events.Issuer(i.site.URL) }

// Trust is the shortest rule for the issuer's tokens.
func (i *Issuer) Trust() token.Trust {
	return token.Trust{Issuer: i.ID(), Audiences: []string{Audience}}
}

// Claims are those of a good token minted at the time at.
func (i *Issuer) Claims(at time.Time) Object {
	return Object{
		"iss": i.ID(), "sub": "alice", "aud": Audience, "client_id": "demo", "jti": "jti-1", "sid": "sid-1",
		"iat": at.Unix(), "exp": at.Add(5 * time.Minute).Unix(), "ssq": "0:41", "tsq": "0:42",
		"scope": "read write", "roles": []string{"admin", "user"}, "auth_time": at.Add(-time.Minute).Unix(), "acr": "1", "amr": []string{"pwd"},
	}
}

// Good is a good token minted at the time at, with some claims changed.
func (i *Issuer) Good(t testing.TB, at time.Time, changes Object) string {
	t.Helper()
	return i.ES256.Sign(t, i.ES256.Header(), With(i.Claims(at), changes))
}

// Keys is a real key set of the issuer's that runs until the test ends. It looks
// for an unknown kid at once, every time.
func (i *Issuer) Keys(t testing.TB) *jwks.Set {
	t.Helper()
	m, err := jwks.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s, err := jwks.New(
		jwks.Config{Issuer: i.ID(), Source: i.site.URL, Throttle: time.Nanosecond, Wait: 10 * time.Second},
		jwks.Deps{Log: zap.NewNop(), Metrics: m},
	)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("running the key set: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return s
}
