package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
)

// Public is the half of a signing key that verifies, with the one algorithm that it
// is used with. It is immutable.
type Public struct {
	described events.Key
	method    jwt.SigningMethod
	key       crypto.PublicKey
}

// Key describes it as events do: id, algorithm and JWK, and nothing else.
func (p *Public) Key() events.Key { return p.described }

// Pair is a key that signs access tokens, both halves of it. It is immutable, and
// printing it shows its id alone.
type Pair struct {
	public  *Public
	private crypto.Signer
	header  string // encoded, as every token of this key begins
}

// NewPair makes a key for an algorithm, "ES256" or "RS256".
func NewPair(algorithm string) (*Pair, error) {
	generate, ok := map[string]func() (crypto.Signer, error){algES256: makeES256, algRS256: makeRS256}[algorithm]
	if !ok {
		return nil, fmt.Errorf("making a signing key: algorithm %q is none of ours", algorithm)
	}
	private, err := generate()
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	return newPair(private, algorithm)
}

// newPair checks that the key is made for the algorithm.
func newPair(private crypto.Signer, algorithm string) (*Pair, error) {
	if err := fits(private, algorithm); err != nil {
		return nil, err
	}
	described, err := newJWK(algorithm, private.Public())
	if err != nil {
		return nil, err
	}
	event, err := described.event()
	if err != nil {
		return nil, err
	}
	head, err := json.Marshal(header{Algorithm: algorithm, KeyID: described.ID, Type: tokenType})
	if err != nil {
		return nil, err
	}
	return &Pair{
		public:  &Public{described: event, method: jwt.GetSigningMethod(algorithm), key: private.Public()},
		private: private, header: base64.RawURLEncoding.EncodeToString(head),
	}, nil
}

// Public is its other half.
func (p *Pair) Public() *Public { return p.public }

// Format shows the id whatever the verb, and never the private key.
func (p *Pair) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, p.String()) }

// String is what Format writes.
func (p *Pair) String() string { return "signing key " + string(p.public.described.ID) }

// MarshalText keeps the private key out of JSON and of loggers that reflect.
func (p *Pair) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// ParsePublic reads a public key as this package describes one. Whatever differs
// from that by a byte, its id included, is none of ours.
func ParsePublic(k events.Key) (*Public, error) {
	var in jwk
	if err := json.Unmarshal(k.JWK, &in); err != nil {
		return nil, fmt.Errorf("reading key %q: not a JSON Web Key", k.ID)
	}
	key, err := in.public()
	if err != nil {
		return nil, fmt.Errorf("reading key %q: %w", k.ID, err)
	}
	described, err := newJWK(k.Algorithm, key)
	if err != nil {
		return nil, fmt.Errorf("reading key %q: %w", k.ID, err)
	}
	event, err := described.event()
	if err != nil {
		return nil, fmt.Errorf("reading key %q: %w", k.ID, err)
	}
	if event.ID != k.ID || string(event.JWK) != string(k.JWK) || fitsPublic(key, k.Algorithm) != nil {
		return nil, fmt.Errorf("reading key %q: it is not described as this issuer does", k.ID)
	}
	return &Public{described: event, method: jwt.GetSigningMethod(k.Algorithm), key: key}, nil
}

// public is the inverse of newJWK.
func (k jwk) public() (crypto.PublicKey, error) {
	number := func(s string) []byte {
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil {
			return nil
		}
		return b
	}
	switch {
	case k.KeyType == "EC" && k.Curve == elliptic.P256().Params().Name:
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, number(k.X)...), number(k.Y)...))
	case k.KeyType == "RSA":
		exponent := new(big.Int).SetBytes(number(k.Exponent))
		if exponent.BitLen() < 2 || exponent.BitLen() > 31 {
			return nil, errors.New("an RSA exponent out of range")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(number(k.Modulus)), E: int(exponent.Int64())}, nil
	}
	return nil, fmt.Errorf("kty %.16q is none of ours", k.KeyType)
}
