// Package mint makes tokens: good ones of an issuer of its own, which the system under
// test is told to trust, and bad ones, which nothing may let pass. So there are as many
// as a load needs, made before it runs.
//
// Invariants:
//
//   - Private keys stay in memory. Only the public half is ever written.
//   - Two tokens of one issuer never have the same id.
package mint

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/loadtest/internal/token"
)

// Name is the `iss` of all tokens: of a domain that is nobody's (RFC 6761 section 6.4).
const Name = "https://loadtest.invalid"

// Algorithms are the names of those that can be signed with, the default first.
func Algorithms() []string {
	return []string{string(jose.ES256), string(jose.EdDSA), string(jose.RS256)}
}

// keyID is of the one key.
const keyID = "loadtest"

// Issuer mints tokens of one audience with one key. Safe for concurrent use.
type Issuer struct {
	audience  string
	algorithm jose.SignatureAlgorithm
	key       crypto.Signer
	signer    jose.Signer
}

// New makes an issuer with a new key. The algorithm is one of [Algorithms], or empty for
// the default.
func New(algorithm, audience string) (*Issuer, error) {
	i := &Issuer{audience: audience, algorithm: jose.SignatureAlgorithm(cmp.Or(algorithm, Algorithms()[0]))}
	var err error
	if i.key, err = newKey(i.algorithm); err == nil {
		i.signer, err = newSigner(i.algorithm, i.key)
	}
	if err != nil {
		return nil, fmt.Errorf("making a key to mint with: %w", err)
	}
	return i, nil
}

// newKey makes keys of the sizes in common use.
func newKey(a jose.SignatureAlgorithm) (crypto.Signer, error) {
	switch a { //nolint:exhaustive // most of them nobody takes
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case jose.RS256:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("%q: no such algorithm", a)
}

func newSigner(a jose.SignatureAlgorithm, key crypto.Signer) (jose.Signer, error) {
	return jose.NewSigner(
		jose.SigningKey{Algorithm: a, Key: jose.JSONWebKey{Key: key, KeyID: keyID}},
		(&jose.SignerOptions{}).WithType(claims.TypeAccessToken),
	)
}

// WriteKeys writes the public key as a JSON Web Key Set (RFC 7517) for anybody to read.
func (i *Issuer) WriteKeys(path string) error {
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: i.key.Public(), KeyID: keyID, Algorithm: string(i.algorithm), Use: "sig",
	}}})
	if err == nil {
		err = os.WriteFile(path, set, 0o644) //nolint:gosec // a public key
	}
	if err != nil {
		return fmt.Errorf("writing the keys of minted tokens: %w", err)
	}
	return nil
}

// Trust is the rule by which a sidecar accepts the tokens, with the keys in that file. The
// issuer is not of the realm: it has no journal, and whoever revokes its tokens names it.
func (i *Issuer) Trust(keys string) string {
	return fmt.Sprintf("issuer=%s,jwks=%s,audience=%s,foreign=true", Name, keys, i.audience)
}

// MaxLife is how long a token can be good for: longer, and a sidecar takes no token of
// another realm.
const MaxLife = 23 * time.Hour

// backdated is how long before it was made a token says that it was, so that no clock is
// behind it.
const backdated = time.Minute

// Minted is a token of which is known what names it.
type Minted struct {
	Token token.Token
	// ID is its `jti`, by which it is revoked.
	ID      string
	Expires time.Time
}

var errLife = fmt.Errorf("tokens live for more than nothing and at most %s", MaxLife)

// Mint makes n good tokens, each of another session and user, on all processors that this
// process may use. They are good for life.
func (i *Issuer) Mint(ctx context.Context, n int, life time.Duration) ([]Minted, error) {
	if life <= 0 || life > MaxLife {
		return nil, fmt.Errorf("minting tokens: %s: %w", life, errLife)
	}
	now := time.Now()
	all := make([]Minted, n)
	workers := runtime.GOMAXPROCS(0)
	minting, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		minting.Go(func() error {
			for k := w; k < n; k += workers {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				c, err := i.claims(k, now, life)
				if err != nil {
					return err
				}
				raw, err := sign(i.signer, c)
				if err != nil {
					return err
				}
				all[k] = Minted{token.New(raw), c.ID, time.Unix(c.Expires, 0)}
			}
			return nil
		})
	}
	if err := minting.Wait(); err != nil {
		return nil, fmt.Errorf("minting tokens: %w", err)
	}
	return all, nil
}

// claims are those of a token as our own issuer would make it, but for the positions in
// its journal.
func (i *Issuer) claims(n int, now time.Time, life time.Duration) (claims.Access, error) {
	id, err := uuid.NewV7()
	session, errSession := uuid.NewV7()
	if err := errors.Join(err, errSession); err != nil {
		return claims.Access{}, fmt.Errorf("naming a token: %w", err)
	}
	return claims.Access{
		Issuer: Name, Subject: fmt.Sprintf("loadtest-%06d", n), Audience: claims.Audience{i.audience}, ClientID: "loadtest",
		IssuedAt: now.Add(-backdated).Unix(), Expires: now.Add(life).Unix(), ID: id.String(), Session: session.String(),
		Scope: "read write", Roles: []string{"reader", "writer"}, AuthTime: now.Add(-backdated).Unix(), ACR: "1", AMR: []string{"pwd"},
	}, nil
}

func sign(s jose.Signer, c claims.Access) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return signed.CompactSerialize()
}
