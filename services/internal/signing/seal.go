package signing

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/keyring"
	"github.com/revocast/revocast/services/internal/refresh"
)

// ErrSealed means that a secret does not open: it was sealed under another realm's
// root, as something else, or is damaged.
var ErrSealed = errors.New("sealed secret does not open")

const (
	sealLabel   = "revocast key encryption v1"
	secretLabel = "revocast sealed secret v1"
	// macAlgorithm is what MAC keys are for (RFC 7518 section 3.2 has the name).
	macAlgorithm = "HS256"
)

// sealer keeps secrets where others can read them: AES-256-GCM under a key derived
// (HKDF, RFC 5869) from the realm's root, which is in every key directory and in no
// journal.
type sealer struct{ aead cipher.AEAD }

func newSealer(root ed25519.PrivateKey) (sealer, error) {
	key, err := hkdf.Key(sha256.New, root.Seed(), nil, sealLabel, 32)
	if err != nil {
		return sealer{}, fmt.Errorf("deriving the sealing key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, fmt.Errorf("deriving the sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return sealer{}, fmt.Errorf("deriving the sealing key: %w", err)
	}
	return sealer{aead}, nil
}

// boundTo is what a sealed secret is bound to, each field behind its length.
func boundTo(realm subject.Realm, s events.Secret) []byte {
	var b []byte
	for _, field := range []string{secretLabel, string(realm), s.Use, string(s.ID), s.Algorithm} {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	return b
}

func (c sealer) seal(realm subject.Realm, s events.Secret, secret []byte) events.Secret {
	s.Sealed = c.aead.Seal(nil, nil, secret, boundTo(realm, s)) //nolint:gosec // it draws the nonce itself
	return s
}

func (c sealer) open(realm subject.Realm, s events.Secret) ([]byte, error) {
	secret, err := c.aead.Open(nil, nil, s.Sealed, boundTo(realm, s))
	if err != nil {
		return nil, fmt.Errorf("opening the secret of %s key %q: %w", s.Use, s.ID, ErrSealed)
	}
	return secret, nil
}

// SealPair gives a signing key in the form in which the journal keeps it.
func (k *Keys) SealPair(realm subject.Realm, p *Pair) (events.Secret, error) {
	described := p.public.described
	der, err := x509.MarshalPKCS8PrivateKey(p.private)
	if err != nil {
		return events.Secret{}, fmt.Errorf("sealing signing key %q: %w", described.ID, err)
	}
	s := events.Secret{ID: described.ID, Use: keyring.UseSign, Algorithm: described.Algorithm}
	return k.seal.seal(realm, s, der), nil
}

// OpenPair is the inverse of SealPair. Errors match [ErrSealed].
func (k *Keys) OpenPair(realm subject.Realm, s events.Secret) (*Pair, error) {
	if s.Use != keyring.UseSign {
		return nil, fmt.Errorf("opening %s key %q to sign: %w", s.Use, s.ID, ErrSealed)
	}
	der, err := k.seal.open(realm, s)
	if err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	signer, ok := private.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("opening signing key %q: %w: no PKCS #8 key in it", s.ID, ErrSealed)
	}
	p, err := newPair(signer, s.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("opening signing key %q: %w: %w", s.ID, ErrSealed, err)
	}
	if p.public.described.ID != s.ID {
		return nil, fmt.Errorf("opening signing key %q: %w: it is another key", s.ID, ErrSealed)
	}
	return p, nil
}

// NewMAC makes a key of refresh tokens, sealed at once.
func (k *Keys) NewMAC(realm subject.Realm) (events.Secret, error) {
	secret := make([]byte, refresh.SecretSize)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	return k.sealMAC(realm, secret)
}

// FirstMAC gives the directory's current key of refresh tokens, sealed.
func (k *Keys) FirstMAC(realm subject.Realm) (events.Secret, error) {
	return k.sealMAC(realm, k.macs.secret)
}

func (k *Keys) sealMAC(realm subject.Realm, secret []byte) (events.Secret, error) {
	key, err := refresh.NewKey(secret)
	if err != nil {
		return events.Secret{}, fmt.Errorf("sealing a refresh-token key: %w", err)
	}
	return k.seal.seal(realm, events.Secret{ID: key.ID(), Use: keyring.UseMAC, Algorithm: macAlgorithm}, secret), nil
}

// OpenMAC is the inverse of NewMAC and FirstMAC. Errors match [ErrSealed].
func (k *Keys) OpenMAC(realm subject.Realm, s events.Secret) (refresh.Key, error) {
	if s.Use != keyring.UseMAC || s.Algorithm != macAlgorithm {
		return refresh.Key{}, fmt.Errorf("opening %s key %q for refresh tokens: %w", s.Use, s.ID, ErrSealed)
	}
	secret, err := k.seal.open(realm, s)
	if err != nil {
		return refresh.Key{}, err
	}
	key, err := refresh.NewKey(secret)
	if err != nil || key.ID() != s.ID {
		return refresh.Key{}, fmt.Errorf("opening refresh-token key %q: %w: it is another key", s.ID, ErrSealed)
	}
	return key, nil
}
