package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/revocast/revocast/events"
)

// jwk is a public key as RFC 7517 and RFC 7518 section 6 write it. It has no
// member that could hold a private one.
type jwk struct {
	KeyType   string `json:"kty"`
	Use       string `json:"use,omitempty"`
	Algorithm string `json:"alg,omitempty"`
	ID        string `json:"kid,omitempty"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	Modulus   string `json:"n,omitempty"`
	Exponent  string `json:"e,omitempty"`
}

// newJWK describes a public key for one algorithm; its kid is its thumbprint.
func newJWK(algorithm string, public crypto.PublicKey) (jwk, error) {
	enc := base64.RawURLEncoding
	var k jwk
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		// 0x04, then both coordinates at full length (SEC 1 section 2.3.3).
		point, err := public.Bytes()
		if err != nil {
			return jwk{}, fmt.Errorf("describing an elliptic curve key: %w", err)
		}
		half := (len(point) - 1) / 2
		k = jwk{
			KeyType: "EC", Curve: public.Curve.Params().Name,
			X: enc.EncodeToString(point[1 : 1+half]), Y: enc.EncodeToString(point[1+half:]),
		}
	case *rsa.PublicKey:
		exponent := binary.BigEndian.AppendUint32(nil, uint32(public.E)) //nolint:gosec // crypto/rsa takes none beyond 31 bits
		k = jwk{
			KeyType: "RSA", Modulus: enc.EncodeToString(public.N.Bytes()),
			Exponent: enc.EncodeToString([]byte(strings.TrimLeft(string(exponent), "\x00"))),
		}
	default:
		return jwk{}, fmt.Errorf("describing a key: %T has no JWK form here", public)
	}
	k.ID = k.thumbprint()
	k.Use, k.Algorithm = "sig", algorithm
	return k, nil
}

// thumbprint is RFC 7638 with SHA-256: the required members alone, in the order of
// their names.
func (k jwk) thumbprint() string {
	var text string
	if k.KeyType == "RSA" {
		text = `{"e":"` + k.Exponent + `","kty":"RSA","n":"` + k.Modulus + `"}`
	} else {
		text = `{"crv":"` + k.Curve + `","kty":"EC","x":"` + k.X + `","y":"` + k.Y + `"}`
	}
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// event is the key as the events carry it, unsigned.
func (k jwk) event() (events.Key, error) {
	text, err := json.Marshal(k)
	return events.Key{ID: events.KeyID(k.ID), Algorithm: k.Algorithm, JWK: text}, err
}
