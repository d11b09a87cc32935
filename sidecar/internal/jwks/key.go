package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/strict"
)

// The algorithms that keys may be for: `alg` of RFC 7518 section 3.1 and, for
// Ed25519, RFC 8037 section 3.1. They are compared in exact case.
const (
	ES256 = "ES256"
	RS256 = "RS256"
	EdDSA = "EdDSA"
)

// Algorithms lists them.
func Algorithms() []string { return []string{ES256, RS256, EdDSA} }

// Key is one public key. Its exported fields are read-only; [Key.Usable] is safe for
// concurrent use.
type Key struct {
	ID events.KeyID
	// Algorithm is the only one the key may be used with.
	Algorithm string
	// Public is an *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey, as
	// Algorithm says.
	Public crypto.PublicKey

	withdrawn atomic.Bool
	// until is when the word for it ends, in Unix seconds; zero for never.
	until atomic.Int64
}

// Usable reports whether the key counts at a time: its issuer publishes it, or the
// realm has announced it and the announcement holds. A key that was withdrawn stays
// so; if the issuer publishes it again it is another Key.
func (k *Key) Usable(now time.Time) bool {
	until := k.until.Load()
	return !k.withdrawn.Load() && (until == 0 || now.Unix() < until)
}

// same reports whether both are one key, so that whoever keeps the older need
// not learn of the newer.
func (k *Key) same(other *Key) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && k.Algorithm == other.Algorithm && public.Equal(other.Public)
}

// maxKeyID bounds a kid, which reaches logs, map keys and revocations.
const maxKeyID = 256

// ValidKeyID reports whether s may be a kid: 1 to 256 visible ASCII characters.
// It names nothing but an entry of a set: no file and no URL is made of it.
func ValidKeyID(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return s != "" && len(s) <= maxKeyID
}

const (
	// maxKeys is more than any issuer publishes and bounds what one may cost.
	maxKeys = 100
	// minRSABits is RFC 7518 section 3.3; maxRSABits bounds a verification.
	minRSABits, maxRSABits = 2048, 8192
	p256Bytes              = 32
)

var errSet = errors.New("not a JSON Web Key Set")

// parseSet reads a JSON Web Key Set (RFC 7517 section 5). Members it does not
// know are ignored. refused says which keys are left out and why; err, that the
// text is no key set at all.
func parseSet(text string) (keys map[events.KeyID]*Key, refused []error, err error) {
	set, err := strict.ParseObject(text, strict.Limits{Depth: 8, Members: 100})
	if err != nil {
		return nil, nil, err
	}
	list, _ := set.Get("keys")
	elements, ok := list.Elements()
	if !ok {
		return nil, nil, errSet
	}
	if len(elements) > maxKeys {
		return nil, nil, fmt.Errorf("%w: %d keys, at most %d", errSet, len(elements), maxKeys)
	}
	keys = make(map[events.KeyID]*Key, len(elements))
	seen := make(map[string]int, len(elements))
	for i, e := range elements {
		jwk, ok := e.Object()
		if !ok {
			return nil, nil, errSet
		}
		id := textOf(jwk, "kid")
		seen[id]++
		key, err := parseKey(jwk)
		if err != nil {
			refused = append(refused, fmt.Errorf("key %d (kid %.64q): %w", i, id, err))
			continue
		}
		keys[key.ID] = key
	}
	// Which of two keys a kid means is the issuer's to say: neither counts.
	for id, n := range seen {
		if n > 1 && ValidKeyID(id) {
			delete(keys, events.KeyID(id))
			refused = append(refused, fmt.Errorf("kid %.64q names %d keys", id, n))
		}
	}
	return keys, refused, nil
}

// parseKey reads one JSON Web Key, refusing what must not verify signatures.
func parseKey(jwk strict.Object) (*Key, error) {
	if slices.ContainsFunc([]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}, jwk.Has) {
		return nil, errors.New("private or symmetric key in a public set")
	}
	id := textOf(jwk, "kid")
	if !ValidKeyID(id) {
		return nil, errors.New("kid missing or not 1 to 256 visible ASCII characters")
	}
	if jwk.Has("use") && textOf(jwk, "use") != "sig" {
		return nil, errors.New("use is not sig")
	}
	if ops, ok := jwk.Get("key_ops"); ok {
		if list, ok := ops.Texts(); !ok || !slices.Contains(list, "verify") {
			return nil, errors.New("key_ops do not hold verify")
		}
	}
	key := &Key{ID: events.KeyID(id)}
	var err error
	switch kty, crv := textOf(jwk, "kty"), textOf(jwk, "crv"); {
	case kty == "EC" && crv == "P-256":
		key.Algorithm = ES256
		key.Public, err = parseP256(jwk)
	case kty == "OKP" && crv == "Ed25519":
		key.Algorithm = EdDSA
		key.Public, err = parseEd25519(jwk)
	case kty == "RSA":
		key.Algorithm = RS256
		key.Public, err = parseRSA(jwk)
	default:
		return nil, fmt.Errorf("kty %.16q, crv %.16q: neither RSA, P-256 nor Ed25519", kty, crv)
	}
	if err != nil {
		return nil, err
	}
	if jwk.Has("alg") && textOf(jwk, "alg") != key.Algorithm {
		return nil, fmt.Errorf("alg %.16q: want %s for this key, or none", textOf(jwk, "alg"), key.Algorithm)
	}
	return key, nil
}

func parseP256(jwk strict.Object) (*ecdsa.PublicKey, error) {
	x, errX := bytesOf(jwk, "x")
	y, errY := bytesOf(jwk, "y")
	if errX != nil || errY != nil || len(x) != p256Bytes || len(y) != p256Bytes {
		return nil, errors.New("x and y are not 32 bytes each (RFC 7518 section 6.2.1)")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("x and y are no point of P-256")
	}
	return key, nil
}

func parseEd25519(jwk strict.Object) (ed25519.PublicKey, error) {
	x, err := bytesOf(jwk, "x")
	if err != nil || len(x) != ed25519.PublicKeySize {
		return nil, errors.New("x is not 32 bytes (RFC 8037 section 2)")
	}
	return x, nil
}

func parseRSA(jwk strict.Object) (*rsa.PublicKey, error) {
	nBytes, errN := bytesOf(jwk, "n")
	eBytes, errE := bytesOf(jwk, "e")
	if errN != nil || errE != nil {
		return nil, errors.New("n or e is not base64url (RFC 7518 section 6.3.1)")
	}
	n, e := new(big.Int).SetBytes(nBytes), new(big.Int).SetBytes(eBytes)
	switch bits := n.BitLen(); {
	case bits < minRSABits || bits > maxRSABits:
		return nil, fmt.Errorf("RSA modulus of %d bits: want %d to %d", bits, minRSABits, maxRSABits)
	case n.Bit(0) == 0:
		return nil, errors.New("RSA modulus is even")
	case e.BitLen() < 2 || e.BitLen() > 31 || e.Bit(0) == 0:
		return nil, errors.New("RSA exponent is not odd, 3 to 2^31-1")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

// textOf reads a member that should be one string; "" if it is missing or not.
func textOf(o strict.Object, name string) string {
	v, _ := o.Get(name)
	s, _ := v.Text()
	return s
}

func bytesOf(o strict.Object, name string) ([]byte, error) {
	return strict.DecodeBase64(textOf(o, name))
}
