package mint_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/revocast/revocast/loadtest/internal/mint"
	"github.com/revocast/revocast/loadtest/internal/token"
)

const audience = "https://api.example"

func newIssuer(t *testing.T, algorithm string) *mint.Issuer {
	t.Helper()
	i, err := mint.New(algorithm, audience)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// judge reads tokens by the published keys and RFC 9068 alone.
func judge(t *testing.T, i *mint.Issuer, algorithm string) func(raw string) (jwt.Claims, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := i.WriteKeys(path); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(content, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 1 || !set.Keys[0].IsPublic() {
		t.Fatalf("published: %d keys, or a private one", len(set.Keys))
	}
	return func(raw string) (jwt.Claims, error) {
		var c jwt.Claims
		parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
		if err != nil {
			return c, err
		}
		if err := parsed.Claims(set.Keys[0].Key, &c); err != nil {
			return c, err
		}
		if parsed.Headers[0].KeyID != set.Keys[0].KeyID || parsed.Headers[0].ExtraHeaders[jose.HeaderType] != "at+jwt" {
			return c, errors.New("the header is another's")
		}
		return c, c.ValidateWithLeeway(jwt.Expected{Issuer: mint.Name, AnyAudience: jwt.Audience{audience}, Time: time.Now()}, 0)
	}
}

// Tokens of every algorithm are good by the published key, and no two are one.
func TestMint(t *testing.T) {
	for _, algorithm := range mint.Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			i := newIssuer(t, algorithm)
			read := judge(t, i, algorithm)
			all, err := i.Mint(t.Context(), 9, time.Hour)
			if err != nil || len(all) != 9 {
				t.Fatalf("%d tokens, %v", len(all), err)
			}
			seen := map[string]bool{}
			for _, m := range all {
				c, err := read(m.Token.Raw())
				if err != nil {
					t.Errorf("a minted token: %v", err)
				}
				if c.ID != m.ID || !c.Expiry.Time().Equal(m.Expires) || c.Expiry.Time().Sub(c.IssuedAt.Time()) > 2*time.Hour {
					t.Errorf("says %s, expires %s; is %s until %s", c.ID, c.Expiry.Time(), m.ID, m.Expires)
				}
				if seen[c.ID] || seen[c.Subject] {
					t.Errorf("%s of %s is there twice", c.ID, c.Subject)
				}
				seen[c.ID], seen[c.Subject] = true, true
			}
		})
	}
}

func TestMintRefuses(t *testing.T) {
	if _, err := mint.New("HS256", audience); err == nil || !strings.Contains(err.Error(), "no such algorithm") {
		t.Errorf("a symmetric key: %v", err)
	}
	i := newIssuer(t, "")
	for _, life := range []time.Duration{-time.Second, 0, mint.MaxLife + 1} {
		if _, err := i.Mint(t.Context(), 1, life); err == nil || !strings.Contains(err.Error(), life.String()) {
			t.Errorf("to live for %s: %v", life, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Mint(ctx, 1000, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, and: %v", err)
	}
	if err := i.WriteKeys(filepath.Join(t.TempDir(), "nowhere", "keys")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("keys to nowhere: %v", err)
	}
}

// None of the bad tokens passes, each has another name, and none shows its signature to a
// good one's reader as right.
func TestBad(t *testing.T) {
	for _, algorithm := range mint.Algorithms() {
		i := newIssuer(t, algorithm)
		read := judge(t, i, algorithm)
		all, err := i.Bad()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, b := range all {
			c, err := read(b.Token.Raw())
			if err == nil && c.Expiry.Time().Sub(c.IssuedAt.Time()) <= 24*time.Hour {
				t.Errorf("%s, %s: it passes", algorithm, b.What)
			}
			if seen[b.What] || seen[b.Token.Raw()] {
				t.Errorf("%s is there twice", b.What)
			}
			seen[b.What], seen[b.Token.Raw()] = true, true
			if strings.ContainsAny(b.Token.Raw(), " \r\n\x00") || len(b.Token.Raw()) > 30<<10 {
				t.Errorf("%s does not fit into a header", b.What)
			}
		}
		for _, what := range []string{"alg none", "a wrong signature", "expired", "oversized", "of another's key", "truncated"} {
			if !seen[what] {
				t.Errorf("no token that is %s", what)
			}
		}
	}
}

// What is not a JWT cannot be forged, only broken.
func TestSpoilOpaque(t *testing.T) {
	i := newIssuer(t, "")
	good, err := i.Mint(t.Context(), 1, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(mint.Spoil(good[0].Token)); n < 9 {
		t.Errorf("%d of a JWT", n)
	}
	for _, b := range mint.Spoil(opaque()) {
		if b.Token.Raw() == opaque().Raw() || b.Token.Raw() == "" {
			t.Errorf("%s: the token as it was, or none", b.What)
		}
	}
}

func opaque() token.Token { return token.New("8xLOxBtZp8") }
