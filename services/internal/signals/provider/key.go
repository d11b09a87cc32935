package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
)

// Key is one public key. It is read-only.
type Key struct {
	// Algorithm is the only one that the key may be used with.
	Algorithm string
	// Public is an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey, as Algorithm
	// says.
	Public crypto.PublicKey
}

const (
	// maxKeys is more than anybody publishes.
	maxKeys = 100
	// maxKeyID bounds a kid.
	maxKeyID = 256
	// minRSABits is RFC 7518 section 3.3; maxRSABits bounds what a verification costs.
	minRSABits, maxRSABits = 2048, 8192
)

// ValidKeyID reports whether s may be a kid: 1 to 256 visible ASCII characters.
func ValidKeyID(s string) bool {
	return s != "" && len(s) <= maxKeyID && !strings.ContainsFunc(s, func(r rune) bool { return r <= 0x20 || r >= 0x7f })
}

// jwk is a JSON Web Key as far as it matters here; other members are ignored (RFC 7517
// section 4).
type jwk struct {
	Type      string   `json:"kty"`
	Curve     string   `json:"crv"`
	ID        string   `json:"kid"`
	Algorithm *string  `json:"alg"`
	Use       *string  `json:"use"`
	Ops       []string `json:"key_ops"`
	N         string   `json:"n"`
	E         string   `json:"e"`
	X         string   `json:"x"`
	Y         string   `json:"y"`
	// D and K are the secret half of a key and a key that has no public half.
	D jsontext.Value `json:"d"`
	K jsontext.Value `json:"k"`
}

// parseSet reads a JSON Web Key Set (RFC 7517 section 5). refused says which keys are
// left out and why, but for those that are for encryption; err, that the text is no key
// set.
func parseSet(text []byte) (keys map[events.KeyID]Key, refused []error, err error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || set.Keys == nil {
		return nil, nil, errors.New("not a JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("a key set of %d keys: at most %d", len(set.Keys), maxKeys)
	}
	keys = map[events.KeyID]Key{}
	seen := map[string]int{}
	for i, value := range set.Keys {
		var k jwk
		if err := json.Unmarshal(value, &k); err != nil {
			refused = append(refused, fmt.Errorf("key %d: not a JSON Web Key", i))
			continue
		}
		seen[k.ID]++
		key, err := k.key()
		if errors.Is(err, errEncrypts) {
			continue // as it should be, and nobody's to mend
		}
		if err != nil {
			refused = append(refused, fmt.Errorf("key %d (kid %.64q): %w", i, k.ID, err))
			continue
		}
		keys[events.KeyID(k.ID)] = key
	}
	for id, n := range seen {
		if n > 1 && ValidKeyID(id) { // which of them is meant, only the provider could say
			delete(keys, events.KeyID(id))
			refused = append(refused, fmt.Errorf("kid %.64q names %d keys", id, n))
		}
	}
	return keys, refused, nil
}

// errEncrypts: the key is for encrypting to the provider. Keycloak publishes one in
// every realm.
var errEncrypts = errors.New("a key for encryption")

func (k jwk) key() (Key, error) {
	switch {
	case k.D != nil || k.K != nil:
		return Key{}, errors.New("a private or symmetric key in a public set")
	case !ValidKeyID(k.ID):
		return Key{}, errors.New("kid missing or not 1 to 256 visible ASCII characters")
	case k.Use != nil && *k.Use == "enc":
		return Key{}, errEncrypts
	case k.Use != nil && *k.Use != "sig":
		return Key{}, errors.New("use is neither sig nor enc")
	case k.Ops != nil && !slices.Contains(k.Ops, "verify"):
		return Key{}, errors.New("key_ops do not hold verify")
	}
	var key Key
	var err error
	switch {
	case k.Type == "RSA":
		key.Algorithm = RS256
		key.Public, err = k.rsa()
	case k.Type == "EC" && k.Curve == "P-256":
		key.Algorithm = ES256
		key.Public, err = k.p256()
	case k.Type == "OKP" && k.Curve == "Ed25519":
		key.Algorithm = EdDSA
		key.Public, err = k.ed25519()
	default:
		err = fmt.Errorf("kty %.16q, crv %.16q: neither RSA, P-256 nor Ed25519", k.Type, k.Curve)
	}
	if err == nil && k.Algorithm != nil && *k.Algorithm != key.Algorithm {
		err = fmt.Errorf("alg %.16q: want %s for this key, or none", *k.Algorithm, key.Algorithm)
	}
	return key, err
}

func (k jwk) rsa() (*rsa.PublicKey, error) {
	n, e := new(big.Int).SetBytes(octets(k.N)), new(big.Int).SetBytes(octets(k.E))
	switch bits := n.BitLen(); {
	case bits < minRSABits || bits > maxRSABits:
		return nil, fmt.Errorf("an RSA modulus of %d bits: want %d to %d", bits, minRSABits, maxRSABits)
	case n.Bit(0) == 0:
		return nil, errors.New("an RSA modulus that is even")
	case e.BitLen() < 2 || e.BitLen() > 31 || e.Bit(0) == 0:
		return nil, errors.New("an RSA exponent that is not odd, 3 to 2^31-1")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

func (k jwk) p256() (*ecdsa.PublicKey, error) {
	x, y := octets(k.X), octets(k.Y)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil || len(x) != len(y) { // RFC 7518 section 6.2.1: 32 bytes each
		return nil, errors.New("x and y are no point of P-256")
	}
	return key, nil
}

func (k jwk) ed25519() (ed25519.PublicKey, error) {
	x := octets(k.X)
	if len(x) != ed25519.PublicKeySize {
		return nil, errors.New("x is not 32 bytes (RFC 8037 section 2)")
	}
	return x, nil
}

// octets reads base64url as RFC 7515 section 2 has it; nothing, of what is none.
func octets(s string) []byte {
	if strings.ContainsAny(s, "\r\n") { // which the decoder skips
		return nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
