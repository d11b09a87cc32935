package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// The files of the directory.
const (
	fileES256   = "signing-es256.pem"
	fileRS256   = "signing-rs256.pem"
	fileRefresh = "refresh-keys.json"
	fileSubject = "subject-key.txt"
	fileRoot    = "realm-root.pem"
	fileRootPub = "realm-root.pub"
	fileVersion = "version"
)

// layout is what fileVersion says.
const layout = "1\n"

const (
	algES256 = "ES256"
	algRS256 = "RS256"
	// rsaBits is the least RFC 7518 section 3.3 allows, and enough for keys that
	// are replaced within a few years (NIST SP 800-57).
	rsaBits = 2048
	// secretSize is the length of the subject-key secret in bytes.
	secretSize = 32
)

// populate makes what a first start has to make. Once fileVersion stands, nothing
// is ever made again: a new secret in the place of a lost one would strand every
// session and every user without a word.
func (d dir) populate() error {
	complete, err := d.has(fileVersion)
	if err != nil {
		return err
	}
	if complete {
		return d.checkVersion()
	}
	for _, f := range []struct {
		name    string
		content func() ([]byte, error)
	}{
		{fileES256, newES256},
		{fileRS256, newRS256},
		{fileRefresh, newMACKeys},
		{fileSubject, newSubjectSecret},
		{fileRoot, newRoot},
	} {
		if err := d.create(f.name, 0o600, f.content); err != nil {
			return err
		}
	}
	if err := d.create(fileRootPub, 0o644, d.newRootPublic); err != nil {
		return err
	}
	// The names must be durable before the one that says they all are.
	if err := d.sync(); err != nil {
		return err
	}
	if err := d.create(fileVersion, 0o600, func() ([]byte, error) { return []byte(layout), nil }); err != nil {
		return err
	}
	return d.sync()
}

func (d dir) checkVersion() error {
	text, err := d.readPrivate(fileVersion)
	if err != nil {
		return err
	}
	if string(text) != layout {
		return fmt.Errorf("key directory %s was laid out by another version of the issuer", d.name)
	}
	return nil
}

func makeES256() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func makeRS256() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, rsaBits) }

func newES256() ([]byte, error) { return encodeNew(makeES256) }

func newRS256() ([]byte, error) { return encodeNew(makeRS256) }

func encodeNew(generate func() (crypto.Signer, error)) ([]byte, error) {
	key, err := generate()
	if err != nil {
		return nil, err
	}
	return encodePrivate(key)
}

func newRoot() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return encodePrivate(key)
}

// newRootPublic is made from the key that stands, whoever put it there.
func (d dir) newRootPublic() ([]byte, error) {
	root, err := d.rootPrivate()
	if err != nil {
		return nil, err
	}
	return encodePublic(root.Public())
}

func newSubjectSecret() ([]byte, error) {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	return []byte(base64.RawURLEncoding.EncodeToString(secret) + "\n"), nil
}

func (d dir) subjectSecret() ([]byte, error) {
	text, err := d.readPrivate(fileSubject)
	if err != nil {
		return nil, err
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimSuffix(string(text), "\n"))
	if err != nil || len(secret) != secretSize {
		return nil, fmt.Errorf("key file %s of %s: want %d bytes in base64url", fileSubject, d.name, secretSize)
	}
	return secret, nil
}

func (d dir) rootPrivate() (ed25519.PrivateKey, error) {
	key, err := d.privateKey(fileRoot)
	if err != nil {
		return nil, err
	}
	root, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key file %s of %s: not an Ed25519 key", fileRoot, d.name)
	}
	return root, nil
}

// realmRoot reads the root key and makes sure that the public file, which sidecars
// are given, belongs to it.
func (d dir) realmRoot() (ed25519.PrivateKey, error) {
	root, err := d.rootPrivate()
	if err != nil {
		return nil, err
	}
	want, err := encodePublic(root.Public())
	if err != nil {
		return nil, err
	}
	got, err := d.readPublic(fileRootPub)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(want)) {
		return nil, fmt.Errorf("key file %s of %s is not the public half of %s: sidecars would trust another realm", fileRootPub, d.name, fileRoot)
	}
	return root, nil
}

// privateKey reads one PKCS #8 key, alone in its file. No error repeats a byte of it.
func (d dir) privateKey(file string) (crypto.Signer, error) {
	data, err := d.readPrivate(file)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("key file %s of %s: want one PEM block, PRIVATE KEY (PKCS #8)", file, d.name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key file %s of %s: not a PKCS #8 key", file, d.name)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key file %s of %s: a %T signs nothing", file, d.name, key)
	}
	return signer, nil
}

// fits refuses a key that is not made for the algorithm (RFC 7518 section 3.1).
func fits(key crypto.Signer, algorithm string) error { return fitsPublic(key.Public(), algorithm) }

func fitsPublic(key crypto.PublicKey, algorithm string) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if algorithm == algES256 && key.Curve == elliptic.P256() {
			return nil
		}
	case *rsa.PublicKey:
		if key.N.BitLen() < rsaBits {
			return fmt.Errorf("an RSA key of %d bits; want %d at least", key.N.BitLen(), rsaBits)
		}
		if algorithm == algRS256 {
			return nil
		}
	}
	return errors.New("not a key for " + algorithm)
}

func encodePrivate(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func encodePublic(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
